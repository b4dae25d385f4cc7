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
residual of the whole generator, and controls go through the same. An edit's parameters are searched
for together with the style.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.generators.stages import Stages, stages_of
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits.edit import within_reach
from deniability.imaging.handling import Handling
from deniability.inversion.edited import EditedGenerator, EditedStarts
from deniability.inversion.jacobian import Forward, Jacobian
from deniability.inversion.lm import LevenbergMarquardt, finite
from deniability.inversion.memory import lanes_that_fit
from deniability.inversion.objective import Objective
from deniability.inversion.smoothing import rectifier_widths, smoothed_forward
from deniability.inversion.solver import Solver
from deniability.inversion.starts import Starts
from deniability.wire.roles import StartKind

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


class _Unraced(EditedStarts):
    """Starts through an edit, of which none is raced for: here that is the style's search."""

    def races(self, index: int) -> bool:
        """Tell that it does not race."""
        del index
        return False


@dataclass(frozen=True)
class StagedStarts(Starts):
    """Starts that have been searched for in two stages.

    Attributes:
        first: where the search for each begins, from its seed.
        stages: of the generator.
        handling: of the files.
        mean: of the styles, `k`.
        components: principal ones with their spread, `c x k`, the largest first.
        widths: spread of the inputs of the mapping's rectifiers.

    """

    first: Starts
    stages: Stages
    handling: Handling
    mean: Tensor
    components: Tensor
    widths: tuple[float, ...]

    #: One restart after the other: a start takes longer than all the steps after it.
    together: ClassVar[int] = 1

    def kind(self, index: int) -> StartKind:
        """Name the kind of start, the same for every restart."""
        del index
        return "staged"

    def guesses(self, pictures: Tensor) -> Tensor | None:
        """Return what the first starts need of the targets' pictures."""
        return self.first.guesses(pictures)

    def latent(self, index: int, seed: bytes, guess: Tensor | None) -> Tensor:
        """Return where the search for the start of restart `index` begins, `d` or `d + q`."""
        return self.first.latent(index, seed, guess)

    def refined(self, index: int, objective: Objective, latents: Tensor) -> Tensor:
        """Return a better start of restart `index` than `latents`, for one target.

        Both are `1 x d`; through an edit `1 x (d + q)`.
        """
        own = self.generator.dimension
        drawn, moved = latents[:, :own], latents[:, own:]
        style, moved = self._style(index, objective, drawn, moved)
        numbers = torch.cat([style, moved], dim=1)
        forward = partial(self._forward, size=style.shape[1])
        jacobian = finite(self._jacobian(forward, numbers.shape[1])(numbers)[0])
        with torch.no_grad():
            values = forward(numbers)
        numbers = numbers + middle_of_cell(objective, values, jacobian).to(numbers.dtype)
        style, moved = numbers.tensor_split([style.shape[1]], dim=1)
        found = latent_of_style(
            self.stages.mapping, self.widths, drawn, style, jacobian[:, : style.shape[1]]
        )
        found = torch.cat([found, moved], dim=1)
        with torch.no_grad():
            before, after = (objective.distance(objective.forward(z)) for z in (latents, found))
        return found if bool(after < before) else latents

    def _forward(self, numbers: Tensor, size: int) -> Tensor:
        """Map styles, `size` numbers each, and parameters of the edit behind them."""
        pictures = self.stages.synthesis(numbers[:, :size])
        if isinstance(self.handling, EditedHandling):
            pictures = self.handling.edit.model(pictures, within_reach(numbers[:, size:]))
        return self.handling.operator(pictures)

    def _jacobian(self, forward: Forward, dimension: int) -> Jacobian:
        return Jacobian(forward, dimension, lanes_that_fit(self.generator))

    def _style(
        self, index: int, objective: Objective, latents: Tensor, moved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Search for the style `1 x k`, from few principal components to all of them.

        The parameters of the edit, `1 x q`, move with it.
        """
        whole = len(self.components)
        numbers = latents.new_zeros(1, whole)
        if index % _TURN:
            with torch.no_grad():
                apart = self.stages.mapping(latents) - self.mean
            spread = self.components.square().sum(dim=1)
            numbers = apart @ self.components.T / spread
        for level, steps in zip(_LEVELS, _STEPS, strict=True):
            count = max(1, whole // level)
            rest = self.mean + numbers[:, count:] @ self.components[count:]

            def synthesised(part: Tensor, rest: Tensor = rest, count: int = count) -> Tensor:
                style = rest + part[:, :count] @ self.components[:count]
                return self._forward(torch.cat([style, part[:, count:]], dim=1), style.shape[1])

            part = replace(
                objective,
                forward=synthesised,
                jacobian=self._jacobian(synthesised, count + moved.shape[1]),
                free=None,
            )
            found = _descended(
                part, torch.cat([numbers[:, :count], moved], dim=1), steps, last=level == 1
            )
            kept, moved = found.tensor_split([count], dim=1)
            numbers = torch.cat([kept, numbers[:, count:]], dim=1)
        return self.mean + numbers @ self.components, moved


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
    if objective.trim is not None:
        counts = torch.zeros(1, dtype=torch.bool, device=values.device)
        closed &= objective.residual(values, counts)[0] != 0
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


def has_stages(generator: Generator) -> bool:
    """Tell whether a generator can be searched in two stages."""
    return stages_of(generator, _draws(generator, 4)) is not None


def staged_starts(generator: Generator, handling: Handling, solver: Solver[Any]) -> StagedStarts:
    """Return starts in two stages.

    Args:
        generator: the plain one, without edit.
        handling: of the files.
        solver: of the search from these starts.

    Raises:
        GeneratorError: its stages cannot be told.

    """
    draws = _draws(generator, _DRAWS)
    stages = stages_of(generator, draws[:4])
    if stages is None:
        raise GeneratorError(
            "the generator cannot be searched in two stages",
            expected="callables `mapping` and `synthesis` that in turn make its pictures",
            hint="Load the model as it was when it was registered, or register it again.",
        )
    with torch.no_grad():
        styles = stages.mapping(draws).double()
    mean = styles.mean(dim=0)
    _, spread, rows = torch.linalg.svd((styles - mean) / _DRAWS**0.5, full_matrices=False)
    kept = spread > 1e-4 * spread[0]
    first = Starts(generator, None)
    if isinstance(handling, EditedHandling):
        first = _Unraced(generator, None, EditedGenerator(generator, handling.edit), solver)
    return StagedStarts(
        generator=generator,
        encoder=None,
        first=first,
        stages=stages,
        handling=handling,
        mean=mean.float(),
        components=(spread[kept, None] * rows[kept]).float(),
        widths=rectifier_widths(stages.mapping, draws),
    )


def most_passes(generator: Generator) -> tuple[int, int]:
    """Return how many passes of the synthesis and of the mapping network a start takes at most.

    A style is taken to have about as many principal components as a latent has numbers.
    """
    dimension = generator.dimension
    descents = sum(
        steps * max(1, dimension // level) for level, steps in zip(_LEVELS, _STEPS, strict=True)
    )
    return descents + dimension, dimension * sum(steps for _, steps in _SMOOTHING)


def _draws(generator: Generator, count: int) -> Tensor:
    """Draw the same latents `count x d` every time; no control has such a seed."""
    drawn = [
        torch.from_numpy(latents_from_seed(generator.spec, index.to_bytes(32, "big")))
        for index in range(count)
    ]
    return torch.stack(drawn).to(generator.device, torch.float32)
