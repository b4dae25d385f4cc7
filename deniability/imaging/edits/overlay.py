"""Something put over a part of the picture: a patch, a border, a caption.

What is there is not modelled. The residual leaves out the parts that fit worst, as large a share as
could be covered, for own outputs and the accused alike.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from deniability.imaging.draws import shake256_uniform
from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.normal import Float64Array

Mask = npt.NDArray[np.bool_]


class Overlay(Edit):
    """An edit of a part, whose place and filling are drawn."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Put the filling where it is drawn."""
        del parameters
        drawn = shake256_uniform(seed + b"/overlay", 8)
        changed = picture.copy()
        mask = self.mask(drawn[:4])
        filling = self._filling(picture, drawn[4:], seed)
        changed[:, mask] = filling[:, mask]
        return changed

    @abstractmethod
    def mask(self, drawn: Float64Array) -> Mask:
        """Return which pixels `H x W` bool are covered, for four draws in (0, 1)."""

    @staticmethod
    def _filling(picture: Picture8, drawn: Float64Array, seed: bytes) -> Picture8:
        """Return one colour, coarse noise like lettering, or the picture's own negative."""
        kind = int(3 * drawn[0])
        if kind == 0:
            colour = np.floor(256 * drawn[1:4])[: picture.shape[0], None, None]
            return np.broadcast_to(colour, picture.shape).astype(np.uint8)
        if kind == 1:
            dots = shake256_uniform(seed + b"/dots", picture[0].size).reshape(picture[0].shape)
            return np.broadcast_to(np.where(dots < 0.5, 0, 255), picture.shape).astype(np.uint8)
        negative: Picture8 = 255 - picture
        return negative


class Patched(Overlay):
    """A rectangle, each of whose sides is a tenth to three tenths of the picture's."""

    covered: ClassVar[float] = 0.15

    def mask(self, drawn: Float64Array) -> Mask:
        """Draw size and place."""
        spans = []
        for side, size, place in zip((self.height, self.width), drawn[:2], drawn[2:], strict=True):
            length = max(1, round((0.1 + 0.2 * size) * side))
            start = int(place * (side - length + 1))
            spans.append((np.arange(side) >= start) & (np.arange(side) < start + length))
        mask: Mask = spans[0][:, None] & spans[1][None, :]
        return mask


class Bordered(Overlay):
    """A frame of up to a sixteenth of the shorter side, over the picture's edge."""

    covered: ClassVar[float] = 0.24

    def mask(self, drawn: Float64Array) -> Mask:
        """Draw the width."""
        most = max(1, min(self.height, self.width) // 16)
        wide = 1 + int(drawn[0] * most)
        inside = np.zeros((self.height, self.width), dtype=np.bool_)
        inside[wide : self.height - wide, wide : self.width - wide] = True
        return ~inside


class Captioned(Overlay):
    """A strip along the upper or the lower edge, a twentieth to a fifth of the height."""

    covered: ClassVar[float] = 0.25

    def mask(self, drawn: Float64Array) -> Mask:
        """Draw height and edge."""
        high = max(1, int((0.05 + 0.15 * drawn[0]) * self.height))
        mask = np.zeros((self.height, self.width), dtype=np.bool_)
        if drawn[1] < 0.5:
            mask[:high] = True
        else:
            mask[self.height - high :] = True
        return mask
