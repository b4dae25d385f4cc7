"""`deny prove` of several pictures: one bundle each, the model loaded and opened once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deniability.cli.failure import UsageError, as_known, describe, sentence
from deniability.cli.outputs import figure_beside, latents_beside
from deniability.cli.progress import reporting
from deniability.cli.prove import (
    Job,
    exit_code,
    open_or_register,
    read_accused,
    refuse_losses,
    run_job,
)
from deniability.cli.terminal import Output, say
from deniability.errors import InputError, OutputError

if TYPE_CHECKING:
    from deniability.evidence.progress import Progress
    from deniability.generators.base import Generator
    from deniability.verify.bundle import VerifiedBundle

#: Exit codes of single pictures, the worst first: the whole run ends with the worst of its own.
WORST_FIRST = (3, 4, 2, 10, 11, 12, 0)
_MOST = 10_000
_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".webp", ".ppm", ".pgm", ".pnm", ".tif",
    ".tiff", ".avif", ".heic",
}  # fmt: skip
_BEGINNINGS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"RIFF",
    b"P5",
    b"P6",
    b"II*\0",
    b"MM\0*",
)


def prove_many(
    out: Output,
    given: Sequence[Path],
    plan: Job,
    *,
    force: bool,
    load: Callable[[], Generator],
) -> int:
    """Prove every picture that is given or lies in a given folder; return the worst exit code.

    A picture that fails does not stop the others. With `plan.resume`, those whose bundle is there
    and verifies are not searched for again.

    Args:
        out: where to tell it.
        given: pictures and folders.
        plan: what is common to all; its `output` is the folder for the bundles, and without
            `figure` none are drawn.
        force: replace bundles that are there.
        load: loads the model.

    Raises:
        UsageError: no picture, or two that would get the same bundle.
        DeniabilityError: the model or its registration cannot be used.

    """
    pictures, skipped = _pictures(given)
    jobs = _jobs(pictures, plan)
    for path in skipped:
        out.note(f"Not a picture, left out: {path}")
    try:
        plan.output.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise OutputError(
            "the folder for the bundles cannot be made",
            where=str(plan.output),
            found=cause.strerror,
        ) from cause
    generator = load()
    results: list[dict[str, Any]] = []
    with reporting(out) as progress:
        waiting = []
        for job in jobs:
            entry = _attempt(job, lambda j=job: _prepared(j, generator, progress, force=force))  # type: ignore[misc]
            if entry is None:
                waiting.append(job)
            else:
                results.append(entry)
                _tell(out, entry)
        if waiting:
            results += _searched(out, waiting, generator, progress)
    return _end(out, plan, results, skipped)


def _searched(
    out: Output, jobs: list[Job], generator: Generator, progress: Progress
) -> list[dict[str, Any]]:
    opened = open_or_register(jobs[0], generator, progress)
    results = []
    for position, job in enumerate(jobs):
        progress.note(f"Picture {position + 1} of {len(jobs)}: {job.image}")

        def search(job: Job = job) -> dict[str, Any]:
            proof, figure = run_job(job, opened, progress)
            return _done(job, proof.verified, figure)

        entry = _attempt(job, search)
        if entry is not None:
            results.append(entry)
            _tell(out, entry)
    return results


def _attempt(job: Job, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    """Do something for one picture; an error that is not our bug becomes that picture's result."""
    try:
        return work()
    except Exception as error:
        known = as_known(error)
        if known is None:
            raise
        return {
            "image": str(job.image),
            "error": describe(known),
            "sentence": sentence(known),
            "exitCode": known.exit_code,
        }


def _prepared(
    job: Job, generator: Generator, progress: Progress, *, force: bool
) -> dict[str, Any] | None:
    """Refuse what cannot work before hours of it; return what an earlier run finished."""
    from deniability.evidence.cite import signers  # noqa: PLC0415

    if job.resume and job.output.exists():
        finished = _finished(job)
        if finished is not None:
            if not (finished.times.stamps or finished.times.unknown):
                # The earlier run may have ended before the authorities answered.
                finished = job.stamping.stamp_bundle(
                    job.output, job.key, progress, also=signers(job.cited)
                )
            return _done(job, finished, None) | {"finishedBefore": True}
    refuse_losses(job, force=force)
    read_accused(job, generator)
    return None


