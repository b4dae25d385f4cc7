"""Checkpoints of transparency logs and proofs of inclusion (C2SP tlog-checkpoint, tlog-proof).

A log's own signature shows what it once said. That it says the same to everybody only witnesses
show, and only as many as there are different keys that the verifier chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.merkle import verify_consistency, verify_inclusion
from deniability.crypto.notes import MAX_NOTE_BYTES, NoteKey, parse_note
from deniability.errors import CommitmentError, InputError, ParseError, UncheckedError

_HASH_BYTES = 32
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 64


@dataclass(frozen=True)
class Checkpoint:
    """What a log commits to.

    Attributes:
        origin: the log's identity.
        size: number of entries.
        root: of the Merkle tree over them (RFC 6962), 32 bytes.

    """

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class LogPolicy:
    """Which log, and who has to have seen its checkpoints.

    Attributes:
        key: the log's; its name is the log's origin.
        witnesses: keys whose cosignatures count.
        quorum: how many different ones are needed.

    Raises:
        InputError: a key counts twice or is of the wrong kind, or the quorum cannot be reached.

    """

    key: NoteKey
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        keys = [key.public for key in (self.key, *self.witnesses)]
        if len(set(keys)) < len(keys):
            raise InputError(
                "one key under several names",
                where="the policy of the log",
                expected="a key of its own for the log and for each witness",
            )
        kinds = [self.key.kind, *(witness.kind for witness in self.witnesses)]
        if kinds != ["signature", *["cosignature"] * len(self.witnesses)]:
            raise InputError(
                "a key of the wrong kind",
                where="the policy of the log",
                expected="a signing key of the log, and cosigning keys of witnesses",
            )
        if not 0 <= self.quorum <= len(self.witnesses):
            raise InputError(
                "a quorum that cannot be reached",
                where="the policy of the log",
                expected=f"0 to {len(self.witnesses)}",
                found=str(self.quorum),
            )


@dataclass(frozen=True)
class VerifiedCheckpoint:
    """A checkpoint that satisfies a policy; only `verify_checkpoint` makes one.

    Attributes:
        checkpoint: as signed.
        witnessed: of each witness that cosigned it, by name, the latest time that it states
            (seconds since 1970).

    """

    checkpoint: Checkpoint
    witnessed: Mapping[str, int]


def verify_checkpoint(raw: bytes, policy: LogPolicy, *, where: str) -> VerifiedCheckpoint:
    """Check a checkpoint's form, the log's signature, and the quorum of witnesses.

    Raises:
        ParseError: it has not the form.
        UncheckedError: the log has not signed it, or too few witnesses have.
        SignatureError: a signature that names a key of the policy was not made by it.
        CommitmentError: it is another log's.

    """
    note = parse_note(raw, where=where)
    checkpoint = parse_checkpoint(note.text, where=where)
    if not note.signed_by(policy.key):
        raise UncheckedError(
            "a checkpoint without the log's signature",
            where=where,
            expected=f"one by {policy.key}",
            found=", ".join(f"{s.name}+{s.identifier.hex()}" for s in note.signatures)[:200],
        )
    if checkpoint.origin != policy.key.name:
        raise CommitmentError(
            "a checkpoint of another log",
            where=f"{where}: origin",
            expected=ascii(policy.key.name),
            found=ascii(checkpoint.origin)[:200],
        )
    times = {witness.name: note.signed_by(witness) for witness in policy.witnesses}
    witnessed = {
        name: max(time for time in seen if time is not None) for name, seen in times.items() if seen
    }
    if len(witnessed) < policy.quorum:
        raise UncheckedError(
            "too few witnesses have seen the checkpoint",
            where=where,
            expected=f"{policy.quorum} of {len(policy.witnesses)}",
            found=str(len(witnessed)),
        )
    return VerifiedCheckpoint(checkpoint, witnessed)


def parse_checkpoint(text: str, *, where: str) -> Checkpoint:
    """Read the text of a checkpoint's note.

    Raises:
        ParseError: a line is missing or is not what it has to be.

    """
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):
        raise _no_checkpoint(where, "lines with origin, size and root hash, none empty", None)
    origin, size, root = lines[:3]
    entries = _number(size, f"{where}: size")
    digest = b64decode_strict(root, f"{where}: root hash")
    if len(digest) != _HASH_BYTES:
        raise _no_checkpoint(where, "a root hash of 32 bytes", f"{len(digest)} bytes")
    return Checkpoint(origin, entries, digest)


def check_extends(
    known: Checkpoint, later: Checkpoint, proof: Sequence[bytes], *, where: str
) -> None:
    """Check that a log only grew since a checkpoint that is known.

    Args:
        known: as verified earlier.
        later: as verified now.
        proof: of consistency between the two, which is empty for the same size.
        where: for messages.

    Raises:
        CommitmentError: it is another log, became smaller, or shows another history.

    """
    if known.origin != later.origin:
        raise CommitmentError(
            "a checkpoint of another log",
            where=where,
            expected=ascii(known.origin),
            found=ascii(later.origin),
        )
    if known.size == later.size and known.root != later.root:
        raise CommitmentError(
            f"the log shows two roots for {later.size} entries",
            where=where,
            expected=known.root.hex(),
            found=later.root.hex(),
        )
    with _said_of(where):
        verify_consistency(known.size, later.size, known.root, later.root, proof)


def verify_log_proof(
    raw: bytes, entry: bytes, policy: LogPolicy, *, where: str
) -> VerifiedCheckpoint:
    """Check a `.tlog-proof`: that an entry is in a log, under a checkpoint that satisfies a policy.

    Its `extra` line is nobody's word and is not looked at.

    Raises:
        as `verify_checkpoint`; CommitmentError too if the entry is not where it is said to be.

    """
    if len(raw) > 2 * MAX_NOTE_BYTES:
        raise _no_proof(where, f"at most {2 * MAX_NOTE_BYTES} bytes")
    head, separator, checkpoint = raw.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as cause:
        raise _no_proof(where, "ASCII before the checkpoint") from cause
    if not separator or lines.pop(0) != _PROOF_HEADER:
        raise _no_proof(where, f"a first line {_PROOF_HEADER}, and a checkpoint at the end")
    if lines and lines[0].startswith("extra "):
        b64decode_strict(lines.pop(0).removeprefix("extra "), f"{where}: extra")
    if not lines or not lines[0].startswith("index ") or len(lines) > _MAX_PATH + 1:
        raise _no_proof(where, f"a line with the index, and at most {_MAX_PATH} hashes")
    index = _number(lines.pop(0).removeprefix("index "), f"{where}: index")
    path = [b64decode_strict(line, f"{where}: hash {i}") for i, line in enumerate(lines)]
    verified = verify_checkpoint(checkpoint, policy, where=where)
    tree = verified.checkpoint
    with _said_of(f"{where}: index {index}"):
        verify_inclusion(entry, index, tree.size, path, tree.root)
    return verified


@contextmanager
def _said_of(where: str) -> Iterator[None]:
    try:
        yield
    except CommitmentError as cause:
        raise CommitmentError(
            cause.what, where=where, expected=cause.expected, found=cause.found
        ) from cause


def _number(text: str, where: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ParseError(
            "not a number of entries",
            where=where,
            expected="decimal digits",
            found=ascii(text)[:40],
        )
    return int(text)


def _no_checkpoint(where: str, expected: str, found: str | None) -> ParseError:
    return ParseError("not a checkpoint", where=where, expected=expected, found=found)


def _no_proof(where: str, expected: str) -> ParseError:
    return ParseError("not a proof of a log", where=where, expected=expected)
