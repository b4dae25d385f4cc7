"""`deny prove`: search the model for the accused picture and sign what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deniability.crypto.digest import sha256_hex
from deniability.crypto.encoding import b64encode
from deniability.crypto.keys import PrivateKey
from deniability.crypto.merkle import merkle_root
from deniability.evidence.cache import controls_for, default_cache_folder
from deniability.evidence.calibrate import CalibratedSet, statistic_at
from deniability.evidence.cite import Citation, check_citation, check_evaluation, signers
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.register import (
    OpenRegistration,
    check_reproduction,
    check_writable,
    encoder_tensors,
    sidecar_path,
    state_folder,
)
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import describe_environment, now
from deniability.evidence.tensors import describe_bytes, latent_digest, write_tensors
from deniability.generators.base import Generator
from deniability.imaging.decode import Picture, decode_picture
from deniability.imaging.handling import STEPS, Handling, Observations
from deniability.imaging.observation import Observed, observe
from deniability.inversion.executor import Executor
from deniability.inversion.solution import Restart, Stop, Trace
from deniability.stats.sentence import model_cautions, scope_lines
from deniability.stats.verdict import decide, residual, thresholds
from deniability.verify.bundle import VerifiedBundle, verify_bundle
from deniability.verify.cited import cite
from deniability.verify.evaluation import VerifiedEvaluation
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.edits import WORDS, HandlingName
from deniability.wire.exclusion import (
    EXCLUSION_TYPE,
    Accused,
    Exclusion,
    HandledSearch,
    RegistrationReference,
)
from deniability.wire.families import edits_of
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.generator import GeneratorSpec
from deniability.wire.numbers import decimal_string
from deniability.wire.protocol import Protocol
from deniability.wire.registration import FileDescriptor
from deniability.wire.restarts import RestartRecord, Restarts
from deniability.wire.roles import restart_seed, searched_as

#: Largest accused file that is read, bytes.
MAX_IMAGE_BYTES = 256 * 2**20
#: How far inside the cell refinements aim, by turns, in pixel steps. What is left of the cell must
#: still hold a latent, and there are far more pixels than latent numbers.
_INWARDS = (0.01, 0.002, 0.0005, 0.03, 0.0)


@dataclass(frozen=True)
class Exhibit:
    """An accused file, read and observed.

    Attributes:
        file: name and digest as received.
        picture: decoded.
        observed: operator, cell and cautions.

    """

    file: FileDescriptor
    picture: Picture
    observed: Observed

    @property
    def families(self) -> tuple[tuple[Handling, Observations], ...]:
        """The file as each of the protocol's families of handling takes it."""
        return (self.observed.handling, self.observed.observations), *self.observed.further


@dataclass(frozen=True)
class Searched:
    """One family of handling: its controls, and every restart on the accused."""

    calibrated: CalibratedSet
    trace: Trace


@dataclass(frozen=True)
class Examined:
    """What a search found, decided and not yet signed; its latents are on disk.

    Attributes:
        exclusion: the predicate.
        traces: every restart on the accused, family by family.

    """

    exclusion: Exclusion
    traces: tuple[Trace, ...]


@dataclass(frozen=True)
class Proof:
    """What `prove` wrote, verified from disk.

    Attributes:
        path: of the bundle.
        verified: the bundle as read back.
        exhibit: the accused.
        traces: every restart on it, family by family.

    """

    path: Path
    verified: VerifiedBundle
    exhibit: Exhibit
    traces: tuple[Trace, ...]

    @property
    def trace(self) -> Trace:
        """The first family's."""
        return self.traces[0]


def read_exhibit(
    path: Path,
    generator: Generator,
    *,
    called: str | None = None,
    protocol: Protocol | None = None,
    only: Sequence[HandlingName] | None = None,
) -> Exhibit:
    """Read an accused file and observe it in a model's output format.

    Args:
        path: the file.
        generator: the model.
        called: the name that it had when it was received, if another.
        protocol: whose families of handling are looked for; None for unedited outputs only.
        only: families that the search is narrowed to; None for all of the protocol.

    Raises:
        InputError: there is no such file, or it is too large.
        ImageError: it is no picture that can be handled, or not of the model's size.

    """
    data = read_capped(path, MAX_IMAGE_BYTES, what="picture")
    picture = decode_picture(data, where=called or str(path))
    spec = generator.spec
    observed = observe(
        picture,
        data,
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        where=str(path),
        rounding=spec.rounding,
        device=generator.device,
        protocol=protocol,
        only=only,
    )
    plain = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path.name)
    name = called or "".join(plain)
    return Exhibit(describe_bytes(name, data), picture, observed)


