"""Networks of the zoo's small generators, and factories that `deny` can call (`zoo_networks:vae`).

An MLP GAN and a VAE decoder, both for 28 x 28 pictures.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

GAN_LATENT, VAE_LATENT = 32, 16
SIDE = 28


class MLPGenerator(nn.Module):
    """Latents `R x 32` to pictures `R x 1 x 28 x 28` in [-1, 1], by linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        widths = (GAN_LATENT, 128, 256, 512)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], SIDE * SIDE), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        pictures: Tensor = self.layers(z)
        return pictures.reshape(-1, 1, SIDE, SIDE)


class MLPCritic(nn.Module):
    """Realness `R` and a guess of the latent `R x 32` of pictures `R x 1 x 28 x 28`."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(SIDE * SIDE, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 128),
            nn.LeakyReLU(0.2),
        )
        self.real, self.latent = nn.Linear(128, 1), nn.Linear(128, GAN_LATENT)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = self.trunk(pictures)
        return self.real(features).squeeze(1), self.latent(features)


class VAEDecoder(nn.Module):
    """Latents `R x 16` to pictures `R x 1 x 28 x 28` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(VAE_LATENT, 32 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        pictures: Tensor = self.layers(z)
        return pictures


class VAEEncoder(nn.Module):
    """Mean and logarithm of the variance, `R x 16` each, of pictures `R x 1 x 28 x 28`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 2 * VAE_LATENT),
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        mean, log_variance = self.layers(pictures).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


def mlp_gan() -> MLPGenerator:
    """Build the MLP GAN's generator, untrained."""
    return MLPGenerator()


def vae() -> VAEDecoder:
    """Build the VAE's decoder, untrained."""
    return VAEDecoder()
