"""What kind of thing a file says about a model's output, as stored and signed.

The kind fixes the operator, the shape of the cell, and how controls have to be handled to be
comparable: controls belong to one kind, and its digest is part of their cache key.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.wire.base import WireModel
from deniability.wire.edits import EditName, changes_size

Side = Annotated[int, Field(ge=1, le=65535)]
#: A JPEG quantisation table in natural (row-major) order: entry 8*u + v divides frequency (u, v).
Table = Annotated[
    tuple[Annotated[int, Field(ge=1, le=255)], ...], Field(min_length=64, max_length=64)
]


class ObservationKind(WireModel):
    """How a file was quantised, and therefore which box of coordinates it stands for.

    Attributes:
        family: "lossless" (a cell of pixels) or "jpeg" (a cell of DCT coefficients).
        channels: channels compared: those of the file, except that a colour file whose three
            channels are equal everywhere counts as one channel when the model is gray.
        height: rows of the picture as displayed, which are the model's.
        width: columns of the picture as displayed, which are the model's.
        model_channels: channels of the model's output.
        rounding: lossless only: how the deployment makes 8-bit pixels of its output.
        components: jpeg only: colour transform and chroma subsampling.
        luma_table: jpeg only: quantisation table of the first component.
        chroma_table: jpeg with colour only: quantisation table of Cb and Cr.
        quality: jpeg only: the IJG quality with exactly these tables; absent if there is none.
        orientation: jpeg only: EXIF orientation 1..8 between the coefficients and the display.
        edit: what the output went through before it was stored in the file; absent if nothing.
        file_height, file_width: rows and columns of the file as displayed, where its size is not
            the model's.

    """

    family: Literal["lossless", "jpeg"]
    channels: Literal[1, 3]
    height: Side
    width: Side
    model_channels: Literal[1, 3]
    rounding: Literal["round", "truncate"] | None = None
    components: Literal["gray", "ycc444", "ycc422", "ycc420"] | None = None
    luma_table: Table | None = None
    chroma_table: Table | None = None
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    orientation: Annotated[int, Field(ge=1, le=8)] | None = None
    edit: EditName | None = None
    file_height: Side | None = None
    file_width: Side | None = None

    @model_validator(mode="after")
    def _fields_of_the_family(self) -> Self:
        if self.model_channels == 3 and self.channels == 1:
            raise ValueError("a one-channel file cannot be compared with a colour model")
        jpeg = self.family == "jpeg"
        if (self.rounding is None) != jpeg:
            raise ValueError("rounding belongs to lossless kinds, and only there")
        if any(
            (field is not None) != jpeg
            for field in (self.components, self.luma_table, self.orientation)
        ):
            raise ValueError("components, lumaTable and orientation belong to jpeg kinds")
        if (self.components == "gray") != (jpeg and self.channels == 1):
            raise ValueError("components must agree with the number of channels")
        if (self.chroma_table is not None) != (jpeg and self.components != "gray"):
            raise ValueError("chromaTable belongs to jpeg kinds with colour")
        if self.quality is not None and not jpeg:
            raise ValueError("quality belongs to jpeg kinds")
        resized = self.edit is not None and changes_size(self.edit)
        if (self.file_height is not None, self.file_width is not None) != (resized, resized):
            raise ValueError("fileHeight and fileWidth belong to edits that change the size")
        if resized and self.file_size == (self.height, self.width):
            raise ValueError("fileHeight and fileWidth must differ from the model's")
        return self

    @property
    def file_size(self) -> tuple[int, int]:
        """Height and width of the file as displayed."""
        return self.file_height or self.height, self.file_width or self.width

    @property
    def stored(self) -> ObservationKind:
        """The kind of the file alone: of an unedited output of its size."""
        height, width = self.file_size
        nothing = {"edit": None, "file_height": None, "file_width": None}
        return self.model_copy(update={"height": height, "width": width, **nothing})

    def edited(self, name: EditName | None, *, height: int, width: int) -> ObservationKind:
        """Return the kind of a file like this one, were it an edited output.

        Args:
            name: of the edit; None for none.
            height: of the model's outputs.
            width: of the model's outputs.

        """
        own = (height, width) == self.file_size
        return self.model_copy(
            update={
                "edit": name,
                "height": height,
                "width": width,
                "file_height": None if own else self.file_size[0],
                "file_width": None if own else self.file_size[1],
            }
        )

    def digest(self) -> str:
        """Return the sha256 (hex) of the canonical JSON of this kind."""
        return sha256_hex(canonical_json(self.to_wire()))
