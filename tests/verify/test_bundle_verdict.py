"""Properties of the rule: nothing that makes a search or its controls worse gives `excluded`."""

import dataclasses
import math
from fractions import Fraction

from bundle_samples import BELOW_MARGIN, KIND, MODEL, QUICK, sample_controls, sample_restarts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deniability.stats.binomial import upper_bound
from deniability.stats.verdict import (
    LOSSLESS_FLOOR,
    decide,
    is_recovered,
    percentile99,
    reached_threshold,
    residual,
    thresholds,
)
from deniability.wire.numbers import decimal_string, decimal_string_up
from deniability.wire.observation import ObservationKind

CONTROLS = sample_controls()
RESTARTS = sample_restarts(["4.40000e-02"] * QUICK.restarts)

#: Residuals as they come: at the floor, a little above, hard, foreign, not finite.
values = st.one_of(
    st.sampled_from(["0", "1.00000e-09", "1.00001e-09", "5.12624e-06", BELOW_MARGIN, None]),
    st.floats(-10, 1).map(lambda power: decimal_string(10.0**power)),
)
n_of = st.integers(0, QUICK.controls - 1)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def with_controls(changes, base=CONTROLS, field="residual"):
    """Replace a field of some controls, given as {index: value}."""
    controls = tuple(
        c.model_copy(update={field: changes[c.index]}) if c.index in changes else c
        for c in base.controls
    )
    return base.model_copy(update={"controls": controls})


def with_mismatches(residuals, base=CONTROLS):
    changed = tuple(
        m.model_copy(update={"residual": r})
        for m, r in zip(base.mismatches, residuals, strict=True)
    )
    return base.model_copy(update={"mismatches": changed})


def finding(controls=CONTROLS, restarts=RESTARTS, cautions=()):
    return decide(
        protocol=QUICK,
        controls=controls,
        restarts=restarts,
        cautions=cautions,
        model_digest=MODEL.digest,
        pixel_for_pixel=False,
    )


def excluded(**changes):
    return finding(**changes).verdict == "excluded"


@st.composite
def control_sets(draw):
    """Sets that are mostly at the floor, with a drawn hard tail and drawn allowance."""
    hard = draw(st.dictionaries(n_of, values, max_size=14))
    at_truth = st.sampled_from(["0", "2.00000e-08", "1.00000e-02", None])
    truths = draw(st.dictionaries(n_of, at_truth, max_size=4))
    worst = draw(st.sampled_from(["0", "1.00000e-06", "8.00000e-06", "1.00000e-03", None]))
    base = with_controls(truths, with_controls(hard), "truth")
    last = len(base.mismatches) - 1
    return with_mismatches([*["0"] * last, worst], base)


@st.composite
def traces(draw):
    foreign = st.sampled_from(["4.40000e-02", "1.00000e-04", BELOW_MARGIN, "9.00000e-01"])
    usual = draw(st.lists(foreign, min_size=QUICK.restarts, max_size=QUICK.restarts))
    odd = draw(st.dictionaries(st.integers(0, QUICK.restarts - 1), values, max_size=2))
    return sample_restarts([odd.get(i, r) for i, r in enumerate(usual)])


def test_the_base_case_is_excluded():
    assert excluded()


@quick
@given(control_sets(), traces(), n_of, values)
def test_raising_a_control_never_gives_excluded(controls, restarts, index, value):
    before = residual(controls.controls[index].residual)
    raised = with_controls({index: value if residual(value) >= before else None}, controls)
    assert excluded(controls=raised, restarts=restarts) <= excluded(
        controls=controls, restarts=restarts
    )


@quick
@given(control_sets(), traces(), st.integers(0, QUICK.restarts - 1), values)
def test_lowering_the_accused_never_gives_excluded(controls, restarts, index, value):
    record = restarts[index]
    lower = value if residual(value) <= residual(record.residual) else "0"
    if record.residual is None:
        return  # from missing to present is not lowering: the search has become complete
    changed = (
        *restarts[:index],
        record.model_copy(update={"residual": lower}),
        *restarts[index + 1 :],
    )
    assert excluded(controls=controls, restarts=changed) <= excluded(
        controls=controls, restarts=restarts
    )


