"""The open-set rule, and that nothing taken away from an attribution makes it say more."""

import copy
import itertools

import pytest
from attribution_samples import attribution, candidate, candidates, other_model, signed
from bundle_samples import ATTACKER, TRUST, sign, statement

from deniability.errors import (
    CommitmentError,
    SignatureError,
    StatementError,
    StatisticsError,
    UncheckedError,
)
from deniability.stats.attribution import attribution_verdict, decide_attribution
from deniability.verify.attribution import verify_attribution
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.finding import verify_finding

VERDICTS = ("reached", "excluded", "inconclusive")


def check(content, **options):
    return verify_attribution(signed(content), trust=TRUST, where="a.json", **options)


@pytest.mark.parametrize("count", range(2, 5))
def test_the_rule_for_every_combination(count):
    for verdicts in itertools.product(VERDICTS, repeat=count):
        found = attribution_verdict(verdicts)
        reached, undecided = verdicts.count("reached"), verdicts.count("inconclusive")
        if found == "attributed":
            assert (reached, undecided) == (1, 0)
        elif found == "none-of-these":
            assert set(verdicts) == {"excluded"}
        elif found == "several":
            assert reached > 1
        else:
            assert undecided
            assert reached < 2
        assert {attribution_verdict(order) for order in itertools.permutations(verdicts)} == {found}


def test_a_finding_that_becomes_weaker_never_makes_the_verdict_stronger():
    """Whatever is definite stays or is lost when a search does worse."""
    for verdicts in itertools.product(VERDICTS, repeat=3):
        before = attribution_verdict(verdicts)
        for index, verdict in enumerate(verdicts):
            if verdict == "inconclusive":
                continue
            weaker = [*verdicts[:index], "inconclusive", *verdicts[index + 1 :]]
            after = attribution_verdict(weaker)
            assert after in {"inconclusive", "several"}
            assert after == "inconclusive" or before == "several"


def test_no_candidates_decide_nothing():
    assert attribution_verdict([]) == "inconclusive"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("reached", "excluded"), "attributed"),
        (("excluded", "excluded"), "none-of-these"),
        (("reached", "reached", "inconclusive"), "several"),
        (("reached", "inconclusive"), "inconclusive"),
    ],
)
def test_what_holds_is_verified(verdicts, expected):
    verified = check(attribution(*verdicts))
    assert verified.attribution.finding.verdict == expected
    assert [b.exclusion for b in verified.bundles] == list(verified.attribution.candidates)
    assert {b.payload_digest for b in verified.bundles} == {verified.payload_digest}


def test_every_candidate_is_in_the_sentence_with_its_number():
    found = decide_attribution(candidates(*VERDICTS, "excluded"))
    assert "(4 models examined)" in found.sentence
    for number in range(4):
        assert found.sentence.count(f"sha256:{other_model(number).digest}") == 1


def test_the_longest_sentence_can_be_written():
    many = [
        candidate(0, VERDICTS[i % 3]).model_copy(update={"model": other_model(i)})
        for i in range(64)
    ]
    assert len(decide_attribution(many).sentence) < 8000


def test_leaving_out_a_candidate_is_refused_unless_all_is_said_anew():
    for verdicts in (("reached", "excluded", "inconclusive"), ("excluded", "excluded", "excluded")):
        for index in range(3):
            content = attribution(*verdicts)
            del content["predicate"]["candidates"][index]
            with pytest.raises(StatisticsError, match=r"finding\.") as refused:
                check(content)
            assert "innocent" not in str(refused.value)


def test_the_type_decides_who_reads_it():
    one, several = sign(statement()), signed(attribution("excluded", "excluded"))
    assert isinstance(verify_finding(one, trust=TRUST), VerifiedBundle)
    assert verify_finding(one, trust=TRUST) == verify_bundle(one, trust=TRUST)
    with pytest.raises(StatementError, match="another type of statement"):
        verify_bundle(several, trust=TRUST)
    with pytest.raises(StatementError, match="another type of statement"):
        verify_attribution(one, trust=TRUST)
    relabelled = attribution("excluded", "excluded") | {
        "predicateType": statement()["predicateType"]
    }
    with pytest.raises(StatementError):
        verify_finding(signed(relabelled), trust=TRUST)


def test_the_signer_is_the_verifiers_choice():
    with pytest.raises(UncheckedError):
        verify_finding(signed(attribution("reached", "excluded"), ATTACKER), trust=TRUST)
    raw = signed(attribution("reached", "excluded")).replace(b'"payload":"ey', b'"payload":"ez')
    with pytest.raises(SignatureError):
        verify_finding(raw, trust=TRUST)


def test_a_refusal_inside_names_the_candidate():
    content = attribution("excluded", "excluded")
    content["predicate"]["candidates"][1]["controls"]["controls"][3]["seed"] = "0" * 64
    with pytest.raises(CommitmentError, match=r"a\.json: candidates\.1") as refused:
        check(content)
    assert "controls.controls.3.seed" in str(refused.value)


def test_a_model_under_other_names_is_the_same_model():
    content = attribution("excluded", "excluded")
    first, second = content["predicate"]["candidates"]
    second["model"]["weights"] = first["model"]["weights"]
    with pytest.raises(CommitmentError, match=r"model\.weights"):
        check(content)


def test_two_subjects_are_refused():
    content = attribution("excluded", "excluded")
    content["subject"].append(copy.deepcopy(content["subject"][0]))
    with pytest.raises(CommitmentError, match="subject"):
        check(content)
