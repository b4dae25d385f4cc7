"""V1 and V2 of bundles with several families of handling: each is checked on its own."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import toy_evidence as toy
from safetensors.torch import load_file

from deniability.cli.answers import check_answer
from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence import mismatch
from deniability.evidence import prove as prove_module
from deniability.evidence.register import state_folder
from deniability.evidence.replay import replay_latents, replay_search, search
from deniability.evidence.restarts import RestartLog
from deniability.evidence.state import RunState
from deniability.inversion.lm import LevenbergMarquardt
from deniability.report.wording import numbers
from deniability.sandbox.interface import IsolationError
from deniability.sandbox.messages import Answer
from deniability.wire.numbers import decimal_string
from deniability.wire.restarts import Restarts
from deniability.wire.roles import restart_seed, searched_as

EDITS = toy.HANDLED.edits
MIRRORED, TONE = EDITS.index("mirrored"), EDITS.index("tone")


def v1(case):
    return replay_latents(case.verified, **case.arguments())


def v2(case, count=2):
    return replay_search(case.verified, count=count, **case.arguments())


def verdict(case):
    return case.verified.exclusion.finding.verdict


def proved(handled, folder, image, **options):
    generator, opened = handled
    return toy.case_of(toy.prove_toy(image, opened, folder, **options), image, generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("handled")


@pytest.fixture(scope="module")
def handled(folder, _presets_of_tests):
    torch.set_num_threads(1)
    generator = toy.make_generator(toy.Larger(), side=toy.Larger.SIDE)
    return generator, toy.register_toy(generator, folder, toy.HANDLED)


@pytest.fixture(scope="module")
def stranger(handled, folder):
    """An honest bundle that excludes a stranger; interrupted while it searched as mirrored."""
    image = toy.stranger(folder, side=toy.Larger.SIDE)
    with pytest.raises(KeyboardInterrupt):
        proved(handled, folder, image, progress=toy.Interruption("picture, mirrored", 4))
    state = state_folder(folder / f"{image.name}.bundle.json")
    with RunState(state, (state / "identity").read_text(), resume=True) as kept:
        logs = {name: RestartLog(kept, name).known for name in ("accused", "accused-tone")}
    notes = toy.Notes()
    case = proved(handled, folder, image, resume=True, progress=notes)
    return case, logs, notes


@pytest.fixture(scope="module")
def stranger_case(stranger):
    return stranger[0]


@pytest.fixture(scope="module")
def mirrored(handled, folder, stranger):
    """An honest bundle of a mirrored own output, whose controls are all cached."""
    del stranger
    generator, _ = handled
    own = toy.own_pictures(generator, toy.drawn(generator, 1))[0]
    image = toy.save_picture(folder / "mirrored.png", own[:, ::-1].copy())
    notes = toy.Notes()
    return proved(handled, folder, image, progress=notes), notes


@pytest.fixture(scope="module")
def mirrored_case(mirrored):
    return mirrored[0]


def changed(case, number, **update):
    """Return the bundle's further searches with one changed."""
    if "restarts" in update:
        update["restarts"] = Restarts(update["restarts"])
    searches = list(case.verified.exclusion.handled)
    searches[number] = searches[number].model_copy(update=update)
    return tuple(searches)


# Honest bundles


def test_a_search_that_was_interrupted_goes_on_with_its_family(stranger, handled):
    case, logs, notes = stranger
    exclusion = case.verified.exclusion
    assert exclusion.finding.verdict == "excluded"
    assert [family.edit for family in exclusion.finding.families] == [None, *EDITS]
    tensors = load_file(case.sidecar)
    for prefix, known in zip(("", f"handled.{TONE}."), logs.values(), strict=True):
        latents = tensors[f"{prefix}restarts"]
        assert len(known) == len(latents) == toy.HANDLED.searches
        for (_, index), restart in known.items():
            assert torch.equal(latents[index], restart.latent)
    assert tensors[f"handled.{TONE}.restarts"].shape[1] == handled[0].dimension + 3
    made = [note for note in notes.notes if "made now" in note]
    assert len(made) == len(EDITS) - MIRRORED - 1


def test_a_second_picture_reuses_the_controls_of_every_family(mirrored):
    _, notes = mirrored
    assert sum("reused" in note for note in notes.notes) == len(EDITS)
    assert not any("inverting controls" in phase for phase in notes.phases)


