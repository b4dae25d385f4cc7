"""Outputs of truncated latents, and outputs edited twice in a row otherwise, end to end."""

import numpy as np
import pytest
import torch
import toy_evidence as toy
from PIL import Image, ImageChops, ImageEnhance
from torch import nn

from deniability.evidence.calibrate import control_latents, true_residuals
from deniability.evidence.latents import drawn_latents
from deniability.evidence.replay.latents import replay_latents
from deniability.imaging.observation import build_handling, lossless_kind
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import PRESETS

SIDE = 24
PROTOCOL = toy._protocol(
    "in-a-row", edits=("truncated", "composite"), restarts=6, accused_restarts=8, iterations=30,
    encoder_outputs=128 * 40,
)  # fmt: skip


class Waves(nn.Module):
    """R x 4 to gray pictures R x 1 x 24 x 24: waves whose places and heights follow the latent."""

    def __init__(self):
        super().__init__()
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, SIDE),) * 2, indexing="ij")
        self.register_buffer("y", y.clone())
        self.register_buffer("x", x.clone())

    def forward(self, z):
        a, b, c, d = (z[:, i, None, None] for i in range(4))
        wave = torch.sin(3 * self.x + 0.7 * a) * torch.cos(2.5 * self.y + 0.6 * b)
        spot = torch.exp(-4 * ((self.x - 0.3 * c) ** 2 + (self.y + 0.25 * d + 0.2) ** 2))
        return torch.sigmoid(1.2 * wave + 2.5 * spot + 0.3 * (a + c) * self.x)[:, None]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, PROTOCOL.name, PROTOCOL)
        generator = toy.make_generator(Waves(), side=SIDE)
        folder = tmp_path_factory.mktemp("in-a-row")
        yield toy.register_toy(generator, folder, PROTOCOL)


def finding_of(opened, pixels, folder, name):
    image = toy.save_picture(folder / f"{name}.png", pixels)
    proof = toy.prove_toy(image, opened, folder)
    return toy.finding(proof), toy.case_of(proof, image, opened.procedure.generator)


def edited(pixels, number):
    """Scaled, moved and polished by other functions of Pillow than the family's own."""
    picture = Image.fromarray(pixels)
    scale = (1.05, 1.18, 0.96)[number]
    size = round(SIDE * scale)
    scaled = picture.resize((size, size), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (SIDE, SIDE), 90)
    canvas.paste(scaled, ((SIDE - size) // 2, (SIDE - size) // 2))
    moved = ImageChops.offset(canvas, (1, 0, -1)[number], (0, 1, 1)[number])
    polished = ImageEnhance.Contrast(moved).enhance((1.06, 0.95, 1.0)[number])
    return np.asarray(ImageEnhance.Brightness(polished).enhance((1.02, 1.0, 1.03)[number]))


@pytest.mark.parametrize("number", range(3))
def test_an_own_output_edited_twice_in_a_row_is_not_excluded(opened, tmp_path, number):
    generator = opened.procedure.generator
    pixels = toy.own_pictures(generator, toy.drawn(generator, 3))[number]
    found, _ = finding_of(opened, edited(pixels, number), tmp_path, f"edited-{number}")
    assert found.verdict != "excluded"
    family = next(f for f in found.families if f.edit == "composite")
    others = [float(f.statistic) for f in found.families if f.edit != "composite"]
    assert float(family.statistic) < 0.2 * min(others)


def test_a_truncated_output_is_reached_and_a_stranger_excluded_by_every_family(opened, tmp_path):
    generator = opened.procedure.generator
    pixels = toy.own_pictures(generator, 0.6 * toy.drawn(generator, 1))[0]
    found, _ = finding_of(opened, pixels, tmp_path, "truncated")
    assert found.verdict == "reached"
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    foreign = 128 + 100 * np.sin(17 * x + 2) * np.cos(19 * y + 1)
    found, case = finding_of(opened, foreign.astype(np.uint8), tmp_path, "stranger")
    assert found.verdict == "excluded"
    assert [f.edit for f in found.families] == [None, "truncated", "composite"]
    replay_latents(case.verified, **case.arguments())


def test_controls_of_truncated_outputs_are_outputs_at_their_latents(opened):
    procedure = opened.procedure
    stored = lossless_kind(channels=1, height=SIDE, width=SIDE, rounding="round")
    kind = stored.edited("truncated", height=SIDE, width=SIDE)
    assert set(true_residuals(procedure, build_handling(kind))) == {"0"}
    seeds, latents = control_latents(procedure, kind)
    plain = drawn_latents(procedure.generator.spec, stored, seeds)
    shares = latents / plain
    assert float(shares.min()) >= 0.5 - 1e-6
    assert float(shares.max()) <= 1 + 1e-6
    assert float((shares - shares[:, :1]).abs().max()) < 1e-5  # one for each output
    assert float(shares[:, 0].std()) > 0.1


def test_truncation_goes_to_the_middle_of_bounds_and_leaves_labels():
    spec = GeneratorSpec.model_validate(
        {
            "latent": [
                {"name": "u", "shape": (3,), "prior": "uniform", "low": "2", "high": "6"},
                {"name": "c", "shape": (1,), "prior": "label", "classes": 5, "encoding": "index"},
            ],
            "channels": 1,
            "height": SIDE,
            "width": SIDE,
            "output_range": ("0", "1"),
            "rounding": "round",
            "entropy": {"source": "shake256", "seed_bits": 64},
            "format": "torchscript",
        }
    )
    stored = lossless_kind(channels=1, height=SIDE, width=SIDE, rounding="round")
    kind = stored.edited("truncated", height=SIDE, width=SIDE)
    seeds = [bytes([i]) * 32 for i in range(50)]
    plain, nearer = (drawn_latents(spec, k, seeds) for k in (stored, kind))
    assert torch.equal(plain[:, 3], nearer[:, 3])
    ratio = (nearer[:, :3] - 4) / (plain[:, :3] - 4)
    assert float(ratio.min()) >= 0.5 - 1e-4
    assert float(ratio.max()) <= 1 + 1e-4
