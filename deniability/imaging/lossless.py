"""Files that store pixels exactly: a pixel says that the output lay within a step of it."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deniability.imaging.handling import STEPS, Handling, Observations, Pixels


class LosslessHandling(Handling):
    """A cell of pixels.

    A byte p made by rounding says that 255 v lay in [p - 1/2, p + 1/2]; one made by truncation
    that it lay in [p, p + 1]. Outputs are clamped, so the cell is open below at 0 and above at
    255. A gray model's output is compared with a colour file channel by channel.
    """

    base_floor: ClassVar[Fraction] = Fraction(1, 195075)  # (1/12) / 127.5^2

    def operator(self, pictures: Tensor) -> Tensor:
        """B x C x H x W in [0, 1] to B x (channels * H * W), as 2 v - 1, row-major."""
        if self.kind.channels != self.kind.model_channels:
            pictures = pictures.expand(-1, self.kind.channels, -1, -1)
        return (2 * pictures - 1).flatten(1)

    def save(self, pictures: Pixels) -> Observations:
        """Own outputs as this kind of file: bytes as they are, a gray one replicated."""
        self._check(pictures)
        if self.kind.channels != self.kind.model_channels:
            pictures = np.repeat(pictures, self.kind.channels, axis=1)
        return self.observations(pictures)

    def observations(self, pixels: Pixels) -> Observations:
        """Observations of files with these pixels, N x (channels of the file) x H x W."""
        stored = torch.from_numpy(np.array(pixels, order="C"))  # a copy: ours may be read-only
        steps = stored.flatten(1).double()
        below, above = (0.5, 0.5) if self.kind.rounding == "round" else (0.0, 1.0)
        infinity = torch.tensor(torch.inf, dtype=torch.float64)
        low = torch.where(steps == 0, -infinity, (steps - below) / STEPS - 1)
        high = torch.where(steps == 255, infinity, (steps + above) / STEPS - 1)
        centre = (steps + (above - below) / 2) / STEPS - 1
        seen = stored.float() / 255
        if self.kind.model_channels < self.kind.channels:
            seen = seen.mean(dim=1, keepdim=True)
        return Observations(low.float(), high.float(), centre.float(), seen)
