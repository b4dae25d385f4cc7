"""Saved as JPEG, decoded, and only then edited: as a downloaded picture that was resized is."""

from __future__ import annotations

from typing import ClassVar

from deniability.imaging.edits.codecs import JpegEdit, jpeg
from deniability.imaging.edits.edit import Edit, Picture8
from deniability.imaging.edits.warp import Mirrored
from deniability.imaging.normal import Float64Array


class OfJpeg(Edit):
    """What stands in front of another edit's class: outputs are compressed before it.

    The compression has no model; a search compares the output itself, edited.

    Attributes:
        first: the JPEG that outputs were. Of pictures in colour 4:2:0, which loses more than 4:4:4.

    """

    first: ClassVar[type[JpegEdit]]

    def apply(self, picture: Picture8, parameters: Float64Array, seed: bytes) -> Picture8:
        """Encode and decode, then edit."""
        decoded = self.first(self.kind).apply(picture, parameters, seed)
        return super().apply(decoded, parameters, seed)  # type: ignore[safe-super]


def of_jpeg(edit: type[Edit], lowest: int, highest: int) -> type[Edit]:
    """Return the family of outputs that were a JPEG of these qualities before an edit."""
    return type("OfJpeg", (OfJpeg, edit), {"first": jpeg("4:2:0", lowest, highest)})


def jpeg_on_grid(edit: Edit) -> JpegEdit | None:
    """Return the JPEG whose blocks still are where they were in the file, mirrored ones turned.

    None if there was none, or what came behind it moved them.
    """
    if isinstance(edit, JpegEdit):
        return edit
    if isinstance(edit, OfJpeg) and isinstance(edit, Mirrored):
        return edit.first(edit.kind)
    return None
