"""From a signed payload to its exclusion, at once where nothing is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deniability.crypto.canonical import MAX_SAFE_INTEGER, canonical_json
from deniability.errors import ParseError
from deniability.verify.envelope import check_statement
from deniability.verify.parse import parse_predicate, within_caps
from deniability.wire.exclusion import EXCLUSION_TYPE, Exclusion
from deniability.wire.statement import Statement, StatementHead, Subject

# The one integer that counts on the wire may be and canonical JSON may not.
_UNSAFE = b"%d" % (MAX_SAFE_INTEGER + 1)
_EMPTY_TRACE = b'"restarts":[]'


class _ExclusionStatement(StatementHead):
    """A statement together with its predicate."""

    predicate: Exclusion


@dataclass(frozen=True)
class ReadExclusion:
    """An exclusion of a payload that is canonical JSON: its predicate, or a part of that.

    Attributes:
        subject: of the statement.
        exclusion: parsed.
        trace: canonical JSON of the restarts, as signed.

    """

    subject: tuple[Subject, ...]
    exclusion: Exclusion
    trace: bytes


def read_exclusion(payload: bytes, *, where: str) -> ReadExclusion:
    """Read a bundle's payload.

    Raises:
        StatementError: it is not the canonical JSON of a statement with such a predicate.

    """
    return _read_at_once(payload) or _read_in_steps(payload, where)


def read_either(payload: bytes, other: str, *, where: str) -> ReadExclusion | Statement:
    """Read a payload that is a bundle's, or a statement of one other type, left as JSON.

    Raises:
        StatementError: it is neither.

    """
    if (read := _read_at_once(payload)) is not None:
        return read
    types = (EXCLUSION_TYPE, other)
    statement = check_statement(payload, predicate_type=types, where=where)
    return statement if statement.predicate_type == other else _of_statement(statement, where)


def _read_in_steps(payload: bytes, where: str) -> ReadExclusion:
    """Name what is wrong, which the short way does not."""
    statement = check_statement(payload, predicate_type=EXCLUSION_TYPE, where=where)
    return _of_statement(statement, where)


def _of_statement(statement: Statement, where: str) -> ReadExclusion:
    exclusion = parse_predicate(statement.predicate, Exclusion, where=where)
    return read_part(statement.subject, exclusion, statement.predicate)


def read_part(
    subject: tuple[Subject, ...], exclusion: Exclusion, stated: dict[str, Any]
) -> ReadExclusion:
    """Return an exclusion that was parsed from JSON of a canonical payload with this subject."""
    return ReadExclusion(subject, exclusion, canonical_json(stated["restarts"]))


def _read_at_once(payload: bytes) -> ReadExclusion | None:
    """Read a payload without making JSON of it twice; None where that is not the end of it.

    The bytes are compared with those that the parsed statement is written as. So everything that
    has a second spelling is refused, as where JSON and model are checked one after the other.
    """
    if not within_caps(payload) or _UNSAFE in payload:
        return None
    try:
        statement = _ExclusionStatement.model_validate_json(payload)
        if statement.predicate_type != EXCLUSION_TYPE:
            return None
        exclusion = statement.predicate
        before, mark, after = canonical_json(_without_trace(statement)).partition(_EMPTY_TRACE)
    except (ValidationError, ParseError):
        return None
    trace = _trace(exclusion)
    if not mark or payload != b'%s"restarts":%s%s' % (before, trace, after):
        return None
    return ReadExclusion(statement.subject, exclusion, trace)


def _without_trace(statement: _ExclusionStatement) -> dict[str, Any]:
    """Return a statement's JSON with a trace of no restarts.

    `restarts` of controls and protocols are numbers, and quotes in text are escaped: so the bytes
    of an empty trace stand in its canonical form once.
    """
    wire = statement.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"predicate": {"restarts"}}
    )
    wire["predicate"]["restarts"] = []
    return wire


def _trace(exclusion: Exclusion) -> bytes:
    """Return the restarts' canonical JSON: their fields are declared in order, and are ASCII."""
    written = exclusion.model_dump_json(by_alias=True, exclude_none=True, include={"restarts"})
    return written.encode().removeprefix(b'{"restarts":').removesuffix(b"}")
