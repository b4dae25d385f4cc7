"""Exact tail probabilities and bounds of the verdict rule (DESIGN section 1).

Integers and fractions only: prover and verifier get the same answer on every machine, and a
comparison with alpha is never decided by rounding.
"""

from __future__ import annotations

import math
from fractions import Fraction

from deniability.errors import StatisticsError

#: Confidence of every one-sided bound.
CONFIDENCE = Fraction(95, 100)


def upper_bound_at_most(k: int, n: int, alpha: Fraction, confidence: Fraction = CONFIDENCE) -> bool:
    """Tell whether the one-sided Clopper-Pearson upper bound for `k` of `n` is at most `alpha`.

    By definition of the bound (Clopper and Pearson, 1934) that is the case if and only if
    P(Binomial(n, alpha) <= k) <= 1 - confidence, which is decided in integers; if k = n the bound
    is 1.

    Raises StatisticsError unless 0 <= k <= n, 0 <= alpha <= 1 and 0 < confidence < 1.
    """
    _check_count(k, n)
    _check_share(alpha, "alpha")
    _check_confidence(confidence)
    return _tail_at_most(k, n, alpha, 1 - confidence)


def upper_bound(k: int, n: int, confidence: Fraction = CONFIDENCE, digits: int = 6) -> Fraction:
    """Return the one-sided Clopper-Pearson upper bound, rounded up to `digits` decimals.

    The result is the smallest multiple of 10^-digits for which `upper_bound_at_most` holds (1 if
    k = n). A floating-point guess says where to look first; exact comparisons decide.

    Raises StatisticsError unless 0 <= k <= n, 0 < confidence < 1 and 0 <= digits <= 12.
    """
    _check_count(k, n)
    _check_confidence(confidence)
    _check_digits(digits)
    unit = 10**digits
    if k == n:
        return Fraction(1)
    tail = 1 - confidence

    def holds(step: int) -> bool:
        return _tail_at_most(k, n, Fraction(step, unit), tail)

    low, high = 0, unit  # holds(high) and not holds(low): at p = 0 the tail is 1, at p = 1 it is 0
    probe, stride = min(max(math.ceil(_guess(k, n, float(tail)) * unit), 1), unit - 1), 1
    while low < probe < high:
        if holds(probe):
            high, probe = probe, max(probe - stride, low)
        else:
            low, probe = probe, min(probe + stride, high)
        stride *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return Fraction(high, unit)


def largest_passing(n: int, alpha: Fraction, confidence: Fraction = CONFIDENCE) -> int:
    """Return the largest k for which `upper_bound_at_most` holds with `n`; -1 if for none.

    Raises StatisticsError as that does.
    """
    k = -1
    while k < n and upper_bound_at_most(k + 1, n, alpha, confidence):
        k += 1
    return k


def conformal_p(k: int, n: int) -> Fraction:
    """Return the conformal p-value (1 + k)/(n + 1) for `k` of `n` controls at least as extreme.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), chapter 2.
    Raises StatisticsError unless 0 <= k <= n.
    """
    _check_count(k, n)
    return Fraction(1 + k, n + 1)


def hypergeometric_tail(j: int, m: int, k: int, n: int) -> Fraction:
    """Return P(J >= j) when `j` of `m` fresh and `k` of `n` old controls are extreme.

    Given their total j + k, and if fresh and old ones are exchangeable, J is hypergeometric: the
    one-sided exact test of Fisher (1935). Small values say that the fresh tail is worse.

    Raises StatisticsError unless 0 <= j <= m and 0 <= k <= n.
    """
    _check_count(j, m)
    _check_count(k, n)
    total = j + k
    ways = math.comb(total, j) * math.comb(m + n - total, m - j)  # of J = j
    tail = 0
    for i in range(j, min(total, m) + 1):
        tail += ways
        # C(total, i) C(m + n - total, m - i) to the next i; exact
        ways = ways * (total - i) * (m - i) // ((i + 1) * (n - total + i + 1))
    return Fraction(tail, math.comb(m + n, m))


def detection_probability(m: int, alpha: Fraction) -> Fraction:
    """Return 1 - (1 - alpha)^m: how probably `m` fresh draws show a tail of size `alpha`.

    Raises StatisticsError unless m >= 0 and 0 <= alpha <= 1.
    """
    _check_count(0, m)
    _check_share(alpha, "alpha")
    return 1 - (1 - alpha) ** m


def beta_binomial_tail(x: int, trials: int, k: int, n: int) -> Fraction:
    """Return P(X >= x) for the number X of `trials` own outputs excluded by one set of controls.

    The rule "at most k of the n controls are >= s" excludes the share of outputs above the
    (k + 1)-th largest control. Under exchangeability that share is at most Beta(k + 1, n - k), so
    X, whose trials share these controls, is at most BetaBinomial(trials, k + 1, n - k). With k >= n
    the rule excludes everything.

    Raises StatisticsError if a count is negative.
    """
    for count in (trials, k, n):
        _check_count(0, count)
    if x <= 0:
        return Fraction(1)
    if x > trials:
        return Fraction(0)
    if k >= n:
        return Fraction(1)
    every = math.comb(trials + n, trials)
    return Fraction(every - sum(_beta_binomial_ways(i, trials, k, n) for i in range(x)), every)


