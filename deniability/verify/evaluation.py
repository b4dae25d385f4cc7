"""Section 22 of SPEC.md: an evaluation at level V0, without the model or any picture."""

from __future__ import annotations

from dataclasses import dataclass

from deniability.crypto.keys import PublicKey
from deniability.errors import StatisticsError
from deniability.stats.evaluation import (
    OWN,
    FamilyRule,
    decide_evaluation,
    group_result,
    own_of,
    shared_controls_test,
    uniformity_test,
)
from deniability.stats.evaluation_words import (
    COPIES,
    about_group,
    edited_size,
    evaluation_scope,
    families_of,
    order_of_group,
)
from deniability.stats.sentence import model_cautions
from deniability.verify.bundle import (
    NO_TIMES,
    check_beacon,
    check_controls,
    check_kind,
    check_model,
    check_protocol,
)
from deniability.verify.envelope import VerifiedStatement, verify_envelope
from deniability.verify.follows import check_residual, equal, short
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times
from deniability.verify.trust import TrustPolicy
from deniability.wire.base import WireModel
from deniability.wire.evaluation import EvaluatedFamily, Evaluation
from deniability.wire.families import family_name
from deniability.wire.statement import EVALUATION_TYPE


@dataclass(frozen=True)
class VerifiedEvaluation:
    """An evaluation that passed V0. Only `verify_evaluation` makes one.

    Attributes:
        evaluation: the predicate, every number of it recomputed from residuals and controls.
        payload_digest: sha256 (hex) of the signed bytes.
        signer: the trusted key that signed it.
        times: what its timestamps show.

    """

    evaluation: Evaluation
    payload_digest: str
    signer: PublicKey
    times: Times = NO_TIMES


def verify_evaluation(
    raw: bytes, *, trust: TrustPolicy, where: str = "evaluation"
) -> VerifiedEvaluation:
    """Verify an evaluation's bytes at level V0.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError, TimestampError: as
            `verify_envelope`.
        CommitmentError: a digest, seed, group or family does not follow.
        StatisticsError: a number or the result does not follow from the residuals.

    """
    signed = verify_envelope(raw, trust=trust, predicate_type=EVALUATION_TYPE, where=where)
    evaluation = parse_predicate(signed.statement.predicate, Evaluation, where=where)
    _check_subjects(signed, evaluation, where)
    check_model(evaluation.model, where)
    check_protocol(evaluation.protocol, evaluation.protocol_digest, evaluation.generator, where)
    check_beacon(evaluation.beacon, where)
    equal("registration.chain", None, evaluation.registration.chain, where)
    _check_groups(evaluation, where)
    _check_families(evaluation, where)
    for index, family in enumerate(evaluation.families):
        _check_family(evaluation, family, f"families.{index}", where)
    scope = evaluation_scope(evaluation.groups, evaluation.families, evaluation.narrowed)
    equal("scope", scope, evaluation.scope, where)
    result = decide_evaluation(
        evaluation.families,
        model_digest=evaluation.model.digest,
        protocol=evaluation.protocol,
    )
    _same(result, evaluation.result, "result", where)
    return VerifiedEvaluation(evaluation, signed.payload_digest, signed.signer, signed.times)


def _check_subjects(signed: VerifiedStatement, evaluation: Evaluation, where: str) -> None:
    # Step 22.2: the model's files, as in a registration.
    expected = [(file.name, file.sha256) for file in evaluation.model.files]
    found = [(subject.name, subject.digest.sha256) for subject in signed.statement.subject]
    equal("subject", expected, found, where)


