"""`deny verify`: check a bundle as far as what is at hand allows, and say how far that was."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deniability.cli.failure import UsageError
from deniability.cli.options import (
    Device,
    DeviceOption,
    Json,
    ModelFlags,
    Quiet,
    choose_device,
    with_model_flags,
)
from deniability.cli.terminal import Output
from deniability.errors import CommitmentError, InputError, UncheckedError

if TYPE_CHECKING:
    from deniability.evidence.progress import Progress
    from deniability.generators.base import Generator
    from deniability.generators.options import ModelOptions
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.trust import TrustPolicy
    from deniability.wire.exclusion import Exclusion


class Level(StrEnum):
    """How far a bundle is checked (SPEC.md)."""

    V0 = "v0"
    V1 = "v1"
    V2 = "v2"


_FIRST_LINES = {
    Level.V0: "authentic and consistent; the search was not re-run",
    Level.V1: "authentic and consistent; its latents were rendered again, the search was not "
    "re-run",
    Level.V2: "authentic and consistent; its latents were rendered again and the search was "
    "re-run in part",
}
_V0_CHECKED = (
    "V0 checked: the bytes, the signature, the subject, the model's digests, the protocol, every "
    "seed, every commitment, and the finding, computed again from the residuals."
)


@dataclass(frozen=True)
class _Request:
    """What the verifier brought, and asks for.

    Attributes:
        bundle, image, model, latents: files.
        flags: of the model.
        replay: fresh controls for V2.
        device: to run the model on.
        require: level below which it fails.

    """

    bundle: Path
    image: Path | None
    model: str | None
    latents: Path | None
    flags: ModelFlags
    replay: int | None
    device: Device
    require: Level

    @property
    def level(self) -> Level:
        """The level that this reaches if all goes well."""
        if self.model is None:
            return Level.V0
        return Level.V1 if self.replay is None else Level.V2


@dataclass
class _Report:
    """What was and was not checked, in sentences, and as JSON; and what the bundle had to say."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    replays: list[dict[str, object]] = field(default_factory=list)
    borrowed: list[str] = field(default_factory=list)


