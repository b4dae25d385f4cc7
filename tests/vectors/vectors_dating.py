"""Timestamps, the chain of registrations, and the beacon: SPEC.md, steps 2 and 13."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import vector_parts as v
from vector_cases import add

QUICKNET = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
DRAND = {
    "source": "drand",
    "chain": QUICKNET,
    "round": "1000",
    "signature": "ab" * 48,
    "value": sha256(b"\xab" * 48).hexdigest(),
}
NIST = {"source": "nist", "chain": "2", "round": "1700000000000", "value": "cd" * 64}
OTHER = {
    "kind": "registration",
    "payload": v.sha("another registration"),
    "weights": v.sha("other weights"),
    "createdAt": "2026-10-01T00:00:00Z",
}
Predicate = dict[str, Any]


def bundle(change: Callable[[Predicate], Any], *, keep: tuple[str, ...] = ()) -> bytes:
    """Change the predicate, mend what follows, and sign."""
    content = v.statement()
    change(content["predicate"])
    return v.sign(v.mend(content, keep=keep))


def own_link(predicate: Predicate) -> dict[str, Any]:
    """Return the link of the bundle's registration."""
    return {
        "kind": "registration",
        "payload": predicate["registration"]["payload"],
        "weights": predicate["model"]["weights"],
        "createdAt": "2026-11-01T00:00:00Z",
    }


def chain(
    links: list[dict[str, Any]],
    earlier: list[dict[str, Any]] | None = None,
    *,
    key: Any = v.KEY,
    head: str | None = None,
) -> str:
    """Return the chain's file in base64."""
    content = v.independent.chain_statement(links, earlier or [])
    if head is not None:
        content["subject"][0]["digest"]["sha256"] = head
    return v.b64(v.sign(content, key))


def chained(make: Callable[[Predicate], str]) -> bytes:
    """Return a bundle with the chain that `make(predicate)` gives."""
    return bundle(lambda p: p["registration"].update(chain=make(p)))


def stamped(*tokens: str) -> bytes:
    """Return the bundle with these tokens."""
    made = v.envelope(v.canonical(v.statement()))
    made["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = [
        {"signedTimestamp": token} for token in tokens
    ]
    return v.canonical(made)


def intent(predicate: Predicate) -> dict[str, Any]:
    """Return the link that names the beacon's round, as the first of the chain."""
    content = {
        "weights": predicate["model"]["weights"],
        "protocolDigest": predicate["protocolDigest"],
        "beacon": {name: DRAND[name] for name in ("source", "chain", "round")},
        "position": 0,
    }
    return own_link(predicate) | {"kind": "intent", "payload": v.independent.digest(content)}


def beacon_removed() -> bytes:
    """Return a bundle without its beacon, the seeds as with it."""
    content = v.statement()
    content["predicate"]["beacon"] = DRAND
    v.mend(content)
    del content["predicate"]["beacon"]
    return v.sign(v.mend(content, keep=("seeds",)))


def earlier(p: Predicate, *, links: int, signer: Any = v.KEY) -> list[dict[str, Any]]:
    """Return an earlier version of the chain `[own_link(p), OTHER]`."""
    content = v.canonical(v.independent.chain_statement([own_link(p)], []))
    raw = v.signature(v.pae(v.PAYLOAD_TYPE.encode(), content), signer)
    return [{"links": links, "signature": v.b64(raw), "timestamps": [{"signedTimestamp": "AAAA"}]}]


# --- hold

for name, about, build in (
    (
        "beacon-drand",
        "A drand round in the seeds.",
        lambda: bundle(lambda p: p.update(beacon=DRAND)),
    ),
    ("beacon-nist", "A NIST pulse in the seeds.", lambda: bundle(lambda p: p.update(beacon=NIST))),
    (
        "chain-of-one",
        "The first registration of its key, undated.",
        lambda: chained(lambda p: chain([own_link(p)])),
    ),
    (
        "chain-of-three",
        "The second of three.",
        lambda: chained(lambda p: chain([OTHER, own_link(p), OTHER | {"payload": "0" * 64}])),
    ),
    (
        "chain-with-intent-and-beacon",
        "A round named by a link before.",
        lambda: bundle(
            lambda p: (
                p.update(beacon=DRAND),
                p["registration"].update(chain=chain([intent(p), own_link(p)])),
            )
        ),
    ),
):
    add("passing", name, about, build)

# --- timestamps

add("timestamp", "garbage", "No RFC 3161 response.", lambda: stamped(v.b64(b"not a token")))
add("timestamp", "empty", "A token of no bytes.", lambda: stamped(""))
add("timestamp", "twice", "One token twice.", lambda: stamped("AAAA", "AAAA"))
add(
    "parse",
    "too-many-timestamps",
    "Seventeen tokens.",
    lambda: stamped(*(v.b64(bytes([i])) for i in range(17))),
    says="rfc3161Timestamps",
)

