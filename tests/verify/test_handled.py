"""Families of handling: what a dishonest signer does to them, in a bundle signed again."""

import importlib.util
from pathlib import Path

import pytest
from bundle_samples import (
    KEY,
    KIND,
    MODEL,
    PICTURE,
    QUICK,
    check,
    expect,
    refusal,
    sample_controls,
    sign,
    statement,
    trace_root,
)
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from handled_samples import (
    BELOW_MARGIN,
    EDITS,
    FAR,
    NOISE,
    PRESET,
    controls_of,
    handled,
    kinds,
    mended,
    signed,
)
from test_bundle_fields import REFUSED, leaves, listed, others, pattern

from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError, StatementError, StatisticsError
from deniability.wire.edits import WORDS
from deniability.wire.protocol import PRESETS
from deniability.wire.roles import restart_seed

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples"
_SPEC = importlib.util.spec_from_file_location(
    "verify_without_deniability", EXAMPLE / "verify_without_deniability.py"
)
independent = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(independent)


@pytest.fixture(autouse=True)
def _preset(monkeypatch):
    monkeypatch.setitem(PRESETS, PRESET.name, PRESET)
    monkeypatch.setitem(independent.PRESETS, PRESET.name, PRESET.digest)


def by_the_example(raw):
    """Return the stage at which the verifier without the package refuses; None if it accepts."""
    public = load_pem_public_key(KEY.public.pem)
    try:
        independent.verify(raw, {independent.keyid(public): public})
    except independent.RefusedError as refused:
        return refused.stage
    return None


def refused(raw, kind, words):
    """Check that both verifiers refuse at the same stage, and ours names the field."""
    error = refusal(raw)
    expect(error, kind, words)
    assert by_the_example(raw) == error.stage


def holds(raw):
    assert by_the_example(raw) is None
    return check(raw).exclusion


# --- what holds


def test_a_picture_far_from_every_family_is_excluded():
    exclusion = holds(sign(handled()))
    assert exclusion.finding.verdict == "excluded"
    edits = [family.edit for family in exclusion.finding.families]
    assert edits == [None, "mirrored", "noisy", "jpeg-420-70-84"]
    assert all(len(one.restarts) == 14 for one in (exclusion, *exclusion.handled))
    for name in edits[1:]:
        assert WORDS[name] in exclusion.finding.sentence
        assert WORDS[name] in exclusion.scope[0]
    assert "for each of these ways; outputs handled more strongly" in exclusion.finding.sentence


def test_a_narrowed_search_says_what_it_examined_and_no_more():
    exclusion = holds(sign(handled(narrowed=("noisy", "unedited"))))
    assert exclusion.narrowed == ("noisy", "unedited")
    assert [family.edit for family in exclusion.finding.families] == [None, "noisy"]
    assert WORDS["mirrored"] not in exclusion.finding.sentence
    alone = holds(sign(handled(narrowed=("noisy",))))
    assert alone.handled is None
    assert alone.accused.kind.edit == "noisy"
    assert "an unmodified output" not in alone.finding.sentence
    plain = holds(sign(handled(narrowed=("unedited",))))
    assert plain.finding.sentence.startswith("Excluded: the accused picture is not an unmodified")


def test_a_file_of_another_size():
    exclusion = holds(sign(handled(size=(7, 7))))
    assert [family.edit for family in exclusion.finding.families] == ["resized-bilinear", "cut-out"]
    assert exclusion.accused.kind.file_size == (7, 7)
    small = holds(sign(handled(size=(6, 8))))
    assert [family.edit for family in small.finding.families] == ["resized-bilinear"]


@pytest.mark.parametrize("edit", [None, "mirrored", "noisy", "jpeg-420-70-84"])
def test_one_family_that_reaches_reaches(edit):
    raw = sign(handled(residuals=((edit, (FAR, "0")),)))
    finding = holds(raw).finding
    number = [None, "mirrored", "noisy", "jpeg-420-70-84"].index(edit)
    assert (finding.verdict, finding.reached.restart) == ("reached", 1)
    assert finding.reached.family == (number or None)
    assert not finding.reached.pixel_for_pixel
    assert (edit is None) == ("output is the accused picture" in finding.sentence)


