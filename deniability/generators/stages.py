"""Generators in two stages: a mapping network from the latent to a style, and a synthesis network.

That is how StyleGAN and its successors are built (Karras et al. 2019), with these very names. The
style is the far easier thing to search for, so who can tell the stages apart finds more. What else
makes the style, such as how far it is truncated, is an input of the mapping beside the latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.base import Generator

_SAME = 1e-4  # of the output's range, by which the stages in turn may differ from the whole


@dataclass(frozen=True)
class Stages:
    """A generator's two halves.

    Attributes:
        generator: whose they are.
        shape: of a style, without the batch axis.

    """

    generator: Generator
    shape: tuple[int, ...]

    def mapping(self, latents: Tensor) -> Tensor:
        """Return the styles of latents `R x d`, flattened: `R x k`."""
        styles: Tensor = self.generator.module.mapping(*self.generator.parts(latents))  # type: ignore[operator]
        return styles.flatten(1)

    def synthesis(self, styles: Tensor) -> Tensor:
        """Return the pictures of flattened styles, `R x C x H x W` in [0, 1]."""
        spec = self.generator.spec
        raw: Tensor = self.generator.module.synthesis(styles.reshape(-1, *self.shape))  # type: ignore[operator]
        low, high = (float(bound) for bound in spec.output_range)
        raw = raw.reshape(-1, spec.channels, spec.height, spec.width)
        return ((raw - low) * (1.0 / (high - low))).clamp(0.0, 1.0)


def stages_of(generator: Generator, draws: Tensor) -> Stages | None:
    """Return the two stages of a generator, None if it has none that can be told.

    Its module must have callables `mapping` and `synthesis` that in turn make the same pictures.

    Args:
        generator: without labels. Its mapping takes all its latents.
        draws: a few latents `R x d`, which are tried.

    """
    spec, module = generator.spec, generator.module
    named = all(callable(getattr(module, name, None)) for name in ("mapping", "synthesis"))
    if not named or spec.labels or generator.batching != "together":
        return None
    try:
        with torch.no_grad():
            styles = module.mapping(*generator.parts(draws))  # type: ignore[operator]
            stages = Stages(generator, tuple(styles.shape[1:]))
            apart = stages.synthesis(stages.mapping(draws)) - generator(draws)
    except (AttributeError, GeneratorError, RuntimeError, TypeError, ValueError):
        return None
    return stages if bool(apart.abs().max() <= _SAME) else None
