"""A model that is no longer, or never was, one function of its latent is not examined."""

import pytest
import torch
import toy_evidence as toy

from deniability.errors import GeneratorError, ReplayError
from deniability.evidence.register import open_registration
from deniability.evidence.replay import replay_latents


class Drifting(toy.Smooth):
    """Another function after some calls, or for batches larger than some."""

    def __init__(self, *, calls=10**9, batch=10**9):
        super().__init__()
        self.calls, self.batch, self.count = calls, batch, 0

    def forward(self, z):
        self.count += 1
        changed = self.count > self.calls or len(z) > self.batch
        return super().forward(z) * (0.9 if changed else 1.0)


@pytest.mark.parametrize("module", [Drifting(calls=60), Drifting(batch=8)])
def test_a_generator_with_memory_or_batch_effects_is_not_registered(module, tmp_path):
    generator = toy.make_generator(module)
    with pytest.raises(GeneratorError, match="does not give the pictures"):
        toy.register_toy(generator, tmp_path)


@pytest.fixture
def changed_model(tmp_path):
    """A registration, an own picture, a bundle, and the model with its code changed since."""
    module = Drifting()
    generator = toy.make_generator(module)
    opened = toy.register_toy(generator, tmp_path)
    image = toy.own_file(tmp_path, generator)
    proof = toy.prove_toy(image, opened, tmp_path)
    module.batch = 0  # from now on all pictures are darker
    return generator, opened, image, proof


def test_no_proof_with_a_model_that_changed_since_it_was_registered(changed_model, tmp_path):
    generator, opened, image, _ = changed_model
    again = open_registration(tmp_path / "registration.json", generator, trust=toy.TRUST)
    for registration in (opened, again):
        with pytest.raises(GeneratorError, match="when it was registered"):
            toy.prove_toy(image, registration, tmp_path)


def test_replay_refuses_a_model_that_gives_other_pictures(changed_model):
    generator, _, image, proof = changed_model
    case = toy.case_of(proof, image, generator)
    with pytest.raises(ReplayError, match="when it was registered"):
        replay_latents(case.verified, **case.arguments())


def test_single_pixels_may_round_the_other_way(tmp_path):
    from deniability.evidence.reproduction import difference

    opened = toy.register_toy(toy.make_generator(toy.Smooth()), tmp_path)
    pictures = opened.pictures.clone()
    assert difference(opened.procedure, pictures) is None
    flat = pictures.view(-1)
    flat[:3] += torch.where(flat[:3] < 255, 1, -1).to(torch.uint8)
    assert difference(opened.procedure, pictures) is None
    flat[0] += 10
    assert "steps" in difference(opened.procedure, pictures)


class ColourChannelsLast(toy.Smooth):
    """Colour pictures whose memory is laid out channel by channel of each pixel."""

    def forward(self, z):
        gray = super().forward(z)
        colour = torch.cat([gray, gray.flip(2), 0.5 * gray], dim=1)
        return colour.contiguous(memory_format=torch.channels_last)


def test_pictures_of_any_memory_layout_can_be_kept(tmp_path):
    generator = toy.make_generator(ColourChannelsLast())
    generator.spec = generator.spec.model_copy(update={"channels": 3})
    opened = toy.register_toy(generator, tmp_path)
    assert tuple(opened.pictures.shape[1:]) == (3, toy.SIDE, toy.SIDE)
