"""Seeds, orders, counts and digests that do not follow, signed by the rightful signer."""

import pytest
from bundle_samples import (
    KIND,
    MISSING,
    MODEL,
    PICTURE,
    QUICK,
    attacked,
    check,
    expect,
    recommit,
    refusal,
    sample_controls,
    sign,
    statement,
    trace_root,
)

from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError, StatementError, StatisticsError
from deniability.stats.sentence import scope_lines
from deniability.wire.exclusion import EXCLUSION_TYPE
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import PRESETS
from deniability.wire.roles import control_restart_seed, control_seed, restart_seed

STANDARD = PRESETS["pristine-standard-v1"]
OTHER = sha256_hex(b"other")


def control(predicate, index=0):
    return predicate["controls"]["controls"][index]


# --- restarts


def test_a_dropped_restart():
    expect(attacked(lambda p: p["restarts"].pop(3)), CommitmentError, "restarts (count)")


def test_a_restart_twice_in_place_of_another():
    def change(predicate):
        predicate["restarts"][4] = predicate["restarts"][3]

    expect(attacked(change), CommitmentError, "restarts.4.index")


def test_restarts_in_another_order():
    def change(predicate):
        predicate["restarts"][3:5] = predicate["restarts"][4:2:-1]

    expect(attacked(change), CommitmentError, "restarts.3.index")


@pytest.mark.parametrize(
    "seed",
    [
        restart_seed(MODEL, QUICK.digest, PICTURE.sha256, 1).hex(),
        restart_seed(MODEL, QUICK.digest, OTHER, 0).hex(),
        restart_seed(MODEL, STANDARD.digest, PICTURE.sha256, 0).hex(),
        control_restart_seed(MODEL, QUICK.digest, KIND.digest(), 0).hex(),
        control_seed(MODEL, QUICK.digest, KIND.digest(), 0).hex(),
        "0" * 64,
    ],
)
def test_a_chosen_seed(seed):
    expect(
        attacked(lambda p: p["restarts"][0].update(seed=seed)), CommitmentError, "restarts.0.seed"
    )
    expect(attacked(lambda p: control(p, 1).update(seed=seed)), CommitmentError, "controls.1.seed")
    expect(
        attacked(lambda p: p["controls"]["mismatches"][2].update(seed=seed)),
        CommitmentError,
        "controls.mismatches.2.seed",
    )


def test_restarts_run_after_one_that_reached():
    def change(predicate):
        predicate["restarts"][5] = statement()["predicate"]["restarts"][5]

    expect(attacked(change, "reached"), CommitmentError, "restarts.5.stop (after a reached one)")


def test_restarts_left_out_though_none_reached():
    def change(predicate):
        for restart in predicate["restarts"][6:]:
            restart |= {"stop": "notRun", "iterations": 0}
            for name in ("residual", "distance", "latent"):
                restart.pop(name)

    expect(attacked(change), CommitmentError, "restarts.6.stop")


@pytest.mark.parametrize("stop", ["stalled", "exhausted", "nonFinite"])
def test_a_restart_that_reached_under_another_name(stop):
    def change(predicate):
        predicate["restarts"][1]["stop"] = stop

    expect(attacked(change, "reached"), CommitmentError, "restarts.1")


def test_reached_without_the_residual():
    def change(predicate):
        predicate["restarts"][2]["stop"] = "reached"

    expect(attacked(change), CommitmentError, "restarts.2.stop")


def test_a_restart_without_a_finite_residual_forbids_excluded():
    content = statement()
    restart = content["predicate"]["restarts"][2]
    restart["stop"] = "nonFinite"
    restart.pop("residual")
    restart.pop("distance")
    finding = content["predicate"]["finding"]
    content["predicate"]["traceRoot"] = trace_root(content["predicate"]["restarts"])
    expect(refusal(sign(content)), StatisticsError, "finding.families.0.gates.3")
    recommit(content)
    assert content["predicate"]["finding"] != finding
    assert check(sign(content)).exclusion.finding.verdict == "inconclusive"


@pytest.mark.parametrize("name", ["residual", "distance", "latent"])
def test_a_restart_that_ran_without_its_outcome(name):
    expect(attacked(lambda p: p["restarts"][2].pop(name)), CommitmentError, f"restarts.2.{name}")


@pytest.mark.parametrize("name", ["residual", "distance", "latent"])
def test_a_restart_that_did_not_run_with_an_outcome(name):
    def change(predicate):
        predicate["restarts"][7][name] = statement()["predicate"]["restarts"][7][name]

    expect(attacked(change, "reached"), CommitmentError, f"restarts.7.{name}")


