"""Timestamps by a real authority: what is accepted, what is refused, and at which time."""

import base64
import datetime as dt
import json
import sys
import time
from pathlib import Path

import pytest
from bundle_samples import KEY, TRUST, refusal, sign, statement
from cryptography import x509

from deniability.crypto.canonical import canonical_json
from deniability.crypto.timestamps import (
    Stamp,
    UnknownAuthority,
    build_request,
    check_response,
    check_token,
)
from deniability.errors import DeniabilityError, OutputError, TimestampError, UncheckedError
from deniability.evidence.timestamp import add_timestamps
from deniability.evidence.web import fetch
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tsa_server import Authority, Redirect, dripping, serving

SIGNATURE = b"the raw bytes of a signature"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), name="Stranger")


@pytest.fixture(scope="module")
def token(tsa):
    return tsa.respond(build_request(SIGNATURE).der)


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "b.json"
    path.write_bytes(sign(statement()))
    return path


def outcome(token, *roots, signature=SIGNATURE):
    """Return the time, 'unknown' or the refusal of a token."""
    try:
        shown = check_token(token, signature, roots=[r.root for r in roots], where="t")
    except TimestampError as error:
        return error
    return shown.time if isinstance(shown, Stamp) else "unknown"


def test_a_token_shows_its_time_and_authority(tsa, token):
    shown = check_token(token, SIGNATURE, roots=[tsa.root], where="t")
    now = dt.datetime.now(dt.UTC)
    assert abs(now - shown.time) < dt.timedelta(minutes=5)
    assert shown.authority == "CN=Test TSA"


def test_the_accuracy_is_added(tsa, token):
    shown = check_token(token, SIGNATURE, roots=[tsa.root], where="t")
    text = (tsa.folder / "reply.tsr").read_bytes()
    assert text  # openssl's own reading of the time, without its accuracy of a second
    from rfc3161_client import decode_timestamp_response

    stated = decode_timestamp_response(token).tst_info.gen_time
    assert shown.time - stated == dt.timedelta(seconds=1)


def test_an_unknown_authority_gives_no_time(stranger, token):
    assert outcome(token, stranger) == "unknown"
    assert outcome(token) == "unknown"


def test_another_signature_is_refused(tsa, token):
    error = outcome(token, tsa, signature=b"another")
    assert "something else than this signature" in str(error)
    assert error.stage == "timestamp"
    assert outcome(token, signature=b"another").stage == "timestamp"  # by whomever


def test_a_response_to_another_request_is_refused(token):
    with pytest.raises(TimestampError, match="nonce"):
        check_response(token, build_request(SIGNATURE), where="t")


def test_requests_have_nonces_and_ask_for_certificates():
    one, other = build_request(SIGNATURE), build_request(SIGNATURE)
    assert one.nonce != other.nonce
    assert one.nonce > 2**32


def test_a_refused_request_is_named(tmp_path, bundle):
    tsa = Authority(tmp_path / "picky", digests="sha512")
    with serving(tsa.respond) as (url, _), pytest.raises(TimestampError, match="rejection"):
        add_timestamps(bundle, [url])


def test_a_certificate_that_had_expired_is_refused(tmp_path):
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    expired = Authority(tmp_path / "expired", valid=(now - 3 * day, now - day))
    made = expired.respond(build_request(SIGNATURE).der)
    assert "not valid when" in str(outcome(made, expired))


def test_a_token_outlives_its_certificate(tmp_path):
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    short = Authority(
        tmp_path / "short",
        valid=(now - dt.timedelta(hours=1), now + dt.timedelta(seconds=4)),
    )
    made = short.respond(build_request(SIGNATURE).der)
    while dt.datetime.now(dt.UTC) <= short.leaf.not_valid_after_utc:
        time.sleep(0.2)
    assert isinstance(outcome(made, short), dt.datetime)


def test_every_changed_byte_is_refused_or_changes_nothing(tsa, token):
    expected = outcome(token, tsa)
    for position in range(len(token)):
        for mask in (0x01, 0x80):
            changed = bytearray(token)
            changed[position] ^= mask
            found = outcome(bytes(changed), tsa)
            assert isinstance(found, TimestampError) or found == expected, position


@pytest.mark.parametrize("cut", [1, 10, 500])
def test_cut_and_longer_tokens_are_refused(tsa, token, cut):
    assert isinstance(outcome(token[:-cut], tsa), TimestampError)
    assert isinstance(outcome(token + bytes(cut), tsa), TimestampError)


def test_a_huge_token_is_refused_before_it_is_parsed(tsa):
    assert "too large" in str(outcome(bytes(70_000), tsa))


