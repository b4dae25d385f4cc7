"""`bind` end to end on toys: own outputs, a noisy copy's, too few, JPEGs; and proofs that cite."""

import hashlib
import shutil

import pytest
import torch
import toy_evidence as toy

from deniability.crypto.keys import generate_key
from deniability.errors import CommitmentError, InputError
from deniability.evidence.bind import bind, pictures_of
from deniability.evidence.cite import read_citation
from deniability.evidence.register import sidecar_path
from deniability.evidence.tensors import latent_digest, read_sidecar
from deniability.report.deployment import deployment_line
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy


def obtained(folder, generator, count=30, *, ending="png", **options):
    """Write outputs of a service's model into a folder; return it."""
    folder.mkdir()
    drawn = toy.own_pictures(generator, toy.drawn(generator, count, "service"))
    for i, pixels in enumerate(drawn):
        toy.save_picture(folder / f"{i:03d}.{ending}", pixels, **options)
    return folder


def noisy(share):
    """A copy of the toy with some weight noise."""
    module = toy.Smooth()
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        parameter.data += share * parameter.data.std() * noise
    return toy.make_generator(module)


def bind_toy(folder, opened, *, name="binding.json", key=toy.KEY, **options):
    output = folder.parent / name
    return bind(pictures_of(folder), opened, key=key, output=output, **options)


def list_of(folder):
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    )
    return "".join(lines).encode()


@pytest.fixture(scope="module")
def bound(smooth, tmp_path_factory):
    """A binding of 30 outputs: (folder with the pictures, what `bind` gave)."""
    generator, opened = smooth
    folder = obtained(tmp_path_factory.mktemp("bound") / "obtained", generator)
    return folder, bind_toy(folder, opened, obtained=list_of(folder))


def test_thirty_own_outputs_are_bound_pixel_for_pixel(smooth, bound):
    folder, made = bound
    binding = made.verified.binding
    assert (binding.result.verdict, binding.result.count) == ("bound", 30)
    assert binding.result.share == "0.095034"
    assert all(picture.pixel_for_pixel for picture in binding.pictures)
    assert [p.file.name for p in binding.pictures] == [p.name for p in pictures_of(folder)]
    latents = read_sidecar(sidecar_path(made.path), binding.latents)["bound"]
    assert [latent_digest(row) for row in latents] == [p.latent for p in binding.pictures]
    assert binding.registration.payload == smooth[1].verified.payload_digest
    assert not (made.path.parent / f".{made.path.name}.state").exists()


def test_a_copy_with_one_percent_weight_noise_is_not_bound(smooth, tmp_path):
    folder = obtained(tmp_path / "obtained", noisy(0.01))
    result = bind_toy(folder, smooth[1]).verified.binding.result
    assert (result.verdict, result.reached) == ("not-bound", 0)


def test_one_foreign_picture_among_many_is_enough(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator)
    toy.stranger(folder, "stranger.png")
    binding = bind_toy(folder, opened).verified.binding
    assert (binding.result.verdict, binding.result.reached) == ("not-bound", 30)
    assert binding.pictures[-1].stop in {"stalled", "exhausted"}


def test_twenty_nine_are_too_few_and_a_repeated_one_does_not_help(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator, 29)
    shutil.copy(folder / "003.png", folder / "copy.png")  # the same file
    toy.own_file(folder, generator, number=4, salt="service", name="again.png", compress_level=0)
    toy.own_file(folder, generator, number=5, salt="service", name="again.jpg", quality=95)
    binding = bind_toy(folder, opened).verified.binding
    assert (binding.result.verdict, binding.result.count) == ("not-bound", 29)
    repeats = {p.file.name: p.repeats for p in binding.pictures if p.repeats is not None}
    names = {name: binding.pictures[place].file.name for name, place in repeats.items()}
    assert names == {"copy.png": "003.png", "again.png": "004.png", "again.jpg": "005.png"}


def test_jpegs_are_bound_by_the_threshold_of_their_kind(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator, ending="jpg", quality=75)
    binding = bind_toy(folder, opened).verified.binding
    assert binding.result.verdict == "bound"
    (kind,) = binding.kinds
    assert kind.kind.family == "jpeg"
    assert len(kind.truths) == toy.TINY.controls
    assert float(kind.threshold) > float(toy.TINY.resolution)


