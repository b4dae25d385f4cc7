"""Evaluations at level V0: what the signer altered is refused, and the near ones are told so."""

from fractions import Fraction

import pytest
from bundle_samples import ATTACKER, MODEL, QUICK, TRUST, sample_restarts, sign, statement
from evaluation_samples import CONTROLS, RESIDUALS, evaluation, family

from deniability.errors import (
    CommitmentError,
    DeniabilityError,
    StatementError,
    StatisticsError,
    UncheckedError,
)
from deniability.report.error_rate import error_rate_line
from deniability.stats.evaluation import (
    FamilyRule,
    decide_evaluation,
    own_p_values,
    read_measured,
    shared_controls_test,
)
from deniability.stats.verdict import decide
from deniability.verify.bundle import verify_bundle
from deniability.verify.cited import check_against, cite
from deniability.verify.evaluation import verify_evaluation
from deniability.wire.controls import Control

REFUSED = (StatementError, CommitmentError, StatisticsError)


def refusal(content, key=None):
    raw = sign(content) if key is None else sign(content, key)
    try:
        verify_evaluation(raw, trust=TRUST, where="e.json")
    except DeniabilityError as error:
        return error
    return None


def test_an_honest_one_holds_and_says_what_it_does_not_promise():
    found = verify_evaluation(sign(evaluation()), trust=TRUST).evaluation
    assert found.result.denied == 0
    assert "Of copies of the model that are near it nothing is promised." in found.result.sentence
    (near,) = (line for line in found.scope if "nothing is promised" in line)
    assert "(noise-0.001, noise-0.01, int8)" in near
    assert "noise-0.1," not in near
    denied = {one.group: one.denied for one in found.families[0].groups}
    assert (denied["own"], denied["noise-0.1"], denied["other-1"]) == (0, 2, 1)


def test_a_denial_is_what_the_rule_of_a_proof_excludes():
    """The same residual, as that of an accused picture: excluded exactly if it is denied here."""
    rule = FamilyRule.of(CONTROLS, QUICK)
    for text in ("0", "2.00000e-06", "9.00000e-05", "1.00000e-03", "3.00000e-02", "5.00000e-01"):
        found = decide(
            protocol=QUICK,
            controls=CONTROLS,
            restarts=sample_restarts([text] * QUICK.restarts),
            cautions=(),
            model_digest=MODEL.digest,
            pixel_for_pixel=False,
        )
        (value,) = read_measured([text])
        assert rule.denies(value) == (found.verdict == "excluded"), text
        p = found.families[0].p
        assert rule.p_value(value) == Fraction(p.numerator, p.denominator)


def test_nothing_is_denied_where_the_rule_could_not():
    low = CONTROLS.model_copy(
        update={
            "controls": tuple(
                Control.model_validate(c.model_dump() | {"residual": "9.00000e-01"})
                for c in CONTROLS.controls
            )
        }
    )
    (far,) = read_measured(["9.90000e+05"])
    assert not FamilyRule.of(low, QUICK).denies(far)  # recall
    assert not FamilyRule.of(CONTROLS, QUICK, cautions=("decoder",)).denies(far)
    assert FamilyRule.of(CONTROLS, QUICK).denies(far)
    assert not FamilyRule.of(CONTROLS, QUICK).denies(float("inf"))


def test_too_many_denials_contradict_the_promise():
    bad = RESIDUALS | {"own": ("3.00000e-02",) * 40}
    found = family(bad)
    assert not found.shared.passed
    assert not found.uniform.passed
    result = decide_evaluation([found], model_digest=MODEL.digest, protocol=QUICK)
    assert not result.promise_held
    assert "That contradicts the promised rate" in result.sentence
    assert "are significantly too small" in result.sentence
    rule = FamilyRule.of(CONTROLS, QUICK)
    passed = shared_controls_test(found.shared.critical, 40, rule, families=1)
    assert passed.passed
    assert not shared_controls_test(found.shared.critical + 1, 40, rule, families=1).passed


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for index in range(len(value)) if len(value) < 30 else (0, 7, len(value) - 1):
            yield from leaves(value[index], (*path, index))
    else:
        yield path


def changed(content, path, value):
    holder = content["predicate"]
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return content


#: Carried, not checked: for the record, or what somebody else has to say.
CARRIED = {
    "createdAt",
    "environment",
    "registration",
    "notApplied",
    "generator",
    "seconds",
    "iterations",
    "distance",
    "weights",
    "files",
    "deviceClass",
}


