"""The search procedure of a protocol, as the engine runs it: one for controls and accused alike."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deniability.errors import CommitmentError
from deniability.evidence.progress import Progress
from deniability.evidence.state import RunState
from deniability.evidence.tensors import tensors_digest
from deniability.generators.base import Generator
from deniability.imaging.handling import Handling
from deniability.inversion.adam import Adam
from deniability.inversion.edited import searched, starts_for
from deniability.inversion.encoder import Encoder, EncoderTraining, load_encoder
from deniability.inversion.engine import Engine
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.solver import Solver
from deniability.inversion.staged import has_stages, staged_starts
from deniability.wire.beacon import Beacon
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import Protocol, SolverName, Stages
from deniability.wire.registration import ModelDescriptor
from deniability.wire.roles import StartKind, encoder_seed, start_kind

_SECONDS = 20.0  # of training between two writes of the state
_PRODUCTS = 64  # of conjugate gradients, where a protocol does not say


@dataclass(frozen=True)
class Procedure:
    """Everything that is fixed before a picture is searched for.

    Attributes:
        generator, model: what is searched.
        protocol: the preset.
        encoder: the registered warm start.
        beacon: public value in the controls' seeds.

    """

    generator: Generator
    model: ModelDescriptor
    protocol: Protocol
    encoder: Encoder | None
    beacon: Beacon | None = None

    @property
    def solver_name(self) -> SolverName:
        """Which solver the protocol prescribes for this latent's size."""
        return self.protocol.solver(self.generator.dimension)

    @cached_property
    def stages(self) -> Stages | None:
        """In which stages starts are searched for, if so; then there is no encoder."""
        stages = self.protocol.stages
        return stages if stages is not None and has_stages(self.generator) else None

    def start_kind(self, index: int) -> StartKind:
        """Name the kind of start of restart `index` of any target."""
        return start_kind(
            index,
            encoder=self.encoder is not None,
            labels=self.generator.spec.label_count,
            staged=self.stages is not None,
        )

    @property
    def encoder_digest(self) -> str | None:
        """Digest of the encoder's tensors."""
        return tensors_digest(self.encoder.tensors()) if self.encoder else None

    def solver(self) -> Solver[Any]:
        """Build the solver."""
        if self.solver_name == "adam":
            return Adam(self.protocol.adam_iterations)
        if self.solver_name == "gauss-newton-cg":
            return GaussNewtonCG(self.protocol.iterations, self.protocol.cg_iterations or _PRODUCTS)
        return LevenbergMarquardt(self.protocol.iterations)

    def engine(
        self, handling: Handling, threshold: Fraction, *, batch_limit: int | None = None
    ) -> Engine:
        """Build the engine for one kind of observation."""
        solver = self.solver()
        return Engine(
            generator=searched(self.generator, handling),
            handling=handling,
            solver=solver,
            starts=staged_starts(self.generator, handling, solver)
            if self.stages is not None
            else starts_for(self.generator, self.encoder, handling, solver),
            restarts=self.protocol.restarts,
            threshold=float(threshold),
            resolution=float(self.protocol.resolution),
            batch_limit=batch_limit,
        )


def sample_prior(spec: GeneratorSpec, stream: torch.Generator, count: int) -> Tensor:
    """Draw prior latents `count x d` float32 for training; never used for controls."""
    parts = []
    for part in spec.latent:
        if part.classes is not None:
            parts.append(torch.randint(part.classes, (count, 1), generator=stream).float())
        elif part.prior == "normal":
            parts.append(torch.randn(count, part.size, generator=stream))
        else:
            low, high = float(part.low or 0), float(part.high or 1)
            parts.append(low + (high - low) * torch.rand(count, part.size, generator=stream))
    return torch.cat(parts, dim=1)


def train_encoder(
    generator: Generator,
    model: ModelDescriptor,
    protocol: Protocol,
    *,
    state: RunState | None,
    progress: Progress,
) -> Encoder | None:
    """Train the protocol's encoder, going on from `state` where it has been interrupted.

    A search in two stages has none.
    """
    if protocol.encoder_outputs == 0 or Procedure(generator, model, protocol, None).stages:
        return None
    if state is not None and (finished := state.tensors("encoder")) is not None:
        try:
            return load_encoder(finished[0], generator)
        except CommitmentError as error:
            raise state.damaged("encoder") from error
    training = EncoderTraining(
        generator,
        encoder_seed(model, protocol.digest),
        protocol.encoder_outputs,
        lambda stream, count: sample_prior(generator.spec, stream, count),
    )
    if state is not None and (partial := state.tensors("encoder-training")) is not None:
        try:
            training.restore(partial[0])
        except (KeyError, RuntimeError) as error:
            raise state.damaged("encoder-training") from error
    progress.phase("training the encoder on batches of own outputs", training.total)
    written = time.monotonic()
    try:
        while not training.done:
            training.step()
            progress.advance(training.steps)
            if state is not None and time.monotonic() - written > _SECONDS:
                state.save("encoder-training", training.tensors(), {})
                written = time.monotonic()
    finally:
        if state is not None and not training.done and training.steps > 0:
            state.save("encoder-training", training.tensors(), {})
    encoder = training.finish()
    if state is not None:
        state.save("encoder", encoder.tensors(), {})
    return encoder
