"""Scaled: down and up again, up and down again, or to another size.

Pillow's resize is separable and, but for rounding, linear: rows x picture x columns. Its matrices
are read off by resizing unit vectors, so they are Pillow's own.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.normal import Float64Array
from deniability.wire.observation import ObservationKind

_SIZES = 24  # sizes between that are told apart
_SMOOTH = ("bilinear", "bicubic", "lanczos")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@lru_cache(maxsize=64)
def resize_matrix(source: int, target: int, name: str) -> npt.NDArray[np.float32]:
    """Return the matrix `target x source` by which Pillow resizes one axis."""
    unit = Image.fromarray(np.eye(source, dtype=np.float32))
    matrix: npt.NDArray[np.float32] = np.asarray(
        unit.resize((source, target), resample=_FILTERS[name])
    )
    return matrix


class _ThereAndBack(Edit):
    """Scaled by a factor of a bin and back to the size it had, by two of Pillow's filters.

    The size between and the filters are one of finitely many, which a search tries all: its one
    parameter says which, and does not move.
    """

    parameters: ClassVar[int] = 1
    smallest: ClassVar[float]
    largest: ClassVar[float]

    def __init__(self, kind: ObservationKind) -> None:
        super().__init__(kind)
        heights = range(
            math.ceil(self.smallest * self.height), math.floor(self.largest * self.height) + 1
        )
        step = max(1, len(heights) // _SIZES)
        between = [h for h in heights[::step] if h != self.height] or [max(1, self.height - 1)]
        sizes = [(h, max(1, round(h * self.width / self.height))) for h in between]
        self._modes = [
            (*size, there, back)
            for size in sizes
            for there, back in itertools.product(_SMOOTH, repeat=2)
        ]
        self._there = [self._matrices(sizes, axis, back=False) for axis in (0, 1)]
        self._back = [self._matrices(sizes, axis, back=True) for axis in (0, 1)]

    def _matrices(self, sizes: list[tuple[int, int]], axis: int, *, back: bool) -> Tensor:
        """Return Pillow's matrices of one axis for each size and filter, filled up with zeros."""
        own = (self.height, self.width)[axis]
        largest = max(size[axis] for size in sizes)
        shape = (own, largest) if back else (largest, own)
        found = np.zeros((len(sizes) * len(_SMOOTH), *shape), dtype=np.float32)
        for place, (size, name) in enumerate(itertools.product(sizes, _SMOOTH)):
            ends = (size[axis], own) if back else (own, size[axis])
            matrix = resize_matrix(*ends, name)
            found[place, : matrix.shape[0], : matrix.shape[1]] = matrix
        return torch.from_numpy(found)

    def sample(self, seed: bytes) -> Float64Array:
        """Draw one of the modes."""
        return self._centre(self._place(torch.from_numpy(super().sample(seed))))

    def candidates(self, drawn: Float64Array) -> Float64Array:
        """Return every mode."""
        del drawn
        return self._centre(torch.arange(len(self._modes)))[:, None]

    def _place(self, parameters: Tensor) -> Tensor:
        count = len(self._modes)
        return ((parameters.detach() + 1) / 2 * count).floor().clamp(0, count - 1).long()

    def _centre(self, places: Tensor) -> Float64Array:
        return np.asarray((places.double() + 0.5) / len(self._modes) * 2 - 1)

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow do it."""
        del seed
        mode = self._modes[int(self._place(torch.from_numpy(parameters))[0])]
        between = as_image(picture).resize((mode[1], mode[0]), resample=_FILTERS[mode[2]])
        size = (self.width, self.height)
        return as_picture(between.resize(size, resample=_FILTERS[mode[3]]))

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Multiply by Pillow's matrices; it clips between its passes, columns first."""
        place, filters = self._place(parameters[:, 0]), len(_SMOOTH)
        there = place // filters
        back = place // filters**2 * filters + place % filters
        for (rows, columns), chosen in ((self._there, there), (self._back, back)):
            across = columns.to(pictures)[chosen][:, None].transpose(-1, -2)
            down = rows.to(pictures)[chosen][:, None]
            pictures = (down @ (pictures @ across).clamp(0, 1)).clamp(0, 1)
        return pictures


class Halved(_ThereAndBack):
    """Down to between half and three quarters, and up again."""

    smallest, largest = 0.5, 0.75


class Reduced(_ThereAndBack):
    """Down to between three quarters and nearly its size, and up again."""

    smallest, largest = 0.75, 0.97


class Enlarged(_ThereAndBack):
    """Up to between 1.03 times and twice its size, and down again."""

    smallest, largest = 1.03, 2.0


class _Resized(Edit):
    """Of another size than the model's outputs."""

    resampling: ClassVar[str]

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow resize it."""
        del parameters, seed
        size = (self.file_width, self.file_height)
        return as_picture(as_image(picture).resize(size, resample=_FILTERS[self.resampling]))

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Multiply by Pillow's matrices; it clips between its two passes."""
        del parameters
        return self._between(
            pictures, (self.height, self.width), (self.file_height, self.file_width)
        )

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Resize to the model's size."""
        del parameters
        back = ((self.file_height, self.file_width), (self.height, self.width))
        return self._between(seen, *back, name="bilinear")

    def _between(
        self,
        pictures: Tensor,
        source: tuple[int, int],
        target: tuple[int, int],
        name: str | None = None,
    ) -> Tensor:
        name = name or self.resampling
        rows = torch.from_numpy(resize_matrix(source[0], target[0], name).copy()).to(pictures)
        columns = torch.from_numpy(resize_matrix(source[1], target[1], name).copy()).to(pictures)
        return (rows @ (pictures @ columns.T).clamp(0, 1)).clamp(0, 1)


def resized(name: str) -> type[Edit]:
    """Return the family of pictures that were resized by this filter of Pillow."""
    return type("Resized", (_Resized,), {"resampling": name})
