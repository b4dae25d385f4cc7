"""The registry of files that are opened: pictures, models, checkpoints, and what comes of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Which of our entry points opens them: `imaging.decode`, `generators.load` or `verify.log`.
FILE_STAGES = ("image", "generator", "log")


@dataclass(frozen=True)
class FileCase:
    """A vector of one file.

    Attributes:
        stage: that must refuse it, or would.
        name: of its folder.
        about: what it is, for its README.
        file: name of the file, of which the ending may be a lie.
        build: makes the file.
        expect: what `expect.json` says.

    """

    stage: str
    name: str
    about: str
    file: str
    build: Callable[[], bytes]
    expect: dict[str, Any] = field(default_factory=dict)


FILE_CASES: dict[tuple[str, str], FileCase] = {}


def add_file(case: FileCase) -> None:
    """Register a vector."""
    assert case.stage in FILE_STAGES
    assert (case.stage, case.name) not in FILE_CASES, case.name
    FILE_CASES[case.stage, case.name] = case


def refused(
    stage: str, name: str, about: str, file: str, build: Callable[[], bytes], says: str, **more: Any
) -> None:
    """Register a file that must be refused at its stage, with these words."""
    expect = {"outcome": "refused", "stage": stage, "exit": 2, "says": says, **more}
    add_file(FileCase(stage, name, about, file, build, expect))
