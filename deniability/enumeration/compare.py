"""Seeds as a task for an executor: each is made into a picture, and compared with a file's cell.

Chunks follow from the range alone, so the result is the same whoever does them, in whatever order.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.base import Generator
from deniability.generators.entropy import entropy_source
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.inversion.memory import lanes_that_fit, out_of_memory
from deniability.wire.generator import EntropySpec

#: Seeds of a chunk.
CHUNK = 1 << 13
#: torch uses no more of a seed.
_TORCH_BITS = 32


def seed_space(entropy: EntropySpec) -> int:
    """Return how many seeds give different latents, from 0 on: there is nothing beyond them."""
    bits = entropy.seed_bits
    return 1 << (min(bits, _TORCH_BITS) if entropy.source == "torch-cpu" else bits)


@dataclass(frozen=True, order=True)
class Near:
    """A seed whose output is near the file; ordered by that.

    Attributes:
        residual: mean squared distance to the cell, pixels on [-1, 1].
        seed: of the entropy source.
        label: the combined class label with which it is nearest; 0 for a model without labels.

    """

    residual: float
    seed: int
    label: int = 0


@dataclass(frozen=True)
class Compared:
    """What a number of seeds have come to.

    Attributes:
        seeds: how many were compared, each with every label.
        reached: seeds with an output at or below the threshold.
        not_finite: outputs without a finite residual.
        nearest: a few of the nearest seeds, in order.

    """

    seeds: int = 0
    reached: int = 0
    not_finite: int = 0
    nearest: tuple[Near, ...] = ()

    def joined(self, other: Compared, most: int) -> Compared:
        """Return both together, with `most` of the nearest; the order does not matter."""
        return Compared(
            self.seeds + other.seeds,
            self.reached + other.reached,
            self.not_finite + other.not_finite,
            tuple(heapq.nsmallest(most, {*self.nearest, *other.nearest})),
        )


@dataclass(frozen=True)
class ComparisonTask:
    """What the seeds' outputs are compared with, as it travels.

    Attributes:
        handling: of the file.
        file: what it says, one observation, on the CPU.
        reaches: residual at or below which an output counts as the picture.
        most: how many of the nearest seeds are kept.

    """

    handling: Handling
    file: Observations
    reaches: float
    most: int

    def begin(self, generator: Generator, work: range, partial: Compared | None) -> Comparison:
        """Prepare a chunk of seeds."""
        device = generator.device
        there = replace(self, handling=self.handling.to(device), file=self.file.to(device))
        return Comparison(there, generator, work, partial or Compared())

    def residuals(self, generator: Generator, latents: Tensor) -> Tensor:
        """Return the mean squared distances to the cell, `R` float64, of latents `R x d`."""
        file, device = self.file.to(generator.device), generator.device
        with torch.no_grad():
            values = self.handling.to(device).operator(generator(latents.to(device)))
            beyond = cell_residual(values, file.low, file.high, self.handling.slack)
            return mean_squared(beyond).cpu()


class Comparison:
    """A chunk that is being compared; its one result comes when it is done."""

    def __init__(
        self, task: ComparisonTask, generator: Generator, seeds: range, done: Compared
    ) -> None:
        self._task, self._generator, self._seeds, self._done = task, generator, seeds, done
        self._source = entropy_source(generator.spec)
        self._rows = lanes_that_fit(generator)
        self._told = False

    def step(self) -> bool:
        """Compare a batch; False when all have been."""
        left = self._seeds[self._done.seeds :]
        if not left:
            return False
        labels = self._generator.spec.label_count
        batch = left[: max(1, self._rows // labels)]
        self._done = self._done.joined(self._compared(batch), self._task.most)
        return True

    def found(self) -> list[Compared]:
        """Hand over what the whole chunk has come to, once."""
        if self._told or self._done.seeds < len(self._seeds):
            return []
        self._told = True
        return [self._done]

    def partial(self) -> Compared:
        """Return what those so far have come to."""
        return self._done

    def _compared(self, seeds: range) -> Compared:
        drawn = torch.from_numpy(self._source.latents(seeds))
        latents, labels = self._with_labels(drawn)
        residuals = self._residuals(latents.to(self._generator.device))
        finite = torch.isfinite(residuals)
        by_label = residuals.where(finite, torch.inf).view(len(seeds), labels)
        best = by_label.argmin(dim=1)  # of equal ones the first
        smallest = by_label.gather(1, best[:, None])[:, 0]
        rows = smallest.argsort(stable=True)[: self._task.most].tolist()
        each = (Near(float(smallest[row]), seeds[row], int(best[row])) for row in rows)
        return Compared(
            len(seeds),
            int((smallest <= self._task.reaches).sum()),
            int((~finite).sum()),
            tuple(near for near in each if math.isfinite(near.residual)),
        )

    def _with_labels(self, drawn: Tensor) -> tuple[Tensor, int]:
        """Repeat each latent with every combined label, which a user may have chosen."""
        spec = self._generator.spec
        if not spec.labels:
            return drawn, 1
        count = spec.label_count
        latents = drawn.repeat_interleave(count, dim=0)
        values = torch.tensor([spec.label_values(label) for label in range(count)])
        for place, (column, _) in enumerate(spec.labels):
            latents[:, column] = values[:, place].repeat(len(drawn)).to(latents.dtype)
        return latents, count

    def _residuals(self, latents: Tensor) -> Tensor:
        """Return the residuals `R` float64, in batches that the memory bears."""
        found: list[Tensor] = []
        while (start := sum(map(len, found))) < len(latents):
            try:
                part = latents[start : start + self._rows]
                found.append(self._task.residuals(self._generator, part))
            except (RuntimeError, MemoryError, GeneratorError) as error:
                if self._rows == 1 or not out_of_memory(error):
                    raise
                self._rows = max(1, self._rows // 2)
        return torch.cat(found)