def test_what_is_within_the_noise_of_an_edit_alone_is_no_re_generation():
    finding = holds(sign(handled(residuals=(("noisy", (NOISE,)),)))).finding
    assert finding.verdict == "inconclusive"
    assert finding.reached is None
    assert "noisy: " in finding.sentence


# --- families


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_family_dropped_with_its_finding(number):
    raw = signed(lambda p: p["handled"].pop(number), mend=True)
    refused(raw, CommitmentError, "handled (count)")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_family_dropped_without_its_finding(number):
    raw = signed(lambda p: p["handled"].pop(number))
    refused(raw, CommitmentError, "handled (count)")


def test_all_families_dropped():
    raw = signed(lambda p: p.pop("handled"), mend=True)
    refused(raw, CommitmentError, "handled (count)")
    refused(signed(lambda p: p["handled"].clear()), StatementError, "handled")


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_finding_dropped_without_its_family(number):
    raw = signed(lambda p: p["finding"]["families"].pop(number))
    error = refusal(raw)
    assert isinstance(error, CommitmentError | StatisticsError)
    assert "finding.families" in str(error) or "restarts" in str(error)
    assert by_the_example(raw) in {"commitment", "statistics"}


def test_a_family_twice():
    raw = signed(lambda p: p["handled"].append(p["handled"][2]), mend=True)
    refused(raw, CommitmentError, "handled (count)")
    raw = signed(lambda p: p["handled"].__setitem__(1, p["handled"][0]), mend=True)
    refused(raw, CommitmentError, "handled.1.controls.kind")


@pytest.mark.parametrize("mend", [True, False])
def test_families_in_another_order(mend):
    raw = signed(lambda p: p["handled"].reverse(), mend=mend)
    refused(raw, CommitmentError, "handled.0.controls.kind")


def test_a_family_of_the_unedited():
    def change(predicate):
        names = ("controls", "restarts", "traceRoot")
        predicate["handled"][0] = {name: predicate[name] for name in names}

    refused(signed(change, mend=True), CommitmentError, "handled.0.controls.kind")


def test_an_edit_in_place_of_the_unedited():
    def change(predicate):
        first = predicate["handled"].pop(0)
        predicate |= first
        predicate["accused"]["kind"] = first["controls"]["kind"]

    refused(signed(change, mend=True), CommitmentError, "handled (count)")


# --- controls


def test_controls_of_another_kind():
    def change(predicate):
        predicate["handled"][0]["controls"] = sample_controls(PRESET, KIND).to_wire()

    refused(signed(change, mend=True), CommitmentError, "handled.0.controls.kind")

    def relabelled(predicate):
        noisy = controls_of(kinds()[2]).to_wire() | {"kind": kinds()[1].to_wire()}
        predicate["handled"][0]["controls"] = noisy

    refused(signed(relabelled, mend=True), CommitmentError, "handled.0.controls.controls.0.seed")


def test_controls_of_the_unedited_with_the_edit_written_in():
    def change(predicate):
        own = sample_controls(PRESET, KIND).to_wire()
        predicate["handled"][2]["controls"] = own | {"kind": kinds()[3].to_wire()}

    refused(signed(change, mend=True), CommitmentError, "handled.2.controls.controls.0.seed")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["controls"].pop(), "handled.1.controls (count)"),
        (lambda c: c["controls"].reverse(), "handled.1.controls.controls.0.index"),
        (lambda c: c["controls"][3].update(seed="0" * 64), "handled.1.controls.controls.3.seed"),
        (lambda c: c["controls"][3].update(restarts=14), "handled.1.controls.controls.3.restarts"),
        (lambda c: c["mismatches"].pop(), "handled.1.controls.mismatches"),
        (lambda c: c["mismatches"][3].update(seed="0" * 64), "controls.mismatches.3.seed"),
        (lambda c: c.update(solver="adam"), "handled.1.controls.solver"),
        (lambda c: c.update(engine="2"), "handled.1.controls.engine"),
    ],
)
def test_controls_of_a_further_family_are_checked_as_the_first(change, words):
    raw = signed(lambda p: change(p["handled"][1]["controls"]), mend=True)
    refused(raw, CommitmentError, words)


