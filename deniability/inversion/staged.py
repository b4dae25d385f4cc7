"""Search in two stages: first for the style that makes the picture, then for the latent behind it.

A mapping network folds the latent space so often that a search in it creeps from kink to kink; the
synthesis network alone is well-behaved, and 8-bit pixels determine its style many times over. So a
restart of such a generator begins with

1. Levenberg-Marquardt in the style's principal components, few of them first, from the mean style;
2. the middle of the cell: the style whose pixels keep away from their bounds. It errs by far less
   than the one of least squares, because rounding errors are uniform, not normal;
3. a latent whose style comes near that one, measured in pixels by the synthesis network's Jacobian,
   the mapping's rectifiers being smoothed, less and less.

The latent is where the ordinary search starts. So it decides power alone: what is reported is the
residual of the whole generator, and controls go through the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.generators.stages import Stages, stages_of
from deniability.imaging.handling import Handling
from deniability.inversion.jacobian import Forward, Jacobian
from deniability.inversion.lm import LevenbergMarquardt, finite
from deniability.inversion.memory import lanes_that_fit
from deniability.inversion.objective import Objective, composed
from deniability.inversion.smoothing import rectifier_widths, smoothed_forward
from deniability.inversion.starts import Starts

_DRAWS = 1024  # styles from which mean and principal components come
_LEVELS = (8, 4, 2, 1)  # the components are searched as a whole after an eighth, a quarter, …
_STEPS = (12, 12, 12, 16)  # Jacobians at each level, at most
_PAYS = 0.3  # a step must lower the loss by this share, or the next level follows
_POWERS = (4, 8, 16, 32)  # of the residual whose sum is minimised for the middle of the cell
_NEWTON = 6  # steps for each of them
#: Smoothing, as a share of the spread of a rectifier's input, and how many steps it may take.
_SMOOTHING = ((0.4, 50), (0.2, 90), (0.1, 200), (0.05, 60), (0.02, 20), (0.0, 20))
_REJECTED = 16.0  # the damping grows by this when none of them lowers the loss
_SMALLEST, _LARGEST = 1e-12, 1e10  # of the damping
_DAMPINGS = (0.01, 0.1, 0.3, 1.0, 4.0)  # tried in each step, relative to the last
_IDLE = 6  # steps in a row of less than a thousandth end a level of smoothing
_CLOSE = 2e-8  # mean squared change of the pixels that needs no further step
_RANK = 1e-9  # squared singular values below this share of the largest are rounding
_TURN = 2  # every second restart begins at the mean style, the others at their own draw's


@dataclass(frozen=True)
class StagedStarts(Starts):
    """Starts that have been searched for in two stages.

    Attributes:
        stages: of the generator.
        handling: of the files.
        mean: of the styles, `k`.
        components: principal ones with their spread, `c x k`, the largest first.
        widths: spread of the inputs of the mapping's rectifiers.

    """

    stages: Stages
    handling: Handling
    mean: Tensor
    components: Tensor
    widths: tuple[float, ...]

    #: One restart after the other: a start takes longer than all the steps after it.
    together: ClassVar[int] = 1

    def refined(self, index: int, objective: Objective, latents: Tensor) -> Tensor:
        """Return a better start `1 x d` of restart `index` than `latents`, for one target."""
        forward = composed(self.stages.synthesis, self.handling.operator)
        style = self._style(index, forward, objective, latents)
        jacobian = self._jacobian(forward, style.shape[1])(style)[0]
        with torch.no_grad():
            values = forward(style)
        jacobian = finite(jacobian)
        style = style + middle_of_cell(objective, values, jacobian).to(style.dtype)
        found = latent_of_style(self.stages.mapping, self.widths, latents, style, jacobian)
        with torch.no_grad():
            before, after = (objective.distance(objective.forward(z)) for z in (latents, found))
        return found if bool(after < before) else latents

    def _jacobian(self, forward: Forward, dimension: int) -> Jacobian:
        return Jacobian(forward, dimension, lanes_that_fit(self.generator))

    def _style(self, index: int, forward: Forward, objective: Objective, latents: Tensor) -> Tensor:
        """Search for the style `1 x k` from few principal components to all of them."""
        whole = len(self.components)
        numbers = latents.new_zeros(1, whole)
        if index % _TURN:
            with torch.no_grad():
                apart = self.stages.mapping(latents) - self.mean
            spread = self.components.square().sum(dim=1)
            numbers = apart @ self.components.T / spread
        for level, steps in zip(_LEVELS, _STEPS, strict=True):
            count = max(1, whole // level)
            kept = numbers[:, :count]
            rest = self.mean + numbers[:, count:] @ self.components[count:]

            def synthesised(kept: Tensor, rest: Tensor = rest, count: int = count) -> Tensor:
                return forward(rest + kept @ self.components[:count])

            part = replace(
                objective,
                forward=synthesised,
                jacobian=self._jacobian(synthesised, count),
                free=None,
            )
            kept = _descended(part, kept, steps, last=level == 1)
            numbers = torch.cat([kept, numbers[:, count:]], dim=1)
        return self.mean + numbers @ self.components


def _descended(objective: Objective, numbers: Tensor, steps: int, *, last: bool) -> Tensor:
    """Take Levenberg-Marquardt's steps while they pay, or until the cell is in sight."""
    solver = LevenbergMarquardt(2 * steps)  # it turns to the cell after half of them
    state = solver.init(objective, numbers)
    for _ in range(steps):
        before = state.loss
        state = solver.step(objective, state)
        slow = bool(state.loss > (1 - _PAYS) * before)
        if bool(state.in_cell) or (slow and not last):
            break
    return state.latents


