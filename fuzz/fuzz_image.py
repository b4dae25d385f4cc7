"""Coverage-guided fuzzing of the decoding of pictures: nothing but our own errors may come out.

    python fuzz/fuzz_image.py [libFuzzer options] [CORPUS_FOLDER]

The parsers of this package are instrumented; Pillow's C code is fed, not instrumented.
"""

import io
import sys
import warnings
from pathlib import Path

import atheris
import numpy as np
from PIL import Image

with atheris.instrument_imports(include=["deniability"]):
    from deniability.errors import DeniabilityError
    from deniability.imaging.decode import decode_picture

_FORMATS: dict[str, dict[str, object]] = {
    "PNG": {},
    "JPEG": {"quality": 80},
    "WEBP": {"lossless": True},
    "BMP": {},
    "GIF": {},
    "TIFF": {},
    "PPM": {},
}


def check(data: bytes) -> None:
    """Decode one input; whatever is not an error of ours, the fuzzer reports."""
    try:
        decode_picture(data, where="input")
    except DeniabilityError:
        return


def seeds(folder: Path) -> None:
    """Write a starting corpus: a small picture in every mode and format that takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    for mode in ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16"):
        picture = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
        picture = picture.convert("I;16") if mode == "I;16" else picture
        for name, options in _FORMATS.items():
            buffer = io.BytesIO()
            try:
                picture.save(buffer, format=name, **options)
            except (OSError, ValueError):  # this format has no such mode
                continue
            (folder / f"{mode.replace(';', '')}.{name.lower()}").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            seeds(Path(argument))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
