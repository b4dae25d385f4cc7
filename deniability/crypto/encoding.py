"""Base64 with one spelling per value (RFC 4648, section 4: padded, no line breaks)."""

from __future__ import annotations

import base64
import binascii

from deniability.errors import DeniabilityError, ParseError


def b64encode(data: bytes) -> str:
    """Return the standard padded base64 of `data`."""
    return base64.b64encode(data).decode("ascii")


def b64decode_strict(text: str, where: str, error: type[DeniabilityError] = ParseError) -> bytes:
    """Decode `text`, refusing every spelling but the one `b64encode` would write.

    The usual decoders skip foreign characters, ignore what follows the padding and the unused
    bits of the last character, so several texts give the same bytes and a flipped bit can go
    unseen (RFC 4648, sections 3.3 and 3.5). A decoder that skips nothing, and encoding the end
    again, closes all of these.

    Args:
        text: what should be base64.
        where: file and field, for the message.
        error: class of error to raise.

    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        data = None
    # With no character skipped, only the last four can be spelled in other ways.
    if (
        data is None
        or len(text) != 4 * ((len(data) + 2) // 3)
        or b64encode(data[-(len(data) % 3 or 3) :]) != text[-4:]
    ):
        raise error("not strict base64", where=where, expected="RFC 4648 base64 with padding")
    return data