def middle_of_cell(objective: Objective, values: Tensor, jacobian: Tensor) -> Tensor:
    """Return the step to the middle of the cell as far as a linear model goes.

    Least squares first, then sums of higher powers of the residual, which look more and more at
    the pixels that are nearest to their bounds.

    Args:
        objective: one target.
        values: where the model is right, `1 x m`.
        jacobian: there, `m x k`.

    Returns:
        `1 x k` float64.

    """
    low, high = (bound[0].double() for bound in (objective.low, objective.high))
    closed = torch.isfinite(low) & torch.isfinite(high) & (high > low)
    slopes = jacobian[closed].double()
    half = (high - low)[closed] / 2
    slopes = slopes / half[:, None]
    residual = (values[0].double()[closed] - (low + high)[closed] / 2) / half
    step = slopes.new_zeros(slopes.shape[1])
    for power in (2, *_POWERS):
        step = _newton(slopes, residual, step, power)
    return step[None]


def _newton(slopes: Tensor, offset: Tensor, step: Tensor, power: int) -> Tensor:
    """Minimise the sum of `(slopes step + offset)^power` by damped Newton steps from `step`."""
    identity = torch.eye(len(step), dtype=step.dtype, device=step.device)
    for _ in range(1 if power == 2 else _NEWTON):  # least squares: one step
        residual = slopes @ step + offset
        top = residual.abs().max().clamp_min(1e-300)
        scaled = residual / top
        weights = scaled.abs() ** (power - 2)
        normal = (power - 1) * (slopes.T @ (weights[:, None] * slopes))
        shift = 1e-10 * normal.diagonal().mean().clamp_min(1e-300)
        factor, info = torch.linalg.cholesky_ex(normal + shift * identity)
        if bool(info):
            break
        direction = torch.cholesky_solve((slopes.T @ (weights * residual))[:, None], factor)[:, 0]
        pushed = slopes @ direction
        before = (scaled.abs() ** power).sum()
        best = None
        for length in (1.0, 0.5, 0.25, 0.1, 0.02):
            after = (((residual - length * pushed) / top).abs() ** power).sum()
            if bool(after < before):
                best, before = length, after
        if best is None:
            break
        step = step - best * direction
    return step


