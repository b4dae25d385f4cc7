"""The decoder of a latent diffusion model: no bundle about it says `excluded`."""

import sys
from pathlib import Path

import pytest
import torch
import toy_evidence as toy

from deniability.errors import CommitmentError, ReplayError
from deniability.evidence.replay import replay_latents
from deniability.generators.base import Generator
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import decide
from deniability.verify.bundle import verify_bundle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "generators"))


def relabelled(generator):
    """A toy under the name of the format, which is all that the rule looks at."""
    return Generator(
        module=generator.module,
        forward=generator.module,
        spec=generator.spec.model_copy(update={"format": "diffusers"}),
        device=generator.device,
        files=generator.files,
    )


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, _presets_of_tests):
    folder = tmp_path_factory.mktemp("decoder")
    generator = relabelled(toy.make_generator(toy.Smooth()))
    opened = toy.register_toy(generator, folder)
    image = toy.stranger(folder)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator), folder


def test_what_would_be_excluded_is_inconclusive(stranger, stranger_case):
    case, _ = stranger
    ours = case.verified.exclusion.finding
    assert stranger_case.verified.exclusion.finding.verdict == "excluded"
    assert ours.verdict == "inconclusive"
    failed = [gate.name for gate in ours.families[0].gates if not gate.passed]
    assert failed == ["file-history"]
    assert ours.families[0].gates[-1].reason == model_cautions("diffusers")[0]


def test_level_v1_comes_to_the_same(stranger):
    case, _ = stranger
    replay = replay_latents(case.verified, **case.arguments())
    assert replay.finding.verdict == "inconclusive"


def test_a_bundle_that_names_another_format_does_not_fit_the_model(stranger, stranger_case):
    """The format cannot be renamed away: V1 compares the description with the model."""
    case, _ = stranger
    arguments = stranger_case.arguments() | {"generator": case.generator}
    with pytest.raises(ReplayError, match="described otherwise"):
        replay_latents(stranger_case.verified, **arguments)


def test_a_scope_without_the_decoder_is_refused(stranger):
    case, folder = stranger
    scope = case.verified.exclusion.scope
    assert "latent diffusion model" in scope[-1]
    with pytest.raises(CommitmentError, match="scope"):
        toy.resigned(case, folder, scope=scope[:-1])


@pytest.mark.slow
def test_a_real_decoder_from_registration_to_v1(tmp_path):
    pytest.importorskip("diffusers")
    from autoencoders import autoencoder, write_folder

    from deniability.generators.load import load_generator

    model = autoencoder(latent_channels=1)
    folder, _ = write_folder(tmp_path / "vae", model)
    generator = load_generator(folder, device=torch.device("cpu"))
    opened = toy.register_toy(generator, tmp_path)
    image = toy.own_file(tmp_path, generator)
    proof = toy.prove_toy(image, opened, tmp_path)
    assert toy.finding(proof).verdict == "reached"
    assert toy.finding(proof).reached.pixel_for_pixel
    exclusion = verify_bundle(proof.path.read_bytes(), trust=toy.TRUST).exclusion
    assert [file.name for file in exclusion.model.files] == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    case = toy.case_of(proof, image, generator)
    assert replay_latents(case.verified, **case.arguments()).finding.verdict == "reached"


def test_the_rule_needs_nothing_but_the_format(stranger):
    exclusion = stranger[0].verified.exclusion
    given = {
        "protocol": exclusion.protocol,
        "controls": exclusion.controls,
        "restarts": exclusion.restarts,
        "model_digest": exclusion.model.digest,
        "pixel_for_pixel": False,
    }
    assert decide(cautions=(), **given).verdict == "excluded"
    assert decide(cautions=model_cautions("diffusers"), **given).verdict == "inconclusive"
