"""The restarts of one search as they end, kept on disk, and how far unfinished chunks are.

Restarts are only ever appended, a file at a time, so that 100,000 of them cost no more to keep than
their own size. A killed run loses what happened since the last write and the last slice of a chunk.
"""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Annotated, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)
from torch import Tensor

from deniability.evidence.state import RunState
from deniability.inversion.engine import Key, Partial
from deniability.inversion.search import packed, unpacked
from deniability.inversion.solution import Restart, Stop

_SECONDS = 10.0  # between two writes


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
    """Finished restarts of one search, and its unfinished chunks, kept in a `RunState`.

    Args:
        state: where; None keeps nothing on disk.
        name: of this search within the state.

    """

    def __init__(self, state: RunState | None, name: str) -> None:
        self._state = state
        self._name = name
        self._written = time.monotonic()
        self._new: dict[Key, Restart] = {}
        self._partials: dict[int, Partial | None] = {}
        self._segments = 0
        self.best: float | None = None
        self.known: dict[Key, Restart] = {}
        for key, restart in self._load().items():
            self._enter(key, restart)

    def add(self, target: int, restart: Restart) -> None:
        """Remember a finished restart, and write down what is new now and then."""
        key = (target, restart.index)
        self._enter(key, restart)
        if self._state is None:
            return
        self._new[key] = restart
        self._write_now_and_then()

    def keep(self, chunk: int, partial: Partial | None) -> None:
        """Remember how far a chunk is; None: it is finished."""
        if self._state is None:
            return
        self._partials[chunk] = partial
        self._write_now_and_then()

    def partial(self, chunk: int) -> Partial | None:
        """Return how far a chunk was when an earlier run ended; None if nothing is known of it."""
        stored = self._state.tensors(self._partial_name(chunk)) if self._state else None
        if self._state is None or stored is None:
            return None
        try:
            partial = unpacked(*stored)
        except (KeyError, TypeError, ValueError) as error:
            raise self._state.damaged(self._partial_name(chunk)) from error
        return partial

    def flush(self) -> None:
        """Write what is new: restarts first, since partials refer to them."""
        self._written = time.monotonic()
        if self._state is None:
            return
        if self._new:
            kept = [(key[0], r) for key, r in self._new.items() if r.latent is not None]
            latents = torch.stack([r.latent for _, r in kept if r.latent is not None])
            records = [_Record.of(target, r).model_dump(mode="json") for target, r in kept]
            name = f"{self._name}-restarts-{self._segments:06d}"
            self._state.save(name, {"latents": latents}, {"records": records})
            self._segments += 1
            self._new = {}
        for chunk, partial in self._partials.items():
            if partial is None:
                self._state.forget(self._partial_name(chunk))
            else:
                self._state.save(self._partial_name(chunk), *packed(partial))
        self._partials = {}

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self._written > _SECONDS:
            self.flush()

    def _enter(self, key: Key, restart: Restart) -> None:
        self.known[key] = restart
        if restart.residual is not None and (self.best is None or restart.residual < self.best):
            self.best = restart.residual

    def _partial_name(self, chunk: int) -> str:
        return f"{self._name}-chunk-{chunk:06d}"

    def _load(self) -> dict[Key, Restart]:
        known: dict[Key, Restart] = {}
        for name in self._state.names(f"{self._name}-restarts-") if self._state else ():
            known |= self._segment(name)
            self._segments = int(name.rpartition("-")[2]) + 1
        return known

    def _segment(self, name: str) -> dict[Key, Restart]:
        stored = self._state.tensors(name) if self._state else None
        if self._state is None or stored is None:
            return {}
        tensors, metadata = stored
        try:
            records = _RECORDS.validate_python(metadata.get("records"))
        except ValidationError as error:
            raise self._state.damaged(name) from error
        latents = tensors.get("latents")
        if latents is None or latents.ndim != 2 or len(latents) != len(records):
            raise self._state.damaged(name)
        return {
            (record.target, record.index): record.restart(latent)
            for record, latent in zip(records, latents, strict=True)
        }
