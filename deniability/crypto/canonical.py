"""Canonical JSON (RFC 8785) without floats: one value, one sequence of bytes.

Reading accepts nothing but what writing would have produced. That one rule refuses duplicate
keys, NaN, -0, `1.0`, byte order marks, needless escapes, white space and trailing garbage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import rfc8785

from deniability.errors import DeniabilityError, ParseError

#: Largest integer that every JSON reader keeps exactly (RFC 8785, section 3.2.2.3).
MAX_SAFE_INTEGER = 2**53 - 1
_MAX_INTEGER_CHARACTERS = len(str(-MAX_SAFE_INTEGER))

# A string, closed or not, or one bracket. Possessive and never failing on a quote: linear time.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


# What the standard library writes in C for ASCII text without floats is what RFC 8785 asks for:
# the same escapes, and keys in order of code points, which is that of UTF-16 there.
_ASCII = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_SCALARS = {str, int, bool, type(None)}
_BRACES = bytes.maketrans(b"[]", b"{}")
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))


class _NotCanonicalError(Exception):
    """Carries a reason out of the hooks of `json.loads`."""


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 bytes of `value`: dicts, lists, tuples, str, int, bool and None.

    Raises ParseError for floats, integers outside ±(2^53 - 1), keys that are not text, lone
    surrogates, other types, and nesting (or a cycle) too deep to walk.
    """
    try:
        if _is_plain(value) and (text := _ASCII.encode(value)).isascii():
            return text.encode()
        _refuse_floats(value)
        return rfc8785.dumps(value)
    except RecursionError:
        reason = "nested too deeply"
    except UnicodeEncodeError:
        reason = "a key has a lone surrogate"
    except (rfc8785.CanonicalizationError, _NotCanonicalError) as cause:
        reason = str(cause)
    raise ParseError("value has no canonical JSON form", found=reason)


def parse_canonical(
    raw: bytes,
    *,
    where: str,
    max_bytes: int,
    max_depth: int = 32,
    error: type[DeniabilityError] = ParseError,
) -> Any:
    """Return the value of `raw`, refusing unless `canonical_json(value) == raw`.

    Size and nesting are checked before anything is parsed.

    Args:
        raw: the bytes as received.
        where: file or field, for the message.
        max_bytes: largest size accepted.
        max_depth: most levels of arrays and objects accepted.
        error: class of error to raise for every refusal.

    """
    if len(raw) > max_bytes:
        raise error(
            "too large",
            where=where,
            expected=f"at most {max_bytes} bytes",
            found=f"{len(raw)} bytes",
        )
    if deeper_than(raw, max_depth):
        raise error("nested too deeply", where=where, expected=f"at most {max_depth} levels")
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_float=_refuse_number,
            parse_int=_safe_integer,
            parse_constant=_refuse_number,
        )
        # Neither floats nor unsafe integers are in it: the hooks refuse them.
        plain = text.isascii() and _ASCII.encode(value) == text
        again = raw if plain else canonical_json(value)
    except UnicodeDecodeError as cause:
        reason = f"invalid UTF-8 at byte {cause.start}"
    except json.JSONDecodeError as cause:
        reason = f"{cause.msg} at character {cause.pos}"
    except _NotCanonicalError as cause:
        reason = str(cause)
    except ParseError as cause:
        reason = cause.found or cause.what
    except RecursionError:
        reason = "nested too deeply"
    else:
        if again == raw:
            return value
        reason = f"another spelling of the same value, from byte {_first_difference(raw, again)}"
    raise error("not canonical JSON", where=where, expected="RFC 8785 bytes", found=reason)


def deeper_than(raw: bytes, limit: int) -> bool:
    """Tell whether brackets outside strings open more than `limit` levels; linear, no stack."""
    outside = b'"' if b"\\" in raw else raw.translate(None, _NO_MARKS).replace(b'""', b"")
    if b'"' in outside:  # escapes, or brackets in strings: else all strings are pairs of quotes
        outside = b"".join(token for token in _TOKEN.findall(raw) if token[:1] != b'"')
    inner = outside.translate(_BRACES)
    for _ in range(limit):  # each takes away the innermost pairs, at most one level
        inner = inner.replace(b"{}", b"")
    if not inner:
        return False
    depth = 0
    for bracket in outside:
        if bracket in b"[{":
            depth += 1
            if depth > limit:
                return True
        else:
            depth -= 1
    return False


def _is_plain(value: Any) -> bool:
    """Tell whether this is JSON without floats and large integers, of no other types."""
    if type(value) is dict:
        if not set(map(type, value)) <= {str}:
            return False
        members = list(value.values())
    elif type(value) in {list, tuple}:
        members = value
    else:
        members = [value]
    kinds = set(map(type, members))
    if kinds <= _SCALARS:
        return int not in kinds or all(
            abs(member) <= MAX_SAFE_INTEGER for member in members if type(member) is int
        )
    return members[0] is not value and all(map(_is_plain, members))


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise _NotCanonicalError(f"the float {value!r}, which must be a decimal string")
    if isinstance(value, Mapping):
        for member in value.values():
            _refuse_floats(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _refuse_floats(member)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _NotCanonicalError(f"the key {name[:100]!r} twice")
            seen.add(name)
    return value


def _refuse_number(text: str) -> NoReturn:
    raise _NotCanonicalError(f"the number {text[:40]}, which is not an integer")


def _safe_integer(text: str) -> int:
    # Length first: converting a million digits takes quadratic time.
    if len(text) <= _MAX_INTEGER_CHARACTERS:
        number = int(text)
        if abs(number) <= MAX_SAFE_INTEGER:
            return number
    raise _NotCanonicalError(f"the integer {text[:40]}, which is outside ±(2^53 - 1)")


def _first_difference(one: bytes, other: bytes) -> int:
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))
