"""Writing to stdout and stderr: nothing from a file or a file name reaches a terminal unescaped."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO


def escape(text: str) -> str:
    """Return one line of text in which nothing acts on a terminal.

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


def prepare_streams() -> None:
    """Let characters that a terminal's encoding lacks be escaped instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _write(stream: TextIO | None, line: str) -> None:
    if stream is not None:  # closed by whoever started us
        stream.write(line + "\n")


def say(text: str) -> None:
    """Write one line to stderr: a note, a warning, an error."""
    _write(sys.stderr, escape(text))
    if sys.stderr is not None:
        sys.stderr.flush()


@dataclass(frozen=True)
class Output:
    """The results of one command, for people or, with `--json`, for programs.

    Attributes:
        json: one JSON object on stdout, and nothing else there.
        quiet: only the result: no explanations, no notes, no progress.

    """

    json: bool = False
    quiet: bool = False

    def line(self, text: str = "") -> None:
        """Write a line of the result."""
        if not self.json:
            _write(sys.stdout, escape(text))

    def detail(self, text: str = "") -> None:
        """Write a line of explanation, left out with `--quiet`."""
        if not self.quiet:
            self.line(text)

    def note(self, text: str) -> None:
        """Write a remark to stderr, left out with `--quiet`."""
        if not self.quiet:
            say(text)

    def result(self, value: Mapping[str, Any], *, exit_code: int = 0) -> None:
        """Write the JSON object of `--json`; without it, nothing."""
        if self.json:
            write_json({**value, "exitCode": exit_code})


def write_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object in ASCII on one line of stdout."""
    _write(sys.stdout, json.dumps(value, ensure_ascii=True))
