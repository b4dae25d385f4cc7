"""Step 11 of SPEC.md: every restart is there, from its derived seed, up to the one that reached.

Almost always nothing is wrong. So one tight loop says so, and only where it does not are the checks
made that name what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from deniability.verify.follows import check_residual, equal
from deniability.wire.exclusion import Exclusion
from deniability.wire.numbers import order_of
from deniability.wire.observation import ObservationKind
from deniability.wire.restarts import RestartRecord, Restarts
from deniability.wire.roles import StartKind, label_rank, restart_seeds, searched_as, start_kind


@dataclass(frozen=True)
class Trace:
    """All restarts of one search, and what they must follow from.

    Attributes:
        exclusion: whose search it is.
        restarts: as recorded.
        kind: what the accused file was taken for.
        threshold: at or below which a restart ends the search.
        field: name of the restarts' field.
        decided: whether an earlier family has reached the picture: then none needs to be run.

    """

    exclusion: Exclusion
    restarts: Restarts
    kind: ObservationKind
    threshold: str
    field: str = "restarts"
    decided: bool = False

    @property
    def skipped(self) -> bool:
        """Whether it says that nothing had to be run."""
        return self.decided and all(stop == "notRun" for stop in self.restarts.columns.stop)


def check_trace(trace: Trace, where: str) -> None:
    """Check number, order, seeds, starts and outcomes of the restarts.

    Raises:
        CommitmentError: one is missing, repeated, out of order, or not as it follows.

    """
    exclusion = trace.exclusion
    equal(f"{trace.field} (count)", exclusion.protocol.searches, len(trace.restarts), where)
    seeds = restart_seeds(
        exclusion.model,
        exclusion.protocol.digest,
        searched_as(exclusion.accused.file.sha256, trace.kind),
        len(trace.restarts),
    )
    if not _all_follow(trace, seeds):
        _check_each(trace, seeds, where)
        _check_stop_order(trace, where)
    _check_label_order(trace, where)


def _start_kinds(exclusion: Exclusion) -> Callable[[int], StartKind]:
    """Return which start each restart must have, by its index."""
    return partial(
        start_kind,
        encoder=exclusion.encoder is not None,
        labels=exclusion.generator.label_count,
        staged=exclusion.stages is not None,
    )


def _all_follow(trace: Trace, seeds: list[str]) -> bool:
    """Tell whether `_check_each` and `_check_stop_order` have nothing to refuse."""
    kind_of = _start_kinds(trace.exclusion)
    least = order_of(trace.exclusion.protocol.resolution)
    threshold = order_of(trace.threshold)
    done = trace.skipped
    columns = trace.restarts.columns
    if [*columns.index] != [*range(len(seeds))] or [*columns.seed] != seeds:
        return False
    rows = zip(
        *(trace.restarts.orders, columns.stop, columns.start, columns.distance, columns.latent),
        strict=True,
    )
    for index, (order, stop, start, distance, latent) in enumerate(rows):
        if (
            start != kind_of(index)
            or done is not (stop == "notRun")
            or (order is None) is not (distance is None)
        ):
            return False
        if order is not None:
            done = order <= threshold
            if (
                stop in {"nonFinite", "notRun"}
                or latent is None
                or done is not (stop == "reached")
                or (order < least and columns.residual[index] != "0")
            ):
                return False
        elif stop == "notRun":
            if latent is not None or columns.iterations[index]:
                return False
        elif stop != "nonFinite":
            return False
    return True


def _check_each(trace: Trace, seeds: list[str], where: str) -> None:
    kind_of = _start_kinds(trace.exclusion)
    for index, (restart, seed) in enumerate(zip(trace.restarts, seeds, strict=True)):
        field = f"{trace.field}.{index}"
        equal(f"{field}.index", index, restart.index, where)
        equal(f"{field}.seed", seed, restart.seed, where)
        equal(f"{field}.start", kind_of(index), restart.start, where)
        check_residual(restart.residual, trace.exclusion.protocol, f"{field}.residual", where)
        _check_outcome(restart, field, where)


def _check_outcome(restart: RestartRecord, field: str, where: str) -> None:
    finite = restart.stop not in {"notRun", "nonFinite"}
    equal(f"{field}.residual", finite, restart.residual is not None, where)
    equal(f"{field}.distance", finite, restart.distance is not None, where)
    if restart.stop == "notRun":
        equal(f"{field}.latent", None, restart.latent, where)
        equal(f"{field}.iterations", 0, restart.iterations, where)
    elif finite:
        equal(f"{field}.latent", True, restart.latent is not None, where)


def _check_stop_order(trace: Trace, where: str) -> None:
    """Restarts run in index order up to the first that reaches the threshold."""
    threshold = order_of(trace.threshold)
    done = trace.skipped
    for index, restart in enumerate(trace.restarts):
        field = f"{trace.field}.{index}.stop"
        equal(f"{field} (after a reached one)", done, restart.stop == "notRun", where)
        if restart.stop != "notRun":
            reached = restart.residual is not None and order_of(restart.residual) <= threshold
            equal(field, reached, restart.stop == "reached", where)
            done = done or reached


def _check_label_order(trace: Trace, where: str) -> None:
    """Every label gets its turns: restarts of one rank try one label, those of two ranks two."""
    count, encoder = trace.exclusion.generator.label_count, trace.exclusion.encoder is not None
    if count == 1 and all(label is None for label in trace.restarts.columns.label):
        return
    turns: dict[int, int] = {}
    tried: set[int] = set()
    for index, restart in enumerate(trace.restarts):
        field = f"{trace.field}.{index}.label"
        if count == 1 or restart.stop == "notRun":
            equal(field, None, restart.label, where)
            continue
        if restart.label is None or restart.label >= count:
            equal(field, f"0 to {count - 1}", restart.label, where)
            continue
        rank = label_rank(index, encoder=encoder, labels=count)
        if not encoder:
            equal(field, rank, restart.label, where)
        elif rank not in turns and restart.label in tried:
            equal(field, "one that was not tried yet", restart.label, where)
        equal(field, turns.setdefault(rank, restart.label), restart.label, where)
        tried.add(restart.label)
