"""The built-in generator from registration to replay, on files as people have them."""

import hashlib
import json

import numpy as np
import pytest
import torch
import toy_evidence as toy
from PIL import Image

from deniability.errors import ImageError, InputError, VerificationError
from deniability.evidence.prove import prove
from deniability.evidence.register import open_registration
from deniability.evidence.replay import replay_latents, replay_search
from deniability.generators.builtin import photo_path
from deniability.generators.load import load_generator
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy


@pytest.fixture
def accuse(registered, tmp_path):
    def run(image):
        return prove(
            image,
            registered.opened,
            key=registered.key,
            output=tmp_path / f"{image.name}.bundle.json",
            cache=registered.cache,
        )

    return run


@pytest.fixture(scope="module")
def twin():
    return load_generator("builtin-twin", device=torch.device("cpu"))


def replayed(registered, name, proved):
    entry = getattr(proved, name)
    trust = TrustPolicy((registered.key.public,))
    verified = verify_bundle(entry.bundle.read_bytes(), trust=trust)
    arguments = {
        "image": entry.image,
        "generator": registered.generator,
        "sidecar": entry.latents,
    }
    return verified, arguments


@pytest.mark.parametrize(
    ("name", "expected"), [("photo", "excluded"), ("twin", "excluded"), ("own", "reached")]
)
def test_bundles_verify_and_replay_from_disk(registered, proved, name, expected):
    verified, arguments = replayed(registered, name, proved)
    assert verified.exclusion.finding.verdict == expected
    assert verified.exclusion.model.digest in verified.exclusion.finding.sentence
    result = replay_latents(verified, **arguments)
    assert result.finding.verdict == expected
    assert result.controls == 99
    assert replay_search(verified, count=4, **arguments).fresh == 4


def test_an_own_output_is_reached_pixel_for_pixel(registered, proved):
    verified, arguments = replayed(registered, "own", proved)
    finding = verified.exclusion.finding
    assert finding.reached.pixel_for_pixel
    assert "pixel for pixel" in finding.sentence
    assert replay_latents(verified, **arguments).finding.reached.pixel_for_pixel


def test_what_is_excluded_is_far_from_the_margin(registered, proved):
    for name in ("photo", "twin"):
        verified, _ = replayed(registered, name, proved)
        (family,) = verified.exclusion.finding.families
        assert float(family.statistic) > 5 * float(family.margin)
        assert (family.n, family.k) == (99, 0)
        assert (family.p.numerator, family.p.denominator) == (1, 100)


@pytest.mark.parametrize(("mode", "sampling"), [("L", {}), ("RGB", {"subsampling": "4:2:0"})])
def test_jpeg_files_of_own_and_of_the_twin(registered, twin, accuse, tmp_path, mode, sampling):
    for generator, expected in ((registered.generator, "reached"), (twin, "excluded")):
        pixels = toy.own_pictures(generator, toy.drawn(generator, 1, "jpeg"))[0]
        image = tmp_path / f"{expected}-{mode}.jpg"
        Image.fromarray(pixels).convert(mode).save(image, quality=75, **sampling)
        proof = accuse(image)
        assert toy.finding(proof).verdict == expected
        assert expected == "reached" or "JPEG" in toy.finding(proof).sentence
        kind = proof.verified.exclusion.accused.kind
        assert kind.components == ("gray" if mode == "L" else "ycc420")
        assert kind.quality == 75


FOREIGN = {
    "progressive": {"progressive": True, "quality": 75},
    "tables": {"qtables": [[7 + (i * 5) % 11 for i in range(64)]]},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("source", ["own", "twin"])
def test_a_jpeg_unlike_libjpeg_s_is_never_excluded(
    registered, twin, accuse, tmp_path, name, source
):
    generator = {"own": registered.generator, "twin": twin}[source]
    pixels = toy.own_pictures(generator, toy.drawn(generator, 1, "foreign"))[0]
    image = toy.save_picture(tmp_path / "foreign.jpg", pixels, **FOREIGN[name])
    proof = accuse(image)
    exclusion = proof.verified.exclusion
    assert exclusion.accused.cautions
    if source == "twin":
        assert exclusion.finding.verdict == "inconclusive"
        assert toy.failed_gates(proof) == {"file-history"}
        assert exclusion.accused.cautions[0] in exclusion.finding.sentence
    assert exclusion.finding.verdict != "excluded"


def test_wrong_sizes_and_files_that_are_no_pictures_are_refused(accuse, tmp_path):
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((32, 28), np.uint8)).save(large)
    with pytest.raises(ImageError, match="28 x 28") as caught:
        accuse(large)
    assert "28 x 32" in str(caught.value)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(ImageError):
        accuse(text)
    with pytest.raises(InputError, match="no such"):
        accuse(tmp_path / "missing.png")


def test_the_same_pixels_in_another_file_give_the_same_finding(accuse, tmp_path):
    """Seeds follow the file, so restarts differ; what is found does not."""
    with Image.open(photo_path()) as photo:
        gray = photo.convert("L")
    verdicts = []
    for name, image in (("gray.png", gray), ("rgb.bmp", gray.convert("RGB"))):
        image.save(tmp_path / name)
        verdicts.append(toy.finding(accuse(tmp_path / name)).verdict)
    assert verdicts == ["excluded", "excluded"]


def test_a_bundle_speaks_of_its_registration_and_its_file_only(registered, proved):
    payload = toy.payload_of(proved.photo.bundle)
    data = proved.photo.image.read_bytes()
    (subject,) = payload["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256(data).hexdigest()
    reference = payload["predicate"]["registration"]["payload"]
    assert reference == registered.opened.verified.payload_digest


def test_a_changed_registration_is_refused(registered, tmp_path):
    raw = registered.registration.read_bytes()
    document = json.loads(raw)
    payload = document["dsseEnvelope"]["payload"]
    at = len(payload) // 2
    swapped = "A" if payload[at] != "A" else "B"
    document["dsseEnvelope"]["payload"] = payload[:at] + swapped + payload[at + 1 :]
    path = tmp_path / "changed.registration.json"
    path.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True))
    trust = TrustPolicy((registered.key.public,))
    with pytest.raises(VerificationError):
        open_registration(path, registered.generator, trust=trust)


def test_a_registration_of_another_model_is_refused(registered, twin):
    trust = TrustPolicy((registered.key.public,))
    with pytest.raises(InputError, match="of another model"):
        open_registration(registered.registration, twin, trust=trust)
