"""Networks of the attribution benchmark's face generators, and factories that `deny` can call.

All make 3 x 32 x 32 pictures: DCGANs (Radford et al. 2016) of several widths, and a VAE's decoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

SIDE = 32


class FaceGAN(nn.Module):
    """Latents `R x d` to pictures `R x 3 x 32 x 32` in [-1, 1].

    Args:
        latent: d.
        widths: channels at 4 x 4, 8 x 8 and 16 x 16.

    """

    def __init__(self, latent: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.latent = latent
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(itertools.pairwise((latent, *widths))):
            stride, padding = (1, 0) if index == 0 else (2, 1)
            layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        pictures: Tensor = self.layers(z.reshape(-1, self.latent, 1, 1))
        return pictures


class FaceCritic(nn.Module):
    """Realness `R` and a guess of the latent `R x d` of pictures `R x 3 x 32 x 32`."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(24, 48, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(48, 96, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.real, self.latent = nn.Linear(96 * 16, 1), nn.Linear(96 * 16, latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = self.trunk(pictures)
        return self.real(features).squeeze(1), self.latent(features)


class FaceDecoder(nn.Module):
    """Latents `R x 24` to pictures `R x 3 x 32 x 32` in [0, 1]."""

    latent = 24

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(self.latent, 48 * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (48, 4, 4)),
            nn.ConvTranspose2d(48, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        pictures: Tensor = self.layers(z)
        return pictures


class FaceReader(nn.Module):
    """Mean and logarithm of the variance, `R x 24` each, of pictures `R x 3 x 32 x 32`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 16, 2 * FaceDecoder.latent),
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        mean, log_variance = self.layers(pictures).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


def gan() -> FaceGAN:
    """Build the GAN of most candidates, untrained."""
    return FaceGAN(32, (64, 32, 16))


def narrow() -> FaceGAN:
    """Build a narrower one with a smaller latent, untrained."""
    return FaceGAN(24, (48, 24, 12))


def stranger() -> FaceGAN:
    """Build the held-out one, untrained."""
    return FaceGAN(28, (56, 28, 16))


def vae() -> FaceDecoder:
    """Build the VAE's decoder, untrained."""
    return FaceDecoder()
