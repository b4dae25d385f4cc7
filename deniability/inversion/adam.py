"""Adam on the cell residual: for comparison, and for latents too large for dense normal equations.

Source: Kingma and Ba 2015, with the cosine decay that published inversion tools use. Reverse mode;
an iteration costs about three forward passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from deniability.inversion.objective import Objective
from deniability.inversion.solution import Stop
from deniability.inversion.solver import State, first_state, keep_best, stop_reasons

_EPSILON = 1e-8


@dataclass(frozen=True)
class AdamState(State):
    """State of Adam: first and second moments of the gradient, `B x d` each."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Adam:
    """First-order solver behind the same interface as Levenberg-Marquardt.

    Args:
        max_iterations: gradient steps per restart.
        learning_rate: at the start; decays to zero along a cosine.
        betas: decay of the moments.

    """

    dense: ClassVar[bool] = False

    max_iterations: int
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)

    def init(self, objective: Objective, latents: Tensor) -> AdamState:
        """Evaluate the starts `B x d`."""
        zeros = torch.zeros_like(latents)
        return AdamState(**vars(first_state(objective, latents)), first=zeros, second=zeros)

    def step(self, objective: Objective, state: AdamState) -> AdamState:
        """Take one gradient step on the mean squared distance to the centre, then to the cell."""
        in_cell = state.iterations >= self.max_iterations // 2
        latents = state.latents.detach().requires_grad_(True)
        with torch.enable_grad():
            values = objective.forward(latents)
            # The sum over restarts: each row's gradient is its own.
            loss = objective.residual(values, in_cell).square().mean(dim=1).sum()
            (gradient,) = (
                torch.autograd.grad(loss, latents)
                if loss.requires_grad
                else (torch.zeros_like(latents),)
            )
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        if objective.free is not None:
            gradient = objective.widened(gradient[:, objective.free], latents.shape[1])
        beta1, beta2 = self.betas
        first = beta1 * state.first + (1 - beta1) * gradient
        second = beta2 * state.second + (1 - beta2) * gradient.square()
        count = (state.iterations + 1).to(latents.dtype)[:, None]
        progress = state.iterations.to(latents.dtype)[:, None] / self.max_iterations
        rate = self.learning_rate * 0.5 * (1 + torch.cos(math.pi * progress))
        # A beta of 0 has nothing to correct: 1 - 0 ** count is 1.
        corrected = (second / (1 - beta2**count)).sqrt() + _EPSILON
        moved = (state.latents - rate * (first / (1 - beta1**count)) / corrected).detach()
        with torch.no_grad():
            values = objective.forward(moved)
        idle = (moved == state.latents).all(dim=1)
        return replace(
            state,
            latents=moved,
            values=values,
            **keep_best(objective, state, moved, values),
            iterations=state.iterations + 1,
            stalled=torch.where(idle, state.stalled + 1, torch.zeros_like(state.stalled)),
            first=first,
            second=second,
        )

    def terminate(self, state: AdamState, threshold: float) -> list[Stop | None]:
        """Apply the shared stop rule; a restart whose latent no longer moves has stalled."""
        return stop_reasons(state, threshold, max_iterations=self.max_iterations, patience=25)