def test_a_control_whose_search_went_on_behind_the_threshold_of_its_edit():
    def change(predicate):
        predicate["handled"][1]["controls"]["controls"][0] |= {"restarts": 12, "best": 3}

    refused(signed(change), CommitmentError, "handled.1.controls.controls.0.best")


# --- restarts


@pytest.mark.parametrize("other", [1, 2, None])
def test_restarts_of_another_family(other):
    def change(predicate):
        source = predicate if other is None else predicate["handled"][other]
        predicate["handled"][0]["restarts"] = source["restarts"]

    refused(signed(change, mend=True), CommitmentError, "handled.0.restarts.0.seed")


def test_restarts_of_an_edit_for_the_unedited():
    def change(predicate):
        predicate["restarts"] = predicate["handled"][0]["restarts"]

    refused(signed(change, mend=True), CommitmentError, "restarts.0.seed")


def test_seeds_of_the_unedited_for_an_edit():
    def change(predicate):
        for i, restart in enumerate(predicate["handled"][1]["restarts"]):
            restart["seed"] = restart_seed(MODEL, PRESET.digest, PICTURE.sha256, i).hex()

    refused(signed(change, mend=True), CommitmentError, "handled.1.restarts.0.seed")


@pytest.mark.parametrize("number", [0, 2])
def test_the_root_of_a_further_family(number):
    raw = signed(lambda p: p["handled"][number].update(traceRoot="0" * 64))
    refused(raw, CommitmentError, f"handled.{number}.traceRoot")

    def edited(predicate):
        predicate["handled"][number]["restarts"][3]["iterations"] += 1

    refused(signed(edited), CommitmentError, f"handled.{number}.traceRoot")

    def moved(predicate):
        predicate["handled"][number]["traceRoot"] = predicate["traceRoot"]

    refused(signed(moved), CommitmentError, f"handled.{number}.traceRoot")


@pytest.mark.parametrize("count", [0, 12, 13, 15])
@pytest.mark.parametrize("where", ["restarts", "handled.0.restarts"])
def test_another_number_of_restarts_than_the_accused_gets(where, count):
    def change(predicate):
        one = predicate if where == "restarts" else predicate["handled"][0]
        one["restarts"] = (one["restarts"] * 2)[:count]

    content = handled()
    change(content["predicate"])
    for one in (content["predicate"], *content["predicate"]["handled"]):
        if one["restarts"]:
            one["traceRoot"] = trace_root(one["restarts"])
    refused(sign(content), CommitmentError, f"{where} (count)")


def test_restarts_left_out_though_none_reached():
    def change(predicate):
        for restart in predicate["handled"][0]["restarts"][6:]:
            restart |= {"stop": "notRun", "iterations": 0}
            for name in ("residual", "distance", "latent"):
                restart.pop(name)

    refused(signed(change, mend=True), CommitmentError, "handled.0.restarts.6.stop")


def not_run(predicate, *numbers, first=0):
    searches = [predicate, *predicate["handled"]]
    for number in numbers:
        for restart in searches[number]["restarts"][first:]:
            restart |= {"stop": "notRun", "iterations": 0}
            for name in ("residual", "distance", "latent"):
                restart.pop(name, None)


@pytest.mark.parametrize("edit", [None, "mirrored", "noisy"])
def test_nothing_has_to_be_searched_once_a_family_has_reached(edit):
    reached = [None, "mirrored", "noisy"].index(edit)
    later = range(reached + 1, 4)
    residuals = ((edit, (FAR, "0")),)
    exclusion = holds(signed(lambda p: not_run(p, *later), mend=True, residuals=residuals))
    assert (exclusion.finding.verdict, exclusion.finding.reached.family or 0) == (
        "reached",
        reached,
    )
    for number in later:
        assert exclusion.finding.families[number].statistic is None
        alone = holds(signed(lambda p, n=number: not_run(p, n), mend=True, residuals=residuals))
        assert alone.finding.verdict == "reached"


