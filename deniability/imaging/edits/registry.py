"""Which class does which family."""

from __future__ import annotations

from deniability.imaging.edits import codecs, composite, overlay, scale, tone, warp
from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.of_jpeg import of_jpeg
from deniability.imaging.edits.part import part
from deniability.imaging.normal import Float64Array
from deniability.wire.edits import EditName
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import MismatchWay


class _Produced(Edit):
    """Outputs that were produced otherwise than registered, and stored as they were."""

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Leave it alone: the difference is in how it was made."""
        del parameters, seed
        return picture


class Truncated(_Produced):
    """Outputs of latents nearer to the mean (`evidence/latents.py`), stored as they are."""


def _produced(way: MismatchWay) -> type[Edit]:
    return type("Produced", (_Produced,), {"way": way})


_CLASSES: dict[EditName, type[Edit]] = {
    "other-rounding": _produced("other-rounding"),
    "bfloat16": _produced("bfloat16"),
    "float16": _produced("float16"),
    "tf32": _produced("tf32"),
    "mirrored": warp.Mirrored,
    "shifted": warp.Shifted,
    "cropped": warp.Cropped,
    "rotated": warp.Rotated,
    "tone": tone.Tone,
    "colour": tone.Colour,
    "blurred-box": tone.BoxBlurred,
    "blurred-gaussian": tone.GaussianBlurred,
    "noisy": tone.Noisy,
    "palette": tone.Palette,
    "jpeg-444-30-49": codecs.jpeg("4:4:4", 30, 49),
    "jpeg-444-50-69": codecs.jpeg("4:4:4", 50, 69),
    "jpeg-444-70-84": codecs.jpeg("4:4:4", 70, 84),
    "jpeg-444-85-95": codecs.jpeg("4:4:4", 85, 95),
    "jpeg-420-30-49": codecs.jpeg("4:2:0", 30, 49),
    "jpeg-420-50-69": codecs.jpeg("4:2:0", 50, 69),
    "jpeg-420-70-84": codecs.jpeg("4:2:0", 70, 84),
    "jpeg-420-85-95": codecs.jpeg("4:2:0", 85, 95),
    "jpeg-other-encoder": codecs.OtherJpeg,
    "webp-30-59": codecs.webp(30, 59),
    "webp-60-95": codecs.webp(60, 95),
    "halved": scale.Halved,
    "reduced": scale.Reduced,
    "enlarged": scale.Enlarged,
    "patched": overlay.Patched,
    "bordered": overlay.Bordered,
    "captioned": overlay.Captioned,
    "resized-nearest": scale.resized("nearest"),
    "resized-bilinear": scale.resized("bilinear"),
    "resized-bicubic": scale.resized("bicubic"),
    "resized-lanczos": scale.resized("lanczos"),
    "cut-out": warp.CutOut,
    "framed": warp.Framed,
    "jpeg-twice-444-30-49": codecs.jpeg("4:4:4", 30, 49, twice=True),
    "jpeg-twice-444-50-69": codecs.jpeg("4:4:4", 50, 69, twice=True),
    "jpeg-twice-444-70-84": codecs.jpeg("4:4:4", 70, 84, twice=True),
    "jpeg-twice-444-85-95": codecs.jpeg("4:4:4", 85, 95, twice=True),
    "jpeg-twice-420-30-49": codecs.jpeg("4:2:0", 30, 49, twice=True),
    "jpeg-twice-420-50-69": codecs.jpeg("4:2:0", 50, 69, twice=True),
    "jpeg-twice-420-70-84": codecs.jpeg("4:2:0", 70, 84, twice=True),
    "jpeg-twice-420-85-95": codecs.jpeg("4:2:0", 85, 95, twice=True),
    "jpeg-twice-other-encoder": codecs.OtherJpegTwice,
    "jpeg-trellis": codecs.Trellis,
    "truncated": Truncated,
    "composite": composite.Composite,
    "mirrored-of-jpeg-70-84": of_jpeg(warp.Mirrored, 70, 84),
    "mirrored-of-jpeg-85-95": of_jpeg(warp.Mirrored, 85, 95),
    "composite-of-jpeg-70-84": of_jpeg(composite.Composite, 70, 84),
    "composite-of-jpeg-85-95": of_jpeg(composite.Composite, 85, 95),
    "resized-nearest-of-jpeg-70-84": of_jpeg(scale.resized("nearest"), 70, 84),
    "resized-nearest-of-jpeg-85-95": of_jpeg(scale.resized("nearest"), 85, 95),
    "resized-bilinear-of-jpeg-70-84": of_jpeg(scale.resized("bilinear"), 70, 84),
    "resized-bilinear-of-jpeg-85-95": of_jpeg(scale.resized("bilinear"), 85, 95),
    "resized-bicubic-of-jpeg-70-84": of_jpeg(scale.resized("bicubic"), 70, 84),
    "resized-bicubic-of-jpeg-85-95": of_jpeg(scale.resized("bicubic"), 85, 95),
    "resized-lanczos-of-jpeg-70-84": of_jpeg(scale.resized("lanczos"), 70, 84),
    "resized-lanczos-of-jpeg-85-95": of_jpeg(scale.resized("lanczos"), 85, 95),
    "cut-out-of-jpeg-70-84": of_jpeg(warp.CutOut, 70, 84),
    "cut-out-of-jpeg-85-95": of_jpeg(warp.CutOut, 85, 95),
    "framed-of-jpeg-70-84": of_jpeg(warp.Framed, 70, 84),
    "framed-of-jpeg-85-95": of_jpeg(warp.Framed, 85, 95),
    "cropped-of-jpeg-70-84": of_jpeg(warp.Cropped, 70, 84),
    "cropped-of-jpeg-85-95": of_jpeg(warp.Cropped, 85, 95),
    "part-bilinear": part("bilinear"),
    "part-bicubic": part("bicubic"),
    "part-lanczos": part("lanczos"),
    "part-bicubic-of-jpeg-70-84": of_jpeg(part("bicubic"), 70, 84),
    "part-bicubic-of-jpeg-85-95": of_jpeg(part("bicubic"), 85, 95),
}


def build_edit(kind: ObservationKind) -> Edit | None:
    """Return the edit of a kind of observation; None where outputs are stored as they are."""
    return None if kind.edit is None else _CLASSES[kind.edit](kind)
