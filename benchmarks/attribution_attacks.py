"""Adversarial pictures: own outputs changed by at most ε per pixel so that attribution fails.

The attacker knows every model and the true latent. At a fixed latent the residual grows alike in
all directions, so the latent is fitted again at every step (Gauss-Newton), and the gradient is that
of the smallest residual, by the envelope theorem: 2 (x - G(z)). FGSM (Goodfellow et al. 2015) takes
one step of ε from a random start, PGD (Madry et al. 2018) several of ε/4.

- `residual`: away from what the true model can make;
- `attribution`: away from it, and towards what the nearest other model makes of the picture;
- `encoder`: away from where the true model's encoder guesses right, which only our search uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from attribution_pictures import Drawn
from attribution_search import Scores
from setting import Setting
from torch import Tensor

from deniability.imaging.handling import Pixels
from deniability.inversion.jacobian import Jacobian

Aim = Literal["residual", "attribution", "encoder"]
AIMS: tuple[Aim, ...] = get_args(Aim)
Method = Literal["FGSM", "PGD"]
METHODS: tuple[Method, ...] = get_args(Method)
STRENGTHS = (1, 2, 4, 8)  # ε, in 255ths
_STEPS = 10  # of PGD
_DAMPING = 1e-3  # of the fits, relative to the mean diagonal


class Fit:
    """A model's latent, kept near what fits a picture best."""

    def __init__(self, setting: Setting, latent: Tensor) -> None:
        generator = setting.generator
        self._flat = lambda z: generator(z).flatten(1)
        self._jacobian = Jacobian(self._flat, generator.dimension)
        self.latent = latent[None]

    def output(self) -> Tensor:
        """Return the output `m` at the latent, in [0, 1]."""
        with torch.no_grad():
            output: Tensor = self._flat(self.latent)[0]
        return output

    def to(self, picture: Tensor) -> Tensor:
        """Take a Gauss-Newton step towards a picture `m`, and return the output there.

        A step that fits worse is not taken.
        """
        before = self.output()
        jacobian = self._jacobian(self.latent)[0].double()
        normal = jacobian.T @ jacobian
        damping = _DAMPING * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
        step = torch.linalg.solve(normal + damping, jacobian.T @ (picture - before).double())
        moved, kept = self.latent + step.float(), self.latent
        self.latent = moved
        after = self.output()
        if (after - picture).square().sum() < (before - picture).square().sum():
            return after
        self.latent = kept
        return before


@dataclass(frozen=True)
class Attack:
    """An attack at one strength.

    Attributes:
        aim, method: see the module.
        strength: ε, in 255ths.

    """

    aim: Aim
    method: Method
    strength: int

    @property
    def name(self) -> str:
        """Of its row."""
        return f"{self.aim} {self.method} {self.strength}/255"

    def run(self, settings: list[Setting], own: Drawn, found: Scores) -> Pixels:
        """Return the changed pictures, `N x C x H x W` uint8.

        Args:
            settings: the models.
            own: the pictures and their true latents.
            found: what our search found of them, unchanged, in every model.

        """
        changed = []
        for row, (picture, truth) in enumerate(zip(own.pixels, own.truth, strict=True)):
            others = found.residuals[row].clone()
            others[truth] = torch.inf
            nearest = int(others.argmin())
            slope = _slope(
                self.aim,
                settings[truth],
                own.latents[row],
                Fit(settings[nearest], found.latents[nearest][row]),
            )
            stream = torch.Generator().manual_seed(row)
            changed.append(self._changed(torch.from_numpy(picture), slope, stream))
        return np.stack(changed)

    def _changed(
        self, picture: Tensor, slope: Callable[[Tensor], Tensor], stream: torch.Generator
    ) -> Pixels:
        own = picture.flatten().float() / 255
        most = self.strength / 255
        start = 2 * torch.rand(own.shape, generator=stream) - 1
        seen = (own + most / 2 * start).clamp(0, 1)
        steps, size = (1, most) if self.method == "FGSM" else (_STEPS, most / 4)
        for _ in range(steps):
            seen = seen + size * slope(seen).sign()
            seen = torch.minimum(torch.maximum(seen, own - most), own + most).clamp(0, 1)
        stored: Pixels = (seen * 255).round().to(torch.uint8).reshape(picture.shape).numpy()
        return stored


def _slope(aim: Aim, true: Setting, latent: Tensor, other: Fit) -> Callable[[Tensor], Tensor]:
    """Return the gradient of what the attacker makes large, in the picture `m`."""
    if aim == "encoder":
        return lambda seen: _encoder_slope(true, latent, seen)
    own = Fit(true, latent)
    if aim == "residual":
        return lambda seen: seen - own.to(seen)
    # The difference of the two residuals' gradients; the picture itself cancels.
    return lambda seen: other.to(seen) - own.to(seen)


def _encoder_slope(setting: Setting, latent: Tensor, seen: Tensor) -> Tensor:
    spec, encoder = setting.generator.spec, setting.encoder
    picture = seen.clone().requires_grad_(True)
    guess = encoder.network(picture.reshape(1, spec.channels, spec.height, spec.width))
    error = (guess[0] * encoder.scale + encoder.mean - latent).square().sum()
    (slope,) = torch.autograd.grad(error, picture)
    return slope


#: Every attack of the table. The encoder is attacked by PGD alone.
ATTACKS = tuple(
    Attack(aim, method, strength)
    for aim in AIMS
    for method in METHODS
    if aim != "encoder" or method == "PGD"
    for strength in STRENGTHS
)
