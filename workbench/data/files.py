"""Find the tables that a source names: a file, a folder, a data set that was saved to disk, or one of the Hub."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import httpx
import pyarrow
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from workbench import hub
from workbench.data import parsing
from workbench.errors import InputError

HELD_OUT = {"test", "dev", "val", "valid", "validation", "eval", "evaluation", "holdout", "heldout"}
METADATA = re.compile(  # beside models and data sets: configs, indices, results
    r".*(_|\.)?(config|configs|index|info|infos|results|args|state|metadata|schema)\.json"
    r"|(dataset_dict|tokenizer|vocab|added_tokens|special_tokens_map|chat_template|package|package-lock|trainer_log)\.jsonl?"
)
UNUSED = ("node_modules", "venv", "site-packages")  # folders of programs
HUB_ID = re.compile(
    r"(?P<path>[\w.-]+/[\w.-]+)(:(?P<name>[\w.-]+))?(@(?P<revision>[\w.-]+))?(#(?P<split>\w+)(:(?P<rows>\d+))?)?"
)
SAVED = ("dataset_dict.json", "state.json")  # in a folder that save_to_disk wrote
COMMIT = re.compile(r"/([0-9a-f]{40})/")
LISTED = 10  # files named in a note; of more, the number is given


@dataclass(frozen=True)
class Table:
    """Rows with the same columns."""

    name: str
    """The file, or the source and its split."""
    rows: Callable[[], parsing.Rows]
    """Read the rows, from the first each time it is called."""
    in_split: bool
    """The table as a whole is what was asked for; where it is not, the rows' column `split` decides."""
    family: str | None = None
    """The name of a Hub data set, for rows that have no category or source."""


def short(text: str, length: int = 80) -> str:
    """Return the beginning of a text in one line, for messages."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}…"


def words(path: str | Path) -> set[str]:
    """Return the words in a file's name: train-00000-of-00001.parquet is of the split "train"."""
    return set(re.split(r"[^a-z]+", Path(path).stem.lower()))


def tables(source: str, split: str | None, notes: list[str]) -> list[Table]:
    """Return the tables that `source` names; what was left out of a folder is added to `notes`.

    Arguments and errors are those of :func:`workbench.data.reading.load`.
    """
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"{short(source)}: not a path ({short(str(error), 40)}); give a file or a folder") from None
    if is_file:
        return [_file(path, split, notes)]
    if not is_folder:
        rows = _hub(source, split, notes)
        return [Table(source, lambda: parsing.dataset_rows(rows), True, source.partition("#")[0])]
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return [_saved(source, split)]
    return [_file(file, split, notes, path) for file in _data_files(path, split, notes)]


def _file(path: Path, split: str | None, notes: list[str], folder: Path | None = None) -> Table:
    if folder is None and (path.name in SAVED or path.suffix == ".arrow"):
        raise InputError(f"{path}: a part of a data set that was saved to disk; give its folder, {path.parent}")
    name = path.relative_to(folder or path.parent)
    return Table(str(path), lambda: parsing.read_file(path, notes), split is None or _names(name, split))


def _names(path: Path, split: str) -> bool:
    """Return whether a file's name or one of its folders' says that it is of the split: train_sft/0.parquet is of "train_sft" and of "train"."""
    names = str(path.with_suffix("")).lower()
    return (
        split in _words(path) or re.search(rf"(?<![a-z0-9]){re.escape(split.lower())}(?![a-z0-9])", names) is not None
    )


def _words(path: Path) -> set[str]:
    """Return the words in the names of a file and of its folders, as far as `path` names them."""
    return set().union(*map(words, (*path.parts[:-1], path.name)))


