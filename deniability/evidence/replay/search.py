"""Level V2: a search of the verifier's own, and fresh controls."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from deniability.errors import InputError, ReplayError
from deniability.evidence.calibrate import control_observations, statistic_at, true_numbers
from deniability.evidence.latents import drawn_latents
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.replay.case import Case, Family, open_case
from deniability.evidence.replay.found import FamilySearch, SearchReplay
from deniability.generators.base import Generator
from deniability.inversion.edited import starts_for
from deniability.inversion.engine import Engine
from deniability.inversion.solution import Restart, Stop
from deniability.stats.binomial import (
    decimal_up,
    detection_probability,
    hypergeometric_tail,
    upper_bound,
    upper_bound_at_most,
)
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import decide, residual, thresholds
from deniability.verify.bundle import VerifiedBundle
from deniability.wire.edits import WORDS
from deniability.wire.exclusion import Exclusion
from deniability.wire.numbers import decimal_string
from deniability.wire.restarts import Restarts
from deniability.wire.roles import restart_seed, searched_as

#: V2 fails if the verifier's search gets below the prover's residual by more than this factor, or
#: low enough to change the finding ...
_CLEARLY_LOWER = 0.5
#: ... or if fresh controls are worse than the bundle's with this significance.
_SIGNIFICANCE = Fraction(1, 20)
#: Most fresh controls that are also searched for without the prover's encoder.
_PROBED = 32


@dataclass(frozen=True)
class _Fresh:
    """Fresh controls of one family.

    Attributes:
        residuals: that the search reached.
        truths: residuals at the true numbers, where an edit is between: as low as there, the
            search has found what there is. None for unedited outputs.
        probed, alone: how many were searched for from prior draws alone as well, and found.

    """

    residuals: list[str | None]
    truths: list[str | None]
    probed: int
    alone: int


def replay_search(
    verified: VerifiedBundle,
    *,
    image: Path,
    generator: Generator,
    sidecar: Path,
    count: int,
    progress: Progress | None = None,
) -> SearchReplay:
    """Level V2: search the accused picture again, and invert `count` fresh controls.

    Args:
        verified: the bundle at V0; run V1 first.
        image: the accused file.
        generator: the model, loaded by the verifier.
        sidecar: the latents file written beside the bundle.
        count: fresh controls of each family of handling, and restarts on the accused from the
            prover's seeds (no more than the protocol's).
        progress: is told what happens.

    Raises:
        ReplayError: the search gets clearly lower on the accused, or the fresh controls' tail is
            worse than the bundle's.

    """
    if count < 1:
        raise InputError("nothing to replay", where="--replay", expected="1 or more")
    report = progress or Silent()
    case = open_case(verified, image, generator, sidecar)
    found: list[FamilySearch] = []
    for family in case.families:
        result = _searched(case, family, count, report)
        _judge(case.exclusion, family, result)
        found.append(result)
    first, *handled = found
    alpha = case.exclusion.protocol.alpha
    return SearchReplay(
        **vars(first),
        detection=detection_probability(count, Fraction(alpha)),
        alpha=alpha,
        handled=tuple(handled),
    )


def _searched(case: Case, family: Family, count: int, report: Progress) -> FamilySearch:
    """Search for the picture, and for fresh controls, of one family of handling."""
    procedure, handling = case.procedure, family.handling
    limits = thresholds(family.controls, procedure.protocol)
    engine = procedure.engine(handling, limits.threshold)
    starts = starts_for(procedure.generator, None, handling, engine.solver)
    alone = replace(engine, starts=starts)
    best, restarts = _search_again(case, family, engine, alone, count, report)
    fresh = _fresh_controls(case, family, engine, alone, count, report)
    statistic = family.finding.statistic
    limit = residual(statistic)
    extreme = sum(residual(r) >= limit for r in fresh.residuals)
    reached = [
        r
        for r, truth in zip(fresh.residuals, fresh.truths, strict=True)
        if r is not None and Fraction(r) <= max(limits.threshold, Fraction(truth or 0))
    ]
    n, k = len(family.controls.controls), family.finding.k
    return FamilySearch(
        family=family.name,
        prover_residual=statistic,
        best=best,
        restarts=restarts,
        fresh=count,
        extreme=extreme,
        recovered=len(reached),
        probed=fresh.probed,
        alone=fresh.alone,
        pooled_bound=upper_bound(k + extreme, n + count),
    )


def _search_again(
    case: Case, family: Family, engine: Engine, alone: Engine, count: int, report: Progress
) -> tuple[float | None, int]:
    """Search from the prover's seeds and from prior draws by the verifier's own randomness.

    Of the prover's, `count` restarts; of the own ones, which owe nothing to the prover's encoder,
    always as many as the protocol has.
    """
    exclusion, searches = case.exclusion, case.exclusion.protocol.searches
    count = min(count, searches)
    digest = exclusion.protocol.digest
    picture = searched_as(exclusion.accused.file.sha256, family.handling.kind)
    report.phase(
        f"searching for the accused picture again{_as(family)}",
        count + searches,
    )
    done = 0

    def on_restart(_: int, restart: Restart) -> None:
        nonlocal done
        done += 1
        report.advance(done, best=restart.residual)

    (theirs,) = replace(engine, restarts=count).run(
        family.observations,
        lambda _, index: restart_seed(exclusion.model, digest, picture, index),
        on_restart=on_restart,
    )
    (ours,) = replace(alone, restarts=searches).run(
        family.observations, lambda *_: secrets.token_bytes(32), on_restart=on_restart
    )
    found = [t.residual for t in (theirs, ours) if t.residual is not None]
    run = sum(r.stop is not Stop.NOT_RUN for t in (theirs, ours) for r in t.restarts)
    return min(found, default=None), run


def _fresh_controls(
    case: Case, family: Family, engine: Engine, alone: Engine, count: int, report: Progress
) -> _Fresh:
    """Draw, handle and invert fresh controls with the system's randomness."""
    procedure, handling = case.procedure, family.handling
    report.phase(f"inverting fresh controls{_as(family)}", count)
    residuals: list[str | None] = []
    truths: list[str | None] = []
    probed = found = 0
    for start in range(0, count, 256):
        size = min(256, count - start)
        seeds = [secrets.token_bytes(32) for _ in range(size)]
        spec = procedure.generator.spec
        drawn = drawn_latents(spec, handling.kind, seeds)
        observations = control_observations(procedure, handling, drawn, seeds)
        if handling.kind.edit is None:
            truths += [None] * size
        else:
            numbers = true_numbers(handling, drawn, seeds)
            at_truths = statistic_at(procedure, handling, observations, numbers)
            truths += [None if t is None else decimal_string(t) for t in at_truths]
        ended: set[int] = set()

        def on_restart(
            target: int, restart: Restart, ended: set[int] = ended, start: int = start
        ) -> None:
            if restart.stop is Stop.REACHED or restart.index == engine.restarts - 1:
                ended.add(target)
                report.advance(start + len(ended))

        traces = engine.run(observations, lambda *_: secrets.token_bytes(32), on_restart=on_restart)
        residuals += [None if t.residual is None else decimal_string(t.residual) for t in traces]
        if start == 0:
            probed = min(size, _PROBED)
            again = alone.run(observations[:probed], lambda *_: secrets.token_bytes(32))
            found = sum(any(r.stop is Stop.REACHED for r in t.restarts) for t in again)
    return _Fresh(residuals, truths, probed, found)


