"""Class labels end to end: all of them are searched, or nothing is denied."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import toy_evidence as toy
import toy_labels as labels

from deniability.errors import CommitmentError, GeneratorError
from deniability.evidence.register import check_labels
from deniability.evidence.replay.latents import replay_latents
from deniability.evidence.replay.search import replay_search
from deniability.generators.load import load_generator
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.starts import Starts
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import PRESETS
from deniability.wire.roles import label_rank, start_kind

CLASSES = labels.CLASSES
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "verify_without_deniability.py"


@pytest.fixture(scope="module", autouse=True)
def _presets_with_labels():
    with pytest.MonkeyPatch.context() as patch:
        for protocol in labels.ALL:
            patch.setitem(PRESETS, protocol.name, protocol)
        yield


@pytest.fixture(scope="module")
def independent():
    """The verifier written from SPEC.md alone, knowing the presets of these tests."""
    spec = importlib.util.spec_from_file_location("independent_verifier", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.PRESETS.update({p.name: p.digest for p in labels.ALL})
    return module


@pytest.fixture(scope="module", params=["index", "one-hot"])
def encoding(request):
    return request.param


@pytest.fixture(scope="module")
def generator(encoding, tmp_path_factory):
    module = labels.Conditional() if encoding == "index" else labels.OneHot()
    return labels.scripted(
        tmp_path_factory.mktemp(encoding), module, labels.DESCRIPTION.format(encoding=encoding)
    )


@pytest.fixture(scope="module")
def opened(generator, tmp_path_factory):
    return toy.register_toy(generator, tmp_path_factory.mktemp("labels"), labels.BLIND)


@pytest.fixture(scope="module")
def stranger_case(generator, opened, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    image = toy.stranger(folder)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)


def test_own_outputs_of_every_class_are_reached(generator, opened, tmp_path):
    for label in range(CLASSES):
        image = labels.own_file_of(tmp_path, generator, label)
        proof = toy.prove_toy(image, opened, tmp_path)
        assert toy.finding(proof).verdict == "reached"
        reached = proof.verified.exclusion.restarts[toy.finding(proof).reached.restart]
        assert reached.label == label
        verified = toy.case_of(proof, image, generator)
        replay_latents(verified.verified, **verified.arguments())


def test_a_stranger_is_excluded_after_all_labels_were_tried(stranger_case, independent):
    exclusion = stranger_case.verified.exclusion
    assert exclusion.finding.verdict == "excluded"
    assert [r.label for r in exclusion.restarts] == [*range(CLASSES)] * 2
    replay_latents(stranger_case.verified, **stranger_case.arguments())
    found = replay_search(stranger_case.verified, **stranger_case.arguments(), count=3)
    assert found.restarts == 2 * CLASSES + 3
    payload = exclusion.to_wire()
    independent.check_trace(payload)
    independent.check_protocol(payload)
    independent.check_generator(payload["generator"])


def _without(restarts, skipped, instead):
    """Restarts that never tried a label, stated honestly."""
    return tuple(
        r.model_copy(update={"label": instead}) if r.label == skipped else r for r in restarts
    )


def test_a_search_that_skips_a_label_does_not_verify(stranger_case, independent, tmp_path):
    restarts = _without(stranger_case.verified.exclusion.restarts, 3, 2)
    with pytest.raises(CommitmentError, match=r"restarts\.3\.label"):
        toy.resigned(stranger_case, tmp_path, restarts=restarts)
    payload = stranger_case.verified.exclusion.to_wire()
    payload["restarts"] = [r.to_wire() for r in restarts]
    with pytest.raises(independent.RefusedError, match="its label"):
        independent.check_trace(payload)


def test_a_program_that_skips_labels_cannot_prove_anything(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("deniability.inversion.starts.label_rank", lambda *_, **__: 0)
    with pytest.raises(CommitmentError, match=r"restarts\.1\.label"):
        toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path)


@pytest.mark.parametrize("label", [None, CLASSES])
def test_a_restart_without_a_label_does_not_verify(stranger_case, tmp_path, label):
    first, *others = stranger_case.verified.exclusion.restarts
    restarts = (first.model_copy(update={"label": label}), *others)
    with pytest.raises(CommitmentError, match=r"restarts\.0\.label"):
        toy.resigned(stranger_case, tmp_path, restarts=restarts)


def test_a_latent_of_another_label_than_stated_is_found_at_v1(stranger_case, tmp_path):
    from safetensors.torch import load_file

    tensors = load_file(stranger_case.sidecar)
    tensors["restarts"][3, 4] = 2.0
    restarts = toy.with_digests(stranger_case.verified.exclusion.restarts, tensors["restarts"])
    forged = toy.resigned(stranger_case, tmp_path, tensors=tensors, restarts=restarts)
    with pytest.raises(CommitmentError, match="another class label"):
        replay_latents(forged.verified, **forged.arguments())


def test_fewer_restarts_than_labels_need_are_refused(generator, tmp_path):
    with pytest.raises(GeneratorError, match="more class labels") as caught:
        toy.register_toy(generator, tmp_path, labels.SEVERAL)
    assert "at most 2 combinations" in caught.value.expected
    assert caught.value.found == str(CLASSES)


def test_presets_say_how_many_labels_they_fit():
    def spec(classes):
        part = {"name": "y", "shape": [1], "prior": "label", "encoding": "index"}
        return GeneratorSpec.model_validate(
            {
                "latent": [
                    {"name": "z", "shape": [2], "prior": "normal"},
                    part | {"classes": classes},
                ],
                "channels": 1,
                "height": 8,
                "width": 8,
                "output_range": ("0", "1"),
                "rounding": "round",
                "entropy": {"source": "shake256", "seed_bits": 64},
                "format": "torchscript",
            }
        )

    for name, most in (("quick", 6), ("standard", 12), ("strict", 24)):
        check_labels(spec(most), PRESETS[f"pristine-{name}-v1"])
        with pytest.raises(GeneratorError, match="more class labels"):
            check_labels(spec(most + 1), PRESETS[f"pristine-{name}-v1"])


def test_a_bundle_with_more_labels_than_restarts_does_not_verify(stranger_case, tmp_path):
    spec = stranger_case.verified.exclusion.generator
    z, label = spec.latent
    wider = spec.model_copy(update={"latent": (z, label.model_copy(update={"classes": 6}))})
    with pytest.raises(CommitmentError, match="labels"):
        toy.resigned(stranger_case, tmp_path, generator=wider)


def test_with_an_encoder_the_likeliest_label_comes_first(generator, tmp_path):
    opened = toy.register_toy(generator, tmp_path, labels.GUIDED)
    encoder = opened.procedure.encoder
    latents = toy.drawn(generator, 200, "encoder")
    with torch.no_grad():
        guesses = encoder.guess_with_labels(generator(latents))
    assert guesses.shape == (200, 5 + CLASSES)
    assert (guesses[:, 4] == latents[:, 4]).float().mean() > 0.8
    assert torch.equal(guesses[:, 4], guesses[:, 5])
    assert torch.equal(guesses[:, 5:].sort(dim=1)[0][0], torch.arange(5.0))
    image = toy.stranger(tmp_path)
    proof = toy.prove_toy(image, opened, tmp_path)
    restarts = proof.verified.exclusion.restarts
    assert toy.finding(proof).verdict == "excluded"
    assert [r.start for r in restarts] == ["encoder", "prior"] * CLASSES
    assert sorted(r.label for r in restarts[::2]) == [*range(CLASSES)]
    assert [r.label for r in restarts[1::2]] == [r.label for r in restarts[::2]]
    case = toy.case_of(proof, image, generator)
    replay_latents(case.verified, **case.arguments())
    twice = (
        *restarts[:2],
        *(r.model_copy(update={"label": restarts[0].label}) for r in restarts[2:4]),
    )
    with pytest.raises(CommitmentError, match="label"):
        toy.resigned(case, tmp_path, restarts=(*twice, *restarts[4:]))


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize("encoder", [True, False])
def test_every_label_gets_two_starts(count, encoder):
    kinds = {rank: [] for rank in range(count)}
    for index in range(2 * count):
        rank = label_rank(index, encoder=encoder, labels=count)
        kinds[rank].append(start_kind(index, encoder=encoder, labels=count))
    wanted = ["encoder", "prior"] if encoder else ["prior", "prior"]
    assert all(found == wanted for found in kinds.values())


def test_starts_keep_their_label_and_the_solver_does_too(generator):
    starts = Starts(generator, None)
    latents = torch.stack([starts.latent(j, bytes(32), None) for j in range(2 * CLASSES)])
    assert latents[:, 4].tolist() == [*range(CLASSES)] * 2
    assert torch.equal(latents[CLASSES:, :4], 2 * latents[:CLASSES, :4])  # half width, then whole


def test_a_torch_export_with_a_label_loads_and_differentiates(tmp_path):
    example = (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        labels.Conditional().eval(), example, dynamic_shapes=({0: batch}, {0: batch})
    )
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    path.with_name("generator.toml").write_text(labels.DESCRIPTION.format(encoding="index"))
    generator = load_generator(path, device=torch.device("cpu"))
    latents = toy.drawn(generator, 5)
    with torch.no_grad():
        expected = labels.Conditional()(latents[:, :4], latents[:, 4].long())
    assert torch.allclose(generator(latents), expected, atol=1e-6)
    flat = Jacobian(lambda z: generator(z).flatten(1), 5, free=generator.free)
    assert flat(latents).shape == (5, 64, 4)


def test_the_jacobian_has_the_columns_of_numbers_alone(generator):
    flat = Jacobian(lambda z: generator(z).flatten(1), 5, free=generator.free)
    latents = toy.drawn(generator, 3)
    found = flat(latents)
    assert found.shape == (3, 64, 4)
    shifted = latents.clone()
    shifted[:, 2] += 1e-3
    slope = (generator(shifted) - generator(latents)).flatten(1) / 1e-3
    assert torch.allclose(found[:, :, 2], slope, atol=2e-3)


def test_labels_survive_coarse_rounding_and_wrong_numbers(generator):
    latents = toy.drawn(generator, 4)
    latents[:, 4] = torch.tensor([0.0, 1.0, 2.0, 4.0])
    near = latents.clone()
    near[:, 4] = torch.tensor([-3.0, 1.4, 1.6, 9.0])
    assert torch.equal(generator(near), generator(latents))
    near[0, 4] = torch.nan
    assert torch.equal(generator(near), generator(latents))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("classes = 5", "", "how many classes"),
        ('encoding = "index"', "", "'index' or 'one-hot'"),
        ("classes = 5", "classes = 1", "2 to"),
        ('prior = "label"', 'prior = "normal"', "'label' where"),
        ("classes = 5", "classes = 5\nshape = [5]", "none for a label"),
    ],
)
def test_a_label_described_badly_is_refused(tmp_path, old, new, words):
    text = labels.DESCRIPTION.format(encoding="index").replace(old, new)
    if new == 'prior = "normal"':
        text = text.replace('name = "label"\n', 'name = "label"\nshape = [1]\n')
    (tmp_path / "generator.toml").write_text(text)
    with pytest.raises(GeneratorError) as caught:
        labels.scripted(tmp_path, labels.Conditional(), text)
    assert words in caught.value.expected


def test_the_wire_form_of_a_label_is_closed():
    part = {"name": "y", "shape": [1], "prior": "label", "classes": 3, "encoding": "index"}
    base = {
        "latent": [part],
        "channels": 1,
        "height": 8,
        "width": 8,
        "output_range": ("0", "1"),
        "rounding": "round",
        "entropy": {"source": "shake256", "seed_bits": 64},
        "format": "torchscript",
    }
    number = {"name": "z", "shape": [1], "prior": "normal"}
    good = GeneratorSpec.model_validate(base | {"latent": [part, number, part | {"name": "b"}]})
    assert good.labels == ((0, 3), (2, 3))
    assert [good.label_of((a, 0.5, b)) for a in range(3) for b in range(3)] == [*range(9)]
    assert good.label_values(7) == (2, 1)
    assert good.label_of((0.5, 0.0, 1.0)) is None
    for latent in (
        [part],
        [number, part | {"classes": 1}],
        [number, part | {"shape": [2]}],
        [number, part | {"low": "0", "high": "1"}],
        [number, {k: v for k, v in part.items() if k != "encoding"}],
        [number | {"classes": 3}, part],
    ):
        with pytest.raises(ValueError, match=r"label|classes|bounds|belong"):
            GeneratorSpec.model_validate(base | {"latent": latent})
