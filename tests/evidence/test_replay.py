"""V1 and V2: a dishonest signer's bundle passes V0, and is found out by running the model."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import toy_evidence as toy
from safetensors.torch import load_file

from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence import prove as prove_module
from deniability.evidence.calibrate import control_latents
from deniability.evidence.replay import replay_latents, replay_search
from deniability.evidence.tensors import latent_digest
from deniability.inversion.lm import LevenbergMarquardt
from deniability.stats.verdict import thresholds
from deniability.wire.numbers import decimal_string
from deniability.wire.roles import restart_seed


def v1(case):
    return replay_latents(case.verified, **case.arguments())


def v2(case, count=60):
    return replay_search(case.verified, count=count, **case.arguments())


def verdict(case):
    return case.verified.exclusion.finding.verdict


def scaled(records, factor):
    return tuple(
        r
        if r.residual is None
        else r.model_copy(update={"residual": decimal_string(float(r.residual) * factor)})
        for r in records
    )


# Honest bundles


def test_honest_bundles_pass_v1(stranger_case, own_case):
    for case, expected in ((stranger_case, "excluded"), (own_case, "reached")):
        result = v1(case)
        assert result.finding.verdict == verdict(case) == expected
        assert result.controls == 59
        assert result.largest_difference < 0.02
        assert result.to_json()["verdict"] == expected
        assert any(expected in line for line in result.lines)


def test_honest_bundles_pass_v2(stranger_case, own_case):
    result = v2(stranger_case)
    assert result.enough
    assert result.fresh == 60
    assert result.recovered >= 54
    assert result.extreme == 0
    assert result.restarts == 10
    assert float(result.detection) == pytest.approx(1 - 0.95**60)
    assert result.best == pytest.approx(float(result.prover_residual), rel=0.3)
    assert "This is a full check." in result.lines[-1]
    few = v2(own_case, count=3)
    assert not few.enough
    assert "takes 60 fresh controls" in few.lines[-1]
    assert few.to_json()["fullCheck"] is False


def test_nothing_to_replay_is_refused(stranger_case):
    with pytest.raises(InputError, match="nothing to replay"):
        v2(stranger_case, count=0)


# Another model, picture or file


def test_another_model_is_refused(stranger_case):
    other = toy.make_generator(toy.Smooth(seed=1), name="other.pt")
    for check in (v1, v2):
        with pytest.raises(InputError, match="not the model that the bundle is about"):
            check(replace(stranger_case, generator=other))


def test_another_description_of_the_model_is_refused(stranger_case):
    other = toy.make_generator(toy.Smooth(), rounding="truncate")
    with pytest.raises(ReplayError, match="described otherwise"):
        v1(replace(stranger_case, generator=other))


def test_other_weights_under_the_same_digests_are_found_out(stranger_case):
    """The digests are of files; what runs is what the verifier loaded."""
    with pytest.raises(ReplayError, match="when it was registered"):
        v1(replace(stranger_case, generator=toy.make_generator(toy.Smooth(seed=1))))


def test_another_picture_is_refused(stranger_case, own_case):
    with pytest.raises(CommitmentError, match="the picture does not give"):
        v1(replace(stranger_case, image=own_case.image))


def test_another_sidecar_is_refused(stranger_case, own_case, tmp_path):
    with pytest.raises(CommitmentError, match="not the latents file that was signed"):
        v1(replace(stranger_case, sidecar=own_case.sidecar))
    with pytest.raises(InputError):
        v1(replace(stranger_case, sidecar=tmp_path / "missing.safetensors"))


# Sidecars


def swapped_controls(tensors):
    order = torch.arange(59)
    order[[3, 17]] = order[[17, 3]]
    return tensors | {"controls": tensors["controls"][order].clone()}


def perturbed_restart(tensors):
    moved = tensors["restarts"].clone()
    moved[0] += 0.5
    return tensors | {"restarts": moved}


@pytest.mark.parametrize("change", [swapped_controls, perturbed_restart])
def test_changed_latents_are_refused_at_every_depth_of_forgery(stranger_case, tmp_path, change):
    exclusion = stranger_case.verified.exclusion
    tensors = change(load_file(stranger_case.sidecar))
    # The trace commits to each latent ...
    with pytest.raises(CommitmentError, match="not the one in the trace"):
        v1(toy.resigned(stranger_case, tmp_path, tensors=tensors))
    # ... and a trace signed anew still does not give its residuals.
    controls = exclusion.controls.model_copy(
        update={
            "controls": toy.with_digests(exclusion.controls.controls, tensors["controls"]),
        }
    )
    forged = toy.resigned(
        stranger_case,
        tmp_path,
        tensors=tensors,
        controls=controls,
        restarts=toy.with_digests(exclusion.restarts, tensors["restarts"]),
    )
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {k: v for k, v in t.items() if k != "restarts"},
        lambda t: t | {"restarts": t["restarts"][:-1]},
        lambda t: t | {"controls": t["controls"][:, :-1].clone()},
        lambda t: {k: v for k, v in t.items() if k != "controls"},
        lambda t: {k: v for k, v in t.items() if k != "pictures"},
    ],
    ids=["no-restarts", "a-restart-less", "narrow-controls", "no-controls", "no-pictures"],
)
def test_a_sidecar_of_another_shape_is_refused(stranger_case, tmp_path, change):
    tensors = change(load_file(stranger_case.sidecar))
    with pytest.raises(CommitmentError, match="does not hold what the bundle describes"):
        v1(toy.resigned(stranger_case, tmp_path, tensors=tensors))


# Shaded residuals


@pytest.mark.parametrize("factor", [0.5, 0.97, 1.03, 2.0])
def test_residuals_shaded_beyond_the_tolerance_are_refused(stranger_case, tmp_path, factor):
    restarts = scaled(stranger_case.verified.exclusion.restarts, factor)
    forged = toy.resigned(stranger_case, tmp_path, restarts=restarts)
    assert verdict(forged) == "excluded"
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)


@pytest.fixture(scope="module")
def near_margin(smooth, tmp_path_factory):
    """An honest bundle that is inconclusive by one per cent of the effect margin."""
    generator, opened = smooth
    folder = tmp_path_factory.mktemp("near")
    own = toy.own_pictures(generator, toy.drawn(generator, 1))[0].astype(float)
    pattern = np.random.default_rng(0).normal(size=own.shape)
    candidates = [
        np.clip(np.rint(own + a * pattern), 0, 255).astype(np.uint8)
        for a in np.linspace(1.8, 3.2, 400)
    ]
    (calibrated,) = opened.sets.values()
    limits = thresholds(calibrated.controls, toy.TINY)
    margin = float(limits.largest * 10)
    image = toy.save_picture(folder / "near.png", candidates[0])
    handling = prove_module.read_exhibit(image, generator).observed.handling
    traces = opened.procedure.engine(handling, limits.threshold).run(
        handling.save(np.stack(candidates)[:, None]),
        lambda t, i: t.to_bytes(16, "big") + i.to_bytes(16, "big"),
    )
    for pixels, trace in zip(candidates, traces, strict=True):
        if not 0.97 < trace.residual / margin < 0.999:
            continue
        toy.save_picture(image, pixels)
        case = toy.case_of(toy.prove_toy(image, opened, folder), image, generator)
        family = case.verified.exclusion.finding.families[0]
        ratio = float(family.statistic) / float(family.margin)
        if 0.985 < ratio < 0.9999:
            assert verdict(case) == "inconclusive"
            return case, ratio
    raise AssertionError("no picture so near the margin")


def test_residuals_shaded_within_the_tolerance_do_not_save_a_finding(near_margin, tmp_path):
    case, ratio = near_margin
    restarts = scaled(case.verified.exclusion.restarts, 1.001 / ratio)
    forged = toy.resigned(case, tmp_path, restarts=restarts)
    assert verdict(forged) == "excluded"
    with pytest.raises(ReplayError, match="does not survive"):
        v1(forged)


def test_an_allowance_made_smaller_does_not_save_a_finding(near_margin, tmp_path):
    case, _ = near_margin
    controls = case.verified.exclusion.controls
    smaller = tuple(m.model_copy(update={"residual": "0"}) for m in controls.mismatches)
    forged = toy.resigned(
        case, tmp_path, controls=controls.model_copy(update={"mismatches": smaller})
    )
    assert verdict(forged) == "excluded"
    with pytest.raises(ReplayError, match="does not survive"):
        v1(forged)


def test_an_inconclusive_bundle_asserts_nothing_and_passes(near_margin):
    case, _ = near_margin
    assert v1(case).finding.verdict == "inconclusive"
    v2(case, count=2)


def test_a_reached_that_is_not_is_refused(stranger_case, tmp_path):
    exclusion = stranger_case.verified.exclusion
    first, *others = exclusion.restarts
    first = first.model_copy(update={"residual": "0", "stop": "reached"})
    empty = {
        "stop": "notRun",
        "residual": None,
        "distance": None,
        "latent": None,
        "iterations": 0,
    }
    tensors = load_file(stranger_case.sidecar)
    forged = toy.resigned(
        stranger_case,
        tmp_path,
        restarts=(first, *(r.model_copy(update=empty) for r in others)),
        tensors=tensors | {"restarts": tensors["restarts"][:1].clone()},
    )
    assert verdict(forged) == "reached"
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)


# Searches that were not honest: only running them again shows it


def test_planted_controls_are_exposed_by_fresh_ones(tmp_path):
    """The signer stores as found what only he can know, and hides a tail of a third."""
    generator = toy.make_generator(toy.Trapdoor(), dimension=toy.Trapdoor.DIMENSION)
    opened = toy.register_toy(generator, tmp_path)
    latents = toy.drawn(generator, 40, "planted")
    hard = latents[latents[:, 0] > 0.5][:1]
    image = toy.save_picture(tmp_path / "hard.png", toy.own_pictures(generator, hard)[0])
    case = toy.case_of(toy.prove_toy(image, opened, tmp_path), image, generator)
    assert verdict(case) == "inconclusive"

    controls = case.verified.exclusion.controls
    _, truths = control_latents(opened.procedure, controls.kind)
    planted = controls.model_copy(
        update={
            "controls": tuple(
                c.model_copy(
                    update={
                        "residual": c.truth,
                        "best": 0,
                        "restarts": 1,
                        "latent": latent_digest(truth),
                    }
                )
                for c, truth in zip(controls.controls, truths, strict=True)
            )
        }
    )
    tensors = load_file(case.sidecar) | {"controls": truths}
    forged = toy.resigned(case, tmp_path, controls=planted, tensors=tensors)
    assert verdict(forged) == "excluded"  # an own output, falsely denied
    v1(forged)  # every stored latent gives what is stored
    with pytest.raises(ReplayError, match=r"fresh controls|too few"):
        v2(forged)


def test_a_sandbagged_search_on_the_accused_is_exposed(own_case, smooth, tmp_path):
    """The controls are searched for honestly, the accused picture is not."""
    generator, opened = smooth
    exhibit = prove_module.read_exhibit(own_case.image, generator)
    procedure = opened.procedure
    engine = procedure.engine(exhibit.observed.handling, Fraction(0))
    seeds = [
        restart_seed(procedure.model, toy.TINY.digest, exhibit.file.sha256, index)
        for index in range(toy.TINY.restarts)
    ]
    (trace,) = replace(engine, solver=LevenbergMarquardt(0)).run(
        exhibit.observed.observations, lambda _, index: seeds[index]
    )
    restarts = tuple(
        prove_module._record(r, seed, generator.spec)
        for r, seed in zip(trace.restarts, seeds, strict=True)
    )
    tensors = load_file(own_case.sidecar)
    forged = toy.resigned(
        own_case,
        tmp_path,
        restarts=restarts,
        tensors=tensors | {"restarts": torch.stack([r.latent for r in trace.restarts])},
    )
    assert verdict(forged) == "excluded"  # an own output, falsely denied
    v1(forged)
    with pytest.raises(ReplayError, match="clearly lower"):
        v2(forged, count=2)
