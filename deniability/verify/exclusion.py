"""From a signed payload to its exclusion, at once where nothing is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from deniability.crypto.canonical import MAX_SAFE_INTEGER, canonical_json
from deniability.errors import ParseError
from deniability.verify.envelope import check_statement
from deniability.verify.parse import MAX_VALUES, parse_predicate, values_of, within_caps
from deniability.wire.exclusion import EXCLUSION_TYPE, Exclusion
from deniability.wire.restarts import Restarts
from deniability.wire.statement import Statement, StatementHead, Subject

# The one integer that counts on the wire may be and canonical JSON may not.
_UNSAFE = b"%d" % (MAX_SAFE_INTEGER + 1)
_TRACE = b'"restarts":['


class _ExclusionStatement(StatementHead):
    """A statement together with its predicate."""

    predicate: Exclusion


@dataclass(frozen=True)
class ReadExclusion:
    """An exclusion of a payload that is canonical JSON: its predicate, or a part of that.

    Attributes:
        subject: of the statement.
        exclusion: parsed.

    """

    subject: tuple[Subject, ...]
    exclusion: Exclusion


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
    return ReadExclusion(statement.subject, exclusion)


def _read_at_once(payload: bytes) -> ReadExclusion | None:
    """Read a payload without making JSON of it twice; None where that is not the end of it.

    The restarts are cut out and read by themselves. The bytes of what is left are compared with
    those that the parsed statement is written as. So everything that has a second spelling is
    refused, as where JSON and model are checked one after the other.
    """
    # `restarts` of controls and protocols are numbers, and quotes in text are escaped. In the
    # order of canonical JSON the list of the predicate itself is the last that is called so.
    start = payload.rfind(_TRACE) + len(_TRACE)
    end = payload.find(b"]", start)
    rest = payload[:start] + payload[end:]
    if start < len(_TRACE) or end < 0 or not within_caps(rest) or _UNSAFE in rest:
        return None
    if values_of(payload[start:end]) > MAX_VALUES - values_of(rest):
        return None
    restarts = Restarts.read(payload[start - 1 : end + 1])
    try:
        statement = _ExclusionStatement.model_validate_json(rest)
        again = canonical_json(statement.to_wire())
    except (ValidationError, ParseError):
        return None
    exclusion = statement.predicate
    if (
        restarts is None
        or len(exclusion.restarts)
        or statement.predicate_type != EXCLUSION_TYPE
        or again != rest
    ):
        return None
    exclusion = exclusion.model_copy(update={"restarts": restarts})
    return ReadExclusion(statement.subject, exclusion)
