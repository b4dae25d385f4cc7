"""What a mechanism of isolation is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from deniability.errors import UncheckedError


class IsolationError(UncheckedError):
    """A child process that could not be isolated, broke its limits, or died."""

    stage: ClassVar[str] = "isolation"


@dataclass(frozen=True)
class Limits:
    """Bounds on one child process.

    Attributes:
        memory: address space, bytes.
        seconds: of wall clock; CPU time is bounded by these times the number of cores.
        file_size: largest file that it writes, bytes.
        scratch: largest total of its scratch folder, bytes.

    """

    memory: int
    seconds: int
    file_size: int = 64 << 20
    scratch: int = 1 << 30


@dataclass(frozen=True)
class Grants:
    """What a child may touch of the file system.

    Attributes:
        scratch: the one folder in which it may write; it begins there.
        read: files and folders that it may read, beside the Python installation.
        folder: where it begins, if not in `scratch`.

    """

    scratch: Path
    read: tuple[Path, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Program:
    """A module of this package to run in the child, or a script of it, with fixed arguments.

    Attributes:
        module: its dotted name; its `main(arguments)` returns the exit status.
        arguments: given to `main`.
        path: what sys.path shall hold in the child.
        processes: whether it may start processes until it seals itself (`seccomp.seal`).

    """

    module: str
    arguments: tuple[str, ...] = ()
    path: tuple[str, ...] = field(default_factory=tuple)
    processes: bool = False


class Isolation(Protocol):
    """One way to confine a child process."""

    @property
    def name(self) -> str:
        """Name of the mechanism, as users know it."""
        ...

    def unavailable(self) -> str | None:
        """Return why it cannot work here, or None; cheap, and not the last word."""
        ...

    def command(self, program: Program, grants: Grants, limits: Limits) -> list[str]:
        """Return the command that runs a program so confined."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what to record of it."""
        ...
