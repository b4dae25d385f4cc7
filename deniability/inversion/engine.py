"""Runs restarts of many targets as one stream of batches, and records every one of them.

Restarts of a target count in index order up to the first that reaches the threshold; later ones are
`notRun`, even where a batch had room to run them ahead. So the trace depends neither on the batch
size nor on how many targets share the device.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.imaging.handling import Handling, Observations
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.memory import rows_that_fit
from deniability.inversion.objective import Objective, composed
from deniability.inversion.solution import Restart, Stop, Trace, cpu_row
from deniability.inversion.solver import Solver, State, recorded
from deniability.inversion.starts import Starts

#: Identifies a restart: (target, index).
Key = tuple[int, int]
#: Called with every restart that ends, in no particular order.
OnRestart = Callable[[int, Restart], None]
#: Called after every step of the batch, with the smallest statistic of each active target.
OnStep = Callable[[], None]


def _nothing(*_: object) -> None:
    """Ignore an event."""


@dataclass(frozen=True)
class Engine:
    """A search procedure: one generator, one handling, one solver, one way to start.

    Attributes:
        generator, handling, solver, starts: what is searched, how, and from where.
        restarts: restarts per target.
        threshold: statistic at or below which a target counts as reached.
        resolution: statistics below it are recorded as 0.
        batch_limit: most restarts at once; None for what fits memory.

    """

    generator: Generator
    handling: Handling
    solver: Solver[Any]
    starts: Starts
    restarts: int
    threshold: float
    resolution: float
    batch_limit: int | None = None

    def run(
        self,
        observations: Observations,
        seed: Callable[[int, int], bytes],
        *,
        known: Mapping[Key, Restart] | None = None,
        on_restart: OnRestart = _nothing,
        on_step: OnStep = _nothing,
    ) -> list[Trace]:
        """Search all targets.

        Args:
            observations: N targets of this handling's kind.
            seed: 32 derived bytes for restart `j` of target `i`.
            known: restarts finished in an earlier session; they are not run again.
            on_restart: told of every restart as it ends.
            on_step: told after every step.

        Returns:
            N traces of `restarts` restarts each.

        Raises:
            GeneratorError: one restart does not fit memory, or the model cannot be differentiated.

        """
        run = _Run(self, observations, seed, on_restart)
        for (target, _), restart in sorted((known or {}).items()):
            run.record(target, restart, announce=False)
        while run.refill():
            run.step()
            on_step()
        return [run.trace(target) for target in range(len(observations))]

    def from_latents(self, observations: Observations, latents: Tensor) -> list[Restart]:
        """Refine given latents `N x d`, one per target; used where the truth is known."""
        engine = _Run(self, observations, lambda *_: b"", _nothing, given=latents)
        while engine.refill():
            engine.step()
        return [engine.finished[target, 0] for target in range(len(observations))]


@dataclass
class _Run:
    """The mutable part of one `Engine.run`."""

    engine: Engine
    observations: Observations
    seed: Callable[[int, int], bytes]
    on_restart: OnRestart
    given: Tensor | None = None
    finished: dict[Key, Restart] = field(default_factory=dict)

    def __post_init__(self) -> None:
        engine = self.engine
        device = engine.generator.device
        self._restarts = 1 if self.given is not None else engine.restarts
        self._forward = composed(engine.generator, engine.handling.operator)
        self._rows = rows_that_fit(
            coordinates=self.observations.low.shape[1],
            dimension=engine.generator.dimension,
            device=device,
            limit=engine.batch_limit,
        )
        self._jacobian = Jacobian(
            self._forward,
            engine.generator.dimension,
            lanes=256 if device.type == "cpu" else 4096,
            free=engine.generator.free,
        )
        self._guesses = (
            engine.starts.guesses(self.observations.pixels) if self.given is None else None
        )
        self._reached: dict[int, int] = {}
        self._opened = [0] * len(self.observations)
        self._queue: list[tuple[int, int]] = []  # (index, target), smallest first
        self._active: list[Key] = []
        self._objective: Objective | None = None
        self._state: State | None = None
        for target in range(len(self.observations)):
            self._open(target)

    def _open(self, target: int) -> None:
        """Queue the next restarts of a target: one, then two, then four at a time.

        A target on its own gets all at once, since nothing else could use the device.
        """
        opened = self._opened[target]
        more = self._restarts if len(self.observations) == 1 else max(1, opened)
        for index in range(opened, min(self._restarts, opened + more)):
            heapq.heappush(self._queue, (index, target))
            self._opened[target] = index + 1

    def record(self, target: int, restart: Restart, *, announce: bool = True) -> None:
        """Enter a finished restart; queue more of its target if all so far have failed."""
        self.finished[target, restart.index] = restart
        if announce:
            self.on_restart(target, restart)
        if restart.stop is Stop.REACHED:
            self._reached[target] = min(restart.index, self._reached.get(target, restart.index))
        wanted = self._reached.get(target, self._restarts)
        while self._opened[target] < wanted and all(
            (target, index) in self.finished for index in range(self._opened[target])
        ):
            self._open(target)

    def _wanted(self, key: Key) -> bool:
        target, index = key
        return key not in self.finished and index < self._reached.get(target, self._restarts)

    def refill(self) -> bool:
        """Drop what is no longer wanted, fill the batch from the queue; False when all is done."""
        keep = [row for row, key in enumerate(self._active) if self._wanted(key)]
        if len(keep) < len(self._active):
            self._select(keep)
        fresh: list[Key] = []
        while self._queue and len(self._active) + len(fresh) < self._rows:
            index, target = heapq.heappop(self._queue)
            if self._wanted((target, index)):
                fresh.append((target, index))
        if fresh:
            self._start(fresh)
        return bool(self._active)

    def step(self) -> None:
        """Advance the batch by one step, or end those that are done before it."""
        assert self._state is not None  # noqa: S101 - refill() said that the batch is not empty
        assert self._objective is not None  # noqa: S101
        self._collect()
        keep = [row for row, key in enumerate(self._active) if self._wanted(key)]
        if len(keep) < len(self._active):
            self._select(keep)
        if self._active:
            self._state = self.engine.solver.step(self._objective, self._state)

    def trace(self, target: int) -> Trace:
        """Assemble a target's trace in index order."""
        last = self._reached.get(target, self._restarts - 1)
        return Trace(
            tuple(
                self.finished[target, index]
                if index <= last
                else Restart(
                    index, self.engine.starts.kind(index), Stop.NOT_RUN, None, None, 0, None
                )
                for index in range(self._restarts)
            )
        )

    def _collect(self) -> None:
        state = self._state
        assert state is not None  # noqa: S101
        reasons = self.engine.solver.terminate(state, self.engine.threshold)
        for row, (key, reason) in enumerate(zip(self._active, reasons, strict=True)):
            if reason is not None:
                self.record(key[0], self._restart(state, row, key[1], reason))

    def _restart(self, state: State, row: int, index: int, reason: Stop) -> Restart:
        statistic = recorded(float(state.statistic[row]))
        finite = statistic != float("inf")
        return Restart(
            index=index,
            start=self.engine.starts.kind(index),
            stop=reason,
            residual=(0.0 if statistic < self.engine.resolution else statistic) if finite else None,
            distance=float(state.distance[row]) if finite else None,
            iterations=int(state.iterations[row]),
            latent=cpu_row(state.best, row),
        )

    def _select(self, keep: list[int]) -> None:
        assert self._state is not None  # noqa: S101
        assert self._objective is not None  # noqa: S101
        index = torch.tensor(keep, dtype=torch.int64, device=self.engine.generator.device)
        self._state = self._state.rows(index)
        self._objective = self._objective.rows(index)
        self._active = [self._active[row] for row in keep]

    def _start(self, keys: list[Key]) -> None:
        device = self.engine.generator.device
        targets = torch.tensor([target for target, _ in keys])
        chosen = self.observations[targets]
        objective = Objective(
            forward=self._forward,
            jacobian=self._jacobian,
            low=chosen.low.to(device),
            high=chosen.high.to(device),
            centre=chosen.centre.to(device),
            slack=self.engine.handling.slack,
            free=self.engine.generator.free,
        )
        latents = torch.stack([self._latent(target, index) for target, index in keys])
        state = self.engine.solver.init(objective, latents.to(device))
        if self._state is None or self._objective is None or not self._active:
            self._state, self._objective, self._active = state, objective, list(keys)
            return
        self._state = self._state.joined(state)
        self._objective = self._objective.joined(objective)
        self._active += keys

    def _latent(self, target: int, index: int) -> Tensor:
        if self.given is not None:
            return self.given[target].to(self.engine.generator.device)
        guess = None if self._guesses is None else self._guesses[target]
        return self.engine.starts.latent(index, self.seed(target, index), guess)
