"""V1 and V2 of an evaluation in an isolated child process, as `isolated.py` for bundles."""

from __future__ import annotations

import base64
from pathlib import Path

import torch
from pydantic import TypeAdapter

from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError
from deniability.evidence.progress import Progress
from deniability.evidence.replay.evaluation import replay_evaluation
from deniability.evidence.replay.evaluation_case import check_kinds, open_evaluation
from deniability.evidence.replay.evaluation_search import replay_measured
from deniability.evidence.replay.isolated import answering, read_request, seal
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions, described
from deniability.imaging.jpeg_read import keep_coefficients
from deniability.sandbox.messages import Answer
from deniability.verify.evaluation import VerifiedEvaluation, verify_evaluation
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.base import Sha256Hex, WireModel
from deniability.wire.files import read_capped


class EvaluationReplayRequest(WireModel):
    """What the parent asks for; all paths are private copies.

    Attributes:
        evaluation, model: files; `model` may be a folder or name a built-in one.
        registration, registrar: the file with its latents beside it, and its signer's key as
            `signer`; absent if it was not brought.
        pictures: folder of a folder for each group of pictures that was brought, in which they are
            called by their places: 0000, 0001, ...
        signer: the trusted key's SPKI DER in base64, under which the parent verified the
            evaluation.
        payload: digest of the signed payload that the parent saw.
        options: what flags state of the model, as JSON.
        count: how much is searched for again in V2; None: V1 alone.

    """

    evaluation: str
    model: str
    registration: str | None = None
    registrar: str | None = None
    pictures: str
    signer: str
    payload: Sha256Hex
    options: str
    count: int | None = None


def main(_: list[str]) -> int:
    """Answer the request on standard input; return the exit status."""
    return answering(_replay)


def _replay(raw: bytes, progress: Progress) -> Answer:
    request = read_request(raw, EvaluationReplayRequest)
    verified = _verified(request)
    evaluation = verified.evaluation
    keep_coefficients()
    check_kinds(evaluation)  # reads JPEGs, while processes can still be started
    seal()
    generator = load_generator(
        request.model,
        device=torch.device("cpu"),
        options=TypeAdapter(ModelOptions).validate_json(request.options),
        fallback=described(evaluation.generator),
        expected=[file.sha256 for file in evaluation.model.files],
    )
    registrar = None if request.registrar is None else _key(request.registrar)
    case = open_evaluation(
        verified,
        generator=generator,
        registration=None if request.registration is None else Path(request.registration),
        trust=TrustPolicy(() if registrar is None else (registrar,)),
        pictures=_pictures(request, verified),
        progress=progress,
    )
    first = replay_evaluation(case, progress=progress)
    lines, values = [first.lines], [first.to_json()]
    if request.count is not None:
        second = replay_measured(case, count=request.count, progress=progress)
        lines.append(second.lines)
        values.append(second.to_json())
    return Answer(lines=tuple(lines), values=tuple(values))


def _pictures(
    request: EvaluationReplayRequest, verified: VerifiedEvaluation
) -> dict[str, list[Path]]:
    """Return the pictures that were brought, by their group."""
    return {
        group.name: [folder / f"{number:04d}" for number in range(len(group.files or ()))]
        for group in verified.evaluation.groups
        if (folder := Path(request.pictures) / group.name).is_dir()
    }


def _verified(request: EvaluationReplayRequest) -> VerifiedEvaluation:
    raw = read_capped(Path(request.evaluation), MAX_BUNDLE_BYTES, what="evaluation")
    trust = TrustPolicy((_key(request.signer),))
    verified = verify_evaluation(raw, trust=trust, where=request.evaluation)
    if verified.payload_digest != request.payload:
        raise CommitmentError(
            "the evaluation has changed since it was verified",
            where=request.evaluation,
            expected=request.payload,
            found=verified.payload_digest,
        )
    return verified


def _key(der: str) -> PublicKey:
    return PublicKey(base64.b64decode(der, validate=True))
