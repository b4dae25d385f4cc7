"""`deny inspect`: show what a file says, having verified nothing of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from deniability.cli.inspection_kind import (
    are_latents,
    is_model,
    is_safetensors,
    read_head,
    tensor_shapes,
)
from deniability.cli.options import (
    Device,
    DeviceOption,
    Json,
    ModelFlags,
    Quiet,
    with_model_flags,
)
from deniability.cli.terminal import Output
from deniability.errors import ParseError

_UNVERIFIED = "Nothing here was verified: this is only what the file says."
_MAX_BYTES = 64 * 2**20
_SHOWN = 8  # entries of a list
_FIELDS = 64  # fields of an object
_LONGEST = 2000  # characters of a value
_DEPTH = 32

_KINDS = {
    "urn:deniability:exclusion/v1": "bundle: a finding about one picture and one model",
    "urn:deniability:attribution/v1": "attribution: a finding about one picture and several models",
    "urn:deniability:registration/v1": "registration of a model",
    "urn:deniability:binding/v1": "binding: outputs of a service searched for in a model",
    "urn:deniability:evaluation/v1": "evaluation: how often the procedure is wrong on a model",
    "urn:deniability:chain/v1": "chain of a key's registrations",
    "urn:deniability:withdrawal/v1": "withdrawal of a finding or key",
    "https://slsa.dev/verification_summary/v1": "attestation: an examiner's verification summary",
}


@with_model_flags
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            help="Any file of ours: bundle, key, latents, ...; or a model file, or builtin.",
            metavar="FILE",
        ),
    ],
    device: DeviceOption = Device.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Show what a file says, or what a model is and what it costs. Nothing is verified.

    A model is loaded and run as by register, without isolation, to be counted and measured on this
    device: inspect only models that you would run. Files of ours run nothing.
    """
    from deniability.wire.files import read_capped  # noqa: PLC0415

    out = Output(json, quiet)
    path, options = Path(file), flags.options()
    if is_model(file, options):
        from deniability.cli.inspection_model import show_model  # noqa: PLC0415

        out.result(show_model(file, options, device, out))
        return
    head = read_head(path)
    if head is None or not is_safetensors(head):  # of those the header says all, however large
        head = read_capped(path, _MAX_BYTES, what="file")
    content = _content(head, str(path))
    out.line(_UNVERIFIED)
    for line in _lines(content):
        out.line(line)
    if "tensors" in content and not are_latents(content["tensors"]):
        out.note(
            "If these are the weights of a model, say --factory package.module:callable, or put it "
            "into generator.toml, to have the model inspected."
        )
    out.result({"verified": False, "file": str(path), "content": content})


def _content(raw: bytes, where: str) -> dict[str, Any]:
    """Tell the kinds of file apart by their first bytes."""
    if raw.lstrip().startswith(b"-----BEGIN "):
        return _key(raw, where)
    if raw.startswith(b"{"):
        return _envelope(raw, where)
    if is_safetensors(raw):
        return _tensors(raw, where)
    raise ParseError(
        "not a file of this program",
        where=where,
        expected="a bundle, a registration, a key (PEM), a latents file (safetensors) or a model "
        "(TorchScript, .pt2, state dict, safetensors, ONNX)",
    )


def _key(raw: bytes, where: str) -> dict[str, Any]:
    from deniability.crypto.keys import (  # noqa: PLC0415
        is_encrypted,
        load_private_key,
        load_public_key,
    )

    if is_encrypted(raw):
        return {"kind": "private key, encrypted"}
    if b"PRIVATE KEY" in raw[:100]:
        key = load_private_key(raw, None, where).public
        return {"kind": "private key", "algorithm": key.algorithm, "keyid": key.keyid}
    public = load_public_key(raw, where)
    return {"kind": "public key", "algorithm": public.algorithm, "keyid": public.keyid}


