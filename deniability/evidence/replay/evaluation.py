"""Level V1 of an evaluation: its rule measured again on the model; nothing is searched for.

What decides a denial are the controls and the mismatch allowance. Truths, allowance and copies
follow from derived seeds, so they are measured again. An evaluation holds no latents: what its
searches found can only be searched for again, which is V2. The one exception are controls that were
made at registration, whose latents are rendered if the registration was brought.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from deniability.errors import CommitmentError, ReplayError
from deniability.evidence.calibrate import control_observations, statistic_at, true_numbers
from deniability.evidence.evaluate_groups import picture_seeds
from deniability.evidence.latents import drawn_latents
from deniability.evidence.mismatch import measure_mismatches
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.replay.controls import (
    BY_PROCESSOR,
    comparison_threshold,
    evaluated_again,
)
from deniability.evidence.replay.evaluation_case import EvaluationCase
from deniability.evidence.replay.latents import compare_residuals
from deniability.evidence.tensors import latent_digest
from deniability.imaging.handling import Handling
from deniability.imaging.observation import build_handling
from deniability.stats.evaluation import OWN, own_of, read_measured
from deniability.stats.evaluation_words import COPIES
from deniability.stats.verdict import Residual, thresholds
from deniability.wire.evaluation import EvaluatedFamily
from deniability.wire.numbers import decimal_string, decimal_string_up

#: The margin of a family is believed within this factor, and within the other where outputs are
#: produced in a way that is the processor's own.
_MARGIN, _MARGIN_BY_PROCESSOR = 2, 4
_ROWS = 256


@dataclass(frozen=True)
class EvaluationReplay:
    """What V1 found.

    Attributes:
        families, controls: how many were measured again.
        rendered: latents of controls from the registration that were rendered again.
        copies: whose distances were.
        own, found: own outputs, and those whose residual is as small as at their true latent.
        largest_difference: between a stored residual and ours, relative to the larger.

    """

    families: int
    controls: int
    rendered: int
    copies: int
    own: int
    found: int
    largest_difference: float

    @property
    def lines(self) -> tuple[str, ...]:
        """Say what was checked, in sentences."""
        latents = (
            f"{self.rendered} latents of controls were rendered again from the registration's file"
            if self.rendered
            else "No control's latent was rendered again (that takes --registration, and controls "
            "that were made with it)"
        )
        return (
            f"The true latents of {self.controls} controls in {self.families} families were "
            "derived again from their seeds, and their residuals there and the margins measured "
            f"again; residuals differ by at most {self.largest_difference:.1%}. {latents}.",
            f"The {self.copies} copies of the model were made again and are as far from it as "
            "stated; no copy and no generator or photos of this program that fit were left out.",
            f"Of {self.own} own outputs, made again, the evaluation says of {self.found} that they "
            "were found: a residual as small as at their true latent.",
            "Not checked: the residuals of own outputs and strangers, which are the signer's word, "
            "since an evaluation holds no latents (use --replay N).",
        )

    def to_json(self) -> dict[str, object]:
        """Return the same as JSON."""
        return {
            "level": "v1",
            "families": self.families,
            "controls": self.controls,
            "rendered": self.rendered,
            "copies": self.copies,
            "own": self.own,
            "found": self.found,
            "largestDifference": f"{self.largest_difference:.6f}",
        }


def replay_evaluation(
    case: EvaluationCase, *, progress: Progress | None = None
) -> EvaluationReplay:
    """Level V1 of an evaluation.

    Raises:
        CommitmentError: a latent of the registration is not that of its control.
        ReplayError: a residual or margin cannot be reproduced.

    """
    report, families = progress or Silent(), case.evaluation.families
    report.phase("measuring the rule again", len(families))
    differences: list[float] = []
    rendered = own = found = 0
    for index, family in enumerate(families):
        handling = build_handling(family.controls.kind, device=case.procedure.generator.device)
        latents, more = _controls_again(case, family, handling, f"families.{index}.controls")
        rendered, differences = rendered + latents, differences + more
        own += len(own_of(family).residuals)
        found += _found(case, family, handling)
        report.advance(index + 1)
    return EvaluationReplay(
        families=len(families),
        controls=sum(len(family.controls.controls) for family in families),
        rendered=rendered,
        copies=sum(group.name in COPIES for group in case.groups),
        own=own,
        found=found,
        largest_difference=max(differences, default=0.0),
    )


def _controls_again(
    case: EvaluationCase, family: EvaluatedFamily, handling: Handling, field: str
) -> tuple[int, list[float]]:
    """Compare a family's controls and margin; return the latents rendered, and differences."""
    stored, procedure = family.controls, case.procedure
    known = None if case.opened is None else case.opened.sets.get(stored.kind.digest())
    same = known is not None and known.controls == stored
    latents = known.latents if known is not None and same else None
    truths, bests = evaluated_again(procedure, handling, latents)
    limits = thresholds(stored, procedure.protocol)
    ours = thresholds(
        stored.model_copy(
            update={
                "controls": tuple(
                    control.model_copy(
                        update={"truth": None if truth is None else decimal_string(truth)}
                    )
                    for control, truth in zip(stored.controls, truths, strict=True)
                ),
                "mismatches": measure_mismatches(
                    procedure, handling, limits.threshold, progress=Silent()
                ),
            }
        ),
        procedure.protocol,
    )
    # The smaller one: truths that a signer made larger are not to widen their own tolerance.
    smaller = decimal_string_up(min(limits.threshold, ours.threshold))
    threshold = comparison_threshold(procedure.protocol, handling, smaller, truths)
    differences = [
        compare_residuals(
            control.truth, truth, f"{field}.controls.{control.index}.truth", threshold
        )
        for control, truth in zip(stored.controls, truths, strict=True)
    ]
    if latents is not None:
        for control, latent, best in zip(stored.controls, latents, bests, strict=True):
            place = f"{field}.controls.{control.index}.residual"
            if control.residual is None:
                continue
            if control.latent != latent_digest(latent):
                raise CommitmentError(
                    "a stored latent is not that of its control",
                    where=place,
                    expected=str(control.latent),
                )
            differences.append(compare_residuals(control.residual, best, place, threshold))
    own_processor = handling.way in BY_PROCESSOR
    _compare_margins(
        limits.largest,
        ours.largest,
        _MARGIN_BY_PROCESSOR if own_processor else _MARGIN,
        field,
    )
    return (0 if latents is None else len(latents)), differences


