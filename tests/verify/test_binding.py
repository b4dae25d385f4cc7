"""Level V0 of bindings: the rule, what is refused, and what a bundle that cites one may say."""

import base64
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from binding_samples import (
    JPEG,
    JPEG_KIND,
    LOSSLESS,
    binding,
    citing,
    list_of,
    picture,
    pictures,
    unread,
)
from bundle_samples import ATTACKER, KEY, KIND, MODEL, TRUST, check, sign, statement

from deniability.errors import (
    CommitmentError,
    DeniabilityError,
    StatementError,
    StatisticsError,
    UncheckedError,
)
from deniability.report.deployment import NOT_SHOWN, deployment_line
from deniability.report.wording import CAVEATS, caveats
from deniability.stats.binding import counted_for, decide_binding
from deniability.verify.binding import verify_binding
from deniability.verify.trust import TrustPolicy
from deniability.wire.binding import listed_digests

BOTH = TrustPolicy((KEY.public, ATTACKER.public))  # the second key is a third party here


def decided(shown, kinds=(LOSSLESS, JPEG)):
    return decide_binding(shown, kinds, model_digest=MODEL.digest)


def refusal(content, key=KEY, trust=TRUST):
    try:
        verify_binding(sign(content, key), trust=trust, where="b.json")
    except DeniabilityError as error:
        return error
    return None


def refused(change, kind, words, **options):
    content = binding(**options)
    change(content["predicate"])
    error = refusal(content)
    assert type(error) is kind, error
    assert words in str(error), error


# --- the rule


def test_thirty_of_thirty_are_bound_and_say_how_much_that_shows():
    result = decided(pictures(30))
    assert (result.verdict, result.count, result.reached) == ("bound", 30, 30)
    share = Fraction(result.share)
    below = share - Fraction(1, 10**6)
    assert (1 - share) ** 30 <= Fraction(1, 20) < (1 - below) ** 30  # 1 - 0.05^(1/30), rounded up
    assert result.share in result.sentence


def test_fewer_are_not_bound():
    assert decided(pictures(29)).verdict == "not-bound"


def test_one_that_was_not_reached_is_enough_not_to_be_bound():
    for stop in ("stalled", "exhausted", "nonFinite", "notExamined"):
        result = decided((*pictures(40), picture(40, stop=stop)))
        assert (result.verdict, result.count, result.reached) == ("not-bound", 41, 40)


def test_a_repeated_output_counts_once_and_must_be_reached_too():
    same = picture(30, repeats=0)
    assert decided((*pictures(29), same)).verdict == "not-bound"
    assert decided((*pictures(30), same)).count == 30
    missed = picture(30, stop="stalled", residual="1.00000e-02", repeats=0)
    assert decided((*pictures(30), missed)).verdict == "not-bound"


def test_a_weaker_search_never_binds():
    """Whatever picture is missed, repeated or dropped: `bound` is lost, or nothing changes."""
    for i in range(31):
        shown = list(pictures(31))
        shown[i] = picture(i, stop="stalled", residual="1.00000e-05")
        assert decided(tuple(shown)).verdict == "not-bound"


def test_jpegs_count_for_their_own_kind_only():
    shown = pictures(40, jpeg=15)
    kinds = (LOSSLESS, JPEG)
    assert counted_for(KIND, shown, kinds) == 25
    assert counted_for(JPEG_KIND, shown, kinds) == 40
    other = JPEG_KIND.model_copy(update={"luma_table": (1,) * 64})
    assert counted_for(other, shown, kinds) == 25


# --- what is refused


def test_bindings_that_hold():
    verified = verify_binding(sign(binding()), trust=TRUST)
    assert verified.binding.result.verdict == "bound"
    assert verified.signer == KEY.public
    shown = pictures(31, jpeg=4)
    assert refusal(binding(shown, obtained=list_of(shown))) is None
    missed = picture(30, stop="stalled", residual="1.00000e-02")
    assert refusal(binding((*pictures(30), missed))) is None
    assert refusal(binding((*pictures(30), unread(30)))) is None


def test_signers_and_types():
    assert isinstance(refusal(binding(), ATTACKER), UncheckedError)
    assert isinstance(refusal(statement()), StatementError)
    with pytest.raises(StatementError, match="another type of statement"):
        check(sign(binding()))


