"""Several edits in a row, found together: as a picture looks after a screenshot and some polish."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from deniability.imaging.edits.edit import Picture8
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.edits.warp import Warp, affine
from deniability.imaging.normal import Float64Array

_SCALE, _SPREAD = 0.95, 0.15  # pixels of the output for one of the file: 0.8 to 1.1
_PIXELS = 2.0
_GAIN, _OFFSET = 0.1, 12 / 255
_LOST = 0.5 / 255
_KERNEL, _KERNELS = -0.75, 0.25  # of the cubic kernel: -1 where Pillow transforms, -1/2 resizing


class Composite(Warp):
    """Scaled and moved, then changed in brightness and contrast; 8-bit values in between.

    By which of two programs it was scaled is not known, so the kernel is searched for, too.
    """

    parameters: ClassVar[int] = 6
    raced: ClassVar[int] = 3

    def matrix(self, parameters: Tensor) -> Tensor:
        """Return scale and translation, from the first three parameters."""
        scale = _SCALE + _SPREAD * parameters[:, 0]
        dx, dy = (_PIXELS * parameters[:, 1:3]).unbind(1)
        zero = torch.zeros_like(scale)
        return affine(scale, zero, dx, zero, scale, dy)

    def sample(self, seed: bytes) -> Float64Array:
        """Draw the parameters; the last one, the kernel's, is that of one of the two programs."""
        parameters = super().sample(seed)
        resized = parameters[5] > 0 and self._box(parameters) is not None
        parameters[5] = 1.0 if resized else -1.0
        return parameters

    def candidates(self, drawn: Float64Array) -> Float64Array:
        """Begin with the tone unchanged: it is found from anywhere."""
        plain: Float64Array = drawn.copy()
        plain[:, 3:] = 0.0
        return plain

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Let Pillow scale and move it, then compute the tone, and round twice."""
        if parameters[5] > 0:
            box = self._box(parameters)
            size = (self.file_width, self.file_height)
            moved = as_picture(as_image(picture).resize(size, Image.Resampling.BICUBIC, box=box))
        else:
            moved = super().apply(picture, parameters, seed)
        values = torch.from_numpy(moved.astype(np.float64) / 255)[None]
        toned = self._toned(values, torch.from_numpy(parameters)[None])[0].numpy()
        rounded: Picture8 = np.rint(toned * 255).astype(np.uint8)
        return rounded

    def model(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        """Sample the output, then change the tone."""
        size = (self.file_height, self.file_width)
        kernel = _KERNEL + _KERNELS * parameters[:, 5:6]
        moved = self._sampled(pictures, self.matrix(parameters), size, kernel)
        lost = _LOST * (1 - parameters[:, 5, None, None, None]) / 2  # transforms do not round
        return self._toned((moved - lost).clamp(0, 1), parameters)

    def undo(self, seen: Tensor, parameters: Tensor) -> Tensor:
        """Undo the tone where nothing was clipped, then sample the file."""
        gain, offset = self._tone(parameters)
        return super().undo(((seen - 0.5 - offset) / gain + 0.5).clamp(0, 1), parameters)

    def visible(self) -> npt.NDArray[np.bool_]:
        """All that shows the output, and not what is beyond it, at every scale and place."""
        largest = _SCALE + _SPREAD
        seen = np.zeros((self.file_height, self.file_width), dtype=np.bool_)
        spans = [
            int(np.ceil(side / 2 - (side / 2 - _PIXELS - 2) / largest))
            for side in (self.height, self.width)
        ]
        rows, columns = (slice(s, -s) for s in spans)
        seen[rows, columns] = True
        return seen

    def _box(self, parameters: Float64Array) -> tuple[float, float, float, float] | None:
        """Return the part of the output that is enlarged; None if it would reach beyond it."""
        affine = self.matrix(torch.from_numpy(parameters)[None])[0].numpy()
        width, height = affine[0, 0] * self.file_width, affine[1, 1] * self.file_height
        left = (self.width - width) / 2 + affine[0, 2]
        top = (self.height - height) / 2 + affine[1, 2]
        inside = left >= 0 and top >= 0 and left + width <= self.width
        if not inside or top + height > self.height:
            return None
        return (float(left), float(top), float(left + width), float(top + height))

    @staticmethod
    def _tone(parameters: Tensor) -> tuple[Tensor, Tensor]:
        gain, offset = (p[:, None, None, None] for p in parameters[:, 3:5].unbind(1))
        return 1 + _GAIN * gain, _OFFSET * offset

    def _toned(self, pictures: Tensor, parameters: Tensor) -> Tensor:
        gain, offset = self._tone(parameters)
        return (gain * (pictures - 0.5) + 0.5 + offset).clamp(0, 1)
