"""Variants of the dense solver and of the Jacobian that `ablation.py` compares."""

# ruff: noqa: SLF001 - variants change the parts of solvers

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from deniability.inversion import lm
from deniability.inversion.encoder import EncoderTraining
from deniability.inversion.jacobian import Forward, Jacobian
from deniability.inversion.lm import LevenbergMarquardt, LMState
from deniability.inversion.objective import Objective

#: Of the coordinates that enter JᵀJ where blocks are drawn.
SHARE = 0.25


class Broyden(LevenbergMarquardt):
    """Rank-one updates of the Jacobian by each further move (Broyden 1965), not plain reuse."""

    def _chord(
        self, objective: Objective, state: LMState, fresh: Tensor, jacobian: Tensor, before: Tensor
    ) -> LMState:
        latents, values = self._from
        latents, values = latents[fresh], values[fresh]
        for _ in range(3):
            fits = state.loss[fresh] < before[fresh] * 0.9
            if not bool(fits.any()):
                break
            step = (state.latents[fresh] - latents)[fits]
            error = (state.values[fresh] - values)[fits] - (jacobian[fits] @ step[:, :, None])[
                :, :, 0
            ]
            length = step.square().sum(dim=1).clamp_min(1e-30)[:, None, None]
            before, fresh = state.loss, fresh[fits]
            jacobian = jacobian[fits] + error[:, :, None] * step[:, None] / length
            latents, values = state.latents[fresh], state.values[fresh]
            part = objective.rows(fresh)
            again = lm._linearised(part, state.rows(fresh), jacobian)
            state = state.replaced(fresh, self._move(part, again))
        return state

    def step(self, objective: Objective, state: LMState) -> LMState:
        """Remember where the Jacobian was taken."""
        object.__setattr__(self, "_from", (state.latents, state.values))
        return super().step(objective, state)


class GainRatio(LevenbergMarquardt):
    """One trial; λ follows the ratio of actual and predicted decrease (Nielsen 1999)."""

    def _move(self, objective: Objective, state: LMState) -> LMState:
        after = super()._move(objective, state)
        steps, damping = lm._steps(state)
        step = steps[:, 0]
        scale = state.normal.diagonal(dim1=1, dim2=2).mean(dim=1)
        predicted = (step * ((damping * scale[:, None]) * step + state.gradient)).sum(dim=1)
        ratio = (state.loss - after.loss) / predicted.clamp_min(1e-300)
        factor = (1 - (2 * ratio - 1) ** 3).clamp(1 / 9, 2)
        better = (after.loss < state.loss) & ~after.turned
        return replace(after, damping=torch.where(better, state.damping * factor, after.damping))


class TrustRegion(LevenbergMarquardt):
    """Steps within a radius, which follows the ratio of actual and predicted decrease (Moré 1978).

    The state's `damping` is the radius, in latent numbers.
    """

    def _move(self, objective: Objective, state: LMState) -> LMState:
        values, vectors = torch.linalg.eigh(state.normal)
        rotated = (vectors.transpose(1, 2) @ state.gradient[:, :, None])[:, :, 0]
        values = values.clamp_min(0) + 1e-12 * values[:, -1:].clamp_min(1e-30)
        low = torch.zeros_like(state.damping)  # of the shift, whose step has that length
        high = rotated.norm(dim=1) / state.damping.clamp_min(1e-30)
        inside = (rotated / values).norm(dim=1) <= state.damping
        for _ in range(60):
            middle = (low + high) / 2
            long = (rotated / (values + middle[:, None])).norm(dim=1) > state.damping
            low, high = torch.where(long, middle, low), torch.where(long, high, middle)
        shift = torch.where(inside, torch.zeros_like(high), high)
        step = (vectors @ (rotated / (values + shift[:, None]))[:, :, None])[:, :, 0]
        after = lm.moved(
            objective, state, step[:, None], state.damping[:, None], self.max_iterations
        )
        predicted = (step * (2 * state.gradient)).sum(dim=1) - (
            step * (state.normal @ step[:, :, None])[:, :, 0]
        ).sum(dim=1)
        ratio = (state.loss - after.loss) / predicted.clamp_min(1e-300)
        length = step.norm(dim=1)
        radius = torch.where(ratio > 0.75, torch.maximum(state.damping, 2 * length), state.damping)
        radius = torch.where(after.turned | (ratio >= 0.25), radius, 0.25 * length)
        return replace(after, damping=radius)


