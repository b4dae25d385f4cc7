"""Writing to stdout and stderr: nothing from a file or a file name reaches a terminal unescaped."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from deniability.report.text import escape

__all__ = ["Output", "escape", "prepare_streams", "program_name", "say", "write_json"]


def prepare_streams() -> None:
    """Let characters that a terminal's encoding lacks be escaped instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def program_name() -> str:
    """Return how `deny` can be called again here: its name, or its path where that is not found."""
    if shutil.which("deny") is not None:
        return "deny"
    script = Path(sys.argv[0])
    if script.name in {"deny", "deny.exe"} and script.exists():
        return shlex.quote(str(script))
    return shlex.join([sys.executable, "-m", "deniability"])


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

    def field(self, name: str, text: str, *, detail: bool = False) -> None:
        """Write a named line of the result, or of the explanation."""
        (self.detail if detail else self.line)(f"{name:<12} {text}")

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
