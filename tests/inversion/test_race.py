"""Every other restart through an edit wins a race, which finds what misfit hides."""

import hashlib

import pytest
import torch
from toy_objectives import Smooth, drawn, make_generator, seed_of

from deniability.imaging.observation import build_handling, lossless_kind
from deniability.inversion.edited import searched, starts_for
from deniability.inversion.engine import Engine
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.race import ROUNDS, Race
from deniability.inversion.solution import Stop
from deniability.inversion.starts import Starts

SIDE = 16
SOLVER = LevenbergMarquardt(40)


class Valleys(torch.nn.Module):
    """R x 1 to one pixel: 0.5 at z = 3, and in a hollow at z = 0 nearly so."""

    def forward(self, z):
        hollow = 0.25 * torch.exp(-8 * z**2)
        return (0.8 - 0.3 * torch.exp(-0.5 * (z - 3) ** 2) - hollow)[:, :, None, None]


def edited(name, encoder=None):
    generator = make_generator(Smooth(side=SIDE), side=SIDE)
    stored = lossless_kind(channels=1, height=SIDE, width=SIDE, rounding="round")
    handling = build_handling(stored.edited(name, height=SIDE, width=SIDE))
    return generator, handling, starts_for(generator, encoder, handling, SOLVER)


def target(generator, handling, number=0):
    latents = drawn(generator, number + 1)[number:]
    with torch.no_grad():
        pictures = generator.quantise(generator(latents)).numpy()
    return handling.controls(pictures, [hashlib.sha256(b"%d" % number).digest()])


@pytest.mark.parametrize("solver", [SOLVER, GaussNewtonCG(40, 16)])
def test_the_start_that_fits_best_loses_to_the_one_that_gets_nearest(solver):
    generator = make_generator(Valleys(), dimension=1, side=1)
    starts = torch.tensor([[0.05], [1.7], [-2.0]])
    picture = torch.full((1, 1, 1), 0.5)
    with torch.no_grad():
        misfit = (generator(starts) - picture).square().mean(dim=(1, 2, 3))
    assert misfit.argmin() == 0
    won = Race(generator, solver, None).winner(picture, starts)
    assert won.shape == (1,)
    assert won == pytest.approx(3.0, abs=0.5)


def test_hidden_pixels_have_no_say():
    generator, handling, _ = edited("shifted")
    latents = drawn(generator, 5)
    seen = torch.from_numpy(handling.edit.visible())
    race = Race(generator, SOLVER, seen)
    with torch.no_grad():
        picture = generator(latents[:1])[0]
    spoilt = torch.where(seen, picture, 1 - picture)
    torch.testing.assert_close(race.winner(picture, latents), race.winner(spoilt, latents))


def test_a_race_with_outputs_that_are_not_finite_is_won_by_another():
    class Broken(Smooth):
        def forward(self, z):
            return torch.where((z[:, :1] > 0)[:, :, None, None], torch.nan, super().forward(z))

    generator = make_generator(Broken())
    latents = torch.cat([drawn(generator, 6), -drawn(generator, 6)])
    good = latents[latents[:, 0] < 0][0]
    with torch.no_grad():
        won = Race(generator, SOLVER, None).winner(generator(good[None])[0], latents)
        assert torch.isfinite(generator(won[None])).all()


@pytest.mark.parametrize("name", ["shifted", "cropped", "rotated", "tone"])
def test_restarts_of_odd_number_race(name):
    _, _, starts = edited(name)
    assert [starts.races(i) for i in range(4)] == [False, True, False, True]


@pytest.mark.parametrize("name", ["mirrored", "noisy", "halved"])
def test_nothing_races_where_no_parameter_moves(name):
    _, _, starts = edited(name)
    assert not any(map(starts.races, range(8)))
    assert not any(map(Starts(starts.generator, None).races, range(8)))


def test_a_raced_start_follows_from_its_seed_and_its_index_alone():
    generator, handling, starts = edited("cropped")
    pictures = starts.guesses(target(generator, handling).pixels)
    again = edited("cropped")[2]
    for index in range(4):
        first = starts.latent(index, seed_of(0, index), pictures[0])
        assert torch.equal(first, again.latent(index, seed_of(0, index), pictures[0]))
        assert first.shape == (4 + 3,)
    assert not torch.equal(first, starts.latent(3, seed_of(1, 3), pictures[0]))


def test_runners_are_the_best_of_different_parts():
    _, _, starts = edited("cropped")
    parameters = 2 * torch.rand(128, 3, generator=torch.Generator().manual_seed(0)) - 1
    misfit = torch.rand(128, generator=torch.Generator().manual_seed(1))
    chosen = [int(i) for i in starts._best_of_parts(parameters, misfit)]
    assert 20 < len(chosen) == len(set(chosen)) <= ROUNDS[0][0]
    assert int(misfit.argmin()) in chosen
    one = starts._best_of_parts(parameters[:, :1], misfit)
    assert 20 < len(one) <= ROUNDS[0][0]


def test_a_search_goes_on_past_races_to_the_same_end_when_interrupted():
    generator, handling, starts = edited("cropped")
    observations = target(generator, handling, 1)
    engine = Engine(
        generator=searched(generator, handling),
        handling=handling,
        solver=SOLVER,
        starts=starts,
        restarts=4,
        threshold=-1.0,
        resolution=1e-9,
    )
    whole = engine.run(observations, seed_of)[0]
    assert [r.stop for r in whole.restarts].count(Stop.NOT_RUN) == 0
    found = {}
    run = engine.begin(
        observations, seed_of, on_restart=lambda t, r: found.update({(t, r.index): r})
    )
    for _ in range(12):
        assert run.refill()
        run.step()
    other = engine.begin(
        observations, seed_of, on_restart=lambda t, r: found.update({(t, r.index): r})
    )
    other.restore(run.partial())
    while other.refill():
        other.step()
    assert [found[0, i].residual for i in range(4)] == [r.residual for r in whole.restarts]