def test_honest_bundles_pass_v1(stranger_case, mirrored_case):
    for case, expected in ((stranger_case, "excluded"), (mirrored_case, "reached")):
        result = v1(case)
        assert result.finding.verdict == verdict(case) == expected
        assert result.controls == toy.HANDLED.controls * (1 + len(EDITS))
        assert result.largest_difference < 0.02
        assert "(6 families of handling)" in result.lines[0]
        check_answer(Answer(lines=(result.lines,), values=(result.to_json(),)),
                     case.verified.exclusion, None)  # fmt: skip
    found = mirrored_case.verified.exclusion.finding.reached
    assert (found.family, found.pixel_for_pixel) == (1 + MIRRORED, False)


@pytest.mark.usefixtures("stranger")
def test_an_own_output_is_reached_and_passes(handled, folder):
    generator, _ = handled
    case = proved(handled, folder, toy.own_file(folder, generator))
    assert case.verified.exclusion.finding.reached.family is None
    assert v1(case).finding.verdict == verdict(case) == "reached"


def test_what_comes_after_the_family_that_is_reached_is_not_searched(mirrored, stranger_case):
    case, notes = mirrored
    exclusion, tensors = case.verified.exclusion, load_file(case.sidecar)
    for number, (one, family) in enumerate(
        zip(exclusion.handled, exclusion.finding.families[1:], strict=True)
    ):
        ran = [r.stop != "notRun" for r in one.restarts]
        assert any(ran) is (number <= MIRRORED)
        assert len(tensors[f"handled.{number}.restarts"]) == sum(ran)
        assert len(tensors[f"handled.{number}.controls"]) == toy.HANDLED.controls
        assert (family.statistic is None) is (number > MIRRORED)
    searched = [phase for phase in notes.phases if phase.startswith("searching")]
    assert len(searched) == 2 + MIRRORED
    lines = [words for name, words in numbers(exclusion) if name == "family"]
    skipped = ["not searched, the picture is reached already" in words for words in lines]
    assert skipped == [number > 1 + MIRRORED for number in range(1 + len(EDITS))]
    assert all(
        all(r.stop != "notRun" for r in one.restarts)
        for one in stranger_case.verified.exclusion.handled
    )
    result = v2(case, count=2)
    assert [one.prover_residual is None for one in (result, *result.handled)] == skipped
    check_answer(
        Answer(lines=(v1(case).lines, result.lines), values=(v1(case).to_json(), result.to_json())),
        exclusion,
        2,
    )


def test_an_honest_bundle_passes_v2(stranger_case):
    exclusion = stranger_case.verified.exclusion
    first, second = v1(stranger_case), v2(stranger_case)
    families = (second, *second.handled)
    assert [one.family for one in families] == ["unedited", *EDITS]
    for one, claimed in zip(families, exclusion.finding.families, strict=True):
        assert (one.fresh, one.probed, one.extreme) == (2, 2, 0)
        assert one.restarts == 2 + toy.HANDLED.searches
        assert one.prover_residual == claimed.statistic
        assert one.ratio == pytest.approx(1, abs=0.3)
    assert "over 6 families of handling" in second.lines[0]
    assert len(second.lines) == 4
    answer = Answer(lines=(first.lines, second.lines), values=(first.to_json(), second.to_json()))
    check_answer(answer, exclusion, 2)
    for change in (
        lambda found: found.pop("handled"),
        lambda found: found["handled"].pop(),
        lambda found: found["handled"][0].update(extreme=1),
        lambda found: found["handled"][0].update(recovered=4),
        lambda found: found["handled"][0].update(proverResidual="1.00000e-01"),
    ):
        forged = second.to_json()
        change(forged)
        with pytest.raises(IsolationError, match="cannot be right"):
            check_answer(
                answer.model_copy(update={"values": (first.to_json(), forged)}), exclusion, 2
            )


