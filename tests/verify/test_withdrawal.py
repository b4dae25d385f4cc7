"""Only its own signer takes a finding back; a revoked key's statements hold if stamped before."""

from datetime import datetime

import pytest
from bundle_samples import ATTACKER, KEY, check, sign, statement

from deniability.crypto.keys import generate_key
from deniability.errors import (
    CommitmentError,
    DeniabilityError,
    InputError,
    ParseError,
    SignatureError,
    StatementError,
    UncheckedError,
    WithdrawnError,
)
from deniability.evidence.withdraw import revoke_key, withdraw_finding
from deniability.verify.withdrawal import WithdrawalFile, refuse_withdrawn

RAW = sign(statement())
BUNDLE = check(RAW)
NOW = "2026-11-03T00:00:00Z"


def withdrawal(raw=RAW, key=KEY, reason="wrong sampler"):
    return withdraw_finding(raw, key=key, reason=reason, time=NOW, where="b.json")


def judge(*files, stamped=None, bundle=BUNDLE):
    return refuse_withdrawn(
        [WithdrawalFile(raw, f"w{i}.json") for i, raw in enumerate(files)],
        signer=bundle.signer,
        payload_digest=bundle.payload_digest,
        stamped=None if stamped is None else datetime.fromisoformat(stamped),
        where="b.json",
    )


def test_nothing_given_changes_nothing():
    assert judge() == ()


def test_a_withdrawn_finding_is_refused_with_reason_and_date():
    with pytest.raises(WithdrawnError) as error:
        judge(withdrawal())
    assert (error.value.exit_code, error.value.stage) == (3, "withdrawal")
    assert "wrong sampler" in str(error.value)
    assert NOW in str(error.value)
    # No timestamp heals it: that is for keys.
    with pytest.raises(WithdrawnError):
        judge(withdrawal(), stamped="2020-01-01T00:00:00Z")


def test_the_withdrawal_of_another_finding_has_no_effect():
    assert judge(withdrawal(sign(statement("reached")))) == ()


def test_a_strangers_withdrawal_has_no_effect_and_is_reported():
    with pytest.raises(UncheckedError, match="only the key that signed a finding"):
        withdrawal(key=ATTACKER)
    predicate = {"target": "finding", "digest": BUNDLE.payload_digest, "reason": "x"}
    (note,) = judge(sign(made(**predicate), ATTACKER))
    assert "w0.json: ignored" in note
    (note,) = judge(revoke_key(ATTACKER, reason="x", time=NOW))
    assert ATTACKER.public.keyid in note


def made(**predicate):
    """A withdrawal as somebody could write it by hand."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": predicate["target"], "digest": {"sha256": predicate["digest"]}}],
        "predicateType": "urn:deniability:withdrawal/v1",
        "predicate": {"createdAt": NOW, **predicate},
    }


def test_one_that_claims_the_signers_key_and_is_not_signed_by_it_is_not_taken_for_none():
    import json

    raw = json.loads(withdrawal())
    raw["dsseEnvelope"]["signatures"][0]["sig"] = json.loads(revoke_key(KEY, reason="x", time=NOW))[
        "dsseEnvelope"
    ]["signatures"][0]["sig"]
    with pytest.raises(SignatureError):
        judge(json.dumps(raw, separators=(",", ":"), sort_keys=True).encode())
    with pytest.raises(ParseError):
        judge(b"{}")
    with pytest.raises(StatementError, match="another type"):
        judge(RAW)


@pytest.mark.parametrize(
    "predicate",
    [
        {"target": "key", "digest": ATTACKER.public.keyid, "reason": "x"},
        {"target": "finding", "digest": "0" * 64, "reason": "x", "since": NOW},
    ],
    ids=["another's key", "a finding since"],
)
def test_what_makes_no_sense_is_refused(predicate):
    with pytest.raises(CommitmentError):
        judge(sign(made(**predicate)))
    wrong = made(target="finding", digest=BUNDLE.payload_digest, reason="x")
    wrong["subject"][0]["digest"]["sha256"] = "0" * 64
    with pytest.raises(CommitmentError, match="subject"):
        judge(sign(wrong))


def test_a_revoked_key_keeps_only_what_was_stamped_before():
    always = revoke_key(KEY, reason="stolen", time=NOW)
    since = revoke_key(KEY, reason="stolen", time=NOW, since="2026-11-02T12:00:00Z")
    for stamped in (None, "2026-11-02T12:00:00Z", "2026-11-02T13:00:01+01:00"):
        with pytest.raises(WithdrawnError, match="revoked as of 2026-11-02T12:00:00Z"):
            judge(since, stamped=stamped)
    before = "2026-11-02T11:59:59.500000Z"
    assert judge(since, stamped=before) == ()
    with pytest.raises(WithdrawnError, match="stolen"):
        judge(always, stamped=before)
    # The stricter one wins, in either order.
    for files in ((always, since), (since, always)):
        with pytest.raises(WithdrawnError):
            judge(*files, stamped=before)


@pytest.mark.parametrize(
    "key", [generate_key(), generate_key("ed25519")], ids=lambda k: k.algorithm
)
def test_both_kinds_of_key(key):
    from deniability.verify.trust import TrustPolicy

    raw = sign(statement(), key)
    with pytest.raises(WithdrawnError):
        judge(withdrawal(raw, key), bundle=check(raw, TrustPolicy((key.public,))))


@pytest.mark.parametrize("reason", ["", "two\nlines", "\x1b[31m", "\u202e", "x" * 2001])
def test_a_reason_that_cannot_be_shown_safely_is_refused(reason):
    with pytest.raises(InputError, match="cannot be written"):
        withdrawal(reason=reason)


def test_a_time_to_come_and_a_statement_of_another_kind_are_refused():
    with pytest.raises(InputError, match="still to come"):
        revoke_key(KEY, reason="x", time=NOW, since="2099-01-01T00:00:00Z")
    with pytest.raises(InputError, match="cannot be written"):
        revoke_key(KEY, reason="x", time=NOW, since="2026-11-01")
    with pytest.raises(InputError, match="not a finding"):
        withdrawal(withdrawal())
    with pytest.raises(DeniabilityError):
        withdrawal(b"\x00")
