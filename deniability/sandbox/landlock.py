"""Landlock: a process gives up the file system, for itself and its children, without privileges.

It needs Linux 6.2 (ABI 3: truncation is covered). It does not cover the network fully, nor the
attributes of files; the seccomp filter does. Names and sizes of files outside can still be asked
for (stat), their contents cannot.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from dataclasses import dataclass
from typing import Any

from deniability.sandbox import seccomp
from deniability.sandbox.interface import Grants, Limits, Program
from deniability.sandbox.python import boot_arguments, devices, readable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_MINIMUM = 3
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE = 1 << 14, 1 << 15
#: Rights that a rule for a file, not a folder, may give.
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE
#: Making and removing files and folders, but no devices, sockets, pipes or links.
_MAKE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8
_READING = _EXECUTE | _READ | _LIST
_WRITING = _READING | _WRITE | _TRUNCATE | _MAKE


def abi() -> int:
    """Return the version of Landlock that the running kernel has; 0: none, or switched off."""
    if sys.platform != "linux" or seccomp.unavailable():
        return 0
    try:
        return _call(_CREATE, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(read: list[str], write: list[str]) -> None:
    """Leave this process nothing of the file system but these. Raises OSError."""
    version = abi()
    if version < _MINIMUM:
        raise OSError(errno.ENOSYS, f"Landlock ABI {version}")
    files = (1 << (16 if version >= 5 else 15)) - 1
    network = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0
    attributes = struct.pack("=QQQ", files, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(_CREATE, ctypes.create_string_buffer(attributes, 24), size, 0)
    try:
        for paths, rights in ((read, _READING), (write, _WRITING)):
            for path in paths:
                _allow(rules, path, rights & files)
        seccomp.no_new_privileges()
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what is not there needs no permission
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - this runs before anything is imported
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
        _call(_ADD, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return result


@dataclass(frozen=True)
class Landlock:
    """Landlock for files, seccomp for the rest."""

    name: str = "Landlock and seccomp"

    def unavailable(self) -> str | None:
        """Return why it cannot work here, or None."""
        version = abi()
        if version < _MINIMUM:
            return seccomp.unavailable() or f"the kernel's Landlock is version {version}, not 3"
        return None

    def command(self, program: Program, grants: Grants, limits: Limits) -> list[str]:
        """Return the command: our own boot script, which restricts itself first."""
        rules = {
            "read": [str(path) for path in (*readable(), *grants.read)],
            "write": [str(grants.scratch), *devices()],
        }
        folder = str(grants.folder or grants.scratch)
        return boot_arguments(program, limits, json.dumps(rules), folder)

    def to_json(self) -> dict[str, Any]:
        """Return the mechanism and the kernel's version of it."""
        return {"mechanism": "landlock", "abi": abi()}
