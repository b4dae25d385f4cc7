"""Several models, one picture: an open-set verdict that a weak search cannot make falser."""

import base64
import itertools
import json

import pytest
import torch
import toy_evidence as toy

from deniability.cli.attribute import attribution_code
from deniability.errors import CommitmentError, InputError
from deniability.evidence.attribute import (
    Candidate,
    attribute,
    candidate_sidecar,
    check_models,
    check_sizes,
    values_of,
)
from deniability.evidence.replay import replay_latents
from deniability.report.wording import candidates_caveats
from deniability.verify.attribution import verify_attribution
from deniability.verify.finding import verify_finding
from deniability.wire.protocol import PRESETS


class Permuted(toy.Smooth):
    """The same function with its hidden units in another order: other bytes, same pictures."""

    def __init__(self, seed=0):
        super().__init__(seed)
        order = torch.arange(31, -1, -1)
        self.first.weight.data = self.first.weight.data[order]
        self.first.bias.data = self.first.bias.data[order]
        self.second.weight.data = self.second.weight.data[:, order]


MODULES = {
    "first": (toy.Smooth, toy.TINY),
    "second": (lambda: toy.Smooth(seed=1), toy.TINY),
    "permuted": (Permuted, toy.TINY),
    "encoded": (lambda: toy.Smooth(seed=2), toy.ENCODED),
    "broken": (lambda: toy.Smooth(seed=3), toy.NO_STEPS),
    "detached": (toy.Detached, toy.TINY),
    "handled": (toy.Smooth, toy.HANDLED),
    "handled-other": (lambda: toy.Smooth(seed=1), toy.HANDLED),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Registered toys, each made when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            module, protocol = MODULES[name]
            generator = toy.make_generator(module(), name=f"{name}.pt")
            folder = tmp_path_factory.mktemp(name)
            made[name] = Candidate(toy.register_toy(generator, folder, protocol))
        return made[name]

    return get


def generator_of(candidate):
    return candidate.opened.procedure.generator


def digest_of(candidate):
    return candidate.opened.procedure.model.digest


@pytest.fixture
def attributed(models, tmp_path):
    def run(image, *names, **options):
        return attribute(
            image,
            [models(name) for name in names],
            key=toy.KEY,
            output=tmp_path / "attribution.json",
            cache=tmp_path / "cache",
            **options,
        )

    return run


def finding(done):
    return done.verified.attribution.finding


def test_an_own_output_is_attributed_to_its_model_in_any_order(models, attributed, tmp_path):
    names = ("first", "second", "encoded")
    image = toy.own_file(tmp_path, generator_of(models("second")))
    found = []
    for order in itertools.islice(itertools.permutations(names), 0, 6, 2):
        done = attributed(image, *order)
        found.append(finding(done))
        digests = [c.model.digest for c in done.verified.attribution.candidates]
        assert digests == sorted(digest_of(models(name)) for name in names)
    assert found[0].verdict == "attributed"
    assert found[0].reached == (digest_of(models("second")),)
    assert len(found[0].excluded) == 2
    assert found[0] == found[1] == found[2]
    for name in names:
        assert f"sha256:{digest_of(models(name))}" in found[0].sentence
    assert found[0].sentence.startswith("Attributed (3 models examined): a latent of the model")
    assert "models that are not listed were not examined" in found[0].sentence


def test_a_foreign_picture_is_by_none_of_these(models, attributed, tmp_path):
    done = attributed(toy.stranger(tmp_path), "first", "second")
    assert finding(done).verdict == "none-of-these"
    assert finding(done).reached == finding(done).inconclusive == ()
    assert len(finding(done).excluded) == 2
    # A candidate is what `prove` says of that model and picture, but for the hour and the name.
    candidate = next(
        c
        for c in done.verified.attribution.candidates
        if c.model.digest == digest_of(models("first"))
    )
    alone = toy.prove_toy(tmp_path / "stranger.png", models("first").opened, tmp_path)
    same = {"latents": alone.verified.exclusion.latents, "created_at": "2026-01-01T00:00:00Z"}
    expected = alone.verified.exclusion.model_copy(update=same)
    assert candidate.model_copy(update=same) == expected


def test_an_edited_own_output_is_attributed_through_its_edit(models, attributed, tmp_path):
    generator = generator_of(models("handled"))
    pixels = toy.own_pictures(generator, toy.drawn(generator, 1))[0]
    mirrored = toy.save_picture(tmp_path / "mirrored.png", pixels[:, ::-1])
    done = attributed(mirrored, "handled-other", "handled")
    assert finding(done).verdict == "attributed"
    assert finding(done).reached == (digest_of(models("handled")),)
    assert "whose output, mirrored, is the accused picture" in finding(done).sentence
    assert "unmodified or handled in one of the ways examined" in finding(done).sentence
    candidates = done.verified.attribution.candidates
    assert all(len(c.finding.families) == 1 + len(toy.HANDLED.edits) for c in candidates)
    for bundle, side in zip(done.verified.bundles, done.sidecars, strict=True):
        made = next(
            generator_of(models(name))
            for name in ("handled", "handled-other")
            if digest_of(models(name)) == bundle.exclusion.model.digest
        )
        replay_latents(bundle, image=mirrored, generator=made, sidecar=side)


def test_a_foreign_picture_is_by_none_however_handled(attributed, tmp_path):
    done = attributed(toy.stranger(tmp_path), "handled", "handled-other")
    assert finding(done).verdict == "none-of-these"
    assert "handled in any one of the ways examined" in done.verified.attribution.scope[2]


def test_a_search_narrowed_in_every_model_says_so_and_has_its_exit_code(attributed, tmp_path):
    only = ("unedited", "mirrored")
    done = attributed(toy.stranger(tmp_path), "handled", "handled-other", only=only)
    assert finding(done).verdict == "none-of-these"
    assert "in one of these ways (unmodified or mirrored), to which the search was" in (
        finding(done).sentence
    )
    candidates = done.verified.attribution.candidates
    assert all(c.narrowed == only and len(c.finding.families) == 2 for c in candidates)
    assert attribution_code(done.verified.attribution) == 12
    (line,) = [x for x in candidates_caveats(done.verified.bundles) if "narrowed" in x]
    assert line.endswith("than: unedited, mirrored")
    both = {"candidates": tuple(c.model_copy(update={"narrowed": None}) for c in candidates)}
    assert attribution_code(done.verified.attribution.model_copy(update=both)) == 0


def test_presets_with_other_families_are_not_compared(attributed, tmp_path):
    with pytest.raises(InputError, match="different families of handling"):
        attributed(toy.stranger(tmp_path), "handled", "second")


def test_one_function_under_two_weights_is_several(models, attributed, tmp_path):
    done = attributed(toy.own_file(tmp_path, generator_of(models("first"))), "permuted", "first")
    assert finding(done).verdict == "several"
    assert len(finding(done).reached) == 2
    assert finding(done).sentence.startswith("Several, which cannot be told apart (2 models")


@pytest.mark.parametrize("weak", ["broken", "detached"])
def test_a_broken_search_neither_attributes_nor_denies(models, attributed, tmp_path, weak):
    own = toy.own_file(tmp_path, generator_of(models("first")))
    done = attributed(own, "first", weak)
    assert finding(done).verdict == "inconclusive"
    assert finding(done).reached == (digest_of(models("first")),)
    assert finding(done).inconclusive == (digest_of(models(weak)),)
    assert "was not decided" in finding(done).sentence
    foreign = attributed(toy.stranger(tmp_path), "second", weak)
    assert finding(foreign).verdict == "inconclusive"
    assert len(finding(foreign).excluded) == 1


def test_what_was_interrupted_goes_on(attributed, tmp_path):
    image = toy.stranger(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        attributed(image, "first", "second", progress=toy.Interruption("searching", 2))
    assert not (tmp_path / "attribution.json").exists()
    notes = toy.Notes()
    done = attributed(image, "first", "second", resume=True, progress=notes)
    assert finding(done).verdict == "none-of-these"
    assert not list(tmp_path.glob(".*.state"))
    assert [note[:12] for note in notes.notes] == ["Model 1 of 2", "Model 2 of 2"]


def test_each_candidate_can_be_rendered_again(models, attributed, tmp_path):
    image = toy.stranger(tmp_path)
    done = attributed(image, "first", "second")
    for bundle, side in zip(done.verified.bundles, done.sidecars, strict=True):
        digest = bundle.exclusion.model.digest
        assert side == candidate_sidecar(done.path, digest)
        assert bundle.exclusion.latents.name == side.name
        generator = next(
            generator_of(models(name))
            for name in ("first", "second")
            if digest_of(models(name)) == digest
        )
        replay_latents(bundle, image=image, generator=generator, sidecar=side)
    assert verify_finding(done.path.read_bytes(), trust=toy.TRUST) == verify_attribution(
        done.path.read_bytes(), trust=toy.TRUST
    )


def test_what_cannot_be_compared_is_refused_before_any_search(models, attributed, tmp_path):
    image = toy.stranger(tmp_path)
    with pytest.raises(InputError, match="not a number of models"):
        attributed(image, "first")
    with pytest.raises(InputError, match="the same model twice"):
        attributed(image, "first", "second", "first")
    generators = {str(i): generator_of(models("first")) for i in range(65)}
    with pytest.raises(InputError, match="2 to 64"):
        check_models(generators)
    check_sizes([PRESETS["pristine-standard-v1"]] * 42)
    check_sizes([PRESETS["pristine-strict-v1"]] * 16)
    with pytest.raises(InputError, match="too many models"):
        check_sizes([PRESETS["pristine-strict-v1"]] * 17)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_sizes_are_estimated_from_above(models, attributed, tmp_path, suffix):
    image = toy.own_file(tmp_path, generator_of(models("first")), name=f"own.{suffix}")
    done = attributed(image, "first", "encoded")
    payload = json.loads(done.path.read_bytes())["dsseEnvelope"]["payload"]
    values = sum(base64.b64decode(payload).count(mark) for mark in (b",", b"[", b"{"))
    assert values <= values_of([toy.TINY, toy.ENCODED], [1, 1])


def test_as_many_models_fit_as_their_families_allow():
    quick, standard = PRESETS["handled-quick-v2"], PRESETS["handled-standard-v2"]
    check_sizes([quick] * 8)
    check_sizes([standard] * 9, [5] * 9)  # a file of another size has few
    with pytest.raises(InputError, match="too many models") as caught:
        check_sizes([standard] * 2)
    assert "Not even two" in caught.value.hint
    with pytest.raises(InputError, match="too many models") as caught:
        check_sizes([quick] * 20)
    assert "The first 8 can be compared at once" in caught.value.hint


def test_sizes_of_many_families_are_estimated_from_above(attributed, tmp_path):
    done = attributed(toy.stranger(tmp_path), "handled", "handled-other")
    payload = json.loads(done.path.read_bytes())["dsseEnvelope"]["payload"]
    values = sum(base64.b64decode(payload).count(mark) for mark in (b",", b"[", b"{"))
    families = 1 + len(toy.HANDLED.edits)
    assert values <= values_of([toy.HANDLED] * 2, [families] * 2)


def test_a_picture_that_changes_while_it_is_read(models, attributed, tmp_path, monkeypatch):
    from deniability.evidence import attribute as module

    image = toy.stranger(tmp_path)

    def changing(path, generator, **options):
        read = read_exhibit(path, generator, **options)
        toy.own_file(tmp_path, generator_of(models("first")), name="stranger.png")
        return read

    read_exhibit = module.read_exhibit
    monkeypatch.setattr(module, "read_exhibit", changing)
    with pytest.raises(CommitmentError, match="changed while it was read"):
        attributed(image, "first", "second")