def test_a_narrowed_search_is_checked_as_such(handled, folder, mirrored_case):
    image = folder / "narrowed.png"
    image.write_bytes(mirrored_case.image.read_bytes())
    narrowed = proved(handled, folder, image, only=("mirrored",))
    assert verdict(narrowed) == "reached"
    assert v1(narrowed).controls == toy.HANDLED.controls
    with pytest.raises(CommitmentError, match=r"accused\.kind of the bundle"):
        v1(replace(narrowed, verified=_as_if(narrowed, narrowed=("tone",))))
    with pytest.raises(CommitmentError, match="further families"):
        v1(replace(narrowed, verified=_as_if(narrowed, narrowed=("mirrored", "noisy"))))
    with pytest.raises(InputError, match="narrow a search to"):
        v1(replace(narrowed, verified=_as_if(narrowed, narrowed=("resized-bilinear",))))


def _as_if(case, **update):
    """Return a verified bundle that V0 would not have passed."""
    return replace(case.verified, exclusion=case.verified.exclusion.model_copy(update=update))


# Forged latents and residuals


@pytest.mark.parametrize("name", ["restarts", "controls"])
def test_changed_latents_of_a_family_are_refused_at_every_depth(stranger_case, tmp_path, name):
    tensors = load_file(stranger_case.sidecar)
    key = f"handled.{TONE}.{name}"
    latents = tensors[key].clone()
    latents[0, 4:] = -1.0  # parameters of the edit, not numbers of the latent
    tensors[key] = latents
    with pytest.raises(CommitmentError, match="not the one in the trace") as caught:
        v1(toy.resigned(stranger_case, tmp_path, tensors=tensors))
    assert caught.value.where.startswith(f"handled.{TONE}.{name}")
    one = stranger_case.verified.exclusion.handled[TONE]
    update = (
        {"restarts": toy.with_digests(one.restarts, latents)}
        if name == "restarts"
        else {"controls": one.controls.model_copy(
            update={"controls": toy.with_digests(one.controls.controls, latents)})}
    )  # fmt: skip
    forged = toy.resigned(
        stranger_case, tmp_path, tensors=tensors, handled=changed(stranger_case, TONE, **update)
    )
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("restarts", lambda t, k: {n: v for n, v in t.items() if n != k}),
        ("restarts", lambda t, k: t | {k: t[k][:, :4].clone()}),
        ("controls", lambda t, k: t | {k: t[k][:-1]}),
    ],
    ids=["none", "without-parameters", "a-row-less"],
)
def test_a_sidecar_without_a_family_s_latents_is_refused(stranger_case, tmp_path, name, change):
    tensors = change(load_file(stranger_case.sidecar), f"handled.{TONE}.{name}")
    with pytest.raises(CommitmentError, match="does not hold what the bundle describes"):
        v1(toy.resigned(stranger_case, tmp_path, tensors=tensors))


def test_shaded_residuals_of_a_family_are_refused(stranger_case, tmp_path):
    restarts = scaled(stranger_case.verified.exclusion.handled[TONE].restarts, 0.97)
    forged = toy.resigned(
        stranger_case, tmp_path, handled=changed(stranger_case, TONE, restarts=restarts)
    )
    assert verdict(forged) == "excluded"
    with pytest.raises(ReplayError, match="cannot be reproduced") as caught:
        v1(forged)
    assert caught.value.where.startswith(f"handled.{TONE}.restarts")


@pytest.mark.parametrize("fields", [("residual",), ("residual", "truth")])
def test_shaded_controls_of_a_family_are_refused(stranger_case, tmp_path, fields):
    number = EDITS.index("noisy")
    controls = stranger_case.verified.exclusion.handled[number].controls
    lower = tuple(
        c.model_copy(
            update={name: decimal_string(0.2 * float(getattr(c, name))) for name in fields}
        )
        for c in controls.controls
    )
    fewer = controls.model_copy(update={"controls": _counted(lower)})
    forged = toy.resigned(
        stranger_case, tmp_path, handled=changed(stranger_case, number, controls=fewer)
    )
    assert verdict(forged) == "excluded"
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)


