"""What an isolated child says, line by line, each line canonical JSON: strict wire models.

Nothing here is signed or stored. The child is not believed: every message is parsed like a
stranger's file, and texts are one line of printable characters.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from deniability import errors
from deniability.crypto.canonical import canonical_json, parse_canonical
from deniability.errors import DeniabilityError, ParseError
from deniability.sandbox.interface import IsolationError
from deniability.wire.base import Text, WireModel

#: Longest line, bytes; and how much a child may say in all.
MAX_LINE = 1 << 16
MAX_TOTAL = 1 << 25
_Whole = Annotated[int, Field(ge=0, le=2**53 - 1)]
#: Errors' fields may be of several lines, and hints hold an example: terminals escape them.
_Words = Annotated[str, Field(max_length=8000)]
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, DeniabilityError)
} | {IsolationError.__name__: IsolationError}


class Phase(WireModel):
    """A phase of `total` units begins."""

    kind: Literal["phase"] = "phase"
    name: Text
    total: _Whole


class Advance(WireModel):
    """So many units are done, with the smallest residual so far."""

    kind: Literal["advance"] = "advance"
    done: _Whole
    best: Annotated[str, Field(pattern=r"^[0-9]\.[0-9]{3}e[+-][0-9]{2,3}$")] | None = None


class Note(WireModel):
    """A sentence for the user."""

    kind: Literal["note"] = "note"
    text: Text


class Failure(WireModel):
    """The last message of a child that failed on purpose."""

    kind: Literal["failure"] = "failure"
    error: Annotated[str, Field(max_length=60)]
    what: _Words
    where: _Words | None = None
    expected: _Words | None = None
    found: _Words | None = None
    hint: _Words | None = None

    @classmethod
    def of(cls, error: DeniabilityError) -> Failure:
        """Describe an error."""
        given = {
            name: None if text is None else _safe(text)
            for name in ("what", "where", "expected", "found", "hint")
            if (text := getattr(error, name)) is not None
        }
        name = type(error).__name__
        return cls.model_validate({"error": name if name in _KINDS else "InputError", **given})

    def exception(self) -> DeniabilityError:
        """Return the error, of the kind that was raised."""
        return _KINDS.get(self.error, IsolationError)(
            self.what,
            where=self.where,
            expected=self.expected,
            found=self.found,
            hint=self.hint,
        )


class Answer(WireModel):
    """The last message of a child that succeeded: sentences and numbers of each replay."""

    kind: Literal["answer"] = "answer"
    lines: Annotated[tuple[tuple[Text, ...], ...], Field(max_length=2)]
    values: Annotated[tuple[dict[str, Any], ...], Field(max_length=2)]


Message = Annotated[Phase | Advance | Note | Failure | Answer, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def encode(message: WireModel) -> bytes:
    """Return a message as a line."""
    return canonical_json(message.to_wire()) + b"\n"


def decode(line: bytes) -> Phase | Advance | Note | Failure | Answer:
    """Parse a line of a child. Raises IsolationError unless it is one of the messages."""
    try:
        value = parse_canonical(line, where="the model's process", max_bytes=MAX_LINE)
        return _ADAPTER.validate_json(canonical_json(value), strict=True)
    except (ParseError, ValidationError) as error:
        raise IsolationError(
            "the model's process said something that is not an answer",
            where="--model",
            found=_shown(line),
        ) from error


def _safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:8000]


def _shown(line: bytes) -> str:
    return re.sub(r"[^ -~]", "?", line[:60].decode("ascii", "replace"))
