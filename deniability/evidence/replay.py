"""Levels V1 and V2 of `deny verify`: the verifier runs the model himself.

V1 renders every stored latent again, one forward pass each, and decides the finding anew from its
own residuals, tolerances taken against the prover. V2 searches: the accused picture from the
prover's seeds and from prior draws of the verifier's own, and *fresh controls* by the verifier's
randomness, whose tail is compared with the bundle's. (EVIDENCE section 1.)
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence.calibrate import control_latents, own_pictures, statistic_at
from deniability.evidence.mismatch import measure_mismatches
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import Exhibit, is_pixel_for_pixel, read_exhibit
from deniability.evidence.register import procedure_from
from deniability.evidence.subject import describe_model
from deniability.evidence.tensors import latent_digest, read_sidecar
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
from deniability.stats.verdict import decide, residual, thresholds
from deniability.verify.bundle import VerifiedBundle
from deniability.wire.controls import Control, ControlSet, Mismatch
from deniability.wire.exclusion import Exclusion, Finding, RestartRecord
from deniability.wire.numbers import decimal_string
from deniability.wire.roles import restart_seed

#: A stored residual is believed if ours is within this share of it, plus `_ABSOLUTE`, plus half
#: the threshold of its kind: another machine's float32 rounds a control's pixels otherwise here
#: and there, which near the floor is all there is. The finding is decided from our own residuals.
_RELATIVE = 0.02
_ABSOLUTE = 2e-9
#: V2 fails if the verifier's search gets below the prover's residual by more than this factor, or
#: low enough to change the finding ...
_CLEARLY_LOWER = 0.5
#: ... or if fresh controls are worse than the bundle's with this significance.
_SIGNIFICANCE = Fraction(1, 20)


@dataclass(frozen=True)
class LatentsReplay:
    """What V1 found.

    Attributes:
        finding: decided from the verifier's own residuals; its verdict equals the bundle's.
        restarts, controls: how many latents were rendered.
        largest_difference: between a stored residual and ours, relative to the larger.

    """

    finding: Finding
    restarts: int
    controls: int
    largest_difference: float

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        return (
            f"{self.restarts} latents of the accused picture and {self.controls} of controls were "
            "rendered again on this machine, and the controls' true latents derived again from "
            "their seeds.",
            f"Residuals differ from the stored ones by at most {self.largest_difference:.1%}; the "
            f"finding, decided anew with tolerances against the prover, is still "
            f"{self.finding.verdict}.",
            "Not checked: whether a better search would have found the picture, and whether the "
            "controls' searches were honest (use --replay N).",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON."""
        return {
            "level": "v1",
            "verdict": self.finding.verdict,
            "restarts": self.restarts,
            "controls": self.controls,
            "largestDifference": f"{self.largest_difference:.6f}",
        }


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
            f"{self.restarts} restarts on the accused picture, half of them from this verifier's "
            f"own prior draws, reached {found}; the bundle says {self.prover_residual}.",
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
            "pooledUpperBound": decimal_up(self.pooled_bound, 6),
            "detectionProbability": decimal_down(self.detection, 6),
            "fullCheck": self.enough,
        }


@dataclass(frozen=True)
class _Case:
    """Bundle, picture, model and latents, all shown to belong together."""

    exclusion: Exclusion
    exhibit: Exhibit
    procedure: Procedure
    tensors: dict[str, Tensor]


def _open(verified: VerifiedBundle, image: Path, generator: Generator, sidecar: Path) -> _Case:
    exclusion = verified.exclusion
    model = describe_model(generator)
    if model != exclusion.model:
        raise InputError(
            "not the model that the bundle is about",
            where="--model",
            expected=f"model sha256:{exclusion.model.digest}",
            found=f"sha256:{model.digest}",
        )
    if generator.spec != exclusion.generator:
        raise ReplayError(
            "the model is described otherwise than in the bundle",
            where="--model",
            expected=str(exclusion.generator.to_wire()),
            found=str(generator.spec.to_wire()),
            hint="Use the generator.toml that belongs to the bundle.",
        )
    exhibit = read_exhibit(image, generator, called=exclusion.accused.file.name)
    _same(exhibit, exclusion)
    tensors = read_sidecar(sidecar, exclusion.latents)
    procedure = procedure_from(
        generator, exclusion.protocol, tensors, exclusion.encoder, where=str(sidecar)
    )
    return _Case(exclusion, exhibit, procedure, tensors)


def _same(exhibit: Exhibit, exclusion: Exclusion) -> None:
    """Check that decoding the picture here gives what the bundle says it gave there."""
    accused, observed, picture = exclusion.accused, exhibit.observed, exhibit.picture
    pairs: list[tuple[str, object, object]] = [
        ("file", accused.file, exhibit.file),
        ("format", accused.format, picture.format),
        ("pixels", accused.pixels, picture.canonical_digest),
        ("kind", accused.kind, observed.handling.kind),
        ("transforms", accused.transforms, observed.transforms),
        ("cautions", accused.cautions, observed.cautions),
    ]
    for field, expected, found in pairs:
        if expected != found:
            raise CommitmentError(
                f"the picture does not give the accused.{field} of the bundle",
                where="--image",
                expected=str(expected)[:100],
                found=str(found)[:100],
            )


