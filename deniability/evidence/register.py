"""`deny register`: model, sampler, protocol, encoder and controls, fixed and signed."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.crypto.keys import PrivateKey
from deniability.errors import CommitmentError, GeneratorError, InputError, OutputError
from deniability.evidence.calibrate import CalibratedSet, calibrate
from deniability.evidence.chain import chain_beside, open_chain, require_intent
from deniability.evidence.procedure import Procedure, train_encoder
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.reproduction import difference, reference_pictures
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_environment, describe_model, now
from deniability.evidence.tensors import describe_bytes, read_sidecar, write_tensors
from deniability.generators.base import Generator
from deniability.imaging.observation import build_handling, lossless_kind
from deniability.inversion.encoder import load_encoder
from deniability.inversion.executor import Executor
from deniability.verify.bundle import VerifiedRegistration, verify_registration
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.base import Text
from deniability.wire.beacon import Beacon
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import ENGINE_VERSION, PRESETS, Protocol, Stages
from deniability.wire.registration import REGISTRATION_TYPE, Registration
from deniability.wire.roles import most_labels

_ENCODER_PREFIX = "encoder."


@dataclass(frozen=True)
class OpenRegistration:
    """A verified registration with the model loaded: all that `prove` needs.

    Attributes:
        verified: the registration as signed.
        procedure: generator, protocol and encoder.
        sets: control sets with their latents, by the digest of their kind.
        pictures: what the first controls looked like at registration, `k x C x H x W` uint8.

    """

    verified: VerifiedRegistration
    procedure: Procedure
    sets: dict[str, CalibratedSet]
    pictures: Tensor


def registration_path(model: str) -> Path:
    """Return where a model's registration goes by default: beside it, MODEL.registration.json."""
    path = Path(model)
    if model in {"builtin", "builtin-twin"}:
        return Path(f"{model}.registration.json")
    if path.name in {"", ".."}:  # this folder, or the one above, by its name
        path = path.resolve()
    return path.with_name(f"{path.name}.registration.json")


def sidecar_path(path: Path) -> Path:
    """Return where the tensors that belong to a JSON file go: NAME.latents.safetensors."""
    return path.with_name(f"{path.name.removesuffix('.json')}.latents.safetensors")


def state_folder(path: Path) -> Path:
    """Return where the state of an interrupted run for this output is kept."""
    return path.with_name(f".{path.name}.state")


def standard_kind(spec: GeneratorSpec) -> ObservationKind:
    """Return the kind of observation that depends on no file: the model's own pixels, lossless."""
    return lossless_kind(
        channels=spec.channels, height=spec.height, width=spec.width, rounding=spec.rounding
    )


