"""`evaluate` end to end on toys: own outputs, copies, other generators, pictures, interruptions."""

import json
from dataclasses import replace

import pytest
import torch
import toy_evidence as toy

from deniability.errors import CommitmentError, GeneratorError, ImageError, InputError
from deniability.evidence.cite import read_evaluation
from deniability.evidence.copies import as_copy, model_copy
from deniability.evidence.evaluate import Extent, evaluate
from deniability.evidence.evaluate_groups import Strangers, brought, picture_seeds
from deniability.report.error_rate import error_rate_line
from deniability.report.evaluation_plots import PLOTS, draw_evaluation
from deniability.stats.evaluation_words import COPIES, families_of
from deniability.wire.roles import control_seed, evaluation_seed

EXTENT = Extent(own=40, strangers=3, only=("lossless", "saved-jpeg-75-gray"))
SMALL = Extent(own=8, strangers=1, only=("lossless",))


def evaluate_toy(opened, folder, *, name="evaluation.json", extent=EXTENT, **options):
    options = {"cache": folder / "cache"} | options
    return evaluate(opened, key=toy.KEY, output=folder / name, extent=extent, **options)


@pytest.fixture(scope="module")
def nonmembers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nonmembers")
    toy.stranger(folder, "wave.png")
    toy.stranger(folder, "large.png", side=32)
    return folder


@pytest.fixture(scope="module")
def evaluated(smooth, nonmembers, tmp_path_factory):
    other = toy.make_generator(toy.Smooth(seed=5), name="other.pt")
    wide = toy.make_generator(toy.Larger(), name="wide.pt", side=16)
    return evaluate_toy(
        smooth[1],
        tmp_path_factory.mktemp("evaluated"),
        strangers=Strangers({"other.pt": other, "wide.pt": wide}, (nonmembers,)),
    )


def groups_of(made, family=0):
    return {one.group: one for one in made.verified.evaluation.families[family].groups}


def test_own_outputs_are_not_denied_and_strangers_are(evaluated):
    evaluation = evaluated.verified.evaluation
    assert [family.name for family in evaluation.families] == list(EXTENT.only)
    result = evaluation.result
    assert result.own == 80
    assert result.denied <= evaluation.families[0].shared.critical
    assert result.promise_held
    for family in range(2):
        found = groups_of(evaluated, family)
        assert len(found["nonmembers-1"].residuals) == 2
        assert found["nonmembers-1"].denied == found["other-1"].denied - 1 == 2
        assert found["pruned-0.5"].denied == 3
    assert groups_of(evaluated)["own"].reached >= 36


def test_near_copies_are_reported_by_closeness_and_not_promised(evaluated):
    evaluation = evaluated.verified.evaluation
    groups = {group.name: group for group in evaluation.groups}
    assert set(COPIES) <= set(groups)
    assert groups["noise-0.001"].closeness == "near"
    assert groups_of(evaluated)["noise-0.001"].denied == 0
    distances = [float(groups[f"noise-{share}"].distance) for share in ("0.001", "0.01", "0.1")]
    assert distances[0] < distances[1] / 30 < distances[2] / 900
    (line,) = (line for line in evaluation.scope if "nothing is promised" in line)
    assert "noise-0.001" in line


def test_what_does_not_fit_is_told(evaluated):
    told = {entry.name: entry.reason for entry in evaluated.verified.evaluation.not_applied}
    assert set(told) == {"builtin", "builtin-twin", "other-2"}
    assert "1 x 16 x 16" in told["other-2"]


def test_a_model_is_no_stranger_to_itself_and_is_the_same_afterwards(smooth, tmp_path):
    generator, opened = smooth
    before = [p.clone() for p in generator.module.parameters()]
    made = evaluate_toy(opened, tmp_path, extent=SMALL, strangers=Strangers({"same.pt": generator}))
    told = {entry.name: entry.reason for entry in made.verified.evaluation.not_applied}
    assert told["other-1"] == "it is the model itself"
    after = list(generator.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(p.requires_grad for p in after)


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_the_same_every_time_and_differ_from_the_model(smooth, name):
    generator, opened = smooth
    latents = toy.drawn(generator, 4, "copies")
    outputs = []
    for _ in range(2):
        copied = model_copy(opened.procedure, name)
        with as_copy(generator, copied):
            outputs.append(generator(latents))
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], generator(latents))


def test_a_model_without_weights_has_no_copies(smooth):
    bare = toy.make_generator(toy.Pixels(), dimension=toy.SIDE**2, prior="uniform")
    with pytest.raises(GeneratorError, match="no weights"):
        model_copy(replace(smooth[1].procedure, generator=bare), "int8")


