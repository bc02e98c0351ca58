"""Read the rows of a file, a folder or a Hub data set as they stand there; what they mean is for formats to say."""

import csv
import io
import json
import re
import sys
from pathlib import Path

import datasets
import httpx
import pyarrow.parquet
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from workbench import hub
from workbench.data import formats
from workbench.errors import InputError

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


HELD_OUT = {"test", "dev", "valid", "validation", "eval", "evaluation"}


HUB_ID = re.compile(
    r"(?P<path>[\w.-]+/[\w.-]+)(:(?P<name>[\w.-]+))?(@(?P<revision>[\w.-]+))?(#(?P<split>\w+)(:(?P<rows>\d+))?)?"
)


COMMIT = re.compile(r"/([0-9a-f]{40})/")


csv.field_size_limit(sys.maxsize)  # the default, 128 kB, is shorter than a long answer


def short(text: str, length: int = 80) -> str:
    """The beginning of a text in one line, for messages."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}…"


def words(path: str | Path) -> set[str]:
    """The words in a file's name: train-00000-of-00001.parquet is of the split "train"."""
    return set(re.split(r"[^a-z]+", Path(path).stem.lower()))


def tables(source: str, split: str | None, notes: list[str]) -> list[tuple[str, list]]:
    """The tables that `source` names, each as its name and a list of (place, row or BadRow).

    Which files of a folder were left out is added to `notes`. Arguments and errors are those of data.load.
    """
    path = Path(source)
    if path.is_file():
        return [(source, _read(path))]
    if not path.is_dir():
        return [(source, _placed(_labelled(_hub(source, split, notes).to_list(), source)))]
    if (path / "dataset_dict.json").exists():
        rows = _one(datasets.load_from_disk(source), source, split)
        return [(f"{source}/{split or 'train'}", _placed(rows.to_list()))]
    if (path / "state.json").exists():
        return [(source, _placed(datasets.load_from_disk(source).to_list()))]
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise InputError(f"{source}: no {', '.join(SUFFIXES)} file in this folder")
    if split:
        files = [file for file in files if split in words(file)] or files
    elif kept := [file for file in files if not words(file) & HELD_OUT]:
        if left := ", ".join(file.name for file in files if file not in kept):
            notes.append(f"{source}: left out {left}, held out by name; ask for it with split")
        files = kept
    return [(str(file), _read(file)) for file in files]


def _read(path: Path) -> list:
    """(place, row or BadRow) of each row in a file."""
    if path.suffix == ".parquet":
        try:
            return _placed(datasets.Dataset(pyarrow.parquet.read_table(path)).to_list())
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path}: not a Parquet file ({short(str(error))}); write it again") from None
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: files ending in {path.suffix or 'nothing'} are not read; give {', '.join(SUFFIXES)}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if path.suffix == ".csv":
        return _csv(path, text)
    return _json(path, text)


def _csv(path: Path, text: str) -> list:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: broken CSV ({error}); close every quote") from None
    wrong = formats.BadRow("", "more cells than columns", "quote cells that hold a comma")
    return [(f"row {i}", wrong if None in row else row) for i, row in enumerate(rows, 1)]


def _json(path: Path, text: str) -> list:
    """One list of rows, or a row a line, whatever the name says: both stand in .json files."""
    if not text.strip():
        return []
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            place = f"line {error.lineno}, column {error.colno}"
            raise InputError(f"{path}, {place}: broken JSON ({error.msg}); mend it there or just before") from None
    else:
        return _placed(whole if isinstance(whole, list) else [whole])
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows += [(f"line {number}", row) for _, row in _placed([json.loads(line)])]
            except json.JSONDecodeError as error:
                mend = f"mend it at column {error.colno}"
                rows.append((f"line {number}", formats.BadRow("", f"broken JSON ({error.msg})", mend)))
    return rows


def _placed(rows: list) -> list:
    """Rows with the place that messages name: row 1 is the first."""
    wrong = formats.BadRow(
        "", "not an object with fields", 'write each row as {"messages": […]} or in another known format'
    )
    return [(f"row {i}", row if isinstance(row, dict) else wrong) for i, row in enumerate(rows, 1)]


def _hub(source: str, split: str | None, notes: list[str]) -> datasets.Dataset:
    """A data set from the Hub or its local cache."""
    named = HUB_ID.fullmatch(source)
    if not named or Path(source).suffix in SUFFIXES or Path(source).parent.exists():
        raise InputError(f"{source}: no such file or folder; give a path, or a Hub id owner/name")
    parts = named.groupdict()
    said, wanted = parts.pop("split"), parts.pop("rows")
    split = split or said
    try:
        loaded, folder = datasets.load_dataset(**parts, split=split), None
    except (OSError, ValueError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        loaded, folder = _cached(source, split, **parts, why=short(str(error), 160))
    rows = _one(loaded, source, split)
    # what the Hub gave is prepared in a folder that is called by its commit
    if known := COMMIT.search(f"{folder or rows.cache_files}/"):
        notes.append(f"{parts['path']}: commit {known[1]}")
    if wanted and int(wanted) < len(rows):
        rows = rows.shuffle(seed=0).select(range(int(wanted)))
    return rows


def _cached(source: str, split: str | None, path: str, name: str | None, revision: str | None, why: str):
    """The same from files that stand in the Hub's cache: load_dataset finds there only what it has loaded before."""
    try:
        folder = Path(snapshot_download(path, revision=revision, repo_type="dataset", local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        raise InputError(
            f"{source}: no such file or folder here, and the Hub did not give it ({why}); "
            "check the name and the network, or log in where it is gated"
        ) from None
    if absent := hub.missing_files(folder):
        raise InputError(
            f"{source}: the download is not complete, {absent[0]} is missing; run again with the network "
            "(HF_HUB_OFFLINE unset), it goes on where it stopped"
        )
    try:
        return datasets.load_dataset(str(folder), name, split=split), folder
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{source}: the copy in the cache cannot be read ({short(str(error), 160)})") from None


def _labelled(rows: list[dict], source: str) -> list[dict]:
    """Rows of the Hub with `family` and `skill`, by which notebooks group: their category or source, else the name of the set."""
    whole = source.partition("#")[0]
    named = [row.get("category") or row.get("source") or whole for row in rows]
    return [{"family": name, "skill": name, **row} for row, name in zip(rows, named, strict=True)]


def _one(loaded: datasets.Dataset | datasets.DatasetDict, source: str, split: str | None) -> datasets.Dataset:
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if (split or "train") not in loaded:
        raise InputError(f"{source}: no split {split or 'train'!r}; there are {', '.join(loaded)}")
    return loaded[split or "train"]
