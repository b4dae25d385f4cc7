"""How long jobs report what they do; the command line draws it, nobody else prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress events."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of `total` units."""
        ...

    def advance(self, done: int, *, best: float | None = None) -> None:
        """Say that `done` units are finished, with the smallest residual so far."""
        ...

    def note(self, text: str) -> None:
        """Pass on a sentence that the user should see."""
        ...


class Silent:
    """Ignores everything."""

    def phase(self, name: str, total: int) -> None:
        """Ignore."""

    def advance(self, done: int, *, best: float | None = None) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
