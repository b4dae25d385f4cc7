"""A search that is broken, on purpose or not, never denies; odd generators are judged rightly."""

import pytest
import torch
import toy_evidence as toy

from deniability.evidence.replay import replay_latents


def accusations(folder, generator):
    """An own output of the model (its twin without defect, where it is broken), and a stranger."""
    return [toy.own_file(folder, generator), toy.stranger(folder)]


BROKEN = {
    "nan": (toy.NaN, toy.TINY),
    "detached": (toy.Detached, toy.TINY),
    "no steps": (toy.Smooth, toy.NO_STEPS),
    "detached, adam": (toy.Detached, toy.BY_ADAM),
    "nan, with encoder": (toy.NaN, toy.ENCODED),
    "detached, with encoder": (toy.Detached, toy.ENCODED),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_search_is_inconclusive_by_the_recall_gate(tmp_path, name):
    module, protocol = BROKEN[name]
    generator = toy.make_generator(module())
    opened = toy.register_toy(generator, tmp_path, protocol)
    whole = toy.make_generator(toy.Smooth())
    for image in accusations(tmp_path, whole):
        proof = toy.prove_toy(image, opened, tmp_path)
        assert toy.finding(proof).verdict == "inconclusive"
        assert "recall" in toy.failed_gates(proof)
        assert toy.finding(proof).families[0].recovered < 54
        replay_latents(proof.verified, **toy.case_of(proof, image, generator).arguments())


def test_a_nan_generator_records_every_restart(tmp_path):
    generator = toy.make_generator(toy.NaN())
    opened = toy.register_toy(generator, tmp_path)
    proof = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path)
    exclusion = proof.verified.exclusion
    assert {r.stop for r in exclusion.restarts} == {"nonFinite"}
    assert all(r.residual is None and r.latent is not None for r in exclusion.restarts)
    assert all(c.residual is None and c.truth is None for c in exclusion.controls.controls)
    assert {"recall", "complete-search", "tail-bound", "effect-margin"} <= toy.failed_gates(proof)


@pytest.mark.parametrize("protocol", [toy.TINY, toy.ENCODED], ids=["prior", "encoder"])
def test_a_constant_generator(tmp_path, protocol):
    generator = toy.make_generator(toy.Constant())
    opened = toy.register_toy(generator, tmp_path, protocol)
    own = toy.prove_toy(toy.own_file(tmp_path, generator), opened, tmp_path)
    assert toy.finding(own).verdict == "reached"
    assert toy.finding(own).reached.pixel_for_pixel
    other = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path)
    assert toy.finding(other).verdict == "excluded"


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_generator_that_reaches_everything_excludes_nothing(tmp_path, prior):
    generator = toy.make_generator(toy.Pixels(), dimension=64, prior=prior)
    opened = toy.register_toy(generator, tmp_path)
    noise = torch.randint(0, 256, (8, 8), generator=torch.Generator().manual_seed(1))
    images = [
        toy.own_file(tmp_path, generator),
        toy.stranger(tmp_path),
        toy.save_picture(tmp_path / "noise.png", noise.numpy().astype("uint8")),
    ]
    for image in images:
        proof = toy.prove_toy(image, opened, tmp_path)
        assert toy.finding(proof).verdict in {"reached", "inconclusive"}


def test_a_generator_with_a_hard_tail_excludes_none_of_its_outputs(tmp_path):
    """Nearly a third of its outputs cannot be found; the controls say so."""
    generator = toy.make_generator(toy.Trapdoor(), dimension=toy.Trapdoor.DIMENSION)
    opened = toy.register_toy(generator, tmp_path)
    latents = toy.drawn(generator, 40)
    hard = latents[latents[:, 0] > 0.5][:6]
    for number, pixels in enumerate(toy.own_pictures(generator, hard)):
        image = toy.save_picture(tmp_path / f"hard-{number}.png", pixels)
        proof = toy.prove_toy(image, opened, tmp_path)
        assert toy.finding(proof).verdict == "inconclusive"
        assert "recall" in toy.failed_gates(proof)


@pytest.mark.parametrize(
    ("protocol", "solver"),
    [(toy.BY_ADAM, "adam"), (toy.BY_CG, "gauss-newton-cg")],
    ids=["adam", "gauss-newton-cg"],
)
def test_the_solvers_of_large_latents_exclude_and_reach_by_the_same_rule(
    tmp_path, protocol, solver
):
    generator = toy.make_generator(toy.Smooth())
    opened = toy.register_toy(generator, tmp_path, protocol)
    assert next(iter(opened.sets.values())).controls.solver == solver
    own = toy.prove_toy(toy.own_file(tmp_path, generator), opened, tmp_path)
    assert toy.finding(own).verdict == "reached"
    other = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path)
    assert toy.finding(other).verdict == "excluded"
