"""Every byte of a bundle changed, and every field replaced by that of another valid bundle.

`tests/verify/test_bundle_fields.py` leaves fields out, doubles and alters them; here they are moved
in from elsewhere, re-signed as the signer could and not re-signed as anybody could.
"""

import copy
import functools
import re

import pytest
import vector_parts as v

from deniability.crypto.keys import PublicKey
from deniability.errors import (
    CommitmentError,
    DeniabilityError,
    ParseError,
    SignatureError,
    StatementError,
    StatisticsError,
    UncheckedError,
)
from deniability.verify.bundle import verify_bundle
from deniability.verify.envelope import verify_envelope
from deniability.verify.trust import TrustPolicy

SPEC = (v.ROOT / "schemas" / "SPEC.md").read_text("utf-8")
TRUST = TrustPolicy((PublicKey(v.public(v.KEY)),))
FLIPS = (0x01, 0x20, 0x80)
#: What may refuse a changed byte. Never a statement: nothing unsigned is parsed as one.
OF_BYTES = (ParseError, SignatureError, UncheckedError)


def refusal(raw):
    try:
        verify_bundle(raw, trust=TRUST, where="b.json")
    except DeniabilityError as error:
        return error
    return None


def flipped(raw, position, mask):
    return raw[:position] + bytes([raw[position] ^ mask]) + raw[position + 1 :]


def test_every_byte_of_a_small_envelope_flipped_three_ways():
    """All positions: the payload is short, so that every byte and every flip is affordable."""
    payload = v.canonical(
        {
            "_type": v.STATEMENT_TYPE,
            "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
            "predicateType": v.EXCLUSION,
            "predicate": {},
        }
    )
    for key in (v.KEY, v.ED25519):
        trust, raw = TrustPolicy((PublicKey(v.public(key)),)), v.sign(payload, key)
        check = functools.partial(
            verify_envelope, trust=trust, predicate_type=v.EXCLUSION, where="b.json"
        )
        assert check(raw).payload == payload
        for position in range(len(raw)):
            for mask in FLIPS:
                with pytest.raises(OF_BYTES):
                    check(flipped(raw, position, mask))


