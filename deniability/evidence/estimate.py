"""How long registering and proving will take here: measured steps times how many are usual.

What a step, a forward pass and the encoder's training cost is measured on this device, in seconds.
How many steps a search takes cannot be known before its encoder is trained, so counts seen with the
models of the benchmarks stand for it, and every time is a range. It is an estimate, no bound.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.evidence.calibrate import own_pictures
from deniability.evidence.procedure import Procedure, sample_prior
from deniability.evidence.register import standard_kind
from deniability.evidence.subject import describe_model
from deniability.generators.base import Generator
from deniability.generators.stages import stages_of
from deniability.imaging.handling import Handling
from deniability.imaging.observation import build_handling
from deniability.inversion.cost import (
    StepCost,
    Timing,
    forward_timing,
    jacobian_flops,
    matrix_rate,
    seconds_of,
    step_cost,
)
from deniability.inversion.encoder import EncoderTraining
from deniability.inversion.search import restarts_per_chunk, targets_per_chunk
from deniability.inversion.staged import has_stages, most_passes
from deniability.wire.families import kinds_of
from deniability.wire.protocol import PRESETS, Protocol, SolverName, mismatch_ways
from deniability.wire.roles import most_labels

#: Least and most, in seconds or counts.
Range = tuple[float, float]

#: Steps of a second-order solver for one control, all its restarts together. Means of 3 (built-in),
#: 5 (face DCGAN) and 17 (600 numbers, Gauss-Newton-CG) were seen; a hard model needs several
#: restarts for some.
STEPS_PER_CONTROL: Range = (2, 20)
#: For one output that was made in another way, which is refined from its true latent.
STEPS_PER_MISMATCH: Range = (5, 20)
#: For each restart on a picture that is no own output, until it stalls. 12 to 46 were seen, of
#: which those that bring nothing cost less than what is measured: they do not linearise again.
STEPS_PER_MISS: Range = (5, 30)
#: Share of its most gradient steps that Adam takes for one control, restarts counted.
_ADAM_SHARE: Range = (0.25, 2.0)
#: How far a machine's speed strays from what was measured for a moment.
_STRAYING: Range = (0.8, 1.4)

#: What the times rest on, for whoever reads them.
BASIS = (
    "Registering: what training the encoder on the preset's outputs was measured to take, plus "
    f"{STEPS_PER_CONTROL[0]:.0f} to {STEPS_PER_CONTROL[1]:.0f} measured steps for each control and "
    f"{STEPS_PER_MISMATCH[0]:.0f} to {STEPS_PER_MISMATCH[1]:.0f} for each output made in another "
    f"way; {STEPS_PER_MISS[1]:.0f} more for controls of a model with labels.",
    f"Proving: as many for an own picture, in a first batch of restarts; {STEPS_PER_MISS[0]:.0f} "
    f"to {STEPS_PER_MISS[1]:.0f} for every restart on another. Adam takes the preset's number.",
    "A handled preset makes controls of every family of handling for the first picture, and "
    "searches all of them for each; those times are rougher still, since edits differ.",
    "Under presets with two stages a model of a mapping and a synthesis network takes a search for "
    "the style and its latent before every restart, and no encoder.",
    "Those counts were seen with the models of the benchmarks; a model that is hard to invert, or "
    "a busier machine, takes longer. The first JPEG of each kind takes controls of its own, about "
    "as long as registering without the encoder. Loading and writing files are not included.",
)

_BUDGET = 2.0  # seconds for measuring the steps of one solver
_COUNTING = 2.0  # seconds of forward passes that a Jacobian may be worth to be counted
_AWAY = 0.3  # of a prior's deviation: about as far as an encoder's guess lies
_ENCODER_NUMBERS = 1 << 24  # of pictures at once while training is timed
_ENCODER_SECONDS = 1.5  # of forward passes for it
_LEAST_OF_START = 0.2  # of the most that a search for the style and its latent takes
_TANGENT = 2.0  # forward passes that the derivative along one number is worth
_STARTS_PER_CONTROL: Range = (1, 3)  # 2.1 were seen with a StyleGAN2-style model of 512 numbers
_LOOKS = 40  # forward passes that prove makes besides the search
_PASSES = 3  # forward passes that register makes for each control besides the search


@dataclass(frozen=True)
class Estimate:
    """What one preset will take, seconds.

    Attributes:
        protocol: the preset.
        solver: that it prescribes for this latent.
        register: encoder, controls and mismatches.
        reached: proving that a picture is an own output.
        missed: searching in vain for one that is not.
        why_not: why the model cannot be registered under it; the times are then None.

    """

    protocol: Protocol
    solver: SolverName
    register: Range | None
    reached: Range | None
    missed: Range | None
    why_not: str | None = None


@dataclass(frozen=True)
class Costs:
    """What was measured on the generator's device, and what follows from it.

    Attributes:
        matrix_side, matrix_rate: of square float32 products, and their FLOP/s.
        forward: of pictures from prior latents.
        training: of the encoder, for each output that it learns from, all looks at it together.
        jacobian_flops: counted for one latent; None if no preset's search is dense, or it would
            take too long.
        steps: of each solver that a preset prescribes, in batches as controls are searched.
        few: likewise in batches as a single picture is searched.
        problems: of each solver that does not work with this model, why.
        start: of a restart that is searched for in two stages; None if the model has no stages.
        cpu_share: of its threads' time that this process had meanwhile; None on a GPU, whose work
            the CPU only waits for.
        estimates: one for each preset asked for.

    """

    matrix_side: int
    matrix_rate: float
    forward: Timing
    training: Timing
    jacobian_flops: int | None
    steps: dict[SolverName, StepCost]
    few: dict[SolverName, StepCost]
    problems: dict[SolverName, str]
    start: Range | None
    cpu_share: float | None
    estimates: tuple[Estimate, ...]


def measure_costs(generator: Generator, presets: Sequence[Protocol] | None = None) -> Costs:
    """Measure everything on the generator's device; takes seconds, more for large models.

    The estimates are of these presets; of all shipped ones that differ if None.

    Raises:
        GeneratorError: the model failed in its forward pass.

    """
    protocols = presets or _distinct(generator.dimension, stages=has_stages(generator))
    begun, cpu = time.perf_counter(), time.process_time()
    side, rate = matrix_rate(generator.device)
    stream = torch.Generator().manual_seed(0)
    latents = sample_prior(generator.spec, stream, targets_per_chunk(generator.device))
    forward = forward_timing(generator, latents.to(generator.device))
    handling = build_handling(standard_kind(generator.spec), device=generator.device)
    measuring = _Measuring(generator, handling, latents, forward.seconds)
    for protocol in protocols:
        measuring.add(protocol)
    training = _training(generator, forward.seconds)
    threads = torch.get_num_threads()
    share = (time.process_time() - cpu) / max(time.perf_counter() - begun, 1e-9) / threads
    costs = Costs(
        matrix_side=side,
        matrix_rate=rate,
        forward=forward,
        training=training,
        jacobian_flops=_counted(generator, forward.seconds, measuring),
        steps=measuring.steps,
        few=measuring.few,
        problems=measuring.problems,
        start=_start(generator, latents, forward.seconds),
        cpu_share=min(share, 1.0) if generator.device.type == "cpu" else None,
        estimates=(),
    )
    return replace(costs, estimates=tuple(_estimate(generator, p, costs) for p in protocols))


def _distinct(dimension: int, *, stages: bool) -> list[Protocol]:
    """Return the shipped presets without those that do as an earlier one does for d numbers."""
    found: dict[tuple[object, ...], Protocol] = {}
    for protocol in PRESETS.values():
        does = (
            protocol.solver(dimension),
            protocol.controls,
            protocol.edits,
            stages and protocol.stages,
        )
        found.setdefault(does, protocol)
    return list(found.values())


class _Measuring:
    """Times each solver once."""

    def __init__(
        self, generator: Generator, handling: Handling, latents: Tensor, forward: float
    ) -> None:
        self._generator, self._handling = generator, handling
        self._latents, self._forward = latents, forward
        self.steps: dict[SolverName, StepCost] = {}
        self.few: dict[SolverName, StepCost] = {}
        self.problems: dict[SolverName, str] = {}

    def add(self, protocol: Protocol) -> None:
        """Time the solver of a protocol, unless it has been."""
        generator = self._generator
        name = protocol.solver(generator.dimension)
        if name in self.steps or name in self.problems:
            return
        procedure = Procedure(generator, describe_model(generator), protocol, None)
        engine = procedure.engine(self._handling, Fraction(0))
        observations = self._handling.save(own_pictures(procedure, self._latents))
        starts = self._starts()
        passes = _passes(name, protocol, generator)
        few = restarts_per_chunk(generator.device, protocol.restarts)
        try:
            many = step_cost(
                engine, observations, starts,
                forward=self._forward, passes=passes, budget=_BUDGET,
            )  # fmt: skip
            self.steps[name] = self.few[name] = many
            if many.rows > few:
                self.few[name] = step_cost(
                    engine, observations[:few], starts[:few],
                    forward=self._forward, passes=passes, budget=_BUDGET,
                )  # fmt: skip
        except GeneratorError as error:
            self.steps.pop(name, None)
            self.problems[name] = str(error)

    def _starts(self) -> Tensor:
        """Return latents near the true ones, labels kept."""
        stream = torch.Generator().manual_seed(1)
        noise = torch.randn(self._latents.shape, generator=stream) * self._latents.std(dim=0)
        noise[:, [column for column, _ in self._generator.spec.labels]] = 0.0
        return self._latents + _AWAY * noise


def _passes(solver: SolverName, protocol: Protocol, generator: Generator) -> int:
    """Return about how many forward passes one step is worth."""
    free = generator.dimension if generator.free is None else len(generator.free)
    if solver == "levenberg-marquardt":
        return free + 8
    if solver == "gauss-newton-cg":
        return 2 * min(free, protocol.cg_iterations or free) + 8
    return 3


def _counted(generator: Generator, forward: float, measuring: _Measuring) -> int | None:
    dense = measuring.steps.get("levenberg-marquardt")
    if dense is None or generator.dimension * forward > _COUNTING:
        return None
    return jacobian_flops(generator)


def _training(generator: Generator, forward: float) -> Timing:
    """Time two batches of the encoder's training, through all looks at them."""
    spec = generator.spec
    numbers = spec.channels * spec.height * spec.width
    batch = min(128, _ENCODER_NUMBERS // numbers, int(_ENCODER_SECONDS / 2 / max(forward, 1e-9)))
    batch = max(4, batch)

    def training(outputs: int) -> EncoderTraining:
        return EncoderTraining(
            generator, bytes(32), outputs, lambda s, n: sample_prior(spec, s, n), batch
        )

    training(batch).step()  # warms up
    timed = training(2 * batch)
    begun = time.perf_counter()
    while not timed.done:
        timed.step()  # its loss comes to the CPU, so the device has finished
    return Timing(batch, (time.perf_counter() - begun) / (2 * batch))


def _start(generator: Generator, latents: Tensor, forward: float) -> Range | None:
    """Return what searching for a start in two stages takes, in seconds."""
    latents = latents.to(generator.device)
    stages = stages_of(generator, latents[:4])
    if stages is None:
        return None
    taken = [seconds_of(lambda: stages.mapping(latents), generator.device) for _ in range(3)]
    mapping = min(taken) / len(latents)
    synthesis, mapped = most_passes(generator)
    most = _TANGENT * (synthesis * max(forward - mapping, 0.0) + mapped * mapping)
    return _LEAST_OF_START * most, most


def _estimate(generator: Generator, protocol: Protocol, costs: Costs) -> Estimate:
    solver = protocol.solver(generator.dimension)
    most = most_labels(protocol.restarts)
    why_not = costs.problems.get(solver)
    if generator.spec.labels and generator.spec.label_count > most:
        why_not = f"more than the {most} labels that {protocol.restarts} restarts can try"
    if why_not is not None:
        return Estimate(protocol, solver, None, None, None, why_not)
    one, few = costs.steps[solver].seconds, costs.few[solver].seconds
    first, refined, missed = _counts(generator, protocol, solver)
    ways = len(mismatch_ways("lossless")) * protocol.mismatch_outputs
    at_once = min(protocol.restarts, restarts_per_chunk(generator.device, protocol.restarts))
    forward = costs.forward.seconds
    start, training = (0.0, 0.0), protocol.encoder_outputs * costs.training.seconds
    if costs.start is not None and protocol.stages:
        start, training = costs.start, 0.0
    fixed = training + protocol.controls * _PASSES * forward
    found = [each * some for each, some in zip(start, _STARTS_PER_CONTROL, strict=True)]
    register = [
        fixed + protocol.controls * begun + one * (protocol.controls * control + ways * other)
        for begun, control, other in zip(found, first, refined, strict=True)
    ]
    spec = generator.spec
    kinds = kinds_of(protocol, standard_kind(spec), height=spec.height, width=spec.width)
    # Of further families of handling the first picture takes the controls as well.
    further = [
        (len(kinds) - 1) * (protocol.controls * (begun + one * control) + one * ways * other)
        for begun, control, other in zip(found, first, refined, strict=True)
    ]
    reached = [
        more + len(kinds) * (_LOOKS * forward + begun + few * at_once * control)
        for more, begun, control in zip(further, found, first, strict=True)
    ]
    in_vain = [
        more + len(kinds) * (_LOOKS * forward + protocol.searches * (begun + few * steps))
        for more, begun, steps in zip(further, start, missed, strict=True)
    ]
    return Estimate(protocol, solver, _strayed(register), _strayed(reached), _strayed(in_vain))


def _counts(
    generator: Generator, protocol: Protocol, solver: SolverName
) -> tuple[Range, Range, Range]:
    """Return steps for one control, one output made in another way, and one restart in vain."""
    if solver == "adam":
        low, high = (share * protocol.adam_iterations for share in _ADAM_SHARE)
        all_ = float(protocol.adam_iterations)
        return (low, high), (low, all_), (all_, all_)
    low, high = STEPS_PER_CONTROL
    if generator.spec.labels:  # a wrong label may be tried before the right one
        high += STEPS_PER_MISS[1]
    most = float(protocol.iterations)
    return (low, high), STEPS_PER_MISMATCH, (min(STEPS_PER_MISS[0], most), most)


def _strayed(seconds: list[float]) -> Range:
    low, high = seconds
    return low * _STRAYING[0], high * _STRAYING[1]
