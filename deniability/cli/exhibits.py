"""The pictures, latents and models that `deny verify` compares with a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deniability.cli.options import choose_device
from deniability.cli.terminal import Output
from deniability.cli.verification import Level, VerificationReport, VerificationRequest
from deniability.errors import CommitmentError, InputError, UncheckedError

if TYPE_CHECKING:
    from deniability.evidence.progress import Progress
    from deniability.generators.options import ModelOptions
    from deniability.verify.bundle import VerifiedBundle
    from deniability.wire.exclusion import Exclusion
    from deniability.wire.generator import GeneratorSpec
    from deniability.wire.registration import FileDescriptor, ModelDescriptor


def check_image(
    request: VerificationRequest, exclusion: Exclusion, report: VerificationReport
) -> None:
    """Compare the picture's digest; nothing is decoded."""
    accused = exclusion.accused.file
    if request.image is None:
        report.unchecked.append(
            f"The picture was not compared; it must have sha256 {accused.sha256} (use --image)."
        )
        return
    digest = _digest(request.image, "picture")
    if digest != accused.sha256:
        raise CommitmentError(
            "not the picture that the bundle is about",
            where=f"{request.image}: subject.0.digest.sha256",
            expected=accused.sha256,
            found=digest,
            hint="The file must be the very bytes that were accused; saving it again changes them.",
        )
    report.checked.append("The picture is the bundle's subject, byte for byte.")


def check_sidecar(
    request: VerificationRequest, expected: FileDescriptor, report: VerificationReport
) -> Path | None:
    """Compare the digest of the latents file, if it is there."""
    from deniability.cli.outputs import latents_beside  # noqa: PLC0415

    recorded = request.bundle.with_name(Path(expected.name).name or "latents")
    found = [path for path in (latents_beside(request.bundle), recorded) if path.exists()]
    candidates = [request.latents] if request.latents is not None else found
    if not candidates:
        if request.model is not None:
            raise UncheckedError(
                "the latents file is not beside the bundle, and V1 needs it",
                where=str(recorded),
                expected=f"sha256 {expected.sha256}",
                hint="Ask the signer for it, or name it with --latents.",
            )
        report.unchecked.append(
            f"The latents file is not here; it must have sha256 {expected.sha256}."
        )
        return None
    digests = [_digest(path, "latents file") for path in candidates]
    for path, digest in zip(candidates, digests, strict=True):
        if digest == expected.sha256:
            report.checked.append("The latents file beside the bundle is the one that was signed.")
            return path
    raise CommitmentError(
        "not the latents file that was signed",
        where=f"{candidates[0]}: predicate.latents.sha256",
        expected=expected.sha256,
        found=digests[0],
        hint="Use the file that was written beside the bundle.",
    )


def _digest(path: Path, what: str) -> str:
    from deniability.crypto.digest import sha256_file  # noqa: PLC0415

    if path.is_dir():
        raise InputError("is a folder", where=str(path), expected=f"a {what}")
    try:
        return sha256_file(path)[0]
    except OSError as cause:
        reason = "no such file" if isinstance(cause, FileNotFoundError) else cause.strerror
        raise InputError(f"cannot read this {what}", where=str(path), found=reason) from cause


def run_replays(
    request: VerificationRequest,
    verified: VerifiedBundle,
    sidecar: Path | None,
    report: VerificationReport,
    out: Output,
) -> None:
    """Levels V1 and V2: in an isolated child, or here where there is none and the model trusted."""
    from deniability.cli.isolation import plan, replay_isolated  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415

    if request.model is None or request.image is None or sidecar is None:
        return
    report.borrowed = borrowed(request, verified.exclusion.generator)
    if report.borrowed and request.require is not Level.V0:
        raise UncheckedError(
            f"level {request.require} is not reached: the model's description would come from the "
            "bundle",
            where=", ".join(report.borrowed),
            hint="State it yourself, in generator.toml beside the model or by options.",
        )
    check_model_file(request.model, verified.exclusion.model)
    how = plan(request, trust_model=request.trust_model)
    report.isolation = {"mechanism": "none", "reason": how.why_not}
    with reporting(out) as progress:
        if how.isolation is None:
            report.warnings.append(how.sentence)
            _replay_here(request, verified, sidecar, report, progress)
            return
        answer = replay_isolated(how.isolation, request, verified, sidecar, progress)
    report.isolation = how.isolation.to_json()
    for level, lines in zip(("V1", "V2"), answer.lines, strict=False):
        _add(report, level, lines)
    report.replays.extend(answer.values)
    report.checked.append(how.sentence)


