"""Controls: own outputs, drawn afresh, handled alike, inverted by the procedure of the accused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deniability.evidence.latents import drawn_latents
from deniability.evidence.mismatch import measure_mismatches, other_pictures
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress
from deniability.evidence.restarts import RestartLog
from deniability.evidence.search import Targets, search
from deniability.evidence.state import RunState
from deniability.evidence.subject import device_class
from deniability.evidence.tensors import latent_digest
from deniability.imaging.handling import Handling, Observations, Pixels
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.inversion.edited import searched
from deniability.inversion.engine import Engine
from deniability.inversion.executor import Executor
from deniability.inversion.solution import Restart, Stop, Trace
from deniability.stats.verdict import reached_threshold
from deniability.wire.controls import Control, ControlSet
from deniability.wire.numbers import decimal_string
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import ENGINE_VERSION
from deniability.wire.roles import control_restart_seed, control_seed

_PICTURES = 64  # forward passes at once outside the engine
_CHUNK_BYTES = 2**28  # of observations held at once


@dataclass(frozen=True)
class CalibratedSet:
    """A control set with what it does not carry itself.

    Attributes:
        controls: as signed.
        latents: best latent of every control, `n x d` float32; zeros where none was finite.

    """

    controls: ControlSet
    latents: Tensor


def own_pictures(procedure: Procedure, latents: Tensor) -> Pixels:
    """Make the 8-bit pictures of latents `N x d`: `N x C x H x W` uint8."""
    generator = procedure.generator
    with torch.no_grad():
        parts = [
            generator.quantise(generator(part.to(generator.device))).cpu()
            for part in latents.split(_PICTURES)  # type: ignore[no-untyped-call]
        ]
    pictures: Pixels = torch.cat(parts).numpy()
    return pictures


def control_observations(
    procedure: Procedure, handling: Handling, latents: Tensor, seeds: list[bytes]
) -> Observations:
    """Make the outputs of latents `N x d`, handle them by their seeds, and observe them."""
    return handling.controls(produced_pictures(procedure, handling, latents, seeds), seeds)


def produced_pictures(
    procedure: Procedure, handling: Handling, latents: Tensor, seeds: list[bytes]
) -> Pixels:
    """Make the pictures of latents `N x d` in the way that a handling has outputs produced."""
    way = handling.way
    if way is None:
        return own_pictures(procedure, latents)
    parts = [
        other_pictures(procedure.generator, latents[rows], way, seeds[rows])
        for rows in (slice(i, i + _PICTURES) for i in range(0, len(latents), _PICTURES))
    ]
    return np.concatenate(parts)


def true_numbers(handling: Handling, latents: Tensor, seeds: list[bytes]) -> Tensor:
    """Return what a search looks for in controls: `N x (d + q)`."""
    return torch.cat([latents, handling.parameters(seeds)], dim=1)


def statistic_at(
    procedure: Procedure, handling: Handling, observations: Observations, latents: Tensor
) -> list[float | None]:
    """Return the statistic of each observation at given numbers `N x (d + q)`; None if not finite.

    It is rounded as it is recorded, and below the protocol's resolution it is 0.
    """
    generator = searched(procedure.generator, handling)
    resolution = float(procedure.protocol.resolution)
    values: list[float | None] = []
    for start in range(0, len(latents), _PICTURES):
        rows = slice(start, start + _PICTURES)
        part = observations[rows].to(generator.device)
        with torch.no_grad():
            outputs = handling.operator(generator(latents[rows].to(generator.device)))
        outside = handling.trim(cell_residual(outputs, part.low, part.high, handling.slack))
        for value in mean_squared(outside).tolist():
            finite = np.isfinite(value)
            values.append((0.0 if value < resolution else value) if finite else None)
    return values


def control_latents(procedure: Procedure, kind: ObservationKind) -> tuple[list[bytes], Tensor]:
    """Derive the seeds and true latents `n x d` of a kind's controls."""
    protocol = procedure.protocol
    seeds = [
        control_seed(
            procedure.model, protocol.digest, kind.digest(), index, beacon=procedure.beacon
        )
        for index in range(protocol.controls)
    ]
    spec = procedure.generator.spec
    return seeds, drawn_latents(spec, kind, seeds)


