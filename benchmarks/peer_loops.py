"""The search loops of published tools, written from their published parameters.

All minimise the mean squared error of the pixels on [-1, 1] over the latent, starting from prior
draws; a picture is decided at the latent with the smallest loss seen. Nothing of the peers' code is
used. Adam treats every number on its own and the generator every picture, so a batch of pictures
takes the same steps as one after the other; L-BFGS is run picture by picture.

Kindness to the peers: a picture that has been found, even if only nearly, gets no further restarts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from counting import Cost
from torch import Tensor

from deniability.inversion.objective import Objective

#: Draws the starts `B x d` of one restart of the targets at these indices.
Draw = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Loop:
    """A published loop.

    Attributes:
        name: whose.
        source: where the parameters stand.
        restarts, steps: starts per picture, and steps of each.
        betas: Adam's decay of the moments; None for L-BFGS with a strong Wolfe line search.
        rate: learning rate.

    """

    name: str
    source: str
    restarts: int
    steps: int
    betas: tuple[float, float] | None
    rate: float = 0.1

    @property
    def batched(self) -> bool:
        """Whether many pictures can share a batch without changing any result."""
        return self.betas is not None


SEED = Loop("Adam, seed paper", "arXiv 2008.09194", 3, 500, (0.0, 0.99))
RONAN = Loop("Adam, RONAN", "arXiv 2305.18439", 1, 1500, (0.9, 0.999))
FLIPAD = Loop("Adam, FLIPAD's baseline", "arXiv 2306.06210", 10, 1000, (0.9, 0.999))
LBFGS = Loop("L-BFGS, strong Wolfe", "torch.optim.LBFGS", 10, 100, None, 1.0)
LOOPS = {"seed": SEED, "ronan": RONAN, "lbfgs": LBFGS, "flipad": FLIPAD}


@dataclass(frozen=True)
class Outcome:
    """The best latent's residual and distance for each target, `N` float64 each."""

    residual: Tensor
    distance: Tensor


def search(
    loop: Loop,
    objective: Objective,
    draw: Draw,
    cost: Cost,
    resolution: float,
    near: float,
    *,
    batch: int | None = None,
) -> Outcome:
    """Run a loop on all targets of `objective`, `batch` of them at a time."""
    count = len(objective.low)
    size = (batch or count) if loop.batched else 1
    residual = torch.full((count,), torch.inf, dtype=torch.float64)
    distance = residual.clone()
    minimise = _adam if loop.batched else _lbfgs
    for index in range(loop.restarts):
        left = ((residual > resolution) & (distance > near)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        for rows in left.split(size):
            part = objective.rows(rows)
            latents = minimise(loop, part, draw(rows, index), cost)
            with torch.no_grad():
                values = part.forward(latents)
            reached, away = part.statistic(values).cpu(), part.distance(values).cpu()
            better = (reached < residual[rows]) | (
                (reached == residual[rows]) & (away < distance[rows])
            )
            residual[rows[better]] = reached[better]
            distance[rows[better]] = away[better]
    return Outcome(residual, distance)


def _adam(loop: Loop, objective: Objective, starts: Tensor, cost: Cost) -> Tensor:
    assert loop.betas is not None
    latents = starts.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([latents], lr=loop.rate, betas=loop.betas)
    best, lowest = starts, torch.full((len(starts),), torch.inf, device=starts.device)
    for _ in range(loop.steps):
        optimiser.zero_grad(set_to_none=True)
        losses = (objective.forward(latents) - objective.centre).square().mean(dim=1)
        losses.sum().backward()  # each row's gradient is its own
        cost.backwards += len(latents)
        lower = losses.detach() < lowest
        best = torch.where(lower[:, None], latents.detach(), best)
        lowest = torch.where(lower, losses.detach(), lowest)
        optimiser.step()
    return _better(objective, best, latents.detach())


def _lbfgs(loop: Loop, objective: Objective, starts: Tensor, cost: Cost) -> Tensor:
    latents = starts.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [latents],
        lr=loop.rate,
        max_iter=loop.steps,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss = (objective.forward(latents) - objective.centre).square().mean()
        loss.backward()
        cost.backwards += len(latents)
        return loss

    optimiser.step(closure)
    return _better(objective, starts, latents.detach())


def _better(objective: Objective, one: Tensor, other: Tensor) -> Tensor:
    """Take, row by row, the latent with the smaller distance; the first where one is NaN."""
    with torch.no_grad():
        first, second = (objective.distance(objective.forward(z)) for z in (one, other))
    return torch.where((second < first)[:, None], other, one)
