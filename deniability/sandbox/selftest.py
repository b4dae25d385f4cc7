"""Runs in an isolated child: tries what must not be possible, and says what was.

    MODULE SECRET OUTSIDE

SECRET is a file that was not granted, OUTSIDE a folder that was not. Prints a JSON list of what
went through, so `[]` is what a mechanism has to give.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path


def attempts(secret: str, outside: str) -> dict[str, Callable[[], object]]:
    """Return what must not be possible, by name."""
    return {
        "read a file": lambda: Path(secret).read_bytes(),
        "list a folder": lambda: os.listdir(outside),  # noqa: PTH208 - one call, nothing else
        "write a file": lambda: Path(outside, "written").write_bytes(b"x"),
        "change a file's mode": lambda: Path(secret).chmod(0o777),
        "use the network": _network,
        "open a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "start a process": _process,
        "signal another process": lambda: os.kill(os.getppid(), 0),
    }


def _network() -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))


def _process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def main(arguments: list[str]) -> int:
    """Try everything, print what was possible."""
    secret, outside = arguments
    possible = []
    for name, attempt in attempts(secret, outside).items():
        try:
            attempt()
        except OSError:
            continue
        possible.append(name)
    Path("scratch.txt").write_bytes(b"x")  # this must work, in the folder where the child begins
    sys.stdout.write(json.dumps(possible))
    return 0