def register(
    generator: Generator,
    *,
    protocol: Protocol,
    key: PrivateKey,
    output: Path,
    resume: bool = False,
    progress: Progress | None = None,
    batch_limit: int | None = None,
    chain: Path | None = None,
    beacon: Beacon | None = None,
    executor: Executor | None = None,
) -> OpenRegistration:
    """Register a model: train its encoder, calibrate, sign, write, and verify what was written.

    Args:
        generator: the loaded model.
        protocol: a preset.
        key: the developer's signing key.
        output: file for the registration; tensors go beside it.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        batch_limit: most restarts at once; the memory decides if None.
        chain: folder of chains: the registration is appended to the key's chain there, of which
            a copy goes beside the registration. None: it belongs to no chain.
        beacon: whose value is to enter the controls' seeds; the chain must have named its round.
        executor: searches; in this process if None.

    Raises:
        InputError: the chain is damaged, or has not named the beacon's round.
        GeneratorError: the model cannot be run or differentiated, or has more labels than the
            preset can search.
        OutputError: a file cannot be written; nothing of an earlier registration is lost.

    """
    report = progress or Silent()
    check_writable(output)
    check_labels(generator.spec, protocol)
    model = describe_model(generator)
    if beacon is not None:
        require_intent(chain, key, model, protocol, beacon)
    spec = generator.spec
    identity = sha256_hex(
        canonical_json(
            {
                "engine": ENGINE_VERSION,
                "generator": spec.to_wire(),
                "model": model.to_wire(),
                "protocol": protocol.digest,
                "device": generator.device.type,
                "beacon": None if beacon is None else beacon.to_wire(),
            }
        )
    )
    with RunState(state_folder(output), identity, resume=resume, note=report.note) as state:
        encoder = train_encoder(generator, model, protocol, state=state, progress=report)
        procedure = Procedure(generator, model, protocol, encoder, beacon)
        handling = build_handling(standard_kind(spec), device=generator.device)
        pictures = reference_pictures(procedure)
        calibrated = calibrate(
            procedure,
            handling,
            state=state,
            progress=report,
            batch_limit=batch_limit,
            executor=executor,
        )
        check_reproduction(procedure, pictures)
        tensors = encoder_tensors(procedure) | {
            "controls.0": calibrated.latents,
            "pictures": pictures,
        }
        side = sidecar_path(output)
        registration = Registration(
            model=model,
            generator=spec,
            protocol=protocol,
            protocol_digest=protocol.digest,
            encoder=procedure.encoder_digest,
            stages=procedure.stages,
            controls=(calibrated.controls,),
            sidecar=describe_bytes(side.name, write_tensors(side, tensors)),
            beacon=beacon,
            environment=describe_environment(generator.device),
            created_at=now(),
        )
        with open_chain(chain, key) as book:
            registration = book.placed(registration)
            raw = sign_statement(
                registration, predicate_type=REGISTRATION_TYPE, subjects=model.files, key=key
            )
            book.append(raw, registration, copy=chain_beside(output))
            write_atomic(output, raw)
        opened = open_registration(output, generator, trust=TrustPolicy((key.public,)))
        state.remove()
    return opened


def check_labels(spec: GeneratorSpec, protocol: Protocol) -> None:
    """Refuse a model with more class labels than the protocol's restarts can try twice each.

    Raises:
        GeneratorError: it has; a label that was not searched could have made the picture.

    """
    most = most_labels(protocol.restarts)
    if not spec.labels or spec.label_count <= most:
        return
    fits = [name for name, p in PRESETS.items() if spec.label_count <= most_labels(p.restarts)]
    raise GeneratorError(
        "the model has more class labels than the preset can search",
        where="latent.classes",
        expected=f"at most {most} combinations of labels: {protocol.name} has "
        f"{protocol.restarts} restarts, and every label takes two",
        found=str(spec.label_count),
        hint=f"Take the preset {fits[0]}."
        if fits
        else "Register a model for each few labels: a wrapper that fixes the others. A finding is "
        "then about those labels alone.",
    )


def check_writable(output: Path) -> None:
    """Find out before hours of work whether the output and what goes beside it can be written.

    Raises:
        OutputError: it cannot, or its name cannot be told in what is signed.

    """
    if not output.name:  # a root, or "."
        write_atomic(output, b"")  # refuses with the right words
    side = sidecar_path(output)
    try:
        TypeAdapter(Text).validate_python(side.name)
    except ValidationError as error:
        raise OutputError(
            "not a name that can be signed",
            where=str(output),
            expected="printable characters in UTF-8",
            found=ascii(output.name)[:300],
            hint="Name another file.",
        ) from error
    for probe in (output.with_name(f".{output.name}.probe"), side.with_name(f".{side.name}")):
        try:
            write_atomic(probe, b"")  # as long as any name that will be written
        except OutputError as error:
            raise _named(error, output) from error
        probe.unlink(missing_ok=True)
    if output.is_dir():
        write_atomic(output, b"")  # refuses with the right words