@quick
@given(control_sets(), traces(), st.integers(0, 23), values)
def test_raising_a_mismatch_never_gives_excluded(controls, restarts, index, value):
    now = [m.residual for m in controls.mismatches]
    raised = list(now)
    raised[index] = value if residual(value) >= residual(now[index]) else None
    assert excluded(controls=with_mismatches(raised, controls), restarts=restarts) <= excluded(
        controls=controls, restarts=restarts
    )


@quick
@given(control_sets(), traces(), st.sets(n_of, min_size=1, max_size=30))
def test_deleting_controls_never_gives_excluded(controls, restarts, gone):
    kept = tuple(c for c in controls.controls if c.index not in gone)
    if kept:
        fewer = controls.model_copy(update={"controls": kept})
        assert not excluded(controls=fewer, restarts=restarts)


@quick
@given(control_sets(), traces(), st.sets(st.integers(0, 11), min_size=1, max_size=12))
def test_deleting_restarts_never_gives_excluded(controls, restarts, gone):
    kept = tuple(r for r in restarts if r.index not in gone)
    assert not excluded(controls=controls, restarts=kept)


@quick
@given(control_sets(), traces(), st.sets(st.integers(0, 23), min_size=1, max_size=24))
def test_deleting_mismatches_never_gives_excluded(controls, restarts, gone):
    kept = tuple(m for i, m in enumerate(controls.mismatches) if i not in gone)
    fewer = controls.model_copy(update={"mismatches": kept})
    assert not excluded(controls=fewer, restarts=restarts)


@quick
@given(control_sets(), traces(), st.sampled_from(["residual", "truth"]), n_of)
def test_deleting_a_number_of_a_control_never_gives_excluded(controls, restarts, field, index):
    fewer = with_controls({index: None}, controls, field)
    assert excluded(controls=fewer, restarts=restarts) <= excluded(
        controls=controls, restarts=restarts
    )


def test_deleting_the_truth_that_is_the_floor_does_not_lower_the_margin():
    broken = with_controls({50: "1.00000e-02"}, field="truth")
    assert finding(controls=broken).families[0].floor == "1.00000e-02"
    assert not excluded(controls=broken)
    deleted = finding(controls=with_controls({50: None}, broken, "truth"))
    assert deleted.verdict == "inconclusive"
    assert deleted.families[0].margin is None


@quick
@given(control_sets(), traces(), st.integers(0, QUICK.restarts - 1))
def test_a_missing_residual_of_the_accused_forbids_excluded(controls, restarts, index):
    record = restarts[index].model_copy(update={"residual": None})
    assert not excluded(
        controls=controls, restarts=(*restarts[:index], record, *restarts[index + 1 :])
    )


@quick
@given(st.integers(0, 20), st.sampled_from(["3.00000e-06", None]))
def test_excluded_takes_a_recall_of_nine_tenths(missed, value):
    # 90 of 99 are 90.9 %, 89 are 89.9 %. One missing residual is k = 1, two are too many.
    base = with_controls(dict.fromkeys((0, 1, 2, 7), "0"))
    controls = with_controls(dict.fromkeys(range(40, 40 + missed), value), base)
    found = finding(controls=controls)
    assert found.families[0].recovered == QUICK.controls - missed
    limit = 9 if value else 1
    assert (found.verdict == "excluded") == (missed <= limit)


