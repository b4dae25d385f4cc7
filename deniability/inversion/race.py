"""A race between starts: each takes a few steps, and the one that is then nearest goes on.

How well a start fits says little of where it leads when the edit is unknown: from a wrong crop an
output may look nearer than from the right one (ADR 0021). A few steps tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.memory import activation_bytes, lanes_that_fit, rows_that_fit
from deniability.inversion.objective import Objective
from deniability.inversion.solver import Solver

#: Steps that all take, how many of them are kept, and steps that these take.
ROUNDS: Sequence[tuple[int, int]] = ((27, 2), (8, 3))
_HALF_STEP = 0.5 / 127.5


class Race:
    """Races between starts `c x d` on one picture.

    Args:
        generator: whose outputs are compared, `R x C x H x W` in [0, 1].
        solver: that takes the steps.
        seen: which pixels `H x W` bool count; None: all.

    """

    def __init__(self, generator: Generator, solver: Solver[Any], seen: Tensor | None) -> None:
        self._generator = generator
        self._solver = solver
        self._seen = seen
        self._jacobian = Jacobian(
            self._forward, generator.dimension, lanes_that_fit(generator), free=generator.free
        )
        self._activation = activation_bytes(generator)

    def _coordinates(self, pictures: Tensor) -> Tensor:
        values = 2 * pictures - 1
        return values.flatten(1) if self._seen is None else values[:, :, self._seen].flatten(1)

    def _forward(self, latents: Tensor) -> Tensor:
        return self._coordinates(self._generator(latents))

    def winner(self, picture: Tensor, latents: Tensor) -> Tensor:
        """Return where the best of starts `c x d` is after its steps, for `C x H x W` in [0, 1]."""
        centre = self._coordinates(picture[None]).expand(len(latents), -1)
        objective = Objective(
            forward=self._forward,
            jacobian=self._jacobian,
            low=centre - _HALF_STEP,
            high=centre + _HALF_STEP,
            centre=centre,
            slack=0.0,
            free=self._generator.free,
        )
        limit = rows_that_fit(
            coordinates=centre.shape[1],
            dimension=self._generator.dimension,
            device=latents.device,
            activation=self._activation,
            dense=self._solver.dense,
        )
        state = self._solver.init(objective, latents)
        for count, steps in ROUNDS:
            best = objective.distance(state.values).argsort(stable=True)[:count]
            state, objective = state.rows(best), objective.rows(best)
            groups = torch.arange(len(best), device=best.device).split(limit)  # type: ignore[no-untyped-call]
            parts = []
            for group in groups:
                part, among = state.rows(group), objective.rows(group)
                for _ in range(steps):
                    part = self._solver.step(among, part)
                parts.append(part)
            state = parts[0]
            for part in parts[1:]:
                state = state.joined(part)
        distance = objective.distance(state.values)
        winner: Tensor = state.latents[int(distance.argmin())]
        return winner
