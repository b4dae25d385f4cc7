"""Every mechanism of isolation denies what it has to; without one, all of it goes through."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deniability.sandbox import choose, selftest
from deniability.sandbox.bubblewrap import Bubblewrap
from deniability.sandbox.choose import MECHANISMS, choose_isolation, probe
from deniability.sandbox.interface import Grants, Limits, Program
from deniability.sandbox.landlock import Landlock
from deniability.sandbox.python import boot_arguments, exposing


def outcome(isolation):
    return isolation.unavailable() or probe(isolation)


@pytest.mark.parametrize("isolation", MECHANISMS, ids=lambda m: m.name)
def test_what_has_to_be_denied_is_denied(isolation):
    if isolation.unavailable():
        pytest.skip(isolation.unavailable())
    reason = probe(isolation)
    if reason is not None and "lets a child" not in reason:
        pytest.skip(f"this machine forbids {isolation.name}: {reason}")
    assert reason is None


class Nothing:
    """Runs the child as it is, but for its limits."""

    name = "nothing"

    def unavailable(self):
        return None

    def command(self, program, grants, limits):
        loose = dataclasses.replace(program, processes=True)
        command = boot_arguments(loose, limits, "null", str(grants.scratch))
        boot = command.index("-B") + 3
        return [
            sys.executable,
            "-c",
            "import os, sys, json; from deniability.sandbox import selftest;"
            f"os.chdir({str(grants.scratch)!r}); sys.exit(selftest.main(sys.argv[1:]))",
            *command[boot + 3 :],
        ]

    def to_json(self):
        return {}


def test_without_isolation_the_same_attempts_succeed():
    """Otherwise the test above could not fail."""
    found = probe(Nothing())
    for name in (*selftest.attempts("", ""), *(selftest.settings() if os.geteuid() == 0 else ())):
        assert name in found


def test_a_child_that_cannot_be_confined_does_nothing(tmp_path):
    program = Program("deniability.sandbox.selftest", ("x", "y"))
    command = boot_arguments(program, Limits(1 << 30, 10), '{"read": 3}', str(tmp_path))
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode != 0
    assert done.stdout == b""
    assert not (tmp_path / "scratch.txt").exists()


def test_a_mechanism_that_lets_something_through_is_not_chosen():
    choice = choose._choose((Nothing(),))
    assert choice.isolation is None
    assert "lets a child read a file" in choice.reasons[0]


def test_the_strongest_that_works_is_chosen():
    working = [m for m in MECHANISMS if outcome(m) is None]
    assert choose_isolation().isolation == (working[0] if working else None)


def test_a_missing_program_and_an_old_kernel_are_told(monkeypatch):
    monkeypatch.setattr("deniability.sandbox.bubblewrap.shutil.which", lambda _: None)
    assert Bubblewrap().unavailable() == "bwrap is not installed"
    monkeypatch.setattr("deniability.sandbox.landlock.abi", lambda: 2)
    assert "version 2" in Landlock().unavailable()


def test_a_home_is_never_shown_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "user"))
    assert exposing(tmp_path / "home" / "user")
    assert exposing(tmp_path / "home")
    assert exposing(Path("/"))
    assert not exposing(tmp_path / "home" / "user" / "venv")
    assert Grants(tmp_path).read == ()
