"""Values of beacons as drand's and NIST's servers give them, and what is not such a value."""

import hashlib
import json

import pytest

from deniability.errors import CommitmentError, InputError
from deniability.evidence.beacon import parse_name, read_pulse

#: Of the form of https://api.drand.sh/CHAIN/public/ROUND.
SIGNATURE = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacb" * 2
DRAND = {
    "round": 1000,
    "randomness": hashlib.sha256(bytes.fromhex(SIGNATURE)).hexdigest(),
    "signature": SIGNATURE,
    "previous_signature": "ab" * 48,
}
#: Of the form of https://beacon.nist.gov/beacon/2.0/chain/2/pulse/time/MILLISECONDS.
NIST = {
    "pulse": {
        "uri": "https://beacon.nist.gov/beacon/2.0/chain/2/pulse/1",
        "version": "2.0",
        "cipherSuite": 0,
        "period": 60000,
        "certificateId": "0" * 128,
        "chainIndex": 2,
        "pulseIndex": 1,
        "timeStamp": "2025-12-01T12:00:00.000Z",
        "localRandomValue": "1F" * 64,
        "external": {"sourceId": "0" * 128, "statusCode": 0, "value": "0" * 128},
        "listValues": [{"uri": None, "type": "previous", "value": "2E" * 64}],
        "precommitmentValue": "3D" * 64,
        "statusCode": 0,
        "signatureValue": "4C" * 512,
        "outputValue": "5B" * 64,
    }
}
ROUNDS = {"drand": "drand:1000", "nist": "nist:2025-12-01T12:00:00Z"}
ANSWERS = {"drand": DRAND, "nist": NIST}


def read(source, value, name=None):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return read_pulse(raw, parse_name(name or ROUNDS[source]), where="pulse.json")


def nist(**changes):
    return {"pulse": NIST["pulse"] | changes}


def without(value, name):
    return {key: item for key, item in value.items() if key != name}


def test_drand():
    beacon = read("drand", DRAND)
    assert (beacon.source, beacon.round) == ("drand", "1000")
    assert (beacon.value, beacon.signature) == (DRAND["randomness"], SIGNATURE)
    # Some servers leave the randomness to be computed.
    assert read("drand", without(DRAND, "randomness")) == beacon


@pytest.mark.parametrize(
    "name",
    [
        "nist:2025-12-01T12:00:00Z",
        "nist:2025-12-01T12:00:00+00:00",
        "nist:2025-12-01T13:00:00+01:00",
        "nist:1764590400000",
    ],
)
def test_nist_in_any_spelling_of_its_time(name):
    beacon = read("nist", NIST, name)
    assert (beacon.source, beacon.chain, beacon.round) == ("nist", "2", "1764590400000")
    assert (beacon.value, beacon.signature) == ("5b" * 64, None)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("drand", DRAND | {"round": 1001}),
        ("nist", nist(timeStamp="2025-12-01T12:01:00.000Z")),
        ("nist", nist(timeStamp="2025-12-01T12:00:00.001Z")),
        ("nist", nist(chainIndex=1)),
    ],
)
def test_another_round_or_chain_is_refused(source, value):
    with pytest.raises(InputError, match="another round") as refused:
        read(source, value)
    assert refused.value.where == "pulse.json"


def test_randomness_that_is_not_the_signatures_hash_is_refused():
    for changed in ({"randomness": "0" * 64}, {"signature": "00" * 48}):
        with pytest.raises(CommitmentError, match="not the SHA-256 of its signature"):
            read("drand", DRAND | changed)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("drand", NIST),
        ("nist", DRAND),
        ("nist", NIST["pulse"]),
        ("nist", {"pulse": without(NIST["pulse"], "outputValue")}),
        ("nist", nist(timeStamp="noon")),
        ("nist", nist(timeStamp=None)),
        ("drand", DRAND | {"signature": "xyz"}),
        ("drand", without(DRAND, "round")),
        ("drand", b""),
        ("drand", b"<html>429</html>"),
        ("nist", b"\xff\xfe"),
        ("nist", b"[" * 100_000),
        ("nist", b"null"),
    ],
)
def test_what_no_server_gives_is_refused_in_a_sentence(source, value):
    with pytest.raises(InputError, match="not what the beacon's API gives"):
        read(source, value)


@pytest.mark.parametrize("output", ["", "5B" * 63, "5B" * 65, "ZZ" * 64, " " + "5B" * 64])
def test_a_value_of_another_length_or_alphabet_is_refused(output):
    with pytest.raises(InputError, match="not a value of this beacon"):
        read("nist", nist(outputValue=output))


@pytest.mark.parametrize(
    "name", ["nist:2025-12-01T12:00:00", "nist:", "drand:-1", "drand:1.5", "nist:2025-13-01", "x:1"]
)
def test_what_is_no_round_is_named(name):
    with pytest.raises(InputError, match="not a round of a beacon"):
        parse_name(name)
