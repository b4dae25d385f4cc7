"""Every error a user can meet: what is wrong, where, what was expected and found, what to do.

Only `cli` turns these into exit codes (DESIGN section 6); nothing below it prints or exits.
"""

from __future__ import annotations

from typing import Any, ClassVar


class DeniabilityError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: the problem, as a clause without a full stop.
        where: file, field or option it concerns.
        expected: what would have been right.
        found: what was there instead.
        hint: what to do next, as a sentence.

    """

    #: Exit code of `deny` for this error (2 usage, 3 verification failed, 4 could not be checked).
    exit_code: ClassVar[int] = 2
    #: Stage that refused, as named in SPEC.md; vectors assert on it.
    stage: ClassVar[str] = "input"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        details = (self.where, self.expected, self.found, self.hint)
        return (_again, (type(self), self.what, *details))

    def _message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        details = []
        if self.expected is not None:
            details.append(f"expected {self.expected}")
        if self.found is not None:
            details.append(f"found {self.found}")
        if details:
            text += " (" + ", ".join(details) + ")"
        text += "."
        if self.hint:
            text += f" {self.hint}"
        return text


def _again(kind: type[DeniabilityError], what: str, *details: str | None) -> DeniabilityError:
    """Make an error again that comes from another process."""
    where, expected, found, hint = details
    return kind(what, where=where, expected=expected, found=found, hint=hint)


class InputError(DeniabilityError):
    """A file, folder or option given by the user cannot be used."""


class ImageError(InputError):
    """A picture that cannot be decoded, or not without guessing."""

    stage = "image"


class GeneratorError(InputError):
    """A model that cannot be loaded, described or run."""

    stage = "generator"


class KeyFileError(InputError):
    """A key file that is missing, unreadable, of the wrong kind or too widely readable."""

    stage = "key"


class OutputError(InputError):
    """A result that could not be written."""

    stage = "output"


class ParseError(DeniabilityError):
    """Bytes that are not in the format they claim: nothing in them was looked at further."""

    exit_code = 4
    stage = "parse"


class UncheckedError(DeniabilityError):
    """Something that could not be checked: unknown signer, missing model, unsupported level."""

    exit_code = 4
    stage = "trust"


class VerificationError(DeniabilityError):
    """A check that failed. Subclasses name the stage."""

    exit_code = 3
    stage = "verification"


class SignatureError(VerificationError):
    """The envelope is not signed by the key that should have signed it."""

    stage = "signature"


class StatementError(VerificationError):
    """The signed payload is not a canonical statement of a known type."""

    stage = "statement"


class TimestampError(VerificationError):
    """A timestamp that is not over these bytes, not well made, or not by who it names."""

    stage = "timestamp"


class CommitmentError(VerificationError):
    """A digest, seed, index or root that does not follow from what it commits to."""

    stage = "commitment"


class StatisticsError(VerificationError):
    """A count, bound, threshold or finding that does not follow from the residuals."""

    stage = "statistics"


class ReplayError(VerificationError):
    """Re-rendering or re-running gave something else than the bundle says."""

    stage = "replay"


class AttestationError(VerificationError):
    """An examiner's summary that is not about this bundle, or not an independent one's."""

    stage = "attestation"


class WithdrawnError(VerificationError):
    """A finding that its signer took back, or one whose key was revoked."""

    stage = "withdrawal"
