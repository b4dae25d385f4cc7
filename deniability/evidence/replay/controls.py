"""Controls of one kind evaluated again, and how exactly their residuals have to agree."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from deniability.evidence.calibrate import (
    control_latents,
    control_observations,
    statistic_at,
    true_numbers,
)
from deniability.evidence.procedure import Procedure
from deniability.imaging.handling import Handling
from deniability.stats.verdict import reached_threshold
from deniability.wire.numbers import decimal_string, decimal_string_up
from deniability.wire.protocol import MismatchWay, Protocol

#: Ways to produce outputs whose rounding is the processor's own: another machine's pictures, and so
#: the truths, are others. They are compared within this many of our own thresholds of the family,
#: and the larger truth counts.
BY_PROCESSOR: frozenset[MismatchWay] = frozenset({"bfloat16", "float16"})
_OWN_ROUNDING = 2
_ROWS = 256  # controls whose observations are held at once


def evaluated_again(
    procedure: Procedure, handling: Handling, latents: Tensor | None
) -> tuple[list[float | None], list[float | None]]:
    """Return the residuals of a kind's controls at the truth and at stored latents.

    Pictures, edits and truths come from the derived seeds.

    Args:
        procedure: of the model.
        handling: of the kind.
        latents: stored for the controls, `n x (d + q)`; None: none are.

    Returns:
        two lists of n; the second is empty without latents.

    """
    seeds, drawn = control_latents(procedure, handling.kind)
    truths = true_numbers(handling, drawn, seeds)
    at_truth: list[float | None] = []
    at_stored: list[float | None] = []
    for start in range(0, len(truths), _ROWS):
        rows = slice(start, start + _ROWS)
        observations = control_observations(procedure, handling, drawn[rows], seeds[rows])
        at_truth += statistic_at(procedure, handling, observations, truths[rows])
        if latents is not None:
            at_stored += statistic_at(procedure, handling, observations, latents[rows])
    return at_truth, at_stored


def comparison_threshold(
    protocol: Protocol, handling: Handling, stored: str, truths: Sequence[float | None]
) -> str:
    """Return the threshold by which controls' residuals are compared.

    It is the `stored` one; but of our truths where they depend on the processor: a signer's may not
    widen their own tolerance.
    """
    if handling.way not in BY_PROCESSOR:
        return stored
    ours = reached_threshold(
        [None if truth is None else decimal_string(truth) for truth in truths],
        protocol,
        family=handling.kind.family,
        edit=handling.kind.edit,
    )
    return decimal_string_up(max(Fraction(stored), 2 * _OWN_ROUNDING * ours))