def calibrate(
    procedure: Procedure,
    handling: Handling,
    *,
    state: RunState | None,
    progress: Progress,
    batch_limit: int | None = None,
    executor: Executor | None = None,
) -> CalibratedSet:
    """Make and invert all controls of one kind, and measure the mismatch allowance.

    Args:
        procedure: what is calibrated.
        handling: of the kind.
        state: where finished restarts are kept; None keeps nothing.
        progress: is told of every control.
        batch_limit: most restarts at once.
        executor: searches; here if None.

    """
    seeds, latents = control_latents(procedure, handling.kind)
    name = f"controls-{handling.kind.digest()[:16]}"
    chunk = _chunk(handling, procedure)
    truths = _truths(procedure, handling, latents, seeds, chunk)
    threshold = reached_threshold(
        [_wire(value) for value in truths],
        procedure.protocol,
        family=handling.kind.family,
        edit=handling.kind.edit,
    )
    log = RestartLog(state, name)
    progress.phase("inverting controls", procedure.protocol.controls)
    engine = procedure.engine(handling, threshold, batch_limit=batch_limit)
    traces = _search(procedure, engine, (latents, seeds), log, progress, executor)
    controls = tuple(
        _control(index, seed, truth, trace)
        for index, (seed, truth, trace) in enumerate(zip(seeds, truths, traces, strict=True))
    )
    mismatches = measure_mismatches(procedure, handling, threshold, progress=progress)
    return CalibratedSet(
        ControlSet(
            kind=handling.kind,
            device_class=device_class(procedure.generator.device),
            precision="float32",
            engine=ENGINE_VERSION,
            solver=procedure.solver_name,
            controls=controls,
            mismatches=mismatches,
        ),
        torch.stack([_best_latent(trace, engine.generator.dimension) for trace in traces]),
    )


def true_residuals(procedure: Procedure, handling: Handling) -> list[str | None]:
    """Return the residuals of a kind's controls at their true latents; nothing is searched."""
    seeds, latents = control_latents(procedure, handling.kind)
    truths = _truths(procedure, handling, latents, seeds, _chunk(handling, procedure))
    return [_wire(value) for value in truths]


def _chunk(handling: Handling, procedure: Procedure) -> int:
    """How many controls' observations are held at once."""
    kind = handling.kind
    one = 4 * 4 * kind.file_size[0] * kind.file_size[1] * 3
    return max(16, min(procedure.protocol.controls, _CHUNK_BYTES // one))


def _truths(
    procedure: Procedure, handling: Handling, latents: Tensor, seeds: list[bytes], chunk: int
) -> list[float | None]:
    truths: list[float | None] = []
    for start in range(0, len(latents), chunk):
        part, drawn = latents[start : start + chunk], seeds[start : start + chunk]
        observations = control_observations(procedure, handling, part, drawn)
        numbers = true_numbers(handling, part, drawn)
        truths += statistic_at(procedure, handling, observations, numbers)
    return truths


def _search(
    procedure: Procedure,
    engine: Engine,
    drawn: tuple[Tensor, list[bytes]],
    log: RestartLog,
    progress: Progress,
    executor: Executor | None,
) -> list[Trace]:
    """Search the controls with these true latents and seeds."""
    latents, seeds = drawn
    protocol, model, handling = procedure.protocol, procedure.model, engine.handling
    digest, kind = protocol.digest, handling.kind.digest()
    ended = {target for (target, _), restart in log.known.items() if restart.stop is Stop.REACHED}

    def on_restart(target: int, restart: Restart) -> None:
        if restart.stop is Stop.REACHED or restart.index == protocol.restarts - 1:
            ended.add(target)
            progress.advance(len(ended))

    return search(
        engine,
        Targets(
            len(latents),
            lambda start, stop: control_observations(
                procedure, handling, latents[start:stop], seeds[start:stop]
            ),
        ),
        lambda target, index: control_restart_seed(
            model, digest, kind, target * protocol.restarts + index, beacon=procedure.beacon
        ),
        log,
        executor=executor,
        on_restart=on_restart,
        on_step=lambda: progress.advance(len(ended)),
    )


def _control(index: int, seed: bytes, truth: float | None, trace: Trace) -> Control:
    best = trace.best
    return Control(
        index=index,
        seed=seed.hex(),
        truth=_wire(truth),
        residual=_wire(best.residual) if best else None,
        best=best.index if best else None,
        restarts=sum(r.stop is not Stop.NOT_RUN for r in trace.restarts),
        iterations=sum(r.iterations for r in trace.restarts),
        latent=latent_digest(best.latent) if best and best.latent is not None else None,
    )


def _best_latent(trace: Trace, dimension: int) -> Tensor:
    best = trace.best
    return best.latent if best and best.latent is not None else torch.zeros(dimension)


def _wire(value: float | None) -> str | None:
    return None if value is None else decimal_string(value)
