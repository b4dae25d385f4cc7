"""What a search returns: every restart, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from deniability.wire.roles import StartKind


class Stop(StrEnum):
    """Why a restart ended."""

    REACHED = "reached"  # residual at or below the threshold of this kind of observation
    STALLED = "stalled"  # no direction lowers the objective any further
    EXHAUSTED = "exhausted"  # the protocol's iterations are used up
    NON_FINITE = "nonFinite"  # the generator gave NaN or infinity and no finite start was left
    NOT_RUN = "notRun"  # an earlier restart had already reached the threshold


@dataclass(frozen=True)
class Restart:
    """The outcome of one restart.

    Attributes:
        index: position in the trace.
        start: kind of start ("encoder", "encoder-noise", "prior", "staged").
        stop: why it ended.
        residual: mean squared cell residual of the best latent, on [-1, 1]; None if not finite
            or not run.
        distance: mean squared distance of the same latent's output to the cell's centre.
        iterations: Jacobians (or gradients) used.
        latent: the best latent, `d` float32 on CPU; None if not run.

    """

    index: int
    start: StartKind
    stop: Stop
    residual: float | None
    distance: float | None
    iterations: int
    latent: Tensor | None


@dataclass(frozen=True)
class Trace:
    """All restarts of one target in index order, run or not."""

    restarts: tuple[Restart, ...]

    @property
    def best(self) -> Restart | None:
        """The restart with the smallest residual; the earliest among equals; None if none."""
        finite = [r for r in self.restarts if r.residual is not None]
        return min(finite, key=lambda r: (r.residual, r.index)) if finite else None

    @property
    def residual(self) -> float | None:
        """Smallest residual over the restarts: the statistic s."""
        return self.best.residual if self.best else None


def cpu_row(batch: Tensor, row: int) -> Tensor:
    """Copy one row of a batch to a float32 CPU tensor of its own."""
    return batch[row].detach().to("cpu", torch.float32).clone()