def prove(
    image: Path,
    opened: OpenRegistration,
    *,
    key: PrivateKey,
    output: Path,
    resume: bool = False,
    progress: Progress | None = None,
    cache: Path | None = None,
    batch_limit: int | None = None,
    chain: bytes | None = None,
    cited: Citation | None = None,
    executor: Executor | None = None,
    only: Sequence[HandlingName] | None = None,
    evaluated: VerifiedEvaluation | None = None,
) -> Proof:
    """Search for the accused picture, decide, sign, write, and verify from disk.

    Args:
        image: the accused file.
        opened: the model's registration.
        key: the developer's signing key.
        output: file for the bundle; latents go beside it.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        cache: folder of control sets made on demand; the user's cache folder if None.
        batch_limit: most restarts at once; the memory decides if None.
        chain: the key's chain of registrations (`chain_for`), to be embedded.
        cited: binding of the service's outputs to this model, to be embedded.
        executor: searches; in this process if None.
        only: families of handling that the search is narrowed to; None for all of the preset.
        evaluated: evaluation of the procedure on this model, to be cited.

    Raises:
        CommitmentError: the binding or evaluation is of another model.
        ImageError: the picture cannot be examined.
        OutputError: the bundle cannot be written.

    """
    report = progress or Silent()
    procedure = opened.procedure
    exhibit = read_exhibit(image, procedure.generator, protocol=procedure.protocol, only=only)
    check_writable(output)
    if cited is not None:
        check_citation(cited, opened.procedure.generator)
    if evaluated is not None:
        check_evaluation(evaluated, procedure.generator, opened.verified.payload_digest)
    check_reproduction(opened.procedure, opened.pictures)
    identity = run_identity(exhibit, opened)
    with RunState(state_folder(output), identity, resume=resume, note=report.note) as state:
        examined = examine(
            exhibit,
            opened,
            side=sidecar_path(output),
            state=state,
            progress=report,
            cache=cache,
            batch_limit=batch_limit,
            chain=chain,
            cited=cited,
            executor=executor,
            only=only,
            evaluated=evaluated,
        )
        raw = sign_statement(
            examined.exclusion, predicate_type=EXCLUSION_TYPE, subjects=[exhibit.file], key=key
        )
        write_atomic(output, raw)
        verified = verify_bundle(
            read_capped(output, MAX_BUNDLE_BYTES, what="bundle"),
            trust=TrustPolicy((key.public, *signers(cited))),
            where=str(output),
        )
        state.remove()
    return Proof(output, verified, exhibit, examined.traces)


def run_identity(exhibit: Exhibit, opened: OpenRegistration) -> str:
    """Return the digest that names the search of one model for one picture in a `RunState`."""
    return sha256_hex(f"{exhibit.file.sha256} {opened.verified.payload_digest}".encode())


def examine(
    exhibit: Exhibit,
    opened: OpenRegistration,
    *,
    side: Path,
    state: RunState,
    progress: Progress,
    cache: Path | None = None,
    batch_limit: int | None = None,
    chain: bytes | None = None,
    cited: Citation | None = None,
    executor: Executor | None = None,
    only: Sequence[HandlingName] | None = None,
    evaluated: VerifiedEvaluation | None = None,
) -> Examined:
    """Search for the accused picture and decide; write the latents, and sign nothing.

    Args:
        exhibit: the accused file.
        opened: the model's registration.
        side: file for the latents.
        state: of this run; keeps what must not be lost.
        progress: is told what happens.
        cache: as in `prove`, like what follows.
        batch_limit: likewise.
        chain: likewise.
        cited: likewise.
        executor: likewise.
        only: likewise.
        evaluated: likewise.

    Raises:
        OutputError: the latents cannot be written.

    """
    searches: list[Searched] = []
    for handling, observations in exhibit.families:
        calibrated = controls_for(
            opened,
            handling,
            folder=cache or default_cache_folder(),
            state=state,
            progress=progress,
            batch_limit=batch_limit,
            executor=executor,
        )
        if any(_reached(one, opened) for one in searches):
            trace = _not_run(opened)  # it is decided; no other family could change that
        else:
            family = (handling, observations, calibrated)
            trace = _search(exhibit, opened, family, state, progress, batch_limit, executor)
        searches.append(Searched(calibrated, polished(trace, exhibit, opened, handling)))
    data = write_tensors(side, _tensors(opened, searches))
    latents = describe_bytes(side.name, data)
    exclusion = _exclusion(exhibit, opened, searches, latents, chain, cited, only, evaluated)
    return Examined(exclusion, tuple(one.trace for one in searches))


