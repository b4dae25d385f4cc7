"""An examiner counts once, for this bundle, by a chosen key that is not the prover's."""

import re
from pathlib import Path

import pytest
from bundle_samples import ATTACKER, KEY, check, sign, statement
from cryptography.hazmat.primitives.asymmetric import ed25519

from deniability.crypto.keys import PrivateKey
from deniability.errors import (
    AttestationError,
    InputError,
    ParseError,
    SignatureError,
    StatementError,
    UncheckedError,
)
from deniability.evidence.attest import summarise
from deniability.verify.summary import enough_examiners, verify_summary
from deniability.verify.trust import TrustPolicy
from deniability.wire.summary import SUMMARY_TYPE

RAW = sign(statement())
BUNDLE = check(RAW)
EXAMINER = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"e" * 32))
SECOND = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"f" * 32))
EXAMINERS = TrustPolicy((EXAMINER.public, SECOND.public))


def attest(key=EXAMINER, level=1, bundle=BUNDLE, **changes):
    given = {
        "picture": True,
        "latents": True,
        "checked": ["V0 checked."],
        "not_checked": [],
        "fresh_controls": 60 if level == 2 else None,
        "time": "2026-11-03T00:00:00Z",
    }
    return summarise(bundle, RAW, key=key, level=level, **given | changes)


def accept(raw, bundle=BUNDLE, examiners=EXAMINERS):
    return verify_summary(raw, bundle=bundle, examiners=examiners, where="s.json")


def content(level=1):
    """The statement of a valid summary, to be changed and signed again."""
    import base64
    import json

    raw = json.loads(attest(level=level))["dsseEnvelope"]["payload"]
    return json.loads(base64.b64decode(raw))


def refused(change, level=1, key=EXAMINER):
    made = content(level)
    change(made)
    with pytest.raises((AttestationError, StatementError)) as error:
        accept(sign(made, key))
    return error.value


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_summary_states_the_level_and_names_what_was_read(level):
    found = accept(attest(level=level))
    assert (found.level, found.signer) == (level, EXAMINER.public)
    made = content(level)
    assert made["predicateType"] == SUMMARY_TYPE
    assert made["subject"] == statement()["subject"]
    names = [entry["name"] for entry in made["predicate"]["inputAttestations"]]
    assert names == ["bundle", "picture", "latents", *["model"] * (2 if level else 0)]
    assert found.summary.deniability_checks.fresh_controls == (60 if level == 2 else None)


def test_the_prover_can_neither_make_nor_pass_off_a_summary_of_his_own():
    with pytest.raises(AttestationError, match="cannot attest it"):
        attest(key=KEY)
    made = content()
    made["predicate"]["verifier"]["id"] = f"urn:deniability:verifier:sha256:{KEY.public.keyid}"
    with pytest.raises(AttestationError, match="no independent examiner's"):
        accept(sign(made, KEY), examiners=TrustPolicy((KEY.public, EXAMINER.public)))


def test_only_chosen_examiners_count():
    with pytest.raises(UncheckedError, match="--examiner"):
        accept(attest(key=ATTACKER))
    with pytest.raises(UncheckedError, match="not chosen as an examiner's"):
        accept(attest(), examiners=TrustPolicy())


def test_a_summary_of_another_bundle_or_verdict_is_refused():
    other = check(sign(statement("reached")))
    with pytest.raises(AttestationError, match="resourceUri"):
        accept(attest(), bundle=other)
    error = refused(lambda s: s["predicate"]["deniabilityChecks"].update(verdict="reached"))
    assert "deniabilityChecks.verdict" in str(error)
    # The same statement under another signer is another bundle too.
    with pytest.raises(AttestationError, match=r"deniabilityChecks\.signer"):
        accept(attest(), bundle=check(sign(statement(), ATTACKER), TrustPolicy((ATTACKER.public,))))


CHANGES = {
    "missing result": lambda s: s["predicate"].pop("verificationResult"),
    "failed": lambda s: s["predicate"].update(verificationResult="FAILED"),
    "no levels": lambda s: s["predicate"].update(verifiedLevels=[]),
    "a gap": lambda s: s["predicate"].update(verifiedLevels=["DENIABILITY_V1"]),
    "V2 without fresh controls": lambda s: s["predicate"]["verifiedLevels"].append(
        "DENIABILITY_V2"
    ),
    "fresh controls without V2": lambda s: s["predicate"]["deniabilityChecks"].update(
        freshControls=60
    ),
    "another subject": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "two subjects": lambda s: s.update(subject=s["subject"] * 2),
    "another name": lambda s: s["subject"][0].update(name="b.png"),
    "another model": lambda s: s["predicate"]["inputAttestations"][-1]["digest"].update(
        sha256="0" * 64
    ),
    "no model": lambda s: s["predicate"]["inputAttestations"].pop(),
    "no bundle": lambda s: s["predicate"]["inputAttestations"].pop(0),
    "other latents": lambda s: s["predicate"]["inputAttestations"][2]["digest"].update(
        sha256="0" * 64
    ),
    "another policy": lambda s: s["predicate"]["policy"].update(uri="urn:x"),
    "another verifier": lambda s: s["predicate"]["verifier"].update(id="urn:x"),
    "an unknown field": lambda s: s["predicate"].update(more="x"),
    "a signed registration": lambda s: s.update(predicateType="urn:deniability:registration/v1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_signed_summary_that_does_not_fit_is_refused(name):
    assert refused(CHANGES[name]).exit_code == 3


def test_a_failed_summary_says_so():
    error = refused(CHANGES["failed"])
    assert "does not state that the bundle passed" in str(error)
    assert error.found == "FAILED"


def test_damaged_bytes_are_refused():
    raw = attest()
    with pytest.raises(ParseError):
        accept(raw + b" ")
    spoilt = bytearray(raw)
    spoilt[len(raw) // 2] ^= 1
    with pytest.raises((SignatureError, ParseError)):
        accept(bytes(spoilt))


def test_a_threshold_counts_different_keys_and_not_files():
    twice = [accept(attest()), accept(attest(level=2, time="2026-11-04T00:00:00Z"))]
    assert enough_examiners(twice, 1).level == 2
    with pytest.raises(UncheckedError, match="one key counts once"):
        enough_examiners(twice, 2)
    both = [*twice, accept(attest(key=SECOND))]
    assert enough_examiners(both, 2).level == 1
    assert enough_examiners(both, 2).examiners == (EXAMINER.public, SECOND.public)
    assert enough_examiners(both, 1).examiners == (EXAMINER.public,)
    with pytest.raises(InputError):
        enough_examiners(both, 0)


def test_what_an_examiner_took_from_the_bundle_is_told():
    found = enough_examiners([accept(attest(taken_from_bundle=["rounding"]))], 1)
    assert found.taken_from_bundle == ("rounding",)


@pytest.mark.parametrize(("module", "number"), [("summary", 14), ("withdrawal", 15)])
def test_the_code_cites_the_steps_of_its_section(module, number):
    root = Path(__file__).resolve().parent.parent.parent
    code = (root / "deniability" / "verify" / f"{module}.py").read_text("utf-8")
    text = (root / "schemas" / "SPEC.md").read_text("utf-8")
    body = re.search(rf"^## {number}\. .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[0]
    steps = {int(step) for step in re.findall(r"^(\d+)\. ", body, re.MULTILINE)}
    assert {int(step) for step in re.findall(rf"\b{number}\.(\d+)", code)} == steps
