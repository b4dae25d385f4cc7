"""Runs restarts of many targets as one stream of batches, and records every one of them.

Restarts of a target count in index order up to the first that reaches the threshold; later ones are
`notRun`, even where a batch had room to run them ahead. So the trace depends neither on the batch
size nor on how many targets share the device, except for rounding: kernels sum in another order in
another batch. Where the bits must not change either, `inversion/search.py` cuts the work into
chunks that are the same everywhere.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from deniability.errors import GeneratorError, InputError
from deniability.generators.base import Generator
from deniability.imaging.handling import Handling, Observations
from deniability.inversion.edited import EditedGenerator
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.memory import (
    activation_bytes,
    lanes_that_fit,
    out_of_memory,
    rows_that_fit,
    too_large,
)
from deniability.inversion.objective import Objective, composed
from deniability.inversion.solution import Restart, Stop, Trace, cpu_row
from deniability.inversion.solver import Solver, State, keep_best, recorded
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
class Partial:
    """A run between two steps, exact: going on from it ends in the same bits.

    Attributes:
        ended: restarts that have ended.
        reached: of targets that reached the threshold, the first restart that did.
        opened: how many restarts of each target have been queued, counted from the first.
        queue: restarts waiting.
        active: restarts in the batch, row by row.
        state: the solver's state of the batch, by field, on the CPU; empty if it is empty.

    """

    ended: tuple[Key, ...]
    reached: tuple[Key, ...]
    opened: tuple[int, ...]
    queue: tuple[Key, ...]
    active: tuple[Key, ...]
    state: Mapping[str, Tensor]


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
        finished = dict(known or {})

        def ended(target: int, restart: Restart) -> None:
            finished[target, restart.index] = restart
            on_restart(target, restart)

        run = self.begin(observations, seed, known=known, on_restart=ended)
        while run.refill():
            run.step()
            on_step()
        return [self.trace(finished, target) for target in range(len(observations))]

    def begin(
        self,
        observations: Observations,
        seed: Callable[[int, int], bytes],
        *,
        indices: range | None = None,
        known: Mapping[Key, Restart] | None = None,
        on_restart: OnRestart = _nothing,
    ) -> Run:
        """Prepare to search all targets step by step; the arguments are those of `run`.

        `indices` are the restarts to run of each target; None for all.
        """
        run = Run(self, observations, seed, on_restart, indices or range(self.restarts))
        for (target, _), restart in sorted((known or {}).items()):
            run.record(target, restart, announce=False)
        return run

    def rows(self, coordinates: int) -> int:
        """Return how many restarts on observations of `coordinates` m are run at once."""
        return rows_that_fit(
            coordinates=coordinates,
            dimension=self.generator.dimension,
            device=self.generator.device,
            limit=self.batch_limit,
            activation=activation_bytes(self.generator),
            dense=self.solver.dense,
        )

    def trace(self, finished: Mapping[Key, Restart], target: int) -> Trace:
        """Assemble a target's trace, in index order, from the restarts that have ended."""
        restarts: list[Restart] = []
        for index in range(self.restarts):
            if restarts and restarts[-1].stop in {Stop.REACHED, Stop.NOT_RUN}:
                kind = self.starts.kind(index)
                restarts.append(Restart(index, kind, Stop.NOT_RUN, None, None, 0, None))
            else:
                restarts.append(finished[target, index])
        return Trace(tuple(restarts))

    def from_latents(self, observations: Observations, latents: Tensor) -> list[Restart]:
        """Refine given latents `N x d`, one per target; used where the truth is known."""
        refined: dict[int, Restart] = {}
        run = Run(self, observations, lambda *_: b"", refined.__setitem__, range(1), given=latents)
        while run.refill():
            run.step()
        return [refined[target] for target in range(len(observations))]


