"""Text from files and file names, made harmless for terminals and pages."""

from __future__ import annotations

import unicodedata


def escape(text: str) -> str:
    """Return one line of text in which nothing acts on a terminal or turns writing around.

    Control, format (bidi), surrogate, private and unassigned characters, and line and paragraph
    separators, are written as Python escapes.
    """
    return "".join(character if _harmless(character) else _escaped(character) for character in text)


def _harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return not category.startswith("C") and category not in {"Zl", "Zp"}


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
