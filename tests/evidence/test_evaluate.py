"""`evaluate` end to end on toys: own outputs, copies, other generators, pictures, interruptions."""

import pytest
import toy_evidence as toy

from deniability.errors import InputError
from deniability.evidence.evaluate import Extent, evaluate
from deniability.evidence.evaluate_groups import Strangers
from deniability.stats.evaluation_words import COPIES, MODEL_GROUPS

EXTENT = Extent(own=60, strangers=4, only=("lossless", "saved-jpeg-75-gray"))


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
    return evaluate_toy(
        smooth[1],
        tmp_path_factory.mktemp("evaluated"),
        strangers=Strangers({"other.pt": other}, (nonmembers,)),
    )


def groups_of(made, family=0):
    return {one.group: one for one in made.verified.evaluation.families[family].groups}


def test_own_outputs_are_not_denied_and_strangers_are(evaluated):
    evaluation = evaluated.verified.evaluation
    assert [family.name for family in evaluation.families] == list(EXTENT.only)
    result = evaluation.result
    assert (result.own, result.denied) == (120, 0)
    assert result.promise_held
    assert result.uniform
    for family in range(2):
        found = groups_of(evaluated, family)
        assert found["nonmembers-1"].denied == found["nonmembers-1"].reached + 2
        assert found["noise-0.1"].denied >= 3
    assert groups_of(evaluated)["other-1"].denied == 4
    assert groups_of(evaluated)["own"].reached >= 54