def test_seeds_are_those_of_no_control(smooth):
    procedure = smooth[1].procedure
    kind, digest = "0" * 64, procedure.protocol.digest
    controls = {control_seed(procedure.model, digest, kind, i) for i in range(50)}
    groups = {name: picture_seeds(procedure, kind, name, 50) for name in ("own", "int8")}
    every = [seed for seeds in groups.values() for seed in seeds]
    assert len({*every, *controls}) == 150
    assert groups["own"][3] == evaluation_seed(procedure.model, digest, kind, "own", 3)


def test_an_interrupted_run_goes_on_and_ends_alike(smooth, tmp_path):
    _, opened = smooth
    whole = evaluate_toy(opened, tmp_path, name="whole.json", extent=SMALL)
    with pytest.raises(KeyboardInterrupt):
        evaluate_toy(
            opened,
            tmp_path,
            extent=SMALL,
            progress=toy.Interruption("searching for noise-0.1 as lossless", 1),
        )
    notes = toy.Notes()
    again = evaluate_toy(opened, tmp_path, extent=SMALL, resume=True, progress=notes)
    assert "searching for own as lossless" not in notes.phases
    assert "searching for pruned-0.5 as lossless" in notes.phases

    def figures(made):
        family = made.verified.evaluation.families[0]
        return [(one.group, one.residuals, one.iterations) for one in family.groups]

    assert figures(again) == figures(whole)
    assert not (tmp_path / ".evaluation.json.state").exists()


@pytest.mark.parametrize(
    ("extent", "words"),
    [
        (Extent(own=0), "not a number of pictures"),
        (Extent(strangers=10**6), "not a number of pictures"),
        (Extent(only=("lossless", "mirrored")), "no such family"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(smooth, tmp_path, extent, words):
    with pytest.raises(InputError, match=words):
        evaluate_toy(smooth[1], tmp_path, extent=extent)


def test_pictures_that_cannot_be_read_are_refused_by_name(smooth, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "no.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"no\.png"):
        evaluate_toy(smooth[1], tmp_path, extent=SMALL, strangers=Strangers({}, (folder,)))


def test_pictures_are_brought_to_the_models_size(smooth, nonmembers):
    spec = smooth[0].spec
    for name in ("wave.png", "large.png"):
        picture = brought((nonmembers / name).read_bytes(), spec, where=name)
        assert picture.shape == (1, toy.SIDE, toy.SIDE)


def test_families_of_presets():
    spec = toy.make_generator(toy.Smooth()).spec
    names, unfit = families_of(toy.TINY, spec)
    assert names == ("lossless", *(f"saved-jpeg-{q}-gray" for q in (50, 75, 90)))
    assert unfit == ()
    colour = spec.model_copy(update={"channels": 3})
    assert "saved-jpeg-75-420" in families_of(toy.TINY, colour)[0]
    assert families_of(toy.HANDLED, spec)[0] == ("lossless", *toy.HANDLED.edits)


def test_a_family_of_a_handled_preset(tmp_path):
    generator = toy.make_generator(toy.Smooth())
    opened = toy.register_toy(generator, tmp_path, toy.HANDLED)
    extent = Extent(own=6, strangers=1, only=("other-rounding", "mirrored"))
    made = evaluate_toy(opened, tmp_path, extent=extent)
    assert [f.name for f in made.verified.evaluation.families] == ["mirrored", "other-rounding"]
    assert made.verified.evaluation.result.denied == 0


def test_a_proof_cites_it(smooth, evaluated, tmp_path):
    generator, opened = smooth
    found = read_evaluation(evaluated.path, trust=toy.TRUST)
    proof = toy.prove_toy(toy.stranger(tmp_path), opened, tmp_path, evaluated=found)
    line = error_rate_line(proof.verified.exclusion)
    assert line.startswith("lossless: of 40 own outputs ")
    assert f"evaluation sha256 {found.payload_digest}" in line
    other = toy.register_toy(generator, tmp_path, toy.ENCODED)
    with pytest.raises(CommitmentError, match="another registration"):
        toy.prove_toy(toy.stranger(tmp_path), other, tmp_path, evaluated=found)


def test_plots(evaluated, tmp_path):
    drawn = draw_evaluation(tmp_path / "plots", evaluated.verified.evaluation)
    assert [path.name for path in drawn] == list(PLOTS)
    from PIL import Image

    for path in drawn:
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(2**20)) > 10
    first = {path.name: path.read_bytes() for path in drawn}
    again = draw_evaluation(tmp_path / "plots", evaluated.verified.evaluation)
    assert {path.name: path.read_bytes() for path in again} == first


def test_the_file_is_small_and_has_no_floats(evaluated):
    raw = evaluated.path.read_bytes()
    assert len(raw) < 200_000

    def refuse(text):
        raise AssertionError(text)

    json.loads(raw, parse_float=refuse)
    json.dumps(toy.payload_of(evaluated.path))
