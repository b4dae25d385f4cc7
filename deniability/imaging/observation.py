"""A file, a model's output format, and what the one says about the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from deniability.errors import ImageError, InputError
from deniability.imaging.decode import Picture
from deniability.imaging.decoded_jpeg import DecodedJpegHandling
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits import build_edit
from deniability.imaging.edits.codecs import JpegEdit, Trellis
from deniability.imaging.edits.of_jpeg import jpeg_on_grid
from deniability.imaging.handling import Handling, Observations
from deniability.imaging.jpeg import JpegHandling, observe_jpeg
from deniability.imaging.jpeg_traces import CAUTION, jpeg_quality_before
from deniability.imaging.lossless import LosslessHandling
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.imaging.trellis_jpeg import TrellisJpegHandling
from deniability.imaging.twice_jpeg import TwiceJpegHandling
from deniability.wire.edits import HandlingName
from deniability.wire.families import kinds_of
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol

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
        further: the same file as an output that was edited before it was stored, by family.

    """

    handling: Handling
    observations: Observations
    cautions: tuple[str, ...]
    transforms: tuple[str, ...]
    further: tuple[tuple[Handling, Observations], ...] = ()


def build_handling(kind: ObservationKind, *, device: torch.device | str = "cpu") -> Handling:
    """Return the handling of a kind, e.g. one read from a bundle."""
    family = LosslessHandling if kind.family == "lossless" else JpegHandling
    edit = build_edit(kind)
    if edit is None:
        return family(kind, device=device)
    stored = family(kind.stored, device=device)
    if isinstance(stored, JpegHandling):
        if isinstance(edit, JpegEdit) and edit.twice and min(kind.file_size) >= 8:
            return TwiceJpegHandling(kind, edit, stored)
        if isinstance(edit, Trellis):
            return TrellisJpegHandling(kind, edit, stored)
    first = jpeg_on_grid(edit)
    if first is not None and kind.family == "lossless" and min(kind.file_size) >= 8:
        return DecodedJpegHandling(kind, edit, first, stored)
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
    protocol: Protocol | None = None,
    only: Sequence[HandlingName] | None = None,
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
        protocol: whose families of handling are looked for; None for unedited outputs only.
        only: families that the search is narrowed to; None for all of the protocol.

    Raises:
        ImageError: the file cannot be an output of such a model, handled in one of these ways.
        InputError: the search is narrowed to a family that the preset does not have.

    """
    if protocol is not None and only is not None:
        _check_narrowed(protocol, only)
    observed = _stored(picture, data, channels, where, rounding, device)
    kind = observed.handling.kind
    kinds = (
        () if protocol is None else kinds_of(protocol, kind, height=height, width=width, only=only)
    )
    if not kinds and only is None and (picture.height, picture.width) != (height, width):
        raise ImageError(
            "the picture does not have the size of this model's outputs",
            where=where,
            expected=f"{width} x {height} pixels, the model's",
            found=f"{picture.width} x {picture.height}",
            hint="Nothing is resized silently, and this preset does not examine pictures of such a "
            "size.",
        )
    if only is not None and not kinds:
        raise ImageError(
            "the picture cannot be of any family of handling that the search is narrowed to",
            where=where,
            expected="one that the preset has and that fits the picture's size",
            found=", ".join(only),
            hint="Leave out --handling to search all of the preset.",
        )
    families = [build_handling(one, device=device) for one in kinds] or [observed.handling]
    kept = [c for c in observed.cautions if not _examined(c, picture, kinds)]
    return observed._replace(
        handling=families[0],
        observations=families[0].shown(observed.observations),
        cautions=tuple(kept),
        further=tuple((one, one.shown(observed.observations)) for one in families[1:]),
    )


def _check_narrowed(protocol: Protocol, only: Sequence[HandlingName]) -> None:
    """Refuse what no bundle may say: verifiers would."""
    had = () if protocol.edits is None else ("unedited", *protocol.edits)
    if not set(only) <= set(had):
        raise InputError(
            "the preset has no such families of handling to narrow a search to",
            where=f"preset {protocol.name}",
            expected=", ".join(had) or "nothing to narrow: it examines unedited outputs only",
            found=", ".join(only),
        )


def _examined(caution: str, picture: Picture, kinds: Iterable[ObservationKind]) -> bool:
    """Tell whether what a caution warns of is one of the families that are searched.

    Of a decoded JPEG the sampling is not known. Only a family that compares nothing but luma is
    near whatever it was: by 4:4:4 alone an own output that was subsampled would look foreign.
    """
    quality = jpeg_quality_before(picture.pixels) if picture.format != "JPEG" else None
    if quality is None or caution != CAUTION.format(quality=quality):
        return False
    return any(
        isinstance(edit, JpegEdit)
        and edit.lowest <= quality <= edit.highest
        and (kind.model_channels == 1 or edit.subsampling != "4:4:4")
        for kind in kinds
        for edit in (build_edit(kind),)
    )


def _stored(
    picture: Picture,
    data: bytes,
    channels: int,
    where: str,
    rounding: Rounding,
    device: torch.device | str,
) -> Observed:
    """Observe a file as an unedited output of its own size."""
    height, width = picture.height, picture.width
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
