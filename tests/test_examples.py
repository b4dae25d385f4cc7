"""The examples of generators with labels, with several inputs and as ONNX run as they are."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    """Import an example; `runpy` gives it a name that TorchScript does not take."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_class_conditional_generator(tmp_path, capsys):
    findings = example("class_conditional").main(tmp_path)
    assert findings["own"].verdict == "reached"
    assert findings["foreign"].verdict == "excluded"
    foreign = capsys.readouterr().out.split("foreign.png: labels tried, in order: [")[1]
    tried = [int(label) for label in foreign.split("]")[0].split(",")]
    assert len(tried) == 12
    assert all(tried.count(label) >= 2 for label in range(5))


@pytest.mark.slow
def test_which_of_two_models(tmp_path, capsys):
    findings = example("attribution").main(tmp_path)
    assert findings["twins"].verdict == "attributed"
    assert findings["photo"].verdict == "none-of-these"
    assert capsys.readouterr().out.startswith("twins.png: Attributed (2 models examined): ")


@pytest.mark.slow
def test_a_generator_of_several_inputs(tmp_path, capsys):
    verified = example("several_latents").main(tmp_path)
    assert verified.exclusion.finding.verdict == "reached"
    assert capsys.readouterr().out.startswith("inputs: z [6], coarse [1, 2, 2], fine [1, 4, 4]; 26")


@pytest.mark.slow
def test_a_generator_as_onnx(tmp_path, capsys):
    pytest.importorskip("onnxscript")
    verified = example("onnx_generator").main(tmp_path)
    assert verified.exclusion.generator.format == "onnx"
    assert verified.exclusion.finding.verdict == "reached"
    assert capsys.readouterr().out.startswith("Reached: ")