def _as(family: Family) -> str:
    edit = family.handling.kind.edit
    return "" if edit is None else f", {WORDS[edit]}"


def _judge(exclusion: Exclusion, family: Family, result: FamilySearch) -> None:
    """Refuse what a search of one family contradicts; each is judged as if it were the only one."""
    protocol, verdict = exclusion.protocol, exclusion.finding.verdict
    if verdict != "excluded":
        return  # nothing is denied, so there is nothing that a better search could overturn
    if result.best is not None:
        _check_lower(exclusion, family, result.best)
    n, k = len(family.controls.controls), family.finding.k
    field, share = f"finding.families.{family.number}", Fraction(protocol.recall)
    chance = hypergeometric_tail(result.extreme, result.fresh, k, n)
    if chance < _SIGNIFICANCE and result.extreme > 0:
        raise ReplayError(
            "fresh controls are harder than the bundle's: its controls' tail is not believable",
            where=f"{family.prefix}controls",
            expected=f"about {k} of {n} at least as extreme",
            found=f"{result.extreme} of {result.fresh} (probability {decimal_up(chance, 6)})",
        )
    if not upper_bound_at_most(k + result.extreme, n + result.fresh, Fraction(protocol.alpha)):
        raise ReplayError(
            "with the fresh controls the bound is above what the protocol allows",
            where=f"{field}.upperBound",
            expected=f"at most {protocol.alpha}",
            found=decimal_up(result.pooled_bound, 6),
        )
    if upper_bound(result.recovered, result.fresh) < share:
        raise ReplayError(
            "the search finds too few fresh controls again",
            where=f"{field}.recovered",
            expected=f"a share of {protocol.recall}",
            found=f"{result.recovered} of {result.fresh}",
        )


def _check_lower(exclusion: Exclusion, family: Family, best: float) -> None:
    """Refuse if the finding does not hold with the residual that this search reached."""
    claimed = residual(family.finding.statistic)
    first, *others = family.restarts
    lowered = first.model_copy(update={"residual": decimal_string(best), "stop": "stalled"})
    traces = [exclusion.restarts, *(one.restarts for one in exclusion.handled or ())]
    traces[family.number] = Restarts([lowered, *others])
    finding = decide(
        protocol=exclusion.protocol,
        controls=exclusion.controls,
        restarts=traces[0],
        cautions=(
            *exclusion.accused.cautions,
            *model_cautions(exclusion.generator.format),
        ),
        model_digest=exclusion.model.digest,
        pixel_for_pixel=False,
        handled=[
            one.model_copy(update={"restarts": trace})
            for one, trace in zip(exclusion.handled or (), traces[1:], strict=True)
        ],
    )
    if finding.verdict != "excluded" or best < _CLEARLY_LOWER * claimed:
        raise ReplayError(
            "this search gets clearly lower on the accused picture than the bundle says",
            where=f"finding.families.{family.number}.statistic",
            expected=f"about {family.finding.statistic}",
            found=f"{best:.5e}, with which the finding is {finding.verdict}",
        )