def beta_binomial_critical(
    trials: int, n: int, k_max: int, confidence: Fraction = CONFIDENCE
) -> int:
    """Return the smallest c with P(X > c) <= 1 - confidence, X as in `beta_binomial_tail`.

    More than c exclusions among `trials` own outputs contradict the rule's promise.

    Raises StatisticsError if a count is negative, or unless 0 < confidence < 1.
    """
    for count in (trials, k_max, n):
        _check_count(0, count)
    _check_confidence(confidence)
    if k_max >= n:
        return trials
    wanted = confidence * math.comb(trials + n, trials)
    at_most, c = 0, -1  # at_most = ways of X <= c
    while at_most < wanted:
        c += 1
        at_most += _beta_binomial_ways(c, trials, k_max, n)
    return c


def decimal_up(fraction: Fraction, digits: int) -> str:
    """Return `fraction` in plain decimals with exactly `digits` of them, rounded up."""
    _check_digits(digits)
    return _decimal(math.ceil(fraction * 10**digits), digits)


def decimal_down(fraction: Fraction, digits: int) -> str:
    """Return `fraction` in plain decimals with exactly `digits` of them, rounded down."""
    _check_digits(digits)
    return _decimal(math.floor(fraction * 10**digits), digits)


def _decimal(scaled: int, digits: int) -> str:
    text = str(abs(scaled)).rjust(digits + 1, "0")
    point = len(text) - digits
    sign = "-" if scaled < 0 else ""
    return sign + text[:point] + ("." + text[point:] if digits else "")


def _tail_at_most(k: int, n: int, p: Fraction, limit: Fraction) -> bool:
    """Decide P(Binomial(n, p) <= k) <= limit, 0 < limit < 1, in integers."""
    if p == 0:
        return False
    if p == 1:
        return True  # the bound is never above 1, and is 1 where k = n
    if k == n:
        return False
    a, b = p.numerator, p.denominator
    c = b - a
    if 2 * k < n:
        numerator, denominator = _ratio_sum(k, n, a, c)
        # P = (c/b)^n · numerator/denominator
        return bool(limit.denominator * c**n * numerator <= limit.numerator * denominator * b**n)
    # The other side has fewer terms: P = 1 - P(Binomial(n, 1 - p) <= n - k - 1)
    numerator, denominator = _ratio_sum(n - k - 1, n, c, a)
    rest = limit.denominator - limit.numerator
    return bool(limit.denominator * a**n * numerator >= rest * denominator * b**n)


def _ratio_sum(k: int, n: int, a: int, c: int) -> tuple[int, int]:
    """Return sum over i <= k of C(n, i) (a/c)^i as (numerator, denominator).

    The ratio of term j to term j - 1 is (n - j + 1) a / (j c); binary splitting keeps the
    factors of every product about equally long, so that large k stays fast.
    """

    def split(first: int, end: int) -> tuple[int, int, int]:
        if end - first == 1:
            p = (n - first + 1) * a
            return p, first * c, p
        middle = (first + end) // 2
        p, q, t = split(first, middle)
        p2, q2, t2 = split(middle, end)
        return p * p2, q * q2, t * q2 + p * t2

    if k == 0:
        return 1, 1
    _, q, t = split(1, k + 1)
    return q + t, q


def _guess(k: int, n: int, tail: float) -> float:
    """Return the bound approximately, by bisection in floating point (0 <= k < n)."""
    top = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    low, high = k / n, 1.0
    for _ in range(40):
        p = (low + high) / 2
        if not 0 < p < 1:
            break
        term = math.exp(max(top + k * math.log(p) + (n - k) * math.log1p(-p), -700))
        total, ratio = 0.0, (1 - p) / p
        for i in range(k, -1, -1):
            total += term
            if term < total * 1e-12:
                break
            term *= i / (n - i + 1) * ratio
        low, high = (p, high) if total > tail else (low, p)
    return high


def _beta_binomial_ways(x: int, trials: int, k: int, n: int) -> int:
    """Return P(X = x) times C(trials + n, trials): the negative hypergeometric form."""
    return math.comb(x + k, k) * math.comb(trials - x + n - k - 1, trials - x)


def _check_count(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise StatisticsError(
            "an impossible count", expected=f"a number from 0 to {n}", found=str(k)
        )


def _check_share(share: Fraction, name: str) -> None:
    if not 0 <= share <= 1:
        raise StatisticsError(
            f"{name} is not a share", expected="a number from 0 to 1", found=str(share)
        )


def _check_confidence(confidence: Fraction) -> None:
    if not 0 < confidence < 1:
        raise StatisticsError(
            "not a confidence level", expected="more than 0, less than 1", found=str(confidence)
        )


def _check_digits(digits: int) -> None:
    if not 0 <= digits <= 12:
        raise StatisticsError("too many decimals", expected="0 to 12", found=str(digits))
