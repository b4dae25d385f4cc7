"""The rule that turns residuals into a finding (DESIGN section 1), in exact arithmetic.

Writers and the verifier both call `decide`; nothing else in the program knows the rule. A missing
residual (not finite) counts as infinite: for a control that makes `excluded` harder, and for the
accused it forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from deniability.stats.binomial import conformal_p, decimal_up, upper_bound, upper_bound_at_most
from deniability.stats.sentence import finding_sentence
from deniability.wire.controls import Control, ControlSet
from deniability.wire.edits import EditName
from deniability.wire.exclusion import (
    ExactFraction,
    FamilyFinding,
    Finding,
    Gate,
    GateName,
    HandledSearch,
    Reached,
    Verdict,
)
from deniability.wire.families import edits_of
from deniability.wire.numbers import decimal_string_up
from deniability.wire.protocol import Family, Protocol, mismatch_ways
from deniability.wire.restarts import RestartRecord, Restarts

#: Rounding error of a pixel, (1/12) step² with a step of 1/127.5: the floor of lossless files.
LOSSLESS_FLOOR = Fraction(1, 195075)

Infinite = math.inf
Residual = Fraction | float  # a float only where infinite


@dataclass(frozen=True)
class Thresholds:
    """What a control set says before any accused picture is looked at.

    Attributes:
        threshold: statistic at or below which a target counts as reached.
        floor: of the residual by quantisation.
        percentile99: of the controls' residuals.
        allowance: largest residual of an own output produced another way, infinite unless all
            were measured.
        recovered: controls whose residual is as small as at their true latent.

    """

    threshold: Fraction
    floor: Fraction
    percentile99: Residual
    allowance: Residual
    recovered: int

    @property
    def largest(self) -> Residual:
        """What κ multiplies."""
        return max(self.percentile99, self.floor, self.allowance)

    def reaches(self, statistic: Residual) -> bool:
        """Tell whether a statistic is that of a re-generated picture.

        An edit's threshold is its noise, and that may be more than the rounding of a pixel.
        """
        return statistic <= min(self.threshold, rounded_up(LOSSLESS_FLOOR))


def rounded_up(value: Fraction) -> Fraction:
    """Round up to what the wire can say."""
    return Fraction(decimal_string_up(value))


@lru_cache(maxsize=2**16)
def residual(text: str | None) -> Residual:
    """Read a residual of the wire; a missing one is infinite."""
    return Infinite if text is None else Fraction(text)


def percentile99(values: Iterable[Residual]) -> Residual:
    """Return the order statistic of rank max(1, ⌊0.99 n⌋).

    For the presets' n it is numpy's method "lower" (ADR 0003).
    """
    ordered = sorted(values)
    return ordered[max(1, len(ordered) * 99 // 100) - 1]


def reached_threshold(
    truths: Sequence[str | None],
    protocol: Protocol,
    *,
    family: Family,
    edit: EditName | None = None,
) -> Fraction:
    """Return the threshold of a kind, which is fixed before the first restart runs.

    A cell of pixels holds the truth, so there it is the resolution. A JPEG's does not quite: there
    it is the 99th percentile of the residuals at the controls' true latents if that is larger, but
    never more than the rounding error of a pixel, whatever a generator does. Of an edit the truth
    is as far off as the edit's own noise: a search that gets as near has found what there is, but
    what it has found is no re-generation of the file unless it is within the rounding of a pixel.
    """
    resolution = Fraction(protocol.resolution)
    if family == "lossless" and edit is None:
        return resolution
    typical = percentile99(residual(text) for text in truths)
    if isinstance(typical, float):
        return resolution
    if edit is not None:
        return max(resolution, typical)
    return min(max(resolution, typical), rounded_up(LOSSLESS_FLOOR))


def thresholds(controls: ControlSet, protocol: Protocol) -> Thresholds:
    """Compute the thresholds of a control set."""
    truths = [control.truth for control in controls.controls]
    kind = controls.kind
    threshold = reached_threshold(truths, protocol, family=kind.family, edit=kind.edit)
    finite = [Fraction(text) for text in truths if text is not None]
    base = LOSSLESS_FLOOR if kind.family == "lossless" else Fraction(0)
    # One left out could be the largest: deleting anything must never improve a finding.
    measured = controls.mismatches if complete_mismatches(controls, protocol) else ()
    return Thresholds(
        threshold=threshold,
        floor=max([base, *finite]),
        percentile99=percentile99(residual(control.residual) for control in controls.controls),
        allowance=max((residual(m.residual) for m in measured), default=Infinite),
        recovered=sum(is_recovered(control, threshold, protocol) for control in controls.controls),
    )


def is_recovered(control: Control, threshold: Fraction, protocol: Protocol) -> bool:
    """Tell whether a control was found: as near as its true latent, or within the threshold."""
    if control.residual is None or control.truth is None:
        return False
    limit = max(Fraction(control.truth), threshold) + Fraction(protocol.resolution)
    return Fraction(control.residual) <= limit


def decide(
    *,
    protocol: Protocol,
    controls: ControlSet,
    restarts: Sequence[RestartRecord],
    cautions: Sequence[str],
    model_digest: str,
    pixel_for_pixel: bool,
    handled: Sequence[HandledSearch] = (),
) -> Finding:
    """Apply the rule, to every family of handling: each has to exclude on its own.

    Args:
        protocol: the frozen preset.
        controls: of the accused file's kind.
        restarts: the whole trace, in index order.
        cautions: facts about the file, and about the model's format, that forbid `excluded`.
        model_digest: named in the sentence.
        pixel_for_pixel: whether the best latent's quantised output equals the file.
        handled: the further families, in order.

    """
    searches = [(controls, restarts), *((one.controls, one.restarts) for one in handled)]
    judged = [_judged(protocol, *search, cautions) for search in searches]
    hit = next((number for number, one in enumerate(judged) if one.reached), None)
    failed = [
        f"{one.edit}: {gate.reason}" if one.edit else gate.reason
        for one in (each.finding for each in judged)
        for gate in one.gates
        if not gate.passed
    ]
    verdict: Verdict = "reached" if hit is not None else "inconclusive" if failed else "excluded"
    exact = hit is not None and pixel_for_pixel and searches[hit][0].kind.edit is None
    found = None if hit is None else judged[hit]
    return Finding(
        verdict=verdict,
        tier="calibrated" if hit is None else "reached",
        sentence=finding_sentence(
            verdict,
            kind=controls.kind,
            edits=edits_of(handled),
            reached=None if hit is None else searches[hit][0].kind.edit,
            model_digest=model_digest,
            protocol=protocol,
            pixel_for_pixel=exact,
            failed=failed,
        ),
        families=tuple(one.finding for one in judged),
        reached=Reached(restart=found.best.index, family=hit or None, pixel_for_pixel=exact)
        if found and found.best
        else None,
    )


@dataclass(frozen=True)
class _Judged:
    """One family's numbers, and whether its best restart re-generates the picture."""

    finding: FamilyFinding
    best: RestartRecord | None
    reached: bool


