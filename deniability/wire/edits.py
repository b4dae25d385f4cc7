"""Families of handling between a model's output and the file (SPEC.md, "Families of handling").

Each is one thing that may have been done to 8-bit outputs before they were stored in the accused
file. A parameter's bin belongs to the name; another bin is another family. They are never pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, get_args

EditName = Literal[
    # produced otherwise than registered
    "other-rounding",
    "bfloat16",
    "float16",
    "tf32",
    # moved
    "mirrored",
    "shifted",
    "cropped",
    "rotated",
    # changed in tone
    "tone",
    "colour",
    "blurred-box",
    "blurred-gaussian",
    "noisy",
    "palette",
    # compressed before
    "jpeg-444-30-49",
    "jpeg-444-50-69",
    "jpeg-444-70-84",
    "jpeg-444-85-95",
    "jpeg-420-30-49",
    "jpeg-420-50-69",
    "jpeg-420-70-84",
    "jpeg-420-85-95",
    "jpeg-other-encoder",
    "webp-30-59",
    "webp-60-95",
    # scaled and back
    "halved",
    "reduced",
    "enlarged",
    # covered in part
    "patched",
    "bordered",
    "captioned",
    # of another size than the model's
    "resized-nearest",
    "resized-bilinear",
    "resized-bicubic",
    "resized-lanczos",
    "cut-out",
    "framed",
    # of a file that is a JPEG itself: compressed twice, on one grid, or by another encoder
    "jpeg-twice-444-30-49",
    "jpeg-twice-444-50-69",
    "jpeg-twice-444-70-84",
    "jpeg-twice-444-85-95",
    "jpeg-twice-420-30-49",
    "jpeg-twice-420-50-69",
    "jpeg-twice-420-70-84",
    "jpeg-twice-420-85-95",
    "jpeg-twice-other-encoder",
    "jpeg-trellis",
    # drawn otherwise, and several edits in a row
    "truncated",
    "composite",
    # compressed, decoded, and then edited
    "mirrored-of-jpeg-70-84",
    "mirrored-of-jpeg-85-95",
    "composite-of-jpeg-70-84",
    "composite-of-jpeg-85-95",
    "resized-nearest-of-jpeg-70-84",
    "resized-nearest-of-jpeg-85-95",
    "resized-bilinear-of-jpeg-70-84",
    "resized-bilinear-of-jpeg-85-95",
    "resized-bicubic-of-jpeg-70-84",
    "resized-bicubic-of-jpeg-85-95",
    "resized-lanczos-of-jpeg-70-84",
    "resized-lanczos-of-jpeg-85-95",
    "cut-out-of-jpeg-70-84",
    "cut-out-of-jpeg-85-95",
    "framed-of-jpeg-70-84",
    "framed-of-jpeg-85-95",
    "cropped-of-jpeg-70-84",
    "cropped-of-jpeg-85-95",
    # cut and resized in one
    "part-bilinear",
    "part-bicubic",
    "part-lanczos",
    "part-bicubic-of-jpeg-70-84",
    "part-bicubic-of-jpeg-85-95",
]
EDITS: tuple[EditName, ...] = get_args(EditName)
#: Those of the first version of the handled presets, which never change.
EDITS_V1: tuple[EditName, ...] = EDITS[:37]
#: Those of the second version.
EDITS_V2: tuple[EditName, ...] = EDITS[:49]
#: What a user can narrow a search to: outputs as they are, or one of the edits.
HandlingName = Literal["unedited"] | EditName

#: In words, with the bins.
WORDS: dict[EditName, str] = {
    "other-rounding": "rounded otherwise",
    "bfloat16": "computed in bfloat16",
    "float16": "computed in float16",
    "tf32": "computed in TF32",
    "mirrored": "mirrored",
    "shifted": "shifted by up to 2 pixels (bicubic)",
    "cropped": "cropped by up to a fifth of each side and enlarged (bicubic)",
    "rotated": "rotated by up to 5 degrees (bicubic)",
    "tone": "changed in brightness (24 steps), contrast (a fifth) and gamma (0.8 to 1.25)",
    "colour": "changed in colour balance (a tenth) and saturation (0.7 to 1.3)",
    "blurred-box": "blurred by repeated boxes (radius 0.3 to 1.5)",
    "blurred-gaussian": "blurred by a Gaussian (radius 0.3 to 1.5)",
    "noisy": "with Gaussian noise (deviation 1 to 4 steps)",
    "palette": "reduced to 256 colours",
    "jpeg-444-30-49": "decoded from a JPEG (4:4:4, quality 30 to 49)",
    "jpeg-444-50-69": "decoded from a JPEG (4:4:4, quality 50 to 69)",
    "jpeg-444-70-84": "decoded from a JPEG (4:4:4, quality 70 to 84)",
    "jpeg-444-85-95": "decoded from a JPEG (4:4:4, quality 85 to 95)",
    "jpeg-420-30-49": "decoded from a JPEG (4:2:0, quality 30 to 49)",
    "jpeg-420-50-69": "decoded from a JPEG (4:2:0, quality 50 to 69)",
    "jpeg-420-70-84": "decoded from a JPEG (4:2:0, quality 70 to 84)",
    "jpeg-420-85-95": "decoded from a JPEG (4:2:0, quality 85 to 95)",
    "jpeg-other-encoder": "decoded from a JPEG of another encoder (quality 30 to 95)",
    "webp-30-59": "decoded from a lossy WebP (quality 30 to 59)",
    "webp-60-95": "decoded from a lossy WebP (quality 60 to 95)",
    "halved": "scaled to between half and three quarters and back",
    "reduced": "scaled to between three quarters and 0.97 and back",
    "enlarged": "scaled to between 1.03 and twice and back",
    "patched": "with a patch over it (each side up to three tenths of the picture's)",
    "bordered": "with a border over its edge (up to a sixteenth of the shorter side)",
    "captioned": "with a strip along an edge (up to a fifth of the height)",
    "resized-nearest": "resized to this file's size (nearest pixel)",
    "resized-bilinear": "resized to this file's size (bilinear)",
    "resized-bicubic": "resized to this file's size (bicubic)",
    "resized-lanczos": "resized to this file's size (Lanczos)",
    "cut-out": "cut to this file's size",
    "framed": "framed to this file's size",
    "jpeg-twice-444-30-49": "already a JPEG (4:4:4, q 30 to 49)",
    "jpeg-twice-444-50-69": "already a JPEG (4:4:4, q 50 to 69)",
    "jpeg-twice-444-70-84": "already a JPEG (4:4:4, q 70 to 84)",
    "jpeg-twice-444-85-95": "already a JPEG (4:4:4, q 85 to 95)",
    "jpeg-twice-420-30-49": "already a JPEG (4:2:0, q 30 to 49)",
    "jpeg-twice-420-50-69": "already a JPEG (4:2:0, q 50 to 69)",
    "jpeg-twice-420-70-84": "already a JPEG (4:2:0, q 70 to 84)",
    "jpeg-twice-420-85-95": "already a JPEG (4:2:0, q 85 to 95)",
    "jpeg-twice-other-encoder": "already a JPEG of another encoder (q 30 to 95)",
    "jpeg-trellis": "quantised by a trellis",
    "truncated": "of latents nearer to the mean (0.5 to 1)",
    "composite": "scaled by 0.91 to 1.25, shifted, then toned",
    "mirrored-of-jpeg-70-84": "a JPEG (q 70 to 84), then mirrored",
    "mirrored-of-jpeg-85-95": "a JPEG (q 85 to 95), then mirrored",
    "composite-of-jpeg-70-84": "a JPEG (q 70 to 84), then scaled by 0.91 to 1.25, shifted, toned",
    "composite-of-jpeg-85-95": "a JPEG (q 85 to 95), then scaled by 0.91 to 1.25, shifted, toned",
    "resized-nearest-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (nearest pixel)",
    "resized-nearest-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (nearest pixel)",
    "resized-bilinear-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (bilinear)",
    "resized-bilinear-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (bilinear)",
    "resized-bicubic-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (bicubic)",
    "resized-bicubic-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (bicubic)",
    "resized-lanczos-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (Lanczos)",
    "resized-lanczos-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (Lanczos)",
    "cut-out-of-jpeg-70-84": "a JPEG (q 70 to 84), then cut to this file's size",
    "cut-out-of-jpeg-85-95": "a JPEG (q 85 to 95), then cut to this file's size",
    "framed-of-jpeg-70-84": "a JPEG (q 70 to 84), then framed to this file's size",
    "framed-of-jpeg-85-95": "a JPEG (q 85 to 95), then framed to this file's size",
    "cropped-of-jpeg-70-84": "a JPEG (q 70 to 84), then cropped by up to a fifth of each side",
    "cropped-of-jpeg-85-95": "a JPEG (q 85 to 95), then cropped by up to a fifth of each side",
    "part-bilinear": "cropped by up to a fifth of each side, resized to this size (bilinear)",
    "part-bicubic": "cropped by up to a fifth of each side, resized to this size (bicubic)",
    "part-lanczos": "cropped by up to a fifth of each side, resized to this size (Lanczos)",
    "part-bicubic-of-jpeg-70-84": "a JPEG (q 70 to 84), so cropped, resized to this size (bicubic)",
    "part-bicubic-of-jpeg-85-95": "a JPEG (q 85 to 95), so cropped, resized to this size (bicubic)",
}

#: What a picture of another size can have been through; all the others keep the size.
RESIZING: tuple[EditName, ...] = (
    "resized-nearest",
    "resized-bilinear",
    "resized-bicubic",
    "resized-lanczos",
)
#: A gray picture has no chroma that could be changed or subsampled.
_OF_COLOUR = {
    "colour",
    "palette",
    *(name for name in EDITS if name.startswith(("jpeg-420", "jpeg-twice-420"))),
}
#: Of a JPEG file both compressions are known, or estimated: such a family takes the place of the
#: one that knows the last only, where a preset has both.
TWICE: dict[EditName, EditName] = {
    "jpeg-444-30-49": "jpeg-twice-444-30-49",
    "jpeg-444-50-69": "jpeg-twice-444-50-69",
    "jpeg-444-70-84": "jpeg-twice-444-70-84",
    "jpeg-444-85-95": "jpeg-twice-444-85-95",
    "jpeg-420-30-49": "jpeg-twice-420-30-49",
    "jpeg-420-50-69": "jpeg-twice-420-50-69",
    "jpeg-420-70-84": "jpeg-twice-420-70-84",
    "jpeg-420-85-95": "jpeg-twice-420-85-95",
    "jpeg-other-encoder": "jpeg-twice-other-encoder",
}
#: What a file without loss cannot have been through.
OF_JPEG: frozenset[EditName] = frozenset({*TWICE.values(), "jpeg-trellis"})
#: What they leave of a smaller picture is too little.
_MOVING = {"shifted", "cropped", "rotated", "patched", "bordered", "captioned", "composite"}
_LEAST_SIDE = {"composite": 24}
_PARTS = {"part-bilinear", "part-bicubic", "part-lanczos"}
_OTHER_SIZE = {*RESIZING, *_PARTS, "cut-out", "framed"}


def last_edit(name: EditName) -> str:
    """Return the edit that gives a file its size and place: without what a JPEG was before."""
    return name.partition("-of-jpeg-")[0]


def changes_size(name: EditName) -> bool:
    """Tell whether an edit gives pictures of another size than the model's."""
    return last_edit(name) in _OTHER_SIZE