def test_a_root_of_other_restarts():
    content = statement()
    content["predicate"]["restarts"][0]["iterations"] += 1
    expect(refusal(sign(content)), CommitmentError, "field traceRoot")
    content = statement()
    content["predicate"]["traceRoot"] = statement("reached")["predicate"]["traceRoot"]
    expect(refusal(sign(content)), CommitmentError, "field traceRoot")


# --- controls


def test_a_dropped_control():
    expect(
        attacked(lambda p: p["controls"]["controls"].pop(MISSING)),
        CommitmentError,
        "controls (count)",
    )


def test_the_hardest_control_replaced_by_an_easy_one():
    def change(predicate):
        predicate["controls"]["controls"][MISSING] = control(predicate, 50)

    expect(attacked(change), CommitmentError, f"controls.{MISSING}.index")


@pytest.mark.parametrize("count", [0, QUICK.restarts + 1])
def test_a_control_with_an_impossible_number_of_restarts(count):
    expect(
        attacked(lambda p: control(p).update(restarts=count)),
        CommitmentError,
        "controls.0.restarts",
    )


def test_a_best_restart_that_was_not_run():
    expect(attacked(lambda p: control(p, 50).update(best=1)), CommitmentError, "controls.50.best")


@pytest.mark.parametrize("name", ["best", "latent"])
def test_a_control_with_a_residual_but_nothing_that_gives_it(name):
    expect(attacked(lambda p: control(p).pop(name)), CommitmentError, f"controls.0.{name}")
    expect(
        attacked(lambda p: control(p, MISSING).update({name: control(p, 50)[name]})),
        CommitmentError,
        f"controls.{MISSING}.{name}",
    )


def test_controls_of_another_engine_or_device():
    expect(attacked(lambda p: p["controls"].update(engine="2")), CommitmentError, "controls.engine")
    expect(
        attacked(lambda p: p["controls"].update(deviceClass="tpu")),
        StatementError,
        "controls.deviceClass",
    )
    expect(
        attacked(lambda p: p["controls"].update(precision="float16")),
        StatementError,
        "controls.precision",
    )


def other_kind(**changes):
    return KIND.model_copy(update=changes)


@pytest.mark.parametrize(
    "kind",
    [other_kind(rounding="truncate"), other_kind(height=16), other_kind(channels=3, width=4)],
)
def test_controls_of_another_kind_of_file(kind):
    def change(predicate):
        predicate["controls"] = sample_controls(kind=kind).to_wire()

    expect(attacked(change), CommitmentError, "controls.kind")

    def accused_too(predicate):
        change(predicate)
        predicate["accused"]["kind"] = kind.to_wire()

    expect(attacked(accused_too), CommitmentError, "accused.kind")


def test_jpeg_controls_for_a_lossless_file():
    table = list(range(1, 65))
    kind = ObservationKind.model_validate(
        {
            "family": "jpeg",
            "channels": 3,
            "height": 8,
            "width": 8,
            "model_channels": 3,
            "components": "ycc420",
            "luma_table": tuple(table),
            "chroma_table": tuple(table),
            "orientation": 1,
        }
    )

    def change(predicate):
        predicate["controls"] = sample_controls(kind=kind).to_wire()

    expect(attacked(change), CommitmentError, "controls.kind")

    def everywhere(predicate):
        change(predicate)
        predicate["accused"]["kind"] = kind.to_wire()

    expect(attacked(everywhere), CommitmentError, "field scope")

    def scope_too(predicate):
        everywhere(predicate)
        predicate["scope"] = list(scope_lines(kind))

    expect(attacked(scope_too), StatisticsError, "finding.")


# --- mismatches


def test_missing_mismatches():
    expect(
        attacked(lambda p: p["controls"].update(mismatches=[])),
        CommitmentError,
        "controls.mismatches",
    )

    def only_one_way(predicate):
        kept = [m for m in predicate["controls"]["mismatches"] if m["way"] != "float16"]
        predicate["controls"]["mismatches"] = kept

    expect(attacked(only_one_way), CommitmentError, "controls.mismatches")


def test_mismatches_of_one_way_under_the_name_of_another():
    def change(predicate):
        for mismatch in predicate["controls"]["mismatches"]:
            if mismatch["way"] == "float16":
                mismatch["way"] = "bfloat16"

    expect(attacked(change), CommitmentError, "controls.mismatches")


