"""A generator of three inputs, end to end: a latent and two noise maps."""

import pytest
import toy_evidence as toy
import toy_labels as labels

from deniability.evidence.replay.latents import replay_latents
from deniability.wire.protocol import PRESETS


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, labels.SEVERAL.name, labels.SEVERAL)
        folder = tmp_path_factory.mktemp("several")
        generator = labels.scripted(folder, labels.Noisy(), labels.NOISE)
        yield toy.register_toy(generator, folder, labels.SEVERAL)


def test_its_inputs_are_read_in_order(opened):
    spec = opened.procedure.generator.spec
    assert [(p.name, p.shape) for p in spec.latent] == [
        ("z", (4,)),
        ("noise1", (1, 2, 2)),
        ("noise2", (1, 4, 4)),
    ]
    assert (spec.dimension, spec.labels, opened.procedure.generator.free) == (24, (), None)


def test_own_outputs_are_reached_and_a_stranger_is_not(opened, tmp_path):
    generator = opened.procedure.generator
    own = toy.own_file(tmp_path, generator)
    proof = toy.prove_toy(own, opened, tmp_path)
    assert toy.finding(proof).verdict == "reached"
    assert all(r.label is None for r in proof.verified.exclusion.restarts)
    other = toy.stranger(tmp_path)
    denied = toy.prove_toy(other, opened, tmp_path)
    assert toy.finding(denied).verdict == "excluded"
    for made, image in ((proof, own), (denied, other)):
        case = toy.case_of(made, image, generator)
        replay_latents(case.verified, **case.arguments())