@pytest.mark.parametrize("number", [0, 1])
def test_a_family_before_the_one_that_reached_has_to_be_searched(number):
    residuals = (("noisy", (FAR, "0")),)
    raw = signed(lambda p: not_run(p, number), mend=True, residuals=residuals)
    prefix = f"handled.{number - 1}." if number else ""
    refused(raw, CommitmentError, f"{prefix}restarts.0.stop")


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_family_that_is_not_searched_though_none_reached(number):
    raw = signed(lambda p: not_run(p, number), mend=True)
    prefix = f"handled.{number - 1}." if number else ""
    refused(raw, CommitmentError, f"{prefix}restarts.0.stop")


def test_a_family_searched_by_half_after_one_that_reached():
    raw = signed(lambda p: not_run(p, 2, first=3), mend=True, residuals=((None, (FAR, "0")),))
    refused(raw, CommitmentError, "handled.1.restarts.3.stop")


def test_a_family_that_is_not_searched_since_another_is_said_to_have_reached():
    content = handled()
    not_run(content["predicate"], 2)
    mended(content)
    content["predicate"]["finding"]["reached"] = {"restart": 0, "pixelForPixel": False}
    refused(sign(content), StatisticsError, "finding")


# --- finding


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_threshold_edited(number):
    def lower(predicate):
        predicate["finding"]["families"][number]["threshold"] = "9.99999e-10"

    refused(signed(lower), StatisticsError, f"finding.families.{number}.threshold")
    searched = "restarts" if number == 0 else f"handled.{number - 1}.restarts"

    def higher(predicate):
        predicate["finding"]["families"][number]["threshold"] = FAR

    refused(signed(higher), CommitmentError, f"{searched}.0.stop")


@pytest.mark.parametrize("name", ["edit", "family", "k", "recovered", "floor", "margin"])
def test_a_number_of_a_further_family_edited(name):
    others_ = {"edit": "tone", "family": "jpeg", "k": 3, "recovered": 99}

    def change(predicate):
        predicate["finding"]["families"][2][name] = others_.get(name, "1.00000e-04")

    refused(signed(change), StatisticsError, f"finding.families.2.{name}")


def test_an_edit_left_out_of_its_finding():
    raw = signed(lambda p: p["finding"]["families"][1].pop("edit"))
    refused(raw, StatisticsError, "finding.families.1.edit")


@pytest.mark.parametrize("edit", [None, "mirrored", "noisy", "jpeg-420-70-84"])
def test_excluded_though_the_gate_of_one_family_fails(edit):
    limit = {"noisy": BELOW_MARGIN}.get(edit, "7.99999e-05")
    content = handled(residuals=((edit, (limit,)),))
    assert holds(sign(content)).finding.verdict == "inconclusive"
    claimed = handled()["predicate"]["finding"]
    content["predicate"]["finding"] = claimed
    refused(sign(content), StatisticsError, "finding.families")
    content = handled(residuals=((edit, (limit,)),))
    content["predicate"]["finding"] |= {
        name: claimed[name] for name in ("verdict", "tier", "sentence")
    }
    refused(sign(content), StatisticsError, "finding.")


def test_excluded_though_the_controls_of_one_family_were_not_recovered():
    def change(predicate):
        for control in predicate["handled"][0]["controls"]["controls"]:
            control |= {"residual": "1.00000e-06", "restarts": 12, "best": 0}
            control |= {"latent": sha256_hex(b"some")}

    content = handled()
    change(content["predicate"])
    mended(content)
    assert content["predicate"]["finding"]["verdict"] == "inconclusive"
    assert holds(sign(content)).finding.verdict == "inconclusive"
    content["predicate"]["finding"] = handled()["predicate"]["finding"]
    refused(sign(content), StatisticsError, "finding.families.1")


def test_a_caution_forbids_it_in_every_family():
    content = handled()
    content["predicate"]["accused"]["cautions"] = ["something"]
    refused(sign(content), StatisticsError, "finding.families.0.gates.4")
    finding = holds(sign(mended(content))).finding
    assert finding.verdict == "inconclusive"
    assert [f.gates[4].passed for f in finding.families] == [False] * 4


