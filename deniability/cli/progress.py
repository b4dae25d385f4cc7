"""Progress on stderr: a bar where there is a terminal, one plain line per phase where not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deniability.cli.terminal import Output, escape, say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task, TaskID

    from deniability.evidence.progress import Progress

#: Of what is done a few times a second a rate says little.
_COUNTABLE = 10


class Lines:
    """One line for each phase and note."""

    def phase(self, name: str, total: int) -> None:
        """Say what begins."""
        say(f"{name} ({total})")

    def advance(self, done: int, *, best: float | None = None) -> None:
        """Ignore: lines would flood a log."""

    def note(self, text: str) -> None:
        """Pass a sentence on."""
        say(text)


class Bar:
    """A bar with what is done, the best residual and the time left."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def phase(self, name: str, total: int) -> None:
        """Begin a bar in place of the one before."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(escape(name), total=total, best="")

    def advance(self, done: int, *, best: float | None = None) -> None:
        """Move the bar."""
        if self._task is not None:
            shown = "" if best is None else f"best residual {best:.1e}"
            self._bar.update(self._task, completed=done, best=shown)

    def note(self, text: str) -> None:
        """Write a sentence above the bar."""
        self._bar.console.print(escape(text), markup=False, highlight=False)


@contextlib.contextmanager
def reporting(out: Output) -> Iterator[Progress]:
    """Yield what a long job reports to, fit for where stderr goes."""
    if out.quiet:
        from deniability.evidence.progress import Silent  # noqa: PLC0415

        yield Silent()
    elif sys.stderr is None or not sys.stderr.isatty():
        yield Lines()
    else:
        with _bar() as bar:
            yield Bar(bar)


def _bar() -> RichProgress:
    from rich.console import Console  # noqa: PLC0415 - slow, and only for terminals
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.speed or 0.0
            return Text(f"{rate:,.0f}/s" if rate >= _COUNTABLE else "")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("{task.fields[best]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