def random_block(linearised: Callable[..., LMState]) -> Callable[..., LMState]:
    """Form JᵀJ and Jᵀr from a random share of the coordinates."""
    stream = torch.Generator().manual_seed(0)

    def part(objective: Objective, state: LMState, jacobian: Tensor) -> LMState:
        size = jacobian.shape[1]
        rows = torch.randperm(size, generator=stream)[: int(size * SHARE)]
        fewer = replace(
            objective,
            low=objective.low[:, rows],
            high=objective.high[:, rows],
            centre=objective.centre[:, rows],
        )
        cut = replace(state, values=state.values[:, rows])
        return replace(linearised(fewer, cut, jacobian[:, rows]), values=state.values)

    return part


def coarse(objective: Objective, dimension: int, shape: tuple[int, ...], side: int) -> Objective:
    """Return an objective on means over squares of pixels.

    Args:
        objective: on pixels.
        dimension: of the latents.
        shape: of the pictures, `C x H x W`.
        side: of the squares.

    """

    def pooled(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values.reshape(-1, *shape), side).flatten(1)

    def forward(latents: Tensor) -> Tensor:
        return pooled(objective.forward(latents))

    centre = pooled(objective.centre)
    half = 0.5 / 127.5 / side  # the deviation of a mean's rounding error is as much smaller
    return replace(
        objective,
        forward=forward,
        jacobian=Jacobian(forward, dimension),
        low=centre - half,
        high=centre + half,
        centre=centre,
    )


class PixelLoss(EncoderTraining):
    """Trained on the latent, and on the pixels of what the generator makes of the guess."""

    WEIGHT = 4.0

    def step(self) -> float:
        """Take one gradient step, with the product's rate and noise, and return its loss."""
        stream = self._stream(self._batches + self.steps)
        latents, stored = self._outputs()
        pictures = stored.float() / 255
        strength = 4 / 255 * torch.rand(self.batch, 1, 1, 1, generator=stream)
        noisy = (pictures + torch.randn(pictures.shape, generator=stream) * strength).clamp(0, 1)
        rate = min(1.0, (self.steps + 1) / 50) * max(0.02, 1 - self.steps / self.total)
        for group in self._optimiser.param_groups:
            group["lr"] = 2e-3 * rate
        guess = self.network(noisy)
        wanted = (latents - self.mean) / self.scale
        made = self.generator(guess * self.scale + self.mean)
        loss = (guess - wanted).square().mean() + self.WEIGHT * (made - pictures).square().mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.steps += 1
        return float(loss.detach())


def half_precision(push: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Push tangents in bfloat16; residuals stay float32."""

    def pushed(forward: Forward, latents: Tensor, basis: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return push(forward, latents, basis).float()

    return pushed


def by_reverse(forward: Forward, latents: Tensor, basis: Tensor) -> Tensor:
    """Pull every coordinate back under `vmap`."""
    _, pull = torch.func.vjp(forward, latents)
    size = forward(latents[:1]).shape[1]
    rows = []
    for block in torch.eye(size).split(256):
        weights = block[:, None].expand(-1, len(latents), -1)
        rows.append(torch.func.vmap(lambda u: pull(u)[0])(weights))
    return torch.cat(rows).movedim(0, 1) @ basis.T


def by_jacfwd(forward: Forward, latents: Tensor, basis: Tensor) -> Tensor:
    """Let torch do it for one latent at a time."""
    one = torch.func.jacfwd(lambda z: forward(z[None])[0])
    return torch.stack([one(z) for z in latents]) @ basis.T
