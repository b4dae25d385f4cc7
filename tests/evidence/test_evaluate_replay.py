"""V1 and V2 of evaluations: a dishonest signer's passes V0, and is found out by the model."""

import contextlib
import hashlib
import itertools
import json
import random
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
import toy_evidence as toy

from deniability.cli.evaluation_answers import check_evaluation_answer
from deniability.errors import CommitmentError, InputError, ReplayError
from deniability.evidence.evaluate import Extent, evaluate
from deniability.evidence.evaluate_groups import Strangers
from deniability.evidence.progress import Silent
from deniability.evidence.replay import evaluation_search
from deniability.evidence.replay.evaluation import replay_evaluation
from deniability.evidence.replay.evaluation_case import open_evaluation
from deniability.evidence.replay.evaluation_search import (
    MOST_SEARCHES,
    _Family,
    replay_measured,
)
from deniability.evidence.signing import sign_statement
from deniability.sandbox.interface import IsolationError
from deniability.sandbox.messages import Answer, decode, encode
from deniability.stats.evaluation import (
    FamilyRule,
    decide_evaluation,
    group_result,
    own_of,
    shared_controls_test,
    uniformity_test,
)
from deniability.stats.evaluation_words import evaluation_scope
from deniability.stats.replication import Tally, lowest_compared, paired_level
from deniability.stats.verdict import thresholds
from deniability.verify.evaluation import verify_evaluation
from deniability.wire.evaluation import NotApplied
from deniability.wire.numbers import decimal_string
from deniability.wire.roles import control_seed, mismatch_seed
from deniability.wire.statement import EVALUATION_TYPE

EXTENT = Extent(own=12, strangers=3, only=("lossless", "saved-jpeg-75-gray"))


