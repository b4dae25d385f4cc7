"""JPEG files: a coefficient k with quantiser step q says that the output's lay in (k +- 1/2) q."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deniability.errors import ImageError
from deniability.imaging.decode import Picture, displayed
from deniability.imaging.handling import STEPS, Handling, Observations, Pixels
from deniability.imaging.jpeg_encoder import encoder_cautions, layout_of
from deniability.imaging.jpeg_markers import read_markers
from deniability.imaging.jpeg_operator import (
    as_stored,
    block_shapes,
    coefficients,
    dct_matrix,
    stored_size,
)
from deniability.imaging.jpeg_read import Coefficients, read_own, read_untrusted
from deniability.imaging.jpeg_trellis import trellis
from deniability.imaging.jpeg_variants import NAME, encode_variant, with_coefficients
from deniability.wire.observation import ObservationKind

#: Pillow's names for chroma subsampling.
_PILLOW_SUBSAMPLING = {"ycc444": 0, "ycc422": 1, "ycc420": 2}


class JpegHandling(Handling):
    """A cell of DCT coefficients, quantised with the file's own tables."""

    base_floor: ClassVar[Fraction] = Fraction(0)

    def __init__(self, kind: ObservationKind, *, device: torch.device | str = "cpu") -> None:
        super().__init__(kind, device=device)
        self._dct = dct_matrix().to(self.device)

    def to(self, device: torch.device | str) -> Self:
        """Return this handling with its constants on another device."""
        moved = super().to(device)
        moved._dct = self._dct.to(moved.device)  # noqa: SLF001 - a copy of this very class
        return moved

    def operator(self, pictures: Tensor) -> Tensor:
        """B x C x H x W in [0, 1] to B x m coefficients in units of 127.5 pixel steps."""
        return coefficients(pictures, self.kind, self._dct)

    def save(self, pictures: Pixels) -> Observations:
        """Encode own outputs with the file's tables and sampling, and read the results back."""
        self._check(pictures)
        return self._read_back([self._encode(picture) for picture in self._as_stored(pictures)])

    def indistinguishable(self, pictures: Pixels) -> dict[str, Observations]:
        """Own outputs saved by an encoder that the file cannot be told from."""
        self._check(pictures)
        kind = self.kind
        files = encode_variant(
            self._as_stored(pictures),
            components=kind.components or "gray",
            luma=kind.luma_table or (),
            chroma=kind.chroma_table,
        )
        return {NAME: self._read_back(files)}

    def _read_back(self, files: list[bytes]) -> Observations:
        if files:
            self._check_encoder(files[0])
        decoded = [_decode(data) for data in files]
        shown = [displayed(pixels, self.kind.orientation or 1) for pixels in decoded]
        return self.observations(read_own(files), shown)

    def observations(self, stored: list[Coefficients], shown: list[Pixels]) -> Observations:
        """Observations of files with these coefficients (m each) and H x W x C pixels."""
        kind = self.kind
        quantisers = self.quantisers()
        integers = torch.from_numpy(
            np.stack(stored) if stored else np.zeros((0, len(quantisers)), np.int16)
        ).double()
        if integers.shape[1] != len(quantisers):
            raise ImageError(
                "JPEG coefficients do not fit this handling",
                expected=f"{len(quantisers)} per file",
                found=f"{integers.shape[1]}",
            )
        scale = quantisers / STEPS
        empty = np.zeros((0, kind.height, kind.width, kind.channels), np.uint8)
        pixels = torch.from_numpy(np.stack(shown) if shown else empty).movedim(3, 1).float() / 255
        if kind.model_channels < kind.channels:
            pixels = pixels.mean(dim=1, keepdim=True)
        return Observations(
            low=((integers - 0.5) * scale).float(),
            high=((integers + 0.5) * scale).float(),
            centre=(integers * scale).float(),
            pixels=pixels.contiguous(),
        )

    def save_by_trellis(self, pictures: Pixels) -> Observations:
        """Encode own outputs like `save`, but with coefficients chosen by rate and distortion."""
        return self._read_back(self.files_by_trellis(pictures))

    def files_by_trellis(self, pictures: Pixels) -> list[bytes]:
        """Return the files of `save_by_trellis`: their markers are libjpeg's."""
        self._check(pictures)
        values = coefficients(
            torch.from_numpy(np.array(pictures)).double() / 255, self.kind, dct_matrix().double()
        )
        shapes, done = block_shapes(self.kind), []
        steps = self.quantisers().numpy()
        parts = values.split([64 * rows * columns for rows, columns in shapes], dim=1)  # type: ignore[no-untyped-call]
        for part, start in zip(parts, np.cumsum([0, *(p.shape[1] for p in parts)]), strict=False):
            blocks = part.reshape(-1, 64).numpy() * STEPS
            chosen = trellis(blocks, steps[start : start + 64], chroma=start > 0)
            done.append(chosen.reshape(len(pictures), -1))
        files = [self._encode(picture) for picture in self._as_stored(pictures)]
        return with_coefficients(files, np.concatenate(done, axis=1))

    def quantisers(self) -> Tensor:
        """Length m float64: the quantiser step of each coefficient, in pixel steps."""
        kind = self.kind
        tables = (kind.luma_table, kind.chroma_table, kind.chroma_table)
        parts = [
            torch.tensor(table, dtype=torch.float64).repeat(rows * columns)
            for (rows, columns), table in zip(block_shapes(kind), tables, strict=False)
        ]
        return torch.cat(parts)

    def _as_stored(self, pictures: Pixels) -> Pixels:
        """N x C x H x W as displayed to N x H' x W' x (channels of the file) as stored."""
        turned = as_stored(torch.from_numpy(np.array(pictures)), self.kind.orientation or 1)
        stored = turned.movedim(1, 3).numpy()
        return np.ascontiguousarray(
            np.broadcast_to(stored, (*stored.shape[:3], self.kind.channels))
        )

    def _encode(self, picture: Pixels) -> bytes:
        kind = self.kind
        target = io.BytesIO()
        if kind.components == "gray":
            image = Image.fromarray(picture[..., 0])
            image.save(target, format="JPEG", qtables=[list(kind.luma_table or ())])
        else:
            tables = [list(kind.luma_table or ()), list(kind.chroma_table or ())]
            sampling = _PILLOW_SUBSAMPLING[kind.components or "ycc444"]
            image = Image.fromarray(picture)
            image.save(target, format="JPEG", qtables=tables, subsampling=sampling)
        return target.getvalue()

    def _check_encoder(self, data: bytes) -> None:
        """Refuse to go on if the encoder here does not write what it was asked to."""
        kind = self.kind
        layout = layout_of(read_markers(data, where="own output saved as JPEG"))
        if isinstance(layout, str) or (
            layout.components,
            layout.luma_table,
            layout.chroma_table,
        ) != (kind.components, kind.luma_table, kind.chroma_table):
            raise ImageError(
                "the JPEG encoder does not write the tables it was given",
                hint="Install Pillow and jpeglib from their published wheels.",
            )


