"""Moving pictures: mirror, shift, crop and rotation, by bicubic interpolation.

`torch`'s grid sampling has no forward derivative. A rotation gathers and weights the sixteen
neighbours of every pixel; all else moves along the axes and is two products with matrices of
weights, which takes a fraction of the time. The weights are differentiable in the position, the
places are not and need not be. The kernels are Pillow's (Keys 1981): a = -1/2 where it resizes, -1
where it transforms.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.normal import Float64Array

_RESIZE, _TRANSFORM = -0.5, -1.0
_MANY = 512  # places that a start is chosen from
_HALF_STEP = 0.5 / 255


def _kernel(distance: Tensor, a: float | Tensor) -> Tensor:
    """Keys' cubic convolution kernel at distances >= 0."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def bicubic(pictures: Tensor, rows: Tensor, columns: Tensor, a: float) -> Tensor:
    """Sample pictures at given places; outside them the nearest pixel counts.

    Args:
        pictures: B x C x H x W.
        rows: B x P, in pixels, 0 the centre of the first row.
        columns: B x P, likewise.
        a: of the kernel.

    Returns:
        B x C x P.

    """
    height, width = pictures.shape[-2:]
    flat = pictures.flatten(2)
    top, left = rows.detach().floor(), columns.detach().floor()
    total = torch.zeros_like(flat[:, :, :1])
    for i in range(-1, 3):
        weight_row = _kernel((rows - (top + i)).abs(), a)
        row = (top + i).clamp(0, height - 1)
        across = torch.zeros_like(flat[:, :, :1])
        for j in range(-1, 3):
            weight = _kernel((columns - (left + j)).abs(), a)
            place = (row * width + (left + j).clamp(0, width - 1)).long()
            index = place[:, None].expand(-1, flat.shape[1], -1)
            across = across + flat.gather(2, index) * weight[:, None]
        total = total + across * weight_row[:, None]
    return total


def bicubic_matrix(places: Tensor, size: int, a: float | Tensor) -> Tensor:
    """Return the weights `B x P x size` by which places `B x P` along one axis are sampled.

    `a` is the kernel's, one for all or `B x 1`.
    """
    start = places.detach().floor()
    pixels = torch.arange(size, device=places.device)
    total = torch.zeros_like(places[:, :, None])
    for i in range(-1, 3):
        weight = _kernel((places - (start + i)).abs(), a)
        taken = (start + i).clamp(0, size - 1)[:, :, None] == pixels
        total = total + weight[:, :, None] * taken.to(weight)
    return total


