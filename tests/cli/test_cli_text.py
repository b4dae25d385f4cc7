"""Words, codes and bars: what people and programs see whatever happens inside."""

import io
import json
import re
import sys
import time

import pytest

from deniability.cli import failure
from deniability.cli.app import run
from deniability.cli.progress import reporting
from deniability.cli.terminal import Output
from deniability.errors import OutputError, ReplayError
from deniability.report.text import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain × − α ü 画", "plain × − α ü 画"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2066\u2028\u200b\ufeff", "\\u2066\\u2028\\u200b\\ufeff"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_nothing_that_acts_on_a_terminal_gets_through(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ReplayError("it differs", where="restarts.3"), 3, "verification failed at stage 'replay'"),
        (MemoryError(), 4, "not enough memory"),
        (RecursionError(), 4, "nested too deeply"),
        (PermissionError(13, "Permission denied", "/secret"), 2, "/secret: the system refused"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (ModuleNotFoundError("No module named 'torch'"), 4, "cannot be imported"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (failure.InterruptedRun(), 130, "run the same command with --resume"),
        (KeyError("x"), 1, "a fault in deniability itself (KeyError: 'x')"),
    ],
)
def test_whatever_is_raised_ends_in_a_sentence_and_a_code(capsys, error, code, words):
    assert failure.failed(error, json=False) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert failure.failed(error, json=True) == code
    value = json.loads(capsys.readouterr().out)
    assert value["exitCode"] == code
    assert words.split(" at stage")[0] in value["error"]["message"] or code == 3


def test_out_of_gpu_memory_is_no_bug(capsys):
    import torch

    assert failure.failed(torch.OutOfMemoryError("CUDA out of memory"), json=False) == 4
    assert "not enough memory" in capsys.readouterr().err


def test_a_traceback_only_on_request(capsys, monkeypatch):
    monkeypatch.setenv("DENY_DEBUG", "1")
    assert failure.failed(KeyError("x"), json=False) == 1
    assert "KeyError" in capsys.readouterr().err


def test_an_output_error_is_described_field_by_field():
    error = OutputError("is full", where="/x", expected="room", found="none", hint="Make some.")
    assert failure.describe(error) == {
        "stage": "output",
        "what": "is full",
        "where": "/x",
        "expected": "room",
        "found": "none",
        "hint": "Make some.",
        "message": "/x: is full (expected room, found none). Make some.",
    }


@pytest.mark.parametrize("command", ["demo", "keygen", "register", "prove", "verify", "generate"])
def test_every_command_explains_itself(capsys, command):
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--json", "--quiet"):
        assert option in shown


def test_version_and_help(capsys):
    from deniability import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"deny {__version__}\n"
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "register" in shown
    assert "install-completion" not in shown


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def story(out, pause=0.0):
    with reporting(out) as progress:
        progress.phase("searching \x1b[31m[bold]", 10)
        progress.advance(3, best=1.5e-6)
        time.sleep(pause)
        progress.note("a note [red]with\u202e brackets")
        progress.phase("again", 2)
        progress.advance(2)


def test_a_terminal_gets_a_bar_with_what_is_done_and_the_best_residual(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    story(Output(), pause=0.5)  # the bar is drawn ten times a second
    written = terminal.getvalue()
    assert "3/10" in written
    assert "best residual 1.5e-06" in written
    assert "searching \\x1b[31m[bold]" in written
    assert "a note [red]with\\u202e brackets" in written


def test_a_bar_of_much_shows_its_rate(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with reporting(Output()) as progress:
        progress.phase("comparing", 10**6)
        for done in range(0, 6000, 1000):
            progress.advance(done)
            time.sleep(0.1)
    rates = [int(rate.replace(",", "")) for rate in re.findall(r"([0-9,]+)/s", terminal.getvalue())]
    assert rates
    assert 0 < rates[-1] <= 11_000


def test_elsewhere_one_plain_line_for_each_phase(capsys):
    story(Output())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "searching \\x1b[31m[bold] (10)",
        "a note [red]with\\u202e brackets",
        "again (2)",
    ]


def test_quiet_is_silent(capsys):
    story(Output(quiet=True))
    assert capsys.readouterr() == ("", "")
