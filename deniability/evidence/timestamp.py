"""`deny timestamp`: tokens of authorities over a file's signature, added all or none."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.crypto.canonical import canonical_json
from deniability.crypto.encoding import b64decode_strict, b64encode
from deniability.crypto.timestamps import (
    MAX_RESPONSE_BYTES,
    Stamp,
    UnknownAuthority,
    build_request,
    check_response,
    check_token,
)
from deniability.errors import OutputError
from deniability.evidence.chain import locked
from deniability.evidence.web import TIMEOUT, check_url, fetch
from deniability.verify.parse import MAX_BUNDLE_BYTES, parse_bundle
from deniability.verify.timestamps import check_timestamps
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.statement import SignedTimestamp

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Most timestamps of one file (SPEC.md, TimestampData).
MAX_TIMESTAMPS = 16
_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
}


@dataclass(frozen=True)
class Stamped:
    """One token that was added.

    Attributes:
        url: of the authority.
        shown: what it shows to whoever has the given roots.

    """

    url: str
    shown: Stamp | UnknownAuthority


def add_timestamps(
    path: Path,
    urls: Sequence[str],
    *,
    roots: Sequence[Certificate] = (),
    timeout: float = TIMEOUT,
) -> list[Stamped]:
    """Have a bundle, registration or chain timestamped, and write the tokens into it.

    Every answer is checked before anything is written; if one fails, nothing is.

    Args:
        path: the file.
        urls: authorities, one token each.
        roots: to check the tokens with, as a verifier will.
        timeout: seconds for each authority.

    Raises:
        InputError, ParseError: no such file, or not one of ours.
        UncheckedError: an authority does not answer.
        TimestampError: an answer is bad.
        OutputError: the file would have too many timestamps, or cannot be written.

    """
    for url in urls:
        check_url(url, option="--tsa")
    with locked(path) if path.name.endswith(".chain.json") else contextlib.nullcontext():
        raw = read_capped(path, MAX_BUNDLE_BYTES, what="bundle")
        bundle = parse_bundle(raw, where=str(path))
        signature = b64decode_strict(bundle.dsse_envelope.signatures[0].sig, str(path))
        there = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps
        if len(there) + len(urls) > MAX_TIMESTAMPS:
            raise OutputError(
                "too many timestamps",
                where=str(path),
                expected=f"at most {MAX_TIMESTAMPS}",
                found=f"{len(there)} there and {len(urls)} more",
            )
        check_timestamps(there, signature, roots=roots, where=str(path))
        made, tokens = [], []
        for url in urls:
            response, shown = _token(url, signature, roots, timeout)
            made.append(Stamped(url, shown))
            tokens.append(SignedTimestamp(signed_timestamp=b64encode(response)))
        wire = bundle.to_wire()
        material = wire["verificationMaterial"]["timestampVerificationData"]
        material["rfc3161Timestamps"] = [token.to_wire() for token in (*there, *tokens)]
        written = canonical_json(wire)
        parse_bundle(written, where=str(path))
        write_atomic(path, written)
    return made


def _token(
    url: str, signature: bytes, roots: Sequence[Certificate], timeout: float
) -> tuple[bytes, Stamp | UnknownAuthority]:
    request = build_request(signature)
    response = fetch(
        url, data=request.der, headers=_HEADERS, max_bytes=MAX_RESPONSE_BYTES, timeout=timeout
    )
    check_response(response, request, where=url)
    return response, check_token(response, signature, roots=roots, where=url)