ATTACKS = [
    (lambda p: p["pictures"].pop(), StatisticsError, "result.verdict"),
    (lambda p: p["pictures"][3].update(residual="2.00000e-09"), CommitmentError, "pictures.3.stop"),
    (lambda p: p["pictures"][3].update(stop="stalled"), CommitmentError, "pictures.3.pixel"),
    (lambda p: p["pictures"][3].pop("latent"), CommitmentError, "pictures.3.latent"),
    (lambda p: p["pictures"][3].update(restart=12), CommitmentError, "pictures.3.restart"),
    (lambda p: p["pictures"][3].update(repeats=3), CommitmentError, "pictures.3.repeats"),
    (lambda p: p["pictures"][3].update(repeats=1), StatisticsError, "result."),
    (lambda p: p["pictures"][3].update(residual="1.00000e-10"), CommitmentError, "residual"),
    (lambda p: p["pictures"][3].update(kind="0" * 64), CommitmentError, "kinds"),
    (lambda p: p["pictures"][3].update(reason="x"), CommitmentError, "pictures.3.reason"),
    (lambda p: p["result"].update(count=31), StatisticsError, "result.count"),
    (lambda p: p["result"].update(verdict="not-bound"), StatisticsError, "result.verdict"),
    (lambda p: p["result"].update(share="0.095033"), StatisticsError, "result.share"),
    (lambda p: p["kinds"].append(p["kinds"][0]), CommitmentError, "kinds"),
    (lambda p: p["kinds"][0].update(threshold="5.00000e-06"), CommitmentError, "threshold"),
    (lambda p: p["kinds"][0].update(truths=["5.00000e-06"]), CommitmentError, "truths"),
    (lambda p: p["scope"].pop(), CommitmentError, "scope"),
    (lambda p: p["model"].update(weights="0" * 64), CommitmentError, "model.weights"),
    (lambda p: p["registration"].update(chain="AAAA"), CommitmentError, "registration.chain"),
    (lambda p: p["protocol"].update(resolution="1.00000e-03"), CommitmentError, "protocol"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack[2])
def test_what_does_not_follow_is_refused(attack):
    refused(*attack)


@pytest.mark.parametrize("field", ["sha256", "pixels", "latent"])
def test_an_output_that_comes_twice_cannot_count_twice(field):
    def double(predicate):
        first, last = predicate["pictures"][0], predicate["pictures"][29]
        holder, source = (last["file"], first["file"]) if field == "sha256" else (last, first)
        holder[field] = source[field]

    refused(double, CommitmentError, "pictures.29.repeats")


def test_two_pictures_of_one_name():
    refused(lambda p: p["pictures"][1]["file"].update(name="000.png"), CommitmentError, "(names)")


def test_subjects_are_the_models_files():
    content = binding()
    content["subject"] = [{"name": "000.png", "digest": {"sha256": "0" * 64}}]
    assert "subject" in str(refusal(content))


def test_the_threshold_of_a_jpeg_follows_from_its_truths():
    shown = pictures(31, jpeg=4)

    def change(predicate):
        predicate["kinds"][1]["truths"] = ["9.00000e-07"] * 99

    content = binding(shown)
    change(content["predicate"])
    assert "kinds.1.threshold" in str(refusal(content))
    content["predicate"]["kinds"][1]["truths"] = ["2.00000e-07"] * 98
    assert "truths (count)" in str(refusal(content))


# --- the list


def test_the_pictures_are_those_of_the_list():
    shown = pictures(31)
    for raw, words in (
        (list_of(shown[1:]), "0 missing, 1 not listed"),
        (list_of((*shown, picture(31))), "1 missing, 0 not listed"),
        (list_of((*shown[1:], picture(31))), "1 missing, 1 not listed"),
    ):
        error = refusal(binding(shown, obtained=raw))
        assert isinstance(error, CommitmentError)
        assert words in str(error)


def test_digest_and_count_of_the_list():
    shown = pictures(31)
    for field, value in (("sha256", "0" * 64), ("count", 30), ("contents", "AAAA")):
        content = binding(shown, obtained=list_of(shown))
        content["predicate"]["obtained"][field] = value
        assert "obtained." in str(refusal(content))


def test_lists_as_sha256sum_writes_them():
    digest = "0" * 64
    for text in (f"{digest}  a b.png\n", f"{digest} *a.png", f"\\{digest}  a\\nb\r\n"):
        assert listed_digests(text.encode(), where="LIST") == (digest,)
    for text in ("", "\n", f"{digest}", f"{digest[1:]}  a\n", f"{digest}  a\n\n", "\xff"):
        with pytest.raises(CommitmentError, match="LIST"):
            listed_digests(text.encode("latin-1"), where="LIST")
    with pytest.raises(CommitmentError, match="too long"):
        listed_digests(b" " * (2**20 + 1), where="LIST")


# --- in a bundle


def deployed(content, trust=TRUST):
    return check(sign(content), trust).deployment


def test_a_bundle_without_one_says_that_deployment_is_not_verified():
    verified = check(sign(statement()))
    assert verified.deployment is None
    assert caveats(verified.dating, deployment=None)[0] == NOT_SHOWN == CAVEATS[0]


def test_another_trusted_key_verifies_the_deployment():
    found = deployed(citing(key=ATTACKER), BOTH)
    assert (found.bound, found.own, found.count) == (True, False, 30)
    line = deployment_line(found)
    assert line.startswith("deployment verified by 30 outputs obtained from the service")
    assert ATTACKER.public.keyid in line
    assert "dated 2026-11-03T00:00:00Z by that signer" in line


def test_a_key_that_is_not_trusted_shows_nothing_and_refuses_nothing():
    content = citing(key=ATTACKER)
    found = deployed(content)
    assert (found.binding, found.bound, found.keyid) == (None, False, ATTACKER.public.keyid)
    line = deployment_line(found)
    assert line.startswith("deployment not verified")
    assert "which you do not trust" in line
    assert check(sign(content)).exclusion.finding.verdict == "excluded"


def test_the_signers_own_word_is_said_to_be_that_until_the_list_is_compared():
    shown = pictures(30)
    found = deployed(citing())
    assert found.own
    assert "anybody but the bundle's own signer" in deployment_line(found)
    assert "chose them" in deployment_line(found)
    found = deployed(citing(sign(binding(shown, obtained=list_of(shown)))))
    line = deployment_line(found)
    assert line.startswith("deployment not verified")
    assert "--obtained" in line
    listed = type(found)(**(vars(found) | {"listed": True}))
    assert deployment_line(listed).startswith("deployment verified by 30 outputs")


def test_pictures_that_were_not_found_are_told():
    missed = picture(30, stop="stalled", residual="1.00000e-02")
    found = deployed(citing(sign(binding((*pictures(30), missed)), ATTACKER)), BOTH)
    assert not found.bound
    assert deployment_line(found).startswith("deployment not verified: of 31 outputs")


def test_coarser_jpegs_do_not_verify_it_for_a_lossless_file():
    found = deployed(citing(sign(binding(pictures(40, jpeg=30)), ATTACKER)), BOTH)
    assert (found.bound, found.count) == (False, 10)
    line = deployment_line(found)
    assert line.startswith("deployment not verified for a file of this kind: 10 of the 40")


def test_a_withdrawn_one_shows_nothing():
    found = deployed(citing(key=ATTACKER), BOTH)
    taken = type(found)(**(vars(found) | {"withdrawn": "was withdrawn by its own signer"}))
    assert not taken.bound
    assert deployment_line(taken).startswith("deployment not verified")


def test_a_timestamps_time_is_told():
    found = deployed(citing(key=ATTACKER), BOTH)
    stamped = type(found)(**(vars(found) | {"time": datetime(2026, 11, 4, tzinfo=UTC)}))
    assert "which a timestamp shows at 2026-11-04T00:00:00Z" in deployment_line(stamped)


@pytest.mark.parametrize("field", ["outputRange", "rounding", "prefix"])
def test_a_binding_that_describes_the_model_otherwise(field):
    content = binding()
    value = {"outputRange": ["0", "1"], "rounding": "truncate", "prefix": "x."}[field]
    content["predicate"]["generator"][field] = value
    if field == "rounding":  # the kinds follow it
        content["predicate"]["generator"]["rounding"] = "round"
        content["predicate"]["generator"]["factory"] = "other:make"
    with pytest.raises(CommitmentError, match="describes the model otherwise"):
        check(sign(citing(sign(content))))


def test_a_damaged_one_by_a_trusted_key_refuses_the_bundle():
    content = binding()
    content["predicate"]["result"]["count"] = 99
    with pytest.raises(CommitmentError, match=r"does not verify.*result\.count"):
        check(sign(citing(sign(content))))
    raw = sign(binding(), ATTACKER).replace(
        ATTACKER.public.keyid.encode(), KEY.public.keyid.encode()
    )
    with pytest.raises(CommitmentError, match="does not verify"):
        check(sign(citing(raw)))
    with pytest.raises(CommitmentError, match="does not verify"):
        check(sign(citing(sign(statement()))))
    with pytest.raises(CommitmentError):
        check(sign(citing(b"no bundle")))


def test_adding_or_removing_it_without_its_scope_is_refused():
    content = citing()
    del content["predicate"]["binding"]
    with pytest.raises(CommitmentError, match="scope"):
        check(sign(content))
    content = statement()
    content["predicate"]["binding"] = base64.b64encode(sign(binding())).decode()
    with pytest.raises(CommitmentError, match="scope"):
        check(sign(content))
