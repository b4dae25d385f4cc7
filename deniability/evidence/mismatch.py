"""The mismatch allowance: what a serving stack that differs from the registration costs.

Own outputs are produced in each of the ways that a service plausibly differs (SPEC.md, "Mismatch
allowance"), and refined from their true latent, which is known. What is left no finding may rest
on. Starting at the truth keeps failures of the search out of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.evidence.latents import drawn_latents
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress
from deniability.generators.base import Generator
from deniability.imaging.draws import shake256_uniform
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.wire.controls import Mismatch
from deniability.wire.numbers import decimal_string
from deniability.wire.protocol import MismatchWay, mismatch_ways
from deniability.wire.roles import mismatch_seed

_MANTISSA = {"bfloat16": 7, "float16": 10, "tf32": 10}
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def measure_mismatches(
    procedure: Procedure, handling: Handling, threshold: Fraction, *, progress: Progress
) -> tuple[Mismatch, ...]:
    """Return the residuals of own outputs that were produced in other ways, in wire order."""
    protocol = procedure.protocol
    seeds = [
        mismatch_seed(
            procedure.model,
            protocol.digest,
            handling.kind.digest(),
            index,
            beacon=procedure.beacon,
        )
        for index in range(protocol.mismatch_outputs)
    ]
    spec = procedure.generator.spec
    latents = drawn_latents(spec, handling.kind, seeds)
    numbers = torch.cat([latents, handling.parameters(seeds)], dim=1)
    ways = mismatch_ways(handling.kind.family)
    progress.phase("measuring what another serving stack would change", len(ways))
    engine = procedure.engine(handling, threshold)
    measured: list[Mismatch] = []
    for done, way in enumerate(ways, start=1):
        pictures = other_pictures(procedure.generator, latents, way, seeds)
        handled = handling.edited(pictures, seeds)
        observations = (
            _by_other_encoder(handling, handled)
            if way == "other-encoder"
            else handling.save(handled)
        )
        restarts = engine.from_latents(observations, numbers)
        measured += [
            Mismatch(
                way=way,
                index=index,
                seed=seeds[index].hex(),
                residual=None if r.residual is None else decimal_string(r.residual),
            )
            for index, r in enumerate(restarts)
        ]
        progress.advance(done)
    return tuple(measured)


def other_pictures(
    generator: Generator, latents: Tensor, way: MismatchWay, seeds: list[bytes]
) -> Pixels:
    """Make the pictures of `latents` the other way: `N x C x H x W` uint8."""
    latents = latents.to(generator.device)
    with torch.no_grad(), _running(generator, way):
        outputs = _outputs(generator, latents, way)
    rounding = generator.spec.rounding
    if way == "other-rounding":
        rounding = "truncate" if rounding == "round" else "round"
    steps = torch.nan_to_num(outputs.float() * 255.0)
    steps = steps.round() if rounding == "round" else steps.floor()
    if way == "plus-minus-one-step":
        steps = steps + torch.stack([_steps(seed, steps[0]) for seed in seeds])
    pictures: Pixels = steps.clamp(0, 255).to(torch.uint8).cpu().numpy()
    return pictures


def _by_other_encoder(handling: Handling, pictures: Pixels) -> Observations:
    """Handle pictures by the one other way that leaves the same traces in a file."""
    (observations,) = handling.indistinguishable(pictures).values()
    return observations


def _steps(seed: bytes, like: Tensor) -> Tensor:
    """Draw -1, 0 or +1 for every pixel, each with probability a third."""
    uniform = shake256_uniform(seed + b"/step", like.numel())
    steps = np.floor(3 * uniform) - 1
    return torch.from_numpy(steps).to(like).reshape(like.shape)


def _outputs(generator: Generator, latents: Tensor, way: MismatchWay) -> Tensor:
    """Run the model in half precision, or failing that with its weights rounded as far."""
    if way in _DTYPES:
        with (
            contextlib.suppress(GeneratorError, RuntimeError),
            torch.autocast(generator.device.type, dtype=_DTYPES[way]),
        ):
            return generator(latents).float()
    if way in _MANTISSA:
        with generator.perturbed(_MANTISSA[way]):
            return generator(latents)
    return generator(latents)


@contextlib.contextmanager
def _running(generator: Generator, way: MismatchWay) -> Iterator[None]:
    """Change the number of threads where that is the way."""
    if way != "other-threads" or generator.device.type != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
