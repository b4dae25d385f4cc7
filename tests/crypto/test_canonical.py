import json
import time

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.crypto.canonical import (
    MAX_SAFE_INTEGER,
    canonical_json,
    deeper_than,
    parse_canonical,
)
from deniability.errors import ParseError, StatementError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
    st.text(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def parse(raw, **options):
    return parse_canonical(raw, where="f.json", **{"max_bytes": 10**6, **options})


@settings(deadline=None)
@given(values)
def test_round_trip(value):
    raw = canonical_json(value)
    assert parse(raw) == value
    assert json.loads(raw) == value


@settings(deadline=None)
@given(values)
def test_any_other_spelling_is_refused(value):
    raw = canonical_json(value)
    for other in (
        json.dumps(value, indent=1).encode(),
        json.dumps(value).encode(),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
        raw + b"\n",
        b" " + raw,
        b"\xef\xbb\xbf" + raw,
        raw + b"," + raw,
        raw.decode().encode("utf-16"),
    ):
        if other != raw:
            with pytest.raises(ParseError):
                parse(other)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_parse_canonically_or_raise_the_given_error(raw):
    try:
        value = parse(raw, error=StatementError)
    except StatementError as refused:
        assert refused.where == "f.json"  # noqa: PT017 - nothing need be raised
    else:
        assert canonical_json(value) == raw


@settings(deadline=None, max_examples=300)
@given(values, st.data())
def test_a_changed_byte_never_gives_the_same_value(value, data):
    raw = canonical_json(value)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    try:
        again = parse(changed)
    except ParseError:
        return
    assert canonical_json(again) != raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"a":1}', "the key 'a' twice"),
        (b'{"a":1,"a":2}', "the key 'a' twice"),
        (b'{"b":[{"a":1,"a":1}]}', "the key 'a' twice"),
        (b'{"a":1,"\\u0061":1}', "the key 'a' twice"),
        (b"[NaN]", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"[-0]", "another spelling of the same value, from byte 1"),
        (b"[-0.0]", "-0.0"),
        (b"[1.0]", "1.0"),
        (b"[1e3]", "1e3"),
        (b"[1e999]", "1e999"),
        (b"[0.5]", "0.5"),
        (b"[01]", "character 2"),
        (b"[+1]", "character 1"),
        (b"[9007199254740992]", "9007199254740992"),
        (b"[-9007199254740992]", "9007199254740992"),
        (b"[" + b"9" * 100_000 + b"]", "9999"),
        (b"\xef\xbb\xbf[]", "BOM"),
        (b'["\\u0061"]', "another spelling"),
        (b'["\\/"]', "another spelling"),
        (b'["\\u001F"]', "another spelling"),
        (b'["\\u000a"]', "another spelling"),
        (b'["\\ud800"]', "UTF-8"),
        (b'{"\\ud800":1}', "surrogate"),
        (b'{"\\ud800":1,"a":2}', "surrogate"),
        (b'["\xff"]', "invalid UTF-8 at byte 2"),
        (b'["\xed\xa0\x80"]', "invalid UTF-8"),
        (b'["\xc0\x80"]', "invalid UTF-8"),
        (b'["\n"]', "control character"),
        (b"[]x", "Extra data"),
        (b"[] ", "another spelling"),
        (b"[]\x00", "Extra data"),
        (b"[1, 2]", "another spelling"),
        (b'{"b":1,"a":2}', "another spelling"),
        (b'{"\xef\xac\xb3":1,"\xf0\x9f\x98\x80":2}', "another spelling"),  # UTF-16 order
        (b"[1,]", "character"),
        (b"['a']", "character"),
        (b"[1]//", "Extra data"),
        (b"", "character 0"),
        (b"[", "character"),
        (b'"', "Unterminated"),
        (b"[True]", "character"),
    ],
)
def test_refused(raw, reason):
    with pytest.raises(ParseError) as caught:
        parse(raw)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("f.json: not canonical JSON")


def test_rfc_8785_order_is_by_utf_16_units():
    # RFC 8785, section 3.2.3
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    order = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical_json(value))) == order


def test_size_is_capped_before_parsing():
    with pytest.raises(ParseError, match=r"too large \(expected at most 3 bytes, found 4 bytes\)"):
        parse(b"[11]", max_bytes=3)
    assert parse(b"[1]", max_bytes=3) == [1]


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_capped_before_parsing(pair):
    opening, closing = pair
    inner = b"[]"
    parse(opening * 31 + inner + closing * 31)
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(opening * 32 + inner + closing * 32)
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(opening * 100_000)
    with pytest.raises(ParseError, match="not canonical"):
        parse(closing * 50 + opening * 32)


def test_brackets_in_strings_are_not_nesting():
    for text in ("[" * 100, '"[{' * 100, "\\" * 51 + "[" * 100, "]" * 100):
        value = {text: [text]}
        assert parse(canonical_json(value)) == value
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(canonical_json("]" * 100)[:-1] + b'",' + b"[" * 40)


@pytest.mark.parametrize(
    "raw",
    [b'"' + b'\\"' * 500_000, b'"' * 1_000_000, b'"\\' * 500_000, b"\\" * 1_000_000, b"]" * 10**6],
)
def test_hostile_quotes_take_linear_time(raw):
    start = time.perf_counter()
    with pytest.raises(ParseError):
        parse(raw)
    assert time.perf_counter() - start < 3


def test_recursion_is_caught_where_the_depth_limit_is_lifted():
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(b"[" * 20_000 + b"]" * 20_000, max_depth=20_000)


def test_writing_refuses_what_json_cannot_carry_exactly():
    cycle = []
    cycle.append(cycle)
    for value in (
        0.5,
        {"a": [1.0]},
        (float("nan"),),
        MAX_SAFE_INTEGER + 1,
        {1: 2},
        {"a": b"x"},
        {1, 2},
        "\ud800",
        {"\ud800": 1},
        cycle,
        object(),
    ):
        with pytest.raises(ParseError):
            canonical_json(value)
    assert canonical_json({"b": (1, True), "a": None}) == b'{"a":null,"b":[1,true]}'


def test_the_one_duplicate_among_many_keys_is_named_in_linear_time():
    names = [*(f"k{number}" for number in range(60_000)), "k59999"]
    raw = b"{" + b",".join(b'"%s":1' % name.encode() for name in names) + b"}"
    began = time.process_time()
    with pytest.raises(ParseError, match="the key 'k59999' twice"):
        parse(raw)
    assert time.process_time() - began < 5


@given(values)
def test_what_the_standard_library_writes_is_what_rfc_8785_asks_for(value):
    expected = rfc8785.dumps(value)
    assert canonical_json(value) == expected
    assert parse_canonical(expected, where="x", max_bytes=10**6) == value


@given(st.text(st.sampled_from('[]{}"\\ab'), max_size=40))
def test_depth_is_that_of_the_brackets_outside_strings(text):
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    for limit in range(4):
        assert deeper_than(text.encode(), limit) is (deepest > limit)
