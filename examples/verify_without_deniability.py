"""Check a bundle at level V0 without this package: standard library and `cryptography` only.

    python verify_without_deniability.py bundle.json --key signer.pub.pem

Written from schemas/SPEC.md alone; "Step" and "section" refer to it. Exit codes: 0 verified,
2 wrong usage, 3 refused, 4 not checked (not one of our bundles, or no trusted key). An example of
how little is needed, and a second opinion: it accepts and refuses what the program does, except
that it knows no authorities of timestamps (section 16), says so, and takes no time from any.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from datetime import datetime
from fractions import Fraction
from math import comb, gcd, prod
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"
EXCLUSION = "urn:deniability:exclusion/v1"
ATTRIBUTION = "urn:deniability:attribution/v1"
CHAIN_TYPE = "urn:deniability:chain/v1"
BINDING_TYPE = "urn:deniability:binding/v1"
ENGINE = "1"
BEGIN = b'{"dsseEnvelope":{"payload":"'
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
#: Section 3, the presets that exist.
PRESETS = {
    "pristine-quick-v1": "b4a1fb95d71ee8e5da9c17fa93277579b9b36bfbe1b898f1aa57c2ab9ae26c5a",
    "pristine-standard-v1": "20e9dcfde4ea449140c1d9f4406f10b5971dfd05c06f45152ecc5dab93073a69",
    "pristine-strict-v1": "79d32ba94ce37496f0074a38998499eeef9a3277bf880d5688216151cbb6eb68",
    "pristine-quick-v2": "5ecee7fad03fc20e1a2a143c973bd75da2572ce1a44d9e0e96a79baf5a382bef",
    "pristine-standard-v2": "b08305b28c032ccab9355a01ae21eb4c88d9b1021e4c55e5c5f7010efefb05bc",
    "pristine-strict-v2": "393d6a6bf2ea9c540a0646cc9f841731f44fe76ad8ae6ad6c20b9ae9fc516d3f",
    "pristine-quick-v3": "97cf394e2880a74f8361924f1df53e68ed457dd0f02d9d387fdd97ae6ca61dbf",
    "pristine-standard-v3": "2335ab5706e15c35acef7fcceb54c69573541d7384c49d4f0914568cbc8aa101",
    "pristine-strict-v3": "3128fb219b0d660e8085ad97e109f3ee98a8940e159548116c9d45f25b2b98e7",
    "handled-quick-v1": "1183622cb5d67f2c27f28f60c3b2a40c9e9ff134e9801e227380b8eb871188e1",
    "handled-standard-v1": "d8ab83af3a7e0760f7b864c08ad96dcbdf588743c26033a2be6bf69e4183d5b0",
    "handled-quick-v2": "f6a8c79a3957e40a2d2f0c6e3457c2b8dd9ee93963ab619022d7143fb5a54de0",
    "handled-standard-v2": "e9919277bd7c3ed5a1ad63a241933a338b451b83100af8fc449a80a13f61ade2",
    "handled-quick-v3": "52b2ac78f372dc4ea4c0091c5e8004cbe1008d35d9466781ad8c94b39afc8d94",
    "handled-standard-v3": "d3f88e3da756fa0be8cf611b7818d41d3c6a183e259bab715b415fbbcbf2ab0e",
}
OTHER_HANDLING = (
    "outputs handled more strongly, in several of these ways at once, or otherwise were not "
    "examined"
)
#: "Families of handling": the edits, in words.
EDITS = {
    "other-rounding": "rounded otherwise",
    "bfloat16": "computed in bfloat16",
    "float16": "computed in float16",
    "tf32": "computed in TF32",
    "mirrored": "mirrored",
    "shifted": "shifted by up to 2 pixels (bicubic)",
    "cropped": "cropped by up to a fifth of each side and enlarged (bicubic)",
    "rotated": "rotated by up to 5 degrees (bicubic)",
    "tone": "changed in brightness (24 steps), contrast (a fifth) and gamma (0.8 to 1.25)",
    "colour": "changed in colour balance (a tenth) and saturation (0.7 to 1.3)",
    "blurred-box": "blurred by repeated boxes (radius 0.3 to 1.5)",
    "blurred-gaussian": "blurred by a Gaussian (radius 0.3 to 1.5)",
    "noisy": "with Gaussian noise (deviation 1 to 4 steps)",
    "palette": "reduced to 256 colours",
    "jpeg-444-30-49": "decoded from a JPEG (4:4:4, quality 30 to 49)",
    "jpeg-444-50-69": "decoded from a JPEG (4:4:4, quality 50 to 69)",
    "jpeg-444-70-84": "decoded from a JPEG (4:4:4, quality 70 to 84)",
    "jpeg-444-85-95": "decoded from a JPEG (4:4:4, quality 85 to 95)",
    "jpeg-420-30-49": "decoded from a JPEG (4:2:0, quality 30 to 49)",
    "jpeg-420-50-69": "decoded from a JPEG (4:2:0, quality 50 to 69)",
    "jpeg-420-70-84": "decoded from a JPEG (4:2:0, quality 70 to 84)",
    "jpeg-420-85-95": "decoded from a JPEG (4:2:0, quality 85 to 95)",
    "jpeg-other-encoder": "decoded from a JPEG of another encoder (quality 30 to 95)",
    "webp-30-59": "decoded from a lossy WebP (quality 30 to 59)",
    "webp-60-95": "decoded from a lossy WebP (quality 60 to 95)",
    "halved": "scaled to between half and three quarters and back",
    "reduced": "scaled to between three quarters and 0.97 and back",
    "enlarged": "scaled to between 1.03 and twice and back",
    "patched": "with a patch over it (each side up to three tenths of the picture's)",
    "bordered": "with a border over its edge (up to a sixteenth of the shorter side)",
    "captioned": "with a strip along an edge (up to a fifth of the height)",
    "resized-nearest": "resized to this file's size (nearest pixel)",
    "resized-bilinear": "resized to this file's size (bilinear)",
    "resized-bicubic": "resized to this file's size (bicubic)",
    "resized-lanczos": "resized to this file's size (Lanczos)",
    "cut-out": "cut to this file's size",
    "framed": "framed to this file's size",
    "jpeg-twice-444-30-49": "already a JPEG (4:4:4, q 30 to 49)",
    "jpeg-twice-444-50-69": "already a JPEG (4:4:4, q 50 to 69)",
    "jpeg-twice-444-70-84": "already a JPEG (4:4:4, q 70 to 84)",
    "jpeg-twice-444-85-95": "already a JPEG (4:4:4, q 85 to 95)",
    "jpeg-twice-420-30-49": "already a JPEG (4:2:0, q 30 to 49)",
    "jpeg-twice-420-50-69": "already a JPEG (4:2:0, q 50 to 69)",
    "jpeg-twice-420-70-84": "already a JPEG (4:2:0, q 70 to 84)",
    "jpeg-twice-420-85-95": "already a JPEG (4:2:0, q 85 to 95)",
    "jpeg-twice-other-encoder": "already a JPEG of another encoder (q 30 to 95)",
    "jpeg-trellis": "quantised by a trellis",
    "truncated": "of latents nearer to the mean (0.5 to 1)",
    "composite": "scaled by 0.91 to 1.25, shifted, then toned",
    "mirrored-of-jpeg-70-84": "a JPEG (q 70 to 84), then mirrored",
    "mirrored-of-jpeg-85-95": "a JPEG (q 85 to 95), then mirrored",
    "composite-of-jpeg-70-84": "a JPEG (q 70 to 84), then scaled by 0.91 to 1.25, shifted, toned",
    "composite-of-jpeg-85-95": "a JPEG (q 85 to 95), then scaled by 0.91 to 1.25, shifted, toned",
    "resized-nearest-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (nearest pixel)",
    "resized-nearest-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (nearest pixel)",
    "resized-bilinear-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (bilinear)",
    "resized-bilinear-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (bilinear)",
    "resized-bicubic-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (bicubic)",
    "resized-bicubic-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (bicubic)",
    "resized-lanczos-of-jpeg-70-84": "a JPEG (q 70 to 84), resized to this size (Lanczos)",
    "resized-lanczos-of-jpeg-85-95": "a JPEG (q 85 to 95), resized to this size (Lanczos)",
    "cut-out-of-jpeg-70-84": "a JPEG (q 70 to 84), then cut to this file's size",
    "cut-out-of-jpeg-85-95": "a JPEG (q 85 to 95), then cut to this file's size",
    "framed-of-jpeg-70-84": "a JPEG (q 70 to 84), then framed to this file's size",
    "framed-of-jpeg-85-95": "a JPEG (q 85 to 95), then framed to this file's size",
    "cropped-of-jpeg-70-84": "a JPEG (q 70 to 84), then cropped by up to a fifth of each side",
    "cropped-of-jpeg-85-95": "a JPEG (q 85 to 95), then cropped by up to a fifth of each side",
    "part-bilinear": "cropped by up to a fifth of each side, resized to this size (bilinear)",
    "part-bicubic": "cropped by up to a fifth of each side, resized to this size (bicubic)",
    "part-lanczos": "cropped by up to a fifth of each side, resized to this size (Lanczos)",
    "part-bicubic-of-jpeg-70-84": "a JPEG (q 70 to 84), so cropped, resized to this size (bicubic)",
    "part-bicubic-of-jpeg-85-95": "a JPEG (q 85 to 95), so cropped, resized to this size (bicubic)",
}
MOVING = {
    *("shifted", "cropped", "rotated", "patched", "bordered", "captioned", "composite"),
}
RESIZED = {"resized-nearest", "resized-bilinear", "resized-bicubic", "resized-lanczos"}
OTHER_SIZE = {*RESIZED, "part-bilinear", "part-bicubic", "part-lanczos", "cut-out", "framed"}
LOSSLESS_WAYS = (
    "other-rounding",
    "plus-minus-one-step",
    "bfloat16",
    "float16",
    "tf32",
    "other-threads",
)
FLOOR = Fraction(1, 195075)
INFINITE = None  # a number that is missing


class RefusedError(Exception):
    """The bundle is refused at `stage`; `parse` and `trust` mean that it was not checked."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(what)
        self.stage = stage
        self.exit_code = 4 if stage in {"parse", "trust"} else 3


