"""Searching for many pictures in one family as `deny prove` would for each, and what it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Seed, Targets, search
from deniability.evidence.state import RunState
from deniability.imaging.handling import Handling, Pixels
from deniability.inversion.executor import Executor
from deniability.inversion.solution import Restart, Stop, Trace
from deniability.stats.verdict import thresholds
from deniability.wire.controls import ControlSet
from deniability.wire.numbers import decimal_string


@dataclass(frozen=True)
class Measurement:
    """Smallest residuals of many pictures in one family.

    Attributes:
        residuals: as an evaluation states them.
        iterations: linearisations or gradients of all restarts.
        seconds: that it took; after an interruption only what was left.

    """

    residuals: tuple[str, ...]
    iterations: int
    seconds: float


def measure(
    procedure: Procedure,
    handling: Handling,
    controls: ControlSet,
    pictures: Pixels,
    *,
    seeds: list[bytes],
    restart_seed: Seed,
    state: RunState | None = None,
    name: str = "measured",
    progress: Progress | None = None,
    batch_limit: int | None = None,
    executor: Executor | None = None,
) -> Measurement:
    """Handle pictures, search for each as for an accused one, and take the smallest residuals.

    Args:
        procedure: what searches.
        handling: of the family.
        controls: of the family, whose threshold ends a search.
        pictures: N x C x H x W uint8, before they are handled.
        seeds: of what is random in the handling of each.
        restart_seed: of every restart.
        state: where finished restarts are kept; None keeps nothing.
        name: of this search within the state.
        progress: is told how many pictures are finished.
        batch_limit: most restarts at once; the memory decides if None.
        executor: searches; in this process if None.

    """
    begun = time.monotonic()
    restarts = procedure.protocol.searches
    limits = thresholds(controls, procedure.protocol)
    engine = procedure.engine(handling, limits.threshold, batch_limit=batch_limit)
    log = RestartLog(state, name)
    report = progress or Silent()
    ended = {target for (target, _), restart in log.known.items() if restart.stop is Stop.REACHED}

    def on_restart(target: int, restart: Restart) -> None:
        if restart.stop is Stop.REACHED or restart.index == restarts - 1:
            ended.add(target)
            report.advance(len(ended))

    traces = search(
        replace(engine, restarts=restarts),
        Targets(
            len(pictures),
            lambda start, stop: handling.controls(pictures[start:stop], seeds[start:stop]),
        ),
        restart_seed,
        log,
        executor=executor,
        on_restart=on_restart,
        on_step=lambda: report.advance(len(ended)),
    )
    return Measurement(
        residuals=tuple(_smallest(trace) for trace in traces),
        iterations=sum(r.iterations for trace in traces for r in trace.restarts),
        seconds=time.monotonic() - begun,
    )


def _smallest(trace: Trace) -> str:
    """Return the statistic; not finite where the rule would say that the search is incomplete."""
    reached = any(restart.stop is Stop.REACHED for restart in trace.restarts)
    complete = all(restart.residual is not None for restart in trace.restarts)
    if trace.residual is None or not (reached or complete):
        return "notFinite"
    return decimal_string(trace.residual)