def _envelope(raw: bytes, where: str) -> dict[str, Any]:
    from deniability.crypto.digest import sha256_hex  # noqa: PLC0415
    from deniability.crypto.encoding import b64decode_strict  # noqa: PLC0415
    from deniability.verify.parse import MAX_VALUES, parse_bundle, parse_model  # noqa: PLC0415
    from deniability.wire.statement import Statement  # noqa: PLC0415

    bundle = parse_bundle(raw, where=where)
    payload = b64decode_strict(bundle.dsse_envelope.payload, f"{where}: dsseEnvelope.payload")
    shown: dict[str, Any] = {
        "kind": "signed statement",
        "claims to be signed by": bundle.verification_material.public_key.hint,
        "payload sha256": sha256_hex(payload),
    }
    tokens = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps
    if tokens:
        shown["timestamps"] = [_timestamp(token.signed_timestamp, where) for token in tokens]
    values = payload.count(b",") + payload.count(b"[") + payload.count(b"{")
    if values > MAX_VALUES:
        return shown | {"payload": f"{len(payload)} bytes of too many values to be shown"}
    statement = parse_model(payload, Statement, where=f"{where}: payload", error=ParseError)
    findings = ("urn:deniability:exclusion/v1", "urn:deniability:attribution/v1")
    if statement.predicate_type in findings:
        candidates = statement.predicate.get("candidates", [statement.predicate])
        cites = isinstance(candidates, list) and any(
            isinstance(candidate, dict) and "binding" in candidate for candidate in candidates
        )
        shown["deployment"] = (
            "the file cites a binding, which was not verified here"
            if cites
            else "deployment not verified: the file cites no binding"
        )
    return shown | {
        "kind": f"signed statement ({_KINDS.get(statement.predicate_type, 'of another kind')})",
        "type": statement.predicate_type,
        "subject": [subject.to_wire() for subject in statement.subject],
        "predicate": statement.predicate,
    }


def _timestamp(token: str, where: str) -> str:
    """Say which time a token claims, and who made it, as its signer's certificate says."""
    from deniability.crypto.encoding import b64decode_strict  # noqa: PLC0415

    raw = b64decode_strict(token, f"{where}: rfc3161Timestamps")
    from cryptography import x509  # noqa: PLC0415
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415

    try:
        response = decode_timestamp_response(raw)
        time = response.tst_info.gen_time
        found = [x509.load_der_x509_certificate(c) for c in response.signed_data.certificates]
    except (ValueError, TypeError, OverflowError) as cause:
        return f"unreadable ({cause})"
    issuers = {certificate.issuer for certificate in found}
    names = [c.subject.rfc4514_string() for c in found if c.subject not in issuers or not found[1:]]
    return f"{time.isoformat()} by {', '.join(names) or 'an authority that is not named'}"


def _tensors(raw: bytes, where: str) -> dict[str, Any]:
    return {"kind": "latents (safetensors)", "tensors": tensor_shapes(raw, where)}


def _lines(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """Write a JSON value as indented lines; what is long is cut, and says so."""
    indent = "  " * max(0, depth - 1)
    label = f"{indent}{_short(name)}: " if name else indent
    if depth > _DEPTH:
        yield f"{label}..."
    elif isinstance(value, dict):
        if name:
            yield f"{indent}{_short(name)}:"
        for key, entry in itertools.islice(value.items(), _FIELDS):
            yield from _lines(entry, str(key), depth + 1)
        if len(value) > _FIELDS:
            yield f"{'  ' * depth}... ({len(value)} fields in all)"
    elif isinstance(value, list) and all(isinstance(entry, int | str) for entry in value):
        shown = ", ".join(_short(entry) for entry in value[:_SHOWN])
        more = f" ... ({len(value)} in all)" if len(value) > _SHOWN else ""
        yield f"{label}{shown}{more}"
    elif isinstance(value, list):
        yield f"{indent}{_short(name)}: {len(value)} entries" + (
            f", the first {_SHOWN} shown" if len(value) > _SHOWN else ""
        )
        for position, entry in enumerate(value[:_SHOWN]):
            yield from _lines(entry, f"[{position}]", depth + 1)
    else:
        yield f"{label}{_short(value)}"


def _short(value: object) -> str:
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} ... ({len(text)} characters in all)"