def refuse(stage: str, what: str) -> NoReturn:
    """Raise the refusal."""
    raise RefusedError(stage, what)


def require(holds: bool, stage: str, what: str) -> None:
    """Refuse unless something holds."""
    if not holds:
        refuse(stage, what)


# --- section 1: bytes


def canonical(value: Any) -> bytes:
    """Write a value by RFC 8785; the only numbers are integers."""

    def write(item: Any) -> str:
        if isinstance(item, dict):
            names = sorted(item, key=lambda name: name.encode("utf-16-be"))
            return "{" + ",".join(f"{write(name)}:{write(item[name])}" for name in names) + "}"
        if isinstance(item, list):
            return "[" + ",".join(map(write, item)) + "]"
        return json.dumps(item, ensure_ascii=False)

    return write(value).encode("utf-8")


def parse(raw: bytes, stage: str, what: str) -> Any:
    """Parse bytes that have to be canonical JSON within the caps of section 1."""

    def integer(digits: str) -> int:
        value = int(digits) if len(digits) < 20 else 2**53
        if abs(value) > 2**53 - 1:
            raise ValueError("an integer is too large")
        return value

    def no_float(_: str) -> NoReturn:
        raise ValueError("a number is not an integer")

    require(len(raw) <= 67108864, stage, f"{what} is larger than 64 MiB")
    values = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    require(values <= 500000, stage, f"{what} has too many values")
    depth = 0
    for bracket in re.findall(rb"[][{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw, flags=re.DOTALL)):
        depth += 1 if bracket in b"[{" else -1
        require(depth <= 32, stage, f"{what} is nested deeper than 32 levels")
    try:
        value = json.loads(
            raw.decode("utf-8"), parse_int=integer, parse_float=no_float, parse_constant=no_float
        )
        same = canonical(value) == raw
    except (ValueError, RecursionError) as error:
        refuse(stage, f"{what} is not JSON of section 1: {error}")
    require(same, stage, f"{what} is not canonical JSON")
    return value


def from_base64(text: str, what: str) -> bytes:
    """Decode strict base64."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        refuse("parse", f"{what} is not base64")
    require(base64.b64encode(raw).decode() == text, "parse", f"{what} is not strict base64")
    return raw


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


# --- forms: what the tables of sections 1 and 2 say. A name that ends in "?" may be absent.

HEX = re.compile(r"[0-9a-f]{64}")
DECIMAL = re.compile(r"0|[1-9]\.[0-9]{5}e(\+[0-9]{2}|-(0[1-9]|[1-9][0-9]))")
PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?")
TEXT = re.compile("[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]{1,2000}")
LONG = re.compile(TEXT.pattern.replace("2000", "8000"))
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
COUNT = range(2**53)
SIDE = range(1, 65536)
CHANNELS = {1, 3}
FAMILY = {"lossless", "jpeg"}
EDIT = set(EDITS)
ROUNDING = {"round", "truncate"}
DIGESTS = {"sha256": HEX}
FILE = {"name": TEXT, "size": COUNT, "sha256": HEX}
KIND = {
    "family": FAMILY,
    "channels": CHANNELS,
    "height": SIDE,
    "width": SIDE,
    "modelChannels": CHANNELS,
    "rounding?": ROUNDING,
    "components?": {"gray", "ycc444", "ycc422", "ycc420"},
    "lumaTable?": [range(1, 256), 64, 64],
    "chromaTable?": [range(1, 256), 64, 64],
    "quality?": range(1, 101),
    "orientation?": range(1, 9),
    "edit?": EDIT,
    "fileHeight?": SIDE,
    "fileWidth?": SIDE,
}
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
STAMP = {"signedTimestamp": BASE64}
ROUND = re.compile(r"[1-9][0-9]{0,14}")
BEACON = {
    "source": {"drand", "nist"},
    "chain": re.compile(r"[0-9a-f]{64}|[1-9][0-9]{0,8}"),
    "round": ROUND,
    "value": re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}"),
    "signature?": re.compile(r"([0-9a-f]{2}){48,96}"),
}
LINK = {"kind": {"registration", "intent"}, "payload": HEX, "weights": HEX, "createdAt": TIME}
VERSION = {"links": range(1, 4097), "signature": BASE64, "timestamps": [STAMP, 1, 16]}
CHAIN = {"links": [LINK, 1, 4096], "earlier": [VERSION, 0, 512]}
CONTROL = {
    "index": COUNT,
    "seed": HEX,
    "truth?": DECIMAL,
    "residual?": DECIMAL,
    "best?": COUNT,
    "restarts": COUNT,
    "iterations": COUNT,
    "latent?": HEX,
}
WAYS = {*LOSSLESS_WAYS, "other-encoder"}
CONTROL_SET = {
    "kind": KIND,
    "deviceClass": {"cpu", "cuda", "mps", "xpu"},
    "precision": {"float32"},
    "engine": TEXT,
    "solver": {"levenberg-marquardt", "gauss-newton-cg", "adam"},
    "controls": [CONTROL],
    "mismatches": [{"way": WAYS, "index": COUNT, "seed": HEX, "residual?": DECIMAL}],
}
RESTART = {
    "index": COUNT,
    "seed": HEX,
    "start": {"encoder", "encoder-noise", "prior", "staged"},
    "stop": {"reached", "stalled", "exhausted", "nonFinite", "notRun"},
    "residual?": DECIMAL,
    "distance?": DECIMAL,
    "iterations": COUNT,
    "latent?": HEX,
    "label?": COUNT,
}
GATES = ("tail-bound", "effect-margin", "recall", "complete-search", "file-history")
FAMILY_FINDING = {
    "family": FAMILY,
    "edit?": EDIT,
    "n": COUNT,
    "k": COUNT,
    "alpha": PLAIN,
    "upperBound": PLAIN,
    "p": {"numerator": COUNT, "denominator": range(1, 2**53)},
    "statistic?": DECIMAL,
    "threshold": DECIMAL,
    "percentile99?": DECIMAL,
    "floor": DECIMAL,
    "allowance?": DECIMAL,
    "margin?": DECIMAL,
    "recovered": COUNT,
    "gates": [{"name": set(GATES), "passed": {True, False}, "reason": TEXT}],
}
FINDING = {
    "verdict": {"excluded", "reached", "inconclusive"},
    "tier": {"calibrated", "reached"},
    "sentence": LONG,
    "families": [FAMILY_FINDING, 1, 64],
    "reached?": {"restart": COUNT, "family?": range(1, 64), "pixelForPixel": {True, False}},
}
MODEL = {"digest": HEX, "weights": HEX, "files": [FILE, 1, 4096]}
LATENT = {
    "name": NAME,
    "shape": [range(1, 2**20 + 1), 1, 8],
    "prior": {"normal", "uniform", "label"},
    "low?": PLAIN,
    "high?": PLAIN,
    "classes?": range(2, 2**20 + 1),
    "encoding?": {"index", "one-hot"},
}
GENERATOR = {
    "latent": [LATENT, 1, 16],
    "channels": CHANNELS,
    "height": range(1, 16385),
    "width": range(1, 16385),
    "outputRange": [PLAIN, 2, 2],
    "rounding": ROUNDING,
    "entropy": {
        "source": {"torch-cpu", "numpy-randomstate", "shake256"},
        "seedBits": range(1, 257),
    },
    "format": {
        "torchscript",
        "torch-export",
        "state-dict",
        "safetensors",
        "builtin",
        "onnx",
        "diffusers",
    },
    "factory?": TEXT,
    "stateDictKey?": TEXT,
    "prefix?": TEXT,
}
PROTOCOL = {
    "name": TEXT,
    "families": [FAMILY, 1, 2**53],
    "controls": range(1, 100001),
    "alpha": PLAIN,
    "confidence": PLAIN,
    "kappa": PLAIN,
    "recall": PLAIN,
    "restarts": range(1, 1000001),
    "denseLimit": COUNT,
    "largeSolver?": {"gauss-newton-cg"},
    "cgIterations?": range(1, 4097),
    "iterations": COUNT,
    "adamIterations": COUNT,
    "encoderOutputs": COUNT,
    "mismatchOutputs": range(1, 2**53),
    "resolution": DECIMAL,
    "edits?": [EDIT, 1, 2**53],
    "accusedRestarts?": range(1, 1000001),
    "stages?": {"mapping-synthesis"},
}
ACCUSED = {
    "file": FILE,
    "format": TEXT,
    "width": SIDE,
    "height": SIDE,
    "channels": CHANNELS,
    "pixels": HEX,
    "transforms": [TEXT],
    "cautions": [TEXT],
    "kind": KIND,
}
TOLD = ("deniability", "python", "torch", "numpy", "pillow", "jpeglib", "platform", "device")
PREDICATE = {
    "finding": FINDING,
    "scope": [LONG],
    "accused": ACCUSED,
    "model": MODEL,
    "generator": GENERATOR,
    "registration": {"payload": HEX, "createdAt": TIME, "chain?": BASE64},
    "beacon?": BEACON,
    "binding?": BASE64,
    "protocol": PROTOCOL,
    "protocolDigest": HEX,
    "encoder?": HEX,
    "stages?": {"mapping-synthesis"},
    "controls": CONTROL_SET,
    "restarts": [RESTART],
    "traceRoot": HEX,
    "narrowed?": [{"unedited", *EDITS}, 1, 64],
    "handled?": [{"controls": CONTROL_SET, "restarts": [RESTART], "traceRoot": HEX}, 1, 63],
    "latents": FILE,
    "environment": dict.fromkeys(TOLD, TEXT) | {"threads": range(1, 65537)},
    "createdAt": TIME,
}
STATEMENT = {
    "_type": {"https://in-toto.io/Statement/v1"},
    "subject": [{"name": TEXT, "digest": DIGESTS}, 1, 4096],
    "predicateType": {EXCLUSION},
    "predicate": PREDICATE,
}
TRUTH = re.compile(f"{DECIMAL.pattern}|notFinite")
BINDING = {
    "result": {
        "verdict": {"bound", "not-bound"},
        "sentence": TEXT,
        "count": COUNT,
        "reached": COUNT,
        "share": PLAIN,
    },
    "kinds": [{"kind": KIND, "truths": [TRUTH, 0, 100000], "threshold": DECIMAL}, 0, 16],
    "pictures": [
        {
            "file": FILE,
            "stop": {"reached", "stalled", "exhausted", "nonFinite", "notExamined"},
            "reason?": TEXT,
            "repeats?": COUNT,
            "kind?": HEX,
            "pixels?": HEX,
            "residual?": DECIMAL,
            "distance?": DECIMAL,
            "restart?": COUNT,
            "latent?": HEX,
            "pixelForPixel?": {True, False},
        },
        1,
        4096,
    ],
    "obtained?": {"contents": BASE64, "sha256": HEX, "count": COUNT},
} | {
    name: PREDICATE[name]
    for name in (
        "scope",
        "model",
        "generator",
        "registration",
        "beacon?",
        "protocol",
        "protocolDigest",
        "latents",
        "environment",
        "createdAt",
    )
}
BINDING_STATEMENT = STATEMENT | {"predicateType": {BINDING_TYPE}, "predicate": BINDING}
ATTRIBUTION_PREDICATE = {
    "finding": {
        "verdict": {"attributed", "none-of-these", "several", "inconclusive"},
        "sentence": LONG,
        "reached": [HEX, 0, 64],
        "excluded": [HEX, 0, 64],
        "inconclusive": [HEX, 0, 64],
    },
    "scope": [TEXT],
    "picture": FILE,
    "candidates": [PREDICATE, 2, 64],
    "createdAt": TIME,
}
ATTRIBUTION_STATEMENT = STATEMENT | {
    "predicateType": {ATTRIBUTION},
    "predicate": ATTRIBUTION_PREDICATE,
}
CHAIN_STATEMENT = STATEMENT | {"predicateType": {CHAIN_TYPE}, "predicate": CHAIN}
BUNDLE = {
    "mediaType": {"application/vnd.dev.sigstore.bundle.v0.3+json"},
    "verificationMaterial": {
        "publicKey": {"hint": HEX},
        "tlogEntries": [HEX, 0, 0],
        "timestampVerificationData": {"rfc3161Timestamps": [STAMP, 0, 16]},
    },
    "dsseEnvelope": {
        "payload": BASE64,
        "payloadType": {PAYLOAD_TYPE},
        "signatures": [{"sig": BASE64, "keyid": HEX}, 1, 1],
    },
}


def check_form(value: Any, form: Any, stage: str, where: str) -> None:  # noqa: C901
    """Check a value against a form above; say which field is wrong."""
    if isinstance(form, dict):
        require(isinstance(value, dict), stage, f"{where} is not an object")
        fields = {name.rstrip("?"): (name.endswith("?"), inner) for name, inner in form.items()}
        for name in value:
            require(name in fields, stage, f"{where} has an unknown field {name!a}")
        for name, (optional, inner) in fields.items():
            require(optional or name in value, stage, f"{where}.{name} is missing")
            if name in value:
                check_form(value[name], inner, stage, f"{where}.{name}")
    elif isinstance(form, list):
        inner, least, most = form if len(form) == 3 else (form[0], 0, 2**53)
        require(isinstance(value, list), stage, f"{where} is not a list")
        require(least <= len(value) <= most, stage, f"{where} has {len(value)} entries")
        for index, entry in enumerate(value):
            check_form(entry, inner, stage, f"{where}.{index}")
    elif isinstance(form, re.Pattern):
        holds = isinstance(value, str) and form.fullmatch(value) is not None
        if holds and form is TIME:
            try:
                datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007
            except ValueError:
                holds = False
        require(holds, stage, f"{where} has not the form that it must have")
    elif isinstance(form, range):
        holds = isinstance(value, int) and not isinstance(value, bool) and value in form
        require(holds, stage, f"{where} is not an integer of the range")
    else:
        kind = type(next(iter(form)))
        require(type(value) is kind and value in form, stage, f"{where} is not one of {form}")


def check_kind(kind: dict[str, Any]) -> None:
    """Check which fields an observation kind has (its table in section 2)."""
    present = kind.keys() - {"family", "channels", "height", "width", "modelChannels", "edit"}
    last = kind.get("edit", "").partition("-of-jpeg-")[0]
    resized = {"fileHeight", "fileWidth"} if last in OTHER_SIZE else set()
    require(present & {"fileHeight", "fileWidth"} == resized, "statement", "the file's size")
    same = bool(resized) and file_size(kind) == (kind["height"], kind["width"])
    require(not same, "statement", "the file's size is the model's")
    present -= resized
    if kind["family"] == "lossless":
        expected = {"rounding"}
    else:
        expected = {"components", "lumaTable", "orientation"}
        expected |= {"chromaTable"} if kind["channels"] == 3 else set()
        present = present - {"quality"}
        gray = kind.get("components") == "gray"
        require(gray == (kind["channels"] == 1), "statement", "components and channels disagree")
    require(present == expected, "statement", "the kind has not the fields of its family")
    comparable = kind["channels"] == 3 or kind["modelChannels"] == 1
    require(comparable, "statement", "a colour model is not compared with a gray file")


def file_size(kind: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the file as displayed."""
    return kind.get("fileHeight", kind["height"]), kind.get("fileWidth", kind["width"])


def check_generator(generator: dict[str, Any]) -> None:
    """Check what the tables say of a generator across its fields."""
    names = [part["name"] for part in generator["latent"]]
    require(len(set(names)) == len(names), "statement", "two latent parts have one name")
    for part in generator["latent"]:
        bounds = [part[bound] for bound in ("low", "high") if bound in part]
        count = 2 if part["prior"] == "uniform" else 0
        require(len(bounds) == count, "statement", "bounds are for a uniform prior, both")
        holds = not bounds or Fraction(bounds[0]) < Fraction(bounds[1])
        require(holds, "statement", "a prior's low is not below its high")
        wanted = {"classes", "encoding"} if part["prior"] == "label" else set()
        present = part.keys() & {"classes", "encoding"}
        require(present == wanted, "statement", "classes and encoding are for a label, both")
        holds = not wanted or part["shape"] == [1]
        require(holds, "statement", "a label is more than one number")
    priors = {part["prior"] for part in generator["latent"]}
    require(priors != {"label"}, "statement", "a generator takes nothing but labels")
    size = sum(prod(part["shape"]) for part in generator["latent"])
    require(size <= 2**22, "statement", "the latent has more than 4194304 numbers")
    low, high = map(Fraction, generator["outputRange"])
    require(low < high, "statement", "generator.outputRange is not ascending")
    most = {"torch-cpu": 64, "numpy-randomstate": 32, "shake256": 256}
    entropy = generator["entropy"]
    holds = entropy["seedBits"] <= most[entropy["source"]]
    require(holds, "statement", "generator.entropy.seedBits is more than the source takes")


# --- steps 1 to 5


def check_signature(key: Any, signature: bytes, message: bytes) -> None:
    """Check that the signature has its one form and is by this key (step 4)."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            scalar = int.from_bytes(signature[32:], "little")
            require(len(signature) == 64 and scalar < ED25519_ORDER, "signature", "not Ed25519")
            key.verify(signature, message)
            return
        r, s = decode_dss_signature(signature)
        strict = encode_dss_signature(r, s) == signature and 1 <= r < P256_ORDER
        low = 1 <= s <= (P256_ORDER - 1) // 2
        require(strict and low, "signature", "the signature is not in its one form")
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        refuse("signature", "the signature is not this key's over this payload")


def check_stamps(stamps: list[dict[str, Any]]) -> None:
    """Check what can be checked of timestamps without knowing any authority (step 2)."""
    for stamp in stamps:
        require(stamps.count(stamp) == 1, "timestamp", "a timestamp is there twice")
        from_base64(stamp["signedTimestamp"], "signedTimestamp")


def open_envelope(raw: bytes, keys: dict[str, Any]) -> tuple[bytes, Any]:
    """Return the payload and who of the keys signed it (steps 1 to 4)."""
    require(raw.startswith(BEGIN), "parse", "the file does not begin as a bundle does")
    end = raw.find(b'"', len(BEGIN))
    require(end > 0 and len(raw) - end <= 1048576, "parse", "too much behind the payload")
    bundle = parse(raw, "parse", "the file")
    check_form(bundle, BUNDLE, "parse", "bundle")
    envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
    (signature,) = envelope["signatures"]
    payload = from_base64(envelope["payload"], "payload")
    signed = from_base64(signature["sig"], "sig")

    check_stamps(material["timestampVerificationData"]["rfc3161Timestamps"])  # Step 2

    hint = material["publicKey"]["hint"]  # Step 3
    require(signature["keyid"] == hint, "signature", "keyid and hint differ")
    require(hint in keys, "trust", f"no trusted key has the name {hint}")

    kind = envelope["payloadType"].encode("utf-8")
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    check_signature(keys[hint], signed, pae)  # Step 4
    return payload, keys[hint]


def open_statement(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Return subjects and predicate (step 5)."""
    statement = parse(payload, "statement", "the payload")
    several = isinstance(statement, dict) and statement.get("predicateType") == ATTRIBUTION
    form = ATTRIBUTION_STATEMENT if several else STATEMENT
    check_form(statement, form, "statement", "statement")
    predicate = statement["predicate"]
    for exclusion in predicate["candidates"] if several else [predicate]:
        check_kind(exclusion["accused"]["kind"])
        for family in families(exclusion):
            check_kind(family["controls"]["kind"])
        check_generator(exclusion["generator"])
        protocol, edits = exclusion["protocol"], exclusion["protocol"].get("edits", [])
        holds = searches(protocol) >= protocol["restarts"] and len(set(edits)) == len(edits)
        require(holds, "statement", "protocol: accusedRestarts or edits")
    return statement["subject"], predicate


# --- steps 6 to 11


def check_subject(subject: list[Any], predicate: dict[str, Any]) -> None:
    """Check the subject (step 6)."""
    file = predicate["accused"]["file"]
    expected = [{"name": file["name"], "digest": {"sha256": file["sha256"]}}]
    require(subject == expected, "commitment", "the subject is not the accused file")


def check_model(model: dict[str, Any]) -> None:
    """Check the model's digests (step 7)."""
    names = [file["name"] for file in model["files"]]
    require(len(set(names)) == len(names), "commitment", "two model files have one name")
    for name in names:
        plain = "\\" not in name and not {"", ".", ".."} & set(name.split("/"))
        require(plain, "commitment", f"a model file's name is not plain: {name!a}")
    entries = [
        {"path": f["name"], "sha256": f["sha256"], "size": f["size"]} for f in model["files"]
    ]
    listed = digest(sorted(entries, key=lambda entry: str(entry["path"])))
    require(listed == model["digest"], "commitment", "model.digest does not follow")
    weights = digest(sorted(f["sha256"] for f in model["files"]))
    require(weights == model["weights"], "commitment", "model.weights does not follow")


def check_protocol(predicate: dict[str, Any]) -> None:
    """Check the preset (step 8)."""
    protocol = predicate["protocol"]
    known = PRESETS.get(protocol["name"])
    require(known is not None, "commitment", f"no preset is called {protocol['name']!a}")
    require(digest(protocol) == known, "commitment", "protocol is not that preset")
    require(predicate["protocolDigest"] == known, "commitment", "protocolDigest is another's")
    holds = label_count(predicate) in {1, *range(protocol["restarts"] // 2 + 1)}
    require(holds, "commitment", "more labels than the protocol's restarts can try")
    if (stages := predicate.get("stages")) is not None:
        require(stages == protocol.get("stages"), "commitment", "stages are not the protocol's")
        alone = "encoder" not in predicate and label_count(predicate) == 1
        require(alone, "commitment", "stages beside an encoder or labels")


def check_kinds(predicate: dict[str, Any]) -> None:
    """Check the kind and the scope (step 9)."""
    accused, generator = predicate["accused"], predicate["generator"]
    kind = accused["kind"]
    require(kind == predicate["controls"]["kind"], "commitment", "controls are of another kind")
    same = file_size(kind) == (accused["height"], accused["width"])
    require(same, "commitment", "the kind is of another size than the accused")
    for name in ("height", "width"):
        require(kind[name] == generator[name], "commitment", f"{name} of kind and generator differ")
    require(kind["modelChannels"] == generator["channels"], "commitment", "modelChannels")
    require(kind["channels"] == accused["channels"], "commitment", "channels")
    if kind["family"] == "lossless":
        require(kind["rounding"] == generator["rounding"], "commitment", "rounding")
    in_families = kind["family"] in predicate["protocol"]["families"]
    require(in_families, "commitment", "the family is not searched by this protocol")
    kinds = [family["controls"]["kind"] for family in families(predicate)]
    expected = expected_kinds(predicate)
    require(len(kinds) == len(expected), "commitment", "families of handled are missing or many")
    for i, (wanted, found) in enumerate(zip(expected, kinds, strict=True)):
        require(wanted == found, "commitment", f"family {i} of handled is not that of the protocol")
    chained, beacon = "chain" in predicate["registration"], "beacon" in predicate
    decoder = generator["format"] == "diffusers"
    bound = "binding" in predicate
    lines = scope(
        kind["family"],
        chained=chained,
        beacon=beacon,
        bound=bound,
        decoder=decoder,
        handled=handled_output(predicate),
    )
    require(predicate["scope"] == lines, "commitment", "scope")


def families(predicate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return controls, restarts and root of each family of handling, in order."""
    return [predicate, *predicate.get("handled", [])]


def applies(name: str, predicate: dict[str, Any]) -> bool:
    """Say whether the accused file can be an output that was edited so."""
    generator, kind = predicate["generator"], predicate["accused"]["kind"]
    model, file = (generator["height"], generator["width"]), file_size(kind)
    gray = kind["modelChannels"] == 1
    if gray and (name in {"colour", "palette"} or name.startswith(("jpeg-420", "jpeg-twice-420"))):
        return False
    if name.startswith(("jpeg-twice-", "jpeg-trellis")) and kind["family"] != "jpeg":
        return False
    name = name.partition("-of-jpeg-")[0]
    if name not in OTHER_SIZE:
        least_side = 24 if name == "composite" else 16 if name in MOVING else 1
        return model == file and min(model) >= least_side
    shares = [Fraction(f, m) for f, m in zip(file, model, strict=True)]
    least, most = Fraction(1, 4), Fraction(4)
    if name == "cut-out":
        least, most = Fraction(4, 5), Fraction(1)
    if name == "framed":
        least, most = Fraction(1), Fraction(5, 4)
    return model != file and all(least <= share <= most for share in shares)


def expected_kinds(predicate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the kinds that the accused file has under the protocol, in order."""
    generator, kind = predicate["generator"], predicate["accused"]["kind"]
    edits, only = predicate["protocol"].get("edits"), predicate.get("narrowed")
    if only is not None:
        known = edits is not None and set(only) <= {"unedited", *edits}
        holds = known and len(set(only)) == len(only)
        require(holds, "commitment", "narrowed does not name families of the protocol")
    bare = {k: v for k, v in kind.items() if k not in {"edit", "fileHeight", "fileWidth"}}
    bare |= {"height": generator["height"], "width": generator["width"]}
    height, width = file_size(kind)
    other = (height, width) != (generator["height"], generator["width"])
    size = {"fileHeight": height, "fileWidth": width} if other else {}
    found = [] if other else [("unedited", bare)]
    having = [name for name in edits or [] if applies(name, predicate)]
    found += [
        (name, bare | size | {"edit": name})
        for name in having
        if not name.startswith("jpeg-") or name.replace("jpeg-", "jpeg-twice-", 1) not in having
    ]
    kinds = [made for name, made in found if only is None or name in only]
    require(bool(kinds), "commitment", "the file is of no family of the protocol")
    return kinds


def handled_output(predicate: dict[str, Any]) -> str | None:
    """Return of which outputs a finding on handled ones speaks; None for unedited ones alone."""
    edits = [family["controls"]["kind"].get("edit") for family in families(predicate)]
    if edits == [None]:
        return None
    ways = ["unmodified" if name is None else EDITS[name] for name in edits]
    listed = ways[0] if len(ways) == 1 else ", ".join(ways[:-1]) + " or " + ways[-1]
    stored = {
        "lossless": "stored without loss",
        "jpeg": "saved as a JPEG like this file (libjpeg or libjpeg-turbo with default settings)",
    }[predicate["accused"]["kind"]["family"]]
    return f"output ({listed}, and then {stored})"


def seed(predicate: dict[str, Any], role: str, picture: str, index: int) -> str:
    """Derive a seed (section 3)."""
    with_beacon = "beacon" in predicate and role in {"control", "control-restart", "mismatch"}
    return digest(
        {
            "beacon": predicate["beacon"]["value"] if with_beacon else "",
            "domain": "deniability/seed/v1",
            "index": str(index),
            "picture": picture,
            "protocol": predicate["protocolDigest"],
            "role": role,
            "weights": predicate["model"]["weights"],
        }
    )


def check_resolution(record: dict[str, Any], protocol: dict[str, Any], where: str) -> None:
    """Check that what is below the resolution is written as 0."""
    for name in ("residual", "truth"):
        value = Fraction(record.get(name, "0"))
        holds = value == 0 or value >= Fraction(protocol["resolution"])
        require(holds, "commitment", f"{where}: {name} is below the resolution")


def check_controls(predicate: dict[str, Any], controls: dict[str, Any]) -> None:
    """Check the controls of a family (step 10)."""
    protocol = predicate["protocol"]
    require(controls["engine"] == ENGINE, "commitment", "controls.engine")
    kind = digest(controls["kind"])
    size = sum(prod(part["shape"]) for part in predicate["generator"]["latent"])
    large = protocol.get("largeSolver", "adam")
    solver = "levenberg-marquardt" if size <= protocol["denseLimit"] else large
    require(controls["solver"] == solver, "commitment", "controls.solver")
    found = controls["controls"]
    reached_at = threshold(numbers(found, "truth"), protocol, controls["kind"])
    require(len(found) == protocol["controls"], "commitment", "controls are missing or too many")
    for i, control in enumerate(found):
        require(control["index"] == i, "commitment", f"control {i} has another index")
        derived = seed(predicate, "control", kind, i)
        require(control["seed"] == derived, "commitment", f"control {i}: its seed is not derived")
        together = {name in control for name in ("residual", "best", "latent")}
        require(len(together) == 1, "commitment", f"control {i}: residual, best and latent")
        check_resolution(control, protocol, f"control {i}")
        best, ran, residual = (control.get(n) for n in ("best", "restarts", "residual"))
        if residual is not None and Fraction(residual) <= reached_at:
            holds = 1 <= ran <= protocol["restarts"] and best == ran - 1
        else:
            holds = ran == protocol["restarts"] and (best is None or best < ran)
        require(holds, "commitment", f"control {i}: best and restarts")
    ways = [*LOSSLESS_WAYS, *(["other-encoder"] if controls["kind"]["family"] == "jpeg" else [])]
    expected = [
        (way, i, seed(predicate, "mismatch", kind, i))
        for way in ways
        for i in range(protocol["mismatchOutputs"])
    ]
    stated = [(m["way"], m["index"], m["seed"]) for m in controls["mismatches"]]
    require(stated == expected, "commitment", "mismatches are not those of the protocol")


def merkle_root(leaves: list[bytes]) -> bytes:
    """Root of the RFC 6962 tree (section 8)."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    nodes = merkle_root(leaves[:left]) + merkle_root(leaves[left:])
    return hashlib.sha256(b"\1" + nodes).digest()


def label_count(predicate: dict[str, Any]) -> int:
    """Return the number of combined labels, 1 without labels (section 7)."""
    return prod(part.get("classes", 1) for part in predicate["generator"]["latent"])


def start(predicate: dict[str, Any], j: int) -> str:
    """Kind of start of restart j (section 7)."""
    encoder, labels = "encoder" in predicate, label_count(predicate)
    if "stages" in predicate:
        return "staged"
    if labels > 1 and encoder:
        first = "encoder" if j < 2 * labels else "encoder-noise"
        return "prior" if j % 2 else first
    if not encoder or (j > 0 and j % 2 == 0):
        return "prior"
    return "encoder-noise" if j else "encoder"


def check_labels(predicate: dict[str, Any], restarts: list[dict[str, Any]]) -> None:
    """Check that the trace tries the labels in their turns (step 11)."""
    labels, encoder = label_count(predicate), "encoder" in predicate
    tried: dict[int, int] = {}
    for j, record in enumerate(restarts):
        wanted = labels > 1 and record["stop"] != "notRun"
        require(("label" in record) == wanted, "commitment", f"restart {j}: its label")
        if wanted:
            label, rank = record["label"], (j // 2 if encoder else j) % labels
            holds = label < labels and tried.setdefault(rank, label) == label
            require(holds and (encoder or label == rank), "commitment", f"restart {j}: its label")
    require(len(set(tried.values())) == len(tried), "commitment", "a label has two ranks")


def searches(protocol: dict[str, Any]) -> int:
    """Return the number of restarts on the accused, for each family."""
    return int(protocol.get("accusedRestarts", protocol["restarts"]))


def searched_as(predicate: dict[str, Any], kind: dict[str, Any]) -> str:
    """Return the `picture` of the role `restart` (section 3)."""
    picture = str(predicate["accused"]["file"]["sha256"])
    if "edit" not in kind:
        return picture
    return hashlib.sha256(f"{picture} {digest(kind)}".encode()).hexdigest()


def check_trace(predicate: dict[str, Any]) -> None:
    """Check the trace of every family (step 11); their number is a matter of step 12."""
    found = zip(families(predicate), predicate["finding"]["families"], strict=False)
    reached = predicate["finding"].get("reached")
    for number, (family, finding) in enumerate(found):
        # Once a family has reached, later ones need not be searched (section 21).
        decided = reached is not None and reached.get("family", 0) < number
        skipped = decided and all(r["stop"] == "notRun" for r in family["restarts"])
        check_restarts(predicate, family, Fraction(finding["threshold"]), skipped=skipped)


def check_restarts(
    predicate: dict[str, Any], family: dict[str, Any], stated: Fraction, *, skipped: bool
) -> None:
    """Check one trace; of one that is skipped nothing was run."""
    restarts, count = family["restarts"], searches(predicate["protocol"])
    picture = searched_as(predicate, family["controls"]["kind"])
    require(len(restarts) == count, "commitment", "restarts are missing or too many")
    reached = skipped
    for i, record in enumerate(restarts):
        where, stop = f"restart {i}", record["stop"]
        require(record["index"] == i, "commitment", f"{where} has another index")
        derived = seed(predicate, "restart", picture, i)
        require(record["seed"] == derived, "commitment", f"{where}: its seed is not derived")
        from_ = start(predicate, i)
        require(record["start"] == from_, "commitment", f"{where}: its start is another")
        check_resolution(record, predicate["protocol"], where)
        finite = stop not in {"nonFinite", "notRun"}
        expected = {"residual", "distance", "latent"} if finite else set()
        present = record.keys() & {"residual", "distance", "latent"}
        if stop == "nonFinite":
            present -= {"latent"}
        require(present == expected, "commitment", f"{where}: fields and stop")
        require((stop == "notRun") == reached, "commitment", f"{where}: notRun")
        require(not reached or record["iterations"] == 0, "commitment", f"{where}: iterations")
        if not reached:
            reached = finite and Fraction(record["residual"]) <= stated
            require((stop == "reached") == reached, "commitment", f"{where}: reached")
    check_labels(predicate, restarts)
    root = merkle_root([canonical(record) for record in restarts]).hex() if restarts else ""
    require(root == family["traceRoot"], "commitment", "traceRoot does not follow")


# --- step 12: sections 5 and 6


def decimal(value: Fraction | None) -> str | None:
    """Write a number with six digits, rounded up."""
    if value is INFINITE or value == 0:
        return None if value is INFINITE else "0"
    exponent = 0
    while value / Fraction(10) ** exponent >= 10:
        exponent += 1
    while value / Fraction(10) ** exponent < 1:
        exponent -= 1
    digits = -(-value * 100000 // Fraction(10) ** exponent)
    if digits == 1000000:
        digits, exponent = 100000, exponent + 1
    return f"{digits // 100000}.{digits % 100000:05d}e{exponent:+03d}"


def largest(values: list[Fraction | None]) -> Fraction | None:
    """Return the largest; infinite if one is."""
    return max((v for v in values if v is not None), default=None) if None not in values else None


def percentile99(values: list[Fraction | None]) -> Fraction | None:
    """Return the number of rank ⌊99n/100⌋."""
    finite = sorted(v for v in values if v is not None)
    rank = max(1, 99 * len(values) // 100)
    return finite[rank - 1] if rank <= len(finite) else INFINITE


def bounded(k: int, n: int, alpha: Fraction, confidence: Fraction) -> bool:
    """Say whether the Clopper-Pearson bound for k of n is at most alpha."""
    a, b = alpha.as_integer_ratio()
    e, f = (1 - confidence).as_integer_ratio()
    return (
        k < n and f * sum(comb(n, i) * a**i * (b - a) ** (n - i) for i in range(k + 1)) <= e * b**n
    )


def upper_bound(k: int, n: int, confidence: Fraction) -> str:
    """Return the bound in millionths, rounded up."""
    if k >= n:
        return "1.000000"
    low, high = 0, 10**6
    while high - low > 1:
        middle = (low + high) // 2
        holds = bounded(k, n, Fraction(middle, 10**6), confidence)
        low, high = (low, middle) if holds else (middle, high)
    return f"{high // 10**6}.{high % 10**6:06d}"


DECODER_CAUTION = (
    "the model is the decoder of a latent diffusion model: its controls are drawn from the stated "
    "prior and not by the diffusion model, so no error rate over its pictures is known"
)
DECODER_SCOPE = (
    "The model is the decoder of a latent diffusion model, searched over all its latents and not "
    "over those that the diffusion model samples. It comes near most pictures, whoever made them: "
    "that a picture is reached shows that the decoder can yield it, and not that it was generated."
)


def scope(
    family: str,
    *,
    chained: bool = False,
    beacon: bool = False,
    bound: bool = False,
    decoder: bool = False,
    handled: str | None = None,
) -> list[str]:
    """Return the lines of sections 6 and 18, and of handled outputs."""
    origin = [
        "Not shown: when the registration was made; it carries no trusted timestamp, and seeds "
        "could have been ground, since no public beacon entered them."
    ]
    if chained or beacon:
        origin = [
            "When the registration was made is shown only by trusted timestamps of the chain of "
            "registrations in this bundle, where there are any, to those who trust their makers."
            if chained
            else "Not shown: when the registration was made; it carries no trusted timestamp.",
            "The value of a public beacon entered the seeds of the controls; that its round was "
            "named beforehand is shown only by a trusted timestamp of the chain."
            if beacon
            else "Not shown: that seeds were not ground; no public beacon entered them.",
        ]
    covered = {
        "lossless": "Covered: pictures stored without loss exactly as the registered sampler gives "
        "them.",
        "jpeg": "Covered: pictures as the registered sampler gives them, saved once as JPEG by an "
        "encoder that rounds (libjpeg or libjpeg-turbo with default settings, without smoothing), "
        "with this file's tables and sampling.",
    }
    if handled is not None:
        covered[family] = (
            f"Covered: {handled}, each way on its own, as the registered sampler gives them."
        )
    return [
        covered[family],
        "The error rate is over this model's randomly drawn, unedited outputs; it says nothing "
        "about an output that someone chose for being hard to find, or made to be."
        if handled is None
        else "The error rate is, for each of these ways by itself, over this model's randomly "
        "drawn outputs that went through it; it says nothing about an output that someone chose "
        "for being hard to find, or made to be.",
        "Not covered: edits other than those named above, stronger ones, or several at once."
        if handled is not None
        else "Not covered: edits of any kind (crop, scaling, shift, mirror, colour, blur, noise, "
        "overlays, screenshots), and compression other than that named above.",
        "Not covered: another checkpoint, fine-tuning or adapter of the model, image-to-image, "
        "in-painting, guidance, another sampler or latent prior, a truncation"
        f"{'' if handled is None else ' other than one named above'}, and any stage behind the "
        "model such as an upscaler.",
        "Not covered: outputs hidden in the model on purpose (a backdoor), which no random control "
        "shows.",
        "That the registered model is the one deployed is shown only by the binding in this "
        "bundle, as far as it goes, to those who trust its signer and where its pictures came from."
        if bound
        else "Not shown: that the registered model is the one deployed (deployment not verified).",
        *origin,
        *([DECODER_SCOPE] if decoder else []),
    ]


WORDS = {
    "lossless": (
        "an unmodified output",
        "edited outputs, and outputs compressed with loss before this file was saved, were not "
        "examined",
    ),
    "jpeg": (
        "an unmodified, once JPEG-saved, output",
        "edited outputs, outputs saved as JPEG more than once, and outputs saved by another "
        "encoder than libjpeg or libjpeg-turbo with default settings, were not examined",
    ),
}


def sentence(
    predicate: dict[str, Any], verdict: str, exact: bool, failed: list[str], edit: str | None
) -> str:
    """Return the sentence of section 6; with an edit through which the picture was reached."""
    model, protocol = f"the model sha256:{predicate['model']['digest']}", predicate["protocol"]
    output, not_examined = WORDS[predicate["accused"]["kind"]["family"]]
    handled, each = handled_output(predicate), ""
    if handled is not None:
        output, each = f"an {handled}", " for each of these ways"
        not_examined = OTHER_HANDLING
    if verdict == "reached" and edit is not None:
        return (
            f"Reached: a latent of {model} is shown whose output, {EDITS[edit]}, is the accused "
            "picture to within rounding."
        )
    if verdict == "reached":
        exactly = "pixel for pixel" if exact else "to within rounding"
        return (
            f"Reached: a latent of {model} is shown whose output is the accused picture {exactly}."
        )
    if verdict == "excluded":
        return (
            f"Excluded: the accused picture is not {output} of {model}, at an error rate of at "
            f"most {protocol['alpha']} (with {protocol['confidence']} confidence over "
            f"{protocol['controls']} controls, protocol {protocol['name']}){each}; {not_examined}."
        )
    reasons = "; ".join(failed)[: 1200 if handled is None else 200]
    return (
        f"Inconclusive: whether the accused picture is {output} of {model} was not decided "
        f"({reasons}); {not_examined}."
    )


def threshold(
    truths: list[Fraction | None], protocol: dict[str, Any], kind: dict[str, Any]
) -> Fraction:
    """Return T, at or below which a search ends."""
    resolution = Fraction(protocol["resolution"])
    if kind["family"] == "lossless" and "edit" not in kind:
        return resolution
    percentile = percentile99(truths)
    if percentile is INFINITE:
        return resolution
    if "edit" in kind:
        return max(resolution, percentile)
    return max(resolution, min(percentile, Fraction(decimal(FLOOR) or 0)))


def numbers(records: list[dict[str, Any]], name: str) -> list[Fraction | None]:
    """Return a field of all records; what is missing is infinite."""
    return [Fraction(r[name]) if name in r else INFINITE for r in records]


def judge(predicate: dict[str, Any], searched_family: dict[str, Any]) -> dict[str, Any]:
    """Compute the numbers and gates of one family from its residuals (section 5)."""
    protocol, kind = predicate["protocol"], searched_family["controls"]["kind"]
    family = kind["family"]
    alpha, confidence, kappa, recall, resolution = (
        Fraction(protocol[name])
        for name in ("alpha", "confidence", "kappa", "recall", "resolution")
    )
    controls = searched_family["controls"]["controls"]
    truths, residuals = numbers(controls, "truth"), numbers(controls, "residual")
    searched = numbers(searched_family["restarts"], "residual")
    n = len(controls)
    statistic = min((s for s in searched if s is not None), default=INFINITE)

    least = threshold(truths, protocol, kind)
    base = FLOOR if family == "lossless" else Fraction(0)
    floor = max([base, *(t for t in truths if t is not None)])
    recovered = sum(
        s is not None and t is not None and s <= max(t, least) + resolution
        for s, t in zip(residuals, truths, strict=True)
    )
    allowance = largest(numbers(searched_family["controls"]["mismatches"], "residual"))
    percentile = percentile99(residuals)
    margin = largest([percentile, floor, allowance, *(t for t in truths if t is None)])
    margin = INFINITE if margin is None else kappa * margin
    k = sum(s is None or (statistic is not None and s >= statistic) for s in residuals)
    bound = upper_bound(k, n, confidence)
    finished = sum(s is not None for s in searched)
    cautions = list(predicate["accused"]["cautions"])
    if predicate["generator"]["format"] == "diffusers":
        cautions.append(DECODER_CAUTION)
    far = margin is not None and (statistic is None or statistic >= margin)
    c = protocol["confidence"]

    def shown(value: Fraction | None) -> str:
        return decimal(value) or "not finite"

    gates = [
        (
            n == protocol["controls"] and bounded(k, n, alpha, confidence),
            f"{k} of {n} controls have a residual at least as large: with {c} confidence at most a "
            f"share {bound} of own outputs do, where {protocol['alpha']} is allowed (with "
            f"{protocol['controls']} controls)",
        ),
        (
            far,
            f"the residual is {shown(statistic)}, and the least that counts as different is "
            f"{shown(margin)}",
        ),
        (
            recovered >= recall * protocol["controls"],
            f"the search found {recovered} of {n} controls again, where a share of "
            f"{protocol['recall']} is required",
        ),
        (
            finished == len(searched) == searches(protocol),
            f"{finished} of {searches(protocol)} restarts ended with a finite residual",
        ),
        (
            not cautions,
            "; ".join(cautions)[:1900] or "the file is of a kind that was calibrated",
        ),
    ]
    divisor = gcd(1 + k, n + 1)
    numbers_found = {
        "family": family,
        "edit": kind.get("edit"),
        "n": n,
        "k": k,
        "alpha": protocol["alpha"],
        "upperBound": bound,
        "p": {"numerator": (1 + k) // divisor, "denominator": (n + 1) // divisor},
        "statistic": decimal(statistic),
        "threshold": decimal(least),
        "percentile99": decimal(percentile),
        "floor": decimal(floor),
        "allowance": decimal(allowance),
        "margin": decimal(margin),
        "recovered": recovered,
        "gates": [
            {"name": name, "passed": passed, "reason": reason}
            for name, (passed, reason) in zip(GATES, gates, strict=True)
        ],
    }
    return {name: v for name, v in numbers_found.items() if v is not None}


def decide(predicate: dict[str, Any]) -> dict[str, Any]:
    """Compute the finding from those of all families."""
    searched = families(predicate)
    found = [judge(predicate, family) for family in searched]
    most = Fraction(decimal(FLOOR) or 0)
    hit, edit, failed = None, None, []
    for number, family in enumerate(found):
        named = f"{family['edit']}: " if "edit" in family else ""
        failed += [named + gate["reason"] for gate in family["gates"] if not gate["passed"]]
        residuals = numbers(searched[number]["restarts"], "residual")
        least = min(most, Fraction(family["threshold"]))
        if hit is None and any(r is not None and r <= least for r in residuals):
            hit, edit = number, family.get("edit")
    verdict = "inconclusive" if failed else "excluded"
    verdict = verdict if hit is None else "reached"
    exact = predicate["finding"].get("reached", {}).get("pixelForPixel", False) and edit is None
    finding: dict[str, Any] = {
        "verdict": verdict,
        "tier": "calibrated" if hit is None else "reached",
        "sentence": sentence(predicate, verdict, exact, failed, edit),
        "families": found,
    }
    if hit is not None:
        residuals = numbers(searched[hit]["restarts"], "residual")
        best = residuals.index(min(r for r in residuals if r is not None))
        finding["reached"] = {"restart": best, "pixelForPixel": exact}
        if hit:
            finding["reached"]["family"] = hit
    return finding


def check_finding(predicate: dict[str, Any]) -> None:
    """Check the finding (step 12)."""
    computed, stated = decide(predicate), predicate["finding"]
    for name in [*computed, *stated]:
        same = computed.get(name) == stated.get(name)
        require(same, "statistics", f"finding.{name} does not follow from the residuals")


# --- step 13: sections 17 and 18


def check_beacon(predicate: dict[str, Any]) -> None:
    """Check the form of the beacon's source (step 13)."""
    if "beacon" not in predicate:
        return
    beacon = predicate["beacon"]
    drand = beacon["source"] == "drand"
    holds = len(beacon["value"]) == (64 if drand else 128)
    holds = holds and (len(beacon["chain"]) == 64) == ("signature" in beacon) == drand
    require(holds, "commitment", "the beacon has not the form of its source")
    if drand:
        value = hashlib.sha256(bytes.fromhex(beacon["signature"])).hexdigest()
        require(value == beacon["value"], "commitment", "beacon.value is not its signature's hash")


def head(links: list[Any]) -> str:
    """Return the digest of a chain's links."""
    previous = ""
    for link in links:
        previous = digest({"link": link, "previous": previous})
    return previous


def chain_statement(links: list[Any], earlier: list[Any]) -> dict[str, Any]:
    """Return the statement of a version of a chain."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "head", "digest": {"sha256": head(links)}}],
        "predicateType": CHAIN_TYPE,
        "predicate": {"links": links, "earlier": earlier},
    }


def check_chain(predicate: dict[str, Any], signer: Any) -> None:
    """Check the chain of registrations inside the bundle (step 13)."""
    if "chain" not in predicate["registration"]:
        return
    try:
        raw = from_base64(predicate["registration"]["chain"], "registration.chain")
        payload, _ = open_envelope(raw, {keyid(signer): signer})
        statement = parse(payload, "statement", "the chain")
        check_form(statement, CHAIN_STATEMENT, "statement", "chain")
        links, earlier = statement["predicate"]["links"], statement["predicate"]["earlier"]
        expected = chain_statement(links, earlier)
        require(statement == expected, "commitment", "the subject is not the head of the links")
        payloads = [link["payload"] for link in links]
        require(len(set(payloads)) == len(payloads), "commitment", "a link comes twice")
        lengths = [version["links"] for version in earlier]
        grow = lengths == sorted(set(lengths)) and max(lengths, default=0) < len(links)
        require(grow, "commitment", "earlier versions do not grow")
        for j, version in enumerate(earlier):
            content = canonical(chain_statement(links[: version["links"]], earlier[:j]))
            pae = b"DSSEv1 %d %s %d %s" % (
                len(PAYLOAD_TYPE),
                PAYLOAD_TYPE.encode(),
                len(content),
                content,
            )
            check_signature(signer, from_base64(version["signature"], "signature"), pae)
            check_stamps(version["timestamps"])
    except RefusedError as refused:
        stage = refused.stage if refused.stage == "timestamp" else "commitment"
        refuse(stage, f"registration.chain: {refused}")
    named = [
        link["weights"]
        for link in links
        if link["kind"] == "registration"
        and link["payload"] == predicate["registration"]["payload"]
    ]
    holds = named == [predicate["model"]["weights"]]
    require(holds, "commitment", "the registration is not in its chain")


# --- step 14: section 19


def binding_scope(obtained: dict[str, Any] | None) -> list[str]:
    """Return what a binding does not show."""
    first = (
        "The signer chose the pictures: nothing shows that none was left out, or that they came "
        "from the service."
    )
    if obtained is not None:
        first = (
            f"The pictures are those of a list of {obtained['count']} files with sha256 "
            f"{obtained['sha256']}; whether somebody else than the signer wrote it down from the "
            "service is shown only by comparing it with theirs."
        )
    return [
        first,
        "Not shown: that everybody gets from the service what was obtained here, before and "
        "afterwards.",
        "Not shown: that the model was not made to contain these pictures; for that it has to be "
        "shown that it was registered before they were obtained.",
        "A JPEG tells models apart less finely than a file without loss: for an accused file count "
        "only the outputs without loss, and those of its own kind.",
    ]


def binding_result(binding: dict[str, Any]) -> dict[str, Any]:
    """Compute the result of a binding from its pictures."""
    pictures, model = binding["pictures"], f"the model sha256:{binding['model']['digest']}"
    lossless = {digest(k["kind"]) for k in binding["kinds"] if k["kind"]["family"] == "lossless"}
    different = [p for p in pictures if "repeats" not in p]
    found = [p for p in different if p["stop"] == "reached"]
    missed = sum(p["stop"] != "reached" for p in pictures)
    count, reached = len(different), len(found)
    share = upper_bound(count - reached, count, Fraction("0.95"))
    bound = missed == 0 and count >= 30
    plain = sum(p["kind"] in lossless for p in found)
    exact = sum(p["pixelForPixel"] for p in found)
    return {
        "verdict": "bound" if bound else "not-bound",
        "sentence": f"Bound: {count} different outputs, said to be obtained from the service, are "
        f"outputs of {model}: a latent of each is shown ({plain} without loss, {count - plain} as "
        f"JPEG; {exact} pixel for pixel). If they were drawn as the users' outputs are, with 0.95 "
        f"confidence at most a share {share} of what the service gives comes from something else."
        if bound
        else f"Not bound: of {len(pictures)} pictures said to be obtained from the service "
        f"{missed} were not found in {model}, and {reached} different outputs were; all have to be "
        "found, and 30 different ones. A search that is too weak ends so as well.",
        "count": count,
        "reached": reached,
        "share": share,
    }


def check_binding_kinds(binding: dict[str, Any]) -> dict[str, Fraction]:
    """Return the threshold of each kind by its digest."""
    generator, protocol = binding["generator"], binding["protocol"]
    limits: dict[str, Fraction] = {}
    for entry in binding["kinds"]:
        kind, truths = entry["kind"], entry["truths"]
        check_kind(kind)
        fits = all(kind[name] == generator[name] for name in ("height", "width"))
        fits = fits and kind["modelChannels"] == generator["channels"] and "edit" not in kind
        fits = fits and kind.get("rounding", generator["rounding"]) == generator["rounding"]
        require(fits and kind["family"] in protocol["families"], "commitment", "a kind")
        wanted = protocol["controls"] if kind["family"] == "jpeg" else 0
        require(len(truths) == wanted, "commitment", "truths")
        values = [INFINITE if t == "notFinite" else Fraction(t) for t in truths]
        small = [v for v in values if v and v < Fraction(protocol["resolution"])]
        require(not small, "commitment", "a truth is below the resolution")
        limit = threshold(values, protocol, kind)
        require(entry["threshold"] == decimal(limit), "commitment", "threshold")
        require(digest(kind) not in limits, "commitment", "a kind is there twice")
        limits[digest(kind)] = Fraction(entry["threshold"])
    named = {p["kind"] for p in binding["pictures"] if "kind" in p}
    require(named == limits.keys(), "commitment", "kinds are not those of the pictures")
    return limits


def check_pictures(binding: dict[str, Any], limits: dict[str, Fraction]) -> None:
    """Check every picture of a binding."""
    pictures, protocol = binding["pictures"], binding["protocol"]
    names = {p["file"]["name"] for p in pictures}
    require(len(names) == len(pictures), "commitment", "two pictures have one name")
    of_result = {"residual", "distance", "restart", "latent"}
    for i, picture in enumerate(pictures):
        where, stop = f"picture {i}", picture["stop"]
        expected = {"reason"} if stop == "notExamined" else {"kind", "pixels"}
        expected |= set() if stop in {"notExamined", "nonFinite"} else of_result
        expected |= {"pixelForPixel"} if stop == "reached" else set()
        present = picture.keys() - {"file", "stop", "repeats"}
        require(present == expected, "commitment", f"{where}: fields and stop")
        check_resolution(picture, protocol, where)
        if "residual" in picture:
            reached = Fraction(picture["residual"]) <= limits[picture["kind"]]
            require(reached == (stop == "reached"), "commitment", f"{where}: reached")
            ran = picture["restart"] < protocol["restarts"]
            require(ran, "commitment", f"{where}: restart")
        same = any(
            picture["file"]["sha256"] == other["file"]["sha256"]
            or any(n in picture and picture[n] == other.get(n) for n in ("pixels", "latent"))
            for other in pictures[:i]
        )
        repeats = picture.get("repeats")
        holds = repeats is not None or not same
        if repeats is not None:
            holds = repeats < i and "repeats" not in pictures[repeats]
        require(holds, "commitment", f"{where}: repeats")


def check_list(binding: dict[str, Any]) -> None:
    """Check that the pictures are those of the list."""
    if "obtained" not in binding:
        return
    obtained = binding["obtained"]
    raw = from_base64(obtained["contents"], "obtained.contents")
    require(len(raw) <= 1048576, "commitment", "the list is too long")
    require(hashlib.sha256(raw).hexdigest() == obtained["sha256"], "commitment", "obtained.sha256")
    try:
        lines = raw.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        refuse("commitment", "the list is not UTF-8")
    found = [re.fullmatch(r"\\?([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    require(None not in found, "commitment", "the list is not of sha256sum")
    require(len(found) == obtained["count"], "commitment", "obtained.count")
    listed = {match[1] for match in found if match is not None}
    shown = {p["file"]["sha256"] for p in binding["pictures"]}
    require(listed == shown, "commitment", "the pictures are not those of the list")


def check_binding(predicate: dict[str, Any], keys: dict[str, Any]) -> None:
    """Check the binding inside the bundle, if a trusted key signed it (step 14)."""
    if "binding" not in predicate:
        return
    try:
        payload, _ = open_envelope(from_base64(predicate["binding"], "binding"), keys)
        statement = parse(payload, "statement", "the binding")
        check_form(statement, BINDING_STATEMENT, "statement", "binding")
        binding = statement["predicate"]
        check_generator(binding["generator"])
        files = [
            {"name": f["name"], "digest": {"sha256": f["sha256"]}}
            for f in binding["model"]["files"]
        ]
        require(statement["subject"] == files, "commitment", "subjects are not the model's files")
        check_model(binding["model"])
        check_protocol(binding)
        check_beacon(binding)
        require("chain" not in binding["registration"], "commitment", "registration.chain")
        check_pictures(binding, check_binding_kinds(binding))
        check_list(binding)
        lines = binding_scope(binding.get("obtained"))
        require(binding["scope"] == lines, "commitment", "scope")
        require(binding["result"] == binding_result(binding), "statistics", "result")
    except RefusedError as refused:
        if refused.stage == "trust":
            return
        stage = refused.stage if refused.stage == "timestamp" else "commitment"
        refuse(stage, f"binding: {refused}")
    same = binding["model"]["weights"] == predicate["model"]["weights"]
    same = same and binding["generator"] == predicate["generator"]
    require(same, "commitment", "the binding is of another model")


# --- section 20: several models

ATTRIBUTED_OUTPUTS = (", unedited outputs", " outputs, handled in any one of the ways examined,")
ATTRIBUTION_SCOPE = [
    "Examined were the models listed, by digest, and no others: whatever the verdict, the picture "
    "may be by a model that is not listed, and nothing shows which others the signer examined.",
    "A latent that is shown makes nobody the author: a model that is expressive enough reaches "
    "pictures that it never made, and a copy of a model reaches what the model does.",
    "The error rate is of each model by itself: whichever of them it is, at most that share of its "
    "own randomly drawn{outputs} would be excluded.",
    "What is and is not covered of each model is said in the scope of its own finding.",
]
HEADS = {
    "attributed": "Attributed",
    "none-of-these": "None of these",
    "several": "Several, which cannot be told apart",
    "inconclusive": "Inconclusive",
}


def attribution_scope(candidates: list[dict[str, Any]]) -> list[str]:
    """Return the scope of an attribution."""
    outputs = ATTRIBUTED_OUTPUTS["edits" in candidates[0]["protocol"]]
    return [line.replace("{outputs}", outputs) for line in ATTRIBUTION_SCOPE]


def attribute(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the finding of an attribution from those of its candidates."""
    found: dict[str, list[dict[str, Any]]] = {
        verdict: [c for c in candidates if c["finding"]["verdict"] == verdict]
        for verdict in ("reached", "excluded", "inconclusive")
    }
    if len(found["reached"]) > 1:
        verdict = "several"
    elif found["inconclusive"]:
        verdict = "inconclusive"
    else:
        verdict = "attributed" if found["reached"] else "none-of-these"

    def names(of: str) -> str:
        digests = ", ".join(f"sha256:{c['model']['digest']}" for c in found[of])
        return f"the model{'s' if len(found[of]) > 1 else ''} {digests}"

    families = {c["accused"]["kind"]["family"] for c in candidates}
    words = [WORDS[family] for family in ("lossless", "jpeg") if family in families]
    output, clauses = " or ".join(output for output, _ in words), []
    if "edits" in candidates[0]["protocol"]:
        output = examined_output(candidates[0].get("narrowed"))
        words = [("", OTHER_HANDLING)]
    ways = [reached_edit(c) for c in found["reached"]]
    if len(found["reached"]) == 1 and ways[0] is not None:
        clauses.append(
            f"a latent of {names('reached')} is shown whose output, {EDITS[ways[0]]}, is the "
            "accused picture to within rounding"
        )
    elif len(found["reached"]) == 1:
        exact = found["reached"][0]["finding"]["reached"]["pixelForPixel"]
        exactly = "pixel for pixel" if exact else "to within rounding"
        clauses.append(
            f"a latent of {names('reached')} is shown whose output is the accused picture {exactly}"
        )
    elif found["reached"]:
        outputs = "outputs, as they are or handled," if any(ways) else "outputs"
        clauses.append(
            f"latents of {names('reached')} are shown whose {outputs} are the accused picture"
        )
    if found["excluded"]:
        protocols = [c["protocol"] for c in found["excluded"]]
        alpha = max((p["alpha"] for p in protocols), key=Fraction)
        confidence = min((p["confidence"] for p in protocols), key=Fraction)
        clauses.append(
            f"the accused picture is not {output} of {names('excluded')}, at an error rate of at "
            f"most {alpha} for each (with {confidence} confidence over its controls)"
        )
    if found["inconclusive"]:
        clauses.append(
            f"whether the accused picture is {output} of {names('inconclusive')} was not decided"
        )
    clauses += ["models that are not listed were not examined", *(rest for _, rest in words)]
    return {
        "verdict": verdict,
        "sentence": f"{HEADS[verdict]} ({len(candidates)} models examined): {'; '.join(clauses)}.",
        **{of: [c["model"]["digest"] for c in found[of]] for of in found},
    }


def examined_output(narrowed: list[str] | None) -> str:
    """Say of what handled outputs an attribution speaks."""
    if narrowed is None:
        return "an output, unmodified or handled in one of the ways examined,"
    ways = ["unmodified" if name == "unedited" else EDITS[name] for name in narrowed]
    before = ", ".join(ways[:-1])
    listed = f"{before} or {ways[-1]}" if before else ways[-1]
    return f"an output in one of these ways ({listed}), to which the search was narrowed,"


def reached_edit(candidate: dict[str, Any]) -> str | None:
    """Return the edit through which a candidate is reached, if that is one."""
    finding = candidate["finding"]
    edit: str | None = finding["families"][finding["reached"].get("family", 0)].get("edit")
    return edit


def check_attribution(
    subject: list[Any], predicate: dict[str, Any], signer: Any, keys: dict[str, Any]
) -> None:
    """Check several exclusions, and what follows from them (section 20, steps 2 to 6)."""
    candidates = predicate["candidates"]
    digests = [c["model"]["digest"] for c in candidates]
    require(digests == sorted(set(digests)), "commitment", "candidates: order of model.digest")
    for part, name in (("model", "weights"), ("registration", "payload")):
        values = {c[part][name] for c in candidates}
        require(len(values) == len(candidates), "commitment", f"candidates: {part}.{name} twice")
    edits, narrowed = candidates[0]["protocol"].get("edits"), candidates[0].get("narrowed")
    for candidate in candidates:
        same = candidate["protocol"].get("edits") == edits
        same = same and candidate.get("narrowed") == narrowed
        require(same, "commitment", "not the same families of handling in all candidates")
    first = candidates[0]["accused"]
    for candidate in candidates:
        accused = candidate["accused"]
        same = accused["file"] == predicate["picture"]
        for name in ("format", "width", "height", "pixels"):
            same = same and accused[name] == first[name]
        require(same, "commitment", "the candidates are not about one picture")
    for index, candidate in enumerate(candidates):
        try:
            check_exclusion(subject, candidate, signer, keys)
        except RefusedError as refused:
            refuse(refused.stage, f"candidates.{index}: {refused}")
    links = [chain_links(c) for c in candidates]
    longest = max(links, key=len)
    for found in links:
        holds = longest[: len(found)] == found
        require(holds, "commitment", "the chains of the candidates are not one")
    require(predicate["scope"] == attribution_scope(candidates), "commitment", "scope")
    computed, stated = attribute(candidates), predicate["finding"]
    for name in computed:
        same = computed[name] == stated[name]
        require(same, "statistics", f"finding.{name} does not follow from the candidates")


def chain_links(predicate: dict[str, Any]) -> list[Any]:
    """Return the links of a chain that was checked; none without one."""
    if "chain" not in predicate["registration"]:
        return []
    bundle = json.loads(base64.b64decode(predicate["registration"]["chain"]))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    links: list[Any] = json.loads(payload)["predicate"]["links"]
    return links


def check_exclusion(
    subject: list[Any], predicate: dict[str, Any], signer: Any, keys: dict[str, Any]
) -> None:
    """Check an exclusion (steps 6 to 14)."""
    check_subject(subject, predicate)
    check_model(predicate["model"])
    check_protocol(predicate)
    check_kinds(predicate)
    for family in families(predicate):
        check_controls(predicate, family["controls"])
    check_trace(predicate)
    check_finding(predicate)
    check_beacon(predicate)
    check_chain(predicate, signer)
    check_binding(predicate, keys)


def verify(raw: bytes, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the predicate of a bundle or attribution that holds (steps 1 to 14)."""
    payload, signer = open_envelope(raw, keys)
    subject, predicate = open_statement(payload)
    if "candidates" in predicate:
        check_attribution(subject, predicate, signer, keys)
    else:
        check_exclusion(subject, predicate, signer, keys)
    return predicate


def keyid(key: Any) -> str:
    """Return a key's name, the SHA-256 of its SPKI."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def read_key(path: Path) -> tuple[str, Any]:
    """Return a public key by its name."""
    key = serialization.load_pem_public_key(path.read_bytes())
    curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not curve and not isinstance(key, ed25519.Ed25519PublicKey):
        raise ValueError("a key must be ECDSA P-256 or Ed25519")
    return keyid(key), key


def main(arguments: list[str] | None = None) -> int:
    """Check one bundle; return the exit code."""
    parser = argparse.ArgumentParser(description="Check a bundle at level V0.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", type=Path, action="append", required=True, metavar="PUB")
    options = parser.parse_args(arguments)
    try:
        raw, keys = options.bundle.read_bytes(), dict(map(read_key, options.key))
    except (OSError, ValueError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    try:
        predicate = verify(raw, keys)
    except RefusedError as refused:
        word = "not checked" if refused.exit_code == 4 else "refused"
        print(f"{word} at stage {refused.stage}: {refused}", file=sys.stderr)
        return refused.exit_code
    print("V0 holds: signed, consistent with itself; the search was not run again")
    print("timestamps, if there are any, were not checked and date nothing here")
    if "narrowed" in predicate:
        print("the search was narrowed to", *predicate["narrowed"], "by whoever made it")
    if any("binding" in examined for examined in predicate.get("candidates", [predicate])):
        print("a binding is cited; who answers for where its pictures came from was not judged")
    print(predicate["finding"]["sentence"])
    file = predicate["picture"] if "picture" in predicate else predicate["accused"]["file"]
    print(f"sha256 of the accused file: {file['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
