"""RFC 3161 timestamps: the request, and what a response shows to whoever trusts its maker.

A token dates the raw bytes of a signature. The authority's certificates are judged at the time
of the token, so that evidence does not expire. Revocation is not looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from deniability.errors import TimestampError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Largest response that is read, bytes; usual ones take 2 to 8 KiB.
MAX_RESPONSE_BYTES = 65_536
#: Most certificates inside one token, and most in a path.
MAX_CERTIFICATES = 10
_SHA256 = "2.16.840.1.101.3.4.2.1"
_STATUS = {
    1: "granted with modifications",
    2: "rejection",
    3: "waiting",
    4: "revocation warning",
    5: "revocation notification",
}


@dataclass(frozen=True)
class TimestampRequest:
    """A request to send to an authority.

    Attributes:
        der: the bytes.
        imprint: sha256 of the signature.
        nonce: to be repeated by the response.

    """

    der: bytes
    imprint: bytes
    nonce: int


@dataclass(frozen=True)
class Stamp:
    """What a token shows: the signature existed at `time`, says `authority`.

    Attributes:
        time: latest time that the token allows for: its own and its accuracy, in whole seconds,
            rounded up.
        authority: subject of the signing certificate.

    """

    time: datetime
    authority: str


@dataclass(frozen=True)
class UnknownAuthority:
    """A token by an authority that the verifier has no root of: not checked, gives no time."""

    authority: str


def build_request(signature: bytes) -> TimestampRequest:
    """Return a request for the sha256 of `signature`, with a nonce, asking for certificates."""
    # Lazily: most bundles are checked without.
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415

    made = TimestampRequestBuilder().data(signature).hash_algorithm(HashAlgorithm.SHA256)
    request = made.nonce(nonce=True).cert_request(cert_request=True).build()
    imprint = hashlib.sha256(signature).digest()
    if request.nonce is None or request.message_imprint.message != imprint:
        raise TimestampError("a timestamp request could not be made")
    return TimestampRequest(request.as_bytes(), imprint, request.nonce)


def check_response(response: bytes, request: TimestampRequest, *, where: str) -> None:
    """Check that a response answers this request.

    Raises:
        TimestampError: refused, malformed, of another imprint, or with another nonce.

    """
    parsed = _parsed(response, where)
    _check_imprint(parsed, request.imprint, where)
    if parsed.tst_info.nonce != request.nonce:
        raise TimestampError(
            "the response has another nonce than the request: it answers another one",
            where=where,
            expected=hex(request.nonce),
            found="none" if parsed.tst_info.nonce is None else hex(parsed.tst_info.nonce),
        )


def check_token(
    response: bytes, signature: bytes, *, roots: Sequence[Certificate], where: str
) -> Stamp | UnknownAuthority:
    """Check a stored response against the verifier's roots.

    The signer's certificate is followed to a root by name or key identifier; every step of that
    path has to hold, and every certificate in the token has to be on it or a self-signed one. So
    a changed certificate is refused, and does not make a known authority an unknown one.

    Raises:
        TimestampError: malformed, refused by the authority, of another signature, wrongly signed,
            or by a certificate that was not valid for timestamps at the time.

    """
    parsed = _parsed(response, where)
    _check_imprint(parsed, hashlib.sha256(signature).digest(), where)
    try:
        time: datetime = parsed.tst_info.gen_time
        path, complete = _path(parsed, roots, where)
        authority = path[0].subject.rfc4514_string() or "(no name)"
        for certificate in path:
            _check_valid_at(certificate, time, where)
        if not complete:
            return UnknownAuthority(authority)
        _check_signed(parsed, hashlib.sha256(signature).digest(), path, where)
        return Stamp(_latest(parsed, time), authority)
    except TimestampError:
        raise
    except Exception as cause:
        raise TimestampError(
            "not a token that can be read", where=where, found=str(cause)[:200]
        ) from cause


def parse_roots(pem: bytes, *, where: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM file.

    Raises:
        TimestampError: there is none, or one is damaged.

    """
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    try:
        return tuple(load_pem_x509_certificates(pem))
    except ValueError as cause:
        raise TimestampError(
            "not certificates of a timestamp authority",
            where=where,
            expected="one or more PEM blocks 'CERTIFICATE'",
        ) from cause


def _parsed(response: bytes, where: str) -> Any:
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415

    if len(response) > MAX_RESPONSE_BYTES:
        raise TimestampError(
            "the response is too large",
            where=where,
            expected=f"at most {MAX_RESPONSE_BYTES} bytes",
            found=f"{len(response)} bytes",
        )
    try:
        parsed = decode_timestamp_response(response)
        _check_form(parsed, response, where)
    except TimestampError:
        raise
    except Exception as cause:
        raise TimestampError(
            "not an RFC 3161 response", where=where, found=str(cause)[:200]
        ) from cause
    return parsed


