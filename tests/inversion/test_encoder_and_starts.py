"""Starts follow from seeds alone, and encoder training can be interrupted without a trace."""

import hashlib

import pytest
import torch
from safetensors.torch import load, save
from toy_objectives import Smooth, drawn, make_generator, seed_of

from deniability.errors import CommitmentError
from deniability.evidence.procedure import sample_prior
from deniability.evidence.tensors import tensors_digest
from deniability.inversion.encoder import EncoderNetwork, EncoderTraining, load_encoder
from deniability.inversion.starts import Starts, start_kind

SEED = hashlib.sha256(b"encoder").digest()


@pytest.fixture(scope="module")
def generator():
    return make_generator(Smooth())


def training(generator, seed=SEED, outputs=128 * 24):
    return EncoderTraining(
        generator, seed, outputs, lambda s, n: sample_prior(generator.spec, s, n)
    )


def trained(generator, **options):
    run = training(generator, **options)
    while not run.done:
        run.step()
    return run


@pytest.fixture(scope="module")
def encoder(generator):
    return trained(generator).finish()


def test_training_lowers_the_loss_and_measures_the_error(generator):
    run = training(generator, outputs=128 * 150)
    losses = []
    while not run.done:
        losses.append(run.step())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    encoder = run.finish()
    truth = drawn(generator, 400)
    with torch.no_grad():
        guess = encoder.guess(generator(truth))
    error = (guess - truth).square().mean(dim=0).sqrt()
    assert torch.allclose(error, encoder.error, rtol=0.3)
    assert (encoder.error < 0.95).all()  # the prior's own spread is 1


@pytest.mark.parametrize("stop_at", [1, 11, 23, 40, 71])
def test_interrupted_training_goes_on_bit_for_bit(generator, encoder, stop_at):
    first = training(generator)
    for _ in range(stop_at):
        first.step()
    kept = load(save(first.tensors()))
    torch.manual_seed(999)  # nothing of the process's own randomness takes part
    second = training(generator)
    second.restore(kept)
    assert second.steps == stop_at
    while not second.done:
        second.step()
    whole, resumed = encoder.tensors(), second.finish().tensors()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_follows_from_the_seed_alone(generator, encoder):
    before = torch.random.get_rng_state()
    again = trained(generator).finish()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert tensors_digest(again.tensors()) == tensors_digest(encoder.tensors())
    other = trained(generator, seed=hashlib.sha256(b"other").digest()).finish()
    assert tensors_digest(other.tensors()) != tensors_digest(encoder.tensors())


def test_the_digest_survives_saving_and_loading(generator, encoder):
    stored = load(save(encoder.tensors()))
    rebuilt = load_encoder(stored, generator)
    assert tensors_digest(rebuilt.tensors()) == tensors_digest(encoder.tensors())
    pictures = generator(drawn(generator, 5))
    assert torch.equal(rebuilt.guess(pictures), encoder.guess(pictures))


def test_the_digest_notices_any_change(encoder):
    whole = encoder.tensors()
    digest = tensors_digest(whole)
    for name, tensor in whole.items():
        changed = tensor.clone()
        changed.view(-1)[0] += 1
        assert tensors_digest(whole | {name: changed}) != digest
    renamed = {f"x{name}": tensor for name, tensor in whole.items()}
    assert tensors_digest(renamed) != digest
    reshaped = whole | {"mean": whole["mean"].reshape(2, 2)}
    assert tensors_digest(reshaped) != digest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.pop("mean"),
        lambda t: t.pop(next(name for name in t if name.startswith("network."))),
        lambda t: t.update({"network.head.weight": torch.zeros(5, 256)}),
        lambda t: t.update({"mean": torch.zeros(7)}),
        lambda t: t.update({"scale": torch.zeros(3, 3)}),
        lambda t: t.update({"error": torch.zeros(())}),
    ],
    ids=["no-mean", "no-layer", "another-layer", "long-mean", "square-scale", "flat-error"],
)
def test_an_encoder_that_does_not_fit_is_refused(generator, encoder, spoil):
    tensors = encoder.tensors()
    spoil(tensors)
    with pytest.raises(CommitmentError, match="does not fit the model"):
        load_encoder(tensors, generator)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (28, 28), (64, 64), (200, 3), (130, 130)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_takes_pictures_of_any_size(size, channels):
    network = EncoderNetwork(channels, *size, 7)
    assert network(torch.rand(2, channels, *size)).shape == (2, 7)


def test_a_guess_that_is_not_finite_becomes_the_mean(encoder):
    pictures = torch.full((2, 1, 6, 6), torch.nan)
    assert torch.equal(encoder.guess(pictures), encoder.mean.expand(2, 4))


def test_kinds_of_starts():
    kinds = [start_kind(index) for index in range(6)]
    assert kinds == ["encoder", "encoder-noise", "prior", "encoder-noise", "prior", "encoder-noise"]
    assert {start_kind(index, encoder=False) for index in range(6)} == {"prior"}


def test_starts_follow_from_seed_and_guess(generator, encoder):
    starts = Starts(generator, encoder)
    guess = starts.guesses(generator(drawn(generator, 1)))[0]
    assert torch.equal(starts.latent(0, seed_of(0, 0), guess), guess)
    latents = [starts.latent(index, seed_of(0, index), guess) for index in range(8)]
    again = [starts.latent(index, seed_of(0, index), guess) for index in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(latents, again, strict=True))
    assert len({tuple(latent.tolist()) for latent in latents}) == 8
    moved = starts.latent(1, seed_of(0, 1), guess + 1)
    assert torch.allclose(moved, latents[1] + 1)  # a noisy guess goes with the guess
    assert torch.equal(starts.latent(2, seed_of(0, 2), guess + 1), latents[2])  # the prior not


def test_without_an_encoder_all_starts_are_prior_draws(generator):
    starts = Starts(generator, None)
    assert starts.guesses(generator(drawn(generator, 2))) is None
    latents = torch.stack([starts.latent(i, seed_of(0, i), None) for i in range(400)])
    assert latents.mean().abs() < 0.1
    assert 0.3 < latents.std() < 1.1  # no wider than the prior


def test_prior_starts_of_a_uniform_prior_stay_inside():
    uniform = make_generator(Smooth(), prior="uniform")
    encoder = trained(uniform, outputs=128).finish()
    assert torch.allclose(encoder.mean, torch.full((4,), 0.5), atol=0.05)
    latents = torch.stack(
        [Starts(uniform, encoder).latent(2, seed_of(0, i), torch.zeros(4)) for i in range(200)]
    )
    assert latents.min() >= 0
    assert latents.max() <= 1
    assert latents.std() > 0.1