def test_jpegs_of_another_model_are_not_bound(smooth, tmp_path):
    folder = obtained(tmp_path / "obtained", noisy(0.1), ending="jpg", quality=75)
    assert bind_toy(folder, smooth[1]).verified.binding.result.verdict == "not-bound"


def test_what_cannot_be_the_models_output_is_not_skipped(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator)
    pixels = toy.own_pictures(generator, toy.drawn(generator, 1))[0]
    toy.save_picture(folder / "larger.png", pixels.repeat(2, 0).repeat(2, 1))
    (folder / "notes.txt").write_text("from the service")
    binding = bind_toy(folder, opened).verified.binding
    assert binding.result.verdict == "not-bound"
    unread = {p.file.name: p.reason for p in binding.pictures if p.stop == "notExamined"}
    assert set(unread) == {"larger.png", "notes.txt"}
    assert all(unread.values())


def test_a_weak_search_ends_not_bound(smooth, tmp_path):
    generator, _ = smooth
    opened = toy.register_toy(generator, tmp_path, toy.NO_STEPS)
    folder = obtained(tmp_path / "obtained", generator)
    assert bind_toy(folder, opened).verified.binding.result.verdict == "not-bound"


def test_every_file_of_the_list_has_to_be_there(smooth, bound, tmp_path):
    folder = shutil.copytree(bound[0], tmp_path / "obtained")
    listed = list_of(folder)
    (folder / "007.png").unlink()
    with pytest.raises(InputError, match="1 missing"):
        bind_toy(folder, smooth[1], obtained=listed)
    with pytest.raises(InputError, match="not a list"):
        bind_toy(folder, smooth[1], obtained=b"nothing\n")


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        pictures_of(tmp_path / "none")
    with pytest.raises(InputError, match="no files"):
        pictures_of(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(InputError, match="not a file"):
        pictures_of(tmp_path)


def test_an_interrupted_run_goes_on(smooth, bound, tmp_path):
    folder = shutil.copytree(bound[0], tmp_path / "obtained")
    with pytest.raises(KeyboardInterrupt):
        bind_toy(folder, smooth[1], progress=toy.Interruption("outputs", 12))
    made = bind_toy(folder, smooth[1], resume=True)
    before = bound[1].verified.binding
    assert made.verified.binding.pictures == before.pictures


# --- cited


def test_a_proof_cites_a_binding(smooth, bound, tmp_path):
    _, opened = smooth
    cited = read_citation(bound[1].path, trust=toy.TRUST)
    proof = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path, cited=cited)
    assert toy.finding(proof).verdict == "excluded"
    deployment = proof.verified.deployment
    assert (deployment.bound, deployment.own, deployment.count) == (True, True, 30)
    line = deployment_line(deployment)
    assert line.startswith("deployment not verified by anybody but the bundle's own signer")
    plain = toy.prove_toy(toy.stranger(tmp_path, "again.png"), opened, tmp_path)
    assert deployment_line(plain.verified.deployment).startswith("deployment not verified: nothing")


def test_a_third_partys_binding_verifies_the_deployment_to_who_trusts_it(smooth, bound, tmp_path):
    _, opened = smooth
    third = generate_key()
    folder = shutil.copytree(bound[0], tmp_path / "obtained")
    made = bind_toy(folder, opened, key=third)
    both = TrustPolicy((toy.KEY.public, third.public))
    cited = read_citation(made.path, trust=both)
    proof = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path, cited=cited)
    assert deployment_line(proof.verified.deployment).startswith("deployment verified by 30")
    raw = proof.path.read_bytes()
    alone = verify_bundle(raw, trust=toy.TRUST)
    assert alone.exclusion.finding.verdict == "excluded"
    assert "which you do not trust" in deployment_line(alone.deployment)


def test_a_binding_of_another_model_is_refused_before_the_search(bound, tmp_path):
    generator = toy.make_generator(toy.Smooth(seed=9), name="other.pt")
    opened = toy.register_toy(generator, tmp_path)
    cited = read_citation(bound[1].path, trust=toy.TRUST)
    with pytest.raises(CommitmentError, match="of another model"):
        toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path, cited=cited)
