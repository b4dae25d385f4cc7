"""`deny`: its commands, and the one place where whatever they raise becomes an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from deniability import __version__
from deniability.cli.failure import UsageError, drop_unwritable_output, failed
from deniability.cli.terminal import escape, prepare_streams

#: Where each command is: its module here, and the function in it, or the group of several.
COMMANDS = {
    "demo": ("demo", "demo"),
    "keygen": ("keygen", "keygen"),
    "register": ("register", "register"),
    "timestamp": ("timestamp", "timestamp"),
    "chain": ("chain", "chain"),
    "prove": ("prove", "prove"),
    "attribute": ("attribute", "attribute"),
    "enumerate": ("enumerate", "enumerate_seeds"),
    "bind": ("bind", "bind"),
    "evaluate": ("evaluate", "evaluate"),
    "verify": ("verify", "verify"),
    "withdraw": ("withdraw", "withdraw"),
    "revoke": ("withdraw", "revoke"),
    "generate": ("generate", "generate"),
    "inspect": ("inspection", "inspect"),
    "trust": ("trust", "app"),
}

#: Base of typer's usage errors; its own name for it has moved between versions.
_CLICK_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"deny {__version__}\n")
        raise typer.Exit


def _deny(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Evidence, re-checkable by a hostile expert, on whether a picture came from a generator."""


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return `deny` with these commands; only their modules are imported."""
    app = typer.Typer(
        name="deny",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Evidence, re-checkable by a hostile expert, on whether a picture came from an image "
        "generator.",
    )
    app.callback()(_deny)
    for name in names:
        module, attribute = COMMANDS[name]
        command = getattr(importlib.import_module(f"deniability.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run `deny` and return its exit code; nothing is raised."""
    prepare_streams()
    if not sys.warnoptions and not os.environ.get("DENY_DEBUG"):
        warnings.simplefilter("ignore")  # meant for developers of the libraries we use
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    json = "--json" in options
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk shows here, while it can still be told
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost catch of all
        code = failed(error, json=json)
        drop_unwritable_output()
    return code


def _run(arguments: Sequence[str]) -> int:
    # The one that is asked for, where its name comes first; else help may have to list them all.
    named = [name for name in arguments[:1] if name in COMMANDS]
    try:
        app = make_app(named or COMMANDS)
        code = app(list(arguments), prog_name="deny", standalone_mode=False)
    except typer.Abort as cause:
        raise KeyboardInterrupt from cause
    except SystemExit as cause:  # typer's way to end when whoever reads our output has gone
        raise BrokenPipeError from cause
    except Exception as error:
        if isinstance(error, _CLICK_ERROR):
            raise _usage(error) from error
        raise
    if code == 130:  # what newer versions of typer make of Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> UsageError:
    """Put typer's own complaint into the form that all our errors have."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "deny")
    message = str(getattr(error, "format_message", lambda: error)())
    what = message.strip().rstrip(".") or "nothing to do"
    return UsageError(escape(what[:1].lower() + what[1:]), hint=f"See: {command} --help.")
