"""Runs alone, in a process of its own: the coefficients of one untrusted JPEG, to standard output.

    python -P _jpeg_child.py FILE MEMORY_BYTES CPU_SECONDS FILE_BYTES ROWSxCOLUMNS...

Imports nothing of this package, so that starting it is cheap; where the system can isolate it,
`deniability.sandbox.boot` does so first and then calls `main`. ROWSxCOLUMNS are the blocks of
each component that the caller expects; the output is MAGIC and then the components' coefficients
as little-endian int16, blocks row-major, 64 natural-order coefficients each. The C library says
what it dislikes on standard error; the caller takes anything there as a refusal.
"""

from __future__ import annotations

import contextlib
import sys

MAGIC = b"deniability/coefficients/v1\n"


def _limit(memory: int, seconds: int, file_size: int) -> None:
    """Bound this process, as far as the system knows how to."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    limits = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_AS, memory),
    )
    for name, value in limits:
        with contextlib.suppress(ValueError, OSError):  # some systems refuse some limits
            resource.setrlimit(name, (value, value))


def main(arguments: list[str]) -> int:
    """Read the file named first; return the exit status."""
    path, memory, seconds, file_size, *shapes = arguments
    _limit(int(memory), int(seconds), int(file_size))

    import jpeglib  # noqa: PLC0415 - under the limits

    image = jpeglib.read_dct(path)
    expected = [[int(side) for side in shape.split("x")] for shape in shapes]
    if image.block_dims.tolist() != expected:
        sys.stderr.write("the decoder sees other dimensions than the header states\n")
        return 3
    planes = (image.Y, image.Cb, image.Cr)[: len(expected)]
    sys.stdout.buffer.write(MAGIC)
    for plane in planes:
        sys.stdout.buffer.write(plane.astype("<i2").tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
