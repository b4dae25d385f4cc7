"""Searches of registration and accusation, cut into chunks for an executor, kept in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deniability.evidence.restarts import RestartLog
from deniability.imaging.handling import Observations
from deniability.inversion.edited import plain
from deniability.inversion.engine import Engine, Partial
from deniability.inversion.executor import Chunk, Executor, LocalExecutor
from deniability.inversion.search import (
    SearchTask,
    SearchWork,
    restarts_per_chunk,
    targets_per_chunk,
)
from deniability.inversion.solution import Restart, Stop, Trace

#: Makes the seed of restart `j` of target `i`.
Seed = Callable[[int, int], bytes]
_SearchChunk = Chunk[SearchWork, Partial]


@dataclass(frozen=True)
class Targets:
    """Many targets of one search, observed as their turn comes.

    Attributes:
        count: how many.
        observe: makes the observations of targets `start` to `stop`.

    """

    count: int
    observe: Callable[[int, int], Observations]

    @classmethod
    def of(cls, observations: Observations) -> Targets:
        """Take targets that are there already."""
        return cls(len(observations), lambda start, stop: observations[start:stop])


def search(
    engine: Engine,
    targets: Targets,
    seed: Seed,
    log: RestartLog,
    *,
    executor: Executor | None = None,
    on_restart: Callable[[int, Restart], None] = lambda *_: None,
    on_step: Callable[[], None] = lambda: None,
) -> list[Trace]:
    """Search all targets, going on from the log, and return their traces.

    The restarts of a single target are cut into chunks by index; many targets by target.

    Args:
        engine: the procedure.
        targets: what is searched for.
        seed: of every restart.
        log: holds what an earlier session finished, and gets what this one does.
        executor: does the work; here if None.
        on_restart: told of every restart as it arrives.
        on_step: told now and then.

    """
    receiver = _Receiver(log, _spans(engine, targets), on_restart, on_step)
    try:
        (executor or LocalExecutor()).run(
            plain(engine.generator),
            SearchTask.of(engine),
            _chunks(engine, targets, seed, receiver),
            receiver,
        )
    finally:
        log.flush()
    return [engine.trace(log.known, target) for target in range(targets.count)]


@dataclass(frozen=True)
class _Span:
    """Which restarts of which targets make a chunk."""

    targets: range
    indices: range


def _spans(engine: Engine, targets: Targets) -> list[_Span]:
    device = engine.generator.device
    if targets.count == 1:
        size = restarts_per_chunk(device, engine.restarts)
        return [
            _Span(range(1), range(start, min(start + size, engine.restarts)))
            for start in range(0, engine.restarts, size)
        ]
    size = targets_per_chunk(device)
    return [
        _Span(range(start, min(start + size, targets.count)), range(engine.restarts))
        for start in range(0, targets.count, size)
    ]


class _Receiver:
    """Enters what arrives into the log, and tells which chunks are still needed."""

    def __init__(
        self,
        log: RestartLog,
        spans: list[_Span],
        on_restart: Callable[[int, Restart], None],
        on_step: Callable[[], None],
    ) -> None:
        self.log = log
        self.spans = spans
        self._on_restart = on_restart
        self._on_step = on_step
        self._reached: dict[int, int] = {}
        for (target, _), restart in log.known.items():
            self._note(target, restart)

    def wanted(self, number: int) -> bool:
        """Tell whether a restart is missing that no earlier one has made needless."""
        span = self.spans[number]
        return any(self._missing(target, span.indices) for target in span.targets)

    def _missing(self, target: int, indices: range) -> bool:
        end = min(indices.stop, self._reached.get(target, indices.stop))
        return any((target, index) not in self.log.known for index in range(indices.start, end))

    def _note(self, target: int, restart: Restart) -> None:
        if restart.stop is Stop.REACHED:
            self._reached[target] = min(restart.index, self._reached.get(target, restart.index))

    def found(self, number: int, results: Sequence[tuple[int, Restart]]) -> None:
        """Enter restarts that have ended."""
        del number
        for target, restart in results:
            self.log.add(target, restart)
            self._note(target, restart)
        for target, restart in results:  # what is told may interrupt; nothing is lost then
            self._on_restart(target, restart)

    def partial(self, number: int, partial: Partial | None) -> None:
        """Keep how far a chunk is."""
        self.log.keep(number, partial)

    def tick(self) -> None:
        """Show that it goes on."""
        self._on_step()


def _chunks(
    engine: Engine, targets: Targets, seed: Seed, receiver: _Receiver
) -> Iterator[_SearchChunk]:
    """Make the chunks that are needed, each when it is asked for."""
    rows: int | None = None
    for number, span in enumerate(receiver.spans):
        if not receiver.wanted(number):
            continue
        observations = targets.observe(span.targets.start, span.targets.stop)
        if rows is None:
            rows = engine.rows(observations.low.shape[1])
        first, known = span.targets.start, receiver.log.known
        work = SearchWork(
            observations=observations.to("cpu"),
            first=first,
            indices=span.indices,
            seeds=tuple(tuple(seed(t, i) for i in span.indices) for t in span.targets),
            rows=rows,
            known={
                (target - first, index): known[target, index]
                for target in span.targets
                for index in span.indices
                if (target, index) in known
            },
        )
        partial = receiver.log.partial(number)
        if partial is not None and not work.known.keys() >= set(partial.ended):
            partial = None  # a write of restarts was cut off; those that are there still count
        yield Chunk(number, work, partial)
