"""Where restarts begin: the encoder's guess, noisy versions of it, and draws from the prior.

Class labels are enumerated: which one a restart tries follows from its index and the order in which
the encoder finds them likely, and every label gets an encoder start and a prior start.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.imaging.draws import shake256_normal
from deniability.inversion.encoder import Encoder
from deniability.inversion.objective import Objective
from deniability.wire.roles import StartKind, label_rank, label_round, start_kind

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

    #: How many restarts are under way at once, where the starts themselves take long.
    together: ClassVar[int] = sys.maxsize

    def refined(self, index: int, objective: Objective, latents: Tensor) -> Tensor:  # noqa: ARG002
        """Return a better start `1 x d` of restart `index`, for one target; here the same."""
        return latents

    def guesses(self, pictures: Tensor) -> Tensor | None:
        """Guess the latents of the targets' pictures `N x C x H x W`, once for all restarts.

        Returns:
            `N x d`; with class labels `N x (d + labels)`: behind each latent all combined labels,
            the likeliest first.

        """
        if self.encoder is None:
            return None
        return self.encoder.guess_with_labels(pictures.to(self.generator.device))

    def kind(self, index: int) -> StartKind:
        """Name the kind of start of restart `index`."""
        return start_kind(index, encoder=self.encoder is not None, labels=self._labels)

    def races(self, index: int) -> bool:
        """Tell whether making the start of restart `index` takes steps of the solver itself."""
        del index
        return False

    @property
    def _labels(self) -> int:
        return self.generator.spec.label_count

    def latent(self, index: int, seed: bytes, guess: Tensor | None) -> Tensor:
        """Return the start `d` of restart `index` from its seed and the target's guess."""
        if self._labels > 1:
            return self._labelled(index, seed, guess)
        return self._numbers(index, seed, guess, turn=index // 2)

    def _labelled(self, index: int, seed: bytes, guess: Tensor | None) -> Tensor:
        """Return a start whose labels are those that are this restart's turn."""
        spec, encoder = self.generator.spec, self.encoder is not None and guess is not None
        dimension, count = spec.dimension, spec.label_count
        rank = label_rank(index, encoder=encoder, labels=count)
        label = rank if guess is None or not encoder else int(guess[dimension + rank])
        start = self._numbers(
            index,
            seed,
            None if guess is None else guess[:dimension],
            turn=label_round(index, encoder=encoder, labels=count),
        ).clone()
        for (column, _), value in zip(spec.labels, spec.label_values(label), strict=True):
            start[column] = value
        return start

    def _numbers(self, index: int, seed: bytes, guess: Tensor | None, *, turn: int) -> Tensor:
        kind = self.kind(index)
        if self.encoder is None or guess is None or kind == "prior":
            drawn = self._on_device(latents_from_seed(self.generator.spec, seed))
            mean = self.encoder.mean if self.encoder is not None else torch.zeros_like(drawn)
            return mean + _SHRINK[turn % len(_SHRINK)] * (drawn - mean)
        if kind == "encoder":
            return guess
        noise = self._on_device(shake256_normal(seed, self.generator.dimension))
        level = _NOISE_LEVELS[turn % len(_NOISE_LEVELS)]
        return guess + level * self.encoder.error * noise

    def _on_device(self, array: object) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.generator.device)
