"""Find files on the Hugging Face Hub or in its local cache: what is there, what is missing, and which commit it is.

A name is "owner/name", or "owner/name@revision" for a branch, tag or commit. :func:`fetch` takes every way to name a base model: also
folders, and what :mod:`workbench.gguf_base` converts. Nothing here needs the network where the cache is warm
(HF_HUB_OFFLINE=1); what is missing then is said in one line.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from httpx import HTTPError
from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from workbench import gguf_base
from workbench.errors import InputError, first_line

MODEL_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")

MODEL_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model", "README.md"]

SHARD = re.compile(r"(?P<begin>.*)-\d{5}-of-(?P<of>\d{5})(?P<end>\.(?!safetensors).*)")


@dataclass(frozen=True)
class Repo:
    """Hold what the Hub, or its cache, says about a repository."""

    name: str
    """owner/name."""
    kind: str
    """"model" or "dataset"."""
    commit: str
    """What its revision stands for now."""
    size: int
    """Bytes of the files that are used."""
    missing: int
    """Bytes of them that are not in the cache."""
    licence: str | None
    """As its card says; None where the Hub cannot be asked."""


def fetch(base: str | Path, revision: str | None = None) -> Path:
    """Return the local folder with the files of a model: the folder itself, the conversion of a GGUF file, or the Hub's snapshot in the cache.

    A GGUF file and a packaged base such as gemma-3-270m are converted on first use (:func:`workbench.gguf_base.fetch`). A download that
    broke off continues where it stopped when this is called again.

    Raises:
        InputError: there is no such folder or file, and the Hub has no such model, asks for access, or cannot be reached, or the cache
            holds a part of it only; or a file cannot be converted.
    """
    if Path(base).is_dir():
        return Path(base)
    if gguf_base.is_gguf(base):
        return gguf_base.fetch(base)
    named = MODEL_ID.fullmatch(str(base))
    if not named:
        raise InputError(
            f"{base}: no such folder; give a model folder, a GGUF file, a Hub id such as HuggingFaceTB/SmolLM2-135M, or "
            f"{' or '.join(gguf_base.PACKAGED)}"
        )
    folder = snapshot(named["repo"], revision or named["revision"], "model", MODEL_FILES)
    require_complete(str(base), folder)
    if not any(folder.glob("*.safetensors")):
        raise _incomplete(str(base), "model.safetensors")
    return folder


def require_complete(name: str, folder: Path) -> None:
    """Raise InputError where the cache holds only a part of a model or dataset, see :func:`missing_files`."""
    if absent := missing_files(folder):
        raise _incomplete(name, absent[0])


def _incomplete(name: str, absent: str) -> InputError:
    return InputError(
        f"{name}: the download is not complete, {absent} is missing; run again with the network (HF_HUB_OFFLINE unset), it continues "
        "where it stopped"
    )


def snapshot(repo: str, revision: str | None, kind: str, patterns: list[str] | None = None) -> Path:
    """Return the folder of the local cache with the files of a model or dataset; download those that are missing.

    Raises:
        InputError: as for :func:`fetch`.
    """
    try:
        return Path(snapshot_download(repo, revision=revision, repo_type=kind, allow_patterns=patterns))
    except GatedRepoError as error:
        raise InputError(
            f"{repo}: the Hub gives it only after access was granted; ask there, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{repo}: neither a folder here nor a {kind} on the Hub; check the name") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{repo}: no such folder here, the Hub cannot be reached and its cache has no copy; check the path or the network"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise InputError(
            f"{repo}: the download failed ({first_line(error)}); run again, it continues where it stopped"
        ) from error


def missing_files(folder: Path) -> list[str]:
    """Return the files that a model or dataset in this folder of the cache lacks: an interrupted download leaves the others.

    Offline the libraries take what is there: a dataset then has fewer rows, silently.
    """
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.exists()]
    wanted = set()
    for path in map(str, files):
        if path.endswith(".safetensors.index.json"):
            try:
                wanted |= set(json.loads((folder / path).read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{folder / path}: not an index of weights; copy or download it again") from error
        if shard := SHARD.fullmatch(path):
            wanted |= {f"{shard['begin']}-{i:05}-of-{shard['of']}{shard['end']}" for i in range(int(shard["of"]))}
    dangling = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() and not path.exists()}
    return sorted((wanted | dangling) - set(map(str, files)))


def snapshot_commit(folder: Path) -> str | None:
    """Return the commit of a snapshot in the local cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def look_up(repo: str, revision: str | None, kind: str, patterns: list[str] | None = None) -> Repo:
    """Ask the Hub what a repository is and holds; if it cannot be reached, ask the cache.

    Raises:
        InputError: it is neither on the Hub nor, in whole, in the cache.
    """
    try:
        info = HfApi().repo_info(repo, revision=revision, repo_type=kind, files_metadata=True)
    except (GatedRepoError, RepositoryNotFoundError, OfflineModeIsEnabled, HTTPError, OSError):
        folder = snapshot(repo, revision, kind, patterns)  # says in a line why there is none
        if absent := missing_files(folder):
            raise InputError(f"{repo}: {absent[0]} is missing in the cache; run again with the network") from None
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Repo(repo, kind, folder.name, size, 0, None)
    files = [file for file in info.siblings if patterns is None or any(Path(file.rfilename).match(p) for p in patterns)]
    cached = [
        isinstance(try_to_load_from_cache(repo, file.rfilename, revision=info.sha, repo_type=kind), str)
        for file in files
    ]
    sizes = [file.size or 0 for file in files]
    lacking = sum(size for size, there in zip(sizes, cached, strict=True) if not there)
    return Repo(repo, kind, info.sha, sum(sizes), lacking, (info.card_data or {}).get("license"))


def cache_folder() -> Path:
    """Return the folder of the Hub's files (HF_HUB_CACHE)."""
    return Path(constants.HF_HUB_CACHE)
