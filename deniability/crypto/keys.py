"""Signing keys: ECDSA P-256 with SHA-256, or Ed25519; PKCS#8 PEM private, SPKI PEM public.

Signatures have one form each, so a third party cannot turn one valid bundle into another:
for ECDSA both (r, s) and (r, n - s) would verify, and other signers make either, so ours makes and
accepts only s <= n/2, in strict DER; for Ed25519 the check S < L of RFC 8032 does the same.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from deniability.crypto.digest import sha256_hex
from deniability.errors import KeyFileError, SignatureError

Algorithm = Literal["ecdsa-p256", "ed25519"]
_Key = TypeVar("_Key")

#: Order n of the group of P-256 (FIPS 186-5; SEC 2, section 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
#: Largest key file that is read.
MAX_KEY_BYTES = 16_384

_PEM_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----", re.MULTILINE)
_HINTS = {
    "CERTIFICATE": "Take the key out: openssl x509 -in FILE -noout -pubkey.",
    "EC PRIVATE KEY": "Convert it: openssl pkcs8 -topk8 -in FILE -out NEW (chmod 600 NEW).",
    "EC PARAMETERS": "Convert it: openssl pkcs8 -topk8 -in FILE -out NEW (chmod 600 NEW).",
}
_ACCEPTED = "an ECDSA P-256 or Ed25519 key"


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with, held as the DER of its SPKI.

    Raises KeyFileError if the bytes are not exactly the usual SPKI of an accepted key (named
    curve, uncompressed point, nothing behind it).
    """

    der: bytes
    algorithm: Algorithm = field(init=False, compare=False)
    _key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey = field(
        init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        try:
            key = serialization.load_der_public_key(self.der)
        except (ValueError, UnsupportedAlgorithm) as cause:
            raise KeyFileError("not a public key that can be used", expected=_ACCEPTED) from cause
        if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise KeyFileError("a public key of the wrong kind", expected=_ACCEPTED)
        object.__setattr__(self, "algorithm", _algorithm(key))
        object.__setattr__(self, "_key", key)
        if self.der != _spki(key):
            raise KeyFileError(
                "a public key in an unusual encoding",
                expected="SPKI with the curve's name and an uncompressed point",
            )

    @property
    def keyid(self) -> str:
        """Hex sha256 of the SPKI DER: a name, never a reason to trust."""
        return sha256_hex(self.der)

    @property
    def pem(self) -> bytes:
        """The key as SPKI PEM."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a signature over `message`.

        Raises SignatureError if it is not this key's, or (ECDSA) not strict DER with
        1 <= r < n and 1 <= s <= n/2.
        """
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                _check_ecdsa_form(signature)
                self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as cause:
            raise SignatureError(
                "the signature was not made by this key over these bytes",
                expected=f"a signature by key {self.keyid}",
            ) from cause


@dataclass(frozen=True, eq=False)
class PrivateKey:
    """A key that signs. It never shows itself in a `repr`.

    Raises KeyFileError if the key is of another kind or curve.
    """

    _key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)
    public: PublicKey = field(init=False)

    def __post_init__(self) -> None:
        public = self._key.public_key()
        _algorithm(public)
        object.__setattr__(self, "public", PublicKey(_spki(public)))

    @property
    def algorithm(self) -> Algorithm:
        """Which of the accepted algorithms this key is for."""
        return self.public.algorithm

    def sign(self, message: bytes) -> bytes:
        """Return the signature over `message`; the same message always gives the same one.

        ECDSA: DER, nonce by RFC 6979, s brought to at most n/2. Ed25519: 64 bytes, RFC 8032.
        """
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        scheme = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self._key.sign(message, scheme))
        return encode_dss_signature(r, min(s, P256_ORDER - s))


