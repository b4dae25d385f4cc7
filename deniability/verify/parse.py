"""Bytes to types, once, at the edge: sizes and depths are capped before anything is parsed."""

from __future__ import annotations

import json
import re
import string
from typing import Any, TypeVar

from pydantic import ValidationError

from deniability.crypto.canonical import canonical_json, deeper_than, parse_canonical
from deniability.errors import DeniabilityError, ParseError, StatementError
from deniability.wire.base import WireModel
from deniability.wire.statement import SigstoreBundle, Statement

#: Largest bundle or registration that is read, bytes.
MAX_BUNDLE_BYTES = 64 * 2**20
MAX_DEPTH = 32
#: Most commas and opening brackets of JSON that is parsed: many small values take a thousand times
#: their size. A bundle of 10,000 restarts has fewer than 100,000.
MAX_VALUES = 500_000
#: How every bundle and registration begins, since its JSON is canonical.
BUNDLE_START = b'{"dsseEnvelope":{"payload":"'
#: Most bytes of one beside its payload: names, one signature and room for timestamps.
MAX_BESIDE_PAYLOAD = 2**20

_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
# An object that canonical JSON would not begin like this: mark or white space before or after it.
_LAID_OUT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*")

ModelT = TypeVar("ModelT", bound=WireModel)


def parse_model(
    raw: bytes,
    model: type[ModelT],
    *,
    where: str,
    error: type[DeniabilityError] = ParseError,
) -> ModelT:
    """Parse canonical JSON bytes into a wire model.

    Raises:
        error: not canonical JSON, or not of the model's form; the message names the field.

    """
    if (parsed := _parsed_at_once(raw, model)) is not None:
        return parsed
    value = _parsed(raw, where, error)
    return _written_one_way(_validated(raw, model, where=where, error=error), value, where, error)


def _parsed_at_once(raw: bytes, model: type[ModelT]) -> ModelT | None:
    """Parse without making JSON of it twice; None unless the model is written as these bytes."""
    if not within_caps(raw):
        return None
    try:
        parsed = model.model_validate_json(raw)
        return parsed if canonical_json(parsed.to_wire()) == raw else None
    except (ValidationError, ParseError):
        return None


def within_caps(raw: bytes) -> bool:
    """Tell whether JSON is small and flat enough to be parsed."""
    return (
        len(raw) <= MAX_BUNDLE_BYTES
        and values_of(raw) <= MAX_VALUES
        and not deeper_than(raw, MAX_DEPTH)
    )


def values_of(raw: bytes) -> int:
    """Count the marks in JSON that stand before values."""
    return sum(raw.count(mark) for mark in (b",", b"[", b"{"))


def _parsed(raw: bytes, where: str, error: type[DeniabilityError]) -> Any:
    """Parse canonical JSON of not too many values."""
    values = values_of(raw)
    if values > MAX_VALUES and len(raw) <= MAX_BUNDLE_BYTES:  # larger ones are refused below
        raise error(
            "too many values",
            where=where,
            expected=f"at most {MAX_VALUES} commas and opening brackets",
            found=str(values),
        )
    return parse_canonical(
        raw, where=where, max_bytes=MAX_BUNDLE_BYTES, max_depth=MAX_DEPTH, error=error
    )


def parse_statement(raw: bytes, *, where: str) -> Statement:
    """Parse a statement, whose predicate is left as JSON for the model of its type.

    A large predicate is not held against "any JSON object" only to be copied.

    Raises:
        StatementError: not canonical JSON, or not an in-toto statement.

    """
    value = _parsed(raw, where, StatementError)
    predicate = value.get("predicate") if isinstance(value, dict) else None
    small = value | {"predicate": {}} if isinstance(predicate, dict) else value
    parsed = _validated(canonical_json(small), Statement, where=where, error=StatementError)
    statement = _written_one_way(parsed, small, where, StatementError)
    return statement.model_copy(update={"predicate": predicate})


def parse_bundle(raw: bytes, *, where: str) -> SigstoreBundle:
    """Parse a bundle or registration, whose signer nobody knows yet.

    JSON of many small values takes a hundred times its size to parse. So before any is parsed,
    everything but the payload, which is one string, has to be small.

    Raises:
        ParseError: too large, of another shape, or not a canonical Sigstore bundle.

    """
    if len(raw) <= MAX_BUNDLE_BYTES:
        _check_shape(raw, where)
    return _bundle_at_once(raw) or parse_model(raw, SigstoreBundle, where=where)


