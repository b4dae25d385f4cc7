"""What a file says about the meaning of its numbers. It is recorded, never applied.

A model's output is bytes; the question is whether these are the same bytes. A profile that
merely names sRGB or a gray curve leaves that question alone. Another profile suggests that
somebody converted the numbers to another space, which would make an own output look foreign:
that is a caution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

#: PNG stores 1/gamma x 100000; sRGB's nominal value is 0.45455.
_SRGB_GAMMA = 0.45455


def describe_colour_space(info: Mapping[Any, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return notes and cautions on the ICC profile and gamma in Pillow's `Image.info`."""
    notes: list[str] = []
    cautions: list[str] = []
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        name = profile_family(profile)
        digest = hashlib.sha256(profile).hexdigest()[:16]
        notes.append(f"ICC profile ({name}, sha256 {digest}...) recorded, not applied")
        if name == "other":
            cautions.append(
                "the file carries a colour profile that is neither sRGB nor gray; "
                "its numbers may have been converted to it"
            )
    gamma = info.get("gamma")
    if isinstance(gamma, float) and "srgb" not in info and abs(gamma - _SRGB_GAMMA) > 0.001:
        cautions.append("the file states an unusual gamma; its numbers may have been converted")
    return tuple(notes), tuple(cautions)


def profile_family(profile: bytes) -> str:
    """Tell "sRGB", "gray" or "other" of an ICC profile (ICC.1:2022, sections 7.2 and 7.3).

    The description tag is searched for the name; the profile is not otherwise interpreted.
    """
    if profile[16:20] == b"GRAY":
        return "gray"
    count = min(int.from_bytes(profile[128:132], "big"), 100)
    for at in range(132, 132 + 12 * count, 12):
        if profile[at : at + 4] == b"desc":
            offset = int.from_bytes(profile[at + 4 : at + 8], "big")
            size = min(int.from_bytes(profile[at + 8 : at + 12], "big"), 4096)
            text = profile[offset : offset + size]
            if b"sRGB" in text or "sRGB".encode("utf-16-be") in text:
                return "sRGB"
    return "other"
