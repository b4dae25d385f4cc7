"""Pixels decoded from a JPEG and stored exactly: its cell is read from them again.

Of the blocks that are whole, the luma coefficients of the decoded pixels lie near multiples of the
quantiser's steps, off by the rounding of the pixels. Which quality the steps are of is estimated
for each file, by the phases of the coefficients (`jpeg_traces`); own outputs go through the same.
Chroma is compared only where it was not subsampled: what enlarged it again is not known.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits.codecs import JpegEdit
from deniability.imaging.edits.edit import Edit
from deniability.imaging.edits.warp import Mirrored
from deniability.imaging.handling import STEPS, Handling, Observations
from deniability.imaging.jpeg_operator import coefficients, dct_matrix
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.wire.observation import ObservationKind

_SMALLEST_STEP = 2.0  # finer steps are smeared away by the rounding of pixels


@lru_cache(maxsize=256)
def ijg_steps(quality: int, *, colour: bool) -> Tensor:
    """Return the quantiser steps of a block's coefficients, in order of components: `c x 64`."""
    luma, chroma = ijg_tables(quality)
    tables = [luma, chroma, chroma] if colour else [luma]
    return torch.tensor(tables, dtype=torch.float64)


class DecodedJpegHandling(EditedHandling):
    """A cell of DCT coefficients, as estimated from decoded pixels."""

    def __init__(
        self, kind: ObservationKind, edit: Edit, first: JpegEdit, stored: Handling
    ) -> None:
        self._qualities = range(first.lowest, first.highest + 1)
        self._colour = kind.model_channels == 3 and first.subsampling == "4:4:4"
        self._turned = isinstance(edit, Mirrored)
        self._rows, self._columns = kind.height // 8, kind.width // 8
        self._layout = kind.model_copy(
            update={
                "family": "jpeg",
                "components": "ycc444" if kind.model_channels == 3 else "gray",
                "height": 8 * self._rows,
                "width": 8 * self._columns,
                "channels": kind.model_channels,
                "orientation": 1,
            }
        )
        self._dct = dct_matrix().to(stored.device)
        super().__init__(kind, edit, stored)

    def to(self, device: torch.device | str) -> DecodedJpegHandling:
        """Return this handling with its constants on another device."""
        moved = super().to(device)
        moved._dct = self._dct.to(moved.device)  # noqa: SLF001 - a copy of this very class
        return moved

    def operator(self, pictures: Tensor) -> Tensor:
        """B x C x H x W in [0, 1] to the coefficients of whole blocks, in units of 127.5 steps."""
        whole = self._whole_blocks(pictures)
        found = coefficients(whole, self._layout, self._dct)
        return found if self._colour else found[:, : 64 * self._rows * self._columns]

    def shown(self, observations: Observations) -> Observations:
        """Take the decoded pixels for what they were decoded from."""
        values = self.operator(observations.pixels.to(self.device)).cpu().double() * STEPS
        components = 3 if self._colour else 1
        blocks = values.reshape(len(values), components, -1, 64)
        steps = torch.stack([ijg_steps(q, colour=self._colour) for q in self._estimated(blocks)])
        steps = steps[:, :, None, :]
        whole = (blocks / steps).round() * steps
        # Where the decoder clipped, or where steps are finer than the rounding of the pixels, the
        # multiple is not known; the coefficient itself is near it.
        unsure = self._clipped(observations.pixels)[:, None, :, None] | (steps < _SMALLEST_STEP)
        centre = torch.where(unsure, blocks, whole)
        return Observations(
            low=((centre - steps / 2).flatten(1) / STEPS).float(),
            high=((centre + steps / 2).flatten(1) / STEPS).float(),
            centre=(centre.flatten(1) / STEPS).float(),
            pixels=observations.pixels,
        )

    def _whole_blocks(self, pictures: Tensor) -> Tensor:
        """Return the part of pictures `... x H x W` that is whole blocks, as compressed."""
        turned = pictures.flip(-1) if self._turned else pictures
        return turned[..., : 8 * self._rows, : 8 * self._columns]

    def _clipped(self, pixels: Tensor) -> Tensor:
        """Tell of each whole block whether a pixel of it is at either end of the range: N x b."""
        ends = self._whole_blocks(((pixels <= 0) | (pixels >= 1)).any(dim=1))
        blocks = ends.reshape(-1, self._rows, 8, self._columns, 8)
        return blocks.any(dim=4).any(dim=2).flatten(1)

    def _estimated(self, blocks: Tensor) -> list[int]:
        """Estimate the quality of each file from its luma coefficients, `N x c x b x 64`."""
        luma = blocks[:, 0]
        scores = []
        for quality in self._qualities:
            steps = ijg_steps(quality, colour=False)[0]
            judged = (luma.abs() > steps / 2) & (steps >= _SMALLEST_STEP)
            judged[..., 0] = False  # the mean of a block can lie on any grid by accident
            phases = torch.where(judged, torch.cos(2 * torch.pi * luma / steps), 0.0)
            count = judged.sum(dim=(1, 2)).clamp_min(1)
            scores.append(phases.sum(dim=(1, 2)) / (count / 2).sqrt())
        best = torch.stack(scores).argmax(dim=0)
        return [self._qualities[place] for place in best.tolist()]
