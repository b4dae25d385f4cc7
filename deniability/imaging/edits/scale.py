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

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@lru_cache(maxsize=4096)
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
    modes: ClassVar[bool] = True
    smallest: ClassVar[float]
    largest: ClassVar[float]

    def __init__(self, kind: ObservationKind) -> None:
        super().__init__(kind)
        filters = itertools.product(("bilinear", "bicubic", "lanczos"), repeat=2)
        self._modes = [
            (*size, there, back)
            for size, (there, back) in itertools.product(self._sizes(), list(filters))
        ]

    def _sizes(self) -> list[tuple[int, int]]:
        """Return every size between that a factor of the bin gives: (height, width)."""
        finest = 4 * max(self.height, self.width)
        first, last = math.ceil(self.smallest * finest), math.floor(self.largest * finest)
        sizes = {
            (round(n * self.height / finest), round(n * self.width / finest))
            for n in range(first, last + 1)
        }
        own = (self.height, self.width)
        return sorted(size for size in sizes if size != own and min(size) > 0) or [own]

    def _matrices(self, axis: int, size: int, places: list[int]) -> tuple[Tensor, Tensor]:
        """Return these modes' matrices there, `B x b x size`, and back, `B x size x b`.

        b is the largest size between; smaller ones are filled up with zeros.
        """
        modes = [self._modes[place] for place in places]
        lengths = [(mode[0], mode[1])[axis] for mode in modes]
        largest = max(lengths)
        there = np.zeros((len(modes), largest, size), np.float32)
        back = np.zeros((len(modes), size, largest), np.float32)
        for number, (mode, length) in enumerate(zip(modes, lengths, strict=True)):
            there[number, :length] = resize_matrix(size, length, mode[2])
            back[number, :, :length] = resize_matrix(length, size, mode[3])
        return torch.from_numpy(there), torch.from_numpy(back)

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
        places = self._place(parameters[:, 0]).tolist()
        rows, columns = (
            [matrix.to(pictures)[:, None] for matrix in self._matrices(axis, size, places)]
            for axis, size in ((0, self.height), (1, self.width))
        )
        for down, across in zip(rows, columns, strict=True):
            pictures = (down @ (pictures @ across.transpose(-1, -2)).clamp(0, 1)).clamp(0, 1)
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
