"""The families in which a model is evaluated, and the kinds of file that they are."""

from __future__ import annotations

import io

import numpy as np

from deniability.errors import InputError
from deniability.evidence.procedure import Procedure
from deniability.evidence.register import standard_kind
from deniability.imaging.decode import decode_picture
from deniability.imaging.edits.pillow import as_image
from deniability.imaging.handling import Handling, Pixels
from deniability.imaging.observation import Observed, build_handling, lossless_kind, observe
from deniability.stats.evaluation_words import edited_size, families_of
from deniability.wire.edits import EDITS, EditName
from deniability.wire.families import family_name
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol

_SUBSAMPLING = {"444": 0, "420": 2, "gray": -1}


def narrowed_families(
    protocol: Protocol, spec: GeneratorSpec, only: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the names of the families to examine, in the preset's order.

    Raises:
        InputError: one of those that it is narrowed to is none of them.

    """
    fit, _ = families_of(protocol, spec)
    unknown = sorted(set(only or ()) - set(fit))
    if unknown:
        raise InputError(
            "no such family of handling of this preset and model",
            where="--family",
            expected=" or ".join(fit),
            found=unknown[0],
        )
    return tuple(name for name in fit if only is None or name in only)


def kind_of_family(spec: GeneratorSpec, name: str) -> ObservationKind:
    """Return the kind of file of a family, as `deny prove` sees such a file.

    Raises:
        InputError: files saved as JPEG here are of another kind than the name says.

    """
    if name == "lossless":
        return standard_kind(spec)
    edit = next((one for one in EDITS if one == name), None)
    if edit is not None:
        return edited_kind(spec, edit)
    # Tables and sampling depend on no picture: any will do.
    shape = (spec.channels, spec.height, spec.width)
    picture = (np.indices(shape).sum(axis=0) * 8 % 256).astype(np.uint8)
    kind = _saved_jpeg(spec, picture, name).handling.kind
    if family_name(kind) != name:
        raise InputError(
            "outputs saved as JPEG are of another kind than expected",
            where=name,
            found=family_name(kind),
        )
    return kind


def edited_kind(spec: GeneratorSpec, edit: EditName) -> ObservationKind:
    """Return the kind of a lossless file of outputs that were edited so."""
    height, width = edited_size(edit, spec.height, spec.width)
    stored = lossless_kind(
        channels=spec.channels, height=height, width=width, rounding=spec.rounding
    )
    return stored.edited(edit, height=spec.height, width=spec.width)


def _saved_jpeg(spec: GeneratorSpec, picture: Pixels, name: str) -> Observed:
    """Save one picture (C x H x W) as a family's name says, and read the file."""
    quality, sampling = name.removeprefix("saved-jpeg-").split("-")
    buffer = io.BytesIO()
    as_image(picture).save(
        buffer, format="JPEG", quality=int(quality), subsampling=_SUBSAMPLING[sampling]
    )
    data = buffer.getvalue()
    return observe(
        decode_picture(data, where=name),
        data,
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        where=name,
        rounding=spec.rounding,
    )


def handling_of_family(procedure: Procedure, name: str) -> Handling:
    """Build the handling of a family on the generator's device."""
    return build_handling(
        kind_of_family(procedure.generator.spec, name), device=procedure.generator.device
    )
