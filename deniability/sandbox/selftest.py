"""Runs in an isolated child: tries what must not be possible, and says what was.

    MODULE SECRET OUTSIDE

SECRET is a file that was not granted, OUTSIDE a folder that was not. Prints a JSON list of what
went through, so `[]` is what a mechanism has to give.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def attempts(secret: str, outside: str) -> dict[str, Callable[[], object]]:
    """Return what must not be possible, by name."""
    return {
        "read a file": lambda: Path(secret).read_bytes(),
        "list a folder": lambda: os.listdir(outside),  # noqa: PTH208 - one call, nothing else
        "write a file": lambda: Path(outside, "written").write_bytes(b"x"),
        "change a file's mode": lambda: Path(secret).chmod(0o777),
        "fill a folder in memory": _fill,
        "make a file in memory": lambda: os.close(os.memfd_create("m")),
        "use the network": _network,
        "open a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "start a process": _process,
        "signal another process": lambda: os.kill(os.getppid(), 0),
    }


def settings() -> dict[str, Callable[[], object]]:
    """Return what only root could do, by name: nothing is written, opening is enough."""
    return {
        f"change {path}": functools.partial(_open_to_write, path)
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory")
    }


def _open_to_write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))


def _fill() -> None:
    refused = 0
    for folder in ("/", "/dev/shm", "/dev", "/tmp"):  # noqa: S108 - the point is what is there
        try:
            with tempfile.TemporaryFile(dir=folder):
                return
        except OSError:
            refused += 1
    raise PermissionError(f"{refused} folders")


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
    for name, attempt in {**attempts(secret, outside), **settings()}.items():
        try:
            attempt()
        except OSError:
            continue
        possible.append(name)
    Path("scratch.txt").write_bytes(b"x")  # this must work, in the folder where the child begins
    sys.stdout.write(json.dumps(possible))
    return 0
