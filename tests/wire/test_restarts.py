"""The short way of reading a trace reads what pydantic reads, and refuses the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deniability.crypto.canonical import canonical_json
from deniability.errors import ParseError
from deniability.wire.numbers import decimal_string, order_of
from deniability.wire.restarts import Columns, RestartRecord, Restarts

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
DECIMALS = st.floats(min_value=1e-98, max_value=1e98).map(decimal_string) | st.just("0")
COUNTS = st.integers(min_value=0, max_value=2**40)
RECORDS = st.builds(
    RestartRecord,
    distance=st.none() | DECIMALS,
    index=COUNTS,
    iterations=COUNTS,
    label=st.none() | COUNTS,
    latent=st.none() | DIGESTS,
    residual=st.none() | DECIMALS,
    seed=DIGESTS,
    start=st.sampled_from(["encoder", "encoder-noise", "prior", "staged"]),
    stop=st.sampled_from(["reached", "stalled", "exhausted", "nonFinite", "notRun"]),
)
TRACES = st.lists(RECORDS, min_size=1, max_size=6)
SLOWLY = TypeAdapter(tuple[RestartRecord, ...])


def written(records) -> bytes:
    return canonical_json([record.to_wire() for record in records])


def as_pydantic_reads(trace: bytes) -> tuple[RestartRecord, ...] | None:
    try:
        records = SLOWLY.validate_json(trace)
        return records if written(records) == trace else None
    except (ValidationError, ParseError):
        return None


@given(TRACES)
def test_a_trace_is_read_as_it_was_written(records):
    read, made = Restarts.read(written(records)), Restarts(records)
    assert read is not None
    assert len(read) == len(records)
    assert read.columns == made.columns  # before a record is made of it
    assert read.orders == made.orders
    assert read[-1] == records[-1]
    assert read.leaves == made.leaves
    assert read == made == tuple(records)
    assert (hash(read), repr(read)) == (hash(made), repr(made))
    assert list(read) == records
    assert read[1:] == tuple(records[1:])


@given(TRACES, st.data())
def test_a_changed_trace_is_read_as_pydantic_reads_it_or_not_at_all(records, data):
    trace = bytearray(written(records))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(trace) - 1))
        piece = data.draw(st.sampled_from([b"", b",", b'"', b"{", b"]", b"0", b"f", b"9", b"\xe9"]))
        trace[place : place + data.draw(st.integers(0, 2))] = piece
    read = Restarts.read(bytes(trace))
    if read is not None:
        assert read.records == as_pydantic_reads(bytes(trace))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seed":"0', b'"seed":"G'),
        (b'"seed":"0', b'"seed":"A'),
        (b'"seed":"0', b'"seed":"'),
        (b'"residual":"1.00000e-02"', b'"residual":"1.00000e-2"'),
        (b'"residual":"1.00000e-02"', b'"residual":"1.00000e-00"'),
        (b'"residual":"1.00000e-02"', b'"residual":"0.10000e-02"'),
        (b'"residual":"1.00000e-02"', b'"residual":""'),
        (b'"residual":"1.00000e-02"', b'"residual":null'),
        (b'"index":7', b'"index":07'),
        (b'"index":7', b'"index":-7'),
        (b'"index":7', b'"index":99999999999999999999'),
        (b'"index":7', b'"index":7,"index":7'),
        (b'"latent"', b'"Latent"'),
        (b'"stop":"stalled"', b'"stop":"stopped"'),
        (b'"start":"prior"', b'"start":"nothing"'),
        (b'"start":"prior",', b'"start":"prior", '),
        (b"[{", b"[ {"),
        (b"}]", b"},]"),
        (b"}]", b"}]]"),
        (b"}]", b"}}]"),
        (b"},{", b"}{"),
        (b"},{", b"},,{"),
        (b"},{", b"},{},{"),
        (b"[{", b"{"),
    ],
)
def test_what_is_not_a_trace_is_not_read(old, new):
    one = {
        "index": 7,
        "iterations": 3,
        "latent": "0" * 64,
        "residual": "1.00000e-02",
        "seed": "0" * 64,
        "start": "prior",
        "stop": "stalled",
    }
    trace = canonical_json([one, one])
    assert Restarts.read(trace) is not None
    changed = trace.replace(old, new, 1)
    assert changed != trace
    assert Restarts.read(changed) is None
    assert as_pydantic_reads(changed) is None


@pytest.mark.parametrize("trace", [b"", b"[]", b"[{}]", b"{}", b"null", b"[[]]"])
def test_a_trace_without_records_is_left_to_others(trace):
    assert Restarts.read(trace) is None


def test_the_columns_are_the_fields():
    assert list(Columns.__dataclass_fields__) == list(RestartRecord.model_fields)


def test_equal_residuals_have_equal_orders_and_none_has_none():
    record = {"index": 0, "iterations": 0, "seed": "0" * 64, "start": "prior"}
    restarts = Restarts(
        [
            RestartRecord(**record, stop="stalled", residual="1.00000e-02"),
            RestartRecord(**record, stop="nonFinite"),
        ]
    )
    assert restarts.orders == [order_of("1.00000e-02"), None]
