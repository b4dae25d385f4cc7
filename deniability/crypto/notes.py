"""Signed notes (C2SP signed-note, tlog-cosignature): text with signatures of named Ed25519 keys.

A key is known by its name and a short identifier; both only say which signature to look at. What
counts is the public key, which comes from whoever verifies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deniability.crypto.encoding import b64decode_strict, b64encode
from deniability.errors import KeyFileError, ParseError, SignatureError

#: Largest note that is read, bytes, and most signatures of one.
MAX_NOTE_BYTES = 2**20
MAX_SIGNATURES = 256

NoteKeyKind = Literal["signature", "cosignature"]
_TYPES: dict[NoteKeyKind, int] = {"signature": 0x01, "cosignature": 0x04}

_NAME = r"[^\s+]+"
_LINE = re.compile(rf"\u2014 ({_NAME}) ([A-Za-z0-9+/=]+)")
_VKEY = re.compile(rf"({_NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/=]+)")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ID_BYTES, _KEY_BYTES, _TIME_BYTES = 4, 32, 8
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True)
class NoteKey:
    """A public key that notes are checked with.

    Attributes:
        name: without spaces and plus signs.
        public: 32 bytes (RFC 8032).
        kind: of a log, whose signatures are over the text; or of a witness, whose cosignatures are
            over a time as well.

    Raises:
        KeyFileError: the name or the key cannot be one.

    """

    name: str
    public: bytes
    kind: NoteKeyKind = "signature"

    def __post_init__(self) -> None:
        if not re.fullmatch(_NAME, self.name):
            raise KeyFileError(
                "not a name of a key of notes",
                expected="characters other than white space and +",
                found=ascii(self.name),
            )
        try:
            Ed25519PublicKey.from_public_bytes(self.public)
        except ValueError as cause:
            raise KeyFileError(
                "not an Ed25519 public key", where=self.name, expected=f"{_KEY_BYTES} bytes"
            ) from cause

    @classmethod
    def parse(cls, text: str, *, where: str) -> NoteKey:
        """Read a verifier key: name, identifier and key, joined by plus signs.

        Raises:
            KeyFileError: it is not one, or its identifier is of another key.

        """
        match = _VKEY.fullmatch(text)
        key = b64decode_strict(match[3], where, KeyFileError) if match else b""
        kind = next((kind for kind, byte in _TYPES.items() if key[:1] == bytes([byte])), None)
        if match is None or kind is None or len(key) != 1 + _KEY_BYTES:
            raise KeyFileError(
                "not a verifier key of notes",
                where=where,
                expected="NAME+8 hex digits+base64 of an Ed25519 key",
                found=ascii(text)[:80],
            )
        read = cls(match[1], key[1:], kind)
        if read.identifier.hex() != match[2]:
            raise KeyFileError(
                "the identifier is of another key",
                where=where,
                expected=read.identifier.hex(),
                found=match[2],
            )
        return read

    def __str__(self) -> str:
        key = b64encode(bytes([_TYPES[self.kind]]) + self.public)
        return f"{self.name}+{self.identifier.hex()}+{key}"

    @property
    def identifier(self) -> bytes:
        """The first 4 bytes of SHA-256(name ‖ newline ‖ type ‖ key)."""
        preimage = b"%s\n%c%s" % (self.name.encode(), _TYPES[self.kind], self.public)
        return hashlib.sha256(preimage).digest()[:_ID_BYTES]

    def check(self, signature: bytes, text: str) -> int | None:
        """Check a signature over a note's text; return the time that a cosignature states.

        Raises:
            SignatureError: it is not this key's, or not of this kind.

        """
        time, message = None, text.encode()
        if self.kind == "cosignature":
            time = int.from_bytes(signature[:_TIME_BYTES], "big")
            # No witness may state a later one, so that message is no witness's.
            message = _cosigned(time, text) if time <= _MAX_TIME else b""
            signature = signature[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as cause:
            raise SignatureError(
                "a signature of a note was not made by the key that it names over this text",
                where=self.name,
                expected=f"a {self.kind} by {self}",
            ) from cause
        return time


@dataclass(frozen=True)
class NoteSignature:
    """A line below a note: the names of a key, and what it is said to have signed."""

    name: str
    identifier: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A text, and signatures that nobody has checked.

    Attributes:
        text: with its last newline.
        signatures: in order.

    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def signed_by(self, key: NoteKey) -> tuple[int | None, ...]:
        """Return the times of all signatures by a key, None of a kind without; empty: not by it.

        Raises:
            SignatureError: one that names the key was not made by it.

        """
        named = (key.name, key.identifier)
        return tuple(
            key.check(line.signature, self.text)
            for line in self.signatures
            if (line.name, line.identifier) == named
        )


def parse_note(raw: bytes, *, where: str) -> Note:
    """Read a signed note.

    Raises:
        ParseError: it is too large, or not quite of the form.

    """
    if len(raw) > MAX_NOTE_BYTES:
        raise _no_note(where, f"at most {MAX_NOTE_BYTES} bytes", f"{len(raw)} bytes")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise _no_note(where, "UTF-8", f"byte {cause.start}") from cause
    if control := _CONTROL.search(whole):
        raise _no_note(where, "no control characters", ascii(control[0]))
    text, separator, below = whole.rpartition("\n\n")
    if not separator or not text or not below.endswith("\n"):
        raise _no_note(where, "a text, an empty line, and lines with signatures", None)
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _no_note(where, f"at most {MAX_SIGNATURES} signatures", str(len(lines)))
    return Note(text + "\n", tuple(_signature(line, where) for line in lines))


def write_note(text: str, signatures: Iterable[NoteSignature]) -> bytes:
    """Return the note's bytes; `text` ends with a newline."""
    lines = (
        f"\u2014 {one.name} {b64encode(one.identifier + one.signature)}\n" for one in signatures
    )
    return f"{text}\n{''.join(lines)}".encode()


def sign_note(
    text: str, name: str, key: Ed25519PrivateKey, *, time: int | None = None
) -> NoteSignature:
    """Sign a text as a log does; or with a time (seconds since 1970) as a witness does."""
    kind: NoteKeyKind = "signature" if time is None else "cosignature"
    public = NoteKey(name, key.public_key().public_bytes_raw(), kind)
    if time is None:
        return NoteSignature(name, public.identifier, key.sign(text.encode()))
    stamped = time.to_bytes(_TIME_BYTES, "big") + key.sign(_cosigned(time, text))
    return NoteSignature(name, public.identifier, stamped)


def _cosigned(time: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _signature(line: str, where: str) -> NoteSignature:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _no_note(where, "\u2014 NAME BASE64", ascii(line)[:80])
    data = b64decode_strict(match[2], where)
    if len(data) <= _ID_BYTES:
        raise _no_note(where, "an identifier and a signature", f"{len(data)} bytes")
    return NoteSignature(match[1], data[:_ID_BYTES], data[_ID_BYTES:])


def _no_note(where: str, expected: str, found: str | None) -> ParseError:
    return ParseError("not a signed note", where=where, expected=expected, found=found)
