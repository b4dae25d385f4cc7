"""`deny demo`: the whole story on the built-in generator, ending in a page to open."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.failure import resumable
from deniability.cli.options import Device, DeviceOption, Json, Quiet, Resume, choose_device
from deniability.cli.terminal import Output, program_name

if TYPE_CHECKING:
    from deniability.report.demo import Demo, DemoCase, Forgery


def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for all that it makes.")] = (
        Path("demo")
    ),
    preset: Annotated[
        str, typer.Option("--preset", help="Frozen rules of search and decision.")
    ] = "pristine-quick-v1",
    device: DeviceOption = Device.AUTO,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the whole story on the built-in generator, in about a minute."""
    from deniability.cli.progress import reporting  # noqa: PLC0415
    from deniability.wire.protocol import preset as named  # noqa: PLC0415

    out = Output(json, quiet)
    protocol = named(preset)
    with resumable():
        from deniability.evidence.register import state_folder  # noqa: PLC0415
        from deniability.evidence.state import discard  # noqa: PLC0415
        from deniability.report.demo import Demo  # noqa: PLC0415

        story = Demo(folder, protocol, device=choose_device(device), resume=resume)
        if not resume:  # each run registers anew, so what is kept can belong to no other
            results = [folder / f"{plan.name}.bundle.json" for plan in story.plan]
            for result in (story.registration, *results):
                discard(state_folder(result))
        out.line(f"Registering the built-in generator ({protocol.name}).")
        with reporting(out) as progress:
            story.register(progress)
        out.field("registration", str(story.registration))
        for number in range(len(story.plan)):
            with reporting(out) as progress:
                case = story.accuse(number, progress)
            _tell_case(out, story, case)
        forgery = story.forge()
        _tell_forgery(out, forgery)
        page = story.write_page()
    story.check()
    _tell_end(out, story, page)
    out.result(
        {
            "folder": str(folder),
            "page": str(page),
            "registration": str(story.registration),
            "cases": [
                {
                    "name": case.plan.name,
                    "verdict": case.verdict,
                    "expected": case.plan.expected,
                    "finding": case.exclusion.finding.to_wire(),
                    "bundle": str(case.bundle),
                    "figure": str(case.figure),
                    "latent": case.latent,
                }
                for case in story.cases
            ],
            "forgery": {
                "bundle": str(forgery.bundle),
                "offset": forgery.offset,
                "stage": forgery.stage,
                "message": forgery.message,
            },
            "files": [str(path) for path in story.files()],
        }
    )


def _tell_case(out: Output, story: Demo, case: DemoCase) -> None:
    from deniability.report.wording import numbers  # noqa: PLC0415

    out.line()
    out.line(f"{len(story.cases)}. {case.plan.heading}")
    out.detail(case.plan.story)
    out.line(case.exclusion.finding.sentence)
    for name, text in numbers(case.exclusion):
        out.field(name, text, detail=True)
    if case.latent is not None:
        out.field("latent", ", ".join(f"{value:.4f}" for value in case.latent))
    out.field("bundle", f"{case.bundle} (signed; verified from disk)")
    out.field("figure", str(case.figure))


def _tell_forgery(out: Output, forgery: Forgery) -> None:
    out.line()
    out.line("4. One character of a bundle is changed")
    out.detail(
        f"Character {forgery.offset} of {forgery.original.name} was '{forgery.before}' and is now "
        f"'{forgery.after}': the residual {forgery.residual_before} reads {forgery.residual_after}."
    )
    out.field("bundle", str(forgery.bundle))
    out.field("refused", f"at stage '{forgery.stage}': {forgery.message}")


def _tell_end(out: Output, story: Demo, page: Path) -> None:
    out.line()
    out.line("All as it should be. The files:")
    for path in story.files():
        out.line(f"  {path}")
    out.detail()
    out.detail("Next, look at it and try to prove it wrong:")
    out.detail(f"  open {shlex.quote(str(page))} in a browser")
    for command in story.commands(program=program_name()):
        out.detail(f"  {command}")
