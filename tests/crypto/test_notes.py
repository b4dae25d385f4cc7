"""Signed notes, against notes and keys that others made, and against everything changed in one."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from deniability.crypto.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteKey,
    parse_note,
    sign_note,
    write_note,
)
from deniability.errors import DeniabilityError, KeyFileError, ParseError, SignatureError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "log.example/one"
PUBLIC = NoteKey(NAME, KEY.public_key().public_bytes_raw())
WITNESS = NoteKey("witness.example", KEY.public_key().public_bytes_raw(), "cosignature")
TEXT = "the text\n\nin two paragraphs\n"
NOTE = write_note(TEXT, [sign_note(TEXT, NAME, KEY)])

# Public keys and a note that the Go project publishes (module checksum database; package note).
GO_KEYS = [
    "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
]
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZ"
    "b6KE6RyyBwJnAM=\n"
)


@pytest.mark.parametrize("text", GO_KEYS)
def test_keys_of_others_are_read_and_written(text):
    assert str(NoteKey.parse(text, where="key")) == text


def test_a_note_of_others_is_verified():
    note = parse_note(GO_NOTE.encode(), where="note")
    assert note.signed_by(NoteKey.parse(GO_KEYS[1], where="key")) == (None,)
    assert note.signed_by(NoteKey.parse(GO_KEYS[0], where="key")) == ()


def test_what_is_signed_is_read_and_verified():
    note = parse_note(NOTE, where="note")
    assert note.text == TEXT
    assert note.signed_by(PUBLIC) == (None,)
    assert write_note(note.text, note.signatures) == NOTE


def test_a_witness_signs_a_time():
    raw = write_note(TEXT, [sign_note(TEXT, WITNESS.name, KEY, time=1_700_000_000)])
    note = parse_note(raw, where="note")
    assert note.signed_by(WITNESS) == (1_700_000_000,)
    assert note.signed_by(PUBLIC) == ()


def test_a_time_that_no_witness_may_state_is_refused():
    line = sign_note(TEXT, WITNESS.name, KEY, time=2**63)
    with pytest.raises(SignatureError, match=r"witness\.example"):
        Note(TEXT, (line,)).signed_by(WITNESS)


def test_a_signature_of_one_kind_is_none_of_the_other():
    plain = sign_note(TEXT, WITNESS.name, KEY)
    note = Note(TEXT, (plain,))
    assert note.signed_by(WITNESS) == ()  # another identifier, so another key
    forged = Note(TEXT, (type(plain)(plain.name, WITNESS.identifier, plain.signature),))
    with pytest.raises(SignatureError):
        forged.signed_by(WITNESS)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_never_signed(place, change):
    raw = bytearray(NOTE)
    raw[place] ^= change
    try:
        note = parse_note(bytes(raw), where="note")
        signed = note.signed_by(PUBLIC)
    except DeniabilityError:
        return
    assert signed == ()  # then another key is named


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "an empty line"),
        (b"text\n", "an empty line"),
        (b"\n\n\xe2\x80\x94 a AAAAAAAA\n", "an empty line"),
        (TEXT.encode() + b"\n", "an empty line"),
        (NOTE[:-1], "an empty line"),
        (NOTE.replace(b"\n", b"\r\n"), "control characters"),
        (NOTE.replace(b"the", b"th\x00"), "control characters"),
        (NOTE.replace(b"the", b"th\xff"), "UTF-8"),
        (NOTE.replace(b"\xe2\x80\x94", b"-"), "NAME BASE64"),
        (NOTE.replace(b"log.example", b"log example"), "NAME BASE64"),
        (NOTE.replace(b"log.example", "log\u00a0example".encode()), "NAME BASE64"),
        (NOTE.replace(b"log.example", b"log+example"), "NAME BASE64"),
        (NOTE.replace(NAME.encode(), b""), "NAME BASE64"),
        (NOTE + b"\n", "an empty line"),
        (NOTE + b"more\n", "NAME BASE64"),
        (TEXT.encode() + b"\n\xe2\x80\x94 a AAA=\n", "an identifier and a signature"),
        (TEXT.encode() + b"\n\xe2\x80\x94 a AAAAAA\n", "base64"),
        (b"a\n\n" + b"\xe2\x80\x94 a AAAAAAAA\n" * (MAX_SIGNATURES + 1), "at most 256 signatures"),
        (b"a" * (MAX_NOTE_BYTES + 1), "1048576 bytes"),
    ],
)
def test_what_is_no_note_is_refused(raw, says):
    with pytest.raises(ParseError, match=r"note|base64") as refused:
        parse_note(raw, where="some.note")
    assert says in str(refused.value)
    assert "some.note" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a b" + str(PUBLIC).removeprefix(NAME),
        str(PUBLIC).replace("one", "two"),
        str(PUBLIC).replace("+", "+0", 1),
        str(PUBLIC)[:-4],
        str(PUBLIC).rpartition("+")[0] + "+" + "Ag==",
        str(PUBLIC).rpartition("+")[0] + "+" + "AQ==",
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(KeyFileError, match="where it was"):
        NoteKey.parse(text, where="where it was")


def test_names_have_no_spaces():
    with pytest.raises(KeyFileError, match="white space"):
        NoteKey("a b", PUBLIC.public)
