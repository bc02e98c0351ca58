"""Write outputs whole or not at all, and never over anything that was there before.

Everything is written under a fresh temporary name in the target's folder, and moved into place at the end. What fails in between leaves
the folder as it was.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import InputError, first_line

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# safetensors and PyTorch report a full disk in errors of their own.
NO_ROOM_TEXT = re.compile(
    r"os error (28|122|30|27)\b|No space left on device|Disk quota exceeded|file write failed|failed writing file"
)


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk is full or read-only."""
    return (isinstance(error, OSError) and error.errno in NO_ROOM) or bool(NO_ROOM_TEXT.search(str(error)))


def require_room(folder: Path, room: int) -> None:
    """Raise InputError where the disk of a folder has fewer than `room` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < room:
        raise InputError(
            f"{folder}: no room to write (about {room / 2**20:,.0f} MiB needed, {free / 2**20:,.0f} MiB free); free some space or "
            "write elsewhere"
        )


def require_new(path: str | Path, room: int = 2**20) -> Path:
    """Check, before any work begins, that a new file or folder can be written; return its absolute path.

    Args:
        room: bytes that it will take, about.

    Raises:
        InputError: it exists, its folder is missing or not writable, its name is not allowed there, or the disk is too full.
    """
    path = Path(path).absolute()
    if os.path.lexists(path):
        raise InputError(f"{path} exists already; choose another name or remove it first")
    if not path.parent.is_dir():
        there = "is not a folder" if os.path.lexists(path.parent) else "is missing; create the folder first"
        raise InputError(f"{_short(path.parent)} {there}")
    try:  # under another name: a kill in between must not leave something under this one
        with suppress(FileNotFoundError):
            os.lstat(path)  # refuses a name that is too long
        os.rmdir(tempfile.mkdtemp(prefix=".", suffix=".writing", dir=path.parent))
    except (OSError, ValueError) as error:
        raise InputError(f"{_short(path)}: cannot be written here ({_reason(error)}); write elsewhere") from None
    require_room(path.parent, room)
    return path


@contextmanager
def new_folder(path: str | Path, room: int = 2**20) -> Iterator[Path]:
    """Give a folder to write to, which gets its name `path` when the block ends without an error, and is removed otherwise.

    Raises:
        InputError: as :func:`require_new`, or the disk became full.
    """
    path = require_new(path, room)
    working = Path(tempfile.mkdtemp(prefix=f".{path.name[:60]}-", suffix=".writing", dir=path.parent))
    try:
        with _one_line(path):
            yield working
            _usual_permissions(working)
            if os.path.lexists(path):
                raise InputError(f"{path} was made by someone else in the meantime; choose another name")
            os.rename(working, path)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def write_file(path: str | Path, content: str | bytes, *, replace: bool = False) -> Path:
    """Write a file whole or not at all, and return its path.

    Args:
        replace: the file is one of the project's own, of which a new version is written.

    Raises:
        InputError: as :func:`require_new`, or the disk became full.
    """
    path = Path(path).absolute() if replace and os.path.lexists(path) else require_new(path)
    with _one_line(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}-", suffix=".writing", dir=path.parent)
        working = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            _usual_permissions(working)
            if replace:
                os.replace(working, path)
            else:
                _move_without_replacing(working, path)
        finally:
            working.unlink(missing_ok=True)
    return path


def _move_without_replacing(working: Path, path: Path) -> None:
    try:
        os.link(working, path)  # fails where the name has been taken in the meantime
    except FileExistsError:
        raise InputError(f"{path} was made by someone else in the meantime; choose another name") from None
    except OSError:  # a file system without hard links
        os.rename(working, path)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk, and missing permission, into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_full(error) or isinstance(error, PermissionError):
            raise InputError(
                f"{_short(path)}: not written ({_reason(error)}); free some space or write elsewhere"
            ) from error
        raise


def _usual_permissions(path: Path) -> None:
    """Give files and folders the permissions that the umask asks for; temporary ones are private, as are those of safetensors."""
    mask = os.umask(0)
    os.umask(mask)
    for each in [path, *path.rglob("*")]:
        if not each.is_symlink():
            each.chmod((0o777 if each.is_dir() else 0o666) & ~mask)


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else text[:200] + "…"