def applies(
    name: EditName,
    *,
    model: tuple[int, int],
    file: tuple[int, int],
    colour: bool,
    family: Literal["lossless", "jpeg"] = "lossless",
) -> bool:
    """Tell whether a file can be an output that was handled so.

    At most a fifth of each side is cut off, and a quarter added to it as a frame. A picture of a
    few pixels could be made of any output, and a huge one fits no memory: sides are resized by at
    most 4.

    Args:
        name: of the family.
        model: height and width of the model's outputs.
        file: height and width of the file as displayed.
        colour: whether the model's outputs have three channels.
        family: of the file as stored.

    """
    if (not colour and name in _OF_COLOUR) or (family == "lossless" and name in OF_JPEG):
        return False
    if not changes_size(name):
        last = last_edit(name)
        least_side = _LEAST_SIDE.get(last, 16 if last in _MOVING else 1)
        return model == file and min(model) >= least_side
    shares = [Fraction(f, m) for f, m in zip(file, model, strict=True)]
    least = {"cut-out": Fraction(4, 5), "framed": Fraction(1)}.get(last_edit(name), Fraction(1, 4))
    most = {"cut-out": Fraction(1), "framed": Fraction(5, 4)}.get(last_edit(name), Fraction(4))
    return model != file and all(least <= share <= most for share in shares)


def edits_that_apply(
    edits: Sequence[EditName],
    *,
    model: tuple[int, int],
    file: tuple[int, int],
    colour: bool,
    family: Literal["lossless", "jpeg"],
) -> tuple[EditName, ...]:
    """Return which of a preset's edits a file can have been through, in order.

    Args:
        edits: of the preset.
        model: height and width of the model's outputs.
        file: height and width of the file as displayed.
        colour: whether the model's outputs have three channels.
        family: of the file as stored.

    """
    found = [
        name
        for name in edits
        if applies(name, model=model, file=file, colour=colour, family=family)
    ]
    return tuple(name for name in found if TWICE.get(name) not in found)
