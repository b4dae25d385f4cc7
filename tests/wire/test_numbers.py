"""Decimal strings: six digits, to nearest or up, against arithmetic in fractions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deniability.errors import StatisticsError
from deniability.wire.base import DecimalString, PlainDecimal, Timestamp
from deniability.wire.numbers import decimal_string, decimal_string_up, fraction_of, order_of

many = settings(max_examples=300, deadline=None)
DECIMAL, PLAIN, TIME = (TypeAdapter(kind) for kind in (DecimalString, PlainDecimal, Timestamp))
residuals = st.floats(1e-90, 1e90)
fractions = st.builds(
    lambda digits, exponent: Fraction(digits) * Fraction(10) ** exponent,
    st.integers(1, 10**24),
    st.integers(-60, 40),
)


@many
@given(residuals)
def test_a_residual_is_written_to_within_half_a_unit_of_the_last_digit(value):
    text = decimal_string(value)
    assert DECIMAL.validate_python(text) == text
    unit = Fraction(10) ** (int(text[8:]) - 5)
    assert abs(fraction_of(text) - Fraction(value)) <= unit / 2
    assert decimal_string(float(fraction_of(text))) == text


@many
@given(fractions)
def test_rounded_up_is_the_least_that_is_not_below(value):
    text = decimal_string_up(value)
    assert DECIMAL.validate_python(text) == text
    unit = Fraction(10) ** (int(text[8:]) - 5)
    assert value <= fraction_of(text) < value + unit


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e100, 1e-100])
def test_what_has_no_decimal_string(value):
    with pytest.raises(StatisticsError):
        decimal_string(value)


@many
@given(
    st.text("0123456789.eE+-_ \n\u0663", max_size=13)
    | st.from_regex(r"\A(0|[0-9]\.[0-9]{5}e[+-][0-9]{2})\Z")
)
def test_one_spelling_of_every_number(text):
    try:
        DECIMAL.validate_python(text)
    except ValidationError:
        return
    value = fraction_of(text)
    assert decimal_string(float(value)) == text
    assert value >= 0


@many
@given(st.text("0123456789.-+e\n\u0663", max_size=13))
def test_plain_numbers_are_what_fractions_read(text):
    try:
        PLAIN.validate_python(text)
    except ValidationError:
        return
    assert text.isascii()
    assert Fraction(text).denominator <= 10**12


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-19-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00Z\n",
    ],
)
def test_times_that_do_not_exist_or_are_written_otherwise(text):
    with pytest.raises(ValidationError):
        TIME.validate_python(text)
    assert TIME.validate_python("2024-02-29T23:59:59Z")


@given(st.floats(0, 1e90, allow_subnormal=False), st.floats(0, 1e90, allow_subnormal=False))
def test_decimal_strings_are_ordered_as_their_values(one, other):
    texts = [decimal_string(value) if value > 1e-90 else "0" for value in (one, other)]
    values = [Fraction(text) for text in texts]
    keys = [order_of(text) for text in texts]
    assert (keys[0] < keys[1], keys[0] == keys[1]) == (
        values[0] < values[1],
        values[0] == values[1],
    )