def generate_key(algorithm: Algorithm = "ecdsa-p256") -> PrivateKey:
    """Return a fresh key from the system's randomness."""
    if algorithm == "ecdsa-p256":
        return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    if algorithm == "ed25519":
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    raise KeyFileError(
        "unknown kind of key", expected=" or ".join(get_args(Algorithm)), found=repr(algorithm)
    )


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """Return PKCS#8 PEM, encrypted if a passphrase is given. Write it with mode 0600."""
    if passphrase == b"":
        raise KeyFileError("the passphrase is empty", hint="Give one, or none at all.")
    encryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    try:
        return key._key.private_bytes(  # noqa: SLF001 - this module owns the class
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    except ValueError as cause:  # e.g. longer than OpenSSL takes
        raise KeyFileError("the passphrase cannot be used", found=str(cause)) from cause


def is_encrypted(pem: bytes) -> bool:
    """Tell whether this is a private key that needs a passphrase."""
    match = _PEM_LABEL.search(pem)
    return match is not None and match[1] == b"ENCRYPTED PRIVATE KEY"


def load_private_key(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKey:
    """Read a PKCS#8 PEM private key.

    Raises KeyFileError, naming `where`, for public keys, other formats, kinds and curves, and
    for a passphrase that is missing, wrong or not needed.
    """
    label = _sole_label(pem, where)
    if label == "PUBLIC KEY":
        raise KeyFileError(
            "a public key where a private one is needed",
            where=where,
            hint="Give the private key file, e.g. the one without .pub in its name.",
        )
    if label == "ENCRYPTED PRIVATE KEY" and not passphrase:
        raise KeyFileError("the key is encrypted and no passphrase was given", where=where)
    if label == "PRIVATE KEY" and passphrase is not None:
        raise KeyFileError(
            "a passphrase was given, but the key is not encrypted",
            where=where,
            hint="Leave the passphrase out.",
        )
    if label not in {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}:
        raise _wrong_format(label, where, "a PKCS#8 PEM private key")
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        what = "the passphrase is wrong or the key is damaged" if passphrase else "a damaged key"
        raise KeyFileError(what, where=where, expected="a PKCS#8 PEM private key") from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyFileError(
            "a private key of the wrong kind",
            where=where,
            expected=_ACCEPTED,
            hint="Make one with: deny keygen.",
        )
    return _at(where, lambda: PrivateKey(key))


def load_public_key(pem: bytes, where: str) -> PublicKey:
    """Read an SPKI PEM public key.

    Raises KeyFileError, naming `where`, for private keys, certificates, other kinds and curves,
    and anything that is not one PEM block.
    """
    label = _sole_label(pem, where)
    if label.endswith("PRIVATE KEY"):
        raise KeyFileError(
            "a private key where a public one is needed",
            where=where,
            hint="Give the public key file, and keep this one to yourself.",
        )
    if label != "PUBLIC KEY":
        raise _wrong_format(label, where, "an SPKI PEM public key")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise KeyFileError("a damaged or unknown public key", where=where) from cause
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise KeyFileError("a public key of the wrong kind", where=where, expected=_ACCEPTED)
    return _at(where, lambda: PublicKey(_spki(key)))


def read_private_key(path: str | os.PathLike[str], passphrase: bytes | None) -> PrivateKey:
    """Read a private key file, refusing one that others than its owner can read (POSIX).

    Raises KeyFileError as `load_private_key` does, and for files that are missing, too large
    or too widely readable.
    """
    return load_private_key(_read_key_file(path, private=True), passphrase, str(path))


def read_public_key(path: str | os.PathLike[str]) -> PublicKey:
    """Read a public key file; raises KeyFileError as `load_public_key` does."""
    return load_public_key(_read_key_file(path, private=False), str(path))


def _read_key_file(path: str | os.PathLike[str], *, private: bool) -> bytes:
    where = str(path)
    try:
        with Path(path).open("rb", buffering=0) as file:
            mode = os.fstat(file.fileno()).st_mode  # of the opened file: nothing can be swapped
            if private and os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
                raise KeyFileError(
                    "a private key that others can read",
                    where=where,
                    expected="mode 0600",
                    found=f"mode {stat.S_IMODE(mode):04o}",
                    hint=f"Run: chmod 600 {where}",
                )
            data = file.read(MAX_KEY_BYTES + 1) or b""
    except FileNotFoundError as cause:
        raise KeyFileError(
            "no such key file", where=where, hint="Make a key with: deny keygen."
        ) from cause
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise KeyFileError(
            "key file cannot be read", where=where, found=reason or str(cause)
        ) from cause
    if len(data) > MAX_KEY_BYTES:
        raise KeyFileError(
            "too large for a key file", where=where, expected=f"at most {MAX_KEY_BYTES} bytes"
        )
    return data


def _sole_label(pem: bytes, where: str) -> str:
    """Return the label of the one PEM block in `pem`."""
    found = _PEM_LABEL.finditer(pem[: MAX_KEY_BYTES + 1])
    labels = [str(match[1], "ascii") for match in found]
    if len(pem) > MAX_KEY_BYTES or not labels:
        raise KeyFileError("not a key file", where=where, expected="one PEM block")
    if len(labels) > 1:
        if hint := _HINTS.get(labels[0]):
            raise _wrong_format(labels[0], where, "a single PEM block", hint=hint)
        raise KeyFileError(
            "several PEM blocks in one key file",
            where=where,
            expected="one",
            found=str(len(labels)),
        )
    return labels[0]


def _wrong_format(
    label: str, where: str, expected: str, *, hint: str | None = None
) -> KeyFileError:
    return KeyFileError(
        "a key in another format",
        where=where,
        expected=expected,
        found=f"'{label}'",
        hint=hint or _HINTS.get(label),
    )


def _algorithm(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> Algorithm:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key.curve, ec.SECP256R1):
        return "ecdsa-p256"
    raise KeyFileError(
        "a key on another curve",
        expected=_ACCEPTED,
        found=key.curve.name,
        hint="Make one with: deny keygen.",
    )


def _at(where: str, make: Callable[[], _Key]) -> _Key:
    """Return `make()`; its KeyFileError then names the file."""
    try:
        return make()
    except KeyFileError as cause:
        raise KeyFileError(
            cause.what,
            where=where,
            expected=cause.expected,
            found=cause.found,
            hint=cause.hint,
        ) from cause


def _spki(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _check_ecdsa_form(signature: bytes) -> None:
    try:
        r, s = decode_dss_signature(signature)
        strict = encode_dss_signature(r, s) == signature
    except ValueError:
        strict = False
    if not strict:
        raise SignatureError("the signature is not strict DER", expected="SEQUENCE of r and s")
    if not (1 <= r < P256_ORDER and 1 <= s <= P256_ORDER // 2):
        raise SignatureError(
            "the signature's r or s is out of range",
            expected="1 <= r < n and 1 <= s <= n/2 (the smaller of the two equivalent s)",
        )