@quick
@given(control_sets(), traces())
def test_whatever_is_excluded_satisfies_the_rule_in_plain_arithmetic(controls, restarts):
    found = finding(controls=controls, restarts=restarts)
    numbers = [residual(c.residual) for c in controls.controls]
    statistic = min(residual(r.residual) for r in restarts)
    if found.verdict != "excluded":
        return
    k = sum(s >= statistic for s in numbers)
    assert k <= 1
    assert upper_bound(k, len(numbers)) <= Fraction(1, 20)
    largest = max(residual(m.residual) for m in controls.mismatches)
    assert statistic >= 10 * max(sorted(numbers)[97], LOSSLESS_FLOOR, largest)
    assert all(math.isfinite(residual(r.residual)) for r in restarts)
    assert found.families[0].recovered * 10 >= 9 * QUICK.controls


@quick
@given(control_sets(), traces())
def test_reached_is_decided_by_the_threshold_alone(controls, restarts):
    statistic = min(residual(r.residual) for r in restarts)
    limits = thresholds(controls, QUICK)
    found = finding(controls=controls, restarts=restarts, cautions=("anything",))
    assert (found.verdict == "reached") == (statistic <= limits.threshold)
    assert found.verdict != "excluded"
    assert (found.reached is None) == (found.verdict != "reached")
    if found.reached:
        assert residual(restarts[found.reached.restart].residual) == statistic
        earlier = restarts[: found.reached.restart]
        assert all(residual(r.residual) > statistic for r in earlier)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=400))
def test_percentile_against_counting(texts):
    numbers = [residual(text) for text in texts]
    found = percentile99(numbers)
    rank = max(1, 99 * len(numbers) // 100)
    assert found in numbers
    assert sum(x <= found for x in numbers) >= rank
    assert sum(x < found for x in numbers) < rank


def test_percentile_ranks_of_the_presets():
    for n, rank in ((99, 98), (999, 989), (2999, 2969), (1, 1), (100, 99)):
        assert percentile99([Fraction(i) for i in range(n, 0, -1)]) == rank


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=120))
def test_threshold_against_its_definition(truths):
    typical = percentile99([residual(t) for t in truths])
    resolution, ceiling = Fraction(1, 10**9), Fraction("5.12624e-06")
    assert reached_threshold(truths, QUICK, family="lossless") == resolution
    found = reached_threshold(truths, QUICK, family="jpeg")
    limited = min(max(resolution, typical), ceiling)
    assert found == (resolution if typical == math.inf else limited)


@quick
@given(control_sets())
def test_recovered_and_floor_against_their_definitions(controls):
    limits = thresholds(controls, QUICK)
    count = 0
    for c in controls.controls:
        if c.residual is not None and c.truth is not None:
            limit = max(Fraction(c.truth), limits.threshold) + Fraction(1, 10**9)
            count += Fraction(c.residual) <= limit
            assert is_recovered(c, limits.threshold, QUICK) == (Fraction(c.residual) <= limit)
    assert limits.recovered == count
    truths = [Fraction(c.truth) for c in controls.controls if c.truth is not None]
    assert limits.floor == max([LOSSLESS_FLOOR, *truths])


def test_the_floor_of_a_jpeg_is_that_of_its_controls():
    table = (1,) * 64
    kind = ObservationKind(
        family="jpeg",
        channels=1,
        height=8,
        width=8,
        model_channels=1,
        components="gray",
        luma_table=table,
        orientation=1,
    )
    limits = thresholds(sample_controls(kind=kind), QUICK)
    assert limits.floor == 0
    assert limits.allowance == Fraction("8.00000e-06")
    assert thresholds(CONTROLS, QUICK).floor == LOSSLESS_FLOOR
    assert KIND.family == "lossless"


@settings(deadline=None)
@given(st.fractions(Fraction(1, 10**20), 10**20))
def test_numbers_are_rounded_up_to_six_digits(value):
    text = decimal_string_up(value)
    assert value <= Fraction(text) <= value * (1 + Fraction(1, 10**5))


def test_thresholds_are_frozen():
    limits = thresholds(CONTROLS, QUICK)
    assert dataclasses.replace(limits, recovered=0).largest == limits.largest
    assert limits.largest == Fraction("8.00000e-06")