def _finished(job: Job) -> VerifiedBundle | None:
    """Return the bundle that is there, if it is this key's, of this picture, model and binding."""
    from deniability.crypto.digest import sha256_file  # noqa: PLC0415
    from deniability.errors import DeniabilityError  # noqa: PLC0415
    from deniability.evidence.cite import signers  # noqa: PLC0415
    from deniability.verify.bundle import verify_bundle, verify_registration  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.verify.trust import (  # noqa: PLC0415
        TrustPolicy,
        default_trust_folder,
        load_trust_store,
    )
    from deniability.wire.files import read_capped  # noqa: PLC0415

    trust = TrustPolicy((job.key.public, *signers(job.cited)), tsa_roots=job.stamping.roots)
    registrars = TrustPolicy((job.key.public, *load_trust_store(default_trust_folder()).keys))
    try:
        raw = read_capped(job.output, MAX_BUNDLE_BYTES, what="bundle")
        verified = verify_bundle(raw, trust=trust, where=str(job.output))
        raw = read_capped(job.registration, MAX_BUNDLE_BYTES, what="registration")
        registered = verify_registration(raw, trust=registrars, where=str(job.registration))
    except DeniabilityError:
        return None
    same = verified.exclusion.registration.payload == registered.payload_digest
    picture = sha256_file(job.image)[0] == verified.exclusion.accused.file.sha256
    embedded = None if job.cited is None else job.cited.embedded
    same = same and verified.exclusion.binding == embedded
    return verified if same and picture and latents_beside(job.output).exists() else None


def _done(job: Job, verified: VerifiedBundle, figure: Path | None) -> dict[str, Any]:
    from deniability.report.wording import caveats  # noqa: PLC0415

    finding = verified.exclusion.finding
    return {
        "image": str(job.image),
        "finding": finding.to_wire(),
        "sentence": finding.sentence,
        "bundle": str(job.output),
        "latents": str(latents_beside(job.output)),
        "figure": None if figure is None else str(figure),
        "payload": verified.payload_digest,
        "notes": list(
            caveats(
                verified.dating,
                accused_at=job.accused_at,
                deployment=verified.deployment,
                narrowed=verified.exclusion.narrowed,
            )
        ),
        "exitCode": exit_code(verified.exclusion),
    }


def _tell(out: Output, entry: dict[str, Any]) -> None:
    if "error" in entry:
        say(entry["sentence"])
        return
    before = " (from an earlier run)" if entry.get("finishedBefore") else ""
    out.line(f"{entry['image']}: {entry['sentence']}")
    for note in entry["notes"]:
        out.field("note", note)
    out.field("bundle", entry["bundle"] + before)


def _end(out: Output, plan: Job, results: list[dict[str, Any]], skipped: list[Path]) -> int:
    codes: list[int] = [entry["exitCode"] for entry in results]
    failed = sum("error" in entry for entry in results)
    out.line(f"{len(results) - failed} bundles in {plan.output}; {failed} pictures failed.")
    code = min(codes, key=WORST_FIRST.index)
    out.result(
        {
            "results": results,
            "leftOut": [str(path) for path in skipped],
            "registration": str(plan.registration),
            "keyid": plan.key.public.keyid,
        },
        exit_code=code,
    )
    return code


def _pictures(given: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the pictures, in order, and what else lies in the folders; subfolders are left out."""
    pictures: list[Path] = []
    skipped: list[Path] = []
    for path in given:
        if not path.is_dir():
            pictures.append(path)
            continue
        try:
            inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
        except OSError as cause:
            raise InputError("cannot be read", where=str(path), found=cause.strerror) from cause
        for file in inside:
            (pictures if _is_picture(file) else skipped).append(file)
    pictures = list(dict.fromkeys(pictures))
    if not pictures:
        raise UsageError("no picture in there", where=", ".join(map(str, given))[:300])
    if len(pictures) > _MOST:
        raise UsageError("too many pictures at once", expected=f"at most {_MOST}")
    return pictures, skipped


def _is_picture(path: Path) -> bool:
    """Tell by name or content; what only looks like one fails later, with a reason."""
    if not path.is_file():
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_BEGINNINGS)
    except OSError:
        return True  # let it fail with its reason


def _jobs(pictures: list[Path], plan: Job) -> list[Job]:
    jobs: list[Job] = []
    names: dict[Path, Path] = {}
    for picture in pictures:
        output = plan.output / f"{picture.name}.bundle.json"
        if output in names:
            raise UsageError(
                "two pictures of the same name would get the same bundle",
                where=str(picture),
                found=str(names[output]),
                hint="Prove them in two runs, with different folders as -o.",
            )
        names[output] = picture
        figure = None if plan.figure is None else figure_beside(output)
        jobs.append(replace(plan, image=picture, output=output, figure=figure))
    return jobs