class Warp(Edit):
    """A geometric edit: each pixel of the file is one place of the output."""

    kernel: ClassVar[float] = _TRANSFORM
    #: Whether rows stay rows and columns columns.
    along_axes: ClassVar[bool] = True
    #: By how much values are smaller than interpolated: Pillow's transforms do not round.
    lost: ClassVar[float] = 0.0

    @abstractmethod
    def matrix(self, parameters: Tensor) -> Tensor:
        """Return `B x 2 x 3`: from (column, row, 1) of the file to (column, row) of the output.

        Both are counted from the middle of the picture.
        """

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow do it, bicubic."""
        del seed
        affine = self.matrix(torch.from_numpy(parameters)[None])[0].numpy()
        # Pillow counts from the corner of a pixel.
        middle_in = np.array([self.width, self.height]) / 2
        middle_out = np.array([self.file_width, self.file_height]) / 2
        offset = middle_in - affine[:, :2] @ middle_out + affine[:, 2]
        data = np.column_stack([affine[:, :2], offset]).ravel().tolist()
        planes = [
            np.asarray(
                Image.fromarray(plane).transform(
                    (self.file_width, self.file_height),
                    Image.Transform.AFFINE,
                    data,
                    resample=Image.Resampling.BICUBIC,
                )
            )
            for plane in picture
        ]
        return np.stack(planes)

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Sample the output where each pixel of the file comes from."""
        size = (self.file_height, self.file_width)
        sampled = self._sampled(pictures, self.matrix(parameters), size)
        return (sampled - self.lost).clamp(0, 1)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Sample the file where each pixel of the output went."""
        affine = self.matrix(parameters)
        linear = torch.linalg.inv(affine[:, :, :2])
        inverse = torch.cat([linear, -linear @ affine[:, :, 2:]], dim=2)
        return self._sampled(seen, inverse, (self.height, self.width)).clamp(0, 1)

    def _sampled(
        self,
        pictures: Tensor,
        affine: Tensor,
        size: tuple[int, int],
        kernel: Tensor | None = None,
    ) -> Tensor:
        height, width = size
        a = self.kernel if kernel is None else kernel
        y = torch.arange(height, device=pictures.device, dtype=affine.dtype) - (height - 1) / 2
        x = torch.arange(width, device=pictures.device, dtype=affine.dtype) - (width - 1) / 2
        middle_row, middle_column = ((side - 1) / 2 for side in pictures.shape[-2:])
        if self.along_axes:
            columns = affine[:, 0, :1] * x + affine[:, 0, 2:] + middle_column
            rows = affine[:, 1, 1:2] * y + affine[:, 1, 2:] + middle_row
            across = bicubic_matrix(columns, pictures.shape[-1], a)
            down = bicubic_matrix(rows, pictures.shape[-2], a)
            between = pictures @ across[:, None].transpose(-1, -2)
            # Resizing takes two passes, each clipped.
            if kernel is not None:
                resized = (kernel > (_RESIZE + _TRANSFORM) / 2)[:, :, None, None]
                between = torch.where(resized, between.clamp(0, 1), between)
            elif self.kernel == _RESIZE:
                between = between.clamp(0, 1)
            return down[:, None] @ between
        grid = torch.stack(
            [x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)]
        )
        places = affine @ grid  # B x 2 x P
        sampled = bicubic(
            pictures, places[:, 1] + middle_row, places[:, 0] + middle_column, self.kernel
        )
        return sampled.reshape(*pictures.shape[:2], height, width)

    def _border(self, pixels: int) -> npt.NDArray[np.bool_]:
        seen = np.zeros((self.file_height, self.file_width), dtype=np.bool_)
        seen[pixels : self.file_height - pixels, pixels : self.file_width - pixels] = True
        return seen


def affine(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """Return `B x 2 x 3` of rows (a, b, c) and (d, e, f), each `B`."""
    return torch.stack([torch.stack([a, b, c], dim=1), torch.stack([d, e, f], dim=1)], dim=1)


class Mirrored(Edit):
    """Left and right swapped."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Turn the columns round."""
        del parameters, seed
        return np.ascontiguousarray(picture[:, :, ::-1])

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Turn the columns round."""
        del parameters
        return pictures.flip(-1)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Turn them back."""
        return self.model(seen, parameters)


