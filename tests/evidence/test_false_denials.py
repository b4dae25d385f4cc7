"""How often own outputs are denied: within alpha, by a bound that counts the shared controls."""

import hashlib
import io
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
import toy_evidence as toy
from PIL import Image

from deniability.evidence import prove as prove_module
from deniability.evidence.cache import controls_for
from deniability.evidence.mismatch import other_pictures
from deniability.evidence.progress import Silent
from deniability.evidence.prove import read_exhibit
from deniability.imaging.handling import Observations
from deniability.imaging.observation import build_handling
from deniability.stats.binomial import beta_binomial_critical
from deniability.stats.verdict import decide, thresholds
from deniability.wire.roles import restart_seed

K_MAX = 1  # of 99 controls, at alpha 5 %
QUALITIES = range(50, 96)
KINDS = 3


def findings(opened, calibrated, observations, salt):
    """Search for many accused pictures of a kind at once, and decide each as `prove` does."""
    procedure = opened.procedure
    protocol = procedure.protocol
    spec = procedure.generator.spec
    limits = thresholds(calibrated.controls, protocol)
    handling = build_handling(calibrated.controls.kind)

    def seed(target, index):
        file = hashlib.sha256(f"{salt} {target}".encode()).hexdigest()
        return restart_seed(procedure.model, protocol.digest, file, index)

    traces = procedure.engine(handling, limits.threshold).run(observations, seed)
    return [
        decide(
            protocol=protocol,
            controls=calibrated.controls,
            restarts=[prove_module._record(r, seed(target, r.index), spec) for r in trace.restarts],
            cautions=(),
            model_digest=procedure.model.digest,
            pixel_for_pixel=False,
        )
        for target, trace in enumerate(traces)
    ]


def counted(found):
    verdicts = [finding.verdict for finding in found]
    return {name: verdicts.count(name) for name in ("excluded", "inconclusive", "reached")}


def joined(parts):
    return Observations(
        *(
            torch.cat([getattr(p, name) for p in parts])
            for name in ("low", "high", "centre", "pixels")
        )
    )


@pytest.fixture(scope="module")
def lossless(registered):
    (calibrated,) = registered.opened.sets.values()
    return calibrated


def test_own_outputs(registered, lossless, record_property):
    generator = registered.generator
    pictures = toy.own_pictures(generator, toy.drawn(generator, 200, "fresh"))
    handling = build_handling(lossless.controls.kind)
    found = findings(registered.opened, lossless, handling.save(pictures[:, None]), "own")
    counts = counted(found)
    record_property("counts", counts)
    assert counts["excluded"] <= beta_binomial_critical(200, 99, K_MAX)
    assert counts["reached"] >= 180  # the recall gate's share


@pytest.mark.slow
def test_own_outputs_saved_as_jpeg(registered, tmp_path, record_property):
    """Two hundred in three random kinds, every kind with controls of its own."""
    generator = registered.generator
    rng = random.Random(4)
    kinds = [(rng.choice(QUALITIES), rng.choice([0, 2])) for _ in range(KINDS)]
    each = -(-200 // KINDS)
    critical = beta_binomial_critical(each, 99, K_MAX, 1 - Fraction(5, 100) / KINDS)
    total = {"excluded": 0, "inconclusive": 0, "reached": 0}
    assert {subsampling for _, subsampling in kinds} == {0, 2}
    for quality, subsampling in kinds:
        salt = f"jpeg {quality} {subsampling}"
        pictures = toy.own_pictures(generator, toy.drawn(generator, each, salt))
        exhibits = []
        for number, pixels in enumerate(pictures):
            target = io.BytesIO()
            colour = Image.fromarray(pixels).convert("RGB")
            colour.save(target, format="JPEG", quality=quality, subsampling=subsampling)
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(target.getvalue())
            exhibits.append(read_exhibit(path, generator))
        assert all(exhibit.observed.cautions == () for exhibit in exhibits)
        handling = exhibits[0].observed.handling
        calibrated = controls_for(
            registered.opened, handling, folder=tmp_path, state=None, progress=Silent()
        )
        observations = joined([exhibit.observed.observations for exhibit in exhibits])
        counts = counted(findings(registered.opened, calibrated, observations, salt))
        assert counts["excluded"] <= critical
        total = {name: total[name] + counts[name] for name in total}
    record_property("counts", total)
    assert total["excluded"] <= beta_binomial_critical(KINDS * each, 99, K_MAX)
    assert total["reached"] >= 180


@pytest.mark.parametrize("way", ["other-rounding", "plus-minus-one-step", "bfloat16"])
def test_own_outputs_made_by_another_serving_stack_are_never_excluded(registered, lossless, way):
    generator = registered.generator
    latents = toy.drawn(generator, 8, way)
    seeds = [hashlib.sha256(f"{way} {i}".encode()).digest() for i in range(8)]
    pictures = other_pictures(generator, latents, way, seeds)
    assert not np.array_equal(pictures, toy.own_pictures(generator, latents)[:, None])
    handling = build_handling(lossless.controls.kind)
    found = findings(registered.opened, lossless, handling.save(pictures), way)
    assert counted(found)["excluded"] == 0


def test_strangers_are_excluded_by_the_same_functions(registered, lossless):
    """Else nothing above could fail: noise and inverted outputs are no outputs."""
    generator = registered.generator
    inverted = 255 - toy.own_pictures(generator, toy.drawn(generator, 2, "inverted"))
    noise = np.random.default_rng(0).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    handling = build_handling(lossless.controls.kind)
    observations = handling.save(np.concatenate([inverted, noise])[:, None])
    assert counted(findings(registered.opened, lossless, observations, "x"))["excluded"] == 4
