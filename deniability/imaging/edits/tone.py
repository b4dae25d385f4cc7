"""Changing the tone: brightness, contrast and gamma; colour; blur; noise; a palette."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from deniability.imaging.draws import shake256_normal
from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.normal import Float64Array

_DARKEST = 1e-3  # below it a gamma's slope is not followed
_LUMA = (0.299, 0.587, 0.114)


def _rounded(values: Float64Array) -> Picture8:
    """Round half to even and clip, 0 to 1 becoming 0 to 255."""
    rounded: Picture8 = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return rounded


class _Formula(Edit):
    """An edit whose model is what programs compute, but for the rounding."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Compute the model in float64 and round."""
        del seed
        values = torch.from_numpy(picture.astype(np.float64) / 255)[None]
        return _rounded(self.model(values, torch.from_numpy(parameters)[None])[0].numpy())


class Tone(_Formula):
    """Brightness by up to 24 steps, contrast by up to a fifth, gamma between 0.8 and 1.25."""

    parameters: ClassVar[int] = 3

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Compute gain · v^gamma + offset about the middle of the range."""
        offset, contrast, gamma = (p[:, None, None, None] for p in parameters.unbind(1))
        curved = pictures.clamp_min(_DARKEST) ** torch.exp(0.2231 * gamma)
        return ((1 + 0.2 * contrast) * (curved - 0.5) + 0.5 + 24 / 255 * offset).clamp(0, 1)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Compute the inverse, where nothing was clipped."""
        offset, contrast, gamma = (p[:, None, None, None] for p in parameters.unbind(1))
        curved = (seen - 24 / 255 * offset - 0.5) / (1 + 0.2 * contrast) + 0.5
        return curved.clamp(_DARKEST, 1) ** torch.exp(-0.2231 * gamma)


class Colour(_Formula):
    """A gain of up to a tenth on each of red, green and blue; saturation from 0.7 to 1.3."""

    parameters: ClassVar[int] = 4

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Mix each pixel with its luma, then scale the channels."""
        weights = torch.tensor(_LUMA, dtype=pictures.dtype, device=pictures.device)
        luma = (pictures * weights[:, None, None]).sum(dim=1, keepdim=True)
        saturation = 1 + 0.3 * parameters[:, 3, None, None, None]
        gains = 1 + 0.1 * parameters[:, :3, None, None]
        return (gains * (luma + saturation * (pictures - luma))).clamp(0, 1)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Scale back, then mix back: the luma of a mixed pixel is the pixel's own."""
        weights = torch.tensor(_LUMA, dtype=seen.dtype, device=seen.device)
        scaled = seen / (1 + 0.1 * parameters[:, :3, None, None])
        luma = (scaled * weights[:, None, None]).sum(dim=1, keepdim=True)
        saturation = 1 + 0.3 * parameters[:, 3, None, None, None]
        return (luma + (scaled - luma) / saturation).clamp(0, 1)


class _Blur(Edit):
    """A blur along rows and columns alike, borders repeated."""

    parameters: ClassVar[int] = 1
    passes: ClassVar[int] = 1

    @staticmethod
    def radius(parameters: Tensor) -> Tensor:
        """Return standard deviations `B` of 0.3 to 1.5 pixels for parameters `B x 1`."""
        return (0.9 + 0.6 * parameters[:, 0]).clamp_min(0.1)

    def weights(self, radius: Tensor) -> Tensor:
        """Return the kernel `B x k`, k odd, summing to 1."""
        raise NotImplementedError

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Convolve along rows, then columns."""
        weights = self.weights(self.radius(parameters))
        reach = weights.shape[1] // 2
        for axis in (3,) * self.passes + (2,) * self.passes:
            size = pictures.shape[axis]
            places = torch.arange(size, device=pictures.device)
            total = torch.zeros_like(pictures)
            for position in range(weights.shape[1]):
                taken = (places + position - reach).clamp(0, size - 1)
                moved = pictures.index_select(axis, taken)
                total = total + weights[:, position, None, None, None] * moved
            pictures = total
        return pictures


class BoxBlurred(_Blur):
    """A Gaussian blur as Pillow does it: three boxes, each with a fraction at its ends."""

    passes: ClassVar[int] = 3

    def weights(self, radius: Tensor) -> Tensor:
        """Return the box of Gwosdek et al. (2011), which Pillow takes."""
        variance = radius**2 / 3
        whole = ((torch.sqrt(12 * variance + 1) - 1) / 2).detach().floor()
        rest = (
            (2 * whole + 1)
            * (whole * (whole + 1) - 3 * variance)
            / (6 * (variance - (whole + 1) ** 2))
        )
        offsets = torch.arange(-3, 4, device=radius.device).abs()
        inside = (offsets <= whole[:, None]).to(radius)
        ends = (offsets == whole[:, None] + 1).to(radius)
        return (inside + rest[:, None] * ends) / (2 * (whole + rest) + 1)[:, None]

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow do it."""
        del seed
        radius = float(self.radius(torch.from_numpy(parameters)[None])[0])
        return as_picture(as_image(picture).filter(ImageFilter.GaussianBlur(radius)))


class GaussianBlurred(_Formula, _Blur):
    """A blur by a sampled Gaussian, rounded once."""

    reach: ClassVar[int] = 6

    def weights(self, radius: Tensor) -> Tensor:
        """Sample the Gaussian at whole pixels."""
        offsets = torch.arange(-self.reach, self.reach + 1, device=radius.device)
        sampled = torch.exp(-0.5 * (offsets / radius[:, None]) ** 2)
        return sampled / sampled.sum(dim=1, keepdim=True)


class Noisy(Edit):
    """Gaussian noise of standard deviation 1 to 4 steps on every value; nothing can model it."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Draw the strength, then the noise."""
        del parameters
        numbers = shake256_normal(seed + b"/noise", picture.size + 1)
        strength = 1 + 3 * 0.5 * (1 + np.tanh(numbers[0]))
        noise = strength * numbers[1:].reshape(picture.shape)
        return _rounded((picture.astype(np.float64) + noise) / 255)


class Palette(Edit):
    """Reduced to 256 colours chosen for the picture (median cut), without dithering."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow choose the colours."""
        del parameters, seed
        reduced = as_image(picture).quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        return as_picture(reduced.convert("RGB"))
