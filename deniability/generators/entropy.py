"""From a seed to a latent: the three entropy sources (SPEC.md, "Entropy sources").

`torch-cpu` and `numpy-randomstate` reproduce what services do; the last bits of torch's normal
numbers depend on the CPU's instruction set. `shake256` is ours and the same to the bit on every
machine: it is the only source of controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from deniability.errors import GeneratorError
from deniability.imaging.draws import shake256_uniform
from deniability.imaging.normal import Float64Array, normal_quantile
from deniability.wire.generator import EntropySpec, GeneratorSpec, LatentPart

Float32Array = npt.NDArray[np.float32]


class EntropySource(Protocol):
    """Maps a seed of the service's seed space to the latent that the service would use."""

    def latent(self, seed: int) -> Float32Array:
        """Return the latent (d) of `seed`, all parts flattened in order.

        Raises GeneratorError if the seed lies outside 0 … 2^seed_bits - 1.
        """
        ...

    def latents(self, seeds: range) -> Float32Array:
        """Return the latents `N x d` of consecutive seeds; raises as `latent`."""
        ...


def shake256_label(uniform: Float64Array, classes: int) -> Float64Array:
    """Return whole numbers from 0 to classes - 1: k · classes / 2^52 rounded down, in integers.

    `uniform` is (k + 1/2) / 2^52, from which k follows exactly.
    """
    upper = [int(u * 2.0**52 - 0.5) for u in uniform.ravel().tolist()]
    labels = np.array([k * classes >> 52 for k in upper], dtype=np.float64)
    return labels.reshape(uniform.shape)


def latents_from_seed(spec: GeneratorSpec, seed: bytes) -> Float32Array:
    """Return the latent (d) that `seed` stands for, by `shake256` whatever the service uses.

    All parts are drawn from one stream in order, each in row-major order of its shape. Controls,
    and everything that a verifier must re-derive, come from here.
    """
    latent: Float32Array = _latents_from_seeds(spec, [seed])[0]
    return latent


def _latents_from_seeds(spec: GeneratorSpec, seeds: Sequence[bytes]) -> Float32Array:
    """Return the latents `N x d` of several seeds, to the bit those of one after the other."""
    uniform = np.stack([shake256_uniform(seed, spec.dimension) for seed in seeds])
    latents = np.empty(uniform.shape, dtype=np.float32)
    start = 0
    for part in spec.latent:
        stop = start + part.size
        draws = uniform[:, start:stop]
        if part.classes is not None:
            latents[:, start:stop] = shake256_label(draws, part.classes)
        elif part.prior == "normal":
            latents[:, start:stop] = normal_quantile(draws)
        else:
            low, high = _bounds(part)
            latents[:, start:stop] = low + (high - low) * draws
        start = stop
    return latents


def entropy_source(spec: GeneratorSpec) -> EntropySource:
    """Return the source that the generator's registration names."""
    sources: dict[str, type[_Source]] = {
        "torch-cpu": TorchCpu,
        "numpy-randomstate": NumpyRandomState,
        "shake256": Shake256,
    }
    return sources[spec.entropy.source](spec)


class _Source:
    """What the three sources share: the check of the seed's range."""

    def __init__(self, spec: GeneratorSpec) -> None:
        self.spec = spec

    def latent(self, seed: int) -> Float32Array:
        _check_seed(seed, self.spec.entropy)
        return self._latent(seed)

    def latents(self, seeds: range) -> Float32Array:
        for seed in (seeds[0], seeds[-1]) if seeds else ():
            _check_seed(seed, self.spec.entropy)
        return self._latents(seeds)

    def _latent(self, seed: int) -> Float32Array:
        latent: Float32Array = self._latents(range(seed, seed + 1))[0]
        return latent

    def _latents(self, seeds: range) -> Float32Array:
        return np.stack([self._latent(seed) for seed in seeds])


class TorchCpu(_Source):
    """`torch.Generator().manual_seed(seed)`, then `torch.randn(1, *shape)` for each part in order.

    A uniform part is `torch.rand(1, *shape) * (high - low) + low` in float32, a label
    `torch.randint(0, classes, (1,))`. Of a seed only the lower 32 bits count: torch drops the
    others, so there are 2^32 different latents at most.
    """

    def _latent(self, seed: int) -> Float32Array:
        generator = torch.Generator(device="cpu")
        generator.manual_seed(seed)
        parts: list[Float32Array] = []
        for part in self.spec.latent:
            if part.classes is not None:
                numbers = torch.randint(
                    0, part.classes, (1,), generator=generator, dtype=torch.int64, device="cpu"
                ).to(torch.float32)
            elif part.prior == "normal":
                numbers = torch.randn(
                    1, *part.shape, generator=generator, dtype=torch.float32, device="cpu"
                )
            else:
                low, high = _bounds(part)
                numbers = torch.rand(
                    1, *part.shape, generator=generator, dtype=torch.float32, device="cpu"
                )
                numbers = numbers * (high - low) + low
            parts.append(numbers.flatten().numpy())
        return np.concatenate(parts)


class NumpyRandomState(_Source):
    """`numpy.random.RandomState(seed).randn(1, *shape)` for each part in order, as StyleGAN has it.

    A uniform part is `.uniform(low, high, (1, *shape))`, a label `.randint(0, classes, (1,))`.
    All are rounded to float32.
    """

    def _latent(self, seed: int) -> Float32Array:
        state = np.random.RandomState(seed)
        parts: list[Float32Array] = []
        for part in self.spec.latent:
            if part.classes is not None:
                numbers = state.randint(0, part.classes, (1,)).astype(np.float64)
            elif part.prior == "normal":
                numbers = state.randn(1, *part.shape)
            else:
                low, high = _bounds(part)
                numbers = state.uniform(low, high, (1, *part.shape))
            parts.append(np.asarray(numbers, dtype=np.float32).ravel())
        return np.concatenate(parts)


class Shake256(_Source):
    """`latents_from_seed` of the seed as 32 bytes, big-endian."""

    def _latents(self, seeds: range) -> Float32Array:
        return _latents_from_seeds(self.spec, [seed.to_bytes(32, "big") for seed in seeds])


def _bounds(part: LatentPart) -> tuple[float, float]:
    """Return the bounds of a uniform part as the nearest float64."""
    return float(part.low or "0"), float(part.high or "0")


def _check_seed(seed: int, entropy: EntropySpec) -> None:
    if not 0 <= seed < 1 << entropy.seed_bits:
        raise GeneratorError(
            "the seed lies outside the generator's seed space",
            expected=f"0 to 2^{entropy.seed_bits} - 1",
            found=str(seed),
        )
