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
    sys.exit(run(sys.argv[1:]))