def replay_latents(
    verified: VerifiedBundle,
    *,
    image: Path,
    generator: Generator,
    sidecar: Path,
    progress: Progress | None = None,
) -> LatentsReplay:
    """Level V1: re-render all stored latents and decide the finding anew.

    Args:
        verified: the bundle at V0.
        image: the accused file.
        generator: the model, loaded by the verifier.
        sidecar: the latents file written beside the bundle.
        progress: is told what happens.

    Raises:
        InputError: the model or a file is missing or another one.
        CommitmentError: picture, latents or encoder are not those of the bundle.
        ReplayError: a residual cannot be reproduced, or the finding does not survive.

    """
    report = progress or Silent()
    case = _open(verified, image, generator, sidecar)
    exclusion = case.exclusion
    report.phase("rendering the stored latents again", 3)
    restarts, differences = _restarts_again(case)
    report.advance(1)
    controls, more = _controls_again(case)
    report.advance(2)
    finding = decide(
        protocol=exclusion.protocol,
        controls=controls,
        restarts=restarts,
        cautions=exclusion.accused.cautions,
        model_digest=exclusion.model.digest,
        pixel_for_pixel=_exactly(case, restarts),
    )
    _survives(exclusion, finding)
    report.advance(3)
    return LatentsReplay(
        finding=finding,
        restarts=len(case.tensors["restarts"]),
        controls=len(controls.controls),
        largest_difference=max([*differences, *more], default=0.0),
    )


def _survives(exclusion: Exclusion, finding: Finding) -> None:
    claimed = exclusion.finding
    if claimed.verdict == "inconclusive":
        return  # nothing is asserted that a tolerance could overturn
    if finding.verdict != claimed.verdict:
        failed = [g.reason for g in finding.families[0].gates if not g.passed]
        raise ReplayError(
            "the finding does not survive with this machine's residuals",
            where="finding.verdict",
            expected=claimed.verdict,
            found=f"{finding.verdict}: " + "; ".join(failed),
        )
    if claimed.reached and claimed.reached.pixel_for_pixel:
        exact = finding.reached is not None and finding.reached.pixel_for_pixel
        if not exact:
            raise ReplayError(
                "the latent does not re-generate the file pixel for pixel here",
                where="finding.reached.pixelForPixel",
            )


def _differ(stored: str | None, ours: float | None, field: str, threshold: str) -> float:
    """Compare a stored residual with ours; returns the relative difference.

    `threshold` is that of the kind of observation.

    Raises ReplayError beyond the tolerance.
    """
    if stored is None or ours is None:
        if stored is not None or ours is not None:
            raise ReplayError(
                "a residual is finite here and not there", where=field, expected=str(stored)
            )
        return 0.0
    claimed = float(stored)
    gap = abs(claimed - ours)
    negligible = _ABSOLUTE + float(threshold) / 2
    if gap > _RELATIVE * max(claimed, ours) + negligible:
        raise ReplayError(
            "a stored residual cannot be reproduced from its latent",
            where=field,
            expected=f"{claimed:.5e}",
            found=f"{ours:.5e}",
        )
    return 0.0 if gap <= negligible else gap / max(claimed, ours)


def _rows(case: _Case, name: str, count: int) -> Tensor:
    tensor = case.tensors.get(name)
    if tensor is None or tuple(tensor.shape) != (count, case.procedure.generator.dimension):
        raise CommitmentError(
            "the latents file does not hold what the bundle describes",
            where=name,
            expected=f"{count} x {case.procedure.generator.dimension}",
            found="nothing" if tensor is None else " x ".join(map(str, tensor.shape)),
        )
    return tensor.to(torch.float32)


def _check_digest(latent: Tensor, expected: str | None, field: str) -> None:
    if expected != latent_digest(latent):
        raise CommitmentError(
            "a stored latent is not the one in the trace", where=field, expected=str(expected)
        )


def _restarts_again(case: _Case) -> tuple[tuple[RestartRecord, ...], list[float]]:
    """Return the trace with our residuals, lowered by the tolerance, and the differences."""
    run = [r for r in case.exclusion.restarts if r.stop != "notRun"]
    latents = _rows(case, "restarts", len(run))
    observations = case.exhibit.observed.observations
    repeated = observations[torch.zeros(len(run), dtype=torch.int64)]
    ours = statistic_at(case.procedure, case.exhibit.observed.handling, repeated, latents)
    changed: dict[int, RestartRecord] = {}
    threshold = case.exclusion.finding.families[0].threshold
    differences = []
    for record, latent, value in zip(run, latents, ours, strict=True):
        field = f"restarts.{record.index}"
        _check_digest(latent, record.latent, field)
        if record.stop == "nonFinite":
            continue
        differences.append(_differ(record.residual, value, field, threshold))
        if value is not None:
            lowered = decimal_string(max(0.0, value * (1 - _RELATIVE) - _ABSOLUTE))
            changed[record.index] = record.model_copy(update={"residual": lowered})
    restarts = tuple(changed.get(r.index, r) for r in case.exclusion.restarts)
    return restarts, differences


