"""The examples of generators run as they are."""

import importlib.util
import shutil
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
def test_which_of_two_models(tmp_path, capsys, monkeypatch, small_preset):
    module = example("attribution")
    given = module.preset
    monkeypatch.setattr(module, "preset", lambda name: given(name) and given(small_preset))
    findings = module.main(tmp_path)
    assert findings["twins"].verdict == "attributed"
    assert findings["photo"].verdict == "none-of-these"
    assert capsys.readouterr().out.startswith("twins.png: Attributed (2 models examined): ")


@pytest.mark.slow
def test_a_generator_of_several_inputs(tmp_path, capsys):
    verified = example("several_latents").main(tmp_path)
    assert verified.exclusion.finding.verdict == "reached"
    assert capsys.readouterr().out.startswith("inputs: z [6], coarse [1, 2, 2], fine [1, 4, 4]; 26")


@pytest.mark.slow
def test_a_generator_whose_styles_are_truncated(tmp_path, capsys):
    verified = example("style_truncation").main(tmp_path)
    assert verified.exclusion.stages == "mapping-synthesis"
    assert verified.exclusion.finding.verdict == "reached"
    assert "searched stage by stage: mapping-synthesis\nReached: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_generator_as_onnx(tmp_path, capsys):
    pytest.importorskip("onnxscript")
    verified = example("onnx_generator").main(tmp_path)
    assert verified.exclusion.generator.format == "onnx"
    assert verified.exclusion.finding.verdict == "reached"
    assert capsys.readouterr().out.startswith("Reached: ")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("decoder")
    return folder, example("diffusers_decoder").main(folder)


@pytest.mark.slow
def test_a_decoder_of_diffusers(decoder):
    findings = {name: bundle.exclusion.finding for name, bundle in decoder[1].items()}
    assert findings["own"].verdict == "reached"
    assert findings["noise"].verdict == "inconclusive"
    # It is far from all controls; what forbids `excluded` is the kind of model alone.
    gates = findings["noise"].families[0].gates
    assert [gate.name for gate in gates if not gate.passed] == ["file-history"]
    assert "decoder of a latent diffusion model" in findings["noise"].sentence
    assert all("it was generated" in b.exclusion.scope[-1] for b in decoder[1].values())


def verify(folder, model, capsys, *options):
    from deniability.cli.app import run

    capsys.readouterr()
    code = run(
        [
            *("verify", str(folder / "own.json"), "--image", str(folder / "own.png")),
            *("--key", str(folder / "key.pub.pem"), "--model", str(model), *options),
        ]
    )
    return code, capsys.readouterr()


@pytest.mark.slow
def test_a_decoder_is_checked_in_isolation(decoder, capsys):
    from deniability.sandbox.choose import choose_isolation

    if choose_isolation().isolation is None:
        pytest.skip("no isolation here: " + "; ".join(choose_isolation().reasons))
    folder = decoder[0]
    code, said = verify(folder, folder / "vae", capsys)
    assert code == 0, said.err
    assert "V1 checked" in said.out
    assert "isolated by" in said.out
    assert "output range" not in said.out


@pytest.mark.slow
@pytest.mark.parametrize("trust", [(), ("--trust-model",)])
def test_another_decoder_is_not_run(decoder, capsys, tmp_path, trust):
    model = shutil.copytree(decoder[0] / "vae", tmp_path / "vae")
    config = model / "config.json"
    config.write_text(config.read_text() + " ")
    code, said = verify(decoder[0], model, capsys, *trust)
    assert code == 3
    assert "not the model that the bundle is about" in said.err


@pytest.mark.slow
def test_a_link_in_a_decoder_is_not_followed(decoder, capsys, tmp_path):
    model = shutil.copytree(decoder[0] / "vae", tmp_path / "vae")
    (model / "config.json").rename(tmp_path / "config.json")
    (model / "config.json").symlink_to(tmp_path / "config.json")
    code, said = verify(decoder[0], model, capsys)
    assert code == 2
    assert "is a link" in said.err
