"""A generator of a mapping and a synthesis network, end to end: searched style first."""

import copy

import pytest
import torch
import toy_evidence as toy

from deniability.errors import CommitmentError
from deniability.evidence.register import open_registration
from deniability.evidence.replay.latents import replay_latents
from deniability.evidence.replay.search import replay_search


@pytest.fixture(scope="module")
def styled(tmp_path_factory):
    generator = toy.make_generator(toy.Styled())
    folder = tmp_path_factory.mktemp("styled")
    return generator, toy.register_toy(generator, folder, toy.TWO_STAGES), folder


@pytest.fixture(scope="module")
def own(styled, tmp_path_factory):
    generator, opened, _ = styled
    folder = tmp_path_factory.mktemp("own")
    image = toy.own_file(folder, generator)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)


@pytest.fixture(scope="module")
def denied(styled, tmp_path_factory):
    generator, opened, _ = styled
    folder = tmp_path_factory.mktemp("denied")
    image = toy.stranger(folder)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)


def starts_of(exclusion):
    traces = (exclusion.restarts, *(one.restarts for one in exclusion.handled))
    return {record.start for trace in traces for record in trace}


def test_no_encoder_is_trained_and_every_start_says_how_it_was_found(styled, own, denied):
    registration = styled[1].verified.registration
    assert (registration.stages, registration.encoder) == ("mapping-synthesis", None)
    for case in (own, denied):
        exclusion = case.verified.exclusion
        assert (exclusion.stages, exclusion.encoder) == ("mapping-synthesis", None)
        assert starts_of(exclusion) == {"staged"}


def test_an_own_output_is_reached_and_a_stranger_is_not(own, denied):
    assert own.verified.exclusion.finding.verdict == "reached"
    assert own.verified.exclusion.finding.reached.pixel_for_pixel
    assert denied.verified.exclusion.finding.verdict == "excluded"
    for case in (own, denied):
        replay_latents(case.verified, **case.arguments())
        replay_search(case.verified, **case.arguments(), count=2)


def test_an_own_output_that_was_edited_is_reached_through_the_edit(styled, tmp_path):
    generator, opened, _ = styled
    latents = toy.drawn(generator, 3)[2:]
    image = toy.save_picture(tmp_path / "own.png", toy.own_pictures(generator, latents)[0, :, ::-1])
    found = toy.finding(toy.prove_toy(image, opened, tmp_path))
    assert found.verdict == "reached"
    assert found.families[found.reached.family].edit == "mirrored"


@pytest.mark.parametrize(
    "changes", [{"stages": None}, {"encoder": "0" * 64}, {"protocol": toy.TINY}]
)
def test_what_a_bundle_says_of_the_way_to_search_is_held_to_it(denied, tmp_path, changes):
    if "protocol" in changes:
        changes["protocol_digest"] = toy.TINY.digest
    with pytest.raises(CommitmentError, match=r"stages|encoder|start|protocol|count"):
        toy.resigned(denied, tmp_path, **changes)


def test_another_form_of_the_model_must_have_its_stages(styled):
    generator, _, folder = styled
    flat = copy.copy(generator)
    flat.module = torch.nn.Sequential(generator.module)
    with pytest.raises(CommitmentError, match="with stages"):
        open_registration(folder / "registration.json", flat, trust=toy.TRUST)


def test_older_presets_search_it_as_before(styled, tmp_path):
    generator, _, _ = styled
    registration = toy.register_toy(generator, tmp_path, toy.TINY).verified.registration
    assert registration.stages is None
