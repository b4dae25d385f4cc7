"""What a long run keeps on disk so that nothing is lost: finished restarts, encoder training.

Everything lives in one folder beside the result and is written atomically. A folder belongs to one
computation, named by a digest; another computation's state is never continued.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)
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
        path, beside = self.folder / f"{name}.safetensors", self.folder / f"{name}.json"
        if not path.exists() or not beside.exists():  # both are there after the first write
            return None
        try:
            tensors = load_bytes(read_capped(path, _MAX_BYTES, what="state"))
            metadata = json.loads(read_capped(beside, _MAX_BYTES, what="state"))
        except (SafetensorError, ValueError) as error:
            raise self.damaged(name) from error
        if not isinstance(metadata, dict):
            raise self.damaged(name)
        return tensors, metadata

    def damaged(self, name: str) -> InputError:
        """Return the error for one file of the state that does not hold what it should."""
        return InputError(
            "the state of the interrupted run is damaged",
            where=str(self.folder / f"{name}.safetensors"),
            hint="Run without --resume to start afresh.",
        )

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


class _Record(BaseModel):
    """A finished restart as it is kept, its latent apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: NonNegativeInt
    index: NonNegativeInt
    start: str
    stop: Stop
    residual: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    distance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    iterations: NonNegativeInt

    @classmethod
    def of(cls, target: int, restart: Restart) -> Self:
        kept = {f.name: getattr(restart, f.name) for f in fields(restart) if f.name != "latent"}
        return cls(target=target, **kept)

    def restart(self, latent: Tensor) -> Restart:
        return Restart(**self.model_dump(exclude={"target"}), latent=latent)


_RECORDS = TypeAdapter(list[_Record])


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
        records = [_Record.of(target, r).model_dump(mode="json") for (target, _), r in kept]
        self._state.save(self._name, {"latents": latents}, {"records": records})
        self._written = time.monotonic()
        self._dirty = False

    def _load(self) -> dict[Key, Restart]:
        stored = self._state.tensors(self._name) if self._state else None
        if self._state is None or stored is None:
            return {}
        tensors, metadata = stored
        try:
            records = _RECORDS.validate_python(metadata.get("records"))
        except ValidationError as error:
            raise self._state.damaged(self._name) from error
        latents = tensors.get("latents")
        # The tensors may be newer than the records by one write: rows only ever get added.
        if latents is None or latents.ndim != 2 or len(latents) < len(records):
            raise self._state.damaged(self._name)
        return {
            (record.target, record.index): record.restart(latent.clone())
            for record, latent in zip(records, latents, strict=False)
        }
