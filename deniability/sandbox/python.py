"""What the Python installation needs in a child: files, environment, and how it starts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import deniability
from deniability.sandbox.interface import Limits, Program

#: Where shared libraries and what computations ask about the machine are kept.
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/sys/devices/system/cpu",
)
_PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/self")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
#: Variables that change what is computed, or without which some installations do not start.
_KEPT = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "LD_LIBRARY_PATH",
)


def readable(*, proc: bool = True) -> tuple[Path, ...]:
    """Return the files and folders of the Python installation and of the system's libraries."""
    own = (sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve()))
    found = [Path(name) for name in (*own, *_SYSTEM, *(_PROC if proc else ()))]
    package = Path(deniability.__file__).resolve().parent
    return (*(path for path in found if not exposing(path)), package)


def devices() -> tuple[str, ...]:
    """Return the devices that do no harm."""
    return _DEVICES


def search_path() -> tuple[str, ...]:
    """Return sys.path, absolute, as it shall be in a child."""
    folders = (os.path.abspath(entry or ".") for entry in sys.path)  # noqa: PTH100 - no links followed
    return tuple(dict.fromkeys(folders))


def exposing(path: Path) -> bool:
    """Tell whether to show this folder is to show somebody's home: it is one, or above one."""
    homes = {Path(os.path.expanduser("~"))}  # noqa: PTH111 - no error where there is none
    homes |= {home.resolve() for home in homes} | {Path("/root"), Path("/home")}
    places = {path, path.resolve()}
    return any(home == place or place in home.parents for home in homes for place in places)


def environment(scratch: Path) -> dict[str, str]:
    """Return the whole environment of a child."""
    private = dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"), str(scratch))
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **private, **kept}


def boot_arguments(program: Program, limits: Limits, rules: str, folder: str) -> list[str]:
    """Return the command that boots a program in a child (`boot`)."""
    path = program.path or search_path()
    return [
        *(sys.executable, "-I", "-P", "-B", "-W", "ignore"),
        str(Path(__file__).with_name("boot.py")),
        json.dumps(
            {
                "path": [*path, str(Path(deniability.__file__).resolve().parent.parent)],
                "memory": limits.memory,
                "seconds": limits.seconds * (os.cpu_count() or 1),
                "fileSize": limits.file_size,
                "rules": rules,
                "folder": folder,
                "processes": program.processes,
            }
        ),
        program.module,
        *program.arguments,
    ]
