"""Level V1: every stored latent rendered again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from deniability.errors import ReplayError
from deniability.evidence.calibrate import statistic_at
from deniability.evidence.mismatch import measure_mismatches
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import is_pixel_for_pixel
from deniability.evidence.replay.case import Case, Family, open_case
from deniability.evidence.replay.controls import (
    BY_PROCESSOR,
    comparison_threshold,
    evaluated_again,
)
from deniability.evidence.replay.rows import check_digest, check_label, rows_of
from deniability.generators.base import Generator
from deniability.inversion.solution import Restart, Stop
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import decide, residual, thresholds
from deniability.verify.bundle import VerifiedBundle
from deniability.wire.controls import Control, ControlSet, Mismatch
from deniability.wire.exclusion import Exclusion, Finding, HandledSearch
from deniability.wire.numbers import decimal_string
from deniability.wire.restarts import RestartRecord, Restarts

#: A stored residual is believed if ours is within this share of it, plus `_ABSOLUTE`, plus half
#: the threshold of its kind: another machine's float32 rounds a control's pixels otherwise here
#: and there, which near the floor is all there is. The finding is decided from our own residuals.
_RELATIVE = 0.02
_ABSOLUTE = 2e-9
_NO_ROOT = "0" * 64  # what is decided here is not signed


@dataclass(frozen=True)
class LatentsReplay:
    """What V1 found.

    Attributes:
        finding: decided from the verifier's own residuals; its verdict equals the bundle's.
        restarts, controls: how many latents were rendered, of all families of handling.
        largest_difference: between a stored residual and ours, relative to the larger.

    """

    finding: Finding
    restarts: int
    controls: int
    largest_difference: float

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        count = len(self.finding.families)
        families = f" ({count} families of handling)" if count > 1 else ""
        return (
            f"{self.restarts} latents of the accused picture and {self.controls} of controls"
            f"{families} were rendered again on this machine, and the controls' true latents "
            "derived again from their seeds.",
            f"Residuals differ from the stored ones by at most {self.largest_difference:.1%}; the "
            f"finding, decided anew with tolerances against the prover, is still "
            f"{self.finding.verdict}.",
            "Not checked: whether a better search would have found the picture, and whether the "
            "controls' searches were honest (use --replay N).",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON; the number of families of handling, if there are several."""
        found: dict[str, object] = {
            "level": "v1",
            "verdict": self.finding.verdict,
            "restarts": self.restarts,
            "controls": self.controls,
            "largestDifference": f"{self.largest_difference:.6f}",
        }
        if len(self.finding.families) > 1:
            found["families"] = len(self.finding.families)
        return found


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
    case = open_case(verified, image, generator, sidecar)
    exclusion = case.exclusion
    families = case.families
    report.phase("rendering the stored latents again", 2 * len(families) + 1)
    differences: list[float] = []
    again: list[HandledSearch] = []
    for family in families:
        restarts, found = _restarts_again(case, family)
        report.advance(2 * family.number + 1)
        controls, more = _controls_again(case, family)
        report.advance(2 * family.number + 2)
        differences += [*found, *more]
        again.append(HandledSearch(controls=controls, restarts=restarts, trace_root=_NO_ROOT))
    first, *handled = again
    finding = decide(
        protocol=exclusion.protocol,
        controls=first.controls,
        restarts=first.restarts,
        cautions=(
            *exclusion.accused.cautions,
            *model_cautions(exclusion.generator.format),
        ),
        model_digest=exclusion.model.digest,
        pixel_for_pixel=_exactly(case, first.restarts),
        handled=handled,
    )
    _survives(exclusion, finding)
    report.advance(2 * len(families) + 1)
    return LatentsReplay(
        finding=finding,
        restarts=sum(len(case.tensors[f"{family.prefix}restarts"]) for family in families),
        controls=sum(len(one.controls.controls) for one in again),
        largest_difference=max(differences, default=0.0),
    )


def _survives(exclusion: Exclusion, finding: Finding) -> None:
    claimed = exclusion.finding
    if claimed.verdict == "inconclusive":
        return  # nothing is asserted that a tolerance could overturn
    if finding.verdict != claimed.verdict:
        failed = [
            f"{family.edit}: {gate.reason}" if family.edit else gate.reason
            for family in finding.families
            for gate in family.gates
            if not gate.passed
        ]
        raise ReplayError(
            "the finding does not survive with this machine's residuals",
            where="finding.verdict",
            expected=claimed.verdict,
            found=(f"{finding.verdict}: " + "; ".join(failed))[:2000],
        )
    if claimed.reached and claimed.reached.pixel_for_pixel:
        exact = finding.reached is not None and finding.reached.pixel_for_pixel
        if not exact:
            raise ReplayError(
                "the latent does not re-generate the file pixel for pixel here",
                where="finding.reached.pixelForPixel",
            )


