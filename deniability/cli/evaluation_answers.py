"""What an isolated child may answer about an evaluation: strict shapes, and what follows."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from deniability.cli.answers import Bound, Count, Share, parsed, same, wrong
from deniability.sandbox.messages import Answer
from deniability.stats.binomial import decimal_down, decimal_up, detection_probability, upper_bound
from deniability.stats.evaluation import own_of
from deniability.stats.replication import Tally, fresh_level, paired_level
from deniability.wire.base import WireModel
from deniability.wire.cited import Name
from deniability.wire.evaluation import MAX_FAMILIES, MAX_GROUPS, Evaluation


class RulesAnswer(WireModel):
    """The numbers of V1 of an evaluation."""

    level: Literal["v1"]
    families: Count
    controls: Count
    rendered: Count
    copies: Count
    own: Count
    found: Count
    largest_difference: Share


class TallyAnswer(WireModel):
    """Pictures that were searched for again."""

    pictures: Count
    low: Count
    stated_low: Count
    high: Count
    stated_high: Count


class FreshAnswer(WireModel):
    """Fresh own outputs in one family."""

    family: Name
    outputs: Count
    denied: Count
    p_denied: Bound
    p_own: Bound
    p_controls: Bound
    pooled_upper_bound: Bound


class MeasuredAnswer(WireModel):
    """The numbers of V2 of an evaluation."""

    level: Literal["v2"]
    count: Count
    own: TallyAnswer
    controls: TallyAnswer
    strangers: TallyAnswer
    fresh: Annotated[tuple[FreshAnswer, ...], Field(max_length=MAX_FAMILIES)]
    detection_probability: Bound
    full_check: bool
    encoder: Literal["registered", "trained-anew", "none"]
    left_out: Annotated[tuple[Name, ...], Field(max_length=MAX_GROUPS)]


def check_evaluation_answer(answer: Answer, evaluation: Evaluation, count: int | None) -> None:
    """Refuse an answer about an evaluation that is none, or contradicts it or itself.

    Raises IsolationError.
    """
    levels = 1 if count is None else 2
    if not levels == len(answer.values) == len(answer.lines):
        raise wrong("levels", f"{levels}", f"{len(answer.values)}")
    rules = parsed(RulesAnswer, answer.values[0])
    families = evaluation.families
    same("families", len(families), rules.families)
    same("controls", sum(len(one.controls.controls) for one in families), rules.controls)
    same("own", sum(len(own_of(one).residuals) for one in families), rules.own)
    if rules.found > rules.own:
        raise wrong("found", f"at most {rules.own}", str(rules.found))
    if count is not None:
        _check_measured(parsed(MeasuredAnswer, answer.values[1]), evaluation, count)


def _check_measured(found: MeasuredAnswer, evaluation: Evaluation, count: int) -> None:
    alpha, families = Fraction(evaluation.protocol.alpha), evaluation.families
    same("count", count, found.count)
    detection = decimal_down(detection_probability(count, alpha), 6)
    same("detectionProbability", detection, found.detection_probability)
    same("fullCheck", count * alpha >= 3, found.full_check)
    own = sum(min(count, len(own_of(one).residuals)) for one in families)
    same("own.pictures", own, found.own.pictures)
    controls = sum(min(count, len(one.controls.controls)) for one in families)
    same("controls.pictures", controls, found.controls.pictures)
    groups = {group.name for group in evaluation.groups}
    same("leftOut", [], sorted(set(found.left_out) - groups))
    strangers = sum(
        min(count, len(result.residuals))
        for family in families
        for result in family.groups[1:]
        if result.group not in found.left_out
    )
    same("strangers.pictures", strangers, found.strangers.pictures)
    for name, one in (
        ("own", found.own),
        ("controls", found.controls),
        ("strangers", found.strangers),
    ):
        if not (one.stated_low <= one.low <= one.pictures >= one.high >= one.stated_high):
            raise wrong(name, "counts of pictures", str(one.to_wire()))
        counted = Tally(one.pictures, one.low, one.stated_low, one.high, one.stated_high)
        if min(counted.p_low, counted.p_high) < paired_level():
            raise wrong(name, "a refusal", "agreement")
    same("fresh", [one.name for one in families], [one.family for one in found.fresh])
    level = fresh_level(len(families))
    for family, fresh in zip(families, found.fresh, strict=True):
        same("fresh.outputs", count, fresh.outputs)
        if fresh.denied > count:
            raise wrong("fresh.denied", f"at most {count}", str(fresh.denied))
        stated = own_of(family)
        bound = upper_bound(fresh.denied + stated.denied, count + len(stated.residuals))
        same("pooledUpperBound", decimal_up(bound, 6), fresh.pooled_upper_bound)
        values = (fresh.p_denied, fresh.p_own, fresh.p_controls)
        if any(not _share(value) or Fraction(value) < level for value in values):
            raise wrong("fresh", f"probabilities of at least {decimal_up(level, 6)}", str(values))


def _share(text: str) -> bool:
    try:
        return 0 <= Fraction(text) <= 1
    except (ValueError, ZeroDivisionError):
        return False