def _counted(controls):
    """Say of every control that it took all restarts, or none too many."""
    limit = sorted(Fraction(c.truth) for c in controls)[len(controls) * 99 // 100 - 1]
    return tuple(
        c.model_copy(update={"best": c.restarts - 1})
        if Fraction(c.residual) <= limit
        else c.model_copy(update={"restarts": toy.HANDLED.restarts, "best": 0})
        for c in controls
    )


def scaled(records, factor):
    return tuple(
        r.model_copy(update={"residual": decimal_string(float(r.residual) * factor)})
        for r in records
    )


# Searches that were not honest


def test_a_sandbagged_search_of_one_family_is_exposed(mirrored_case, handled, tmp_path):
    """All families but one are searched honestly, and that one is what the picture is."""
    generator, opened = handled
    exclusion, procedure = mirrored_case.verified.exclusion, opened.procedure
    exhibit = prove_module.read_exhibit(mirrored_case.image, generator, protocol=toy.HANDLED)
    searches, tensors = list(exclusion.handled), load_file(mirrored_case.sidecar)
    for number in range(MIRRORED, len(EDITS)):  # those after it were not searched yet
        handling, observations = exhibit.families[1 + number]
        picture = searched_as(exhibit.file.sha256, handling.kind)
        seeds = [
            restart_seed(procedure.model, toy.HANDLED.digest, picture, index)
            for index in range(toy.HANDLED.searches)
        ]
        honest = procedure.engine(handling, Fraction(0))
        engine = replace(
            honest,
            solver=LevenbergMarquardt(0) if number == MIRRORED else honest.solver,
            restarts=toy.HANDLED.searches,
        )
        (trace,) = engine.run(observations, lambda _, index, seeds=seeds: seeds[index])
        restarts = tuple(
            prove_module._record(r, seed, generator.spec)
            for r, seed in zip(trace.restarts, seeds, strict=True)
        )
        searches[number] = searches[number].model_copy(update={"restarts": Restarts(restarts)})
        tensors[f"handled.{number}.restarts"] = torch.stack([r.latent for r in trace.restarts])
    forged = toy.resigned(mirrored_case, tmp_path, handled=tuple(searches), tensors=tensors)
    assert exclusion.finding.verdict == "reached"
    assert verdict(forged) == "excluded"  # a mirrored output, falsely denied
    v1(forged)
    with pytest.raises(ReplayError, match="clearly lower") as caught:
        v2(forged, count=2)
    assert caught.value.where == f"finding.families.{1 + MIRRORED}.statistic"


@pytest.mark.parametrize(
    ("residuals", "message", "where"),
    [
        (["1"] * 8, "fresh controls are harder", f"handled.{TONE}.controls"),
        (["1.00000e-01"] * 8, "too few fresh controls", f"finding.families.{1 + TONE}.recovered"),
    ],
)
def test_a_family_with_a_hidden_tail_is_exposed(
    stranger_case, monkeypatch, residuals, message, where
):
    def fresh(_case, family, *_):
        found = residuals if family.name == "tone" else ["0"] * 8
        return search._Fresh(found, [None] * 8, 0, 0)

    monkeypatch.setattr(search, "_fresh_controls", fresh)
    with pytest.raises(ReplayError, match=message) as caught:
        v2(stranger_case, count=8)
    assert caught.value.where == where


# Outputs whose rounding is the processor's own


@pytest.fixture(scope="module")
def by_processor(folder, _presets_of_tests):
    """A bundle about bfloat16, as another processor would make it."""
    generator = toy.make_generator(toy.Larger(), side=toy.Larger.SIDE)
    opened = toy.register_toy(generator, folder, toy.BFLOAT16)
    image = toy.stranger(folder, "other.png", side=toy.Larger.SIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mismatch, "_DTYPES", {})  # weights are rounded, and the sums are not
        return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)


def test_another_processor_s_half_precision_passes(by_processor):
    assert verdict(by_processor) == "excluded"
    result = v1(by_processor)
    assert result.finding.verdict == "excluded"
    claimed = by_processor.verified.exclusion.finding.families[1]
    assert result.finding.families[1].threshold != claimed.threshold
    v2(by_processor)


def test_truths_do_not_widen_their_own_tolerance(by_processor, tmp_path):
    controls = by_processor.verified.exclusion.handled[0].controls
    higher = tuple(
        c.model_copy(update={"truth": decimal_string(20 * float(c.truth))})
        for c in controls.controls
    )
    fewer = tuple(c.model_copy(update={"best": c.restarts - 1}) for c in higher)
    forged = toy.resigned(
        by_processor,
        tmp_path,
        handled=changed(by_processor, 0, controls=controls.model_copy(update={"controls": fewer})),
    )
    with pytest.raises(ReplayError, match="cannot be reproduced"):
        v1(forged)