def test_a_mismatch_without_residual_makes_the_allowance_infinite():
    content = statement()
    content["predicate"]["controls"]["mismatches"][3].pop("residual")
    expect(refusal(sign(content)), StatisticsError, "finding.families.0.")
    recommit(content)
    finding = check(sign(content)).exclusion.finding
    assert finding.verdict == "inconclusive"
    assert finding.families[0].allowance is None
    assert finding.families[0].margin is None


# --- subject, model, protocol


def test_another_subject():
    for field, value in (("name", "other.png"), ("digest", {"sha256": OTHER})):
        content = statement()
        content["subject"][0][field] = value
        expect(refusal(sign(content)), CommitmentError, f"subject.0.{field}")


def test_the_subject_swapped_in_both_places():
    content = statement()
    content["subject"][0]["digest"]["sha256"] = OTHER
    content["predicate"]["accused"]["file"]["sha256"] = OTHER
    expect(refusal(sign(content)), CommitmentError, "restarts.0.seed")


def test_two_subjects():
    content = statement()
    content["subject"].append({"name": "model.pt", "digest": {"sha256": OTHER}})
    expect(refusal(sign(content)), CommitmentError, "subject (count)")
    content["subject"] = [content["subject"][0]] * 2
    expect(refusal(sign(content)), CommitmentError, "subject (count)")


def test_another_digest_of_the_subject():
    content = statement()
    content["subject"][0]["digest"]["sha1"] = "0" * 40
    expect(refusal(sign(content)), StatementError, "digest.sha1")


def test_another_model():
    for field in ("digest", "weights"):
        expect(
            attacked(lambda p, field=field: p["model"].update({field: OTHER})),
            CommitmentError,
            f"model.{field}",
        )

    def swap(predicate):
        one, two = predicate["model"]["files"]
        one["name"], two["name"] = two["name"], one["name"]

    expect(attacked(swap), CommitmentError, "model.digest")

    def same_name(predicate):
        predicate["model"]["files"][1]["name"] = predicate["model"]["files"][0]["name"]

    expect(attacked(same_name), CommitmentError, "model.files")


@pytest.mark.parametrize("name", ["../weights.pt", "/etc/passwd", "a//b", "a\\b", "", "a\nb"])
def test_names_of_model_files_that_lead_elsewhere(name):
    error = attacked(lambda p: p["model"]["files"][0].update(name=name))
    assert isinstance(error, CommitmentError | StatementError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "pristine-standard-v1"),
        ("name", "my-own-v1"),
        ("alpha", "0.5"),
        ("confidence", "0.5"),
        ("kappa", "1"),
        ("recall", "0.1"),
        ("controls", 10),
        ("restarts", 1),
        ("iterations", 1),
        ("resolution", "1.00000e+00"),
        ("mismatchOutputs", 1),
        ("families", ["lossless"]),
        ("alpha", "0.050"),
    ],
)
def test_another_protocol(field, value):
    expect(
        attacked(lambda p: p["protocol"].update({field: value})), CommitmentError, "field protocol"
    )


def test_the_digest_of_another_preset():
    expect(
        attacked(lambda p: p.update(protocolDigest=STANDARD.digest)),
        CommitmentError,
        "field protocolDigest",
    )


def test_another_preset_whole():
    def change(predicate):
        predicate["protocol"] = STANDARD.to_wire()
        predicate["protocolDigest"] = STANDARD.digest

    expect(attacked(change), CommitmentError, "controls (count)")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("width", 9, "accused.kind (size)"),
        ("height", 9, "accused.kind (size)"),
        ("channels", 1, "accused.kind.channels"),
    ],
)
def test_another_size_than_the_kind_has(field, value, named):
    expect(attacked(lambda p: p["accused"].update({field: value})), CommitmentError, named)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("height", 9, "accused.kind (model)"),
        ("channels", 1, "accused.kind (model)"),
        ("rounding", "truncate", "accused.kind.rounding"),
    ],
)
def test_another_generator_than_the_kind_has(field, value, named):
    expect(attacked(lambda p: p["generator"].update({field: value})), CommitmentError, named)


# --- names


@pytest.mark.parametrize("name", ["a\u202eb", "a\x1b[31m", "a\nb", "a\u2066b", "", "x" * 2001])
def test_names_that_would_deceive_a_terminal(name):
    content = statement()
    content["subject"][0]["name"] = content["predicate"]["accused"]["file"]["name"] = name
    assert isinstance(refusal(sign(content)), StatementError)


def test_the_type_of_the_predicate_is_part_of_what_is_signed():
    content = statement()
    assert content["predicateType"] == EXCLUSION_TYPE
    content["predicateType"] = "urn:deniability:exclusion/v2"
    expect(refusal(sign(content)), StatementError, "predicateType")
