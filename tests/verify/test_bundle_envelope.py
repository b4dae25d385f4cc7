"""Attacks on a bundle's bytes, envelope, signature and signer (SPEC.md, steps 1 to 5)."""

import base64
import json
import re

import pytest
from bundle_samples import (
    ATTACKER,
    KEY,
    TRUST,
    check,
    envelope_of,
    refusal,
    sample,
    sign,
    sign_bytes,
    statement,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from deniability.crypto.canonical import canonical_json
from deniability.crypto.dsse import pae
from deniability.crypto.keys import P256_ORDER, generate_key
from deniability.errors import (
    ParseError,
    SignatureError,
    StatementError,
    TimestampError,
    UncheckedError,
    VerificationError,
)
from deniability.evidence.signing import sign_statement
from deniability.verify.bundle import verify_registration
from deniability.verify.trust import TrustPolicy
from deniability.wire.exclusion import EXCLUSION_TYPE
from deniability.wire.registration import REGISTRATION_TYPE
from deniability.wire.statement import PAYLOAD_TYPE

RAW = sign(statement())


def outer(change) -> bytes:
    """The bundle with its unsigned part changed, in canonical form."""
    bundle = json.loads(RAW)
    change(bundle)
    return canonical_json(bundle)


def test_the_sample_is_what_the_program_itself_would_write():
    made = sample()
    raw = sign_statement(made, predicate_type=EXCLUSION_TYPE, subjects=[made.accused.file], key=KEY)
    assert raw == RAW
    assert check(raw).exclusion == made


@pytest.mark.parametrize("verdict", ["excluded", "inconclusive", "reached"])
@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ed25519"])
def test_every_verdict_verifies_with_either_kind_of_key(verdict, algorithm):
    key = generate_key(algorithm)
    verified = check(sign(statement(verdict), key), TrustPolicy((KEY.public, key.public)))
    assert verified.exclusion.finding.verdict == verdict
    assert verified.signer == key.public


def test_every_byte_outside_payload_and_signature_flipped():
    payload = json.loads(RAW)["dsseEnvelope"]["payload"].encode()
    start = RAW.index(payload)
    positions = [*range(start), *range(start + len(payload), len(RAW))]
    for position in positions:
        for bit in (0x01, 0x20, 0x80):
            flipped = bytearray(RAW)
            flipped[position] ^= bit
            assert isinstance(refusal(bytes(flipped)), ParseError | SignatureError), position


def test_bytes_of_the_payload_flipped():
    payload = json.loads(RAW)["dsseEnvelope"]["payload"].encode()
    start = RAW.index(payload)
    for position in [*range(start, start + len(payload), 13), start + len(payload) - 1]:
        flipped = bytearray(RAW)
        flipped[position] ^= 0x01
        assert isinstance(refusal(bytes(flipped)), ParseError | SignatureError), position


@pytest.mark.parametrize("cut", [0, 1, 100, len(RAW) // 2, len(RAW) - 1])
def test_cut_short(cut):
    assert isinstance(refusal(RAW[:cut]), ParseError)


@pytest.mark.parametrize(
    "respelled",
    [
        RAW + b"\n",
        b" " + RAW,
        b"\xef\xbb\xbf" + RAW,
        RAW + RAW,
        json.dumps(json.loads(RAW), indent=2, sort_keys=True).encode(),
        RAW.replace(b'"mediaType"', b'"\\u006dediaType"'),
        RAW.replace(b'"mediaType":', b'"mediaType":"x","mediaType":'),
        RAW.replace(b'"tlogEntries":[]', b'"tlogEntries":[],"tlogEntries":[]'),
        RAW.replace(b'"keyid":', b'"keyid":"%s","keyid":' % (b"0" * 64)),
    ],
    ids=["newline", "space", "bom", "twice", "pretty", "escape", "dup", "dup-nested", "dup-keyid"],
)
def test_another_spelling_of_the_same_bundle(respelled):
    error = refusal(respelled)
    assert isinstance(error, ParseError)
    assert "not canonical JSON" in str(error)


def paths(value, path=()):
    """Yield the path of every member of an object."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from paths(member, (*path, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from paths(member, (*path, index))


def at(value, path):
    for step in path:
        value = value[step]
    return value


OUTER = list(paths(json.loads(RAW)))


@pytest.mark.parametrize("path", OUTER, ids=lambda p: ".".join(map(str, p)))
def test_every_field_of_the_envelope_left_out_null_or_renamed(path):
    *parent, name = path
    for change in (
        lambda members: members.pop(name),
        lambda members: members.update({name: None}),
        lambda members: members.update({name: 0}),
        lambda members: members.update({name.upper(): members.pop(name)}),
        lambda members: members.update({re.sub("([A-Z])", r"_\1", name).lower(): members[name]}),
        lambda members: members.update({"extra": members[name]}),
    ):
        bundle = json.loads(RAW)
        change(at(bundle, parent))
        if bundle != json.loads(RAW):
            error = refusal(canonical_json(bundle))
            assert isinstance(error, ParseError), bundle
            assert str(error).startswith("b.json: field "), error


def test_python_names_of_fields_are_no_second_encoding():
    error = refusal(outer(lambda b: b.update(media_type=b.pop("mediaType"))))
    assert isinstance(error, ParseError)
    assert "field mediaType" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        lambda t: t + "=",
        lambda t: t + "\n",
        lambda t: t[:-1],
        lambda t: t.replace("+", "-").replace("/", "_") + "-",
        lambda t: t[:40] + "=" + t[40:],
        lambda t: t[:0],
    ],
)
@pytest.mark.parametrize("field", ["payload", "sig"])
def test_base64_has_one_spelling(text, field):
    def change(bundle):
        holder = bundle["dsseEnvelope"]
        holder = holder if field == "payload" else holder["signatures"][0]
        holder[field] = text(holder[field])

    assert isinstance(refusal(outer(change)), ParseError | SignatureError)


def test_unused_bits_of_base64_are_zero():
    key = generate_key("ed25519")  # 64 bytes: two characters of padding, four unused bits

    def change(sig):
        assert sig.endswith("==")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        return sig[:-3] + alphabet[alphabet.index(sig[-3]) | 1] + "=="

    bundle = envelope_of(canonical_json(statement()), key)
    signature = bundle["dsseEnvelope"]["signatures"][0]
    signature["sig"] = change(signature["sig"])
    error = refusal(canonical_json(bundle), TrustPolicy((key.public,)))
    assert isinstance(error, ParseError)
    assert "dsseEnvelope.signatures.0.sig" in str(error)


def resigned(change_signature):
    def change(bundle):
        signature = bundle["dsseEnvelope"]["signatures"][0]
        raw = base64.b64decode(signature["sig"])
        signature["sig"] = base64.b64encode(change_signature(raw)).decode()

    return outer(change)


def test_the_other_of_two_valid_ecdsa_signatures_is_refused():
    def high_s(raw):
        r, s = decode_dss_signature(raw)
        return encode_dss_signature(r, P256_ORDER - s)

    error = refusal(resigned(high_s))
    assert isinstance(error, SignatureError)
    assert "the smaller of the two" in str(error)


@pytest.mark.parametrize("form", [b"%b\0", b"0%b", b"", bytes(70), b"\x30\x00"])
def test_signatures_that_are_none(form):
    error = refusal(resigned(lambda raw: form % raw if b"%b" in form else form))
    assert isinstance(error, SignatureError)


def test_a_signature_moved_from_another_bundle():
    other = json.loads(sign(statement("reached")))["dsseEnvelope"]
    moved = outer(lambda b: b["dsseEnvelope"].update(signatures=other["signatures"]))
    assert isinstance(refusal(moved), SignatureError)
    swapped = outer(lambda b: b["dsseEnvelope"].update(payload=other["payload"]))
    assert isinstance(refusal(swapped), SignatureError)


def test_two_signatures_or_none():
    for count in (0, 2):

        def change(bundle, count=count):
            bundle["dsseEnvelope"]["signatures"] *= count

        error = refusal(outer(change))
        assert isinstance(error, ParseError)
        assert "dsseEnvelope.signatures" in str(error)


def test_an_attackers_key_under_the_same_name():
    forged = envelope_of(canonical_json(statement()), ATTACKER)
    forged["verificationMaterial"]["publicKey"]["hint"] = KEY.public.keyid
    forged["dsseEnvelope"]["signatures"][0]["keyid"] = KEY.public.keyid
    error = refusal(canonical_json(forged))
    assert isinstance(error, SignatureError)
    assert "was not made by this key" in str(error)


def test_the_two_names_of_the_key_differ():
    forged = envelope_of(canonical_json(statement()), ATTACKER)
    forged["verificationMaterial"]["publicKey"]["hint"] = KEY.public.keyid
    error = refusal(canonical_json(forged))
    assert isinstance(error, SignatureError)
    assert "signatures.0.keyid" in str(error)


@pytest.mark.parametrize("trust", [TRUST, TrustPolicy()])
def test_an_unknown_signer_is_unchecked_whatever_the_bundle_says(trust):
    error = refusal(sign(statement(), ATTACKER), trust)
    assert isinstance(error, UncheckedError)
    assert (error.exit_code, error.stage) == (4, "trust")
    assert ATTACKER.public.keyid in str(error)


def test_a_key_inside_the_bundle_is_refused():
    def change(bundle):
        bundle["verificationMaterial"]["publicKey"]["rawBytes"] = "AA=="

    assert isinstance(refusal(outer(change)), ParseError)


def test_bad_timestamps_are_refused_not_ignored():
    def change(bundle):
        stamps = bundle["verificationMaterial"]["timestampVerificationData"]
        stamps["rfc3161Timestamps"].append({"signedTimestamp": "AAAA"})

    error = refusal(outer(change))
    assert isinstance(error, TimestampError)
    assert "timestampVerificationData" in str(error)


def test_log_entries_are_refused():
    changed = outer(lambda b: b["verificationMaterial"].update(tlogEntries=[{}]))
    assert isinstance(refusal(changed), ParseError)


@pytest.mark.parametrize("kind", ["text/plain", "application/vnd.in-toto+jsön", PAYLOAD_TYPE + " "])
def test_another_payload_type(kind):
    payload = canonical_json(statement())
    forged = envelope_of(payload, payload_type=kind)
    error = refusal(canonical_json(forged))
    assert isinstance(error, ParseError)
    assert "dsseEnvelope.payloadType" in str(error)
    # ... and signed under another type, but shown under ours
    forged["dsseEnvelope"]["payloadType"] = PAYLOAD_TYPE
    assert isinstance(refusal(canonical_json(forged)), SignatureError)


def test_a_signature_over_the_payload_without_its_encoding():
    payload = canonical_json(statement())
    for message in (payload, base64.b64encode(payload), pae(PAYLOAD_TYPE, payload + b" ")):
        forged = envelope_of(payload)
        signature = base64.b64encode(KEY.sign(message)).decode()
        forged["dsseEnvelope"]["signatures"][0]["sig"] = signature
        assert isinstance(refusal(canonical_json(forged)), SignatureError)


PAYLOAD = canonical_json(statement())


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD + b"\n",
        PAYLOAD.replace(b'"_type":', b'"_type":"x","_type":'),
        PAYLOAD.replace(b'"k":1', b'"k":0,"k":1'),
        PAYLOAD.replace(b'"verdict":', b'"verdict":"reached","verdict":'),
        PAYLOAD.replace(b'"k":1', b'"k":1.0'),
        PAYLOAD.replace(b'"k":1', b'"k":NaN'),
        PAYLOAD.replace(b'"k":1', b'"k":1e999'),
        PAYLOAD.replace(b'"k":1', b'"k":-0'),
        PAYLOAD.replace(b'"k":1', b'"k":9007199254740993'),
        PAYLOAD.replace(b'"predicate":', b'"predicate":%b' % (b"[" * 100)),
        b"",
        b"null",
        b"[]",
        b"\xff",
    ],
)
def test_a_payload_that_is_not_canonical_though_validly_signed(payload):
    assert payload != PAYLOAD
    error = refusal(sign_bytes(payload))
    assert isinstance(error, StatementError)
    assert error.stage == "statement"
    assert str(error).startswith("b.json: payload")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", REGISTRATION_TYPE),
        ("predicateType", "urn:deniability:exclusion/v2"),
        ("predicateType", EXCLUSION_TYPE + " "),
        ("subject", []),
        ("predicate", []),
        ("predicate", None),
    ],
)
def test_another_kind_of_statement(field, value):
    error = refusal(sign(statement() | {field: value}))
    assert isinstance(error, StatementError)
    assert field in str(error)


def test_a_bundle_is_no_registration():
    with pytest.raises(StatementError, match="predicateType"):
        verify_registration(RAW, trust=TRUST)


@pytest.mark.parametrize("name", ["_type", "subject", "predicateType", "predicate"])
def test_fields_of_the_statement_left_out_or_renamed(name):
    content = statement()
    member = content.pop(name)
    assert isinstance(refusal(sign(content)), StatementError)
    pythonic = {"_type": "type_", "predicateType": "predicate_type"}.get(name, name + "_")
    assert isinstance(refusal(sign(content | {pythonic: member})), StatementError)


def test_a_huge_bundle_is_refused_before_it_is_parsed():
    error = refusal(b"[" * (64 * 2**20 + 1))
    assert isinstance(error, ParseError)
    assert "too large" in str(error)


START = b'{"dsseEnvelope":{"payload":"'
PAYLOAD_END = RAW.index(b'"', len(START))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"[" + b"[]," * 2**20 + b"[]]", 'a file that begins {"dsseEnvelope":{"payload":"'),
        (b'{"a":[' + b"1," * 2**20 + b"1]}", 'a file that begins {"dsseEnvelope":{"payload":"'),
        (START + b'","x":[' + b"1," * 2**19 + b"1]}}", "at most 1048576 bytes after its payload"),
        (RAW[:PAYLOAD_END] + b'"' * (2**20 + 1), "at most 1048576 bytes after its payload"),
    ],
    ids=["list", "object", "empty-payload", "one-byte-too-many"],
)
def test_what_is_large_beside_a_payload_is_refused_before_any_json_is_parsed(
    raw, expected, monkeypatch
):
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed"))
    error = refusal(raw)
    assert (type(error), error.stage, error.exit_code) == (ParseError, "parse", 4)
    assert "not a bundle or registration of this program" in str(error)
    assert error.expected == expected


def test_as_much_beside_the_payload_as_the_cap_allows_reaches_the_parser():
    error = refusal(RAW + b"x" * (2**20 - (len(RAW) - PAYLOAD_END)))
    assert "not canonical JSON" in str(error)


@pytest.mark.parametrize(
    "raw", [b"", b"Dear Sir,\n", b"[]", b"null", b"\x89PNG\r\n\x1a\n", b"\xff\0"]
)
def test_a_file_of_another_kind_is_told_what_was_expected(raw):
    error = refusal(raw)
    assert isinstance(error, ParseError)
    assert "not a bundle or registration of this program" in str(error)
    assert 'begins {"dsseEnvelope":{"payload":"' in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("cut", [1, len(START) - 1, len(START), 100, PAYLOAD_END])
def test_a_bundle_cut_in_its_payload_is_said_to_end_there(cut):
    error = refusal(RAW[:cut])
    assert isinstance(error, ParseError)
    assert "the file ends in the middle" in str(error)


@pytest.mark.parametrize("pad", ["", "A" * 2**20], ids=["small", "large"])
def test_a_formatted_bundle_is_said_not_to_be_canonical(pad):
    bundle = json.loads(RAW)
    bundle["dsseEnvelope"]["payload"] += pad
    for raw in (json.dumps(bundle, indent=2).encode(), b"\xef\xbb\xbf" + canonical_json(bundle)):
        assert isinstance(refusal(raw), ParseError)
        assert "not canonical JSON" in str(refusal(raw))


def test_every_refusal_has_an_exit_code_that_is_not_success():
    for error in (ParseError, UncheckedError, SignatureError, StatementError, VerificationError):
        assert error.exit_code in {3, 4}
