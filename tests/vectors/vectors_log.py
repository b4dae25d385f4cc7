"""Checkpoints and proofs of a transparency log, and how they are forged."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from file_cases import FileCase, add_file

ORIGIN = "log.example/uses"
ENTRIES = [b"entry %d" % i for i in range(7)]


def key(number: int) -> Ed25519PrivateKey:
    """A key by number; trust none of them anywhere."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"log %d" % number).digest())


LOG, OTHER, *WITNESSES = (key(number) for number in range(5))
NAMES = [f"witness.example/{letter}" for letter in "abc"]


def public(signer: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a public key."""
    return signer.public_key().public_bytes_raw()


def identifier(name: str, signer: Ed25519PrivateKey, kind: int) -> bytes:
    """What a signature line begins with."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public(signer)).digest()[:4]


def verifier(name: str, signer: Ed25519PrivateKey, kind: int = 1) -> str:
    """A key as policies name it."""
    data = base64.b64encode(bytes([kind]) + public(signer)).decode()
    return f"{name}+{identifier(name, signer, kind).hex()}+{data}"


def line(name: str, signer: Ed25519PrivateKey, text: str, *, names: Any = None) -> str:
    """The log's signature line; `names` is the key that it says it is by."""
    data = identifier(name, names or signer, 1) + signer.sign(text.encode())
    return f"\u2014 {name} {base64.b64encode(data).decode()}\n"


def cosigned(name: str, signer: Ed25519PrivateKey, text: str, time: int = 1_790_000_000) -> str:
    """A witness's signature line."""
    signature = signer.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    data = identifier(name, signer, 4) + time.to_bytes(8, "big") + signature
    return f"\u2014 {name} {base64.b64encode(data).decode()}\n"


def node(left: bytes, right: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(entries: list[bytes]) -> bytes:
    """The root over entries, by the recursion of RFC 6962."""
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1 << ((len(entries) - 1).bit_length() - 1)
    return node(root(entries[:split]), root(entries[split:]))


def path(index: int, entries: list[bytes]) -> list[bytes]:
    """The audit path, by the recursion of RFC 6962."""
    if len(entries) == 1:
        return []
    split = 1 << ((len(entries) - 1).bit_length() - 1)
    if index < split:
        return [*path(index, entries[:split]), root(entries[split:])]
    return [*path(index - split, entries[split:]), root(entries[:split])]


def encoded(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode()


def head(size: int = len(ENTRIES), entries: list[bytes] | None = None, origin: str = ORIGIN) -> str:
    """The text of a checkpoint."""
    return f"{origin}\n{size}\n{encoded(root(entries or ENTRIES[:size]))}\n"


def note(text: str, *lines: str) -> bytes:
    """A signed note."""
    return f"{text}\n{''.join(lines)}".encode()


def signed(text: str, *more: str) -> bytes:
    """A checkpoint signed by the log."""
    return note(text, line(ORIGIN, LOG, text), *more)


def proof(index: int | str, hashes: list[bytes], checkpoint: bytes) -> bytes:
    """A `.tlog-proof`."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(encoded, hashes)]
    return "\n".join(lines).encode() + b"\n\n" + checkpoint


TEXT = head()
POLICY = {"log": verifier(ORIGIN, LOG), "witnesses": [], "quorum": 0}
WATCHED = {
    "log": verifier(ORIGIN, LOG),
    "witnesses": [verifier(n, k, 4) for n, k in zip(NAMES, WITNESSES, strict=True)],
    "quorum": 2,
}
SEEN = [cosigned(n, k, TEXT) for n, k in zip(NAMES, WITNESSES, strict=True)]


def case(name: str, about: str, data: bytes, **expect: Any) -> None:
    """Register a vector; `policy` is what the verifier chose."""
    file = "entry.tlog-proof" if data.startswith(b"c2sp") else "checkpoint"
    expect = {"policy": POLICY, **expect}
    add_file(FileCase("log", name, about, file, lambda: data, expect))


def taken(name: str, about: str, data: bytes, **more: Any) -> None:
    """Register what has to be accepted."""
    known = {"origin": ORIGIN, "size": len(ENTRIES), "root": root(ENTRIES).hex()}
    case(name, about, data, **{"outcome": "taken", "witnessed": [], **known, **more})


def refused(
    name: str, about: str, data: bytes, says: str, *, stage: str, code: int, **more: Any
) -> None:
    """Register what has to be refused, at which stage, with which words."""
    case(name, about, data, outcome="refused", stage=stage, exit=code, says=says, **more)


parse = functools.partial(refused, stage="parse", code=4)
trust = functools.partial(refused, stage="trust", code=4)
signature = functools.partial(refused, stage="signature", code=3)
commitment = functools.partial(refused, stage="commitment", code=3)

taken("checkpoint", "A log's checkpoint.", signed(TEXT))
taken(
    "checkpoint-watched",
    "Two of three witnesses have seen it, as many as are asked for.",
    signed(TEXT, *SEEN[:2]),
    policy=WATCHED,
    witnessed=NAMES[:2],
)
taken(
    "checkpoint-with-unknown-signatures",
    "Signatures of keys that nobody chose count for nothing and do no harm.",
    signed(TEXT, line("other.example", OTHER, TEXT), line(ORIGIN, OTHER, TEXT)),
)
taken(
    "checkpoint-extended",
    "A line behind the root, which means nothing here.",
    signed(TEXT + "more\n"),
)
taken(
    "proof",
    "The fourth entry and its path.",
    proof(3, path(3, ENTRIES), signed(TEXT)),
    entry=ENTRIES[3].hex(),
)
# The consistency proof of five and seven entries (RFC 6962, section 2.1.2).
STEPS = (ENTRIES[4:5], ENTRIES[5:6], ENTRIES[6:7], ENTRIES[:4])
known = {
    "known": [5, root(ENTRIES[:5]).hex()],
    "consistency": [root(step).hex() for step in STEPS],
}
taken("checkpoint-grown", "Later than a known one, which it extends.", signed(TEXT), **known)

lines = TEXT.split("\n")
for number, name in enumerate(("origin", "size", "root")):
    left = "\n".join([*lines[:number], *lines[number + 1 : -1], "more\n"])
    says = {"origin": "number of entries", "size": "number of entries", "root": "32 bytes"}[name]
    parse(f"checkpoint-without-{name}", f"The {name} is missing.", signed(left), says)
    empty = "\n".join([*lines[:number], "", *lines[number + 1 :]])
    parse(f"checkpoint-empty-{name}", f"The {name} is empty.", signed(empty), "none empty")
parse(
    "checkpoint-size-zeros",
    "A size with a zero in front.",
    signed(head().replace("\n7\n", "\n07\n")),
    "number of entries",
)
parse(
    "checkpoint-size-negative",
    "A size below zero.",
    signed(head().replace("\n7\n", "\n-7\n")),
    "number of entries",
)
parse(
    "checkpoint-root-short",
    "A root of 31 bytes.",
    signed(f"{ORIGIN}\n7\n{encoded(root(ENTRIES)[:31])}\n"),
    "32 bytes",
)
parse(
    "checkpoint-root-spelt-otherwise",
    "The root's base64 has bits that mean nothing.",
    signed(re.sub(r"(.)=\n$", lambda m: chr(ord(m[1]) + 1) + "=\n", TEXT)),
    "base64",
)
parse("checkpoint-unsigned", "No signature line.", note(TEXT), "signed note")
parse(
    "checkpoint-other-line-ends",
    "Lines end as on Windows.",
    signed(TEXT).replace(b"\n", b"\r\n"),
    "control",
)

trust(
    "checkpoint-by-another-key",
    "Another key signs under the log's name; its identifier differs.",
    note(TEXT, line(ORIGIN, OTHER, TEXT)),
    "log's signature",
)
signature(
    "checkpoint-forged-identifier",
    "Another key signs under the log's name and identifier.",
    note(TEXT, line(ORIGIN, OTHER, TEXT, names=LOG)),
    ORIGIN,
)
signature(
    "checkpoint-changed",
    "The size was changed after signing.",
    note(TEXT.replace("\n7\n", "\n8\n"), line(ORIGIN, LOG, TEXT)),
    ORIGIN,
)
signature(
    "checkpoint-good-and-bad",
    "A good signature of the log does not excuse a bad one.",
    signed(TEXT, line(ORIGIN, LOG, head(5))),
    ORIGIN,
)
commitment(
    "checkpoint-of-another-log",
    "The log's key under the text of another origin.",
    signed(head(origin="other.example")),
    "another log",
)

commitment(
    "rollback",
    "Fewer entries than were known.",
    signed(head(5)),
    "smaller",
    known=[7, root(ENTRIES).hex()],
    consistency=[],
)
FORKED = [*ENTRIES[:6], b"another"]
commitment(
    "split-view",
    "As many entries as were known, and another root.",
    signed(head(7, FORKED)),
    "two roots",
    known=[7, root(ENTRIES).hex()],
    consistency=[],
)
CHANGED = [b"another", *ENTRIES[1:]]
commitment(
    "history-rewritten",
    "More entries, but the first is another than was known.",
    signed(head(7, CHANGED)),
    "consistency",
    **known,
)

trust(
    "quorum-not-reached",
    "One of two witnesses.",
    signed(TEXT, SEEN[0]),
    "too few witnesses",
    policy=WATCHED,
)
trust(
    "quorum-by-one-twice",
    "One witness cosigns twice.",
    signed(TEXT, SEEN[0], cosigned(NAMES[0], WITNESSES[0], TEXT, 1_790_000_001)),
    "too few witnesses",
    policy=WATCHED,
)
trust(
    "quorum-under-another-name",
    "One witness's key cosigns under the name of another, too.",
    signed(TEXT, SEEN[0], cosigned(NAMES[1], WITNESSES[0], TEXT)),
    "too few witnesses",
    policy=WATCHED,
)
trust(
    "quorum-of-strangers",
    "Witnesses that nobody chose.",
    signed(TEXT, *(cosigned(f"w{i}.example", key(9 + i), TEXT) for i in range(3))),
    "too few witnesses",
    policy=WATCHED,
)
trust(
    "quorum-by-plain-signatures",
    "The witnesses' keys signed as logs do.",
    signed(TEXT, *(line(n, k, TEXT) for n, k in zip(NAMES, WITNESSES, strict=True))),
    "too few witnesses",
    policy=WATCHED,
)
signature(
    "quorum-moved",
    "A cosignature of an earlier checkpoint.",
    signed(TEXT, SEEN[0], cosigned(NAMES[1], WITNESSES[1], head(5))),
    NAMES[1],
    policy=WATCHED,
)
refused(
    "quorum-of-one-key-twice",
    "A policy that counts one key under two names.",
    signed(TEXT, *SEEN),
    "one key under several names",
    stage="input",
    code=2,
    policy={**WATCHED, "witnesses": [verifier(n, WITNESSES[0], 4) for n in NAMES]},
)

entry = {"entry": ENTRIES[3].hex()}
commitment(
    "proof-index-beyond",
    "An index that the tree does not have.",
    proof(7, path(3, ENTRIES), signed(TEXT)),
    "outside its tree",
    **entry,
)
parse(
    "proof-index-zeros",
    "An index with a zero in front.",
    proof("03", path(3, ENTRIES), signed(TEXT)),
    "number of entries",
    **entry,
)
commitment(
    "proof-of-another-place",
    "The path of the fourth entry at the third's index.",
    proof(2, path(3, ENTRIES), signed(TEXT)),
    "another root",
    **entry,
)
commitment(
    "proof-of-another-entry",
    "The path of another entry.",
    proof(3, path(3, ENTRIES), signed(TEXT)),
    "another root",
    entry=ENTRIES[4].hex(),
)
commitment(
    "proof-of-another-tree",
    "The path in a smaller tree.",
    proof(3, path(3, ENTRIES[:5]), signed(TEXT)),
    "another root",
    **entry,
)
commitment(
    "proof-too-short",
    "The last hash is missing.",
    proof(3, path(3, ENTRIES)[:-1], signed(TEXT)),
    "too short",
    **entry,
)
commitment(
    "proof-too-long",
    "A hash too many.",
    proof(3, [*path(3, ENTRIES), bytes(32)], signed(TEXT)),
    "too long",
    **entry,
)
commitment(
    "proof-hash-short",
    "A hash of 31 bytes.",
    proof(3, [path(3, ENTRIES)[0][:31], *path(3, ENTRIES)[1:]], signed(TEXT)),
    "32 bytes",
    **entry,
)
commitment(
    "proof-node-as-entry",
    "An inner node passed off as an entry.",
    proof(0, path(0, ENTRIES)[2:], signed(TEXT)),
    "too short",
    entry=(root(ENTRIES[:1]) + root(ENTRIES[1:2])).hex(),
)
trust(
    "proof-not-watched",
    "Under a checkpoint without its quorum.",
    proof(3, path(3, ENTRIES), signed(TEXT)),
    "too few witnesses",
    policy=WATCHED,
    **entry,
)
