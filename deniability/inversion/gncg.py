"""Matrix-free Gauss-Newton on the cell residual, for latents too large for a dense Jacobian.

Each step solves (JᵀJ + λI) δ = Jᵀr by conjugate gradients from products with J and Jᵀ alone. It is
conjugate gradients in Lanczos form: the Krylov space of JᵀJ and Jᵀr is the same for every λ, so one
basis serves all trial dampings, and a rejected step tries larger ones without a further product.
Sources: Paige and Saunders 1975; Dembo, Eisenstat and Steihaug 1982 for when to stop. Damping, the
two phases and the stop rule are those of Levenberg-Marquardt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from deniability.inversion.lm import (
    SMALLEST_TRIAL,
    DampedState,
    counted,
    counting_rows,
    damped_state,
    finite,
    moved,
    trial_steps,
)
from deniability.inversion.objective import Objective
from deniability.inversion.products import Products
from deniability.inversion.solution import Stop
from deniability.inversion.solver import stop_reasons

_LOOSEST = 0.5  # residual of the linear system, relative to Jᵀr, that is good enough at first
_BREAKDOWN = 1e-6  # a new direction shorter than this share of its product is rounding


@dataclass(frozen=True)
class GNCGState(DampedState):
    """State of Gauss-Newton-CG.

    Attributes:
        basis: orthonormal basis of the Krylov space, zero columns after its end,
            `B x d x k` float64.
        projected: JᵀJ in that basis, `B x k x k` float64.
        norm: length of Jᵀr, `B` float64.
        scale: mean diagonal of JᵀJ, estimated, `B` float64.
        first: `norm` at the start, `B` float64; 0 before it is known.

    """

    basis: Tensor
    projected: Tensor
    norm: Tensor
    scale: Tensor
    first: Tensor


@dataclass(frozen=True)
class GaussNewtonCG:
    """The matrix-free second-order solver.

    Args:
        max_iterations: linearisations per restart.
        cg_iterations: most products with JᵀJ per linearisation.
        damping: first λ, relative to the mean diagonal of JᵀJ.
        patience: steps without progress after which a restart counts as stalled.

    """

    dense: ClassVar[bool] = False

    max_iterations: int
    cg_iterations: int
    damping: float = 1.0
    patience: int = 8

    def init(self, objective: Objective, latents: Tensor) -> GNCGState:
        """Evaluate the starts `B x d`."""
        base = damped_state(objective, latents, self.damping)
        size = min(self.cg_iterations, latents.shape[1])
        zeros = torch.zeros_like(base.loss)
        return GNCGState(
            **vars(base),
            basis=zeros[:, None, None].repeat(1, latents.shape[1], size),
            projected=zeros[:, None, None].repeat(1, size, size),
            norm=zeros,
            scale=zeros,
            first=zeros,
        )

    def step(self, objective: Objective, state: GNCGState) -> GNCGState:
        """Span the Krylov space where the iterate has moved, and try the dampings in it."""
        fresh = state.stale.nonzero().squeeze(1)
        before = state.loss
        if len(fresh):
            part = _spanned(objective.rows(fresh), state.rows(fresh))
            state = state.replaced(fresh, part)
        state = replace(state, iterations=state.iterations + 1)
        size = state.projected.shape[1]
        right = torch.nn.functional.pad(state.norm[:, None], (0, size - 1))
        inner, damping = trial_steps(state.projected, right, state.scale, state.damping)
        steps = inner @ state.basis.transpose(1, 2)
        return counted(moved(objective, state, steps, damping, self.max_iterations), before)

    def terminate(self, state: GNCGState, threshold: float) -> list[Stop | None]:
        """Apply the shared stop rule."""
        return stop_reasons(
            state, threshold, max_iterations=self.max_iterations, patience=self.patience
        )


def _spanned(objective: Objective, state: GNCGState) -> GNCGState:
    """Compute the basis and JᵀJ in it, until each row's system is solved well enough.

    Orthogonalised against all columns, so that rounding of the float32 products does not spoil it.
    """
    products = Products(objective.forward, state.latents)
    residual = objective.residual(state.values, state.in_cell)
    counts = counting_rows(objective, residual, state.in_cell)

    def pull(values: Tensor) -> Tensor:
        pulled = finite(products.pull(finite(values * counts))).double()
        if objective.free is None:
            return pulled
        return objective.widened(pulled[:, objective.free], pulled.shape[1])

    def push(vectors: Tensor) -> Tensor:
        return finite(products.push(vectors.to(state.latents.dtype)) * counts)

    gradient = pull(residual)
    norm = gradient.norm(dim=1)
    signs = _signs(state.latents)
    scale = push(signs).double().square().sum(dim=1) / signs.shape[1]
    scale = scale.clamp_min(1e-30)
    first = torch.where(state.first == 0, norm, state.first)
    tolerance = (norm / first.clamp_min(1e-300)).sqrt().clamp_max(_LOOSEST)

    basis, projected = torch.zeros_like(state.basis), torch.zeros_like(state.projected)
    shift = (state.damping * SMALLEST_TRIAL) * scale
    open_ = norm > 0
    vector = gradient / norm.clamp_min(1e-300)[:, None]
    pivot, left = torch.ones_like(norm), torch.ones_like(norm)
    beta = torch.zeros_like(norm)
    for column in range(basis.shape[2]):
        vector = torch.where(open_[:, None], vector, torch.zeros_like(vector))
        basis[:, :, column] = vector
        seen = basis[:, :, : column + 1]
        product = pull(push(vector))
        row = (product[:, None] @ seen)[:, 0]
        projected[:, column, : column + 1] = row
        projected[:, : column + 1, column] = row
        for _ in range(2):
            product = product - (seen @ (product[:, None] @ seen).transpose(1, 2))[:, :, 0]
        # The pivots of the shifted tridiagonal matrix give the length of the residual of conjugate
        # gradients for the smallest λ that will be tried, the slowest to converge.
        pivot = row[:, column] + shift - beta.square() / pivot
        beta = product.norm(dim=1)
        left = left * beta / pivot.clamp_min(1e-300)
        open_ = open_ & (left > tolerance) & (beta > _BREAKDOWN * row.norm(dim=1))
        if not bool(open_.any()):
            break
        vector = product / beta.clamp_min(1e-300)[:, None]
    return replace(
        state,
        basis=basis,
        projected=projected,
        norm=norm,
        scale=scale,
        first=first,
        stale=torch.zeros_like(state.stale),
    )


def _signs(latents: Tensor) -> Tensor:
    """Return the same signs for every row, `B x d`: the mean of (Jv)² estimates JᵀJ's diagonal."""
    steps = torch.arange(1, latents.shape[1] + 1, dtype=torch.float64, device=latents.device)
    signs = torch.where((steps * 0.6180339887498949) % 1.0 < 0.5, 1.0, -1.0)
    return signs.to(latents.dtype).expand_as(latents)