def _search(
    exhibit: Exhibit,
    opened: OpenRegistration,
    family: tuple[Handling, Observations, CalibratedSet],
    state: RunState,
    report: Progress,
    batch_limit: int | None,
    executor: Executor | None,
) -> Trace:
    procedure = opened.procedure
    protocol, model = procedure.protocol, procedure.model
    handling, observations, calibrated = family
    limits = thresholds(calibrated.controls, protocol)
    edit = handling.kind.edit
    log = RestartLog(state, "accused" if edit is None else f"accused-{edit}")
    report.phase(
        "searching for the accused picture" + ("" if edit is None else f", {WORDS[edit]}"),
        protocol.searches,
    )

    engine = procedure.engine(handling, limits.threshold, batch_limit=batch_limit)
    picture = searched_as(exhibit.file.sha256, handling.kind)
    (trace,) = search(
        replace(engine, restarts=protocol.searches),
        Targets.of(observations),
        lambda _, index: restart_seed(model, protocol.digest, picture, index),
        log,
        executor=executor,
        on_step=lambda: report.advance(len(log.known), best=log.best),
    )
    return trace


def _reached(one: Searched, opened: OpenRegistration) -> bool:
    """Tell whether a family's search has re-generated the picture, as the finding will say."""
    found = one.trace.residual
    limits = thresholds(one.calibrated.controls, opened.procedure.protocol)
    return limits.reaches(residual(None if found is None else decimal_string(found)))


def _not_run(opened: OpenRegistration) -> Trace:
    """Return the trace of a search that is not needed any more."""
    procedure = opened.procedure
    return Trace(
        tuple(
            Restart(index, procedure.start_kind(index), Stop.NOT_RUN, None, None, 0, None)
            for index in range(procedure.protocol.searches)
        )
    )


def polished(trace: Trace, exhibit: Exhibit, opened: OpenRegistration, handling: Handling) -> Trace:
    """Refine the latent that reached the picture, so that it re-generates the file exactly.

    Only for `reached`: the search stopped at the threshold, which can leave single pixels a
    fraction of a step outside. Aiming at the middle of the cell brings them in. An edit is not
    refined: its model is not what a program computes to the last step.
    """
    best = trace.best
    if (
        handling.kind.edit is not None
        or best is None
        or best.latent is None
        or best.stop is not Stop.REACHED
    ):
        return trace
    for inwards in _INWARDS:
        if is_pixel_for_pixel(opened.procedure.generator, exhibit, best):
            break
        best = _refined(best, exhibit, opened, inwards / STEPS)
    return Trace(tuple(best if r.index == best.index else r for r in trace.restarts))


def _refined(
    restart: Restart, exhibit: Exhibit, opened: OpenRegistration, inwards: float
) -> Restart:
    """Run the solver on from a restart's latent, aiming `inwards` of the cell's bounds."""
    procedure, observed = opened.procedure, exhibit.observed
    cell = observed.observations
    inner = replace(cell, low=cell.low + inwards, high=cell.high - inwards)
    assert restart.latent is not None  # noqa: S101 - it reached the picture
    (refined,) = procedure.engine(observed.handling, Fraction(0)).from_latents(
        inner, restart.latent[None]
    )
    if refined.latent is None:
        return restart
    (residual,) = statistic_at(procedure, observed.handling, cell, refined.latent[None])
    if residual is None or residual > (restart.residual or 0.0):
        return restart
    return replace(
        restart,
        residual=float(decimal_string(residual)),
        distance=refined.distance,
        iterations=restart.iterations + refined.iterations,
        latent=refined.latent,
    )