def test_a_certificate_for_another_purpose_is_refused(tsa, token, monkeypatch):
    monkeypatch.setattr(
        "cryptography.x509.ExtendedKeyUsageOID.TIME_STAMPING",
        x509.ExtendedKeyUsageOID.CODE_SIGNING,
    )
    assert "does not verify" in str(outcome(token, tsa))


# --- in bundles


def stamped(bundle, *urls, **options):
    made = add_timestamps(bundle, urls, **options)
    return made, bundle.read_bytes()


def test_a_stamped_bundle_verifies_and_shows_its_time(tsa, bundle):
    with serving(tsa.respond) as (url, asked):
        made, raw = stamped(bundle, url, roots=[tsa.root])
    assert asked[0][0] == "application/timestamp-query"
    verified = verify_bundle(raw, trust=TrustPolicy((KEY.public,), (tsa.root,)))
    assert [s.time for s in verified.times.stamps] == [made[0].shown.time]
    strange = verify_bundle(raw, trust=TRUST)
    assert (strange.times.stamps, strange.times.unknown) == ((), ("CN=Test TSA",))


def test_several_authorities_and_several_times(tsa, stranger, bundle):
    with serving(tsa.respond) as (one, _), serving(stranger.respond) as (two, _):
        stamped(bundle, one, two)
        _, raw = stamped(bundle, one)
    trust = TrustPolicy((KEY.public,), (tsa.root, stranger.root))
    assert len(verify_bundle(raw, trust=trust).times.stamps) == 3


def test_a_token_of_another_bundle_is_refused(tsa, bundle, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(sign(statement("inconclusive")))
    with serving(tsa.respond) as (url, _):
        _, raw = stamped(other, url)
    moved = json.loads(bundle.read_bytes())
    moved["verificationMaterial"] = json.loads(raw)["verificationMaterial"]
    error = refusal(canonical_json(moved))
    assert (type(error), error.stage, error.exit_code) == (TimestampError, "timestamp", 3)


def test_the_same_token_twice_is_refused(tsa, bundle):
    with serving(tsa.respond) as (url, _):
        _, raw = stamped(bundle, url)
    twice = json.loads(raw)
    twice["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] *= 2
    assert "twice" in str(refusal(canonical_json(twice)))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda _: b"not asn1", TimestampError, "not an RFC 3161 response"),
        (lambda _: b"", TimestampError, "not an RFC 3161 response"),
        (lambda _: bytes(100_000), UncheckedError, "too large"),
        (lambda _: dripping(4), UncheckedError, "in time"),
    ],
)
def test_servers_that_answer_nonsense_change_nothing(bundle, answer, kind, words):
    before = bundle.read_bytes()
    with serving(answer) as (url, _), pytest.raises(kind, match=words):
        add_timestamps(bundle, [url], timeout=1)
    assert bundle.read_bytes() == before


def test_a_server_that_hangs_is_given_up(bundle):
    started = time.monotonic()
    with (
        serving(lambda _: time.sleep(3) or b"") as (url, _),
        pytest.raises(UncheckedError, match="in time"),
    ):
        add_timestamps(bundle, [url], timeout=0.5)
    assert time.monotonic() - started < 4


def test_a_wrong_imprint_or_nonce_is_not_written(tsa, bundle):
    before = bundle.read_bytes()
    wrong = tsa.respond(build_request(b"something else").der)
    with serving(lambda _: wrong) as (url, _), pytest.raises(TimestampError):
        add_timestamps(bundle, [url])
    signature = base64.b64decode(json.loads(before)["dsseEnvelope"]["signatures"][0]["sig"])
    replayed = tsa.respond(build_request(signature).der)
    with serving(lambda _: replayed) as (url, _), pytest.raises(TimestampError, match="nonce"):
        add_timestamps(bundle, [url])
    assert bundle.read_bytes() == before


def test_all_or_none_are_written(tsa, bundle):
    before = bundle.read_bytes()
    with (
        serving(tsa.respond) as (good, _),
        serving(lambda _: b"x") as (bad, _),
        pytest.raises(TimestampError),
    ):
        add_timestamps(bundle, [good, bad])
    assert bundle.read_bytes() == before


def test_no_more_than_sixteen(bundle):
    with pytest.raises(OutputError, match="too many"):
        add_timestamps(bundle, ["http://127.0.0.1:1/"] * 17)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_scheme_is_refused(target):
    def answer(_):
        raise Redirect(target)

    with serving(answer) as (url, _), pytest.raises(DeniabilityError):
        fetch(url, data=b"x", max_bytes=100)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "tsa.example", "http://", "http://[x/"])
def test_only_web_addresses_are_asked(bundle, url):
    with pytest.raises(DeniabilityError, match="not an address"):
        add_timestamps(bundle, [url])


def test_unknown_authority_type_names_it(token):
    shown = check_token(token, SIGNATURE, roots=[], where="t")
    assert shown == UnknownAuthority("CN=Test TSA")
