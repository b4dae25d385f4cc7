"""The question that a search asks: how far outside the cell a latent's output lies.

An observation is a linear operator and a box (DESIGN section 2, "A file is a set of pictures"). The
*statistic* is measured to the box widened by the handling's slack; solvers aim at the bare box, and
at first at its centre, which is the ordinary least-squares problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deniability.imaging.residual import cell_residual, mean_squared
from deniability.inversion.jacobian import Forward, Jacobian


def _mean_square(residual: Tensor) -> Tensor:
    """Mean over coordinates of `B x m`; infinity where it is not finite."""
    mean = mean_squared(residual)
    return torch.where(torch.isfinite(mean), mean, torch.full_like(mean, torch.inf))


@dataclass(frozen=True)
class Objective:
    """B targets (one per row) under one generator and one handling.

    Attributes:
        forward: latents `B x d` to observation coordinates `B x m`, one pixel step = 1/127.5.
        jacobian: its Jacobian, `B x m x d`, or `B x m x f` where only f columns are free.
        low, high: the bare cells, `B x m`; infinite where open.
        centre: the decoded values, `B x m`.
        slack: by how much the statistic's box is wider than the bare one.
        free: columns of a latent that a solver moves, `f` int64; None for all. The others are
            labels, which are enumerated.
        trim: puts 0 for coordinates that do not count at this residual; None: all count.

    """

    forward: Forward
    jacobian: Jacobian
    low: Tensor
    high: Tensor
    centre: Tensor
    slack: float
    free: Tensor | None = None
    trim: Callable[[Tensor], Tensor] | None = None

    def free_dimension(self, latents: Tensor) -> int:
        """How many numbers of latents `B x d` a solver moves: f."""
        return latents.shape[1] if self.free is None else len(self.free)

    def widened(self, step: Tensor, dimension: int) -> Tensor:
        """Return a step of the free numbers, `... x f`, as one of latents `... x d`."""
        if self.free is None:
            return step
        return step.new_zeros(*step.shape[:-1], dimension).index_copy(-1, self.free, step)

    def rows(self, index: Tensor) -> Objective:
        """Keep the targets at `index`, in that order, repeats allowed."""
        return replace(self, low=self.low[index], high=self.high[index], centre=self.centre[index])

    def joined(self, other: Objective) -> Objective:
        """Append the targets of another objective of the same generator and handling."""
        return replace(
            self,
            low=torch.cat([self.low, other.low]),
            high=torch.cat([self.high, other.high]),
            centre=torch.cat([self.centre, other.centre]),
        )

    def statistic(self, values: Tensor) -> Tensor:
        """Mean squared residual to the widened cell, `B` float64."""
        return _mean_square(self._trimmed(cell_residual(values, self.low, self.high, self.slack)))

    def distance(self, values: Tensor) -> Tensor:
        """Mean squared distance to the decoded values, `B` float64."""
        return _mean_square(values - self.centre)

    def residual(self, values: Tensor, in_cell_phase: Tensor) -> Tensor:
        """Residual the solver works on, `B x m`: to the centre, or to the bare cell (`B` bool)."""
        return self._trimmed(
            torch.where(
                in_cell_phase[:, None],
                cell_residual(values, self.low, self.high),
                values - self.centre,
            )
        )

    def _trimmed(self, residual: Tensor) -> Tensor:
        return residual if self.trim is None else self.trim(residual)

    def noise(self) -> Tensor:
        """Mean squared quantisation error expected at the truth, width²/12, `B` float64."""
        width = torch.nan_to_num(self.high - self.low, posinf=0.0)
        return width.double().square().mean(dim=-1) / 12


def composed(
    generator: Callable[[Tensor], Tensor], operator: Callable[[Tensor], Tensor]
) -> Forward:
    """Compose the map from latents to observation coordinates."""

    def forward(latents: Tensor) -> Tensor:
        return operator(generator(latents))

    return forward