def _exclusion(
    exhibit: Exhibit,
    opened: OpenRegistration,
    searches: Sequence[Searched],
    latents: FileDescriptor,
    chain: bytes | None,
    cited: Citation | None,
    only: Sequence[HandlingName] | None,
    evaluated: VerifiedEvaluation | None,
) -> Exclusion:
    procedure, registration = opened.procedure, opened.verified.registration
    protocol, observed = procedure.protocol, exhibit.observed
    calibrated, trace = searches[0].calibrated, searches[0].trace
    restarts, *others = (_records(one, exhibit, opened) for one in searches)
    handled = tuple(
        HandledSearch(controls=one.calibrated.controls, restarts=records, trace_root=_root(records))
        for one, records in zip(searches[1:], others, strict=True)
    )
    finding = decide(
        protocol=protocol,
        controls=calibrated.controls,
        restarts=restarts,
        cautions=(
            *observed.cautions,
            *model_cautions(procedure.generator.spec.format),
        ),
        model_digest=procedure.model.digest,
        pixel_for_pixel=is_pixel_for_pixel(procedure.generator, exhibit, trace.best),
        handled=handled,
    )
    picture, kind = exhibit.picture, observed.handling.kind
    return Exclusion(
        finding=finding,
        scope=scope_lines(
            kind,
            model=procedure.generator.spec.format,
            chained=chain is not None,
            beacon=procedure.beacon is not None,
            edits=edits_of(handled),
            bound=cited is not None,
        ),
        accused=Accused(
            file=exhibit.file,
            format=picture.format,
            width=picture.width,
            height=picture.height,
            channels=kind.channels,
            pixels=picture.canonical_digest,
            transforms=observed.transforms,
            cautions=observed.cautions,
            kind=kind,
        ),
        model=procedure.model,
        generator=procedure.generator.spec,
        registration=RegistrationReference(
            payload=opened.verified.payload_digest,
            created_at=registration.created_at,
            chain=None if chain is None else b64encode(chain),
        ),
        protocol=protocol,
        protocol_digest=protocol.digest,
        encoder=procedure.encoder_digest,
        stages=procedure.stages,
        beacon=procedure.beacon,
        binding=None if cited is None else cited.embedded,
        evaluation=None
        if evaluated is None
        else cite(evaluated, [one.calibrated.controls.kind for one in searches]),
        controls=calibrated.controls,
        restarts=restarts,
        trace_root=_root(restarts),
        narrowed=None if only is None else tuple(only),
        handled=handled or None,
        latents=latents,
        environment=describe_environment(procedure.generator.device),
        created_at=now(),
    )


def _root(restarts: Restarts) -> str:
    return merkle_root(restarts.leaves).hex()


def _records(one: Searched, exhibit: Exhibit, opened: OpenRegistration) -> Restarts:
    procedure = opened.procedure
    picture = searched_as(exhibit.file.sha256, one.calibrated.controls.kind)
    digest = procedure.protocol.digest
    return Restarts(
        _record(
            r, restart_seed(procedure.model, digest, picture, r.index), procedure.generator.spec
        )
        for r in one.trace.restarts
    )


def _record(restart: Restart, seed: bytes, spec: GeneratorSpec) -> RestartRecord:
    latent = restart.latent
    return RestartRecord(
        index=restart.index,
        seed=seed.hex(),
        start=restart.start,
        stop=restart.stop.value,
        residual=None if restart.residual is None else decimal_string(restart.residual),
        distance=None if restart.distance is None else decimal_string(restart.distance),
        iterations=restart.iterations,
        latent=None if latent is None else latent_digest(latent),
        label=None if latent is None or not spec.labels else spec.label_of(latent.tolist()),
    )


def _tensors(opened: OpenRegistration, searches: Sequence[Searched]) -> dict[str, torch.Tensor]:
    """Name the sidecar's tensors: `restarts` has a row for each restart that was run, in order.

    Those of further families begin with "handled", their number and a point.
    """
    tensors = encoder_tensors(opened.procedure) | {"pictures": opened.pictures}
    for number, one in enumerate(searches):
        prefix = f"handled.{number - 1}." if number else ""
        run = [r.latent for r in one.trace.restarts if r.latent is not None]
        width = one.calibrated.latents.shape[1]
        tensors[f"{prefix}restarts"] = torch.stack(run) if run else torch.zeros(0, width)
        tensors[f"{prefix}controls"] = one.calibrated.latents
    return tensors


def is_pixel_for_pixel(generator: Generator, exhibit: Exhibit, best: Restart | None) -> bool:
    """Tell whether the best latent's output, quantised and handled alike, is the accused picture.

    For a JPEG: whether it decodes to the same pixels after being saved with the file's tables.
    """
    if best is None or best.latent is None or exhibit.observed.handling.kind.edit is not None:
        return False
    return same_pixels(generator, exhibit, best.latent)


def same_pixels(generator: Generator, exhibit: Exhibit, latent: Tensor) -> bool:
    """Tell the same of a latent `d`, for a file that is taken for an unedited output."""
    with torch.no_grad():
        output = generator.quantise(generator(latent[None].to(generator.device)))
    handled = exhibit.observed.handling.save(output.cpu().numpy())
    wanted = exhibit.observed.observations
    return bool(
        np.array_equal(handled.pixels.numpy(), wanted.pixels.numpy())
        and torch.equal(handled.centre, wanted.centre)
    )
