from hypothesis import given, settings
from hypothesis import strategies as st

from deniability.crypto.dsse import pae


def test_the_protocols_own_example():
    # DSSE v1.0.2, protocol.md, test vectors
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_of_bytes():
    assert pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "
    assert pae("", "日".encode()) == b"DSSEv1 0  3 \xe6\x97\xa5"


def unpack(message):
    assert message.startswith(b"DSSEv1 ")
    length, _, rest = message[7:].partition(b" ")
    kind, rest = rest[: int(length)], rest[int(length) :]
    assert rest[:1] == b" "
    length, _, payload = rest[1:].partition(b" ")
    assert len(payload) == int(length)
    return kind.decode(), payload


@settings(deadline=None)
@given(st.text(), st.binary())
def test_it_can_be_read_back_so_no_two_pairs_share_an_encoding(kind, payload):
    assert unpack(pae(kind, payload)) == (kind, payload)