@pytest.mark.parametrize("family", [2, 3, 4, 63, None])
def test_reached_in_another_family(family):
    content = handled(residuals=(("mirrored", (FAR, "0")),))
    reached = content["predicate"]["finding"]["reached"]
    assert reached.pop("family") == 1
    reached |= {} if family is None else {"family": family}
    refused(sign(content), StatisticsError, "finding.reached.family")


def test_reached_in_the_first_of_two():
    both = (("mirrored", (FAR, "0")), ("noisy", ("0",)))
    content = handled(residuals=both)
    assert content["predicate"]["finding"]["reached"]["family"] == 1
    content["predicate"]["finding"]["reached"] |= {"family": 2, "restart": 0}
    refused(sign(content), StatisticsError, "finding.reached")


@pytest.mark.parametrize("family", [0, 64])
def test_reached_in_a_family_that_cannot_be(family):
    content = handled(residuals=(("mirrored", (FAR, "0")),))
    content["predicate"]["finding"]["reached"]["family"] = family
    refused(sign(content), StatementError, "family")


def test_pixel_for_pixel_through_an_edit():
    content = handled(residuals=(("mirrored", (FAR, "0")),))
    content["predicate"]["finding"]["reached"]["pixelForPixel"] = True
    refused(sign(content), StatisticsError, "finding.reached.pixelForPixel")


def test_the_scope_of_unedited_outputs():
    raw = signed(lambda p: p.update(scope=statement()["predicate"]["scope"]))
    refused(raw, CommitmentError, "scope")


# --- narrowed


@pytest.mark.parametrize(
    ("narrowed", "words"),
    [
        (["unedited"], "handled (count)"),
        (["unedited", "mirrored"], "handled (count)"),
        (["mirrored", "noisy", "jpeg-420-70-84"], "handled (count)"),
        (["unedited", "noisy", "noisy", "mirrored"], "narrowed (names)"),
        (["unedited", "tone"], "narrowed"),
        (["unedited", "mirrored", "noisy", "jpeg-420-70-84", "framed"], "narrowed"),
    ],
)
def test_narrowed_written_to_a_search_that_was_not(narrowed, words):
    refused(signed(lambda p: p.update(narrowed=narrowed)), CommitmentError, words)


def test_narrowed_left_out_or_widened():
    for change in (
        lambda p: p.pop("narrowed"),
        lambda p: p["narrowed"].append("mirrored"),
    ):
        raw = signed(change, narrowed=("unedited", "noisy"))
        refused(raw, CommitmentError, "handled (count)")
    raw = signed(
        lambda p: p.update(narrowed=["unedited", "mirrored"]), narrowed=("unedited", "noisy")
    )
    refused(raw, CommitmentError, "handled.0.controls.kind")


def test_narrowed_to_what_the_file_cannot_be():
    raw = signed(lambda p: p.update(narrowed=["cut-out"]), narrowed=("unedited",))
    refused(raw, CommitmentError, "narrowed")


@pytest.mark.parametrize("narrowed", [["blurred"], [], ["Noisy"], "noisy", [None]])
def test_narrowed_to_what_no_family_is_called(narrowed):
    refused(signed(lambda p: p.update(narrowed=narrowed)), StatementError, "narrowed")


# --- size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["accused"].update(width=8), "accused.kind (size)"),
        (lambda p: p["accused"].update(width=6), "accused.kind (size)"),
        (lambda p: p["generator"].update(height=9), "accused.kind (model)"),
    ],
)
def test_a_size_that_is_not_the_files(change, words):
    refused(signed(change, size=(7, 7)), CommitmentError, words)


