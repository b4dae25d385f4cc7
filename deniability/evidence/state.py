"""Where a long run keeps what must not be lost: finished restarts, encoder training.

Everything lives in one folder beside the result and is written atomically. A folder belongs to one
computation, named by a digest; another computation's state is never continued nor deleted. One run
at a time has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from torch import Tensor

from deniability.errors import DeniabilityError, InputError, OutputError
from deniability.evidence.tensors import write_tensors
from deniability.wire.files import read_capped, write_atomic

_MAX_BYTES = 8 * 2**30
_LOCK, _IDENTITY = "lock", "identity"
_SUFFIX, _METADATA = ".safetensors", "metadata"


class RunState:
    """A folder of resumable state, locked against other runs until it is closed.

    Args:
        folder: made at once.
        identity: digest of what is being computed.
        resume: continue from what is there; otherwise it is removed.
        note: is told if something was there and is removed.

    Raises:
        InputError: another run uses the folder, or it holds the state of another computation.
        OutputError: the folder cannot be made, or what it holds cannot be removed.

    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        *,
        resume: bool,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self._identity = identity
        self._lock: BinaryIO | None = _locked(folder)
        try:
            self._take_over(resume=resume, note=note)
        except BaseException:
            self.close()
            raise

    def _take_over(self, *, resume: bool, note: Callable[[str], None] | None) -> None:
        """Continue or discard what is in the folder, or refuse to."""
        stored = self._stored_identity()
        kept = _kept(self.folder)
        if stored != self._identity and (kept or (resume and stored is not None)):
            raise InputError(
                "the interrupted run that is kept here was about something else",
                where=str(self.folder),
                hint="Finish that run with --resume and its own files, choose another -o, or "
                "delete this folder.",
            )
        if kept and not resume:
            if note is not None:
                note(
                    f"An interrupted run is kept in {self.folder}; without --resume it is "
                    "discarded now."
                )
            _delete(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the folder; one that holds nothing to resume is deleted."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            if not _kept(self.folder):
                shutil.rmtree(self.folder)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stored_identity(self) -> str | None:
        try:
            return read_capped(self.folder / _IDENTITY, 1024, what="state").decode()
        except (DeniabilityError, UnicodeDecodeError):
            return None

    def path(self, name: str) -> Path:
        """Return the path of one file of the state; the folder says whose it is from then on."""
        _make(self.folder)
        if self._stored_identity() != self._identity:
            write_atomic(self.folder / _IDENTITY, self._identity.encode())
        return self.folder / name

    def tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read tensors and JSON metadata written earlier; None if there are none."""
        path = self.folder / f"{name}{_SUFFIX}"
        if not path.exists():
            return None
        try:
            tensors = load_bytes(read_capped(path, _MAX_BYTES, what="state"))
            metadata = json.loads(tensors.pop(_METADATA).numpy().tobytes())
        except (SafetensorError, KeyError, ValueError) as error:
            raise self.damaged(name) from error
        if not isinstance(metadata, dict):
            raise self.damaged(name)
        return tensors, metadata

    def names(self, prefix: str) -> list[str]:
        """Return the names under which something was saved that begin so, in order."""
        if not self.folder.exists():
            return []
        found = (p.name.removesuffix(_SUFFIX) for p in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(name for name in found if name.startswith(prefix))

    def damaged(self, name: str) -> InputError:
        """Return the error for one file of the state that does not hold what it should."""
        return InputError(
            "the state of the interrupted run is damaged",
            where=str(self.folder / f"{name}{_SUFFIX}"),
            hint="Run without --resume to start afresh.",
        )

    def save(self, name: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Write tensors and metadata as one file, atomically."""
        about = torch.frombuffer(bytearray(json.dumps(metadata).encode()), dtype=torch.uint8)
        write_tensors(self.path(f"{name}{_SUFFIX}"), tensors | {_METADATA: about})

    def forget(self, name: str) -> None:
        """Delete what was saved under a name, if anything was."""
        try:
            (self.folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
        except OSError as error:
            raise _irremovable(self.folder, error) from error

    def remove(self) -> None:
        """Delete the folder: the result is complete."""
        try:
            try:
                shutil.rmtree(self.folder)
            except OSError:
                # Some network file systems keep a deleted file until it is closed.
                self._release()
                shutil.rmtree(self.folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _irremovable(self.folder, error) from error
        finally:
            self._release()


def discard(folder: Path) -> None:
    """Delete the state in a folder, whatever it is of.

    Raises:
        InputError: a run uses it.
        OutputError: it cannot be deleted.

    """
    if not folder.exists():
        return
    with _locked(folder):
        _delete(folder)


def _delete(folder: Path) -> None:
    try:
        for path in _kept(folder):
            path.unlink()
    except OSError as error:
        raise _irremovable(folder, error) from error


def _irremovable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        "cannot remove the state of an earlier run", where=str(folder), found=error.strerror
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "cannot keep the state of this run",
            where=str(folder),
            found=error.strerror,
            hint="Choose an output in a folder that you can write to.",
        ) from error


def _kept(folder: Path) -> list[Path]:
    """Return what an earlier run left to resume."""
    return sorted(p for p in folder.iterdir() if p.name not in {_LOCK, _IDENTITY})


def _locked(folder: Path) -> BinaryIO:
    """Make the folder and return its lock file, locked where the system has such locks.

    Raises InputError if another run, of this process or another, holds the lock.
    """
    path = folder / _LOCK
    while True:
        _make(folder)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # the run that was there has just deleted its folder
            continue
        except OSError as error:
            raise OutputError(
                "cannot keep the state of this run", where=str(path), found=error.strerror
            ) from error
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            file.close()
            raise InputError(
                "another run is writing this output",
                where=str(folder),
                hint="Wait until it has ended, or choose another -o.",
            ) from error
        except FileNotFoundError:
            pass
        file.close()  # its folder was deleted between the two


def _lock(file: BinaryIO) -> None:
    """Lock a file without waiting; raises BlockingIOError if it is locked."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return
