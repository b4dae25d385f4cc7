"""`deny inspect` shows any of our files, escaped and cut, however hostile. No torch."""

import sys
import time

import pytest
from cli_checks import ROOT

sys.path.insert(0, str(ROOT / "tests" / "verify"))

from bundle_samples import KEY, check, sign, sign_bytes, statement

from deniability.crypto.keys import generate_key
from deniability.evidence.attest import summarise
from deniability.evidence.withdraw import revoke_key, withdraw_finding

NOW = "2026-11-03T00:00:00Z"


@pytest.fixture
def show(deny, tmp_path):
    def inspect(raw, *options):
        (tmp_path / "file").write_bytes(raw)
        return deny("inspect", tmp_path / "file", *options)

    return inspect


def test_every_signed_file_says_what_it_is(show):
    raw = sign(statement())
    bundle = check(raw)
    summary = summarise(
        bundle, raw, key=generate_key(), level=1, picture=True, latents=True,
        checked=["V1 checked."], not_checked=[], time=NOW,
    )  # fmt: skip
    withdrawal = withdraw_finding(raw, key=KEY, reason="wrong sampler", time=NOW, where="b")
    files = {
        "bundle": (raw, "excluded"),
        "attestation": (summary, "DENIABILITY_V1"),
        "withdrawal": (withdrawal, "wrong sampler"),
        "withdrawal of a finding or key": (revoke_key(KEY, reason="stolen", time=NOW), "stolen"),
    }
    for kind, (content, word) in files.items():
        ran = show(content)
        assert ran.code == 0
        first, second, *_ = ran.out.splitlines()
        assert first.startswith("Nothing here was verified")
        assert kind in second
        assert word in ran.out
    # What a withdrawal names can be found in the bundle's own page.
    assert f"payload sha256: {bundle.payload_digest}" in show(raw).out
    assert bundle.payload_digest in show(withdrawal).out


EVIL = {
    "ansi": "\x1b[2Jgone",
    "bidi": "\u202egnp.exe",
    "newline": "a\nsigned by: everybody",
    "c1": "\x9b2J",
    "separator": "\u2028",
    "isolate": "\u2066x\u2069",
    "tag": "\U000e0041",
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("place", ["value", "key", "list", "nested"])
def test_nothing_acts_on_the_terminal(show, name, place):
    evil, content = EVIL[name], statement()
    content["predicate"] = {
        "value": {"reason": evil},
        "key": {evil: "x"},
        "list": {"reasons": [evil, evil]},
        "nested": {"a": [{"b": {evil: [[evil]]}}]},
    }[place]
    ran = show(sign(content))
    assert ran.code == 0
    assert not any(c in ran.out for c in evil if not (" " <= c <= "~" or c == "\n"))
    assert "\nsigned by: everybody" not in ran.out
    assert "\\" in ran.out
    as_json = show(sign(content), "--json")
    assert as_json.out.isascii()
    assert as_json.out.count("\n") == 1


@pytest.mark.parametrize("unit", [b"[],", b"[[],[]],", b'{"":0},', b'"",', b"1,"])
def test_tens_of_megabytes_of_tiny_values_are_not_parsed(show, unit):
    payload = b"[" + unit * (45 * 2**20 // len(unit)) + b"0]"
    raw = sign_bytes(payload)
    started = time.process_time()
    ran = show(raw)
    assert ran.code == 0
    assert "too many values to be shown" in ran.out
    # Parsed, it takes a minute and gigabytes; what is left is base64 and a hash.
    assert time.process_time() - started < 8


def test_long_texts_objects_and_lists_are_cut_and_say_so(show):
    content = statement()
    content["predicate"] = {
        "text": "x" * 100_000,
        "many": {f"f{i:05}": "x" for i in range(5000)},
        "list": ["y" * 50_000] * 100,
    }
    ran = show(sign(content))
    assert ran.code == 0
    assert len(ran.out) < 40_000
    assert "(100000 characters in all)" in ran.out
    assert "(5000 fields in all)" in ran.out
    assert "(100 in all)" in ran.out


def test_a_timestamp_that_cannot_be_read_is_said_to_be_so(show):
    from bundle_samples import envelope_of

    from deniability.crypto.canonical import canonical_json

    envelope = envelope_of(canonical_json(statement()))
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}
    envelope["verificationMaterial"]["timestampVerificationData"] = stamps
    ran = show(canonical_json(envelope))
    assert ran.code == 0
    assert "timestamps: unreadable" in ran.out


def test_deep_nesting_is_an_error_and_no_crash(show):
    ran = show(sign_bytes(b"[" * 100_000 + b"]" * 100_000))
    assert ran.code == 4
    assert "nested too deeply" in ran.err
