"""Numbers on the wire: residuals as decimal strings with six significant digits."""

from __future__ import annotations

import math
from fractions import Fraction

from deniability.errors import StatisticsError


def decimal_string(value: float) -> str:
    """Write a finite residual >= 0 as "0" or "d.ddddde±dd", rounded to nearest.

    Raises:
        StatisticsError: the value is negative, not finite, or outside 1e-99 … 1e99.

    """
    if value == 0:
        return "0"
    text = f"{value:.5e}"
    if not math.isfinite(value) or value < 0 or len(text) != len("1.00000e-05"):
        raise StatisticsError("a residual that cannot be written", found=repr(value))
    return text


def fraction_of(text: str) -> Fraction:
    """Read a decimal string of any of the wire's kinds exactly."""
    return Fraction(text)


def order_of(text: str) -> tuple[int, str]:
    """Return a key by which decimal strings sort as their values do, without reading them.

    The mantissa has one digit before the point, which is not 0, so the exponent decides first.
    """
    return (-1000, "") if text == "0" else (int(text[8:]), text[:7])


def decimal_string_up(value: Fraction) -> str:
    """Write a fraction >= 0 as a decimal string that is not below it.

    Raises:
        StatisticsError: as `decimal_string`.

    """
    text = decimal_string(float(value))
    if Fraction(text) >= value:
        return text
    mantissa, exponent = text.split("e")
    digits = int(mantissa.replace(".", "")) + 1
    shift = int(exponent)
    if digits == 10**6:
        digits, shift = 10**5, shift + 1
    sign = "-" if shift < 0 else "+"
    return f"{digits // 10**5}.{digits % 10**5:05d}e{sign}{abs(shift):02d}"
