"""The affine part of JPEG encoding, as libjpeg does it: everything before the rounding.

Colour transform (JFIF), chroma averaging, edge padding, level shift, 8x8 DCT. libjpeg rounds
after each of the first steps, to a pixel step or less; that noise is far below its quantiser.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deniability.imaging.handling import STEPS
from deniability.wire.observation import ObservationKind

#: Horizontal and vertical chroma subsampling.
SUBSAMPLING = {"gray": (1, 1), "ycc444": (1, 1), "ycc422": (2, 1), "ycc420": (2, 2)}


def stored_size(kind: ObservationKind) -> tuple[int, int]:
    """Rows and columns as stored, which EXIF orientations 5 to 8 swap."""
    turned = (kind.orientation or 1) >= 5
    return (kind.width, kind.height) if turned else (kind.height, kind.width)


def block_shapes(kind: ObservationKind) -> tuple[tuple[int, int], ...]:
    """Rows and columns of 8x8 blocks of each component (T.81, A.1.1 and A.2.4, without dummies)."""
    height, width = stored_size(kind)
    luma = (math.ceil(height / 8), math.ceil(width / 8))
    if kind.components is None or kind.components == "gray":
        return (luma,)
    across, down = SUBSAMPLING[kind.components]
    chroma = (math.ceil(height / (8 * down)), math.ceil(width / (8 * across)))
    return (luma, chroma, chroma)


def as_stored(pictures: Tensor, orientation: int) -> Tensor:
    """... x H x W as displayed to ... x H' x W' as stored: the inverse of EXIF's orientation."""
    if orientation >= 5:
        pictures = pictures.transpose(-2, -1)
    # 5 is a plain transposition; 6 is stored turned, so that the viewer turns it clockwise
    flips = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-2,), 7: (-2, -1), 8: (-1,)}
    dims = flips.get(orientation)
    return pictures if dims is None else pictures.flip(dims)


def dct_matrix() -> Tensor:
    """Orthonormal 8x8 DCT-II: row u holds the basis function of frequency u."""
    positions = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(positions[:, None] * (2 * positions[None, :] + 1) * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def coefficients(pictures: Tensor, kind: ObservationKind, dct: Tensor) -> Tensor:
    """Compute what a JPEG of this kind stores of these pictures, before dividing and rounding.

    Args:
        pictures: B x C x H x W float32 in [0, 1], as displayed.
        kind: of the jpeg family.
        dct: 8 x 8, from `dct_matrix`, on the device of the pictures.

    Returns:
        B x m: components in order, blocks row-major, 64 natural-order frequencies each, in units
        of 127.5 pixel steps.

    """
    stored = as_stored(pictures, kind.orientation or 1) * (255 / STEPS)
    shapes = block_shapes(kind)
    planes = _planes(stored, kind)
    across, down = SUBSAMPLING[kind.components or "gray"]
    parts = [_blocks(planes[0], shapes[0], dct)]
    for plane, shape in zip(planes[1:], shapes[1:], strict=True):
        parts.append(_blocks(_average(plane, across, down, 8 * shape[1]), shape, dct))
    return torch.cat(parts, dim=1)


def _planes(pictures: Tensor, kind: ObservationKind) -> tuple[Tensor, ...]:
    """B x C x H x W to level-shifted planes B x H x W: gray, or Y, Cb, Cr (JFIF 1.02, page 3)."""
    shift = 128 / STEPS
    if kind.components == "gray":
        return (pictures[:, 0] - shift,)
    if kind.model_channels == 1:
        gray = pictures[:, 0]
        return gray - shift, gray * 0, gray * 0
    red, green, blue = pictures[:, 0], pictures[:, 1], pictures[:, 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma - shift, (blue - luma) / 1.772, (red - luma) / 1.402


def _average(plane: Tensor, across: int, down: int, columns: int) -> Tensor:
    """Box-average as libjpeg does.

    It repeats the last column until every output column has its inputs, but the last row only
    until the last pair is full: further rows repeat the last *averaged* row (`_blocks` does).
    """
    plane = _extend(plane, down * math.ceil(plane.shape[-2] / down), across * columns)
    if across > 1:
        plane = (plane[..., 0::2] + plane[..., 1::2]) / 2
    if down > 1:
        plane = (plane[..., 0::2, :] + plane[..., 1::2, :]) / 2
    return plane


def _extend(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last column and row until the plane has this size."""
    right, below = columns - plane.shape[-1], rows - plane.shape[-2]
    if right > 0:
        edge = plane[..., -1:].expand(*plane.shape[:-1], right)
        plane = torch.cat((plane, edge), dim=-1)
    if below > 0:
        edge = plane[..., -1:, :].expand(*plane.shape[:-2], below, plane.shape[-1])
        plane = torch.cat((plane, edge), dim=-2)
    return plane


def _blocks(plane: Tensor, shape: tuple[int, int], dct: Tensor) -> Tensor:
    """B x H x W to B x (64 * blocks): DCT of each 8x8 block."""
    rows, columns = shape
    blocks = _extend(plane, 8 * rows, 8 * columns).reshape(-1, rows, 8, columns, 8)
    return torch.einsum("ui,bridj,vj->brduv", dct, blocks, dct).flatten(1)
