"""Coefficients chosen by rate and distortion, as mozjpeg's trellis does it.

An encoder that rounds leaves each coefficient in its cell. This one weighs bits against squared
error, block by block, and moves some towards zero: own outputs saved so miss the cell by far more.
Which runs of zeros and which sizes a block is coded with is a shortest path over its frequencies in
zigzag order (Crouse and Ramchandran, Joint thresholding and quantizer selection for transform image
coding, IEEE Transactions on Image Processing 6(2), 1997). The weight of the error is mozjpeg's,
smaller where a block is busy; bits are those of the tables of T.81, annex K. First coefficients are
rounded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from deniability.imaging.jpeg_tables import STANDARD_HUFFMAN, ZIGZAG

#: Weight of a squared error of one quantiser step, in bits, of a block without detail, times the
#: damping; and what the mean square of a block's coefficients, in pixel steps, is added to.
_WEIGHT = 2.0**14.75
_DAMPING = 2.0**10.5
_NEVER = 1e30


@cache
def _sizes(*, chroma: bool) -> npt.NDArray[np.float64]:
    """Code lengths of annex K by run and size, 16 x 11; (0, 0) ends a block, (15, 0) is a run."""
    table = STANDARD_HUFFMAN[0x11 if chroma else 0x10]
    lengths = np.repeat(np.arange(1, 17), list(table[:16]))
    sizes = np.full((16, 11), _NEVER)
    for symbol, length in zip(table[16:], lengths, strict=True):
        sizes[symbol >> 4, symbol & 15] = length
    return sizes


def trellis(
    values: npt.NDArray[np.float64], steps: npt.NDArray[np.float64], *, chroma: bool
) -> npt.NDArray[np.int64]:
    """Quantise blocks.

    Args:
        values: N x 64 coefficients in natural order, in pixel steps.
        steps: 64 quantiser steps, in pixel steps.
        chroma: which of the two tables of code lengths counts.

    Returns:
        N x 64 multiples of the steps.

    """
    order = np.array(ZIGZAG)
    weight = _WEIGHT / (_DAMPING + np.mean(values[:, 1:] ** 2, axis=1))
    scaled = values / steps
    rounded = np.rint(scaled)
    heights = np.abs(scaled)[:, order]
    nearest = np.abs(rounded)[:, order].astype(np.int64)
    chosen = _shortest(heights, nearest, weight, _sizes(chroma=chroma))
    result = np.empty_like(nearest)
    result[:, order] = chosen
    result = np.where(values < 0, -result, result)
    result[:, 0] = rounded[:, 0]
    return result


def _shortest(
    heights: npt.NDArray[np.float64],
    nearest: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Find the cheapest magnitudes of N blocks: `N x 64` in zigzag order, the first left out."""
    count = len(heights)
    # What it costs to put 0 for the first i frequencies.
    zeroed = np.cumsum(weight[:, None] * np.where(np.arange(64) > 0, heights**2, 0), axis=1)
    cost = np.full((count, 64), _NEVER)  # of the best coding that has a coefficient here, so far
    cost[:, 0] = 0
    before = np.zeros((count, 64), np.int64)
    kept = np.zeros((count, 64), np.int64)
    for i in range(1, 64):
        rows = np.flatnonzero(nearest[:, i])
        if not len(rows):
            continue
        levels, bits, wrong = _candidates(heights[rows, i], nearest[rows, i], weight[rows])
        runs = i - 1 - np.arange(i)
        # rows x places before x candidates
        rate = sizes[runs & 15][:, bits] + bits + (runs >> 4)[:, None] * sizes[15, 0]
        passed = cost[rows, :i] + zeroed[rows, i - 1, None] - zeroed[rows, :i]
        total = passed[:, :, None] + rate[None] + wrong[:, None, :]
        flat = total.reshape(len(rows), -1)
        best = flat.argmin(axis=1)
        cost[rows, i] = flat[np.arange(len(rows)), best]
        place, which = np.divmod(best, len(bits))
        before[rows, i] = place
        kept[rows, i] = levels[np.arange(len(rows)), which]
    ends = cost + zeroed[:, -1:] - zeroed + np.where(np.arange(64) < 63, sizes[0, 0], 0)
    return _traced(ends.argmin(axis=1), before, kept)


def _candidates(
    heights: npt.NDArray[np.float64],
    nearest: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Levels to choose from: the nearest, and the largest that fits each fewer bits.

    Returns:
        Levels `rows x c`, their bits `c`, and what their error costs `rows x c`.

    """
    bits = np.arange(1, int(nearest.max()).bit_length() + 1)
    levels = np.minimum(2**bits - 1, nearest[:, None])
    wrong = weight[:, None] * (levels - heights[:, None]) ** 2
    # A level below the nearest's own size would be counted with too many bits.
    repeated = (bits > 1) & (2 ** (bits - 1) > nearest[:, None])
    return levels, bits, np.where(repeated, _NEVER, wrong)


def _traced(
    last: npt.NDArray[np.int64], before: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Walk each block's path back from its last coefficient; all others are 0."""
    result = np.zeros_like(kept)
    rows, place = np.arange(len(last)), last.copy()
    while (place > 0).any():
        here = place > 0
        result[rows[here], place[here]] = kept[rows[here], place[here]]
        place = np.where(here, before[rows, place], 0)
    return result