def borrowed(request: VerificationRequest, spec: GeneratorSpec) -> list[str]:
    """Name the facts about the model that nobody here states, so that the bundle's are taken.

    What the verifier states himself is compared with the bundle by the replay.
    """
    from deniability.generators.builtin import BUILTIN  # noqa: PLC0415
    from deniability.generators.options import stated_options  # noqa: PLC0415

    if request.model is None or request.model in BUILTIN:
        return []
    stated = stated_options(Path(request.model), request.flags.options())
    theirs = described(spec)
    names = {
        "latent": "latent and prior",
        "output_range": "output range",
        "rounding": "rounding",
        "state_dict_key": "state_dict_key",
        "prefix": "prefix",
    }
    if Path(request.model).is_dir():
        del names["output_range"]  # that of a decoder is known, and another is refused
    flagged = stated.latent_shape is not None or stated.prior is not None
    return [
        words
        for name, words in names.items()
        if getattr(theirs, name) is not None
        and getattr(stated, name) is None
        and not (name == "latent" and flagged)
    ]


def _replay_here(
    request: VerificationRequest,
    verified: VerifiedBundle,
    sidecar: Path,
    report: VerificationReport,
    progress: Progress,
) -> None:
    from deniability.evidence.replay import replay_latents, replay_search  # noqa: PLC0415
    from deniability.generators.load import load_generator  # noqa: PLC0415

    image, model = request.image, request.model
    assert image is not None and model is not None  # noqa: S101, PT018 - the request was checked
    generator = load_generator(
        model,
        device=choose_device(request.device),
        options=request.flags.options(),
        fallback=described(verified.exclusion.generator),
        expected=[file.sha256 for file in verified.exclusion.model.files],
    )
    given: dict[str, Any] = {"image": image, "generator": generator, "sidecar": sidecar}
    first = replay_latents(verified, **given, progress=progress)
    _add(report, "V1", first.lines)
    report.replays.append(first.to_json())
    if request.replay is not None:
        second = replay_search(verified, **given, count=request.replay, progress=progress)
        _add(report, "V2", second.lines)
        report.replays.append(second.to_json())


def _add(report: VerificationReport, level: str, lines: tuple[str, ...]) -> None:
    """Sort the sentences of a replay into what was checked and what was not."""
    for line in lines:
        if not line.startswith("Not checked"):
            report.checked.append(f"{level} checked: {line}")


def check_model_file(model: str, expected_model: ModelDescriptor) -> None:
    """Refuse another model before any of it is run."""
    expected = [file.sha256 for file in expected_model.files]
    for part, digest in model_digests(model).items():
        if digest not in expected:
            raise CommitmentError(
                "not the model that the bundle is about",
                where=f"{part}: predicate.model.files.sha256",
                expected=" or ".join(expected)[:300],
                found=digest,
            )


def model_digests(model: str) -> dict[Path, str]:
    """Return the files of a model that the user names, and the sha256 of each."""
    from deniability.generators.builtin import weights_path  # noqa: PLC0415
    from deniability.generators.folder import model_paths  # noqa: PLC0415

    shipped = {"builtin": False, "builtin-twin": True}
    path = weights_path(twin=shipped[model]) if model in shipped else Path(model)
    parts = model_paths(path).values() if path.is_dir() else (path,)
    return {part: _digest(part, "model") for part in parts}


def described(spec: GeneratorSpec) -> ModelOptions:
    """Return what a verified file says of its model, as if generator.toml said it."""
    from deniability.generators import options  # noqa: PLC0415

    return options.described(spec)
