"""What follows from something else, and how it is refused where it does not."""

from __future__ import annotations

from deniability.errors import CommitmentError
from deniability.wire.numbers import order_of
from deniability.wire.protocol import Protocol


def equal(field: str, expected: object, found: object, where: str) -> None:
    """Refuse what is not as it follows from the rest.

    Raises:
        CommitmentError: it is not.

    """
    if expected != found:
        raise CommitmentError(
            f"field {field} does not follow from what it commits to",
            where=where,
            expected=short(expected),
            found=short(found),
        )


def short(value: object) -> str:
    """Return a value as words that fit in a message."""
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def check_residual(text: str | None, protocol: Protocol, field: str, where: str) -> None:
    """Residuals below the resolution are written as 0."""
    if text not in {None, "0"} and order_of(text) < order_of(protocol.resolution):
        equal(field, f"0, or at least {protocol.resolution}", text, where)
