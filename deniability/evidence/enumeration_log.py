"""Which chunks of a range of seeds are done, and what they came to, as far as it has got."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from deniability.enumeration.compare import Compared, Near
from deniability.evidence.progress import Progress
from deniability.evidence.state import RunState
from deniability.inversion.executor import SLICE_SECONDS, Chunk

_STATE = "seeds"


def size(seeds: range) -> int:
    """Return how many consecutive seeds there are; `len` takes no more than 2^63 - 1."""
    return seeds.stop - seeds.start


class SeedLog:
    """Which chunks are done and what they came to; in constant memory, and on disk now and then."""

    def __init__(self, seeds: range, chunk: int, nearest: int, report: Progress) -> None:
        self._seeds, self._chunk, self._nearest, self._report = seeds, chunk, nearest, report
        self._count = -(-size(seeds) // self._chunk)
        self._first = 0  # all chunks before it are done
        self._beyond: set[int] = set()  # and these
        self._partial: dict[int, Compared] = {}
        self._written = time.monotonic()
        self.compared = Compared()
        self.kept: RunState | None = None

    def begin(self) -> None:
        """Say how much there is to do."""
        self._report.phase("generating and comparing seeds", size(self._seeds))
        self.tick()

    def chunks(self) -> Iterator[Chunk[range, Compared]]:
        """Make what is left, each when it is asked for."""
        for number in range(self._first, self._count):
            if self.wanted(number):
                work = self._seeds[number * self._chunk : (number + 1) * self._chunk]
                yield Chunk(number, work, self._partial.get(number))

    def wanted(self, number: int) -> bool:
        """Tell whether a chunk is not done yet."""
        return number >= self._first and number not in self._beyond

    def found(self, number: int, results: Sequence[Compared]) -> None:
        """Take what a chunk has come to."""
        for result in results:
            if self.wanted(number):
                self.compared = self.compared.joined(result, self._nearest)
                self._beyond.add(number)
                self._partial.pop(number, None)
        while self._first in self._beyond:
            self._beyond.remove(self._first)
            self._first += 1

    def partial(self, number: int, partial: Compared | None) -> None:
        """Keep how far a chunk is."""
        if partial is not None and self.wanted(number):
            self._partial[number] = partial
        if time.monotonic() - self._written >= SLICE_SECONDS:
            self.write()

    def tick(self) -> None:
        """Show how far it is."""
        done = self.compared.seeds + sum(part.seeds for part in self._partial.values())
        found = [near for part in (self.compared, *self._partial.values()) for near in part.nearest]
        self._report.advance(done, best=min(found).residual if found else None)

    def write(self) -> None:
        """Keep everything on disk, if there is somewhere to keep it."""
        self._written = time.monotonic()
        if self.kept is not None and (self.compared.seeds or self._partial):
            about = {
                "first": self._first,
                "beyond": sorted(self._beyond),
                "compared": asdict(self.compared),
                "partial": {str(number): asdict(part) for number, part in self._partial.items()},
            }
            self.kept.save(_STATE, {}, about)

    def read(self) -> None:
        """Go on from what is on disk.

        Raises:
            InputError: it is damaged.

        """
        assert self.kept is not None  # noqa: S101 - only called where there is a folder
        if (stored := self.kept.tensors(_STATE)) is None:
            return
        try:
            about = stored[1]
            self._first, self._beyond = int(about["first"]), set(map(int, about["beyond"]))
            self.compared = _compared(about["compared"])
            self._partial = {int(n): _compared(part) for n, part in about["partial"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.kept.damaged(_STATE) from error


def _compared(stored: Any) -> Compared:
    nearest = tuple(Near(**near) for near in stored["nearest"])
    return replace(Compared(**{**stored, "nearest": ()}), nearest=nearest)