def latent_of_style(
    mapping: Callable[[Tensor], Tensor],
    widths: tuple[float, ...],
    latents: Tensor,
    style: Tensor,
    jacobian: Tensor,
) -> Tensor:
    """Search for a latent of a style, nearness being the mean squared change of the pixels.

    Args:
        mapping: latents `R x d` to styles `R x k`.
        widths: of its rectifiers' inputs.
        latents: the start, `1 x d`.
        style: `1 x k`.
        jacobian: of the pixels by the style, `m x k`.

    """
    values, vectors = torch.linalg.eigh(jacobian.double().T @ jacobian.double())
    kept = values > _RANK * values[-1]
    metric = (vectors[:, kept] * values[kept].sqrt()).to(latents.dtype)  # k x r
    target = style @ metric
    damping, enough = 1.0, _CLOSE * len(jacobian)
    schedule = _SMOOTHING if widths else _SMOOTHING[-1:]
    for share, steps in schedule:
        smooth = smoothed_forward(mapping, widths, share)

        def measured(z: Tensor, smooth: Callable[[Tensor], Tensor] = smooth) -> Tensor:
            return torch.matmul(smooth(z), metric)

        latents, damping = _approach(measured, latents, target, damping, steps, enough)
    return latents


def _approach(
    forward: Forward,
    latents: Tensor,
    target: Tensor,
    damping: float,
    steps: int,
    enough: float,
) -> tuple[Tensor, float]:
    """Take Levenberg-Marquardt's steps from `1 x d` towards `forward(z) = target`, `1 x r`.

    The normal equations are those of the r rows, which are fewer than the latent's numbers; their
    eigenvalues serve all dampings.
    """
    dimension = latents.shape[1]
    jacobian = Jacobian(forward, dimension, lanes=dimension)
    factors = torch.tensor(_DAMPINGS, dtype=torch.float64, device=latents.device)
    residual = _misfit(forward, latents, target)
    loss, idle = residual.square().sum(), 0
    eigen: tuple[Tensor, Tensor, Tensor] | None = None
    for _ in range(steps):
        if eigen is None:
            slopes = finite(jacobian(latents)[0]).double()
            eigen = (slopes, *torch.linalg.eigh(slopes @ slopes.T))
        slopes, values, vectors = eigen
        tried = damping * factors
        shift = tried * (values.clamp_min(0).sum() / dimension).clamp_min(1e-300)
        rotated = vectors.T @ residual[0]
        inner = rotated / (values.clamp_min(0) + shift[:, None]) @ vectors.T
        trials = latents - (inner @ slopes).to(latents.dtype)
        misfits = _misfit(forward, trials, target)
        losses = torch.nan_to_num(misfits.square().sum(dim=1), nan=torch.inf)
        best = int(losses.argmin())
        idle = idle + 1 if bool(losses[best] > loss * (1 - 1e-3)) else 0
        if bool(losses[best] < loss):
            latents, residual, loss = (
                trials[best : best + 1],
                misfits[best : best + 1],
                losses[best],
            )
            damping, eigen = max(float(tried[best]), _SMALLEST), None
        else:
            damping *= _REJECTED
        if idle >= _IDLE or damping > _LARGEST or bool(loss <= enough):
            break
    return latents, min(damping, 1.0)


def _misfit(forward: Forward, latents: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return (forward(latents) - target).double()


def staged_starts(generator: Generator, handling: Handling) -> StagedStarts | None:
    """Return starts in two stages, None for a generator whose stages cannot be told."""
    spec = generator.spec
    drawn = [
        torch.from_numpy(latents_from_seed(spec, index.to_bytes(32, "big")))
        for index in range(_DRAWS)
    ]
    draws = torch.stack(drawn).to(generator.device, torch.float32)
    stages = stages_of(generator, draws[:4])
    if stages is None:
        return None
    with torch.no_grad():
        styles = stages.mapping(draws).double()
    mean = styles.mean(dim=0)
    _, spread, rows = torch.linalg.svd((styles - mean) / _DRAWS**0.5, full_matrices=False)
    kept = spread > 1e-4 * spread[0]
    return StagedStarts(
        generator=generator,
        encoder=None,
        stages=stages,
        handling=handling,
        mean=mean.float(),
        components=(spread[kept, None] * rows[kept]).float(),
        widths=rectifier_widths(stages.mapping, draws),
    )