def compare_residuals(stored: str | None, ours: float | None, field: str, threshold: str) -> float:
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


def _restarts_again(case: Case, family: Family) -> tuple[Restarts, list[float]]:
    """Return the trace with our residuals, lowered by the tolerance, and the differences."""
    run = [r for r in family.restarts if r.stop != "notRun"]
    latents = rows_of(case, family, "restarts", len(run))
    repeated = family.observations[torch.zeros(len(run), dtype=torch.int64)]
    ours = statistic_at(case.procedure, family.handling, repeated, latents)
    changed: dict[int, RestartRecord] = {}
    threshold = family.finding.threshold
    differences = []
    for record, latent, value in zip(run, latents, ours, strict=True):
        field = f"{family.prefix}restarts.{record.index}"
        check_digest(latent, record.latent, field)
        check_label(case, latent, field, expected=record.label)
        if record.stop == "nonFinite":
            continue
        differences.append(compare_residuals(record.residual, value, field, threshold))
        if value is not None:
            lowered = decimal_string(max(0.0, value * (1 - _RELATIVE) - _ABSOLUTE))
            changed[record.index] = record.model_copy(update={"residual": lowered})
    return Restarts(changed.get(r.index, r) for r in family.restarts), differences


def _controls_again(case: Case, family: Family) -> tuple[ControlSet, list[float]]:
    """Return the controls with our residuals, raised by the tolerance, and the differences.

    Pictures, edits and truths come from the derived seeds; mismatches are measured anew.
    """
    stored, handling = family.controls, family.handling
    latents = rows_of(case, family, "controls", len(stored.controls))
    ours_true, ours_best = evaluated_again(case.procedure, handling, latents)
    controls: list[Control] = []
    differences: list[float] = []
    threshold = comparison_threshold(
        case.exclusion.protocol, handling, family.finding.threshold, ours_true
    )
    for control, latent, truth, best in zip(
        stored.controls, latents, ours_true, ours_best, strict=True
    ):
        field = f"{family.prefix}controls.controls.{control.index}"
        differences.append(compare_residuals(control.truth, truth, f"{field}.truth", threshold))
        theirs = float(control.truth or 0) if handling.way in BY_PROCESSOR else 0.0
        raised_truth = None if truth is None else _raised(max(truth, theirs))
        control = control.model_copy(update={"truth": raised_truth})  # noqa: PLW2901
        if control.residual is None:
            controls.append(control)
            continue
        check_digest(latent, control.latent, field)
        check_label(case, latent, field)
        differences.append(
            compare_residuals(control.residual, best, f"{field}.residual", threshold)
        )
        if best is None:
            continue
        raised = _raised(max(best, float(control.residual)))
        controls.append(control.model_copy(update={"residual": raised}))
    update = {"controls": tuple(controls), "mismatches": _mismatches_again(case, family)}
    return stored.model_copy(update=update), differences


def _raised(value: float) -> str:
    """Raise a control's residual by the tolerance; 0 stays 0, since nothing is left to shade."""
    return decimal_string(0.0 if value == 0 else value * (1 + _RELATIVE) + _ABSOLUTE)


def _mismatches_again(case: Case, family: Family) -> tuple[Mismatch, ...]:
    """Measure the mismatch allowance here and keep the larger of ours and theirs, way by way."""
    stored = family.controls
    limits = thresholds(stored, case.exclusion.protocol)
    ours = measure_mismatches(case.procedure, family.handling, limits.threshold, progress=Silent())
    return tuple(
        max(theirs, mine, key=lambda m: residual(m.residual))
        for theirs, mine in zip(stored.mismatches, ours, strict=True)
    )


def _exactly(case: Case, restarts: Restarts) -> bool:
    """Tell whether the latent that is said to reach the unedited picture re-generates it here."""
    claimed = case.exclusion.finding.reached
    if claimed is None or claimed.family is not None:
        return False
    run = [r.index for r in restarts if r.stop != "notRun"]
    if claimed.restart not in run:
        return False
    latent = case.tensors["restarts"][run.index(claimed.restart)]
    best = Restart(claimed.restart, "prior", Stop.REACHED, 0.0, 0.0, 0, latent)
    return is_pixel_for_pixel(case.procedure.generator, case.exhibit, best)
