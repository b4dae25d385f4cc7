"""DSSE 1.0.2 pre-authentication encoding: what a signature in an envelope is made over."""

from __future__ import annotations


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload` (DSSE protocol, v1).

    Lengths count bytes: a type outside ASCII is measured after UTF-8 encoding.
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