def _decode(data: bytes) -> Pixels:
    """H x W x C of a file we made."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        array = np.array(image, dtype=np.uint8)
    return array.reshape(array.shape[0], array.shape[1], -1)


class JpegRead(NamedTuple):
    """What reading a JPEG gave: a handling and an observation, or neither where none exists."""

    found: tuple[JpegHandling, Observations] | None
    cautions: tuple[str, ...]


def observe_jpeg(
    picture: Picture, data: bytes, *, model_channels: int, where: str, device: torch.device | str
) -> JpegRead:
    """Read the coefficients of an untrusted JPEG, unless its layout has no operator.

    Args:
        picture: the same file decoded, which means that its size was capped.
        data: the file.
        model_channels: of the model's output.
        where: name of the file, for errors.
        device: where the handling's constants go.

    """
    header = read_markers(data, where=where)
    layout = layout_of(header)
    if isinstance(layout, str):
        caution = f"JPEG coefficients were not used, as {layout}: only decoded pixels were compared"
        return JpegRead(None, (caution,))
    kind = ObservationKind.model_validate(
        {
            "family": "jpeg",
            "channels": 1 if layout.components == "gray" else 3,
            "height": picture.height,
            "width": picture.width,
            "model_channels": model_channels,
            "components": layout.components,
            "luma_table": layout.luma_table,
            "chroma_table": layout.chroma_table,
            "quality": layout.quality,
            "orientation": picture.orientation,
        }
    )
    if stored_size(kind) != (header.height, header.width):
        raise ImageError("the JPEG states two sizes", where=where)
    handling = JpegHandling(kind, device=device)
    stored = read_untrusted(header, block_shapes(kind), where=where)
    observations = handling.observations([stored], [np.array(picture.pixels)])
    return JpegRead((handling, observations), encoder_cautions(header, layout))
