"""What an isolated child may answer about V1 and V2: strict shapes, and what can be recomputed."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from deniability.crypto.canonical import canonical_json
from deniability.sandbox.interface import IsolationError
from deniability.sandbox.messages import Answer
from deniability.stats.binomial import (
    decimal_down,
    decimal_up,
    detection_probability,
    upper_bound,
)
from deniability.wire.base import DecimalString, WireModel
from deniability.wire.binding import Binding
from deniability.wire.edits import EditName
from deniability.wire.exclusion import Exclusion

Count = Annotated[int, Field(ge=0, le=10**9)]
Share = Annotated[str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{6}$")]
Bound = Annotated[str, Field(pattern=r"^[0-9.e-]{1,24}$")]
_Kind = TypeVar("_Kind", bound=WireModel)


class LatentsAnswer(WireModel):
    """The numbers of V1."""

    level: Literal["v1"]
    verdict: Literal["excluded", "reached", "inconclusive"]
    restarts: Count
    controls: Count
    largest_difference: Share
    families: Count | None = None


class _SearchNumbers(WireModel):
    """The numbers of V2 that each family of handling has."""

    restarts: Count
    best: DecimalString | None = None
    prover_residual: DecimalString | None = None
    extreme: Count
    recovered: Count
    probed_without_encoder: Count
    found_without_encoder: Count
    pooled_upper_bound: Bound


class HandledAnswer(_SearchNumbers):
    """The numbers of V2 of a further family."""

    family: EditName


class SearchAnswer(_SearchNumbers):
    """The numbers of V2."""

    level: Literal["v2"]
    fresh_controls: Count
    detection_probability: Bound
    full_check: bool
    handled: Annotated[tuple[HandledAnswer, ...], Field(max_length=63)] | None = None


class BindingAnswer(WireModel):
    """The numbers of V1 of a binding."""

    level: Literal["v1"]
    verdict: Literal["bound", "not-bound"]
    pictures: Count
    latents: Count
    largest_difference: Share


def check_binding_answer(answer: Answer, binding: Binding) -> None:
    """Refuse an answer about a binding that is none, or contradicts it.

    Raises IsolationError.
    """
    if not len(answer.values) == len(answer.lines) == 1:
        raise wrong("levels", "1", f"{len(answer.values)}")
    found = parsed(BindingAnswer, answer.values[0])
    same("verdict", binding.result.verdict, found.verdict)
    same("pictures", len(binding.pictures), found.pictures)
    same("latents", sum(p.latent is not None for p in binding.pictures), found.latents)


def check_answer(answer: Answer, exclusion: Exclusion, count: int | None) -> None:
    """Refuse an answer that is no answer, or contradicts what can be computed without the model.

    Raises IsolationError.
    """
    wanted = (LatentsAnswer,) if count is None else (LatentsAnswer, SearchAnswer)
    if not len(wanted) == len(answer.values) == len(answer.lines):
        raise wrong("levels", f"{len(wanted)}", f"{len(answer.values)}")
    _check_latents(parsed(LatentsAnswer, answer.values[0]), exclusion)
    if count is not None:
        _check_search(parsed(SearchAnswer, answer.values[1]), exclusion, count)


def _check_latents(answer: LatentsAnswer, exclusion: Exclusion) -> None:
    claimed = exclusion.finding.verdict
    if claimed != "inconclusive":
        same("verdict", claimed, answer.verdict)
    handled = exclusion.handled or ()
    traces = (exclusion.restarts, *(one.restarts for one in handled))
    sets = (exclusion.controls, *(one.controls for one in handled))
    same("restarts", sum(r.stop != "notRun" for trace in traces for r in trace), answer.restarts)
    same("controls", sum(len(one.controls) for one in sets), answer.controls)
    same("families", len(sets) if handled else None, answer.families)


def _check_search(answer: SearchAnswer, exclusion: Exclusion, count: int) -> None:
    alpha = Fraction(exclusion.protocol.alpha)
    same("freshControls", count, answer.fresh_controls)
    detection = decimal_down(detection_probability(count, alpha), 6)
    same("detectionProbability", detection, answer.detection_probability)
    same("fullCheck", count * alpha >= 3, answer.full_check)
    first, *families = exclusion.finding.families
    further = answer.handled or ()
    same("handled", [one.edit for one in families], [one.family for one in further])
    for family, found in zip((first, *families), (answer, *further), strict=True):
        same("proverResidual", family.statistic, found.prover_residual)
        for field in ("extreme", "recovered", "probed_without_encoder"):
            if getattr(found, field) > count:
                raise wrong(field, f"at most {count}", str(getattr(found, field)))
        bound = decimal_up(upper_bound(family.k + found.extreme, family.n + count), 6)
        same("pooledUpperBound", bound, found.pooled_upper_bound)


def parsed(kind: type[_Kind], value: dict[str, Any]) -> _Kind:
    """Parse the numbers of one level. Raises IsolationError unless they have this shape."""
    try:
        return kind.model_validate_json(canonical_json(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise wrong(where[:80], first["msg"][:200], "something else") from error


def same(field: str, expected: object, found: object) -> None:
    """Refuse a number that does not follow. Raises IsolationError."""
    if expected != found:
        raise wrong(field, str(expected), str(found))


def wrong(field: str, expected: str, found: str) -> IsolationError:
    """Return the refusal of an answer."""
    return IsolationError(
        "the model's process gave an answer that cannot be right",
        where=f"--model: {field}",
        expected=expected,
        found=found,
    )
