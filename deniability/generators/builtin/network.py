"""The network of the built-in generator, as shipped: batch norm already folded away."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

#: Entries of a latent, each a standard normal draw.
LATENT_DIMENSION = 16
#: Channels, height and width of a picture.
PICTURE_SHAPE = (1, 28, 28)
#: Slope of every leaky ReLU for negative inputs.
LEAK = 0.2


class FashionGenerator(nn.Module):
    """Latents to pictures of garments, 28 x 28 gray.

    Transposed convolutions, leaky ReLUs and a tanh, nothing else: no state, no branches and no
    in-place operation, so it runs under `torch.func.vmap` and `jvp` and in any precision.

    Args:
        hidden: channels of the 1 x 1 layer that mixes the latent.
        wide: channels at 7 x 7.
        narrow: channels at 14 x 14.

    """

    def __init__(self, hidden: int = 48, wide: int = 64, narrow: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(LATENT_DIMENSION, hidden, 1),
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(hidden, wide, 7),
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(narrow, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Pictures R x 1 x 28 x 28 in [-1, 1] of latents R x 16."""
        return cast("Tensor", self.layers(torch.reshape(z, (-1, LATENT_DIMENSION, 1, 1))))