def value_beside(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value in {"0", "notFinite"}:
        return "7.00000e-04"
    if len(value) == 64:
        return "0" * 64
    return value[:-1] + ("1" if value[-1] != "1" else "2")


def test_whatever_is_altered_is_refused_but_what_is_only_carried():
    for path in leaves(evaluation()["predicate"]):
        if CARRIED & set(map(str, path)):
            continue
        if {"residual", "truth", "best", "restarts", "latent", "residuals"} & set(map(str, path)):
            continue  # the signer's word; that everything follows from them is tested below
        value = evaluation()["predicate"]
        for step in path:
            value = value[step]
        error = refusal(changed(evaluation(), path, value_beside(value)))
        assert isinstance(error, REFUSED), (path, value, error)


def test_a_control_that_is_altered_takes_what_follows_with_it():
    path = ("families", 0, "controls", "controls", 3, "residual")
    error = refusal(changed(evaluation(), path, "9.00000e+00"))
    assert isinstance(error, REFUSED)


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        (("families", 0, "groups", 0, "residuals", 0), "3.00000e-02", StatisticsError),
        (("families", 0, "groups", 0, "denied"), 1, StatisticsError),
        (("families", 0, "groups", 4, "atLeast"), "0.900000", StatisticsError),
        (("families", 0, "shared", "critical"), 99, StatisticsError),
        (("families", 0, "uniform", "p"), "0.900000", StatisticsError),
        (("result", "sentence"), "Never wrong.", StatisticsError),
        (("groups", 1, "closeness"), "far", CommitmentError),
        (("groups", 0, "how"), "hand-picked ones", CommitmentError),
        (("scope", 3), "All are promised.", CommitmentError),
        (("narrowed", 0), "saved-jpeg-75-444", CommitmentError),
    ],
)
def test_what_would_flatter_is_refused(path, value, kind):
    error = refusal(changed(evaluation(), path, value))
    assert type(error) is kind, error
    assert "Never wrong" not in str(error)


def test_copies_and_families_cannot_be_left_out():
    content = evaluation()
    del content["predicate"]["notApplied"][0]  # a copy that is then neither there nor told
    assert isinstance(refusal(content), CommitmentError)
    content = evaluation()
    del content["predicate"]["narrowed"]  # then JPEG is missing
    assert isinstance(refusal(content), CommitmentError)
    content = evaluation()
    content["predicate"]["families"][0]["groups"].pop()
    assert isinstance(refusal(content), CommitmentError)
    content = evaluation()
    content["predicate"]["groups"].reverse()
    assert isinstance(refusal(content), CommitmentError)


def test_an_unknown_signer_is_not_checked():
    assert isinstance(refusal(evaluation(), ATTACKER), UncheckedError)


def test_p_values_are_the_conformal_ones():
    values = own_p_values(family(), QUICK)
    assert len(values) == 20
    assert max(values) == 1
    assert all(v.denominator in {1, 2, 4, 5, 10, 20, 25, 50, 100} for v in values)


# --- citations


def citing(change=None):
    verified = verify_evaluation(sign(evaluation()), trust=TRUST)
    content = statement()
    cited = cite(verified, [CONTROLS.kind]).to_wire()
    if change is not None:
        change(cited)
    content["predicate"]["evaluation"] = cited
    return content, verified


def test_a_bundle_cites_the_figures_of_its_own_families():
    content, verified = citing()
    bundle = verify_bundle(sign(content), trust=TRUST)
    assert [f.name for f in bundle.exclusion.evaluation.families] == ["lossless"]
    line = error_rate_line(bundle.exclusion)
    assert "lossless: of 20 own outputs 0 were denied (at most 0.139109" in line
    assert "not compared with it (--evaluation)" in line
    check_against(bundle.exclusion, verified, where="e.json")
    assert error_rate_line(verify_bundle(sign(statement()), trust=TRUST).exclusion).startswith(
        "none is cited"
    )


def test_other_kinds_of_file_have_no_known_rate():
    content, _ = citing(lambda cited: cited.update(families=[]))
    bundle = verify_bundle(sign(content), trust=TRUST)
    assert error_rate_line(bundle.exclusion).startswith("none for a file of this kind")


@pytest.mark.parametrize(
    "change",
    [
        lambda cited: cited["families"][0].update(atMost="0.000001"),
        lambda cited: cited["families"][0].update(name="saved-jpeg-75-444"),
        lambda cited: cited["families"].append(cited["families"][0]),
        lambda cited: cited["families"][0]["groups"].reverse(),
        lambda cited: cited["families"][0]["groups"][1].update(denied=3),
    ],
)
def test_a_citation_that_contradicts_itself_is_refused(change):
    content, _ = citing(change)
    with pytest.raises(CommitmentError, match=r"evaluation\.families"):
        verify_bundle(sign(content), trust=TRUST)


@pytest.mark.parametrize(
    "change",
    [
        lambda cited: cited.update(payload="0" * 64),
        lambda cited: cited.update(promiseHeld=False),
        lambda cited: cited["families"][0]["groups"][4].update(denied=1),
        lambda cited: cited.update(families=[]),
    ],
)
def test_a_citation_is_held_against_the_evaluation(change):
    content, verified = citing(change)
    bundle = verify_bundle(sign(content), trust=TRUST)
    with pytest.raises(CommitmentError, match="evaluation"):
        check_against(bundle.exclusion, verified, where="e.json")