def test_a_kind_of_another_size_than_the_file():
    def change(predicate):
        for one in (predicate, *predicate["handled"]):
            one["controls"]["kind"]["fileHeight"] = 6
        predicate["accused"]["kind"]["fileHeight"] = 6

    refused(signed(change, size=(7, 7)), CommitmentError, "accused.kind (size)")

    def all_of_it(predicate):
        change(predicate)
        predicate["accused"]["height"] = 6

    raw = signed(all_of_it, mend=True, size=(7, 7))
    refused(raw, CommitmentError, "handled (count)")  # less than four fifths: not cut out of it


@pytest.mark.parametrize(
    "change",
    [
        lambda k: k.update(fileHeight=8, fileWidth=8),
        lambda k: k.pop("fileHeight"),
        lambda k: k.update(edit="noisy"),
        lambda k: k.pop("edit"),
        lambda k: k.update(edit="resized-nearest "),
        lambda k: k.update(fileWidth=0),
    ],
)
def test_a_kind_that_is_none(change):
    raw = signed(lambda p: change(p["accused"]["kind"]), size=(7, 7))
    refused(raw, StatementError, "accused.kind")


# --- presets without edits


def test_pristine_presets_have_no_families():
    def handled_too(predicate):
        predicate["handled"] = [handled()["predicate"]["handled"][0]]

    def edited(predicate):
        predicate["accused"]["kind"]["edit"] = predicate["controls"]["kind"]["edit"] = "mirrored"

    for change, words in (
        (handled_too, "handled (count)"),
        (lambda p: p.update(narrowed=["unedited"]), "narrowed"),
        (lambda p: p.update(narrowed=["mirrored"]), "narrowed"),
        (edited, "accused.kind"),
    ):
        content = statement()
        change(content["predicate"])
        refused(sign(content), CommitmentError, words)


def test_the_edits_of_a_preset_are_its_own():
    for change in (
        lambda p: p["protocol"].pop("edits"),
        lambda p: p["protocol"]["edits"].pop(),
        lambda p: p["protocol"]["edits"].reverse(),
        lambda p: p["protocol"].update(accusedRestarts=12),
        lambda p: p["protocol"].pop("accusedRestarts"),
    ):
        refused(signed(change), CommitmentError, "protocol")
    for change in (
        lambda p: p["protocol"].update(accusedRestarts=11),
        lambda p: p["protocol"]["edits"].append("noisy"),
        lambda p: p["protocol"]["edits"].clear(),
    ):
        refused(signed(change), StatementError, "protocol")
    content = statement()
    content["predicate"]["protocol"]["edits"] = list(EDITS)
    refused(sign(content), CommitmentError, "protocol")
    assert PRESETS[QUICK.name].edits is None


# --- every field


def holder(predicate, path):
    for step in path[:-1]:
        predicate = predicate[step]
    return predicate


def tried():
    """Paths into one further family and its finding."""
    predicate = handled()["predicate"]
    family = {"handled": [{}, predicate["handled"][1]]}
    paths = [path for path in leaves(family) if path[:2] == ("handled", 1)]
    few = [path for path in paths if not any(step in range(4, 90) for step in path)]
    finding = list(leaves(predicate["finding"]["families"][2]))
    return [*few, *(("finding", "families", 2, *path) for path in finding)]


def altered(path, value):
    content = handled()
    predicate = content["predicate"]
    if value is None:
        del holder(predicate, path)[path[-1]]
    else:
        holder(predicate, path)[path[-1]] = value
    family = predicate["handled"][1]
    if path[-1] != "traceRoot" and family.get("restarts"):
        family["traceRoot"] = trace_root(family["restarts"])
    return sign(content)


def test_what_can_be_altered_unnoticed_is_what_the_specification_lists():
    accepted = set()
    for path in tried():
        value = holder(handled()["predicate"], path)[path[-1]]
        if isinstance(value, dict | list):
            continue
        for other in others(value):
            if other == value:
                continue
            raw = altered(path, other)
            error = refusal(raw)
            assert error is None or isinstance(error, REFUSED), (path, other, error)
            if error is None:
                accepted.add(pattern(path))
    assert accepted == listed("Carried in handled families, not checked at V0")


def test_nothing_can_be_left_out_unnoticed():
    for path in tried():
        error = refusal(altered(path, None))
        assert isinstance(error, REFUSED), (path, error)
