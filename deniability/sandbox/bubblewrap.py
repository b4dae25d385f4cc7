"""bubblewrap: namespaces of its own for the file system, processes and the network."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from deniability.sandbox.interface import Grants, Limits, Program
from deniability.sandbox.python import boot_arguments, environment, readable


@dataclass(frozen=True)
class Bubblewrap:
    """`bwrap`: an empty root with what is granted bound into it, no network at all."""

    name: str = "bubblewrap"

    def unavailable(self) -> str | None:
        """Return why it cannot work here, or None; containers may still forbid namespaces."""
        return None if shutil.which("bwrap") else "bwrap is not installed"

    def command(self, program: Program, grants: Grants, limits: Limits) -> list[str]:
        """Return the command of `bwrap` around our boot script."""
        scratch = str(grants.scratch)
        shown = dict.fromkeys(str(path) for path in (*readable(proc=False), *grants.read))
        variables = environment(grants.scratch).items()
        folder = str(grants.folder or grants.scratch)
        return [
            shutil.which("bwrap") or "bwrap",
            *("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--hostname", "isolated", "--clearenv"),
            *(word for name, value in variables for word in ("--setenv", name, value)),
            *("--proc", "/proc", "--dev", "/dev"),
            *(word for path in sorted(shown) for word in ("--ro-bind-try", path, path)),
            *("--size", str(limits.scratch), "--tmpfs", scratch),
            # Started by root, the child owns the kernel's settings in /proc; and what is left
            # writable beside the scratch folder is memory that no limit counts.
            *(word for place in ("/proc", "/dev", "/") for word in ("--remount-ro", place)),
            *("--chdir", scratch, "--"),
            *boot_arguments(program, limits, "null", folder),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the mechanism."""
        return {"mechanism": "bubblewrap"}