@pytest.fixture(autouse=True)
def _fixed_draws(monkeypatch):
    """Let the verifier draw the same on every run of these tests."""
    numbers = itertools.count()
    drawn = SimpleNamespace(
        token_bytes=lambda size: hashlib.sha256(b"test %d" % next(numbers)).digest()[:size],
        SystemRandom=lambda: random.Random(next(numbers)),
    )
    monkeypatch.setattr(evaluation_search, "secrets", drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nonmembers")
    toy.stranger(folder, "wave.png")
    toy.stranger(folder, "large.png", side=32)
    return folder


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """The smooth toy, its open registration, and the file of that."""
    place = tmp_path_factory.mktemp("registered")
    generator = toy.make_generator(toy.Smooth())
    return generator, toy.register_toy(generator, place, toy.BRIEF), place / "registration.json"


@pytest.fixture(scope="module")
def honest(toys, folder, tmp_path_factory):
    """An evaluation as `evaluate` makes it."""
    other = toy.make_generator(toy.Smooth(seed=5), name="other.pt")
    place = tmp_path_factory.mktemp("evaluated")
    return evaluate(
        toys[1],
        key=toy.KEY,
        output=place / "evaluation.json",
        strangers=Strangers({"other.pt": other}, (folder,)),
        extent=EXTENT,
        cache=place / "cache",
    ).verified


def opened(verified, toys, *, registration=True, generator=None, pictures=None):
    return open_evaluation(
        verified,
        generator=generator or toys[0],
        registration=toys[2] if registration else None,
        trust=toy.TRUST,
        pictures=pictures or {},
        progress=Silent(),
    )


def resigned(verified, *, families=None, **changes):
    """Change an evaluation and make it consistent again, as a dishonest signer would.

    Args:
        verified: an honest one.
        families: makes of (family, group name, residuals) new residuals, or new controls.
        changes: other fields.

    """
    evaluation = verified.evaluation
    families = families or evaluation.families
    again = []
    for family in families:
        rule = FamilyRule.of(family.controls, evaluation.protocol)
        own = own_of(family).residuals
        groups = tuple(
            group_result(
                one.group,
                one.residuals,
                rule,
                own,
                iterations=one.iterations,
                seconds=one.seconds,
            )
            for one in family.groups
        )
        count = len(families)
        again.append(
            family.model_copy(
                update={
                    "groups": groups,
                    "shared": shared_controls_test(
                        groups[0].denied, len(own), rule, families=count
                    ),
                    "uniform": uniformity_test(own, rule, families=count),
                }
            )
        )
    forged = evaluation.model_copy(
        update={
            "families": tuple(again),
            "result": decide_evaluation(
                again, model_digest=evaluation.model.digest, protocol=evaluation.protocol
            ),
            **changes,
        }
    )
    raw = sign_statement(
        forged, predicate_type=EVALUATION_TYPE, subjects=evaluation.model.files, key=toy.KEY
    )
    return verify_evaluation(raw, trust=toy.TRUST)


def with_residuals(verified, change):
    """Return the families with residuals `change(group, residuals)`."""
    return tuple(
        family.model_copy(
            update={
                "groups": tuple(
                    one.model_copy(update={"residuals": tuple(change(one.group, one.residuals))})
                    for one in family.groups
                )
            }
        )
        for family in verified.evaluation.families
    )


def group(verified, name):
    return next(one for one in verified.evaluation.groups if one.name == name)


def v1(verified, toys, **options):
    return replay_evaluation(opened(verified, toys, **options))


def v2(verified, toys, *, only=None, count=8, **options):
    case = opened(verified, toys, **options)
    if only is not None:  # the others cost time and have no part in it
        case = replace(case, groups=tuple(one for one in case.groups if one.name in only))
    return replay_measured(case, count=count)


def scaled(values, factor):
    return [v if v == "notFinite" else decimal_string(factor * float(v)) for v in values]


def forged_controls(verified, change, **resign):
    families = tuple(
        family.model_copy(
            update={
                "controls": family.controls.model_copy(
                    update={"controls": tuple(map(change, family.controls.controls))}
                )
            }
        )
        for family in verified.evaluation.families
    )
    return resigned(verified, families=families, **resign)


@pytest.fixture(scope="module")
def replayed(honest, toys, folder):
    """What both levels find of the honest evaluation."""
    files = [folder / file.name for file in group(honest, "nonmembers-1").files]
    case = opened(honest, toys, pictures={"nonmembers-1": files})
    return replay_evaluation(case), replay_measured(case, count=1)


def test_an_honest_evaluation_passes_both_levels(replayed):
    first, second = replayed
    told = first.to_json()
    assert told.pop("found") >= 22
    assert told == {
        "level": "v1",
        "families": 2,
        "controls": 118,
        "rendered": 59,
        "copies": 7,
        "own": 24,
        "largestDifference": "0.000000",
    }
    assert (second.own.pictures, second.controls.pictures) == (2, 2)
    assert second.strangers.pictures == 2 * (7 + 1 + 1)
    assert second.own.stated_low == second.own.stated_high == 0
    assert set(second.left_out) == {"other-1"}
    assert second.encoder == "registered"
    assert "other-1" in second.lines[-1]
    assert second.lines[-1].startswith("Not checked")
    assert second.detection == Fraction("0.05")


@pytest.mark.parametrize(
    ("level", "change"),
    [
        (None, {}),
        (0, {"controls": 117}),
        (0, {"found": 25}),
        (0, {"level": "v2"}),
        (1, {"count": 2}),
        (1, {"leftOut": ["other-1", "another"]}),
        (1, {"leftOut": []}),
        (1, {"own": {"pictures": 2, "low": 1, "statedLow": 2, "high": 0, "statedHigh": 0}}),
        (1, {"strangers": {"pictures": 18, "low": 6, "statedLow": 6, "high": 0, "statedHigh": 0}}),
        (1, {"fresh": []}),
        (1, {"detectionProbability": "0.990000"}),
        (1, {"fullCheck": True}),
        (1, {"encoder": "mine"}),
    ],
)
def test_an_answer_of_an_isolated_child_is_not_believed(honest, replayed, level, change):
    values = [json.loads(json.dumps(found.to_json())) for found in replayed]
    if level is not None:
        values[level] |= change
    answer = Answer(lines=tuple(found.lines for found in replayed), values=tuple(values))
    answer = decode(encode(answer).removesuffix(b"\n"))
    with contextlib.nullcontext() if level is None else pytest.raises(IsolationError):
        check_evaluation_answer(answer, honest.evaluation, 1)


def test_families_of_handling_pass_too(tmp_path):
    generator = toy.make_generator(toy.Larger(), side=16)
    made = toy.register_toy(generator, tmp_path, toy.CODECS)
    extent = Extent(own=4, strangers=1, only=("bfloat16", "jpeg-444-50-69"))
    output = tmp_path / "evaluation.json"
    verified = evaluate(
        made, key=toy.KEY, output=output, extent=extent, cache=tmp_path / "cache"
    ).verified
    toys = (generator, made, tmp_path / "registration.json")
    found = v2(verified, toys, only=("own",), count=2)
    assert (found.own.pictures, len(found.fresh)) == (4, 2)
    first = v1(verified, toys)
    assert (first.families, first.controls, first.rendered) == (2, 10, 0)


def test_without_the_registration_an_encoder_is_trained_and_no_latent_rendered(honest, toys):
    case = opened(honest, toys, registration=False)
    assert replay_evaluation(case).rendered == 0
    found = replay_measured(replace(case, groups=case.groups[:1]), count=3)
    assert found.encoder == "trained-anew"
    assert found.left_out["nonmembers-1"].startswith("its pictures were not all brought")


def test_another_model_is_refused(honest, toys):
    other = toy.make_generator(toy.Smooth(seed=5), name="other.pt")
    with pytest.raises(InputError, match="not the model"):
        opened(honest, toys, generator=other, registration=False)


def test_weights_that_were_exchanged_under_the_digest_are_refused(honest, toys):
    other = toy.make_generator(toy.Smooth(seed=5))
    with pytest.raises(ReplayError, match="does not give the pictures"):
        opened(honest, toys, generator=other)
    with pytest.raises(ReplayError, match="distance"):
        opened(honest, toys, generator=other, registration=False)


def test_another_registration_is_refused(honest, toys, tmp_path):
    toy.register_toy(toys[0], tmp_path, toy.BRIEF)
    with pytest.raises(CommitmentError, match="not the registration"):
        opened(honest, (*toys[:2], tmp_path / "registration.json"))


def test_other_pictures_than_the_signers_are_refused(honest, toys, folder):
    files = [folder / file.name for file in group(honest, "nonmembers-1").files]
    with pytest.raises(CommitmentError, match="not the pictures"):
        opened(honest, toys, pictures={"nonmembers-1": files[::-1]})


def test_a_group_that_could_be_made_cannot_be_left_out(honest, toys):
    evaluation, name = honest.evaluation, "int8"
    families = tuple(
        family.model_copy(
            update={"groups": tuple(one for one in family.groups if one.group != name)}
        )
        for family in evaluation.families
    )
    groups = tuple(one for one in evaluation.groups if one.name != name)
    told = (NotApplied(name=name, reason="cannot be made"), *evaluation.not_applied)
    forged = resigned(
        honest,
        families=families,
        groups=groups,
        not_applied=told,
        scope=evaluation_scope(groups, families, evaluation.narrowed),
    )
    with pytest.raises(ReplayError, match="is not in the evaluation"):
        opened(forged, toys)


# V1


def test_truths_that_do_not_follow_are_refused(honest, toys):
    def harder(control):
        return control.model_copy(update={"truth": "1.00000e-03"})

    with pytest.raises(ReplayError, match="cannot be reproduced from its latent"):
        v1(forged_controls(honest, harder), toys, registration=False)


@pytest.mark.parametrize("residual", ["1.00000e-01", "0"])
def test_a_margin_that_the_model_does_not_have_is_refused(honest, toys, residual):
    families = tuple(
        family.model_copy(
            update={
                "controls": family.controls.model_copy(
                    update={
                        "mismatches": tuple(
                            m.model_copy(update={"residual": residual})
                            for m in family.controls.mismatches
                        )
                    }
                )
            }
        )
        for family in honest.evaluation.families
    )
    forged = resigned(honest, families=families)
    with pytest.raises(ReplayError, match="what a denial takes"):
        v1(forged, toys, registration=False)


def test_controls_that_are_not_the_registrations_are_refused(honest, toys):
    def other(control):
        return control.model_copy(update={"iterations": control.iterations + 1})

    with pytest.raises(CommitmentError, match="not those of the registration"):
        opened(forged_controls(honest, other), toys)


def test_a_kind_of_file_under_a_false_name_is_refused(honest, toys):
    """Tables of another quality, or what V0 already refuses."""
    first, jpeg = honest.evaluation.families
    kind = jpeg.controls.kind
    coarse = kind.model_copy(update={"luma_table": tuple(min(255, 2 * q) for q in kind.luma_table)})
    model, protocol = honest.evaluation.model, honest.evaluation.protocol
    controls = tuple(
        control.model_copy(
            update={
                "seed": control_seed(model, protocol.digest, coarse.digest(), control.index).hex()
            }
        )
        for control in jpeg.controls.controls
    )
    mismatches = tuple(
        one.model_copy(
            update={"seed": mismatch_seed(model, protocol.digest, coarse.digest(), one.index).hex()}
        )
        for one in jpeg.controls.mismatches
    )
    forged = jpeg.controls.model_copy(
        update={"kind": coarse, "controls": controls, "mismatches": mismatches}
    )
    verified = resigned(honest, families=(first, jpeg.model_copy(update={"controls": forged})))
    with pytest.raises(CommitmentError, match="another one than its name says"):
        opened(verified, toys)


# V2


def test_residuals_of_strangers_made_larger_are_refused(honest, toys):
    near = ("noise-0.001", "noise-0.01", "int8")
    families = with_residuals(
        honest, lambda name, values: ["9.00000e-01"] * len(values) if name in near else values
    )
    forged = resigned(honest, families=families)
    with pytest.raises(ReplayError, match="overstates how often"):
        v2(forged, toys, only=("own", *near), count=3)


def test_residuals_of_strangers_made_smaller_are_refused(honest, toys):
    families = with_residuals(
        honest, lambda name, values: scaled(values, 0.1) if name == "pruned-0.5" else values
    )
    with pytest.raises(ReplayError, match="farther from the model than"):
        v2(resigned(honest, families=families), toys, only=("own", "pruned-0.5"), count=3)


def test_own_outputs_made_worse_than_they_are_are_refused(honest, toys):
    families = with_residuals(
        honest, lambda name, values: ["1.00000e-02"] * len(values) if name == "own" else values
    )
    with pytest.raises(ReplayError, match="easier to find"):
        v2(resigned(honest, families=families), toys, only=("own",), count=4)


@pytest.fixture(scope="module")
def trapdoor(tmp_path_factory):
    """A model a third of whose outputs no search finds, as its signer tells of it: all found."""
    place = tmp_path_factory.mktemp("trapdoor")
    generator = toy.make_generator(toy.Trapdoor(), dimension=toy.Trapdoor.DIMENSION)
    opened = toy.register_toy(generator, place, toy.BRIEF)
    made = evaluate(
        opened,
        key=toy.KEY,
        output=place / "evaluation.json",
        extent=Extent(own=60, strangers=1, only=("lossless",)),
        cache=place / "cache",
    ).verified
    return generator, opened, made


def planted(control):
    """The true latent stored as found by the first restart."""
    return control.model_copy(update={"residual": control.truth, "best": 0, "restarts": 1})


def hidden(name, values):
    return ["0"] * len(values) if name == "own" else values


def test_an_honest_evaluation_of_a_hard_model_passes(trapdoor):
    generator, _, made = trapdoor
    assert made.evaluation.families[0].shared.allowed == -1  # it fails the recall gate
    v2(made, (generator, None, None), registration=False, only=("own",), count=20)


def test_hidden_denials_are_found_out(trapdoor):
    """Controls planted, so that the recall gate passes, and every denial of an own output hidden.

    The controls are those of the registration, which the signer does not hand over.
    """
    generator, _, made = trapdoor
    forged = forged_controls(made, planted)
    forged = resigned(forged, families=with_residuals(forged, hidden))
    family = forged.evaluation.families[0]
    assert (family.groups[0].denied, family.shared.allowed) == (0, 0)
    assert family.shared.passed
    toys = (generator, None, None)
    v1(forged, toys, registration=False)  # nothing of that shows without a search
    with pytest.raises(ReplayError, match="denied more often"):
        v2(forged, toys, registration=False, only=("own",), count=25)
    searched = opened(forged, toys, registration=False)
    lowest = lowest_compared(thresholds(family.controls, toy.BRIEF))
    again = _Family(searched.with_encoder(Silent()), family, 25, Silent())
    for found in (again.searched(searched.groups[0]), again.controls()):
        assert found.stated_low == found.low > 4
        assert found.p_low < paired_level()
    assert lowest < Fraction(1, 10**4)


@pytest.mark.parametrize("count", [0, MOST_SEARCHES])
def test_nothing_and_too_much_are_refused_at_once(honest, toys, count):
    with pytest.raises(InputError, match="--replay"):
        v2(honest, toys, count=count)


@pytest.mark.slow
def test_honest_evaluations_of_a_search_by_luck_are_seldom_refused(tmp_path, monkeypatch):
    """Searches that end anywhere, none with the signer's seeds, as if on another machine."""
    seed = evaluation_search.secrets.token_bytes
    for name in ("evaluation_restart_seed", "control_restart_seed"):
        monkeypatch.setattr(evaluation_search, name, lambda *_, **__: seed(32))
    refused, pooled = 0, Tally()
    for number in range(4):
        place = tmp_path / str(number)
        place.mkdir()
        module = toy.Smooth(seed=number, dimension=8)
        generator = toy.make_generator(module, name=f"toy{number}.pt", dimension=8)
        made = toy.register_toy(generator, place, toy.BY_LUCK)
        extent = Extent(own=60, strangers=6, only=("lossless",))
        verified = evaluate(
            made, key=toy.KEY, output=place / "e.json", extent=extent, cache=place / "cache"
        ).verified
        toys = (generator, made, place / "registration.json")
        for _ in range(5):
            try:
                found = v2(verified, toys, only=("own", "noise-0.1", "pruned-0.5"), count=20)
            except ReplayError:
                refused += 1
            else:
                pooled += found.own + found.controls + found.strangers
    assert refused <= 4  # of 20; 5 or more are as rare as 0.003, at 0.05 each
    for stated, m in ((pooled.stated_low, pooled.low), (pooled.stated_high, pooled.high)):
        assert m > 100
        assert 0.23 < stated / m < 0.43
