"""What vectors are made of: statements that hold, fixed keys, and the means to sign anything.

The numbers follow by `examples/verify_without_deniability.py`, which was written from SPEC.md
alone: so the program is tested against what other code computes, not against itself.
"""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import importlib.util
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

ROOT = Path(__file__).resolve().parent.parent.parent
_SPEC = importlib.util.spec_from_file_location(
    "verify_without_deniability", ROOT / "examples" / "verify_without_deniability.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
independent = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(independent)

PRESETS = {
    preset["protocol"]["name"]: preset["protocol"]
    for preset in json.loads((ROOT / "schemas" / "presets.json").read_text("utf-8"))["presets"]
}
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
EXCLUSION = "urn:deniability:exclusion/v1"
REGISTRATION = "urn:deniability:registration/v1"
#: Order of P-256.
ORDER = independent.P256_ORDER

#: Keys of these tests only; anyone can compute them.
KEY = ec.derive_private_key(0x5EED1, ec.SECP256R1())
SECOND = ec.derive_private_key(0x5EED2, ec.SECP256R1())
ATTACKER = ec.derive_private_key(0xBAD, ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

#: ITU-T T.81, annex K: quality 50.
LUMA = [
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
]
CHROMA = [
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *([99] * 32),
]


def sha(text: str) -> str:
    """SHA-256 of a made-up thing's name."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Any) -> bytes:
    """Write canonical JSON."""
    return independent.canonical(value)


def public(key: Any) -> bytes:
    """SPKI DER."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem(key: Any) -> str:
    """Public key as PEM."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def keyid(key: Any) -> str:
    return hashlib.sha256(public(key)).hexdigest()


def lossless(channels: int = 3, model: int = 3, rounding: str = "round") -> dict[str, Any]:
    return {
        "family": "lossless",
        "channels": channels,
        "height": 8,
        "width": 8,
        "modelChannels": model,
        "rounding": rounding,
    }


def jpeg(channels: int = 3) -> dict[str, Any]:
    kind = {
        "family": "jpeg",
        "channels": channels,
        "height": 8,
        "width": 8,
        "modelChannels": channels,
        "components": "ycc420" if channels == 3 else "gray",
        "lumaTable": LUMA,
        "quality": 50,
        "orientation": 1,
    }
    return kind | ({"chromaTable": CHROMA} if channels == 3 else {})


def make(
    *,
    preset: str = "pristine-quick-v1",
    kind: dict[str, Any] | None = None,
    model: str = "m",
    picture: str = "accused.png",
    size: int = 4,
    encoder: bool = True,
    stages: bool = False,
    hard: dict[int, str | None] | None = None,
    residuals: list[str | None] | None = None,
    cautions: tuple[str, ...] = (),
    allowance: str | None = "8.00000e-06",
    exact: bool | None = None,
) -> dict[str, Any]:
    """Make a statement that holds.

    Args:
        preset: by name.
        kind: of the accused file.
        model: another word gives another model.
        picture: name of the accused file; its digest follows from it.
        size: latent numbers.
        encoder: whether the search had one.
        stages: whether it was made in stages.
        hard: residuals of controls other than 0, by index.
        residuals: of the restarts, the last for all that follow.
        cautions: about the file.
        allowance: the largest mismatch residual.
        exact: what `pixelForPixel` says, if reached.

    """
    protocol, kind = PRESETS[preset], kind or lossless()
    hard = {0: "3.00000e-07", 1: "3.00000e-07", 7: None} if hard is None else hard
    truth = "0" if kind["family"] == "lossless" else "2.00000e-07"
    residuals = residuals or ["4.40000e-02", "5.00000e-02"]
    residuals = residuals + residuals[-1:] * (protocol["restarts"] - len(residuals))
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": picture, "digest": {"sha256": sha(picture)}}],
        "predicateType": EXCLUSION,
        "predicate": {
            "finding": {"reached": {"pixelForPixel": exact}} if exact is not None else {},
            "accused": {
                "file": {"name": picture, "size": 500, "sha256": sha(picture)},
                "format": "PNG" if kind["family"] == "lossless" else "JPEG",
                "width": 8,
                "height": 8,
                "channels": kind["channels"],
                "pixels": sha("pixels"),
                "transforms": ["palette expanded"],
                "cautions": list(cautions),
                "kind": kind,
            },
            "model": {
                "files": [
                    {"name": f"{model}-{i}.pt", "size": 1000 + i, "sha256": sha(f"{model} {i}")}
                    for i in (1, 2)
                ]
            },
            "generator": {
                "latent": [
                    {"name": "z", "shape": [size], "prior": "normal"},
                    {"name": "w", "shape": [2], "prior": "uniform", "low": "-1", "high": "1"},
                ],
                "channels": kind["modelChannels"],
                "height": 8,
                "width": 8,
                "outputRange": ["-1", "1"],
                "rounding": kind.get("rounding", "round"),
                "entropy": {"source": "torch-cpu", "seedBits": 32},
                "format": "state-dict",
                "factory": "nets:make",
                "stateDictKey": "g",
                "prefix": "main.",
            },
            "registration": {
                "payload": sha(f"registration of {model}"),
                "createdAt": "2026-11-01T00:00:00Z",
            },
            "protocol": protocol,
            **({"encoder": sha("encoder")} if encoder else {}),
            **({"stages": "mapping-synthesis"} if stages else {}),
            "controls": {
                "kind": kind,
                "deviceClass": "cpu",
                "precision": "float32",
                "engine": "1",
                "controls": [
                    _control(i, hard.get(i, truth), truth, protocol)
                    for i in range(protocol["controls"])
                ],
                "mismatches": _mismatches(kind, protocol, allowance),
            },
            "restarts": [{"index": i, "residual": r} for i, r in enumerate(residuals)],
            "latents": {"name": "b.latents.safetensors", "size": 9, "sha256": sha("latents")},
            "environment": {
                "deniability": "0.1.0",
                "python": "3.11.9",
                "torch": "2.13.0",
                "numpy": "2.3.0",
                "pillow": "12.2.0",
                "jpeglib": "1.0.2",
                "platform": "Linux x86_64",
                "device": "cpu",
                "threads": 1,
            },
            "createdAt": "2026-11-02T00:00:00Z",
        },
    }
    _complete_trace(statement["predicate"])
    return mend(statement)


def _control(i: int, residual: str | None, truth: str, protocol: dict[str, Any]) -> dict[str, Any]:
    easy = residual is not None and Fraction(residual) <= max(Fraction(truth), Fraction("1e-9"))
    record = {
        "index": i,
        "truth": truth,
        "restarts": 1 if easy else protocol["restarts"],
        "iterations": 10,
    }
    if residual is not None:
        record |= {"residual": residual, "best": 0, "latent": sha(f"control {i}")}
    return record


def _mismatches(
    kind: dict[str, Any], protocol: dict[str, Any], allowance: str | None
) -> list[dict[str, Any]]:
    ways = [*independent.LOSSLESS_WAYS, *(["other-encoder"] if kind["family"] == "jpeg" else [])]
    made = []
    for way in ways:
        for i in range(protocol["mismatchOutputs"]):
            residual = allowance if (way, i) == ("float16", 0) else "1.00000e-06"
            made.append({"way": way, "index": i} | ({"residual": residual} if residual else {}))
    return made


def _complete_trace(predicate: dict[str, Any]) -> None:
    controls = predicate["controls"]
    truths = independent.numbers(controls["controls"], "truth")
    limit = independent.threshold(truths, predicate["protocol"], controls["kind"])
    reached = False
    for i, record in enumerate(predicate["restarts"]):
        residual = record.pop("residual")
        finite = residual is not None
        now = finite and not reached and Fraction(residual) <= limit
        record["stop"] = (
            "notRun" if reached else "reached" if now else "stalled" if finite else "nonFinite"
        )
        record["iterations"] = 0 if reached else 20
        if finite and not reached:
            record |= {
                "residual": residual,
                "distance": "5.00000e-02",
                "latent": sha(f"restart {i}"),
            }
        reached = reached or now


#: What `mend` computes anew, in this order.
MENDED = ("model", "scope", "solver", "seeds", "starts", "root", "finding")


def mend(statement: dict[str, Any], *, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Make all that follows from other fields follow again, as a dishonest signer would.

    Args:
        statement: changed in place, and returned.
        keep: words of `MENDED` for what stays as it is.

    """
    predicate = statement["predicate"]
    for part in MENDED:
        if part not in keep:
            _MENDERS[part](predicate)
    return statement


def _mend_model(predicate: dict[str, Any]) -> None:
    model = predicate["model"]
    entries = [
        {"path": f["name"], "sha256": f["sha256"], "size": f["size"]} for f in model["files"]
    ]
    model["digest"] = independent.digest(sorted(entries, key=lambda entry: str(entry["path"])))
    model["weights"] = independent.digest(sorted(f["sha256"] for f in model["files"]))
    predicate["protocolDigest"] = independent.digest(predicate["protocol"])


def _mend_scope(predicate: dict[str, Any]) -> None:
    predicate["scope"] = independent.scope(
        predicate["accused"]["kind"]["family"],
        chained="chain" in predicate["registration"],
        beacon="beacon" in predicate,
        bound="binding" in predicate,
        decoder=predicate["generator"]["format"] == "diffusers",
        handled=independent.handled_output(predicate),
    )


def _mend_solver(predicate: dict[str, Any]) -> None:
    size = sum(part["shape"][0] for part in predicate["generator"]["latent"])
    dense = size <= predicate["protocol"]["denseLimit"]
    large = predicate["protocol"].get("largeSolver", "adam")
    for family in independent.families(predicate):
        family["controls"]["solver"] = "levenberg-marquardt" if dense else large


def _mend_seeds(predicate: dict[str, Any]) -> None:
    for family in independent.families(predicate):
        controls = family["controls"]
        kind = independent.digest(controls["kind"])
        picture = independent.searched_as(predicate, controls["kind"])
        for role, records, of in (
            ("control", controls["controls"], kind),
            ("mismatch", controls["mismatches"], kind),
            ("restart", family["restarts"], picture),
        ):
            for record in records:
                record["seed"] = independent.seed(predicate, role, of, record["index"])


def _mend_starts(predicate: dict[str, Any]) -> None:
    for family in independent.families(predicate):
        for i, record in enumerate(family["restarts"]):
            record["start"] = independent.start(predicate, i)


def _mend_root(predicate: dict[str, Any]) -> None:
    for family in independent.families(predicate):
        leaves = [canonical(record) for record in family["restarts"]]
        family["traceRoot"] = independent.merkle_root(leaves).hex()


def _mend_finding(predicate: dict[str, Any]) -> None:
    predicate["finding"] = independent.decide(predicate)


_MENDERS = {
    "model": _mend_model,
    "scope": _mend_scope,
    "solver": _mend_solver,
    "seeds": _mend_seeds,
    "starts": _mend_starts,
    "root": _mend_root,
    "finding": _mend_finding,
}


@functools.cache
def _made(verdict: str) -> dict[str, Any]:
    made = {
        "excluded": make,
        "inconclusive": lambda: make(picture="second.png", residuals=["7.99999e-05"]),
        "reached": lambda: make(picture="third.png", residuals=["1.00000e-03", "0"], exact=True),
    }[verdict]()
    assert made["predicate"]["finding"]["verdict"] == verdict
    return made


def statement(verdict: str = "excluded") -> dict[str, Any]:
    """Return a fresh copy of a statement that holds, of three different pictures."""
    return copy.deepcopy(_made(verdict))


# --- signing


def pae(kind: bytes, payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signature(message: bytes, key: Any = KEY) -> bytes:
    """Sign without randomness, in the one form that is accepted."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    scheme = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(key.sign(message, scheme))
    return encode_dss_signature(r, min(s, ORDER - s))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def envelope(payload: bytes, key: Any = KEY, kind: str = PAYLOAD_TYPE) -> dict[str, Any]:
    """Put a payload into a signed bundle."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": keyid(key)},
            "tlogEntries": [],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        },
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": kind,
            "signatures": [
                {"sig": b64(signature(pae(kind.encode(), payload), key)), "keyid": keyid(key)}
            ],
        },
    }


def sign(content: dict[str, Any] | bytes, key: Any = KEY) -> bytes:
    """Return the bundle of a statement, or of any bytes, validly signed."""
    return canonical(envelope(content if isinstance(content, bytes) else canonical(content), key))
