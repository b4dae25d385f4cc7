"""Small generators whose best latents are known in closed form, and engines to search them."""

import hashlib

import numpy as np
import torch
from torch import nn

from deniability.crypto.digest import FileDigest
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.observation import lossless_kind
from deniability.inversion.engine import Engine
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.objective import Objective
from deniability.inversion.starts import Starts
from deniability.wire.generator import GeneratorSpec


class Smooth(nn.Module):
    """R x d to gray pictures R x 1 x side x side in (0, 1) by a small MLP.

    `wave` > 0 folds latent space, so that searches end in local minima.
    """

    def __init__(self, dimension=4, side=6, gain=0.7, seed=0, wave=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Linear(dimension, 32)
            self.second = nn.Linear(32, side * side)
            self.first.weight.data.mul_(gain * 2)
            self.second.weight.data.mul_(2.0)
        self.side = side
        self.wave = wave

    def forward(self, z):
        linear = self.first(z)
        hidden = torch.sin(self.wave * linear) if self.wave else torch.tanh(linear) + 0.3 * linear
        return torch.sigmoid(self.second(hidden)).reshape(-1, 1, self.side, self.side)


class Counting(nn.Module):
    """Passes everything on and counts the rows that went through."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.rows = 0

    def forward(self, z):
        self.rows += len(z)
        return self.inner(z)


def make_generator(module, *, dimension=4, side=6, channels=1, name="toy.pt", prior="normal"):
    module = module.eval().requires_grad_(False)
    bounds = {"low": "0", "high": "1"} if prior == "uniform" else {}
    spec = GeneratorSpec.model_validate(
        {
            "latent": [{"name": "z", "shape": (dimension,), "prior": prior, **bounds}],
            "channels": channels,
            "height": side,
            "width": side,
            "output_range": ("0", "1"),
            "rounding": "round",
            "entropy": {"source": "shake256", "seed_bits": 64},
            "format": "torchscript",
        }
    )
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Generator(
        module=module,
        forward=module,
        spec=spec,
        device=torch.device("cpu"),
        files=(FileDigest(path=name, size=1, sha256=digest),),
    )


def handling_of(generator):
    spec = generator.spec
    return LosslessHandling(
        lossless_kind(
            channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
        )
    )


def seed_of(target, index):
    return hashlib.sha256(f"{target} {index}".encode()).digest()


def drawn(generator, count, salt=""):
    """Latents `count x d` from the prior."""
    seeds = [hashlib.sha256(f"drawn {salt} {i}".encode()).digest() for i in range(count)]
    return torch.from_numpy(np.stack([latents_from_seed(generator.spec, s) for s in seeds]))


def own_observations(generator, latents):
    with torch.no_grad():
        pictures = generator.quantise(generator(latents)).numpy()
    return handling_of(generator).save(pictures)


def engine_of(generator, *, restarts=6, threshold=1e-9, solver=None, encoder=None, **options):
    return Engine(
        generator=generator,
        handling=handling_of(generator),
        solver=solver or LevenbergMarquardt(40),
        starts=Starts(generator, encoder),
        restarts=restarts,
        threshold=threshold,
        resolution=1e-9,
        **options,
    )


def point_objective(forward, targets, *, dimension, half=0.0):
    """Objective with cells of half-width `half` around `targets` B x m."""
    return Objective(
        forward=forward,
        jacobian=Jacobian(forward, dimension),
        low=targets - half,
        high=targets + half,
        centre=targets,
        slack=0.0,
    )


def minimise(solver, objective, latents, *, threshold=0.0):
    """Step until every restart has a reason to stop; return the last state and the reasons."""
    state = solver.init(objective, latents)
    for _ in range(10_000):
        reasons = solver.terminate(state, threshold)
        if all(reasons):
            return state, reasons
        state = solver.step(objective, state)
    raise AssertionError("the solver does not end")
