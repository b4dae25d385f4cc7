"""Derived seeds: no seed is chosen, each follows from what it is for (DESIGN section 1)."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from deniability.crypto.canonical import canonical_json
from deniability.errors import CommitmentError

#: Separates these hashes from every other use of SHA-256 here.
DOMAIN = "deniability/seed/v1"


def derive_seed(
    *,
    role: str,
    weights: str,
    protocol: str,
    picture: str = "",
    beacon: str = "",
    index: int,
) -> bytes:
    """Return the 32-byte seed number `index` of a role.

    It is SHA-256 of the RFC 8785 JSON object with exactly the members `beacon`, `domain`,
    `index` (a decimal string), `picture`, `protocol`, `role` and `weights`.

    Args:
        role: what the seed is for, e.g. "control" or "restart".
        weights: content digest of the model's weights, hex (no file names in it).
        protocol: digest of the frozen protocol, hex.
        picture: digest of the picture, hex, or "" where there is none.
        beacon: value of the public beacon round named beforehand, or "".
        index: 0, 1, 2, … without gaps.

    Raises CommitmentError if `index` is negative.

    """
    if index < 0:
        raise CommitmentError("a seed's index is negative", where=role, found=str(index))
    before, after = _around_index(role, weights, protocol, picture, beacon)
    return hashlib.sha256(b'%s"%d"%s' % (before, index, after)).digest()


def derive_seeds(
    *,
    role: str,
    weights: str,
    protocol: str,
    picture: str = "",
    beacon: str = "",
    count: int,
) -> list[str]:
    """Return the first `count` seeds of a role in hex, each as `derive_seed` gives it."""
    before, after = _around_index(role, weights, protocol, picture, beacon)
    sha256 = hashlib.sha256
    return [sha256(b'%s"%d"%s' % (before, i, after)).hexdigest() for i in range(count)]


@lru_cache(maxsize=256)
def _around_index(
    role: str, weights: str, protocol: str, picture: str, beacon: str
) -> tuple[bytes, bytes]:
    """Return the canonical JSON before and behind the index's value, the same for all indexes."""
    preimage = {
        "beacon": beacon,
        "domain": DOMAIN,
        "index": "",
        "picture": picture,
        "protocol": protocol,
        "role": role,
        "weights": weights,
    }
    # Inside a text the quotes would be escaped, so this is the member itself.
    before, _, after = canonical_json(preimage).partition(b'"index":""')
    return before + b'"index":', after