def _bundle_at_once(raw: bytes) -> SigstoreBundle | None:
    """Parse as `_parsed_at_once`, all but the payload, which is base64 and has no escapes."""
    start = len(BUNDLE_START)
    end = raw.find(b'"', start)
    if end < 0 or not raw.startswith(BUNDLE_START) or len(raw) > MAX_BUNDLE_BYTES:
        return None
    payload = raw[start:end]
    if payload.rstrip(b"=").translate(None, _BASE64):  # `b64decode_strict` sees to the padding
        return None
    bundle = _parsed_at_once(raw[:start] + raw[end:], SigstoreBundle)
    if bundle is None:
        return None
    envelope = bundle.dsse_envelope.model_copy(update={"payload": payload.decode("ascii")})
    return bundle.model_copy(update={"dsse_envelope": envelope})


def _check_shape(raw: bytes, where: str) -> None:
    """Refuse what has more than `MAX_BESIDE_PAYLOAD` bytes beside its payload; parses nothing."""
    end = raw.find(b'"', len(BUNDLE_START))
    if raw.startswith(BUNDLE_START) and end >= 0:
        if len(raw) - end <= MAX_BESIDE_PAYLOAD:
            return
        raise _no_bundle(
            where, f"at most {MAX_BESIDE_PAYLOAD} bytes after its payload", f"{len(raw) - end}"
        )
    if raw.startswith(BUNDLE_START) or (raw and BUNDLE_START.startswith(raw)):
        raise ParseError(
            "the file ends in the middle",
            where=where,
            expected="a complete bundle or registration",
            found=f"its first {len(raw)} bytes",
            hint="Copy or download it again.",
        )
    opening = _LAID_OUT.match(raw)
    if opening and len(raw) <= MAX_BESIDE_PAYLOAD:
        return  # Small enough to be parsed, which names what is wrong.
    if opening and opening[0] != b"{":
        raise ParseError(
            "not canonical JSON",
            where=where,
            expected="RFC 8785 bytes",
            found="white space or a byte order mark around the first brace",
            hint="Use the file as it was written; an editor or formatter has changed this one.",
        )
    start = raw[: len(BUNDLE_START)]
    raise _no_bundle(where, f"a file that begins {BUNDLE_START.decode()}", f"{start!r}"[1:])


def _no_bundle(where: str, expected: str, found: str) -> ParseError:
    return ParseError(
        "not a bundle or registration of this program",
        where=where,
        expected=expected,
        found=found,
    )


def parse_predicate(predicate: dict[str, Any], model: type[ModelT], *, where: str) -> ModelT:
    """Parse the predicate of a statement whose bytes were canonical.

    Raises:
        StatementError: the predicate is not of the model's form.

    """
    where = f"{where}: predicate"
    parsed = _validated(json.dumps(predicate).encode(), model, where=where, error=StatementError)
    return _written_one_way(parsed, predicate, where, StatementError)


def _validated(
    raw: bytes, model: type[ModelT], *, where: str, error: type[DeniabilityError]
) -> ModelT:
    try:
        return model.model_validate_json(raw)
    except ValidationError as invalid:
        raise _explained(invalid, where, error) from invalid


def _written_one_way(
    parsed: ModelT, value: object, where: str, error: type[DeniabilityError]
) -> ModelT:
    """Refuse an explicit null or a left-out default, which would be a second encoding."""
    again = parsed.to_wire()
    if again != value:
        field = _first_difference(again, value, "")
        raise error(
            f"field {field or '(whole)'}: not written the one way it should be", where=where
        )
    return parsed


def _first_difference(ours: object, theirs: object, path: str) -> str | None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if odd := sorted(ours.keys() ^ theirs.keys()):
            return f"{path}.{odd[0]}".lstrip(".")
        pairs = [(name, ours[name], theirs[name]) for name in ours]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if ours == theirs else path
    found = (_first_difference(a, b, f"{path}.{name}".lstrip(".")) for name, a, b in pairs)
    return next((field for field in found if field is not None), None)


def _explained(
    invalid: ValidationError, where: str, error: type[DeniabilityError]
) -> DeniabilityError:
    first = invalid.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(step) for step in first["loc"]) or "(whole)"
    found = repr(first.get("input"))
    return error(
        f"field {path}: {first['msg']}",
        where=where,
        found=found if len(found) <= 80 else found[:77] + "...",
        hint="The file was made by another version, or changed after it was signed.",
    )
