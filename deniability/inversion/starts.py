"""Where restarts begin: the encoder's guess, noisy versions of it, and draws from the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed, shake256_normal
from deniability.inversion.encoder import Encoder
from deniability.wire.roles import StartKind, start_kind

#: Noise added to the guess, in units of the encoder's own error, by turns.
_NOISE_LEVELS = (0.5, 1.0)
#: Prior draws are shrunk towards the prior's mean, by turns: J is better conditioned there, but
#: some pictures are only found from the prior's full width.
_SHRINK = (0.5, 1.0)


@dataclass(frozen=True)
class Starts:
    """Start latents for any restart of any target, from its derived seed.

    Attributes:
        generator: for the prior and the device.
        encoder: the registered one, or None for prior draws only.

    """

    generator: Generator
    encoder: Encoder | None

    def guesses(self, pictures: Tensor) -> Tensor | None:
        """Guess latents `N x d` of the targets' pictures `N x C x H x W`, once for all restarts."""
        if self.encoder is None:
            return None
        return self.encoder.guess(pictures.to(self.generator.device))

    def kind(self, index: int) -> StartKind:
        """Name the kind of start of restart `index`."""
        return start_kind(index, encoder=self.encoder is not None)

    def latent(self, index: int, seed: bytes, guess: Tensor | None) -> Tensor:
        """Return the start `d` of restart `index` from its seed and the target's guess."""
        if self.encoder is None or guess is None or self.kind(index) == "prior":
            drawn = self._on_device(latents_from_seed(self.generator.spec, seed))
            mean = self.encoder.mean if self.encoder is not None else torch.zeros_like(drawn)
            return mean + _SHRINK[(index // 2) % len(_SHRINK)] * (drawn - mean)
        if index == 0:
            return guess
        noise = self._on_device(shake256_normal(seed, self.generator.dimension))
        level = _NOISE_LEVELS[(index // 2) % len(_NOISE_LEVELS)]
        return guess + level * self.encoder.error * noise

    def _on_device(self, array: object) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.generator.device)
