"""`deny bind`: show by outputs of a live service that its model is the registered one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deniability.cli.dating import Stamping, TsaOption, TsaRootOption
from deniability.cli.failure import resumable
from deniability.cli.options import (
    Device,
    DeviceOption,
    ExecutorName,
    ExecutorOption,
    Force,
    Json,
    ModelFlags,
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
    from deniability.evidence.bind import Bound
    from deniability.wire.binding import Binding

#: Exit codes by verdict.
BINDING_CODES = {"bound": 0, "not-bound": 11}
_SHOWN = 20  # pictures that were not found


@with_model_flags
def bind(
    model: Annotated[str, typer.Argument(help="Model file; or builtin.", metavar="MODEL")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with the outputs that somebody else obtained from the live service, at "
            "least 30 different ones, as received.",
            metavar="FOLDER",
        ),
    ],
    obtained: Annotated[
        Path | None,
        typer.Option(
            "--obtained",
            help="What whoever obtained them wrote with sha256sum: every listed file has to be "
            "there. Without it the binding says that you chose the pictures.",
        ),
    ] = None,
    registration: Annotated[
        Path | None,
        typer.Option("--registration", help="Default: MODEL.registration.json beside the model."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The binding; its latents go beside it.")
    ] = Path("binding.json"),
    key: SigningKey = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    ray_address: RayAddress = None,
    resume: Resume = False,
    force: Force = False,
    tsa: TsaOption = None,
    tsa_root: TsaRootOption = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    flags: ModelFlags,
) -> None:
    """Find outputs of the live service in the registered model: bound (0), not bound (11)."""
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.cli.outputs import latents_beside, refuse_loss  # noqa: PLC0415
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.binding import MAX_LIST_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    out = Output(json, quiet)
    options = flags.options()
    stamping = Stamping.of(tsa, tsa_root)
    key_file = signing_key_path(key)
    signer = read_signing_key(key_file)
    listed = None if obtained is None else read_capped(obtained, MAX_LIST_BYTES, what="list")
    with resumable(), open_executor(executor, ray_address, model, options) as workers:
        from deniability.evidence.bind import bind as bind_pictures  # noqa: PLC0415
        from deniability.evidence.bind import listed_pictures, pictures_of  # noqa: PLC0415
        from deniability.evidence.register import (  # noqa: PLC0415
            open_registration,
            registration_path,
        )
        from deniability.generators.load import load_generator  # noqa: PLC0415
        from deniability.verify.trust import (  # noqa: PLC0415
            TrustPolicy,
            default_trust_folder,
            load_trust_store,
        )

        found = pictures_of(folder)
        paths = found
        if listed is not None:
            paths = listed_pictures(found, listed, where=str(obtained))
            for path in set(found) - set(paths):
                out.note(f"Not on the list, left out: {path}")
        registered = registration or registration_path(model)
        inputs = (*found, Path(model), registered, latents_beside(registered), key_file)
        more = () if obtained is None else (obtained,)
        refuse_loss(output, what="binding", force=force, inputs=(*inputs, *more))
        generator = load_generator(model, device=choose_device(device), options=options)
        trust = TrustPolicy((signer.public, *load_trust_store(default_trust_folder()).keys))
        with reporting(out) as progress:
            bound = bind_pictures(
                paths,
                open_registration(registered, generator, trust=trust),
                key=signer,
                output=output,
                obtained=listed,
                resume=resume,
                progress=progress,
                executor=workers,
            )
    stamping.stamp(out, output)
    raise typer.Exit(_tell(out, bound, model, folder, key_file, signer))


def _tell(
    out: Output, bound: Bound, model: str, folder: Path, key_file: Path, signer: PrivateKey
) -> int:
    from deniability.cli.keyfiles import public_file_of  # noqa: PLC0415
    from deniability.cli.outputs import latents_beside  # noqa: PLC0415
    from deniability.report.wording import verify_command  # noqa: PLC0415

    binding = bound.verified.binding
    code = BINDING_CODES[binding.result.verdict]
    public = public_file_of(key_file, signer)
    light = verify_command(bound.path, key=public)
    tell_binding(out, binding)
    out.field("binding", str(bound.path))
    out.field("latents", f"{latents_beside(bound.path)} (they are the pictures)")
    out.detail("Cite it in a bundle with: deny prove IMAGE --model MODEL --binding FILE")
    out.line(f"  {light}")
    out.detail(f"  {verify_command(bound.path, key=public, image=folder, model=model)}")
    out.result(
        binding_json(binding)
        | {
            "binding": str(bound.path),
            "latents": str(latents_beside(bound.path)),
            "payload": bound.verified.payload_digest,
            "keyid": signer.public.keyid,
            "verifyCommand": light,
        },
        exit_code=code,
    )
    return code


def tell_binding(out: Output, binding: Binding) -> None:
    """Print the result, which pictures failed, and what it does not show."""
    out.line(binding.result.sentence)
    out.field("note", binding.scope[0])
    failed = [p for p in binding.pictures if p.stop != "reached"]
    for picture in failed[:_SHOWN]:
        why = picture.reason or f"{picture.stop}, residual {picture.residual or 'not finite'}"
        out.field("not found", f"{picture.file.name}: {why}")
    if len(failed) > _SHOWN:
        out.field("not found", f"and {len(failed) - _SHOWN} more")
    repeated = sum(picture.repeats is not None for picture in binding.pictures)
    if repeated:
        out.field("repeated", f"{repeated} pictures show an output that another one shows")
    for line in binding.scope[1:]:
        out.detail(f"- {line}")


def binding_json(binding: Binding) -> dict[str, Any]:
    """Return the result and the pictures as JSON."""
    return {
        "result": binding.result.to_wire(),
        "model": binding.model.digest,
        "pictures": [picture.to_wire() for picture in binding.pictures],
        "obtained": None if binding.obtained is None else binding.obtained.sha256,
        "scope": list(binding.scope),
    }
