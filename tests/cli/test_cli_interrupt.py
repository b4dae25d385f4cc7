"""Ctrl-C loses nothing: the next run with --resume goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys

import pytest
from cli_checks import ROOT
from safetensors.torch import load_file

IMPATIENT = """
import os, signal, sys
from deniability.cli import progress
phase, least = sys.argv[1], int(sys.argv[2])
class Impatient(progress.Lines):
    def phase(self, name, total):
        self.name = name
        super().phase(name, total)
    def advance(self, done, *, best=None):
        if phase in self.name and done >= least:
            os.kill(os.getpid(), signal.SIGINT)
progress.Lines = Impatient
from deniability.cli.app import run
sys.exit(run(sys.argv[3:]))
"""


def interrupted(arguments, cwd, *, phase, done):
    """Run `deny` and press Ctrl-C once `done` units of a phase are finished."""
    ran = subprocess.run(
        [sys.executable, "-c", IMPATIENT, phase, str(done), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Whoever runs these tests in the background has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return ran.returncode, ran.stdout, ran.stderr


def comparable(control):
    """Return what does not depend on how the batches fell."""
    wire = control.to_wire()
    return {name: wire.get(name) for name in ("index", "seed", "truth", "best", "restarts")}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_an_interrupted_registration_goes_on(registered, home, process):
    from deniability.verify.bundle import verify_registration
    from deniability.verify.trust import TrustPolicy

    command = ["register", "builtin", "--preset", "pristine-quick-v1"]
    command += ["--key", registered.private_key, "-o", "r.json"]
    code, out, err = interrupted(command, home, phase="inverting controls", done=5)
    assert code == 130, err
    assert out == ""
    assert err.splitlines()[-1] == (
        "Interrupted; nothing is lost: run the same command with --resume."
    )
    assert "Traceback" not in err
    state = home / ".r.json.state"
    finished = [
        record
        for path in state.glob("controls-*-restarts-*.safetensors")
        for record in json.loads(load_file(path)["metadata"].numpy().tobytes())["records"]
    ]
    assert 5 <= len(finished) < 99
    assert (state / "encoder.safetensors").exists()
    assert not (home / "r.json").exists()

    resumed = process(*command, "--resume", cwd=home)
    assert resumed.code == 0, resumed.err
    assert "training the encoder" not in resumed.err
    assert not state.exists()
    trust = TrustPolicy((registered.key.public,))
    ours = verify_registration((home / "r.json").read_bytes(), trust=trust).registration
    whole = registered.opened.verified.registration
    assert ours.encoder == whole.encoder
    for control, expected in zip(
        ours.controls[0].controls, whole.controls[0].controls, strict=True
    ):
        assert comparable(control) == comparable(expected)
        assert float(control.residual) == pytest.approx(float(expected.residual), abs=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_without_resume_the_kept_state_is_discarded_and_that_is_said(registered, home):
    command = ["register", "builtin", "--preset", "pristine-quick-v1"]
    command += ["--key", registered.private_key, "-o", "r.json"]
    code, _, err = interrupted(command, home, phase="training the encoder", done=9)
    assert code == 130, err
    code, _, err = interrupted(command, home, phase="training the encoder", done=10)
    assert code == 130
    assert "without --resume it is discarded now" in err
    code, _, err = interrupted(
        [*command, "--resume", "--json"], home, phase="training the encoder", done=10
    )
    assert code == 130
    assert "discarded" not in err


def test_the_state_of_something_else_is_not_continued(registered, home, process):
    state = home / ".r.json.state"
    state.mkdir()
    (state / "identity").write_text("0" * 64)
    (state / "encoder.json").write_text("{}")
    ran = process(
        "register", "builtin", "--key", registered.private_key, "-o", "r.json", "--resume", cwd=home
    )
    assert ran.code == 2
    assert "about something else" in ran.err
    assert "choose another -o, or delete this folder" in ran.err
    assert (state / "encoder.json").exists()
