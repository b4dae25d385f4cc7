"""Residuals and findings that do not follow from each other, signed by the rightful signer."""

import pytest
from bundle_samples import (
    ALLOWANCE,
    BELOW_MARGIN,
    MARGIN,
    MISSING,
    QUICK,
    attacked,
    check,
    expect,
    recommit,
    refusal,
    sample,
    sign,
    statement,
)

from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError, StatementError, StatisticsError

OTHER = sha256_hex(b"other")


def family(predicate):
    return predicate["finding"]["families"][0]


def control(predicate, index=0):
    return predicate["controls"]["controls"][index]


# --- residuals


def test_inflated_residuals_of_the_accused():
    def change(predicate):
        for restart in predicate["restarts"]:
            restart["residual"] = "9.00000e-01"

    expect(attacked(change), StatisticsError, "finding.families.0.")
    expect(attacked(change, "inconclusive"), StatisticsError, "finding.")


def test_an_inflated_residual_in_place_of_the_one_that_reached():
    def change(predicate):
        predicate["restarts"][1] |= {"residual": "5.00000e-02", "stop": "stalled"}

    expect(attacked(change, "reached"), CommitmentError, "restarts.2.stop")


@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "inf", "-1.00000e-05", "1e-5", "4.4e-02", "0.044", "4.40000e-2", "4.40000E-02"),
        *("+4.40000e-02", " 4.40000e-02", "4.400000e-02", "0.00000e+00", "", 0, True, [], {}),
    ],
)
@pytest.mark.parametrize("where", ["restarts", "controls"])
def test_residuals_that_are_no_decimal_strings(value, where):
    content = statement()
    members = content["predicate"]["restarts"]
    if where == "controls":
        members = content["predicate"]["controls"]["controls"]
    members[0]["residual"] = value
    expect(refusal(sign(content)), StatementError, "0.residual")


@pytest.mark.parametrize("value", ["5.00000e-02", "9.99999e+01"])
def test_a_raised_control(value):
    def change(predicate):
        control(predicate, 50).update(residual=value, restarts=12)

    expect(attacked(change), StatisticsError, "finding.families.0.")


def test_a_lowered_control():
    def change(predicate):
        predicate["controls"]["controls"][MISSING] |= {
            "residual": "0",
            "best": 11,
            "latent": OTHER,
        }

    expect(attacked(change), StatisticsError, "finding.families.0.")


def test_a_lowered_mismatch():
    def change(predicate):
        for mismatch in predicate["controls"]["mismatches"]:
            mismatch["residual"] = "1.00000e-06"

    expect(attacked(change), StatisticsError, "finding.families.0.allowance")


def test_lowered_mismatches_with_the_finding_to_match_move_the_margin_down_to_the_floor_only():
    content = statement("inconclusive")
    for mismatch in content["predicate"]["controls"]["mismatches"]:
        mismatch["residual"] = "0"
    recommit(content)
    assert family(content["predicate"])["margin"] == "5.12624e-05"  # 10 / 195075, rounded up
    assert check(sign(content)).exclusion.finding.verdict == "excluded"


# --- the numbers of the finding


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", 0),
        ("n", 98),
        ("alpha", "0.01"),
        ("upperBound", "0.029817"),
        ("p", {"numerator": 1, "denominator": 100}),
        ("p", {"numerator": 2, "denominator": 99}),
        ("statistic", "9.00000e-02"),
        ("percentile99", "0"),
        ("floor", "0"),
        ("allowance", "0"),
        ("margin", "1.00000e-05"),
        ("recovered", 99),
        ("family", "jpeg"),
        ("gates", []),
    ],
)
def test_numbers_of_the_finding(field, value):
    def change(predicate):
        assert family(predicate)[field] != value
        family(predicate)[field] = value

    error = attacked(change)
    assert isinstance(error, StatisticsError)
    assert f"finding.families.0.{field}" in str(error)


def test_a_raised_threshold_is_noticed_before_or_with_the_finding():
    def change(predicate):
        family(predicate)["threshold"] = "2.00000e-09"

    expect(attacked(change), StatisticsError, "finding.families.0.threshold")
    content = statement("inconclusive")
    family(content["predicate"])["threshold"] = MARGIN
    expect(refusal(sign(content)), CommitmentError, "restarts.0.stop")


@pytest.mark.parametrize("verdict", ["excluded", "inconclusive", "reached"])
@pytest.mark.parametrize("claimed", ["excluded", "inconclusive", "reached"])
def test_another_verdict_is_refused(verdict, claimed):
    for donor in (None, claimed):  # the word alone, or the whole finding of another bundle

        def change(predicate, donor=donor):
            if donor is None:
                predicate["finding"]["verdict"] = claimed
            else:
                predicate["finding"] = statement(donor)["predicate"]["finding"]

        error = attacked(change, verdict)
        if verdict == claimed:
            assert error is None
        else:
            assert isinstance(error, StatisticsError | CommitmentError)
            assert "finding" in str(error) or "restarts" in str(error)


@pytest.mark.parametrize(
    "sentence",
    ["Innocent.", lambda s: s.replace("0.05", "0.01"), lambda s: s.split(";", maxsplit=1)[0] + "."],
)
def test_another_sentence(sentence):
    def change(predicate):
        found = predicate["finding"]
        found["sentence"] = sentence if isinstance(sentence, str) else sentence(found["sentence"])

    expect(attacked(change), StatisticsError, "finding.sentence")


def test_another_tier_and_gates_that_passed():
    expect(attacked(lambda p: p["finding"].update(tier="reached")), StatisticsError, "finding.tier")

    def change(predicate):
        for gate in family(predicate)["gates"]:
            gate["passed"] = True

    expect(attacked(change, "inconclusive"), StatisticsError, "gates.1.passed")


def test_a_second_family_beside_the_first():
    def change(predicate):
        predicate["finding"]["families"] *= 2

    expect(attacked(change), StatisticsError, "finding.families")


def test_a_reached_restart_that_is_not_there():
    def change(predicate):
        predicate["finding"]["reached"] = {"restart": 0, "pixelForPixel": False}

    expect(attacked(change), StatisticsError, "finding.reached")
    expect(
        attacked(lambda p: p["finding"]["reached"].update(restart=0), "reached"),
        StatisticsError,
        "finding.reached.restart",
    )


def test_just_below_the_margin_is_not_excluded_and_at_it_is():
    below = sample([BELOW_MARGIN] * QUICK.restarts)
    at = sample([MARGIN] * QUICK.restarts)
    assert (below.finding.verdict, at.finding.verdict) == ("inconclusive", "excluded")
    assert at.finding.families[0].allowance == ALLOWANCE

    def change(predicate):
        found = sample([MARGIN] * QUICK.restarts).finding.to_wire()
        found["families"][0]["statistic"] = BELOW_MARGIN
        predicate["finding"] = found

    expect(attacked(change, "inconclusive"), StatisticsError, "finding.families.0.gates.1")


# --- cautions and scope


def test_excluded_in_spite_of_a_caution():
    def change(predicate):
        predicate["accused"]["cautions"] = ["saved by an unknown encoder"]

    expect(attacked(change), StatisticsError, "finding.families.0.gates.4")
    cautious = sample(cautions=("saved by an unknown encoder",))
    assert cautious.finding.verdict == "inconclusive"


@pytest.mark.parametrize("change", [list.clear, list.pop, lambda s: s.append("Covered: all.")])
def test_a_wider_scope(change):
    expect(attacked(lambda p: change(p["scope"])), CommitmentError, "field scope")