def _named(error: OutputError, output: Path) -> OutputError:
    """Say of the output that the user named what was found out with a name of ours."""
    number = getattr(error.__cause__, "errno", None)
    hint = error.hint
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        hint = f"Choose another folder than {output.absolute().parent} with -o."
    elif number == errno.ENAMETOOLONG:
        hint = "Choose a shorter name with -o."
    return OutputError(
        error.what, where=str(output), expected=error.expected, found=error.found, hint=hint
    )


def check_reproduction(procedure: Procedure, pictures: Tensor) -> None:
    """Refuse to go on with a model that is not the function that was registered.

    Raises:
        GeneratorError: the registered controls' pictures come out otherwise.

    """
    found = difference(procedure, pictures)
    if found is not None:
        raise GeneratorError(
            "the model does not give the pictures that it gave when it was registered",
            expected="the same pictures of the same latents, in any batch and at any time",
            found=found,
            hint="Restore the factory's code and generator.toml, or register again; a model with "
            "memory or batch effects cannot be examined.",
        )


def encoder_tensors(procedure: Procedure) -> dict[str, Tensor]:
    """Return the encoder's tensors under the names they have in sidecars."""
    if procedure.encoder is None:
        return {}
    return {_ENCODER_PREFIX + k: v for k, v in procedure.encoder.tensors().items()}


def procedure_from(
    generator: Generator,
    protocol: Protocol,
    tensors: dict[str, Tensor],
    expected_encoder: str | None,
    *,
    stages: Stages | None,
    beacon: Beacon | None = None,
    where: str,
) -> Procedure:
    """Rebuild a procedure from a sidecar's tensors.

    Raises:
        CommitmentError: the encoder is not the one that was signed, or the model's stages.

    """
    prefix = _ENCODER_PREFIX
    named = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    encoder = load_encoder(named, generator) if named else None
    procedure = Procedure(generator, describe_model(generator), protocol, encoder, beacon)
    if procedure.encoder_digest != expected_encoder:
        raise CommitmentError(
            "not the encoder that was signed",
            where=where,
            expected=str(expected_encoder),
            found=str(procedure.encoder_digest),
        )
    if procedure.stages != stages:
        raise CommitmentError(
            "not the way to search that was signed",
            where=where,
            expected=f"a model with stages: {stages}",
            found=str(procedure.stages),
            hint="Load the model in the form in which it was registered.",
        )
    return procedure


def open_registration(path: Path, generator: Generator, *, trust: TrustPolicy) -> OpenRegistration:
    """Read, verify and open a registration for a loaded model.

    Raises:
        InputError: there is no such file, or it registers another model or another sampler.
        DeniabilityError: as `verify_registration` and `read_sidecar`.

    """
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="registration")
    verified = verify_registration(raw, trust=trust, where=str(path))
    registration = verified.registration
    model = describe_model(generator)
    if registration.model != model:
        raise InputError(
            "this registration is of another model",
            where=str(path),
            expected=f"model sha256:{model.digest}",
            found=f"sha256:{registration.model.digest}",
            hint="Register the model that is accused, or name its registration.",
        )
    if registration.generator != generator.spec:
        raise InputError(
            "the model is described otherwise than it was registered",
            where=str(path),
            expected=str(registration.generator.to_wire()),
            found=str(generator.spec.to_wire()),
            hint="Restore generator.toml as it was, or register again.",
        )
    side = sidecar_path(path)
    tensors = read_sidecar(side, registration.sidecar)
    procedure = procedure_from(
        generator,
        registration.protocol,
        tensors,
        registration.encoder,
        stages=registration.stages,
        beacon=registration.beacon,
        where=str(side),
    )
    missing = {"pictures", *(f"controls.{i}" for i in range(len(registration.controls)))}
    if absent := sorted(missing - tensors.keys()):
        raise CommitmentError(
            "the latents file lacks what a registration needs",
            where=str(side),
            expected=", ".join(absent),
        )
    sets = {
        controls.kind.digest(): CalibratedSet(controls, tensors[f"controls.{index}"])
        for index, controls in enumerate(registration.controls)
    }
    return OpenRegistration(verified, procedure, sets, tensors["pictures"])
