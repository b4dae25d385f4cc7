"""`examples/quickstart.py` is what a user copies first, so it runs."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "quickstart.py"


@pytest.mark.slow
def test_the_quickstart_ends_excluded_and_verified(tmp_path, capsys):
    main = runpy.run_path(str(SCRIPT))["main"]
    verified = main(tmp_path / "new")
    assert verified.exclusion.finding.verdict == "excluded"
    assert capsys.readouterr().out.startswith("Excluded: the accused picture is not")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert {"bundle.json", "bundle.latents.safetensors", "model.registration.json"} <= names


def test_without_arguments_it_tells_how_it_is_used():
    run = subprocess.run(
        [sys.executable, str(SCRIPT)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
    )
    assert run.returncode == 1
    assert "FOLDER [MODEL [PICTURE]]" in run.stderr