def flips_of_a_bundle(step):
    raw = v.sign(v.statement())
    assert refusal(raw) is None
    for position in range(0, len(raw), step):
        error = refusal(flipped(raw, position, FLIPS[position // step % 3]))
        assert isinstance(error, OF_BYTES), (position, error)


def test_bytes_of_a_whole_bundle_flipped():
    flips_of_a_bundle(29)


@pytest.mark.slow
def test_every_byte_of_a_whole_bundle_flipped():
    flips_of_a_bundle(1)


# --- fields moved in from another valid bundle


def listed():
    """Paths that SPEC.md says are carried and not checked, or may be left out unnoticed."""
    names = set()
    for heading in ("Carried, not checked at V0", "Left out at V0 without being noticed"):
        section = SPEC.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
        items = re.findall(r"^- ((?:`[^`]+`[, ]*(?:and )?\n? *)+):", section, re.MULTILINE)
        names |= {name for item in items for name in re.findall(r"`([^`]+)`", item)}
    return names


CARRIED = listed()


@functools.cache
def sources():
    """Other valid bundles: other picture, model, kind, verdict, preset and dating."""
    other = v.make(model="other", picture="other.png", encoder=False, hard={}, size=5)
    predicate = other["predicate"]
    predicate["accused"] |= {"pixels": v.sha("x"), "transforms": ["gray"], "format": "BMP"}
    predicate["generator"] |= {"format": "builtin", "factory": "a:b", "outputRange": ["0", "1"]}
    predicate["generator"]["entropy"] = {"source": "shake256", "seedBits": 64}
    predicate["latents"] = {"name": "c", "size": 1, "sha256": v.sha("c")}
    predicate["environment"] |= {"python": "3.13", "threads": 2, "device": "cuda"}
    predicate["createdAt"] = "2026-12-01T00:00:00Z"
    predicate["beacon"] = {
        "source": "nist", "chain": "2", "round": "1700000000000", "value": "cd" * 64
    }  # fmt: skip
    made = {
        "other": v.mend(other),
        "reached": v.statement("reached"),
        "inconclusive": v.statement("inconclusive"),
        "jpeg": v.make(kind=v.jpeg(3), picture="a.jpg", cautions=("restart intervals",)),
        "standard": v.make(preset="pristine-standard-v1", hard={0: None}),
    }
    for statement in made.values():
        assert refusal(v.sign(statement)) is None
    return made


def paths(mine, theirs, path=()):
    """Yield where the two differ: whole values, and what is inside them; long lists sampled."""
    if mine == theirs:
        return
    if path:
        yield path
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name in mine.keys() | theirs.keys():
            yield from paths(mine.get(name), theirs.get(name), (*path, name))
    elif isinstance(mine, list) and isinstance(theirs, list):
        common = min(len(mine), len(theirs))
        tried = range(common) if common <= 8 else (0, 7, common - 1)
        for index in tried:
            yield from paths(mine[index], theirs[index], (*path, index))


def leaf_differences(mine, theirs, path=()):
    """Name all that differs as SPEC.md names it: indexes of lists are a star."""
    if mine == theirs:
        return set()
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return set().union(
            *(
                leaf_differences(mine.get(n), theirs.get(n), (*path, n))
                for n in mine.keys() | theirs.keys()
            )
        )
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = zip(mine, theirs, strict=True)
        return set().union(*(leaf_differences(a, b, (*path, "*")) for a, b in pairs))
    if isinstance(mine, list) and isinstance(theirs, list):
        return {".".join((*path, "*"))}
    return {".".join("*" if isinstance(step, int) else step for step in path)}


def moved(path, theirs):
    """The statement with the value at `path` of the other's."""
    content = v.statement()
    mine = content["predicate"]
    for step in path[:-1]:
        mine, theirs = mine[step], theirs[step]
    if isinstance(mine, dict) and path[-1] not in theirs:
        del mine[path[-1]]
    else:
        mine[path[-1]] = copy.deepcopy(theirs[path[-1]])
    return content


#: Where a field's being another's shows, if not under its own name.
ELSEWHERE = {
    "accused": ("subject", "restarts", "finding", "kind", "generator", "scope", "controls"),
    "model": ("model", "seed", "finding"),
    "generator": ("kind", "solver", "generator"),
    "controls": ("controls", "finding", "kind"),
    "restarts": ("restarts", "finding", "traceRoot"),
    "protocol": ("protocol", "restarts", "controls"),
    "encoder": ("restarts.0.start",),
    "beacon": ("beacon", "scope", "seed"),
    "registration": ("registration", "scope"),
}


@pytest.mark.parametrize("name", ["other", "reached", "inconclusive", "jpeg", "standard"])
@pytest.mark.parametrize("mend_root", [False, True])
def test_a_field_of_another_bundle_signed_again(name, mend_root):
    theirs = sources()[name]["predicate"]
    before = v.statement()["predicate"]
    for path in paths(before, theirs):
        content = moved(path, theirs)
        if mend_root:
            if path[0] != "restarts" or not content["predicate"]["restarts"]:
                continue
            v.mend(content, keep=tuple(part for part in v.MENDED if part != "root"))
        error = refusal(v.sign(content))
        if error is None:
            unlisted = leaf_differences(before, content["predicate"]) - CARRIED - {"traceRoot"}
            assert not unlisted, (path, unlisted)
            continue
        assert isinstance(error, StatementError | CommitmentError | StatisticsError), (path, error)
        assert any(word in str(error) for word in (path[0], *ELSEWHERE.get(path[0], ()))), (
            path,
            error,
        )


@pytest.mark.parametrize("name", ["other", "reached", "inconclusive", "jpeg"])
def test_a_field_of_another_bundle_not_signed_again(name):
    theirs = sources()[name]["predicate"]
    bundle = v.envelope(v.canonical(v.statement()))
    for path in paths(v.statement()["predicate"], theirs):
        bundle["dsseEnvelope"]["payload"] = v.b64(v.canonical(moved(path, theirs)))
        assert isinstance(refusal(v.canonical(bundle)), SignatureError), path


@pytest.mark.parametrize("name", ["other", "reached", "inconclusive", "jpeg"])
def test_the_envelope_of_one_bundle_around_the_payload_of_another(name):
    mine, theirs = (v.envelope(v.canonical(s)) for s in (v.statement(), sources()[name]))
    for part in ("payload", "signatures"):
        mixed = copy.deepcopy(mine)
        mixed["dsseEnvelope"][part] = theirs["dsseEnvelope"][part]
        assert isinstance(refusal(v.canonical(mixed)), SignatureError), part