def _check_form(parsed: Any, response: bytes, where: str) -> None:
    status = parsed.status
    if status != 0:
        raise TimestampError(
            "the authority did not grant the request",
            where=where,
            expected="status 0, granted",
            found=f"status {status}, {_STATUS.get(status, 'unknown')}",
        )
    if parsed.as_bytes() != response:
        raise TimestampError("another encoding than DER", where=where)
    if parsed.tst_info.version != 1 or len(parsed.signed_data.signer_infos) != 1:
        raise TimestampError("not a token of version 1 with one signer", where=where)


def _check_imprint(parsed: Any, imprint: bytes, where: str) -> None:
    found = parsed.tst_info.message_imprint
    algorithm = found.hash_algorithm.dotted_string
    if algorithm != _SHA256:
        raise TimestampError(
            "the imprint is made by another hash", where=where, expected="SHA-256", found=algorithm
        )
    if found.message != imprint:
        raise TimestampError(
            "the timestamp is of something else than this signature",
            where=where,
            expected=f"imprint {imprint.hex()}",
            found=f"imprint {found.message.hex()}",
        )


def _path(parsed: Any, roots: Sequence[Certificate], where: str) -> tuple[list[Certificate], bool]:
    """Follow the signer's certificate upwards; tell whether it ends at one of the roots."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

    embedded = [load_der_x509_certificate(der) for der in parsed.signed_data.certificates]
    if len(embedded) > MAX_CERTIFICATES:
        raise TimestampError("too many certificates in the token", where=where)
    (signer,) = parsed.signed_data.signer_infos
    path = [
        c for c in embedded if c.serial_number == signer.serial_number and c.issuer == signer.issuer
    ][:1]
    if not path:
        raise TimestampError("the token lacks its signer's certificate", where=where)
    complete = path[0] in roots
    while not complete and len(path) < MAX_CERTIFICATES:
        last = path[-1]
        anchor = _issuer(last, roots, where)
        if anchor is not None:
            path.append(anchor)
            complete = True
            break
        others = [c for c in embedded if c not in path]
        above = _issuer(last, others, where)
        if above is None:
            break
        path.append(above)
    for certificate in embedded:
        if certificate not in path and certificate not in roots and not _self_signed(certificate):
            raise TimestampError(
                "a certificate in the token is not on the way from its signer to a root",
                where=where,
                found=certificate.subject.rfc4514_string()[:200],
            )
    return path, complete


def _issuer(
    certificate: Certificate, candidates: Iterable[Certificate], where: str
) -> Certificate | None:
    """Return the candidate that issued a certificate; None if none is named as its issuer."""
    named = [c for c in candidates if _names(certificate, c)]
    for candidate in named:
        if _issued(certificate, candidate):
            return candidate
    if named:
        raise TimestampError(
            "a certificate in the token is not signed by the issuer that it names",
            where=where,
            found=certificate.subject.rfc4514_string()[:200],
        )
    return None


def _names(certificate: Certificate, candidate: Certificate) -> bool:
    return certificate.issuer == candidate.subject or (
        (key := _key_identifier(certificate, own=False)) is not None
        and key == _key_identifier(candidate, own=True)
    )


def _key_identifier(certificate: Certificate, *, own: bool) -> bytes | None:
    from cryptography import x509  # noqa: PLC0415

    try:
        if own:
            subject = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            return subject.value.digest
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
    return authority.value.key_identifier


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _self_signed(certificate: Certificate) -> bool:
    return certificate.issuer == certificate.subject and _issued(certificate, certificate)


def _check_valid_at(certificate: Certificate, time: datetime, where: str) -> None:
    if certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        return
    raise TimestampError(
        "a certificate was not valid when the timestamp was made",
        where=where,
        expected=f"valid at {_text(time)}",
        found=f"{certificate.subject.rfc4514_string()[:200]}, valid from "
        f"{_text(certificate.not_valid_before_utc)} to {_text(certificate.not_valid_after_utc)}",
    )


def _check_signed(parsed: Any, imprint: bytes, path: Sequence[Certificate], where: str) -> None:
    """Have signature, key usage and path checked as a whole, at the token's time."""
    from rfc3161_client import VerifierBuilder  # noqa: PLC0415
    from rfc3161_client.errors import VerificationError as Refused  # noqa: PLC0415

    builder = VerifierBuilder().add_root_certificate(path[-1])
    for certificate in path[1:-1]:
        builder = builder.add_intermediate_certificate(certificate)
    try:
        builder.build().verify(parsed, imprint)
    except Refused as cause:
        raise TimestampError(
            "the token does not verify",
            where=where,
            expected="signed by a certificate for timestamps that leads to one of your roots",
            found=str(cause)[:300],
        ) from cause


def _latest(parsed: Any, time: datetime) -> datetime:
    accuracy = parsed.tst_info.accuracy
    latest = time.astimezone(UTC)
    if accuracy is not None:
        latest += timedelta(
            seconds=accuracy.seconds or 0,
            milliseconds=accuracy.millis or 0,
            microseconds=accuracy.micros or 0,
        )
    whole = latest.replace(microsecond=0)
    return whole if whole == latest else whole + timedelta(seconds=1)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
