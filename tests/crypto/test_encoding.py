import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.crypto.encoding import b64decode_strict, b64encode
from deniability.errors import ParseError, SignatureError


@settings(deadline=None)
@given(st.binary(max_size=50))
def test_round_trip(data):
    assert b64encode(data) == base64.b64encode(data).decode()
    assert b64decode_strict(b64encode(data), "x") == data


@settings(deadline=None)
@given(st.text(alphabet="QUFBQQ==_-+/ \n\u0131", max_size=12))
def test_one_spelling_per_value(text):
    try:
        data = b64decode_strict(text, "x")
    except ParseError:
        return
    assert b64encode(data) == text


@pytest.mark.parametrize(
    "text",
    [
        "QQ", "QQ=", "QQ===", "QQ==\n", " QQ==", "Q Q==", "QR==", "QQ==QQ==", "QQ==x", "_-8=",
        "Q\u00e9==", "=", "A", "Q===", "\ud800",
    ],
)  # fmt: skip
def test_refused(text):
    with pytest.raises(SignatureError, match="field: not strict base64"):
        b64decode_strict(text, "field", SignatureError)