@with_model_flags
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    image: Annotated[Path | None, typer.Option("--image", help="The accused picture.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model: V1. It is run: see --trust-model.")
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option(
            "--trust-model", help="I trust this model's maker: running a model is running code."
        ),
    ] = False,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="Public key of a signer to trust; default: the trust store."),
    ] = None,
    latents: Annotated[
        Path | None, typer.Option("--latents", help="Default: the file beside the bundle.")
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            "--replay", min=1, help="V2: search again, with this many fresh controls of your own."
        ),
    ] = None,
    require: Annotated[
        Level, typer.Option("--require", help="Fail unless this level is reached.")
    ] = Level.V0,
    device: DeviceOption = Device.AUTO,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Check a bundle: V0 alone, V1 with --image and --model, V2 with --replay too."""
    out = Output(json, quiet)
    request = _Request(bundle, image, model, latents, flags, replay, device, require)
    _check_request(request, require, trust_model=trust_model)
    trust, source = _trust(key)
    verified = _verify_bytes(bundle, trust)
    report = _Report(checked=[_V0_CHECKED])
    _check_image(request, verified.exclusion, report)
    sidecar = _check_sidecar(request, verified.exclusion, report)
    if request.level is Level.V0:
        report.unchecked.append(
            "V1 was not checked: whether the latents give these residuals (needs --image and "
            "--model)."
        )
    else:
        _replay(request, verified, sidecar, report, out)
    if request.level is not Level.V2:
        report.unchecked.append(
            "V2 was not checked: whether a search of your own and fresh controls agree (needs "
            "--replay N)."
        )
    _tell(out, request.level, verified, source, report)


def _check_request(request: _Request, require: Level, *, trust_model: bool) -> None:
    """Refuse what cannot lead to the level asked for, before anything is read."""
    if request.model is not None and not trust_model:
        raise UncheckedError(
            "running somebody else's model is running their code, on this machine and as you",
            where="--model",
            hint="If you trust whoever made this model file, add --trust-model.",
        )
    if request.model is not None and request.image is None:
        raise UsageError("V1 needs the picture too", where="--image", found="only --model")
    if request.replay is not None and request.model is None:
        raise UsageError("V2 needs --image and --model", where="--replay")
    if require > request.level:
        needs = "--image and --model" if require is Level.V1 else "--image, --model and --replay N"
        raise UncheckedError(
            f"level {require} cannot be reached with what was given",
            where="--require",
            expected=needs,
            found=f"enough for {request.level}",
        )


def _trust(keys: list[Path] | None) -> tuple[TrustPolicy, str]:
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )

    if keys:
        return TrustPolicy.from_key_files(keys), "given with --key"
    folder = default_trust_folder()
    return load_trust_store(folder), f"trusted in {folder}"


def _verify_bytes(path: Path, trust: TrustPolicy) -> VerifiedBundle:
    from deniability.verify.bundle import verify_bundle  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    raw = read_capped(path, MAX_BUNDLE_BYTES, what="bundle")
    return verify_bundle(raw, trust=trust, where=str(path))


def _check_image(request: _Request, exclusion: Exclusion, report: _Report) -> None:
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


def _check_sidecar(request: _Request, exclusion: Exclusion, report: _Report) -> Path | None:
    """Compare the digest of the latents file, if it is there."""
    from deniability.cli.outputs import latents_beside  # noqa: PLC0415

    expected = exclusion.latents
    recorded = request.bundle.with_name(Path(expected.name).name or "latents")
    found = [path for path in (latents_beside(request.bundle), recorded) if path.exists()]
    candidates = [request.latents] if request.latents is not None else found
    if not candidates:
        if request.model is not None:
            raise UncheckedError(
                "the latents file is not beside the bundle, and V1 needs it",
                where=str(latents_beside(request.bundle)),
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


def _replay(
    request: _Request,
    verified: VerifiedBundle,
    sidecar: Path | None,
    report: _Report,
    out: Output,
) -> None:
    """Levels V1 and V2, with the model loaded here."""
    from deniability.cli.progress import reporting  # noqa: PLC0415

    if request.model is None or request.image is None or sidecar is None:
        return
    _check_model_file(request.model, verified.exclusion)
    from deniability.generators.load import load_generator  # noqa: PLC0415

    report.borrowed = _borrowed(request, verified.exclusion)
    if report.borrowed and request.require is not Level.V0:
        raise UncheckedError(
            f"level {request.require} is not reached: the model's description would come from the "
            "bundle",
            where=", ".join(report.borrowed),
            hint="State it yourself, in generator.toml beside the model or by options.",
        )
    generator = load_generator(
        request.model,
        device=choose_device(request.device),
        options=request.flags.options(),
        fallback=described(verified.exclusion),
    )
    with reporting(out) as progress:
        _run_replays(request, verified, sidecar, generator, report, progress)


def _borrowed(request: _Request, exclusion: Exclusion) -> list[str]:
    """Name the facts about the model that nobody here states, so that the bundle's are taken.

    What the verifier states himself is compared with the bundle by the replay.
    """
    from deniability.generators.load import BUILTIN, stated_options  # noqa: PLC0415

    if request.model is None or request.model in BUILTIN:
        return []
    stated = stated_options(Path(request.model), request.flags.options())
    theirs = described(exclusion)
    names = {
        "latent": "latent and prior",
        "output_range": "output range",
        "rounding": "rounding",
        "state_dict_key": "state_dict_key",
        "prefix": "prefix",
    }
    flagged = stated.latent_shape is not None or stated.prior is not None
    return [
        words
        for name, words in names.items()
        if getattr(theirs, name) is not None
        and getattr(stated, name) is None
        and not (name == "latent" and flagged)
    ]


def _run_replays(
    request: _Request,
    verified: VerifiedBundle,
    sidecar: Path,
    generator: Generator,
    report: _Report,
    progress: Progress,
) -> None:
    from deniability.evidence.replay import replay_latents, replay_search  # noqa: PLC0415

    image = request.image
    assert image is not None  # noqa: S101 - the request was checked
    given: dict[str, Any] = {"image": image, "generator": generator, "sidecar": sidecar}
    first = replay_latents(verified, **given, progress=progress)
    _add(report, "V1", first.lines)
    report.replays.append(first.to_json())
    if request.replay is not None:
        second = replay_search(verified, **given, count=request.replay, progress=progress)
        _add(report, "V2", second.lines)
        report.replays.append(second.to_json())


def _add(report: _Report, level: str, lines: tuple[str, ...]) -> None:
    """Sort the sentences of a replay into what was checked and what was not."""
    for line in lines:
        if not line.startswith("Not checked"):
            report.checked.append(f"{level} checked: {line}")


def _check_model_file(model: str, exclusion: Exclusion) -> None:
    """Refuse another model before any of it is run."""
    from deniability.generators.builtin import weights_path  # noqa: PLC0415

    shipped = {"builtin": False, "builtin-twin": True}
    path = weights_path(twin=shipped[model]) if model in shipped else Path(model)
    digest = _digest(path, "model")
    expected = [file.sha256 for file in exclusion.model.files]
    if digest not in expected:
        raise CommitmentError(
            "not the model that the bundle is about",
            where=f"{path}: predicate.model.files.sha256",
            expected=" or ".join(expected)[:300],
            found=digest,
        )


def described(exclusion: Exclusion) -> ModelOptions:
    """Return what a verified bundle says of its model, as if generator.toml said it.

    All but the factory, which is code and comes from the local user alone.
    """
    from deniability.generators.options import ModelOptions, PartOptions  # noqa: PLC0415

    spec = exclusion.generator
    return ModelOptions(
        latent=tuple(
            PartOptions(name=p.name, shape=p.shape, prior=p.prior, low=p.low, high=p.high)
            for p in spec.latent
        ),
        output_range=spec.output_range,
        output_size=(spec.channels, spec.height, spec.width),
        rounding=spec.rounding,
        entropy_source=spec.entropy.source,
        seed_bits=spec.entropy.seed_bits,
        state_dict_key=spec.state_dict_key,
        prefix=spec.prefix,
    )


def _tell(
    out: Output, level: Level, verified: VerifiedBundle, source: str, report: _Report
) -> None:
    from deniability.report.wording import CAVEATS, numbers  # noqa: PLC0415

    exclusion = verified.exclusion
    finding = exclusion.finding
    out.line(_FIRST_LINES[level])
    out.line(finding.sentence)
    out.field("picture", f"{exclusion.accused.file.name}, sha256 {exclusion.accused.file.sha256}")
    out.field("signed by", f"key {verified.signer.keyid} ({source})")
    caveats = list(CAVEATS)
    if report.borrowed:
        caveats.append(
            "taken from the bundle and not checked: the model's "
            + ", ".join(report.borrowed)
            + " (state them in generator.toml beside the model, or by options)"
        )
    for caveat in caveats:
        out.field("note", caveat)
    for name, text in numbers(exclusion):
        out.field(name, text, detail=True)
    for line in (*report.checked, *report.unchecked):
        out.detail(f"* {line}")
    for line in exclusion.scope:
        out.detail(f"- {line}")
    out.result(
        {
            "verified": True,
            "level": level.value,
            "summary": _FIRST_LINES[level],
            "finding": finding.to_wire(),
            "picture": exclusion.accused.file.to_wire(),
            "model": exclusion.model.digest,
            "keyid": verified.signer.keyid,
            "payload": verified.payload_digest,
            "notes": caveats,
            "takenFromBundle": report.borrowed,
            "checked": report.checked,
            "notChecked": report.unchecked,
            "replays": report.replays,
            "scope": list(exclusion.scope),
        }
    )
