"""`deny register`: fix a model, its sampler, its search and its controls, signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.dating import (
    Stamping,
    TsaOption,
    TsaRootOption,
    name_round,
    read_beacon,
    read_beacon_name,
)
from deniability.cli.failure import resumable
from deniability.cli.options import (
    Device,
    DeviceOption,
    ExecutorName,
    ExecutorOption,
    Force,
    Json,
    ModelFlags,
    Preset,
    Quiet,
    RayAddress,
    Resume,
    SigningKey,
    choose_device,
    open_executor,
    with_model_flags,
)
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey
    from deniability.evidence.estimate import Estimate
    from deniability.evidence.progress import Progress
    from deniability.evidence.register import OpenRegistration
    from deniability.evidence.timestamp import Stamped
    from deniability.generators.base import Generator
    from deniability.inversion.executor import Executor
    from deniability.wire.beacon import Beacon
    from deniability.wire.protocol import Protocol


@with_model_flags
def register(
    model: Annotated[
        str,
        typer.Argument(help="Model file or folder; or builtin, or builtin-twin.", metavar="MODEL"),
    ],
    preset: Preset = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: MODEL.registration.json beside the model."),
    ] = None,
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    ray_address: RayAddress = None,
    resume: Resume = False,
    force: Force = False,
    tsa: TsaOption = None,
    tsa_root: TsaRootOption = None,
    beacon: Annotated[
        str | None,
        typer.Option(
            "--beacon",
            help="Round of a public beacon for the seeds: drand:ROUND or nist:TIME. Alone it names "
            "a round to come; after its time add --beacon-file or --beacon-url.",
        ),
    ] = None,
    beacon_file: Annotated[
        Path | None, typer.Option("--beacon-file", help="The round as the beacon's API gives it.")
    ] = None,
    beacon_url: Annotated[
        str | None, typer.Option("--beacon-url", help="Where to fetch the round from instead.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Register a model: before any accusation, fix how it will be searched."""
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.outputs import refuse_loss  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    chosen = None if preset is None else named(preset)  # a wrong name is told before the loading
    options = flags.options()
    signer = read_signing_key(signing_key_path(key))
    stamping = Stamping.of(tsa, tsa_root)
    name = read_beacon_name(beacon, beacon_file, beacon_url)
    with resumable():
        from deniability.evidence.register import check_writable, registration_path  # noqa: PLC0415
        from deniability.generators.load import load_generator  # noqa: PLC0415

        target = output or registration_path(model)
        refuse_loss(target, what="registration", force=force, inputs=(Path(model),))
        generator = load_generator(model, device=choose_device(device), options=options)
        check_writable(target)
        protocol = chosen or protocol_for(generator, out.note)
        if name is not None and beacon_file is None and beacon_url is None:
            name_round(out, name, generator, protocol, signer, stamping)
            return
        value = None if name is None else read_beacon(name, beacon_file, beacon_url)
        with (
            open_executor(executor, ray_address, model, options) as workers,
            reporting(out) as progress,
        ):
            opened = run_registration(
                generator,
                protocol,
                signer,
                target,
                resume=resume,
                progress=progress,
                beacon=value,
                executor=workers,
            )
    stamps = stamping.stamp_chain(out, signer, target)
    _tell(out, target, opened, signer.public.keyid, stamps)


def protocol_for(generator: Generator, note: Callable[[str], None]) -> Protocol:
    """Return the default preset, and note what it will take here and what would be quicker."""
    from deniability.evidence.estimate import measure_costs  # noqa: PLC0415
    from deniability.wire.protocol import (  # noqa: PLC0415
        DEFAULT_PRESET,
        SEVERAL_PRESET,
        UNEDITED_PRESET,
        preset,
    )

    named = [preset(name) for name in (DEFAULT_PRESET, SEVERAL_PRESET, UNEDITED_PRESET)]
    usual, smaller, unedited = measure_costs(generator, named).estimates
    note(
        f"No preset is named, so it is {DEFAULT_PRESET}, which also searches for edited outputs: "
        f"{_takes(usual)}. Others: --preset {SEVERAL_PRESET} ({_takes(smaller)}), with fewer "
        f"controls; --preset {UNEDITED_PRESET} ({_takes(unedited)}), which does not examine edited "
        "outputs and says so. deny inspect shows how these times come about."
    )
    return usual.protocol


def _takes(estimate: Estimate) -> str:
    """Say how long a preset takes on this device."""
    from deniability.cli.quantities import duration  # noqa: PLC0415

    if estimate.register is None or estimate.missed is None:
        return estimate.why_not or "does not work with this model"
    first, second = (
        f"{duration(low)} to {duration(high)}" for low, high in (estimate.register, estimate.missed)
    )
    return f"about {first} now and {second} for the first picture of a kind"


def run_registration(
    generator: Generator,
    protocol: Protocol,
    key: PrivateKey,
    target: Path,
    *,
    resume: bool,
    progress: Progress,
    beacon: Beacon | None = None,
    executor: Executor | None = None,
) -> OpenRegistration:
    """Register a loaded model, in the chain of the key's registrations."""
    from deniability.evidence.chain import default_chain_folder  # noqa: PLC0415
    from deniability.evidence.register import register as register_model  # noqa: PLC0415

    return register_model(
        generator,
        protocol=protocol,
        key=key,
        output=target,
        resume=resume,
        progress=progress,
        chain=default_chain_folder(),
        beacon=beacon,
        executor=executor,
    )


def _tell(
    out: Output, target: Path, opened: OpenRegistration, keyid: str, stamps: list[Stamped]
) -> None:
    from deniability.cli.timestamp import describe_stamps  # noqa: PLC0415
    from deniability.evidence.chain import (  # noqa: PLC0415
        chain_beside,
        chain_path,
        default_chain_folder,
    )

    registration = opened.verified.registration
    controls = registration.controls[0]
    found = sum(control.residual is not None for control in controls.controls)
    sidecar = target.with_name(registration.sidecar.name)
    out.field("registered", f"model sha256:{registration.model.digest}")
    out.field("registration", str(target))
    out.field("latents", f"{sidecar} (keep it beside the registration)")
    out.field(
        "protocol",
        f"{registration.protocol.name}: {len(controls.controls)} controls, "
        f"{found} with a finite residual",
    )
    out.field("signed by", f"key {keyid}")
    out.field("chain", f"{chain_beside(target)} (link {registration.position} of this key)")
    if not stamps:
        out.detail(
            "Nothing shows when this was registered: date it with deny timestamp "
            f"{chain_path(default_chain_folder(), keyid)} --tsa URL, and publish deny chain."
        )
    out.detail(
        "Keep the model file, its name and generator.toml as they are: all three are registered."
    )
    out.result(
        {
            "registration": str(target),
            "latents": str(sidecar),
            "model": registration.model.to_wire(),
            "generator": registration.generator.to_wire(),
            "preset": registration.protocol.name,
            "payload": opened.verified.payload_digest,
            "keyid": keyid,
            "position": registration.position,
            "chain": str(chain_beside(target)),
            "timestamps": describe_stamps(stamps),
        }
    )
