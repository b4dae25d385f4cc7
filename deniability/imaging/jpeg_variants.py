"""The same JPEG handling by an encoder that leaves the same markers but other coefficients.

libjpeg 7 to 9 shrink chroma by a 16x16 DCT where libjpeg-turbo averages, and every version has a
"fast" integer DCT that some callers choose. Neither shows in the file. Own outputs saved so miss
the cell by 10 to 30 times more than those of libjpeg-turbo's defaults, so the difference has to
enter the mismatch allowance (DESIGN section 1, rule 2).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deniability.errors import ImageError
from deniability.imaging.handling import Pixels
from deniability.imaging.jpeg_tables import Table

#: What the variant is called in reports.
NAME = "libjpeg 8, fast DCT"
_VERSION = "8d"
_READER = "6b"  # the default of the package, which reading goes back to
_FACTORS = {"ycc444": "4:4:4", "ycc422": "4:2:2", "ycc420": "4:2:0"}
#: The package switches versions for the whole process.
LOCK = threading.RLock()


def encode_variant(
    pictures: Pixels, *, components: str, luma: Table, chroma: Table | None
) -> list[bytes]:
    """Encode own outputs by libjpeg 8 with the fast integer DCT.

    Args:
        pictures: N x H x W x C uint8 as stored, C 1 for "gray" and 3 otherwise.
        components: as in `ObservationKind`.
        luma: quantisation table, natural order.
        chroma: quantisation table, natural order; None for "gray".

    """
    import jpeglib  # noqa: PLC0415 - only when a JPEG is examined

    tables = np.array([luma] if chroma is None else [luma, chroma], dtype=np.uint16)
    files = []
    with LOCK, tempfile.TemporaryDirectory(prefix="deniability-") as folder:
        path = Path(folder) / "variant.jpg"
        try:
            jpeglib.version.set(_VERSION)
            for picture in pictures:
                image = jpeglib.from_spatial(np.ascontiguousarray(picture))
                if components in _FACTORS:
                    image.samp_factor = _FACTORS[components]
                image.write_spatial(
                    str(path),
                    qt=tables.reshape(-1, 8, 8),
                    dct_method=jpeglib.DCTMethod.JDCT_IFAST,
                )
                files.append(path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise _not_saved(error) from error
        finally:
            jpeglib.version.set(_READER)
    return files


def with_coefficients(files: Sequence[bytes], chosen: npt.NDArray[np.int64]) -> list[bytes]:
    """Write own JPEG files again with other coefficients.

    Args:
        files: N files of one kind.
        chosen: N x m, components in order, blocks row-major, 64 natural-order frequencies each.

    """
    import jpeglib  # noqa: PLC0415 - only when a JPEG is examined

    written = []
    try:
        with LOCK, tempfile.TemporaryDirectory(prefix="deniability-") as folder:
            path = Path(folder) / "chosen.jpg"
            for data, row in zip(files, chosen, strict=True):
                path.write_bytes(data)
                image = jpeglib.read_dct(str(path))
                start = 0
                for plane in (image.Y, image.Cb, image.Cr)[: image.num_components]:
                    plane[...] = row[start : start + plane.size].reshape(plane.shape)
                    start += plane.size
                image.write_dct(str(path))
                written.append(path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise _not_saved(error) from error
    return written


def _not_saved(error: Exception) -> ImageError:
    return ImageError(
        "own outputs could not be saved by another JPEG encoder",
        found=type(error).__name__,
        hint="Check the space in the folder for temporary files and reinstall jpeglib.",
    )
