"""Tests that a search is no luckier than others: exact probabilities by enumeration."""

import itertools
import math
from fractions import Fraction

import pytest

from deniability.errors import StatisticsError
from deniability.stats.evaluation import FamilyRule
from deniability.stats.replication import (
    FRESH_TESTS,
    PAIRED_TESTS,
    Tally,
    fresh_level,
    fresh_tests,
    odd_tail,
    paired_level,
    tally,
)

LOWEST = Fraction(1)


def test_of_every_order_of_three_searches_the_stated_one_stands_out_as_often_as_any():
    """All orders of alike searches, pictures of all sorts: p is at most t with probability t."""
    pictures = [(1, 1, 9), (1, 9, 9), (2, 3, 3), (1, 9, 90)]
    lows, highs = [], []
    for orders in itertools.product(*(list(itertools.permutations(p)) for p in pictures)):
        found = tally([o[0] for o in orders], [o[1:] for o in orders], LOWEST)
        assert (found.pictures, found.low, found.high) == (4, 2, 2)
        lows.append(found.p_low)
        highs.append(found.p_high)
    for values in (lows, highs):
        for level in {Fraction(1, 20), *values}:
            assert Fraction(sum(p <= level for p in values), len(values)) <= level
        assert min(values) == Fraction(1, 9)


def test_copies_of_a_search_never_make_it_stand_out():
    found = tally([5, 5], [(5, 1), (5, 90)], LOWEST)
    assert (found.low, found.high) == (1, 1)
    assert found.stated_low == found.stated_high == 0
    assert found.p_low == found.p_high == 1


@pytest.mark.parametrize(
    ("stated", "again", "expected"),
    [
        (3, (7, 8), (1, 1, 0, 0)),
        (3, (6, 6), (0, 0, 0, 0)),  # by a factor of 2, which is not clearly
        (30, (7, 8), (0, 0, 1, 1)),
        (math.inf, (7, 8), (0, 0, 1, 1)),
        (7, (math.inf, 8), (0, 0, 1, 0)),
        (math.inf, (math.inf, 8), (1, 0, 0, 0)),
        (math.inf, (math.inf, math.inf), (0, 0, 0, 0)),
        (0, (Fraction(1, 3), 1), (0, 0, 0, 0)),  # all count as the lowest
        (0, (3, 4), (1, 1, 0, 0)),
        (1, (4, 16), (1, 1, 1, 0)),
    ],
)
def test_which_search_stands_out(stated, again, expected):
    found = tally([stated], [again], LOWEST)
    assert (found.low, found.stated_low, found.high, found.stated_high) == expected


def test_tallies_are_pooled():
    one, two = tally([3], [(7, 8)], LOWEST), tally([30], [(7, 8)], LOWEST)
    assert one + two == Tally(pictures=2, low=1, stated_low=1, high=1, stated_high=1)
    pooled = Tally()
    for _ in range(5):
        pooled += one
    assert pooled.p_low == Fraction(1, 3**5) < paired_level()
    assert (one + one + one + one).p_low > paired_level()


def test_tails_of_a_third():
    assert odd_tail(0, 0) == odd_tail(0, 4) == 1
    assert odd_tail(4, 4) == Fraction(1, 81)
    assert odd_tail(3, 4) == Fraction(9, 81)
    with pytest.raises(StatisticsError, match="impossible"):
        odd_tail(5, 4)


def test_all_levels_together_are_the_confidence():
    for families in (1, 7, 64):
        spent = PAIRED_TESTS * paired_level() + FRESH_TESTS * families * fresh_level(families)
        assert spent == Fraction(1, 20)


def rule(controls):
    return FamilyRule(
        residuals=tuple(controls), allowed=1, margin=Fraction(10), reached=Fraction(1)
    )


def test_fresh_denials_are_counted_by_the_stated_rule():
    found = fresh_tests([0] * 6 + [20] * 4, [0] * 40, rule([0] * 99), LOWEST)
    assert (found.count, found.denied, found.stated, found.stated_denied) == (10, 4, 40, 0)
    assert found.p_denied == Fraction(math.comb(10, 4), math.comb(50, 4)) < fresh_level(1)
    assert found.p_controls == Fraction(math.comb(10, 4), math.comb(109, 4))


def test_fresh_outputs_that_are_alike_pass_and_small_differences_do_not_count():
    alike = fresh_tests([Fraction(1, 2)] * 10, [0] * 40, rule([0] * 99), LOWEST)
    assert alike.p_denied == alike.p_own == alike.p_controls == 1
    nearer = fresh_tests([0] * 10, [5] * 40, rule([5] * 99), LOWEST)
    assert min(nearer.p_denied, nearer.p_own, nearer.p_controls) == 1


def test_fresh_outputs_that_are_all_farther_fail_without_a_denial():
    found = fresh_tests([5] * 10, [0] * 40, rule([5] * 99), LOWEST)
    assert found.denied == 0
    assert found.p_own == Fraction(1, math.comb(50, 10))
    assert found.p_controls == 1
