"""V1 and V2 in an isolated child process: reads a request, says how it goes, and answers.

Nothing of a stranger is opened before the process is confined; no model is opened before it has
sealed itself. Whatever happens in here ends in one message or in this process's death.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import torch
from pydantic import TypeAdapter

from deniability.crypto.canonical import canonical_json, parse_canonical
from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, DeniabilityError
from deniability.evidence.progress import Progress
from deniability.evidence.prove import MAX_IMAGE_BYTES
from deniability.evidence.replay.latents import replay_latents
from deniability.evidence.replay.search import replay_search
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions, described
from deniability.imaging.decode import decode_picture
from deniability.imaging.jpeg_read import keep_coefficients
from deniability.imaging.observation import observe
from deniability.sandbox import seccomp
from deniability.sandbox.interface import IsolationError
from deniability.sandbox.messages import Advance, Answer, Failure, Note, Phase, encode
from deniability.verify.attribution import VerifiedAttribution
from deniability.verify.bundle import VerifiedBundle
from deniability.verify.finding import verify_finding
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.base import Sha256Hex, WireModel
from deniability.wire.edits import HandlingName
from deniability.wire.files import read_capped
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import Protocol

_MAX_REQUEST = 1 << 20
RequestT = TypeVar("RequestT", bound=WireModel)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


class ReplayRequest(WireModel):
    """What the parent asks for; all paths are private copies.

    Attributes:
        bundle, image, model, latents: files; `model` may be a folder or name a built-in one.
        signer: the trusted key's SPKI DER in base64, under which the parent verified the bundle.
        payload: digest of the signed payload that the parent saw.
        candidate: digest of the model; of an attribution it says which candidate is meant.
        options: what flags state of the model, as JSON.
        count: fresh controls for V2; None: V1 alone.

    """

    bundle: str
    image: str
    model: str
    latents: str
    signer: str
    payload: Sha256Hex
    candidate: Sha256Hex
    options: str
    count: int | None = None


class _Telling:
    """Progress as messages, at most ten a second."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers, self._next = answers, 0.0

    def phase(self, name: str, total: int) -> None:
        self._answers.write(encode(Phase(name=name, total=total)))

    def advance(self, done: int, *, best: float | None = None) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            shown = None if best is None else f"{best:.3e}"
            finite = shown is None or shown[0].isdigit()
            self._answers.write(encode(Advance(done=done, best=shown if finite else None)))

    def note(self, text: str) -> None:
        self._answers.write(encode(Note(text=text[:2000])))


def main(_: list[str]) -> int:
    """Answer the request on standard input; return the exit status."""
    return answering(_replay)


def answering(work: Callable[[bytes, Progress], Answer]) -> int:
    """Do work on the request on standard input, and answer whatever happens."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a model prints is no answer
    try:
        answers.write(encode(work(sys.stdin.buffer.read(_MAX_REQUEST), _Telling(answers))))
    except DeniabilityError as error:
        short = any(words in str(error) for words in _NO_MEMORY)
        answers.write(encode(Failure.of(_no_memory() if short else error)))
    except MemoryError:
        answers.write(encode(Failure.of(_no_memory())))
    except BaseException as error:  # noqa: BLE001 - whatever a model does, SystemExit too
        short = any(words in str(error) for words in _NO_MEMORY)
        answers.write(encode(Failure.of(_no_memory() if short else _broken(error))))
    return 0


def read_request(raw: bytes, model: type[RequestT]) -> RequestT:
    """Parse the request."""
    value = parse_canonical(raw, where="request", max_bytes=_MAX_REQUEST)
    return model.model_validate_json(canonical_json(value))


def _replay(raw: bytes, progress: Progress) -> Answer:
    request = read_request(raw, ReplayRequest)
    verified = _verified(request)
    image = Path(request.image)
    keep_coefficients()
    exclusion = verified.exclusion
    read_coefficients(exclusion.generator, image, exclusion.protocol, exclusion.narrowed)
    seal()
    generator = load_generator(
        request.model,
        device=torch.device("cpu"),
        options=TypeAdapter(ModelOptions).validate_json(request.options),
        fallback=described(verified.exclusion.generator),
        expected=[file.sha256 for file in verified.exclusion.model.files],
    )
    sidecar = Path(request.latents)
    first = replay_latents(
        verified, image=image, generator=generator, sidecar=sidecar, progress=progress
    )
    lines, values = [first.lines], [first.to_json()]
    if request.count is not None:
        second = replay_search(
            verified,
            image=image,
            generator=generator,
            sidecar=sidecar,
            count=request.count,
            progress=progress,
        )
        lines.append(second.lines)
        values.append(second.to_json())
    return Answer(lines=tuple(lines), values=tuple(values))


def seal() -> None:
    """Start no process any more, where the kernel can enforce that."""
    if seccomp.unavailable() is None:
        seccomp.seal()


def _verified(request: ReplayRequest) -> VerifiedBundle:
    key = PublicKey(base64.b64decode(request.signer, validate=True))
    raw = read_capped(Path(request.bundle), MAX_BUNDLE_BYTES, what="bundle")
    verified = verify_finding(raw, trust=TrustPolicy((key,)), where=request.bundle)
    if verified.payload_digest != request.payload:
        raise CommitmentError(
            "the bundle has changed since it was verified",
            where=request.bundle,
            expected=request.payload,
            found=verified.payload_digest,
        )
    bundles = verified.bundles if isinstance(verified, VerifiedAttribution) else (verified,)
    for bundle in bundles:
        if bundle.exclusion.model.digest == request.candidate:
            return bundle
    raise CommitmentError(
        "not a model that the bundle is about", where=request.bundle, expected=request.candidate
    )


def read_coefficients(
    spec: GeneratorSpec,
    image: Path,
    protocol: Protocol | None = None,
    only: Sequence[HandlingName] | None = None,
) -> None:
    """Read a JPEG's coefficients while processes can still be started; nothing else is kept.

    A protocol's families of handling say which sizes a file can have.
    """
    data = read_capped(image, MAX_IMAGE_BYTES, what="picture")
    if not data.startswith(b"\xff\xd8"):
        return
    observe(
        decode_picture(data, where=str(image)),
        data,
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        where=str(image),
        rounding=spec.rounding,
        device=torch.device("cpu"),
        protocol=protocol,
        only=only,
    )


def _no_memory() -> IsolationError:
    return IsolationError(
        "the model takes more memory than it may have",
        where="--model",
        hint="State more with --memory-limit, if this machine has it.",
    )


def _broken(error: BaseException) -> IsolationError:
    said = "".join(c if c.isprintable() else " " for c in str(error))[:300]
    return IsolationError(
        "the model could not be run",
        where="--model",
        found=f"{type(error).__name__}: {said}",
    )
