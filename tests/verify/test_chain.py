"""The chain of registrations: in a bundle, over time, against another copy of it."""

import datetime as dt
import hashlib
import json
import sys
from pathlib import Path

import pytest
from bundle_samples import (
    ATTACKER,
    KEY,
    MODEL,
    QUICK,
    chain_links,
    chained_statement,
    refusal,
    sample_beacon,
    sign,
    sign_chain,
)

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError, InputError, StatementError
from deniability.evidence.chain import chain_path, open_chain, read_chain
from deniability.evidence.timestamp import add_timestamps
from deniability.report.wording import caveats
from deniability.verify.bundle import verify_bundle
from deniability.verify.chain import check_published, verify_chain
from deniability.verify.trust import TrustPolicy
from deniability.wire.beacon import BeaconName, round_time
from deniability.wire.chain import Chain, chain_statement, earlier_payloads

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tsa_server import Authority, serving


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


def trusting(*authorities):
    return TrustPolicy((KEY.public,), tuple(a.root for a in authorities))


def verified(content, *authorities):
    return verify_bundle(sign(content), trust=trusting(*authorities), where="b.json")


def test_a_bundle_says_which_registration_of_how_many_it_uses():
    dating = verified(chained_statement(links=chain_links(before=2, after=3))).dating
    assert (dating.number, dating.count) == (3, 6)
    assert dating.time is None
    assert "registration 3 of 6" in caveats(dating)[1]


def test_without_a_chain_it_says_undated():
    from bundle_samples import statement

    dating = verified(statement()).dating
    assert dating.number is None
    assert caveats(dating)[1].startswith("registered after the accusation, or undated")


@pytest.mark.parametrize(
    "links",
    [
        lambda: chain_links()[:0] + chain_links(before=1)[:1],  # not there
        lambda: [chain_links()[0] | {"weights": "0" * 64}],
        lambda: [chain_links()[0] | {"kind": "intent"}],
        lambda: chain_links() * 2,
    ],
)
def test_a_chain_without_the_registration_is_refused(links):
    error = refusal(sign(chained_statement(links=links())))
    assert type(error) is CommitmentError


def test_a_chain_by_another_key_is_refused():
    error = refusal(sign(chained_statement(key=ATTACKER)))
    assert type(error) is CommitmentError
    assert "chain" in str(error)


def test_a_chain_taken_out_is_noticed():
    content = chained_statement()
    del content["predicate"]["registration"]["chain"]
    assert type(refusal(sign(content))) is CommitmentError


def test_another_head_is_refused():
    raw = sign_chain(chain_links(), head="0" * 64)
    with pytest.raises(CommitmentError, match="head"):
        verify_chain(raw, trust=trusting())


# --- time


def stamped_chain(tmp_path, url, links):
    path = tmp_path / "key.chain.json"
    path.write_bytes(sign_chain(links))
    add_timestamps(path, [url])
    return path.read_bytes()


def test_a_stamped_chain_dates_the_registration(tsa, tmp_path):
    with serving(tsa.respond) as (url, _):
        raw = stamped_chain(tmp_path, url, chain_links())
    content = chained_statement(raw=raw)
    dating = verified(content, tsa).dating
    now = dt.datetime.now(dt.UTC)
    assert abs(now - dating.time) < dt.timedelta(minutes=5)
    day = dt.timedelta(days=1)
    assert caveats(dating, accused_at=now + day)[1].startswith("registered before the accusation")
    for accused_at in (None, now - day, dating.time):
        said = caveats(dating, accused_at=accused_at)[1]
        assert said.startswith("registered after the accusation, or undated")
    strange = verified(content).dating
    assert (strange.time, strange.unknown) == (None, ("CN=Test TSA",))


def test_a_later_link_undates_none_before_it(tsa, tmp_path):
    name = BeaconName(source="nist", chain="2", round="4102444800000")
    with serving(tsa.respond) as (url, _):
        with open_chain(tmp_path, KEY) as book:
            book.name_round("a" * 64, QUICK.digest, name)
        path = chain_path(tmp_path, KEY.public.keyid)
        add_timestamps(path, [url])
        first = verify_chain(path.read_bytes(), trust=trusting(tsa)).time_of(0)
        with open_chain(tmp_path, KEY) as book:
            book.name_round("b" * 64, QUICK.digest, name)
            book.name_round("c" * 64, QUICK.digest, name)
    chain = verify_chain(path.read_bytes(), trust=trusting(tsa))
    assert chain.time_of(0) == first is not None
    assert chain.time_of(1) is None
    assert len(chain.chain.links) == 3