def _compare_margins(stated: Residual, ours: Residual, factor: int, field: str) -> None:
    """Compare what kappa multiplies: of controls as stated, with floor and allowance as here."""
    if stated == ours or (
        math.inf not in {stated, ours} and max(stated, ours) <= factor * min(stated, ours)
    ):
        return
    raise ReplayError(
        "what a denial takes cannot be reproduced: the floor and the mismatch allowance are others",
        where=f"{field}: margin",
        expected=f"{float(stated):.5e}",
        found=f"{float(ours):.5e}",
    )


def _found(case: EvaluationCase, family: EvaluatedFamily, handling: Handling) -> int:
    """Count the own outputs whose stated residual is as small as at their true latent."""
    procedure, stated = case.procedure, read_measured(own_of(family).residuals)
    seeds = picture_seeds(procedure, handling.kind.digest(), OWN, len(stated))
    latents = drawn_latents(procedure.generator.spec, handling.kind, seeds)
    numbers = true_numbers(handling, latents, seeds)
    threshold = thresholds(family.controls, procedure.protocol).threshold
    resolution = Fraction(procedure.protocol.resolution)
    count = 0
    for start in range(0, len(stated), _ROWS):
        rows = slice(start, start + _ROWS)
        observations = control_observations(procedure, handling, latents[rows], seeds[rows])
        truths = statistic_at(procedure, handling, observations, numbers[rows])
        count += sum(
            truth is not None and value <= max(Fraction(truth), threshold) + resolution
            for value, truth in zip(stated[rows], truths, strict=True)
        )
    return count