@dataclass
class Run:
    """The mutable part of one search: `refill` and `step` until `refill` says that all is done."""

    engine: Engine
    observations: Observations
    seed: Callable[[int, int], bytes]
    on_restart: OnRestart
    indices: range
    given: Tensor | None = None
    ended: dict[Key, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        engine = self.engine
        self._forward = composed(engine.generator, engine.handling.operator)
        self._jacobian: Jacobian | None = None
        self._group: int | None = None  # rows stepped at once, after the memory has run out
        self._guesses = (
            engine.starts.guesses(self.observations.pixels) if self.given is None else None
        )
        self._reached: dict[int, int] = {}
        self._opened = [self.indices.start] * len(self.observations)
        self._settled = [self.indices.start] * len(self.observations)  # all before it have ended
        self._queue: list[tuple[int, int]] = []  # (index, target), smallest first
        self._active: list[Key] = []
        self._objective: Objective | None = None
        self._state: State | None = None
        for target in range(len(self.observations)):
            self._open(target)

    @functools.cached_property
    def _rows(self) -> int:
        """How many restarts are in the batch at most."""
        return self.engine.rows(self.observations.low.shape[1])

    def _open(self, target: int) -> None:
        """Queue the next restarts of a target: one, then two, then four at a time.

        A target on its own gets all at once, since nothing else could use the device; not so where
        starts are raced for, which would often be in vain.
        """
        opened = self._opened[target]
        alone = len(self.observations) == 1 and not any(map(self.engine.starts.races, self.indices))
        more = len(self.indices) if alone else max(1, opened - self.indices.start)
        for index in range(opened, min(self.indices.stop, opened + more)):
            heapq.heappush(self._queue, (index, target))
            self._opened[target] = index + 1

    def record(self, target: int, restart: Restart, *, announce: bool = True) -> None:
        """Enter a finished restart; queue more of its target if all so far have failed."""
        self.ended[target, restart.index] = None
        if announce:
            self.on_restart(target, restart)
        if restart.stop is Stop.REACHED:
            self._reached[target] = min(restart.index, self._reached.get(target, restart.index))
        wanted = self._reached.get(target, self.indices.stop)
        while (target, self._settled[target]) in self.ended:
            self._settled[target] += 1
        while self._settled[target] >= self._opened[target] < wanted:
            self._open(target)

    def _wanted(self, key: Key) -> bool:
        target, index = key
        return key not in self.ended and index < self._reached.get(target, self.indices.stop)

    def partial(self) -> Partial:
        """Return where the run is, between two steps."""
        state = self._state if self._active else None
        return Partial(
            ended=tuple(self.ended),
            reached=tuple(self._reached.items()),
            opened=tuple(self._opened),
            queue=tuple((target, index) for index, target in sorted(self._queue)),
            active=tuple(self._active),
            state={} if state is None else {f.name: getattr(state, f.name) for f in fields(state)},
        )

    def restore(self, partial: Partial) -> None:
        """Go on from where another run on the same targets was.

        Raises:
            InputError: it is of another search.

        """
        self.ended = dict.fromkeys(partial.ended)
        self._reached = dict(partial.reached)
        self._opened = list(partial.opened)
        for target in range(len(self.observations)):
            while (target, self._settled[target]) in self.ended:
                self._settled[target] += 1
        self._queue = [(index, target) for target, index in partial.queue]
        self._active = []
        if partial.active:
            # The right shapes; then the right numbers.
            nothing = torch.zeros(len(partial.active), self.engine.generator.dimension)
            self._start(list(partial.active), nothing, restored=True)
            assert self._state is not None  # noqa: S101
            device = self.engine.generator.device
            fresh = {f.name: getattr(self._state, f.name) for f in fields(self._state)}
            if {n: (t.shape, t.dtype) for n, t in fresh.items()} != {
                n: (t.shape, t.dtype) for n, t in partial.state.items()
            }:
                raise InputError(
                    "the state of an interrupted search does not fit the search",
                    hint="Run without --resume to start afresh.",
                )
            stored = {name: tensor.to(device) for name, tensor in partial.state.items()}
            self._state = replace(self._state, **stored)

    def refill(self) -> bool:
        """Drop what is no longer wanted, fill the batch from the queue; False when all is done."""
        keep = [row for row, key in enumerate(self._active) if self._wanted(key)]
        if len(keep) < len(self._active):
            self._select(keep)
        fresh: list[Key] = []
        while self._queue and not self._wanted(self._queue[0][::-1]):
            heapq.heappop(self._queue)
        together = self.engine.starts.together
        while self._queue and len(self._active) + len(fresh) < min(self._rows, together):
            index, target = heapq.heappop(self._queue)
            if self._wanted((target, index)):
                fresh.append((target, index))
                if self.engine.starts.races(index):
                    break  # it takes as long as many steps: the others come after the next
        if fresh:
            self._start(
                fresh, torch.stack([self._latent(target, index) for target, index in fresh])
            )
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
            stepped = self._stepped(self._objective, self._state)
            self._state = self._chosen_again(self._objective, stepped)

    def _chosen_again(self, objective: Objective, state: State) -> State:
        """Let restarts take another of finitely many edits now and then, where it fits better."""
        generator = self.engine.generator
        if not isinstance(generator, EditedGenerator) or not generator.edit.modes:
            return state
        latents = generator.fitted(state.latents, state.iterations, objective, self.engine.handling)
        changed = torch.nonzero((latents != state.latents).any(dim=1))[:, 0]
        if not len(changed):
            return state
        old: State = state.rows(changed)
        new: State = self.engine.solver.init(objective.rows(changed), latents[changed])
        kept = keep_best(objective.rows(changed), old, new.latents, new.values)
        return state.replaced(changed, replace(new, iterations=old.iterations, **kept))

    def _stepped(self, objective: Objective, state: State) -> State:
        """Take one step with every row; after the memory has run out, with fewer rows at a time."""
        while True:
            try:
                if self._group is None or len(self._active) <= self._group:
                    return self._solved(objective, state)
                rows = torch.arange(len(self._active), device=state.latents.device)
                parts = [
                    self._solved(objective.rows(part), state.rows(part))
                    for part in rows.split(self._group)  # type: ignore[no-untyped-call]
                ]
            except (RuntimeError, MemoryError, GeneratorError) as error:
                if not out_of_memory(error):
                    raise
                if self._group == 1 or len(self._active) == 1:
                    raise too_large(
                        coordinates=self.observations.low.shape[1],
                        dimension=self.engine.generator.dimension,
                        device=self.engine.generator.device,
                    ) from error
                self._group = max(1, min(self._group or self._rows, len(self._active)) // 2)
            else:
                whole = parts[0]
                for part in parts[1:]:
                    whole = whole.joined(part)
                return whole
            if state.latents.is_cuda:
                torch.cuda.empty_cache()

    def _solved(self, objective: Objective, state: State) -> State:
        stepped: State = self.engine.solver.step(objective, state)
        return stepped

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

    def _start(self, keys: list[Key], latents: Tensor, *, restored: bool = False) -> None:
        """Put restarts that begin at `latents` into the batch."""
        generator = self.engine.generator
        device = generator.device
        if self._jacobian is None:
            lanes = lanes_that_fit(generator)
            self._jacobian = Jacobian(
                self._forward, generator.dimension, lanes, free=generator.free
            )
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
            trim=self.engine.handling.trim if self.engine.handling.trims else None,
        )
        latents = latents.to(device)
        if self.given is None and not restored:
            latents = self._refined(keys, objective, latents)
        state = self.engine.solver.init(objective, latents)
        if self._state is None or self._objective is None or not self._active:
            self._state, self._objective, self._active = state, objective, list(keys)
            return
        self._state = self._state.joined(state)
        self._objective = self._objective.joined(objective)
        self._active += keys

    def _refined(self, keys: list[Key], objective: Objective, latents: Tensor) -> Tensor:
        """Let the starts look at the targets, one by one."""
        rows = torch.arange(len(keys), device=latents.device)
        refined = [
            self.engine.starts.refined(index, objective.rows(row), latents[row])
            for row, (_, index) in zip(rows.split(1), keys, strict=True)  # type: ignore[no-untyped-call]
        ]
        return torch.cat(refined)

    def _latent(self, target: int, index: int) -> Tensor:
        if self.given is not None:
            return self.given[target].to(self.engine.generator.device)
        guess = None if self._guesses is None else self._guesses[target]
        return self.engine.starts.latent(index, self.seed(target, index), guess)
