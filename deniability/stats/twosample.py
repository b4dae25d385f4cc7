"""Exact tests that own outputs are no farther than controls, ties and shared controls allowed for.

Own outputs and controls are exchangeable if the procedure treats them alike. Then every order of
the two among one another is equally likely, and probabilities are counts of orders: integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby

from deniability.errors import StatisticsError

#: Exact residuals; a float only where infinite.
Value = Fraction | float


def largest_excess(own: Sequence[Value], controls: Sequence[Value]) -> int:
    """Return the largest value of i·n - j·m over all residuals t.

    Here i of the m own ones and j of the n controls are at least t; divided by m·n it is the
    one-sided Kolmogorov-Smirnov statistic. It is 0 if own outputs are nowhere ahead. Residuals that
    tie are passed together, never one by one.

    Raises:
        StatisticsError: one of the samples is empty.

    """
    m, n = len(own), len(controls)
    if not m or not n:
        raise StatisticsError("a sample without values", found=f"{m} and {n}")
    marked = [(value, True) for value in own] + [(value, False) for value in controls]
    marked.sort(key=lambda pair: pair[0], reverse=True)
    largest = i = j = 0
    for _, tied in groupby(marked, key=lambda pair: pair[0]):
        for _, is_own in tied:
            i, j = (i + 1, j) if is_own else (i, j + 1)
        largest = max(largest, i * n - j * m)
    return largest


def excess_tail(excess: int, m: int, n: int) -> Fraction:
    """Return P(largest excess >= `excess`) if all orders of m and n values are equally likely.

    By counting lattice paths that stay below it (Hodges, Arkiv för Matematik 3, 1958). That is
    exact without ties. Ties leave out places at which the maximum is taken, which makes the
    statistic smaller: then the probability is an upper bound, and the test errs on passing.

    Raises:
        StatisticsError: a count is not positive.

    """
    if m < 1 or n < 1:
        raise StatisticsError("a sample without values", found=f"{m} and {n}")
    if excess <= 0:
        return Fraction(1)
    if excess > m * n:
        return Fraction(0)
    # paths[i]: ways to have passed i own values and j controls without ever reaching the excess.
    paths = [0] * (m + 1)
    for j in range(n + 1):
        for i in range(m + 1):
            if i * n - j * m >= excess:
                break  # and so for every larger i, now and before: those are still 0
            if j == 0:
                paths[i] = 1
            elif i:
                paths[i] += paths[i - 1]
    every = math.comb(m + n, m)
    return Fraction(every - paths[m], every)


def area_under_curve(own: Sequence[Value], others: Sequence[Value]) -> Fraction:
    """Return the share of pairs in which the other residual is the larger; ties count half.

    It is the area under the curve of true over false denials (Mann and Whitney, 1947).

    Raises:
        StatisticsError: one of the samples is empty.

    """
    if not own or not others:
        raise StatisticsError("a sample without values", found=f"{len(own)} and {len(others)}")
    marked = sorted([(value, 0) for value in own] + [(value, 1) for value in others])
    below = twice = 0
    for _, tied in groupby(marked, key=lambda pair: pair[0]):
        kinds = [which for _, which in tied]
        here, there = kinds.count(0), kinds.count(1)
        twice += there * (2 * below + here)
        below += here
    return Fraction(twice, 2 * len(own) * len(others))
