"""The decoder of a small latent diffusion model: `diffusers.AutoencoderKL`, trained here.

The configuration is that of Stable Diffusion's autoencoder (Rombach et al. 2022), narrow enough
for a CPU, and without the attention in the middle block, which torch 2.13 cannot differentiate in
forward mode: 4 x 4 x 4 latent numbers to 1 x 32 x 32 pixels. As there, the latent is divided by its
own spread (the scaling factor) and its prior has variance 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT = (4, 4, 4)
SIDE = 32
_WIDTHS = (16, 32, 32, 32)  # channels at 32, 16, 8, 4 pixels
_DIVERGENCE = 1e-3  # weight of the divergence from the prior against the squared error


def autoencoder() -> Any:
    """Build the autoencoder, untrained; diffusers is imported here alone."""
    from diffusers import AutoencoderKL  # noqa: PLC0415 - not a dependency of the package

    depth = len(_WIDTHS)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=_WIDTHS,
        latent_channels=LATENT[0],
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )


class Decoder(nn.Module):
    """Latents `R x 4 x 4 x 4` to pictures `R x 1 x 32 x 32` in [-1, 1]."""

    spread: Tensor

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = whole.post_quant_conv, whole.decoder
        self.register_buffer("spread", torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        pictures: Tensor = self.decoder(self.post_quant_conv(z * self.spread))
        return pictures.clamp(-1, 1)


def decoder() -> Decoder:
    """Build the decoder, untrained."""
    return Decoder(autoencoder())


def squared_error(whole: Any, real: Tensor) -> Tensor:
    """Return what the training minimises, for pictures in [-1, 1]."""
    posterior = whole.encode(real).latent_dist
    error = functional.mse_loss(whole.decode(posterior.sample()).sample, real, reduction="sum")
    return (error + _DIVERGENCE * posterior.kl().sum()) / len(real)


def scaled(whole: Any, pictures: Iterator[Tensor]) -> Decoder:
    """Take the decoder, with the spread of the latents of these pictures."""
    with torch.no_grad():
        latents = torch.cat([whole.encode(real).latent_dist.mode() for real in pictures])
    module = Decoder(whole)
    module.spread.copy_(latents.std())
    return module


def padded(data: Tensor) -> Tensor:
    """Bring pictures `N x 1 x 28 x 28` in [0, 1] to 32 x 32 in [-1, 1]."""
    margin = (SIDE - data.shape[-1]) // 2
    return 2 * functional.pad(data, (margin,) * 4) - 1
