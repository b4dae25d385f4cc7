"""A file, a model's output format, and what the one says about the other."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch

from deniability.errors import ImageError
from deniability.imaging.decode import Picture
from deniability.imaging.decoded_jpeg import DecodedJpegHandling
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits import build_edit
from deniability.imaging.edits.codecs import JpegEdit
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.jpeg import JpegHandling, observe_jpeg
from deniability.imaging.jpeg_traces import CAUTION, jpeg_quality_before
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.wire.observation import ObservationKind

__all__ = [
    "Handling",
    "Observations",
    "Observed",
    "build_handling",
    "cell_residual",
    "mean_squared",
    "observe",
]

Rounding = Literal["round", "truncate"]


class Observed(NamedTuple):
    """What `observe` found.

    Attributes:
        handling: operator, and how to make controls that are handled alike.
        observations: one observation, on the CPU.
        cautions: facts that forbid `excluded`; the picture's own are among them.
        transforms: what was done on the way; the picture's own are among them.

    """

    handling: Handling
    observations: Observations
    cautions: tuple[str, ...]
    transforms: tuple[str, ...]


def build_handling(kind: ObservationKind, *, device: torch.device | str = "cpu") -> Handling:
    """Return the handling of a kind, e.g. one read from a bundle."""
    family = LosslessHandling if kind.family == "lossless" else JpegHandling
    edit = build_edit(kind)
    if edit is None:
        return family(kind, device=device)
    stored = family(kind.stored, device=device)
    if isinstance(edit, JpegEdit) and kind.family == "lossless" and min(kind.file_size) >= 8:
        return DecodedJpegHandling(kind, edit, stored)
    return EditedHandling(kind, edit, stored)


def lossless_kind(
    *, channels: int, height: int, width: int, rounding: Rounding, file_channels: int | None = None
) -> ObservationKind:
    """Kind of a file that stores the model's pixels exactly.

    Args:
        channels: of the model's output.
        height: of the model's output.
        width: of the model's output.
        rounding: how the deployment makes bytes of its output.
        file_channels: channels of the file where they differ from the model's.

    """
    return ObservationKind.model_validate(
        {
            "family": "lossless",
            "channels": file_channels or channels,
            "height": height,
            "width": width,
            "model_channels": channels,
            "rounding": rounding,
        }
    )


def observe(
    picture: Picture,
    data: bytes,
    *,
    channels: int,
    height: int,
    width: int,
    where: str,
    rounding: Rounding = "round",
    device: torch.device | str = "cpu",
) -> Observed:
    """Turn a decoded file into an operator and a cell, in a model's output format.

    Args:
        picture: the decoded file.
        data: the file itself; a JPEG's coefficients are read from it.
        channels: of the model's output, 1 or 3.
        height: of the model's output.
        width: of the model's output.
        where: name of the file, for errors.
        rounding: how the deployment makes bytes of its output.
        device: where the handling's constants go.

    Raises:
        ImageError: the file cannot be an unmodified output of such a model.

    """
    if (picture.height, picture.width) != (height, width):
        raise ImageError(
            "the picture does not have the size of this model's outputs",
            where=where,
            expected=f"{width} x {height} pixels, the model's",
            found=f"{picture.width} x {picture.height}",
            hint="Nothing is resized silently; resized pictures are not examined by this preset.",
        )
    if channels == 3 and picture.channels == 1:
        raise ImageError(
            "a gray file cannot be an unmodified output of a colour model",
            where=where,
            expected="a file with three channels",
            found="one channel",
            hint="If a program stored a colourless picture as gray, convert it back to RGB "
            "(which loses nothing) and say so; if colour was removed, it is an edited picture.",
        )
    extra: tuple[str, ...] = ()
    if picture.format == "JPEG":
        read = observe_jpeg(picture, data, model_channels=channels, where=where, device=device)
        if read.found is not None:
            cautions = (*picture.cautions, *read.cautions)
            return Observed(*read.found, cautions, picture.transforms)
        extra = read.cautions
    elif (quality := jpeg_quality_before(picture.pixels)) is not None:
        extra = (CAUTION.format(quality=quality),)
    pixels = picture.pixels
    notes: tuple[str, ...] = ()
    if channels == 1 and picture.channels == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., :1]
        notes = ("three equal channels taken as one gray channel",)
    kind = lossless_kind(
        channels=channels,
        height=height,
        width=width,
        rounding=rounding,
        file_channels=pixels.shape[2],
    )
    handling = LosslessHandling(kind, device=device)
    observations = handling.observations(np.moveaxis(pixels, 2, 0)[None])
    return Observed(
        handling,
        observations,
        (*picture.cautions, *extra),
        (*picture.transforms, *notes),
    )
