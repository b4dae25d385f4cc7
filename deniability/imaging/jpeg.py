"""JPEG files: a coefficient says that the output's lay within half a quantiser step of it."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from deniability.errors import ImageError
from deniability.imaging.decode import Picture
from deniability.imaging.handling import Handling, Observations, Pixels


class JpegRead(NamedTuple):
    """What reading the coefficients gave; no handling where they cannot be used."""

    handling: JpegHandling | None
    observations: Observations
    cautions: tuple[str, ...]


class JpegHandling(Handling):
    """A cell of DCT coefficients."""

    base_floor: ClassVar[Fraction] = Fraction(0)

    def operator(self, pictures: Tensor) -> Tensor:
        """B x C x H x W in [0, 1] to B x m."""
        raise ImageError("JPEG is not supported yet")

    def save(self, pictures: Pixels) -> Observations:
        """Save own outputs with the file's tables and sampling."""
        raise ImageError("JPEG is not supported yet")


def observe_jpeg(
    picture: Picture, data: bytes, *, model_channels: int, where: str, device: torch.device | str
) -> JpegRead:
    """Read the coefficients of a JPEG."""
    raise ImageError("JPEG is not supported yet", where=where)
