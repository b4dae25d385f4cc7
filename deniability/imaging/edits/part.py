"""A part of the output, resized to the file's size: cut to another shape, and scaled."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.normal import Float64Array

_SHARE = 0.2  # of each side, cut off at most
_BICUBIC = -0.5  # Pillow's when it resizes
_SMALLEST = 1e-8  # of the weights' sum, which is near 1


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys, Cubic convolution interpolation for digital image processing, 1981."""
    x, a = distance.abs(), _BICUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(distance: Tensor) -> Tensor:
    window = torch.sinc(distance) * torch.sinc(distance / 3)
    return torch.where(distance.abs() < 3, window, torch.zeros_like(window))


_KERNELS = {
    "bilinear": (_bilinear, Image.Resampling.BILINEAR),
    "bicubic": (_bicubic, Image.Resampling.BICUBIC),
    "lanczos": (_lanczos, Image.Resampling.LANCZOS),
}
_SUPPORT = {"bilinear": 1, "bicubic": 2, "lanczos": 3}


def span_matrix(start: Tensor, extent: Tensor, source: int, target: int, name: str) -> Tensor:
    """Return the weights by which an axis is resized from a span of it, as Pillow has them.

    Args:
        start: B, where the span begins, in pixels from the edge.
        extent: B, how long it is.
        source: pixels of the axis.
        target: pixels of the result.
        name: of the filter.

    Returns:
        B x target x source; differentiable in `start` and `extent`.

    """
    kernel, _ = _KERNELS[name]
    pixels = torch.arange(max(source, target), device=start.device, dtype=start.dtype) + 0.5
    scale = extent / target
    # Beyond the edge there is nothing: the outermost pixels stand for it.
    centres = (start[:, None] + pixels[:target] * scale[:, None]).clamp(0, source)
    widened = scale.clamp(min=1)[:, None, None]
    weights = kernel((pixels[:source] - centres[:, :, None]) / widened)
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=_SMALLEST)


class Part(Edit):
    """Up to a fifth of each side cut off, at either end, and the rest resized by one filter.

    Parameters: for columns, then rows, how much is cut off and where in the slack the part lies.
    """

    parameters: ClassVar[int] = 4
    resampling: ClassVar[str]

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow resize the part."""
        del seed
        (left, width), (top, height) = (
            (float(start), float(extent))
            for start, extent in self._spans(torch.from_numpy(parameters)[None])
        )
        box = (
            max(0.0, left),
            max(0.0, top),
            min(float(self.width), left + width),
            min(float(self.height), top + height),
        )
        _, resample = _KERNELS[self.resampling]
        size = (self.file_width, self.file_height)
        return as_picture(as_image(picture).resize(size, resample=resample, box=box))

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Weigh columns, then rows; it clips between its two passes."""
        (left, width), (top, height) = self._spans(parameters)
        across = span_matrix(left, width, self.width, self.file_width, self.resampling)
        down = span_matrix(top, height, self.height, self.file_height, self.resampling)
        return self._weighed(pictures, across, down)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Put the part where it was; around it, what lies at its edge."""
        (left, width), (top, height) = self._spans(parameters)
        matrices = []
        for start, extent, file, side in (
            (left, width, self.file_width, self.width),
            (top, height, self.file_height, self.height),
        ):
            finer = file / extent  # pixels of the file for one of the output
            matrices.append(span_matrix(-start * finer, side * finer, file, side, "bilinear"))
        return self._weighed(seen, *matrices)

    def visible(self) -> npt.NDArray[np.bool_]:
        """All whose kernel stays within the part: who cuts first and then resizes has no more."""
        shown = np.zeros((self.file_height, self.file_width), dtype=np.bool_)
        support, least = _SUPPORT[self.resampling], 1 - _SHARE
        rows, columns = (
            slice(edge, file - edge)
            for file, edge in (
                (file, math.ceil(support * max(1.0, file / (least * side))))
                for file, side in (
                    (self.file_height, self.height),
                    (self.file_width, self.width),
                )
            )
        )
        shown[rows, columns] = True
        return shown

    def _spans(self, parameters: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return start and extent of the part, `B` each, of columns and of rows."""
        found = []
        for first, side in ((0, self.width), (2, self.height)):
            cut = _SHARE * (1 + parameters[:, first]) / 2 * side
            found.append((cut * (1 + parameters[:, first + 1]) / 2, side - cut))
        return found[0], found[1]

    @staticmethod
    def _weighed(pictures: Tensor, across: Tensor, down: Tensor) -> Tensor:
        between = (pictures @ across[:, None].transpose(-1, -2)).clamp(0, 1)
        return (down[:, None] @ between).clamp(0, 1)


def part(name: str) -> type[Edit]:
    """Return the family of parts that were resized by this filter of Pillow."""
    return type("Part", (Part,), {"resampling": name})
