"""V1 of a binding in an isolated child process, as `isolated.py` for bundles."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import torch
from pydantic import TypeAdapter

from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, ImageError
from deniability.evidence.progress import Progress
from deniability.evidence.replay.binding import replay_binding
from deniability.evidence.replay.isolated import (
    answering,
    read_coefficients,
    read_request,
    seal,
)
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions, described
from deniability.imaging.jpeg_read import keep_coefficients
from deniability.sandbox.messages import Answer
from deniability.verify.binding import VerifiedBinding, verify_binding
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.base import Sha256Hex, WireModel
from deniability.wire.files import read_capped


class BindingReplayRequest(WireModel):
    """What the parent asks for; all paths are private copies.

    Attributes:
        binding, model, latents: files; `model` may name a built-in one.
        images: folder of the pictures, called by their places: 0000, 0001, ...
        signer: the trusted key's SPKI DER in base64, under which the parent verified the binding.
        payload: digest of the signed payload that the parent saw.
        options: what flags state of the model, as JSON.

    """

    binding: str
    images: str
    model: str
    latents: str
    signer: str
    payload: Sha256Hex
    options: str


def main(_: list[str]) -> int:
    """Answer the request on standard input; return the exit status."""
    return answering(_replay)


def _replay(raw: bytes, progress: Progress) -> Answer:
    request = read_request(raw, BindingReplayRequest)
    verified = _verified(request)
    binding, folder = verified.binding, Path(request.images)
    images = [folder / f"{number:04d}" for number in range(len(binding.pictures))]
    keep_coefficients()
    for image in images:
        with contextlib.suppress(ImageError):  # one that was not examined
            read_coefficients(binding.generator, image)
    seal()
    generator = load_generator(
        request.model,
        device=torch.device("cpu"),
        options=TypeAdapter(ModelOptions).validate_json(request.options),
        fallback=described(binding.generator),
    )
    found = replay_binding(
        verified,
        images=images,
        generator=generator,
        sidecar=Path(request.latents),
        progress=progress,
    )
    return Answer(lines=(found.lines,), values=(found.to_json(),))


def _verified(request: BindingReplayRequest) -> VerifiedBinding:
    key = PublicKey(base64.b64decode(request.signer, validate=True))
    raw = read_capped(Path(request.binding), MAX_BUNDLE_BYTES, what="binding")
    verified = verify_binding(raw, trust=TrustPolicy((key,)), where=request.binding)
    if verified.payload_digest != request.payload:
        raise CommitmentError(
            "the binding has changed since it was verified",
            where=request.binding,
            expected=request.payload,
            found=verified.payload_digest,
        )
    return verified