class Shifted(Warp):
    """Moved by up to two pixels along each axis; the border that this uncovers does not count."""

    parameters: ClassVar[int] = 2
    pixels: ClassVar[float] = 2.0
    lost: ClassVar[float] = _HALF_STEP

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return the translation."""
        dx, dy = (self.pixels * parameters).unbind(1)
        one, zero = torch.ones_like(dx), torch.zeros_like(dx)
        return affine(one, zero, dx, zero, one, dy)

    def visible(self) -> npt.NDArray[np.bool_]:
        """All but four pixels along each side: the shift and the kernel."""
        return self._border(4)


class Cropped(Warp):
    """Up to a fifth of each side cut off, not always in the middle, then enlarged to its size."""

    parameters: ClassVar[int] = 3
    kernel: ClassVar[float] = _RESIZE
    share: ClassVar[float] = 0.2

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow resize the part to the file's size, bicubic."""
        del seed
        affine = self.matrix(torch.from_numpy(parameters)[None])[0].numpy()
        width = affine[0, 0] * self.file_width
        height = affine[1, 1] * self.file_height
        left = (self.width - width) / 2 + affine[0, 2]
        top = (self.height - height) / 2 + affine[1, 2]
        box = (
            max(0.0, left),
            max(0.0, top),
            min(float(self.width), left + width),
            min(float(self.height), top + height),
        )
        resized = as_image(picture).resize(
            (self.file_width, self.file_height), resample=Image.Resampling.BICUBIC, box=box
        )
        return as_picture(resized)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return scale 1 - c, c in [0, 1/5], and where in the slack of both axes it lies."""
        cut = self.share * (1 + parameters[:, 0]) / 2
        dx = cut * parameters[:, 1] * self.width / 2
        dy = cut * parameters[:, 2] * self.height / 2
        zero = torch.zeros_like(cut)
        return affine(
            (1 - cut) * self.width / self.file_width,
            zero,
            dx,
            zero,
            (1 - cut) * self.height / self.file_height,
            dy,
        )

    def visible(self) -> npt.NDArray[np.bool_]:
        """All but two pixels along each side, which the kernel needs."""
        return self._border(2)


class Rotated(Warp):
    """Turned about the middle by up to five degrees; what that uncovers does not count."""

    parameters: ClassVar[int] = 1
    along_axes: ClassVar[bool] = False
    degrees: ClassVar[float] = 5.0
    lost: ClassVar[float] = _HALF_STEP

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return the rotation."""
        angle = parameters[:, 0] * (self.degrees * torch.pi / 180)
        cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
        return affine(cosine, -sine, zero, sine, cosine, zero)

    def visible(self) -> npt.NDArray[np.bool_]:
        """Everything that no rotation of the bin takes from within two pixels of the outside."""
        return self._border(2 + int(np.ceil(max(self.height, self.width) / 2 * np.sin(0.11))))


class _Placed(Warp):
    """A place on the grid of pixels, given by how much room there is along each axis."""

    parameters: ClassVar[int] = 2

    def sample(self, seed: bytes) -> Float64Array:
        """Draw a place on the grid."""
        placed: Float64Array = self._on_grid(super().sample(seed)[None])[0]
        return placed

    def candidates(self, drawn: Float64Array) -> Float64Array:
        """Return every place of the grid if they are few, else draws on it."""
        across, down = self._room()
        if (across + 1) * (down + 1) > _MANY:
            return self._on_grid(drawn)
        axes = [np.linspace(-1, 1, n + 1) if n else np.zeros(1) for n in (across, down)]
        places: Float64Array = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        return places

    def _on_grid(self, drawn: Float64Array) -> Float64Array:
        room = np.array(self._room(), dtype=np.float64)
        chosen = np.minimum(np.floor((drawn + 1) / 2 * (room + 1)), room)
        return np.asarray(np.where(room > 0, 2 * chosen / np.maximum(room, 1) - 1, 0.0))

    def _room(self) -> tuple[int, int]:
        """Return by how many columns and rows file and output differ."""
        return abs(self.width - self.file_width), abs(self.height - self.file_height)

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return the translation."""
        dx = parameters[:, 0] * (self.width - self.file_width) / 2
        dy = parameters[:, 1] * (self.height - self.file_height) / 2
        one, zero = torch.ones_like(dx), torch.zeros_like(dx)
        return affine(one, zero, dx, zero, one, dy)


class CutOut(_Placed):
    """A part of the output, at its own scale, from anywhere in it."""


class Framed(_Placed):
    """The output with a border around it, as much on both sides or not."""

    def visible(self) -> npt.NDArray[np.bool_]:
        """Only what every place shows of the output; of the border nothing is known."""
        seen = np.zeros((self.file_height, self.file_width), dtype=np.bool_)
        columns, rows = self._room()
        seen[rows : self.file_height - rows, columns : self.file_width - columns] = True
        return seen