def _data_files(folder: Path, split: str | None, notes: list[str]) -> list[Path]:
    """Return the data files of a folder and of those within it; what was left out is added to `notes`."""
    found, left = [], []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        name = "/".join(parts)
        if any(part.startswith(".") or part in UNUSED for part in parts) or any(
            part.startswith("_") for part in parts[:-1]
        ):
            left += [f"{name} (hidden)"] * (path.is_file() and parsing.is_data(path))
        elif path.is_dir():
            left += [f"{name} (an empty folder)"] * (parsing.is_data(path) and not any(path.iterdir()))
        elif not path.is_file():
            left.append(f"{name} (a broken link)")
        elif METADATA.fullmatch(path.name.lower()) or any(part.startswith("checkpoint-") for part in parts[:-1]):
            left.append(f"{name} (metadata)")
        elif not parsing.is_data(path):
            left.append(f"{name} (no data file)")
        elif not path.stat().st_size:
            left.append(f"{name} (empty)")
        else:
            found.append(path)
    if left:
        more = f" and {len(left) - LISTED:,} more" if len(left) > LISTED else ""
        notes.append(f"{folder}: left out {', '.join(left[:LISTED])}{more}")
    if not found and (saved := next((path.parent for name in SAVED for path in folder.rglob(name)), None)):
        raise InputError(f"{folder}: no data file, but a data set that was saved to disk; give its folder, {saved}")
    if not found:
        raise InputError(
            f"{folder}: no {', '.join(parsing.SUFFIXES)} file in this folder; give one that has data files"
        )
    if split:
        return [file for file in found if _names(file.relative_to(folder), split)] or found
    kept = [file for file in found if not _words(file.relative_to(folder)) & HELD_OUT] or found
    if held := ", ".join(str(file.relative_to(folder)) for file in found if file not in kept):
        notes.insert(0, f"{folder}: left out {held}, held out by name; ask for it with split, --split")
    return kept


def _saved(source: str, split: str | None) -> Table:
    """Return a data set that save_to_disk wrote, or one split of several."""
    try:
        loaded = datasets.load_from_disk(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException) as error:
        raise InputError(
            f"{source}: the saved data set cannot be read ({short(str(error), 160)}); save it again"
        ) from None
    if isinstance(loaded, datasets.Dataset):
        return Table(source, lambda: parsing.dataset_rows(loaded), split is None)
    rows = _one(loaded, source, split)
    return Table(f"{source}/{split or 'train'}", lambda: parsing.dataset_rows(rows), True)


def _hub(source: str, split: str | None, notes: list[str]) -> datasets.Dataset:
    """Return a data set of the Hub, or of its local cache where the Hub cannot be reached."""
    named = HUB_ID.fullmatch(source)
    if not named or parsing.is_data(Path(source)) or Path(source).parent.exists():
        raise InputError(f"{source}: no such file or folder; give a path, or a Hub id owner/name")
    parts = named.groupdict()
    said, wanted = parts.pop("split"), parts.pop("rows")
    split = split or said
    try:
        loaded, folder = datasets.load_dataset(**parts, split=split), None
    except (OSError, ValueError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        loaded, folder = _cached(source, split, **parts, why=short(str(error), 160))
    rows = _one(loaded, source, split)
    # the folder in which the Hub's files are prepared has the commit as its name
    if known := COMMIT.search(f"{folder or rows.cache_files}/"):
        notes.append(f"{parts['path']}: commit {known[1]}")
    if wanted and int(wanted) < len(rows):
        rows = rows.shuffle(seed=0).select(range(int(wanted)))
    return rows


def _cached(source: str, split: str | None, path: str, name: str | None, revision: str | None, why: str):
    """Return the data set from the files in the Hub's cache; load_dataset itself finds there only what it has loaded before."""
    try:
        folder = Path(snapshot_download(path, revision=revision, repo_type="dataset", local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        raise InputError(
            f"{source}: no such file or folder here, and the Hub did not give it ({why}); "
            "check the name and the network, or log in where it is gated"
        ) from None
    hub.require_complete(source, folder)
    try:
        return datasets.load_dataset(str(folder), name, split=split), folder
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{source}: the copy in the cache cannot be read ({short(str(error), 160)})") from None


def _one(loaded: datasets.Dataset | datasets.DatasetDict, source: str, split: str | None) -> datasets.Dataset:
    if isinstance(loaded, datasets.Dataset):
        return loaded
    if (split or "train") not in loaded:
        there = ", ".join(loaded)
        raise InputError(f"{source}: no split {split or 'train'!r}; there are {there}: choose one with split, --split")
    return loaded[split or "train"]
