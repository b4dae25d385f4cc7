"""Exact two-sample tests and the rule of an evaluation, against enumeration and definition."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.errors import StatisticsError
from deniability.stats.binomial import largest_passing, upper_bound_at_most
from deniability.stats.twosample import area_under_curve, excess_tail, largest_excess

VALUES = st.lists(st.integers(0, 6).map(Fraction), min_size=1, max_size=9)


def excess_by_definition(own, controls):
    m, n = len(own), len(controls)
    counts = ((sum(v >= t for v in own), sum(v >= t for v in controls)) for t in {*own, *controls})
    return max(0, *(i * n - j * m for i, j in counts))


@given(VALUES, VALUES)
def test_largest_excess_is_that_of_its_definition(own, controls):
    assert largest_excess(own, controls) == excess_by_definition(own, controls)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(-2, 40))
def test_tail_is_the_share_of_all_orders_without_ties(m, n, excess):
    hits = 0
    for places in combinations(range(m + n), m):
        own = [Fraction(p) for p in places]
        controls = [Fraction(p) for p in range(m + n) if p not in places]
        hits += excess_by_definition(own, controls) >= excess
    assert excess_tail(excess, m, n) == Fraction(hits, math.comb(m + n, m))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3).map(Fraction), min_size=3, max_size=9), st.data())
def test_with_ties_the_test_is_conservative(pooled, data):
    """Over all ways to call m of the pooled values own ones, p <= u has at most share u."""
    m = data.draw(st.integers(1, len(pooled) - 1))
    ps = []
    for places in combinations(range(len(pooled)), m):
        own = [pooled[p] for p in places]
        controls = [v for p, v in enumerate(pooled) if p not in places]
        ps.append(excess_tail(largest_excess(own, controls), m, len(controls)))
    for u in set(ps):
        assert Fraction(sum(p <= u for p in ps), len(ps)) <= u


def test_own_outputs_beyond_all_controls_are_noticed_and_all_zeros_are_not():
    far = excess_tail(largest_excess([Fraction(9)] * 50, [Fraction(0)] * 99), 50, 99)
    assert far < Fraction(1, 10**30)
    assert largest_excess([Fraction(0)] * 50, [Fraction(0)] * 99) == 0
    assert excess_tail(0, 50, 99) == 1
    assert largest_excess([math.inf], [Fraction(3), math.inf]) == 1


@given(VALUES, VALUES)
def test_area_is_the_share_of_pairs(own, others):
    twice = sum(2 * (b > a) + (b == a) for a in own for b in others)
    assert area_under_curve(own, others) == Fraction(twice, 2 * len(own) * len(others))


@pytest.mark.parametrize("empty", [((), (1,)), ((1,), ())])
def test_empty_samples_are_refused(empty):
    for function in (largest_excess, area_under_curve):
        with pytest.raises(StatisticsError):
            function(*empty)
    with pytest.raises(StatisticsError):
        excess_tail(1, 0, 3)


@pytest.mark.parametrize(
    ("n", "alpha", "k"), [(99, "0.05", 1), (999, "0.01", 4), (2999, "0.001", 0), (20, "0.05", -1)]
)
def test_largest_passing_is_that_of_the_presets(n, alpha, k):
    assert largest_passing(n, Fraction(alpha)) == k
    assert not upper_bound_at_most(k + 1, n, Fraction(alpha))
