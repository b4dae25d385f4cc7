"""V1 and V2 of handled bundles in an isolated, sealed child: every codec still works there."""

import base64
import dataclasses
import json
from pathlib import Path

import pytest
import torch
import toy_evidence as toy
from PIL import Image

from deniability.cli.answers import check_answer
from deniability.cli.evaluation_answers import check_evaluation_answer
from deniability.crypto.canonical import canonical_json
from deniability.evidence.evaluate import Extent, evaluate
from deniability.evidence.evaluate_groups import Strangers
from deniability.evidence.prove import read_exhibit
from deniability.evidence.register import sidecar_path
from deniability.evidence.replay import isolated
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions
from deniability.imaging import jpeg_read
from deniability.sandbox.choose import choose_isolation
from deniability.sandbox.conversation import converse
from deniability.sandbox.interface import Grants, Limits, Program
from deniability.sandbox.python import search_path
from deniability.stats.evaluation_words import COPIES

HERE = Path(__file__).resolve().parent
SIDE = toy.Larger.SIDE


@pytest.fixture(scope="module")
def scripted(tmp_path_factory, _presets_of_tests):
    """A registered TorchScript model that a child can load: (file, options, registration)."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("scripted")
    path = folder / "model.pt"
    torch.jit.trace(toy.Larger().eval(), torch.zeros(1, 4)).save(str(path))
    options = ModelOptions(
        latent_shape=(4,),
        prior="normal",
        output_range=("0", "1"),
        output_size=(1, SIDE, SIDE),
        rounding="round",
        entropy_source="shake256",
        seed_bits=64,
    )
    generator = load_generator(str(path), device=torch.device("cpu"), options=options)
    return path, options, toy.register_toy(generator, folder, toy.CODECS)


def stranger(folder):
    return toy.stranger(folder, side=SIDE)


def resized(folder):
    """A JPEG of another size than the model's, so with coefficients to be read."""
    with Image.open(stranger(folder)) as image:
        image.resize((SIDE + 4, SIDE + 4)).save(folder / "resized.jpg", quality=90)
    return folder / "resized.jpg"


def request(proof, image, model, options, count):
    verified = proof.verified
    message = {
        "bundle": str(proof.path),
        "image": str(image),
        "latents": str(sidecar_path(proof.path)),
        "model": str(model),
        "signer": base64.b64encode(verified.signer.der).decode(),
        "payload": verified.payload_digest,
        "candidate": verified.exclusion.model.digest,
        "options": json.dumps(dataclasses.asdict(options)),
    }
    return canonical_json(message if count is None else message | {"count": count})


@pytest.mark.parametrize(("made", "families", "count"), [(stranger, 6, 1), (resized, 1, None)])
def test_a_sealed_child_replays_every_family(scripted, tmp_path, made, families, count):
    choice = choose_isolation()
    if choice.isolation is None:
        pytest.skip("no isolation here: " + "; ".join(choice.reasons))
    model, options, opened = scripted
    image = made(tmp_path)
    proof = toy.prove_toy(image, opened, tmp_path)
    exclusion = proof.verified.exclusion
    assert len(exclusion.finding.families) == families
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    answer = converse(
        choice.isolation,
        Program("codecs_child", path=(str(HERE), *search_path()), processes=True),
        Grants(scratch, read=(HERE, tmp_path, model.parent)),
        Limits(memory=8 << 30, seconds=300),
        request=request(proof, image, model, options, count),
        listen=lambda _: None,
    )
    check_answer(answer, exclusion, count)
    assert answer.values[0].get("families", 1) == families


@pytest.mark.slow
def test_a_sealed_child_searches_for_an_evaluations_pictures_again(scripted, tmp_path):
    choice = choose_isolation()
    if choice.isolation is None:
        pytest.skip("no isolation here: " + "; ".join(choice.reasons))
    model, options, opened = scripted
    photos, given = tmp_path / "photos", tmp_path / "given" / "nonmembers-1"
    for folder in (photos, given, tmp_path / "scratch"):
        folder.mkdir(parents=True)
    resized(photos)
    for number, photo in enumerate(sorted(photos.iterdir())):
        (given / f"{number:04d}").write_bytes(photo.read_bytes())
    only = ("lossless", "jpeg-444-50-69", "jpeg-other-encoder", "webp-30-59", "resized-bilinear")
    made = evaluate(
        opened,
        key=toy.KEY,
        output=tmp_path / "evaluation.json",
        strangers=Strangers({}, (photos,)),
        extent=Extent(own=2, strangers=1, only=only),
        cache=tmp_path / "cache",
    )
    message = {
        "evaluation": str(made.path),
        "model": str(model),
        "registration": str(model.parent / "registration.json"),
        "registrar": base64.b64encode(toy.KEY.public.der).decode(),
        "pictures": str(given.parent),
        "signer": base64.b64encode(made.verified.signer.der).decode(),
        "payload": made.verified.payload_digest,
        "options": json.dumps(dataclasses.asdict(options)),
        "count": 1,
    }
    answer = converse(
        choice.isolation,
        Program("evaluation_child", path=(str(HERE), *search_path()), processes=True),
        Grants(tmp_path / "scratch", read=(HERE, tmp_path, model.parent)),
        Limits(memory=8 << 30, seconds=300),
        request=canonical_json(message),
        listen=lambda _: None,
    )
    check_evaluation_answer(answer, made.verified.evaluation, 1)
    first, second = answer.values
    assert first["rendered"] == toy.CODECS.controls
    assert second["leftOut"] == []
    assert second["strangers"]["pictures"] == len(only) * (len(COPIES) + 2)


def test_the_coefficients_of_a_resized_jpeg_are_kept_before_the_seal(
    scripted, tmp_path, monkeypatch
):
    """What says that a file of another size is no picture of the model is the protocol."""
    _, _, opened = scripted
    image = resized(tmp_path)
    monkeypatch.setattr(jpeg_read, "_kept", {})
    isolated.read_coefficients(opened.procedure.generator.spec, image, toy.CODECS)
    assert len(jpeg_read._kept) == 1
    monkeypatch.setattr(jpeg_read, "_run", None)  # no process is started any more
    exhibit = read_exhibit(image, opened.procedure.generator, protocol=toy.CODECS)
    assert exhibit.observed.handling.kind.edit == "resized-bilinear"
