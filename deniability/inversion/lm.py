"""Batched Levenberg-Marquardt on the cell residual (DESIGN section 2).

Source: Levenberg 1944, Marquardt 1963; damping by trying several λ at once, which costs a few
forward passes where a Jacobian costs d of them. A restart first aims at the cell's centre (plain
least squares) and turns to the cell itself, whose satisfied rows drop out of the normal equations,
when that stops paying.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from deniability.inversion.objective import Objective
from deniability.inversion.solution import Stop
from deniability.inversion.solver import State, first_state, keep_best, stop_reasons

#: Trial dampings relative to the current one.
_TRIALS = (0.03, 0.3, 1.0, 4.0)
SMALLEST_TRIAL = _TRIALS[0]
_REJECTED = 16.0  # λ grows by this when no trial lowers the objective
_SMALLEST, _LARGEST = 1e-9, 1e6  # of λ relative to the mean diagonal of JᵀJ
_SLOW = 0.005  # least relative decrease that keeps a restart in the centre phase
_NOISE = 1.3  # ... and how near to the quantisation noise that phase goes
_CHORDS = 3  # how often a Jacobian is used again ...
_CHORD = 0.9  # ... while the last move left less than this share of the loss
_ROWS = 8192  # of a Jacobian that are in float64 at once
_STALL = 1e-4  # a step that lowers the objective by less than this share brought nothing


@dataclass(frozen=True)
class DampedState(State):
    """What damped Gauss-Newton solvers keep of each restart.

    Attributes:
        stale: whether the linearisation must be computed anew, `B` bool.
        damping: λ relative to the mean diagonal of JᵀJ, `B` float64.
        in_cell: whether the restart aims at the cell rather than its centre, `B` bool.
        turned: whether the last move turned it there, `B` bool.
        loss: sum of squares of the residual it works on, `B` float64.

    """

    stale: Tensor
    damping: Tensor
    in_cell: Tensor
    turned: Tensor
    loss: Tensor


DampedT = TypeVar("DampedT", bound=DampedState)


@dataclass(frozen=True)
class LMState(DampedState):
    """State of Levenberg-Marquardt.

    Attributes:
        normal: JᵀJ, `B x f x f` float64, f being d without labels.
        gradient: Jᵀr, `B x f` float64.

    """

    normal: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class LevenbergMarquardt:
    """The dense second-order solver, for latents up to a few hundred dimensions.

    Args:
        max_iterations: Jacobians per restart.
        damping: first λ, relative to the mean diagonal of JᵀJ.
        patience: steps without progress after which a restart counts as stalled.

    """

    dense: ClassVar[bool] = True

    max_iterations: int
    damping: float = 1.0
    patience: int = 8

    def init(self, objective: Objective, latents: Tensor) -> LMState:
        """Evaluate the starts `B x d`."""
        base = damped_state(objective, latents, self.damping)
        free = objective.free_dimension(latents)
        zeros = base.loss.new_zeros(len(latents), free)
        return LMState(
            **vars(base),
            normal=zeros[:, :, None].repeat(1, 1, free),
            gradient=zeros,
        )

    def step(self, objective: Objective, state: LMState) -> LMState:
        """Linearise where the iterate has moved, and move with that Jacobian while it pays.

        A further move costs a few forward passes where a Jacobian costs d.
        """
        fresh = state.stale.nonzero().squeeze(1)
        part = objective.rows(fresh)
        jacobian = part.jacobian(state.latents[fresh]) if len(fresh) else None
        before = state.loss
        if jacobian is not None:
            state = state.replaced(fresh, _linearised(part, state.rows(fresh), jacobian))
        state = self._move(objective, replace(state, iterations=state.iterations + 1))
        if jacobian is not None:
            state = self._chord(objective, state, fresh, jacobian, before)
        return counted(state, before)

    def _chord(
        self,
        objective: Objective,
        state: LMState,
        fresh: Tensor,
        jacobian: Tensor,
        before: Tensor,
    ) -> LMState:
        """Move on with the same Jacobian as long as that pays (chord steps)."""
        for _ in range(_CHORDS):
            fits = state.loss[fresh] < before[fresh] * _CHORD
            if not bool(fits.any()):
                break
            before, fresh, jacobian = state.loss, fresh[fits], jacobian[fits]
            part = objective.rows(fresh)
            again = _linearised(part, state.rows(fresh), jacobian)
            state = state.replaced(fresh, self._move(part, again))
        return state

    def _move(self, objective: Objective, state: LMState) -> LMState:
        """Try the dampings, keep the best trial that lowers the loss, perhaps turn to the cell."""
        steps, damping = _steps(state)
        steps = objective.widened(steps, state.latents.shape[1])
        return moved(objective, state, steps, damping, self.max_iterations)

    def terminate(self, state: LMState, threshold: float) -> list[Stop | None]:
        """Apply the shared stop rule."""
        return stop_reasons(
            state, threshold, max_iterations=self.max_iterations, patience=self.patience
        )


def damped_state(objective: Objective, latents: Tensor, damping: float) -> DampedState:
    """Evaluate the starts `B x d` and wrap them in the fields of a damped solver."""
    base = first_state(objective, latents)
    in_cell = torch.zeros(len(latents), dtype=torch.bool, device=latents.device)
    loss = _loss(objective.residual(base.values, in_cell))
    return DampedState(
        **vars(base),
        stale=~in_cell,
        damping=torch.full_like(loss, damping),
        in_cell=in_cell,
        turned=in_cell,
        loss=loss,
    )


def moved(
    objective: Objective, state: DampedT, steps: Tensor, damping: Tensor, max_iterations: int
) -> DampedT:
    """Go to the best of the trial steps if it lowers the loss, and perhaps turn to the cell.

    Args:
        objective: with its targets.
        state: where the restarts are.
        steps: to subtract from each latent, `B x t x d`.
        damping: that each came from, `B x t`.
        max_iterations: half of it at most goes to the cell's centre.

    """
    latents, values, loss, damping = _best_trial(objective, state, steps, damping)
    accepted = loss < state.loss
    decrease = torch.where(accepted, 1 - loss / state.loss, torch.zeros_like(loss))
    latents = torch.where(accepted[:, None], latents, state.latents)
    values = torch.where(accepted[:, None], values, state.values)
    loss = torch.where(accepted, loss, state.loss)
    relative = torch.where(accepted, damping, state.damping * _REJECTED)

    near = loss <= _NOISE * objective.noise() * values.shape[-1]
    turning = ~state.in_cell & (
        near | (decrease < _SLOW) | (state.iterations >= max_iterations // 2)
    )
    in_cell = state.in_cell | turning
    loss = torch.where(turning, _loss(objective.residual(values, in_cell)), loss)
    return replace(
        state,
        latents=latents,
        values=values,
        **keep_best(objective, state, latents, values),
        stale=state.stale | accepted | turning,
        damping=relative.clamp(_SMALLEST, _LARGEST),
        in_cell=in_cell,
        turned=turning,
        loss=loss,
    )


def _loss(residual: Tensor) -> Tensor:
    loss = residual.double().square().sum(dim=-1)
    return torch.where(torch.isfinite(loss), loss, torch.full_like(loss, torch.inf))


def counting_rows(objective: Objective, residual: Tensor, in_cell: Tensor) -> Tensor:
    """Tell which coordinates `B x m` enter the normal equations.

    Those that the cell already satisfies, or that are left out, have no say; elsewhere r is zero
    with probability 0.
    """
    counts = residual != 0
    return counts if objective.trim is not None else counts | ~in_cell[:, None]


def _linearised(objective: Objective, state: LMState, jacobian: Tensor) -> LMState:
    """Form JᵀJ and Jᵀr of the residual that each restart works on now."""
    residual = objective.residual(state.values, state.in_cell)
    counts = counting_rows(objective, residual, state.in_cell)
    normal, gradient = torch.zeros_like(state.normal), torch.zeros_like(state.gradient)
    for start in range(0, residual.shape[1], _ROWS):
        rows = slice(start, start + _ROWS)
        part = finite(jacobian[:, rows] * counts[:, rows, None]).double()
        transposed = part.transpose(1, 2)
        normal += transposed @ part
        gradient += (transposed @ finite(residual[:, rows, None]).double())[:, :, 0]
    return replace(state, normal=normal, gradient=gradient, stale=torch.zeros_like(state.stale))


def finite(values: Tensor) -> Tensor:
    """Put 0 for what is not finite."""
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def counted(state: DampedT, before: Tensor) -> DampedT:
    """Count a step that lowered the loss hardly from `before` as one that brought nothing."""
    idle = (state.loss > before * (1 - _STALL)) & ~state.turned
    return replace(
        state, stalled=torch.where(idle, state.stalled + 1, torch.zeros_like(state.stalled))
    )


def trial_steps(
    normal: Tensor, gradient: Tensor, scale: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve `(normal + λ scale I) step = gradient` for every trial damping.

    Args:
        normal: `B x k x k` float64.
        gradient: `B x k` float64.
        scale: `B` float64.
        damping: the current λ, `B` float64.

    Returns:
        Steps `B x t x k`, zero where there is none, and the dampings tried, `B x t`.

    """
    factors = torch.tensor(_TRIALS, dtype=torch.float64, device=normal.device)
    tried = (damping[:, None] * factors).clamp(_SMALLEST, _LARGEST)
    shift = torch.eye(normal.shape[1], dtype=torch.float64, device=normal.device)
    matrices = normal[:, None] + (tried * scale[:, None])[:, :, None, None] * shift
    factor, info = torch.linalg.cholesky_ex(matrices)
    step = torch.cholesky_solve(gradient[:, None, :, None], factor)[..., 0]
    step = torch.where((info == 0)[:, :, None] & torch.isfinite(step), step, torch.zeros_like(step))
    return step, tried


def _steps(state: LMState) -> tuple[Tensor, Tensor]:
    scale = state.normal.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-30)
    return trial_steps(state.normal, state.gradient, scale, state.damping)


def _best_trial(
    objective: Objective, state: DampedState, steps: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return latents, values, loss and damping of the trial with the smallest loss."""
    batch, tried, dimension = steps.shape
    trials = (state.latents[:, None] - steps.to(state.latents.dtype)).reshape(-1, dimension)
    repeated = torch.arange(batch, device=trials.device).repeat_interleave(tried)
    with torch.no_grad():
        values = objective.forward(trials)
    residual = objective.rows(repeated).residual(values, state.in_cell[repeated])
    loss, choice = _loss(residual).reshape(batch, -1).min(dim=1)
    row = torch.arange(batch, device=trials.device) * tried + choice
    return trials[row], values[row], loss, damping.gather(1, choice[:, None])[:, 0]
