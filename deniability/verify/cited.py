"""Step 15 of SPEC.md: the known error rate that a bundle cites, alone and beside its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from deniability.errors import CommitmentError
from deniability.stats.binomial import decimal_up, upper_bound
from deniability.verify.follows import equal
from deniability.wire.cited import CONFIDENCE, CitedEvaluation, CitedFamily, CitedGroup
from deniability.wire.exclusion import Exclusion
from deniability.wire.families import family_name
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.registration import ModelDescriptor

if TYPE_CHECKING:
    from deniability.verify.evaluation import VerifiedEvaluation


def kinds_in(exclusion: Exclusion) -> tuple[ObservationKind, ...]:
    """Return the kinds of a bundle's families, in order."""
    return (
        exclusion.controls.kind,
        *(one.controls.kind for one in exclusion.handled or ()),
    )


def check_cited(exclusion: Exclusion, where: str) -> None:
    """Check what a citation says by itself: names of the bundle's families, counts, bounds.

    Raises:
        CommitmentError: something does not follow.

    """
    cited = exclusion.evaluation
    if cited is None:
        return
    names = [family_name(kind) for kind in kinds_in(exclusion)]
    found = [family.name for family in cited.families]
    equal("evaluation.families", [name for name in names if name in found], found, where)
    for index, family in enumerate(cited.families):
        field, own = f"evaluation.families.{index}", family.groups[0]
        equal(f"{field}.groups (first)", "own", own.name, where)
        groups = [group.name for group in family.groups]
        equal(f"{field}.groups (different)", len(groups), len(set(groups)), where)
        for group in family.groups:
            if group.denied > group.count:
                equal(f"{field}.groups", f"at most {group.count} denied", group.denied, where)
        bound = decimal_up(upper_bound(own.denied, own.count, Fraction(CONFIDENCE)), 6)
        equal(f"{field}.atMost", bound, family.at_most, where)


def cite(verified: VerifiedEvaluation, kinds: Sequence[ObservationKind]) -> CitedEvaluation:
    """Return the citation of an evaluation for a bundle with families of these kinds."""
    evaluation = verified.evaluation
    measured = {family.controls.kind: family for family in evaluation.families}
    return CitedEvaluation(
        payload=verified.payload_digest,
        keyid=verified.signer.keyid,
        created_at=evaluation.created_at,
        promise_held=evaluation.result.promise_held,
        uniform=evaluation.result.uniform,
        families=tuple(
            CitedFamily(
                name=measured[kind].name,
                groups=tuple(
                    CitedGroup(name=one.group, count=len(one.residuals), denied=one.denied)
                    for one in measured[kind].groups
                ),
                at_most=measured[kind].groups[0].at_most,
            )
            for kind in kinds
            if kind in measured
        ),
    )


def check_evaluated(
    verified: VerifiedEvaluation,
    model: ModelDescriptor,
    generator: GeneratorSpec,
    registration: str,
    *,
    where: str,
) -> None:
    """Check that an evaluation is about this model, described alike, with these controls.

    Raises:
        CommitmentError: it is about others.

    """
    evaluation = verified.evaluation
    for field, expected, found in (
        ("model.weights", model.weights, evaluation.model.weights),
        ("generator", generator.to_wire(), evaluation.generator.to_wire()),
        ("registration.payload", registration, evaluation.registration.payload),
    ):
        if expected != found:
            raise CommitmentError(
                "the evaluation is of another model, or another registration of it",
                where=f"{where}: {field}",
                expected=str(expected)[:300],
                found=str(found)[:300],
            )


def check_against(exclusion: Exclusion, verified: VerifiedEvaluation, *, where: str) -> None:
    """Hold a bundle's citation against the evaluation itself.

    Raises:
        CommitmentError: it cites none, another one, or other figures.

    """
    check_evaluated(
        verified,
        exclusion.model,
        exclusion.generator,
        exclusion.registration.payload,
        where=where,
    )
    equal("evaluation", cite(verified, kinds_in(exclusion)), exclusion.evaluation, where)
