"""A search as a task for an executor: chunks of targets or of restart indices.

What a chunk is follows from targets and protocol alone, never from the number of workers; in it the
engine composes the same batches everywhere. On one kind of processor, with as many threads, the
trace is therefore the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.imaging.handling import Observations
from deniability.inversion.edited import searched, starts_for
from deniability.inversion.encoder import load_encoder
from deniability.inversion.engine import Engine, Key, Partial
from deniability.inversion.solution import Restart
from deniability.inversion.staged import StagedStarts, staged_starts
from deniability.inversion.starts import Starts

_CPU_CHUNK, _GPU_CHUNK = 64, 256
_FEW, _CHUNKS = 8, 64  # fewest restarts per chunk, and into how many chunks many are cut at least


def targets_per_chunk(device: torch.device) -> int:
    """Return how many targets make a chunk."""
    return _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK


def restarts_per_chunk(device: torch.device, restarts: int) -> int:
    """Return how many restarts of a single target make a chunk."""
    return max(_FEW, min(targets_per_chunk(device), restarts // _CHUNKS))


@dataclass(frozen=True)
class SearchWork:
    """One chunk of a search.

    Attributes:
        observations: N targets, on the CPU.
        first: number of the first of them within the whole search.
        indices: restarts to run of each.
        seeds: of each target, one for each of `indices`.
        rows: most restarts at once.
        known: restarts that ended earlier, by (target within the chunk, index); looked at only
            where there is no partial.

    """

    observations: Observations
    first: int
    indices: range
    seeds: tuple[tuple[bytes, ...], ...]
    rows: int
    known: Mapping[Key, Restart]


@dataclass(frozen=True)
class SearchTask:
    """An engine without its generator, as it travels.

    Attributes:
        engine: whose generator and encoder are missing.
        encoder: tensors of the encoder.
        staged: whether starts are searched for in two stages.

    """

    engine: Engine
    encoder: Mapping[str, Tensor] | None
    staged: bool

    @classmethod
    def of(cls, engine: Engine) -> SearchTask:
        """Take an engine apart."""
        encoder = engine.starts.encoder
        nothing = cast("Generator", None)
        return cls(
            replace(
                engine,
                generator=nothing,
                handling=engine.handling.to("cpu"),
                starts=Starts(nothing, None),
            ),
            None if encoder is None else encoder.tensors(),
            isinstance(engine.starts, StagedStarts),
        )

    def begin(self, generator: Generator, work: SearchWork, partial: Partial | None) -> SearchRun:
        """Put the engine together again and prepare the chunk."""
        encoder = None if self.encoder is None else load_encoder(self.encoder, generator)
        handling = self.engine.handling.to(generator.device)
        solver = self.engine.solver
        engine = replace(
            self.engine,
            generator=searched(generator, handling),
            handling=handling,
            starts=staged_starts(generator, handling, solver)
            if self.staged
            else starts_for(generator, encoder, handling, solver),
            batch_limit=work.rows,
        )
        return SearchRun(engine, work, partial)


class SearchRun:
    """A chunk of a search that is being worked on; results are (target, restart)."""

    def __init__(self, engine: Engine, work: SearchWork, partial: Partial | None) -> None:
        self._found: list[tuple[int, Restart]] = []
        self._run = engine.begin(
            work.observations,
            lambda target, index: work.seeds[target][index - work.indices.start],
            indices=work.indices,
            known=None if partial else work.known,
            on_restart=lambda target, restart: self._found.append((work.first + target, restart)),
        )
        if partial is not None:
            self._run.restore(partial)
        self._mark = self._run.partial()

    def step(self) -> bool:
        """Advance the batch by one step; False when the chunk is done."""
        if not self._run.refill():
            return False
        self._run.step()
        self._mark = self._run.partial()
        return True

    def found(self) -> list[tuple[int, Restart]]:
        """Hand over the restarts that ended since the last call."""
        found, self._found = self._found, []
        return found

    def partial(self) -> Partial:
        """Return where the last complete step ended, its tensors on the CPU."""
        mark = self._mark
        return replace(mark, state={name: value.cpu() for name, value in mark.state.items()})


def packed(partial: Partial) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a partial as tensors and JSON."""
    about = {
        "ended": partial.ended,
        "reached": partial.reached,
        "opened": partial.opened,
        "queue": partial.queue,
        "active": partial.active,
    }
    return dict(partial.state), about


def unpacked(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Partial:
    """Read what `packed` returned; raises KeyError, TypeError or ValueError if it is damaged."""
    return Partial(
        ended=_keys(about["ended"]),
        reached=_keys(about["reached"]),
        opened=tuple(int(number) for number in about["opened"]),
        queue=_keys(about["queue"]),
        active=_keys(about["active"]),
        state=dict(tensors),
    )


def _keys(entries: Any) -> tuple[Key, ...]:
    return tuple((int(target), int(index)) for target, index in entries)
