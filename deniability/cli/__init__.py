"""The command line: one thin module per command; the only place that prints and exits."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run `deny` with the process's arguments and exit with its code (DESIGN section 6)."""
    import gc  # noqa: PLC0415 - the package itself stays empty for whoever imports one module
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415

    # Of packages that this program does not know; looking for them takes a tenth of its start too.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # what is imported stays: to look through it for garbage finds none
    from deniability.cli.app import run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    code = run(sys.argv[1:])
    if "torch" not in sys.modules:  # nor threads, nor processes
        _end(code)
    sys.exit(code)


def _end(code: int) -> None:
    """End the process, and leave it to the system to take its memory back.

    Of a command that verified a bundle it is a tenth of the time to take every object apart.
    """
    import atexit  # noqa: PLC0415
    import contextlib  # noqa: PLC0415
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415
    import threading  # noqa: PLC0415

    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - it has no public name
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    os._exit(code)