TOKENS = Path(__file__).resolve().parent / "tokens"
TOKEN, MOVED = (v.b64((TOKENS / f"{name}.tsr").read_bytes()) for name in ("excluded", "reached"))
ROOT = (TOKENS / "root.pem").read_text()


def flipped(position: int) -> str:
    """Return the token with one bit changed."""
    raw = bytearray((TOKENS / "excluded.tsr").read_bytes())
    raw[position] ^= 1
    return v.b64(bytes(raw))


for name, about, tokens in (
    ("of-known-authority", "A timestamp by an authority that the verifier knows.", [TOKEN]),
    ("of-unknown-authority", "The same to one who does not: no time, no refusal.", [TOKEN]),
):
    roots = () if "unknown" in name else (ROOT,)
    add("passing", f"timestamp-{name}", about, lambda t=tokens: stamped(*t), roots=roots)
for name, about, tokens, roots in (
    ("moved", "The token of another bundle.", [MOVED], (ROOT,)),
    ("moved-of-unknown-authority", "The same to one who does not know it.", [MOVED], ()),
    ("moved-beside-own", "The bundle's own and another's.", [TOKEN, MOVED], (ROOT,)),
    ("own-twice", "The bundle's own twice.", [TOKEN, TOKEN], (ROOT,)),
    ("signature-flipped", "The token's signature changed.", [flipped(-1)], (ROOT,)),
    ("trailing", "A byte behind the token.", [v.b64(b64decode(TOKEN) + b"x")], (ROOT,)),
    ("cut", "The token cut short.", [v.b64(b64decode(TOKEN)[:-100])], (ROOT,)),
):
    add("timestamp", name, about, lambda t=tokens: stamped(*t), roots=roots)

# --- beacon

for name, about, value, stage in (
    ("value", "drand's value is not the hash of its signature.", DRAND | {"value": "0" * 64}, ""),
    ("without-signature", "drand's signature left out.", DRAND | {"signature": None}, ""),
    ("nist-with-signature", "NIST's with drand's.", NIST | {"signature": "ab" * 48}, ""),
    ("nist-short", "NIST's value cut.", NIST | {"value": "cd" * 32}, ""),
    ("chain-of-the-other", "drand's with a chain number.", DRAND | {"chain": "2"}, ""),
    ("source", "Another source.", DRAND | {"source": "dice"}, "statement"),
    ("round-zero", "Round 0.", DRAND | {"round": "0"}, "statement"),
):
    written = {field: text for field, text in value.items() if text is not None}
    add(
        stage or "commitment",
        f"beacon-{name}",
        about,
        lambda b=written: bundle(lambda p: p.update(beacon=b)),
        says="beacon",
    )
add("commitment", "beacon-removed", "Left out, the seeds as with it.", beacon_removed, says="seed")
for part in ("seeds", "scope"):
    add(
        "commitment",
        f"beacon-not-in-{part}",
        f"A beacon; {part} as without one.",
        lambda part=part: bundle(lambda p: p.update(beacon=DRAND), keep=(part,)),
        says=part.removesuffix("s"),
    )

# --- chain

for name, about, make in (
    ("of-another-key", "Signed by another.", lambda p: chain([own_link(p)], key=v.ATTACKER)),
    ("without-the-registration", "Of this key, without it.", lambda _: chain([OTHER])),
    (
        "other-weights",
        "The registration with the weights of another model.",
        lambda p: chain([own_link(p) | {"weights": "0" * 64}]),
    ),
    (
        "registration-as-intent",
        "The registration's payload as an intent.",
        lambda p: chain([own_link(p) | {"kind": "intent"}]),
    ),
    ("head", "Another head.", lambda p: chain([own_link(p)], head="0" * 64)),
    (
        "head-of-a-shorter-one",
        "The head without the last link.",
        lambda p: chain([own_link(p), OTHER], head=v.independent.head([own_link(p)])),
    ),
    ("link-twice", "One registration twice.", lambda p: chain([own_link(p), own_link(p)])),
    ("empty", "No links.", lambda _: chain([])),
    ("not-base64", "Not strict base64.", lambda p: "A" + chain([own_link(p)])),
    ("garbage", "Something else.", lambda _: v.b64(b"chain")),
    ("is-a-bundle", "A bundle as its chain.", lambda _: v.b64(v.sign(v.statement()))),
    (
        "earlier-not-shorter",
        "An earlier version of the same length.",
        lambda p: chain([own_link(p), OTHER], earlier(p, links=2)),
    ),
    (
        "earlier-forged",
        "An earlier version signed by another.",
        lambda p: chain([own_link(p), OTHER], earlier(p, links=1, signer=v.ATTACKER)),
    ),
):
    add("commitment", f"chain-{name}", about, lambda make=make: chained(make), says="chain")
add(
    "commitment",
    "chain-scope",
    "A chain; the scope as without one.",
    lambda: bundle(lambda p: p["registration"].update(chain=chain([own_link(p)])), keep=("scope",)),
    says="scope",
)
