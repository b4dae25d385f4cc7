"""Both methods of the attribution benchmark: one residual for each picture and each model.

Ours takes restarts of `deny`'s search in turns: every model gets the first, and pictures that none
has reached get the next in all models. So no model is searched less than another. The paper's is
Adam on the pixels from prior draws, 3 x 500 steps for each model (`peer_loops`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from counting import Cost
from peer_loops import SEED
from peer_loops import search as adam
from setting import FLOOR, NEAR, Setting, start_seed
from torch import Tensor

from deniability.evidence.calibrate import true_residuals
from deniability.evidence.procedure import Procedure
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.observation import lossless_kind
from deniability.inversion.engine import Engine
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.objective import Objective, composed
from deniability.inversion.solution import Restart
from deniability.stats.verdict import reached_threshold

RESTARTS = 4  # of ours, at most


@dataclass(frozen=True)
class Scores:
    """What a method found.

    Attributes:
        residuals: `N x k` float64, one column for each model; infinite where nothing was finite.
        latents: of the best restart, k times `N x (d + q)`; empty for Adam.
        seconds: of CPU time.

    """

    residuals: Tensor
    latents: tuple[Tensor, ...]
    seconds: float


def procedure_of(setting: Setting) -> Procedure:
    """Return the search procedure of a model."""
    return Procedure(setting.generator, setting.model, setting.protocol, setting.encoder)


def typical(setting: Setting, handling: Handling) -> float:
    """Return the residual that counts as reached in a kind: from truths, nothing is searched."""
    kind = handling.kind
    truths = true_residuals(procedure_of(setting), handling)
    limit = reached_threshold(truths, setting.protocol, family=kind.family, edit=kind.edit)
    return float(limit)


def ours(
    settings: Sequence[Setting],
    handling: Handling,
    observations: Observations,
    role: str,
    restarts: int = RESTARTS,
) -> Scores:
    """Search all pictures in all models; nothing stops above the resolution."""
    begin = time.process_time()
    count = len(observations)
    engines = [procedure_of(s).engine(handling, Fraction(s.protocol.resolution)) for s in settings]
    limits = torch.tensor([typical(s, handling) for s in settings], dtype=torch.float64)
    residuals = torch.full((count, len(settings)), torch.inf, dtype=torch.float64)
    latents = [torch.zeros(count, engine.generator.dimension) for engine in engines]
    left = torch.arange(count)
    for index in range(restarts):
        for column, engine in enumerate(engines):
            for row, restart in _one(engine, observations[left], left, index, role).items():
                found = restart.residual
                if found is not None and found < residuals[row, column]:
                    residuals[row, column] = found
                    if restart.latent is not None:
                        latents[column][row] = restart.latent
        left = left[(residuals[left] > limits).all(dim=1)]
        if len(left) == 0:
            break
    return Scores(residuals, tuple(latents), time.process_time() - begin)


def _one(
    engine: Engine, observations: Observations, rows: Tensor, index: int, role: str
) -> dict[int, Restart]:
    """Run restart `index` of each target."""
    ended: dict[int, Restart] = {}
    seed = start_seed(role)

    def keep(target: int, restart: Restart) -> None:
        ended[int(rows[target])] = restart

    run = engine.begin(
        observations,
        lambda target, i: seed(int(rows[target]), i),
        indices=range(index, index + 1),
        on_restart=keep,
    )
    while run.refill():
        run.step()
    return ended


def pixel_handling(setting: Setting) -> LosslessHandling:
    """Return the handling of pictures stored as they are."""
    spec = setting.generator.spec
    return LosslessHandling(
        lossless_kind(
            channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
        )
    )


#: Names a picture of the benchmark, for the seeds of its prior draws: a set, and its number in it.
Named = tuple[str, int]


def theirs(settings: Sequence[Setting], pixels: Pixels, names: Sequence[Named]) -> Scores:
    """Run the paper's loop on the pixels of all pictures, `N x C x H x W`, in all models.

    Pictures and restarts run as one batch, which changes no latent's steps.
    """
    begin = time.process_time()
    columns = [_adam(setting, pixels, names) for setting in settings]
    return Scores(torch.stack(columns, dim=1), (), time.process_time() - begin)


def _adam(setting: Setting, pixels: Pixels, names: Sequence[Named]) -> Tensor:
    """Return the smallest mean squared error `N` that the paper's loop sees in a model."""
    handling = pixel_handling(setting)
    seen = handling.observations(np.repeat(pixels, SEED.restarts, axis=0))
    forward = composed(setting.generator, handling.operator)
    objective = Objective(
        forward=forward,
        jacobian=Jacobian(forward, setting.generator.dimension),
        low=seen.low,
        high=seen.high,
        centre=seen.centre,
        slack=handling.slack,
    )

    def draw(rows: Tensor, _: int) -> Tensor:
        starts = []
        for row in rows.tolist():
            role, number = names[row // SEED.restarts]
            seed = start_seed(f"{role}-adam")(number, row % SEED.restarts)
            starts.append(latents_from_seed(setting.generator.spec, seed))
        return torch.from_numpy(np.stack(starts))

    once = replace(SEED, restarts=1)
    distances = adam(once, objective, draw, Cost(), 0.0, NEAR * FLOOR).distance
    return distances.reshape(-1, SEED.restarts).min(dim=1).values