def _check_groups(evaluation: Evaluation, where: str) -> None:
    # Step 22.4: known names in order, own outputs first, and words that follow from the names.
    names = [group.name for group in evaluation.groups]
    for index, group in enumerate(evaluation.groups):
        field = f"groups.{index}"
        about = about_group(group.name)
        equal(f"{field} (closeness, how)", about, (group.closeness, group.how), where)
        pictures = group.name.startswith(("photos", "nonmembers-"))
        copied = group.name in COPIES
        equal(f"{field}.distance (there)", copied, group.distance is not None, where)
        equal(f"{field}.files (there)", pictures, group.files is not None, where)
        other = not (copied or pictures or group.name == OWN)
        equal(f"{field}.weights (there)", other, group.weights is not None, where)
        if group.weights == evaluation.model.weights:
            equal(f"{field}.weights", "another model's", group.weights, where)
    equal("groups (first)", OWN, names[0], where)
    equal("groups (order)", sorted(set(names), key=order_of_group), names, where)
    # A copy that could not be made is told; that one was not tried cannot happen.
    told = {entry.name for entry in evaluation.not_applied}
    equal("groups (copies)", [], [n for n in COPIES if n not in told and n not in names], where)
    equal("notApplied (groups)", [], sorted(told & set(names)), where)


def _check_families(evaluation: Evaluation, where: str) -> None:
    # Step 22.5: all families of the preset that fit the model, or those it was narrowed to.
    protocol, narrowed = evaluation.protocol, evaluation.narrowed
    fit, unfit = families_of(protocol, evaluation.generator)
    if narrowed is not None:
        equal("narrowed (different)", len(narrowed), len(set(narrowed)), where)
        equal("narrowed", [], sorted(set(narrowed) - set(fit)), where)
        fit, unfit = tuple(name for name in fit if name in narrowed), ()
    names = tuple(family.name for family in evaluation.families)
    equal("families", fit, names, where)
    told = tuple(e.name for e in evaluation.not_applied if about_group(e.name) is None)
    equal("notApplied (families)", unfit, told, where)
    for index, family in enumerate(evaluation.families):
        kind, field = family.controls.kind, f"families.{index}"
        check_kind(kind, evaluation.generator, f"{field}.controls.kind", where)
        equal(f"{field}.name", family_name(kind), family.name, where)
        if kind.edit is not None:
            size = edited_size(kind.edit, kind.height, kind.width)
            equal(f"{field}.controls.kind (size)", size, kind.file_size, where)
            equal(f"{field}.controls.kind.family", "lossless", kind.family, where)


def _check_family(evaluation: Evaluation, family: EvaluatedFamily, field: str, where: str) -> None:
    # Step 22.6: the controls by the steps of a bundle's; then every number computed again.
    protocol = evaluation.protocol
    check_controls(
        family.controls,
        evaluation.model,
        protocol,
        dimension=evaluation.generator.dimension,
        beacon=evaluation.beacon,
        field=f"{field}.controls",
        where=where,
    )
    known = [group.name for group in evaluation.groups]
    names = [result.group for result in family.groups]
    equal(f"{field}.groups", known, names, where)
    cautions = model_cautions(evaluation.generator.format)
    rule = FamilyRule.of(family.controls, protocol, cautions=cautions)
    own = own_of(family).residuals
    pictures = {g.name: len(g.files) for g in evaluation.groups if g.files is not None}
    for index, result in enumerate(family.groups):
        place = f"{field}.groups.{index}"
        count = pictures.get(result.group, len(result.residuals))
        equal(f"{place}.residuals (count)", count, len(result.residuals), where)
        for text in result.residuals:
            known_text = None if text == "notFinite" else text
            check_residual(known_text, protocol, f"{place}.residuals", where)
        computed = group_result(
            result.group,
            result.residuals,
            rule,
            own,
            iterations=result.iterations,
            seconds=result.seconds,
        )
        _same(computed, result, place, where)
    count = len(evaluation.families)
    denied = own_of(family).denied
    shared = shared_controls_test(denied, len(own), rule, families=count)
    _same(shared, family.shared, f"{field}.shared", where)
    _same(uniformity_test(own, rule, families=count), family.uniform, f"{field}.uniform", where)


def _same(computed: WireModel, claimed: WireModel, field: str, where: str) -> None:
    """Refuse what was not computed by the rule."""
    expected = computed.to_wire()
    found = claimed.to_wire()
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise StatisticsError(
                f"field {field}.{name} does not follow from the residuals",
                where=where,
                expected=short(expected.get(name)),
                # A refusal does not lend its voice to what a forged sentence says.
                found="other words" if name == "sentence" else short(found.get(name)),
            )
