"""`bind` end to end on toys: own outputs, a noisy copy's, too few, JPEGs; and proofs that cite."""

import hashlib
import shutil

import pytest
import torch
import toy_evidence as toy

from deniability.crypto.keys import generate_key
from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence.bind import bind, pictures_of
from deniability.evidence.cite import read_citation
from deniability.evidence.register import sidecar_path
from deniability.evidence.replay.binding import replay_binding
from deniability.evidence.signing import sign_statement
from deniability.evidence.tensors import (
    describe_bytes,
    latent_digest,
    read_sidecar,
    write_tensors,
)
from deniability.report.deployment import deployment_line
from deniability.stats.binding import decide_binding, kind_threshold
from deniability.verify.binding import verify_binding
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.statement import BINDING_TYPE


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


# --- V1


def replayed(verified, folder, generator, sidecar):
    return replay_binding(
        verified, images=pictures_of(folder), generator=generator, sidecar=sidecar
    )


def resigned(made, folder, *, latents=None, **changes):
    """Change a binding and make it consistent again, as a dishonest signer would."""
    binding = made.verified.binding.model_copy(update=changes)
    side = folder / "forged.latents.safetensors"
    tensors = read_sidecar(sidecar_path(made.path), made.verified.binding.latents)
    data = write_tensors(side, tensors | ({} if latents is None else {"bound": latents}))
    result = decide_binding(binding.pictures, binding.kinds, model_digest=binding.model.digest)
    listed = {"latents": describe_bytes(side.name, data), "result": result}
    forged = binding.model_copy(update=listed)
    raw = sign_statement(
        forged, predicate_type=BINDING_TYPE, subjects=binding.model.files, key=toy.KEY
    )
    return verify_binding(raw, trust=toy.TRUST), side


def test_latents_are_rendered_again(smooth, bound):
    folder, made = bound
    found = replayed(made.verified, folder, smooth[0], sidecar_path(made.path))
    assert (found.verdict, found.pictures, found.latents) == ("bound", 30, 30)
    assert found.largest_difference == 0


def test_jpegs_and_pictures_that_were_not_found_are_rendered_again(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator, 3, ending="jpg", quality=75)
    toy.stranger(folder)
    (folder / "notes.txt").write_text("from the service")
    made = bind_toy(folder, opened)
    found = replayed(made.verified, folder, generator, sidecar_path(made.path))
    assert (found.verdict, found.pictures, found.latents) == ("not-bound", 5, 4)


def test_a_binding_of_made_up_residuals_does_not_survive(smooth, tmp_path):
    """The service runs another model, and the signer writes down that all was reached."""
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", noisy(0.01))
    made = bind_toy(folder, opened)
    claimed = tuple(
        p.model_copy(update={"stop": "reached", "residual": "0", "pixel_for_pixel": False})
        for p in made.verified.binding.pictures
    )
    forged, side = resigned(made, tmp_path, pictures=claimed)
    assert forged.binding.result.verdict == "bound"  # at V0
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        replayed(forged, folder, generator, side)


def test_one_output_under_two_latents_is_not_counted_twice(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator, 30)
    toy.own_file(folder, generator, number=5, salt="service", name="again.jpg", quality=95)
    made = bind_toy(folder, opened)
    pictures = made.verified.binding.pictures
    assert pictures[-1].repeats is not None
    counted = (*pictures[:-1], pictures[-1].model_copy(update={"repeats": None}))
    forged, side = resigned(made, tmp_path, pictures=counted)
    assert forged.binding.result.count == 31
    with pytest.raises(ReplayError, match="counted twice"):
        replayed(forged, folder, generator, side)


def test_raised_truths_do_not_survive(smooth, tmp_path):
    generator, opened = smooth
    folder = obtained(tmp_path / "obtained", generator, 2, ending="jpg", quality=75)
    made = bind_toy(folder, opened)
    (kind,) = made.verified.binding.kinds
    truths = ("5.00000e-06",) * len(kind.truths)
    limit = kind_threshold(kind.kind, truths, toy.TINY)
    raised = kind.model_copy(update={"truths": truths, "threshold": limit})
    forged, side = resigned(made, tmp_path, kinds=(raised,))
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        replayed(forged, folder, generator, side)


def test_other_latents_pictures_and_models_are_refused(smooth, bound, tmp_path):
    generator, _ = smooth
    folder, made = bound
    rows = read_sidecar(sidecar_path(made.path), made.verified.binding.latents)["bound"]
    for latents, words in ((rows[1:], "does not hold"), (rows.flip(0), "not that of its picture")):
        forged, side = resigned(made, tmp_path, latents=latents)
        with pytest.raises(CommitmentError, match=words):
            replayed(forged, folder, generator, side)
    other = shutil.copytree(folder, tmp_path / "other")
    shutil.copy(other / "001.png", other / "000.png")
    with pytest.raises(CommitmentError, match=r"pictures\.0\.file"):
        replayed(made.verified, other, generator, sidecar_path(made.path))
    with pytest.raises(ReplayError, match="does not give the pictures"):
        replayed(made.verified, folder, noisy(0.01), sidecar_path(made.path))