def _controls_again(case: _Case) -> tuple[ControlSet, list[float]]:
    """Return the controls with our residuals, raised by the tolerance, and the differences.

    Pictures and truths come from the derived seeds; mismatches are measured anew.
    """
    stored, procedure = case.exclusion.controls, case.procedure
    handling = case.exhibit.observed.handling
    _, truths = control_latents(procedure, stored.kind)
    latents = _rows(case, "controls", len(truths))
    ours_true: list[float | None] = []
    ours_best: list[float | None] = []
    for start in range(0, len(truths), 256):
        rows = slice(start, start + 256)
        observations = handling.save(own_pictures(procedure, truths[rows]))
        ours_true += statistic_at(procedure, handling, observations, truths[rows])
        ours_best += statistic_at(procedure, handling, observations, latents[rows])
    controls: list[Control] = []
    differences: list[float] = []
    threshold = case.exclusion.finding.families[0].threshold
    for control, latent, truth, best in zip(
        stored.controls, latents, ours_true, ours_best, strict=True
    ):
        field = f"controls.controls.{control.index}"
        differences.append(_differ(control.truth, truth, f"{field}.truth", threshold))
        raised_truth = None if truth is None else _raised(truth)
        control = control.model_copy(update={"truth": raised_truth})  # noqa: PLW2901
        if control.residual is None:
            controls.append(control)
            continue
        _check_digest(latent, control.latent, field)
        differences.append(_differ(control.residual, best, f"{field}.residual", threshold))
        if best is None:
            continue
        raised = _raised(max(best, float(control.residual)))
        controls.append(control.model_copy(update={"residual": raised}))
    mismatches = _mismatches_again(case)
    update = {"controls": tuple(controls), "mismatches": mismatches}
    return stored.model_copy(update=update), differences


def _raised(value: float) -> str:
    """Raise a control's residual by the tolerance; 0 stays 0, since nothing is left to shade."""
    return decimal_string(0.0 if value == 0 else value * (1 + _RELATIVE) + _ABSOLUTE)


def _mismatches_again(case: _Case) -> tuple[Mismatch, ...]:
    """Measure the mismatch allowance here and keep the larger of ours and theirs, way by way."""
    stored = case.exclusion.controls
    limits = thresholds(stored, case.exclusion.protocol)
    ours = measure_mismatches(
        case.procedure, case.exhibit.observed.handling, limits.threshold, progress=Silent()
    )
    return tuple(
        max(theirs, mine, key=lambda m: residual(m.residual))
        for theirs, mine in zip(stored.mismatches, ours, strict=True)
    )


def _exactly(case: _Case, restarts: tuple[RestartRecord, ...]) -> bool:
    claimed = case.exclusion.finding.reached
    if claimed is None:
        return False
    run = [r.index for r in restarts if r.stop != "notRun"]
    if claimed.restart not in run:
        return False
    latent = case.tensors["restarts"][run.index(claimed.restart)]
    best = Restart(claimed.restart, "prior", Stop.REACHED, 0.0, 0.0, 0, latent)
    return is_pixel_for_pixel(case.procedure.generator, case.exhibit, best)


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
    case = _open(verified, image, generator, sidecar)
    exclusion = case.exclusion
    limits = thresholds(exclusion.controls, exclusion.protocol)
    engine = case.procedure.engine(case.exhibit.observed.handling, limits.threshold)
    best, restarts = _search_again(case, engine, count, report)
    fresh = _fresh_controls(case, engine, count, report)
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
        detection=detection_probability(count, Fraction(exclusion.protocol.alpha)),
        pooled_bound=upper_bound(k + extreme, n + count),
        alpha=exclusion.protocol.alpha,
    )
    _judge(exclusion, result, n, k)
    return result


def _search_again(
    case: _Case, engine: Engine, count: int, report: Progress
) -> tuple[float | None, int]:
    """Search from the prover's seeds and from prior draws by the verifier's own randomness."""
    exclusion, observations = case.exclusion, case.exhibit.observed.observations
    count = min(count, exclusion.protocol.restarts)
    picture, digest = exclusion.accused.file.sha256, exclusion.protocol.digest
    report.phase("searching for the accused picture again", 2 * count)
    own_starts = Starts(case.procedure.generator, None)
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
    (ours,) = replace(engine, restarts=count, starts=own_starts).run(
        observations, lambda *_: secrets.token_bytes(32), on_restart=on_restart
    )
    found = [t.residual for t in (theirs, ours) if t.residual is not None]
    run = sum(r.stop is not Stop.NOT_RUN for t in (theirs, ours) for r in t.restarts)
    return min(found, default=None), run


def _fresh_controls(case: _Case, engine: Engine, count: int, report: Progress) -> list[str | None]:
    """Draw and invert fresh controls with the system's randomness; return their residuals."""
    procedure, handling = case.procedure, case.exhibit.observed.handling
    report.phase("inverting fresh controls", count)
    residuals: list[str | None] = []
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
    return residuals


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
        cautions=exclusion.accused.cautions,
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
