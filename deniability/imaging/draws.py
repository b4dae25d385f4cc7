"""Random numbers from a seed, the same to the bit on every machine (SPEC.md, "shake256")."""

from __future__ import annotations

import hashlib

import numpy as np

from deniability.imaging.normal import Float64Array, normal_quantile


def shake256_uniform(seed: bytes, count: int) -> Float64Array:
    """Return `count` numbers in (0, 1): (k + 1/2) / 2^52 with k from the SHAKE-256 stream.

    Draw number i takes bytes 8i … 8i + 7 of the stream as a little-endian integer; k is its upper
    52 bits. So k + 1/2 is exact in float64, and neither 0 nor 1 can occur.
    """
    words = np.frombuffer(hashlib.shake_256(seed).digest(8 * count), dtype="<u8")
    upper = (words >> np.uint64(12)).astype(np.float64)
    numbers: Float64Array = (upper + 0.5) * 2.0**-52
    return numbers


def shake256_normal(seed: bytes, count: int) -> Float64Array:
    """Return `count` standard normal numbers (float64), bit-exact on every machine."""
    return normal_quantile(shake256_uniform(seed, count))
