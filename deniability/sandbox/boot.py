"""First thing in an isolated child: confine this process, then run a module of the package.

    python -I -P boot.py CONFIGURATION MODULE ARGUMENTS...

Nothing of the caller's files is touched before the process is confined. Where it cannot be, it
ends with `UNCONFINED` and a line on standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

#: Exit status of a child that could not be confined, and so did nothing.
UNCONFINED = 77
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


def _limit(config: dict[str, Any]) -> None:
    import resource  # noqa: PLC0415 - not everywhere

    cpu = config["seconds"]
    for name, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, config["fileSize"]),
        (resource.RLIMIT_AS, config["memory"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, hard = resource.getrlimit(name)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (bound, bound))
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _confine(config: dict[str, Any]) -> None:
    import ctypes  # noqa: PLC0415 - only in the child

    from deniability.sandbox import landlock, seccomp  # noqa: PLC0415 - sys.path is set only now

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    _limit(config)
    rules = json.loads(config["rules"])
    if rules is not None:
        landlock.restrict(rules["read"], rules["write"])
    if rules is not None or seccomp.unavailable() is None:
        seccomp.confine()
        if not config["processes"]:
            seccomp.seal()


def main() -> int:
    """Confine this process and run the module; return the exit status."""
    config = json.loads(sys.argv[1])
    sys.path[:] = config["path"]
    try:
        os.chdir(config["folder"])
        _confine(config)
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"not confined: {error}\n")
        return UNCONFINED
    module = importlib.import_module(sys.argv[2])
    return int(module.main(sys.argv[3:]))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # no handlers of whatever was loaded
