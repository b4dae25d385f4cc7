"""The examples of generators with labels and with several inputs run as they are."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.slow
def test_a_class_conditional_generator(tmp_path, capsys):
    findings = runpy.run_path(str(EXAMPLES / "class_conditional.py"))["main"](tmp_path)
    assert findings["own"].verdict == "reached"
    assert findings["foreign"].verdict == "excluded"
    foreign = capsys.readouterr().out.split("foreign.png: labels tried, in order: [")[1]
    tried = [int(label) for label in foreign.split("]")[0].split(",")]
    assert len(tried) == 12
    assert all(tried.count(label) >= 2 for label in range(5))


@pytest.mark.slow
def test_a_generator_of_several_inputs(tmp_path, capsys):
    verified = runpy.run_path(str(EXAMPLES / "several_latents.py"))["main"](tmp_path)
    assert verified.exclusion.finding.verdict == "reached"
    assert capsys.readouterr().out.startswith("inputs: z [6], coarse [1, 2, 2], fine [1, 4, 4]; 26")
