"""Where chunks of work are done: here, one after the other, or on other processes and machines.

A task is cut into chunks that are the same everywhere; each is done step by step, and can be handed
over between two steps as a `partial`, from which any worker goes on to the same bits. So neither
the number of workers, nor one that dies, nor an interruption changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from deniability.generators.base import Generator

#: Seconds between two partials of a chunk. A run that is killed loses no more than this, the time
#: that its owner lets pass between two writes, and a step.
SLICE_SECONDS = 10.0

Work = TypeVar("Work")
PartialT = TypeVar("PartialT")
Found = TypeVar("Found")
Work_contra = TypeVar("Work_contra", contravariant=True)
Partial_co = TypeVar("Partial_co", covariant=True)
Partial_contra = TypeVar("Partial_contra", contravariant=True)
Found_co = TypeVar("Found_co", covariant=True)
Found_contra = TypeVar("Found_contra", contravariant=True)


@dataclass(frozen=True)
class Chunk(Generic[Work, PartialT]):
    """A part of a task.

    Attributes:
        number: identifies it within the task.
        work: what is to be done; picklable.
        partial: how far it was done earlier; None: not begun.

    """

    number: int
    work: Work
    partial: PartialT | None = None


class Progressing(Protocol[Partial_co, Found_co]):
    """A chunk that is being worked on."""

    def step(self) -> bool:
        """Do a little; False when there was nothing left to do."""
        ...

    def found(self) -> Sequence[Found_co]:
        """Hand over the results since the last call."""
        ...

    def partial(self) -> Partial_co:
        """Return how far it is, as of the last complete step."""
        ...


class Task(Protocol[Work_contra, PartialT, Found_co]):
    """What is done with each chunk; picklable, without the generator."""

    def begin(
        self, generator: Generator, work: Work_contra, partial: PartialT | None
    ) -> Progressing[PartialT, Found_co]:
        """Prepare a chunk, going on from `partial` where there is one."""
        ...


class Receiver(Protocol[Partial_contra, Found_contra]):
    """Who gets the results, in the process that asked for them."""

    def wanted(self, number: int) -> bool:
        """Tell whether the results of a chunk can still matter."""
        ...

    def found(self, number: int, results: Sequence[Found_contra]) -> None:
        """Take results of a chunk."""
        ...

    def partial(self, number: int, partial: Partial_contra | None) -> None:
        """Take how far a chunk is; None: it is finished."""
        ...

    def tick(self) -> None:
        """Hear that time has passed."""
        ...


class Executor(Protocol):
    """Does the chunks of a task."""

    def run(
        self,
        generator: Generator,
        task: Task[Work, PartialT, Found],
        chunks: Iterable[Chunk[Work, PartialT]],
        receiver: Receiver[PartialT, Found],
    ) -> None:
        """Do every chunk that is wanted when its turn comes.

        Args:
            generator: what the task is about.
            task: what to do.
            chunks: taken one by one, no sooner than needed.
            receiver: gets everything.

        Raises:
            DeniabilityError: whatever a chunk raised, or a worker that could not go on.

        """
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Works in this process, one chunk after the other.

    Attributes:
        seconds: between two partials.

    """

    seconds: float = SLICE_SECONDS

    def run(
        self,
        generator: Generator,
        task: Task[Work, PartialT, Found],
        chunks: Iterable[Chunk[Work, PartialT]],
        receiver: Receiver[PartialT, Found],
    ) -> None:
        """Do every chunk; an interruption leaves a partial behind."""
        for chunk in chunks:
            if receiver.wanted(chunk.number):
                self._do(generator, task, chunk, receiver)

    def _do(
        self,
        generator: Generator,
        task: Task[Work, PartialT, Found],
        chunk: Chunk[Work, PartialT],
        receiver: Receiver[PartialT, Found],
    ) -> None:
        progressing = task.begin(generator, chunk.work, chunk.partial)
        written = time.monotonic()
        try:
            while progressing.step():
                _pass_on(progressing, chunk.number, receiver)
                if time.monotonic() - written >= self.seconds:
                    receiver.partial(chunk.number, progressing.partial())
                    written = time.monotonic()
                receiver.tick()
        except BaseException:
            _pass_on(progressing, chunk.number, receiver)
            receiver.partial(chunk.number, progressing.partial())
            raise
        _pass_on(progressing, chunk.number, receiver)
        receiver.partial(chunk.number, None)


def _pass_on(
    progressing: Progressing[Any, Found], number: int, receiver: Receiver[Any, Found]
) -> None:
    results = progressing.found()
    if results:
        receiver.found(number, results)
