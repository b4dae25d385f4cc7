"""What a long run keeps on disk so that nothing is lost: finished restarts, encoder training.

Everything lives in one folder beside the result and is written atomically. A folder belongs to one
computation, named by a digest; another computation's state is never continued.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from torch import Tensor

from deniability.errors import DeniabilityError, InputError, OutputError
from deniability.evidence.tensors import write_tensors
from deniability.inversion.engine import Key
from deniability.inversion.solution import Restart, Stop
from deniability.wire.files import read_capped, write_atomic

_SECONDS = 10.0  # between two writes
_MAX_BYTES = 8 * 2**30


class RunState:
    """A folder of resumable state.

    Args:
        folder: made when first written to.
        identity: digest of what is being computed.
        resume: continue from what is there; otherwise it is removed.

    Raises:
        InputError: asked to resume the state of another computation, or a damaged one.
        OutputError: the folder cannot be removed.

    """

    def __init__(self, folder: Path, identity: str, *, resume: bool) -> None:
        self.folder = folder
        self._identity = identity
        if not folder.exists():
            return
        if not resume:
            self.remove()
        elif self._stored_identity() != identity:
            raise InputError(
                "the interrupted run that is kept here was about something else",
                where=str(folder),
                hint="Run without --resume to start afresh.",
            )

    def _stored_identity(self) -> str | None:
        try:
            return read_capped(self.folder / "identity", 1024, what="state").decode()
        except (DeniabilityError, UnicodeDecodeError):
            return None

    def path(self, name: str) -> Path:
        """Return the path of one file of the state, its folder made."""
        if not self.folder.exists():
            try:
                self.folder.mkdir(parents=True)
            except OSError as error:
                raise OutputError(
                    "cannot keep the state of this run",
                    where=str(self.folder),
                    found=error.strerror,
                    hint="Choose an output in a folder that you can write to.",
                ) from error
            write_atomic(self.folder / "identity", self._identity.encode())
        return self.folder / name

    def tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read tensors and JSON metadata written earlier; None if there are none."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            tensors = load_bytes(read_capped(path, _MAX_BYTES, what="state"))
            raw = read_capped(self.folder / f"{name}.json", _MAX_BYTES, what="state")
            metadata = json.loads(raw)
        except (SafetensorError, ValueError) as error:
            raise InputError(
                "the state of the interrupted run is damaged",
                where=str(path),
                hint="Run without --resume to start afresh.",
            ) from error
        return tensors, metadata

    def save(self, name: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Write tensors and metadata, each atomically; the metadata last."""
        write_tensors(self.path(f"{name}.safetensors"), tensors)
        write_atomic(self.path(f"{name}.json"), json.dumps(metadata).encode())

    def remove(self) -> None:
        """Delete the folder: the result is complete, or was not wanted."""
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(
                "cannot remove the state of an earlier run",
                where=str(self.folder),
                found=error.strerror,
            ) from error


class RestartLog:
    """Finished restarts of one search, kept in a `RunState`.

    Args:
        state: where; None keeps nothing on disk.
        name: of this search within the state.

    """

    def __init__(self, state: RunState | None, name: str) -> None:
        self._state = state
        self._name = name
        self._written = time.monotonic()
        self._dirty = False
        self.known: dict[Key, Restart] = self._load()

    def add(self, target: int, restart: Restart) -> None:
        """Remember a finished restart, and write all of them down now and then."""
        self.known[target, restart.index] = restart
        self._dirty = True
        if time.monotonic() - self._written > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is new."""
        if self._state is None or not self._dirty:
            return
        kept = [(key, r) for key, r in self.known.items() if r.latent is not None]
        latents = torch.stack([r.latent for _, r in kept if r.latent is not None])
        records = [{"target": target, **asdict(r) | {"latent": None}} for (target, _), r in kept]
        self._state.save(self._name, {"latents": latents}, {"records": records})
        self._written = time.monotonic()
        self._dirty = False

    def _load(self) -> dict[Key, Restart]:
        stored = self._state.tensors(self._name) if self._state else None
        if stored is None:
            return {}
        tensors, metadata = stored
        known: dict[Key, Restart] = {}
        # The tensors may be newer than the records by one write: rows only ever get added.
        for record, latent in zip(metadata["records"], tensors["latents"], strict=False):
            target = record.pop("target")
            record |= {"stop": Stop(record["stop"]), "latent": latent.clone()}
            known[target, record["index"]] = Restart(**record)
        return known