def _judged(
    protocol: Protocol,
    controls: ControlSet,
    restarts: Sequence[RestartRecord],
    cautions: Sequence[str],
) -> _Judged:
    limits = thresholds(controls, protocol)
    restarts = Restarts.of(restarts)
    finite = [(order, place) for place, order in enumerate(restarts.orders) if order is not None]
    best = restarts[min(finite)[1]] if finite else None
    statistic = residual(best.residual) if best else Infinite
    run = len(restarts), len(finite)
    family = _family(protocol, controls, run, cautions, limits, statistic)
    return _Judged(family, best, limits.reaches(statistic))


def _family(
    protocol: Protocol,
    controls: ControlSet,
    run: tuple[int, int],
    cautions: Sequence[str],
    limits: Thresholds,
    statistic: Residual,
) -> FamilyFinding:
    n = len(controls.controls)
    recorded, finished = run
    k = sum(residual(control.residual) >= statistic for control in controls.controls)
    alpha, confidence = Fraction(protocol.alpha), Fraction(protocol.confidence)
    bound = decimal_up(upper_bound(k, n, confidence), 6)
    # A truth left out could have been the floor: deleting anything must never improve a finding.
    known = all(control.truth is not None for control in controls.controls)
    margin = limits.largest * Fraction(protocol.kappa) if known else Infinite
    p = conformal_p(k, n)
    gates = (
        _gate(
            "tail-bound",
            n == protocol.controls and upper_bound_at_most(k, n, alpha, confidence),
            f"{k} of {n} controls have a residual at least as large: with {protocol.confidence} "
            f"confidence at most a share {bound} of own outputs do, where {protocol.alpha} is "
            f"allowed (with {protocol.controls} controls)",
        ),
        _gate(
            "effect-margin",
            statistic >= margin and margin != Infinite,
            f"the residual is {_show(statistic)}, and the least that counts as different is "
            f"{_show(margin)}",
        ),
        _gate(
            "recall",
            limits.recovered >= Fraction(protocol.recall) * protocol.controls,
            f"the search found {limits.recovered} of {n} controls again, where a share of "
            f"{protocol.recall} is required",
        ),
        _gate(
            "complete-search",
            recorded == protocol.searches == finished,
            f"{finished} of {protocol.searches} restarts ended with a finite residual",
        ),
        _gate(
            "file-history",
            not cautions,
            "; ".join(cautions)[:1900] if cautions else "the file is of a kind that was calibrated",
        ),
    )
    return FamilyFinding(
        family=controls.kind.family,
        edit=controls.kind.edit,
        n=n,
        k=k,
        alpha=protocol.alpha,
        upper_bound=bound,
        p=ExactFraction(numerator=p.numerator, denominator=p.denominator),
        statistic=_wire(statistic),
        threshold=decimal_string_up(limits.threshold),
        percentile99=_wire(limits.percentile99),
        floor=decimal_string_up(limits.floor),
        allowance=_wire(limits.allowance),
        margin=_wire(margin),
        recovered=limits.recovered,
        gates=gates,
    )


def _gate(name: GateName, passed: bool, reason: str) -> Gate:
    return Gate(name=name, passed=passed, reason=reason)


def _wire(value: Residual) -> str | None:
    return None if isinstance(value, float) else decimal_string_up(value)


def _show(value: Residual) -> str:
    return "not finite" if isinstance(value, float) else decimal_string_up(value)


def complete_mismatches(controls: ControlSet, protocol: Protocol) -> bool:
    """Tell whether every way of mismatch is there with all its outputs, in order."""
    ways = mismatch_ways(controls.kind.family)
    expected = [(way, i) for way in ways for i in range(protocol.mismatch_outputs)]
    return [(m.way, m.index) for m in controls.mismatches] == expected
