"""Reading and writing whole files: with a cap, and all or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from deniability.errors import DeniabilityError, InputError, OutputError

_CHUNK = 1 << 20


def read_capped(
    path: str | os.PathLike[str],
    max_bytes: int,
    *,
    what: str,
    too_large: type[DeniabilityError] = InputError,
) -> bytes:
    """Return a file's bytes.

    Args:
        path: the file; a pipe is read to its end.
        max_bytes: largest size accepted; no more than this and one chunk is ever held.
        what: what the file should be, for the message, e.g. "bundle".
        too_large: class of the error for a file above `max_bytes`.

    Raises InputError if there is no such file, it is a folder, or cannot be read; `too_large`.

    """
    where = str(path)
    parts, size = [], 0
    try:
        with Path(path).open("rb", buffering=0) as file:
            # A regular file comes in one piece, which nothing has to be joined to.
            wanted = max(_CHUNK, min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
            while chunk := file.read(wanted):
                wanted = _CHUNK
                size += len(chunk)
                if size > max_bytes:
                    raise too_large(
                        f"the {what} is too large",
                        where=where,
                        expected=f"at most {max_bytes} bytes",
                    )
                parts.append(chunk)
    except (OSError, ValueError) as cause:
        raise _read_error(cause, where, what) from cause
    return b"".join(parts)


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644, overwrite: bool = True
) -> None:
    """Write `data` so that the file is there whole or, after any failure, unchanged.

    A temporary file in the same folder is written, flushed to disk and renamed over the target.

    Args:
        path: the file to make; its folder must exist.
        data: all of its contents.
        mode: permission bits, less the process's umask; they hold from the first byte.
        overwrite: refuse to replace an existing file if false.

    Raises OutputError if the folder is missing or not writable, the disk is full, the target is
    something else than a plain file, or it exists and must not be replaced.

    """
    where = str(path)
    try:
        target = Path(path)
        _check_target(target, where, overwrite=overwrite)
        # A short name of its own: the target's may already be as long as names can be.
        temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            _write_synced(temporary, data, mode)
            _move(temporary, target, overwrite=overwrite)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        _sync_folder(target.parent)
    except (OSError, ValueError) as cause:
        raise _write_error(cause, where) from cause


def _check_target(target: Path, where: str, *, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError("is a folder", where=where, expected="the name of a file to write")
    if not target.exists():
        return
    if not target.is_file():  # renaming over /dev/null or a pipe would destroy it
        raise OutputError("is a device or pipe", where=where, expected="a plain file's name")
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "File exists")


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            # Unlike a rename, a link fails if the name was taken since we looked.
            os.link(temporary, target)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):  # a file system without links
            _check_target(target, str(target), overwrite=False)
        else:
            return
    os.replace(temporary, target)  # noqa: PTH105 - the atomic call, said by its name


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_error(cause: Exception, where: str, what: str) -> DeniabilityError:
    if isinstance(cause, FileNotFoundError | NotADirectoryError):
        return InputError(f"no such {what}", where=where, hint="Check the name.")
    if isinstance(cause, IsADirectoryError):
        return InputError("is a folder", where=where, expected="a file")
    if isinstance(cause, PermissionError):
        return InputError(f"not allowed to read this {what}", where=where)
    return InputError(f"cannot read this {what}", where=where, found=_reason(cause))


def _write_error(cause: Exception, where: str) -> DeniabilityError:
    if isinstance(cause, FileExistsError):
        return OutputError("exists already", where=where, hint="Choose another name.")
    if isinstance(cause, FileNotFoundError | NotADirectoryError):
        return OutputError("its folder does not exist", where=where, hint="Make the folder first.")
    if isinstance(cause, PermissionError):
        return OutputError("not allowed to write here", where=where, hint="Choose another folder.")
    number = cause.errno if isinstance(cause, OSError) else None
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return OutputError("the disk is full", where=where, hint="Nothing was changed.")
    if number == errno.EROFS:
        return OutputError("the folder is read-only", where=where, hint="Choose another folder.")
    return OutputError("cannot be written", where=where, found=_reason(cause))


def _reason(cause: Exception) -> str:
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
