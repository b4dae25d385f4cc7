import itertools
import math
import random
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.errors import StatisticsError
from deniability.stats.binomial import (
    beta_binomial_critical,
    beta_binomial_tail,
    conformal_p,
    decimal_down,
    decimal_up,
    detection_probability,
    hypergeometric_tail,
    upper_bound,
    upper_bound_at_most,
)

PLAIN_DECIMAL = r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?"
shares = st.fractions(0, 1, max_denominator=10_000)
counts = st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
open_shares = shares.filter(lambda share: 0 < share < 1)


def at_most(k, n, p):
    """Return P(Binomial(n, p) <= k) straight from the definition."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize(
    ("k", "n", "alpha", "holds"),
    [
        (1, 99, Fraction(1, 20), True),
        (2, 99, Fraction(1, 20), False),
        (4, 999, Fraction(1, 100), True),
        (5, 999, Fraction(1, 100), False),
        (0, 2999, Fraction(1, 1000), True),
        (1, 2999, Fraction(1, 1000), False),
        (0, 58, Fraction(1, 20), False),
        (0, 59, Fraction(1, 20), True),
        (0, 298, Fraction(1, 100), False),
        (0, 299, Fraction(1, 100), True),
        (0, 2994, Fraction(1, 1000), False),
        (0, 2995, Fraction(1, 1000), True),
    ],
)
def test_the_presets_and_the_classic_sample_sizes(k, n, alpha, holds):
    # 59, 299: Wilks (1941), first-order one-sided 95 % tolerance limits
    assert upper_bound_at_most(k, n, alpha) is holds
    assert (at_most(k, n, alpha) <= Fraction(1, 20)) is holds
    assert (upper_bound(k, n) <= alpha) is holds


@pytest.mark.parametrize(
    ("k", "n", "confidence", "published"),
    [
        (0, 10, Fraction(95, 100), "0.2589"),  # 1 - 0.05^(1/10)
        (1, 10, Fraction(95, 100), "0.3942"),
        (5, 10, Fraction(95, 100), "0.7776"),
        (0, 10, Fraction(975, 1000), "0.3085"),  # upper ends of two-sided 95 % intervals
        (1, 10, Fraction(975, 1000), "0.4450"),
        (5, 10, Fraction(975, 1000), "0.8129"),
        (10, 100, Fraction(975, 1000), "0.1762"),
        (0, 100, Fraction(975, 1000), "0.0362"),
    ],
)
def test_published_clopper_pearson_bounds(k, n, confidence, published):
    bound = upper_bound(k, n, confidence)
    assert f"{float(bound):.4f}" == published


@settings(deadline=None)
@given(counts, shares, open_shares)
def test_the_decision_is_that_of_the_definition(count, alpha, confidence):
    k, n = count
    expected = alpha == 1 or (k < n and at_most(k, n, alpha) <= 1 - confidence)
    assert upper_bound_at_most(k, n, alpha, confidence) is expected


def test_equality_counts_as_at_most():
    # P(Binomial(1, p) <= 0) = 1 - p, P(Binomial(2, 1/2) <= 1) = 3/4
    assert upper_bound_at_most(0, 1, Fraction(95, 100))
    assert not upper_bound_at_most(0, 1, Fraction(95, 100) - Fraction(1, 10**30))
    assert upper_bound_at_most(1, 2, Fraction(1, 2), Fraction(1, 4))
    assert not upper_bound_at_most(1, 2, Fraction(1, 2), Fraction(1, 4) + Fraction(1, 10**30))


@settings(deadline=None)
@given(counts, open_shares, st.integers(0, 8))
def test_the_bound_is_the_smallest_decimal_that_holds(count, confidence, digits):
    k, n = count
    bound, step = upper_bound(k, n, confidence, digits), Fraction(1, 10**digits)
    assert (bound / step).denominator == 1
    assert upper_bound_at_most(k, n, bound, confidence)
    assert not upper_bound_at_most(k, n, max(bound - step, Fraction(0)), confidence)


@settings(deadline=None)
@given(st.integers(1, 3000), st.data())
def test_the_bound_rises_with_k_and_falls_with_n(n, data):
    k = data.draw(st.integers(0, min(n - 1, 40)))
    bound = upper_bound(k, n)
    assert Fraction(k, n) < bound
    assert bound <= upper_bound(k + 1, n)
    assert upper_bound(k, n + 1) <= bound <= upper_bound(k + 1, n + 1)
    assert bound <= upper_bound(k, n, Fraction(99, 100))


def test_the_ends():
    assert upper_bound(0, 0) == upper_bound(7, 7) == upper_bound(3000, 3000) == 1
    assert upper_bound_at_most(7, 7, Fraction(1))
    assert not upper_bound_at_most(7, 7, Fraction(999_999, 1_000_000))
    assert not upper_bound_at_most(0, 5, Fraction(0))
    assert upper_bound(0, 5, digits=0) == 1
    assert upper_bound(0, 50, Fraction(1, 10**6)) == Fraction(1, 10**6)
    assert upper_bound(0, 5, 1 - Fraction(1, 10**400)) == 1  # far outside floating point


def test_bounds_are_fast_enough_for_every_k():
    for k in (0, 1, 30, 700, 1499, 1500, 2500, 2999):
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            upper_bound(k, 3000)
            best = min(best, time.perf_counter() - start)
        assert best < 1  # seconds: no k takes for ever


def test_conformal_p():
    assert conformal_p(0, 99) == Fraction(1, 100)
    assert conformal_p(4, 999) == Fraction(1, 200)
    assert conformal_p(0, 0) == 1
    # With all ranks equally likely the share of ranks with p <= t is at most t
    n = 19
    ps = [conformal_p(k, n) for k in range(n + 1)]
    assert all(sum(p <= t for p in ps) <= t * (n + 1) for t in ps)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(0, 6), st.data())
def test_the_hypergeometric_tail_counts_arrangements(m, n, data):
    j, k = data.draw(st.integers(0, m)), data.draw(st.integers(0, n))
    draws = list(itertools.combinations(range(m + n), m))
    worse = sum(sum(place < j + k for place in draw) >= j for draw in draws)
    assert hypergeometric_tail(j, m, k, n) == Fraction(worse, len(draws))


def test_fishers_tea():
    # Fisher, The Design of Experiments (1935): 3 of 4 cups right has probability 17/70
    assert hypergeometric_tail(4, 4, 0, 4) == Fraction(1, 70)
    assert hypergeometric_tail(3, 4, 1, 4) == Fraction(17, 70)
    assert hypergeometric_tail(0, 10, 5, 10) == 1
    start = time.perf_counter()
    assert hypergeometric_tail(1500, 3000, 1500, 3000) > Fraction(1, 2)
    assert time.perf_counter() - start < 1


def test_detection_probability():
    assert detection_probability(0, Fraction(1, 100)) == 0
    assert detection_probability(3, Fraction(1, 2)) == Fraction(7, 8)
    assert (
        detection_probability(299, Fraction(1, 100))
        > Fraction(95, 100)
        > detection_probability(298, Fraction(1, 100))
    )
    assert detection_probability(5, Fraction(1)) == 1
    assert detection_probability(5, Fraction(0)) == 0


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(1, 8), st.data())
def test_the_beta_binomial_tail_counts_interleavings(trials, n, data):
    """Of all orders of trials and controls, those with >= x trials above the (k+1)-th control."""
    k = data.draw(st.integers(0, n - 1))
    orders = list(itertools.combinations(range(trials + n), n))  # places of controls from the top
    for x in range(-1, trials + 2):
        hits = sum(places[k] - k >= x for places in orders)
        assert beta_binomial_tail(x, trials, k, n) == Fraction(hits, len(orders))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60), open_shares)
def test_the_critical_number_is_the_smallest(trials, n, k, confidence):
    c = beta_binomial_critical(trials, n, k, confidence)
    assert 0 <= c <= trials
    assert beta_binomial_tail(c + 1, trials, k, n) <= 1 - confidence
    if c > 0 and k < n:
        assert beta_binomial_tail(c, trials, k, n) > 1 - confidence


def test_the_beta_binomial_by_simulation_and_by_its_mean():
    trials, k, n = 50, 1, 99
    mean = sum(beta_binomial_tail(x, trials, k, n) for x in range(1, trials + 1))
    assert mean == trials * Fraction(k + 1, n + 1)
    draw = random.Random(1)
    above = 0
    for _ in range(4000):
        share = sorted(draw.random() for _ in range(n))[k]
        above += sum(draw.random() < share for _ in range(trials)) >= 3
    assert abs(above / 4000 - float(beta_binomial_tail(3, trials, k, n))) < 0.03


def test_beta_binomial_at_the_edges():
    assert beta_binomial_tail(3, 3, 5, 5) == 1  # at most 5 of 5: everything is excluded
    assert beta_binomial_critical(3, 5, 5) == 3
    assert beta_binomial_critical(0, 99, 1) == 0
    start = time.perf_counter()
    assert 0 < beta_binomial_critical(2000, 2999, 0) < 20
    assert time.perf_counter() - start < 1


@settings(deadline=None)
@given(st.fractions(-1000, 1000), st.integers(0, 12))
def test_decimals_enclose_and_are_plain(value, digits):
    up, down = decimal_up(value, digits), decimal_down(value, digits)
    assert Fraction(down) <= value <= Fraction(up)
    assert Fraction(up) - Fraction(down) in {0, Fraction(1, 10**digits)}
    for text in (up, down):
        assert re.fullmatch(PLAIN_DECIMAL, text)
        assert len(text.partition(".")[2]) == digits


def test_decimals_as_written():
    assert decimal_up(Fraction(1, 3), 3) == "0.334"
    assert decimal_down(Fraction(1, 3), 3) == "0.333"
    assert decimal_up(Fraction(1, 20), 6) == "0.050000"
    assert decimal_up(Fraction(-1, 3000), 3) == "0.000"
    assert decimal_down(Fraction(-1, 3000), 3) == "-0.001"
    assert decimal_up(Fraction(5, 2), 0) == "3"


@pytest.mark.parametrize(
    "call",
    [
        lambda: upper_bound_at_most(-1, 5, Fraction(1, 2)),
        lambda: upper_bound_at_most(6, 5, Fraction(1, 2)),
        lambda: upper_bound_at_most(0, -1, Fraction(1, 2)),
        lambda: upper_bound_at_most(0, 5, Fraction(3, 2)),
        lambda: upper_bound_at_most(0, 5, Fraction(-1, 2)),
        lambda: upper_bound_at_most(0, 5, Fraction(1, 2), Fraction(1)),
        lambda: upper_bound_at_most(0, 5, Fraction(1, 2), Fraction(0)),
        lambda: upper_bound(6, 5),
        lambda: upper_bound(0, 5, Fraction(2)),
        lambda: upper_bound(0, 5, digits=13),
        lambda: upper_bound(0, 5, digits=-1),
        lambda: conformal_p(6, 5),
        lambda: hypergeometric_tail(6, 5, 0, 1),
        lambda: hypergeometric_tail(0, 5, 2, 1),
        lambda: detection_probability(-1, Fraction(1, 2)),
        lambda: detection_probability(1, Fraction(3, 2)),
        lambda: beta_binomial_tail(0, -1, 0, 1),
        lambda: beta_binomial_tail(0, 1, -1, 1),
        lambda: beta_binomial_critical(-1, 5, 1),
        lambda: beta_binomial_critical(1, 5, 1, Fraction(1)),
        lambda: decimal_up(Fraction(1), 13),
        lambda: decimal_down(Fraction(1), -1),
    ],
)
def test_impossible_arguments_are_refused(call):
    with pytest.raises(StatisticsError):
        call()