def test_an_earlier_version_that_was_never_signed_is_refused(tsa, tmp_path):
    with serving(tsa.respond) as (url, _):
        raw = json.loads(stamped_chain(tmp_path, url, chain_links()))
    tokens = raw["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    links = chain_links(after=2)
    earlier = {"links": 2, "signature": raw["dsseEnvelope"]["signatures"][0]["sig"]}
    made_up = sign_chain(links, earlier=[earlier | {"timestamps": tokens}])
    error = refusal(sign(chained_statement(raw=made_up)), trusting(tsa))
    assert type(error) is CommitmentError


# --- on disk


def test_two_runs_at_once_lose_nothing(tmp_path):
    import concurrent.futures

    name = BeaconName(source="nist", chain="2", round="4102444800000")

    def append(number):
        with open_chain(tmp_path, KEY) as book:
            book.name_round(hashlib.sha256(b"%d" % number).hexdigest(), QUICK.digest, name)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(12)))
    chain = read_chain(chain_path(tmp_path, KEY.public.keyid), KEY)
    assert len({link.weights for link in chain.chain.links}) == 12


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda _: b"", lambda raw: raw + b"\n"])
def test_a_damaged_chain_is_an_error_and_never_begun_anew(tmp_path, damage):
    path = chain_path(tmp_path, KEY.public.keyid)
    path.write_bytes(damage(sign_chain(chain_links())))
    before = path.read_bytes()
    with pytest.raises(InputError, match="damaged"), open_chain(tmp_path, KEY):
        pass
    assert path.read_bytes() == before


# --- split views


def links_of(links):
    return Chain.model_validate_json(json.dumps({"links": links, "earlier": []}))


def test_a_bundle_may_have_the_published_chain_or_its_beginning():
    links = chain_links(before=1, after=2)
    for length in (2, 3, 4):
        check_published(links_of(links[:length]), links_of(links), where="c")


def test_a_split_view_is_refused():
    links = chain_links(before=1, after=2)
    other = [links[0] | {"payload": sha256_hex(b"hidden")}, *links[1:]]
    for published in (other, links[1:], links[:2]):
        with pytest.raises(CommitmentError, match="split view"):
            check_published(links_of(links[:3]), links_of(published), where="c")


# --- beacons


def test_a_round_named_before_its_time_is_said_to_be(tsa, tmp_path):
    beacon = sample_beacon(round_="4000000000")  # of drand's quicknet, centuries away
    with serving(tsa.respond) as (url, _):
        raw = stamped_chain(tmp_path, url, chain_links(beacon=beacon))
    dating = verified(chained_statement(raw=raw, beacon=beacon), tsa).dating
    assert dating.named_beforehand
    assert dating.intents == 1
    assert caveats(dating)[2].startswith("seeds from drand round 4000000000, which was named")
    assert (
        "could have been ground"
        in caveats(verified(chained_statement(raw=raw, beacon=beacon)).dating)[2]
    )  # to whoever does not know the authority


def test_a_round_named_afterwards_is_not(tsa, tmp_path):
    beacon = sample_beacon(round_="1")
    with serving(tsa.respond) as (url, _):
        raw = stamped_chain(tmp_path, url, chain_links(beacon=beacon))
    dating = verified(chained_statement(raw=raw, beacon=beacon), tsa).dating
    assert not dating.named_beforehand
    assert "could have been ground" in caveats(dating)[2]


def test_another_round_than_the_named_one_is_not(tsa, tmp_path):
    beacon = sample_beacon(round_="4000000000")
    with serving(tsa.respond) as (url, _):
        raw = stamped_chain(tmp_path, url, chain_links(beacon=beacon))
    other = sample_beacon(round_="4000000001")
    assert not verified(chained_statement(raw=raw, beacon=other), tsa).dating.named_beforehand


def test_a_value_that_is_not_the_signatures_hash_is_refused():
    beacon = sample_beacon()
    content = chained_statement(beacon=beacon.model_copy(update={"value": "0" * 64}))
    error = refusal(sign(content))
    assert type(error) is CommitmentError
    assert "beacon.value" in str(error)


def test_seeds_follow_from_the_value():
    content = chained_statement(beacon=sample_beacon())
    content["predicate"]["beacon"] = sample_beacon(signature=b"another beacon's one" * 4).to_wire()
    error = refusal(sign(content))
    assert type(error) is CommitmentError
    assert "seed" in str(error)


def test_times_of_rounds():
    drand = sample_beacon(round_="1000")
    assert round_time(drand) == dt.datetime(2023, 8, 23, 15, 59, 24, tzinfo=dt.UTC)
    nist = BeaconName(source="nist", chain="2", round="1764590400000")
    assert round_time(nist) == dt.datetime(2025, 12, 1, 12, 0, tzinfo=dt.UTC)
    assert round_time(drand.model_copy(update={"chain": "0" * 64})) is None


def test_the_model_of_the_samples_is_in_its_chain():
    assert chain_links()[0]["weights"] == MODEL.weights


def test_the_bytes_of_earlier_versions_are_those_of_a_chain_cut_there():
    token = {"signedTimestamp": "MAA="}
    versions = [{"links": n, "signature": f"AAA{n}", "timestamps": [token] * n} for n in (1, 2, 4)]
    content = {"links": chain_links(before=2, after=3), "earlier": versions}
    chain = Chain.model_validate_json(json.dumps(content))
    for index, payload in enumerate(earlier_payloads(chain)):
        cut = chain.links[: chain.earlier[index].links]
        whole = Chain(links=cut, earlier=chain.earlier[:index])
        assert payload == canonical_json(chain_statement(whole))


def test_many_earlier_versions_are_refused_before_they_cost_anything():
    versions = [
        {"links": n, "signature": "AAAA", "timestamps": [{"signedTimestamp": "MAA="}]}
        for n in range(1, 514)
    ]
    with pytest.raises(StatementError, match="earlier"):
        verify_chain(
            sign_chain(chain_links(before=600, after=0), earlier=versions),
            trust=trusting(),
        )
