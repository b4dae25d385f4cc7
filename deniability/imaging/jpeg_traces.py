"""Whether pixels that were stored exactly were a JPEG before (a PNG decoded from one, say).

The luma of a decoded JPEG has 8x8 DCT coefficients near multiples of the quantiser's steps; other
pictures have them anywhere. Source: Fan and de Queiroz, Identification of bitmap compression
history, IEEE Transactions on Image Processing 12(2), 2003, asks it by likelihood; here the phase of
the coefficients is tested against the tables that libjpeg writes at each quality.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deniability.imaging.jpeg_operator import dct_matrix
from deniability.imaging.jpeg_tables import ijg_tables

#: Smallest z that counts: under no compression about 1e-8 per quality.
_SIGNIFICANT = 5.6
#: Fewest coefficients beyond half a step that are judged.
_FEWEST = 8
#: Steps that rounding the decoded pixels has not smeared away, in pixel steps.
_SMALLEST_STEP = 2

CAUTION = (
    "the pixels look as if they had been saved as JPEG before (quality about {quality}), which "
    "was not examined"
)


def jpeg_quality_before(pixels: npt.NDArray[np.uint8]) -> int | None:
    """Return the quality of libjpeg whose tables fit the pixels, or None if none does.

    Args:
        pixels: H x W x C uint8, C 1 or 3, on the grid on which a JPEG would have had its blocks.

    Returns:
        The quality that fits best; its coefficients' phases would be as they are by accident with
        probability below 1e-6. None also for pictures without a whole block, and for the highest
        qualities, whose steps the rounding of pixels hides.

    """
    coefficients = _luma_coefficients(pixels)
    best, quality = _SIGNIFICANT, None
    for candidate in range(1, 101):
        steps = np.array(ijg_tables(candidate)[0], dtype=np.float64).reshape(8, 8)
        judged = (np.abs(coefficients) > steps / 2) & (steps >= _SMALLEST_STEP)
        judged[:, 0, 0] = False  # the mean of a block can lie on any grid by accident
        count = int(judged.sum())
        if count < _FEWEST:
            continue
        phases = np.cos(2 * np.pi * coefficients / steps)[judged]
        z = float(phases.sum()) / math.sqrt(count / 2)  # a cosine of a uniform phase: variance 1/2
        if z > best:
            best, quality = z, candidate
    return quality


def _luma_coefficients(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """DCT of the whole 8x8 blocks, N x 8 x 8, in pixel steps."""
    planes = pixels.astype(np.float64)
    luma = planes @ np.array([0.299, 0.587, 0.114]) if planes.shape[2] == 3 else planes[..., 0]
    rows, columns = luma.shape[0] // 8, luma.shape[1] // 8
    blocks = luma[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    dct = dct_matrix().double().numpy()
    transformed: npt.NDArray[np.float64] = dct @ blocks.reshape(-1, 8, 8) @ dct.T
    return transformed
