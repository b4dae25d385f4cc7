"""Level V2: a search of the verifier's own, and fresh controls."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from deniability.errors import InputError, ReplayError
from deniability.evidence.calibrate import own_pictures
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.replay.case import Case, open_case
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.inversion.engine import Engine
from deniability.inversion.solution import Restart, Stop
from deniability.inversion.starts import Starts
from deniability.stats.binomial import (
    decimal_down,
    decimal_up,
    detection_probability,
    hypergeometric_tail,
    upper_bound,
    upper_bound_at_most,
)
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import decide, residual, thresholds
from deniability.verify.bundle import VerifiedBundle
from deniability.wire.exclusion import Exclusion
from deniability.wire.numbers import decimal_string
from deniability.wire.roles import restart_seed

#: V2 fails if the verifier's search gets below the prover's residual by more than this factor, or
#: low enough to change the finding ...
_CLEARLY_LOWER = 0.5
#: ... or if fresh controls are worse than the bundle's with this significance.
_SIGNIFICANCE = Fraction(1, 20)
#: Most fresh controls that are also searched for without the prover's encoder.
_PROBED = 32


@dataclass(frozen=True)
class SearchReplay:
    """What V2 found.

    Attributes:
        prover_residual: the bundle's statistic.
        best: the smallest residual that the verifier's search reached, None if none was finite.
        restarts: that the verifier ran on the accused picture.
        fresh: fresh controls.
        extreme: those with a residual at least the accused's.
        recovered: those found again.
        probed, alone: fresh controls also searched for without the prover's encoder, and those
            found so: what an independent search like this one can see.
        detection: probability with which a hidden tail of size alpha would have shown.
        pooled_bound: Clopper-Pearson bound over the bundle's and the fresh controls together.
        enough: whether `fresh` is at least 3 / alpha.

    """

    prover_residual: str | None
    best: float | None
    restarts: int
    fresh: int
    extreme: int
    recovered: int
    probed: int
    alone: int
    detection: Fraction
    pooled_bound: Fraction
    alpha: str

    @property
    def enough(self) -> bool:
        """Whether there were as many fresh controls as a full check takes."""
        return self.fresh * Fraction(self.alpha) >= 3

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        found = "nothing finite" if self.best is None else f"{self.best:.5e}"
        verdict = (
            "This is a full check."
            if self.enough
            else f"A full check takes {-(-3 // Fraction(self.alpha))} fresh controls."
        )
        return (
            f"{self.restarts} restarts on the accused picture, from the prover's seeds and from "
            f"own prior draws, reached {found}; the bundle says {self.prover_residual}.",
            f"Own prior draws alone, without the prover's encoder, found {self.alone} of "
            f"{self.probed} fresh controls: that is how well they would have found the picture.",
            f"{self.fresh} fresh controls by this verifier's randomness: {self.recovered} found "
            f"again, {self.extreme} with a residual as large as the accused's; together with the "
            f"bundle's the bound is {decimal_up(self.pooled_bound, 6)} (allowed {self.alpha}).",
            f"A hidden tail of size {self.alpha} would have shown with probability "
            f"{decimal_down(self.detection, 4)}. {verdict}",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON."""
        return {
            "level": "v2",
            "restarts": self.restarts,
            "best": None if self.best is None else decimal_string(self.best),
            "proverResidual": self.prover_residual,
            "freshControls": self.fresh,
            "extreme": self.extreme,
            "recovered": self.recovered,
            "probedWithoutEncoder": self.probed,
            "foundWithoutEncoder": self.alone,
            "pooledUpperBound": decimal_up(self.pooled_bound, 6),
            "detectionProbability": decimal_down(self.detection, 6),
            "fullCheck": self.enough,
        }


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
        count: fresh controls, and restarts on the accused from each of prover and verifier
            (no more than the protocol's).
        progress: is told what happens.

    Raises:
        ReplayError: the search gets clearly lower on the accused, or the fresh controls' tail is
            worse than the bundle's.

    """
    if count < 1:
        raise InputError("nothing to replay", where="--replay", expected="1 or more")
    report = progress or Silent()
    case = open_case(verified, image, generator, sidecar)
    exclusion = case.exclusion
    limits = thresholds(exclusion.controls, exclusion.protocol)
    engine = case.procedure.engine(case.exhibit.observed.handling, limits.threshold)
    alone = replace(engine, starts=Starts(generator, None))
    best, restarts = _search_again(case, engine, alone, count, report)
    fresh, probed, found_alone = _fresh_controls(case, engine, alone, count, report)
    statistic = exclusion.finding.families[0].statistic
    limit = residual(statistic)
    extreme = sum((float("inf") if r is None else Fraction(r)) >= limit for r in fresh)
    n, k = len(exclusion.controls.controls), exclusion.finding.families[0].k
    reached = [r for r in fresh if r is not None and Fraction(r) <= limits.threshold]
    result = SearchReplay(
        prover_residual=statistic,
        best=best,
        restarts=restarts,
        fresh=count,
        extreme=extreme,
        recovered=len(reached),
        probed=probed,
        alone=found_alone,
        detection=detection_probability(count, Fraction(exclusion.protocol.alpha)),
        pooled_bound=upper_bound(k + extreme, n + count),
        alpha=exclusion.protocol.alpha,
    )
    _judge(exclusion, result, n, k)
    return result


def _search_again(
    case: Case, engine: Engine, alone: Engine, count: int, report: Progress
) -> tuple[float | None, int]:
    """Search from the prover's seeds and from prior draws by the verifier's own randomness.

    Of the prover's, `count` restarts; of the own ones, which owe nothing to the prover's encoder,
    always as many as the protocol has.
    """
    exclusion, observations = case.exclusion, case.exhibit.observed.observations
    count = min(count, exclusion.protocol.restarts)
    picture, digest = exclusion.accused.file.sha256, exclusion.protocol.digest
    report.phase("searching for the accused picture again", count + alone.restarts)
    done = 0

    def on_restart(_: int, restart: Restart) -> None:
        nonlocal done
        done += 1
        report.advance(done, best=restart.residual)

    (theirs,) = replace(engine, restarts=count).run(
        observations,
        lambda _, index: restart_seed(exclusion.model, digest, picture, index),
        on_restart=on_restart,
    )
    (ours,) = alone.run(observations, lambda *_: secrets.token_bytes(32), on_restart=on_restart)
    found = [t.residual for t in (theirs, ours) if t.residual is not None]
    run = sum(r.stop is not Stop.NOT_RUN for t in (theirs, ours) for r in t.restarts)
    return min(found, default=None), run


def _fresh_controls(
    case: Case, engine: Engine, alone: Engine, count: int, report: Progress
) -> tuple[list[str | None], int, int]:
    """Draw and invert fresh controls with the system's randomness.

    Returns their residuals; how many of them were searched for from prior draws alone as well; and
    how many of those were found.
    """
    procedure, handling = case.procedure, case.exhibit.observed.handling
    report.phase("inverting fresh controls", count)
    residuals: list[str | None] = []
    probed = found = 0
    for start in range(0, count, 256):
        size = min(256, count - start)
        seeds = [secrets.token_bytes(32) for _ in range(size)]
        spec = procedure.generator.spec
        truths = torch.from_numpy(np.stack([latents_from_seed(spec, seed) for seed in seeds]))
        observations = handling.save(own_pictures(procedure, truths))
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
    return residuals, probed, found


def _judge(exclusion: Exclusion, result: SearchReplay, n: int, k: int) -> None:
    protocol, verdict = exclusion.protocol, exclusion.finding.verdict
    if verdict != "excluded":
        return  # nothing is denied, so there is nothing that a better search could overturn
    if result.best is not None:
        _check_lower(exclusion, result.best)
    share = Fraction(protocol.recall)
    chance = hypergeometric_tail(result.extreme, result.fresh, k, n)
    if chance < _SIGNIFICANCE and result.extreme > 0:
        raise ReplayError(
            "fresh controls are harder than the bundle's: its controls' tail is not believable",
            where="controls",
            expected=f"about {k} of {n} at least as extreme",
            found=f"{result.extreme} of {result.fresh} (probability {decimal_up(chance, 6)})",
        )
    if not upper_bound_at_most(k + result.extreme, n + result.fresh, Fraction(protocol.alpha)):
        raise ReplayError(
            "with the fresh controls the bound is above what the protocol allows",
            where="finding.families.0.upperBound",
            expected=f"at most {protocol.alpha}",
            found=decimal_up(result.pooled_bound, 6),
        )
    if upper_bound(result.recovered, result.fresh) < share:
        raise ReplayError(
            "the search finds too few fresh controls again",
            where="finding.families.0.recovered",
            expected=f"a share of {protocol.recall}",
            found=f"{result.recovered} of {result.fresh}",
        )


def _check_lower(exclusion: Exclusion, best: float) -> None:
    """Refuse if the finding does not hold with the residual that this search reached."""
    claimed = residual(exclusion.finding.families[0].statistic)
    first, *others = exclusion.restarts
    lowered = first.model_copy(update={"residual": decimal_string(best), "stop": "stalled"})
    finding = decide(
        protocol=exclusion.protocol,
        controls=exclusion.controls,
        restarts=(lowered, *others),
        cautions=(
            *exclusion.accused.cautions,
            *model_cautions(exclusion.generator.format),
        ),
        model_digest=exclusion.model.digest,
        pixel_for_pixel=False,
    )
    if finding.verdict != "excluded" or best < _CLEARLY_LOWER * claimed:
        raise ReplayError(
            "this search gets clearly lower on the accused picture than the bundle says",
            where="finding.families.0.statistic",
            expected=f"about {exclusion.finding.families[0].statistic}",
            found=f"{best:.5e}, with which the finding is {finding.verdict}",
        )
