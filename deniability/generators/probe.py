"""Running an opened module a few times to see what it takes and what it yields.

A model that does not do what its description says is refused here, before hours are spent on it:
wrong shape, wrong range, samples that influence one another (batch norm left in training mode),
random numbers drawn inside. NaN in the output is let through: such a generator loads, registers,
and ends `inconclusive`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.base import (
    Batching,
    as_pictures,
    describe_shapes,
    last_line,
    run_batched,
)
from deniability.generators.layout import Layout, bears_tangents, lay_out
from deniability.generators.module import LoadedModule
from deniability.generators.options import PartOptions

#: How many samples a probe makes.
PROBE_SAMPLES = 8
#: How far samples made together may differ from the same made one by one.
BATCH_TOLERANCE = 1e-4
#: How far outputs may lie outside the declared range.
RANGE_TOLERANCE = 1e-3
#: What is said of a module that does not run; another layout of its weights may change it.
_PERHAPS_LAYOUT = ("the model refuses", "the model was exported")


@dataclass(frozen=True)
class Probe:
    """What a module yielded.

    Attributes:
        pictures: PROBE_SAMPLES x C x H x W in the module's own range, on the CPU.
        batching: how it takes several samples.

    """

    pictures: Tensor
    batching: Batching

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.pictures.shape[-3:]
        return channels, height, width

    def extent(self) -> tuple[float, float] | None:
        """Smallest and largest number that is not NaN, or None if there is none."""
        numbers = self.pictures[~self.pictures.isnan()]
        if numbers.numel() == 0:
            return None
        return float(numbers.min()), float(numbers.max())


def probe(
    loaded: LoadedModule, parts: Sequence[PartOptions], *, device: torch.device, where: str
) -> Probe:
    """Run the module on latents of the stated shapes, together and one by one.

    Where its weights may be laid out in several ways, they end up in the first one in which it
    runs and tangents can be pushed through; in the first in which it runs, if there is none.

    Raises GeneratorError if it refuses them, does not return pictures, draws random numbers of its
    own, or mixes samples.
    """
    latents = draw(parts, device)
    runs: dict[Layout, Probe] = {}
    failure: GeneratorError | None = None
    for layout in loaded.layouts:
        lay_out(loaded.module, layout)
        try:
            runs[layout] = _run(loaded, latents, where)
        except GeneratorError as error:
            if not error.what.startswith(_PERHAPS_LAYOUT):
                raise
            failure = failure or error
            continue
        if bears_tangents(loaded.forward, latents, parts, runs[layout].batching):
            return runs[layout]
    if failure is not None and not runs:
        raise failure
    if not runs:
        return _run(loaded, latents, where)
    layout = next(iter(runs))
    lay_out(loaded.module, layout)
    return runs[layout]


def _run(loaded: LoadedModule, latents: Sequence[Tensor], where: str) -> Probe:
    batching = _find_batching(loaded, latents, where)
    with torch.no_grad():
        together = run_batched(loaded.forward, latents, batching)
        again = run_batched(loaded.forward, latents, batching)
        single = run_batched(loaded.forward, latents, "loop")
    if together.shape[1] not in {1, 3}:
        raise GeneratorError(
            "the model's pictures have an odd number of channels",
            where=where,
            expected="1 or 3",
            found=str(together.shape[1]),
        )
    if _distance(together, again) > BATCH_TOLERANCE:
        raise GeneratorError(
            "the model gives different pictures for the same latent",
            where=where,
            found=f"a difference of {_distance(together, again):.3g}",
            hint=(
                "It draws random numbers of its own (noise inputs, dropout). Make them inputs of "
                "forward with a [[latent]] each, or constants."
            ),
        )
    if _distance(together, single) > BATCH_TOLERANCE:
        raise GeneratorError(
            "a picture depends on the others in its batch",
            where=where,
            found=f"a difference of {_distance(together, single):.3g}",
            hint="Batch norm is in training mode: call model.eval() before exporting.",
        )
    return Probe(pictures=together.cpu(), batching=batching)


def draw(parts: Sequence[PartOptions], device: torch.device) -> list[Tensor]:
    """Return PROBE_SAMPLES latents by fixed seeds, normal unless a uniform prior is stated.

    Labels come as the model takes them, the first ones by turns.
    """
    generator = torch.Generator(device="cpu")
    generator.manual_seed(0)
    latents = []
    for part in parts:
        shape = (PROBE_SAMPLES, *(part.shape or ()))
        if part.classes is not None:
            index = torch.arange(PROBE_SAMPLES, device=device) % part.classes
            one_hot = index[:, None] == torch.arange(part.classes, device=device)
            latents.append(index if part.encoding == "index" else one_hot.to(torch.float32))
            continue
        if part.prior == "uniform":
            low, high = float(part.low or -1), float(part.high or 1)
            values = torch.rand(shape, generator=generator) * (high - low) + low
        else:
            values = torch.randn(shape, generator=generator)
        latents.append(values.to(device))
    return latents


def check_range(found: Probe, output_range: tuple[str, str], where: str) -> None:
    """Refuse outputs outside the declared range. Raises GeneratorError naming both."""
    extent = found.extent()
    if extent is None:
        return
    low, high = float(output_range[0]), float(output_range[1])
    if extent[0] < low - RANGE_TOLERANCE or extent[1] > high + RANGE_TOLERANCE:
        raise GeneratorError(
            "the model's output leaves the declared range",
            where=f"{where}: output.range",
            expected=f"[{output_range[0]}, {output_range[1]}]",
            found=f"values from {extent[0]:.6g} to {extent[1]:.6g}",
        )


def guess_range(found: Probe) -> tuple[str, str] | None:
    """Return [-1, 1] or [0, 1] if the output clearly has that range, else None."""
    extent = found.extent()
    if extent is None:
        return None
    low, high = extent
    if -1.0 <= low < -0.05 and high <= 1.0:
        return "-1", "1"
    if 0.0 <= low < 0.45 and 0.55 < high <= 1.0:
        return "0", "1"
    return None


def _find_batching(loaded: LoadedModule, latents: Sequence[Tensor], where: str) -> Batching:
    """Return how the module takes several samples. Raises GeneratorError if it does not."""
    if loaded.static_batch not in {None, 1}:
        raise _static(where, f"a batch of {loaded.static_batch}")
    problem = "a batch of 1"
    if loaded.static_batch is None:
        error = _attempt(loaded, latents, "together")
        if error is None:
            return "together"
        problem = last_line(error)
    if (error := _attempt(loaded, latents, "loop")) is not None:
        raise GeneratorError(
            "the model refuses latents of this shape",
            where=where,
            expected=f"inputs of {describe_shapes(latents)} to give as many pictures",
            found=last_line(error),
            hint="Check [latent] shape. A model exported for several samples at once must be "
            "exported again with a dynamic batch.",
        ) from error
    if _attempt(loaded, latents, "vmap") is None:
        return "vmap"
    if loaded.static_batch == 1 or loaded.format in {"torchscript", "torch-export", "onnx"}:
        return "loop"
    raise _static(where, problem)


def _attempt(
    loaded: LoadedModule, latents: Sequence[Tensor], batching: Batching
) -> Exception | None:
    """Return what went wrong when the module was run this way."""
    try:
        with torch.no_grad():
            pictures = as_pictures(run_batched(loaded.forward, latents, batching))
    except torch.OutOfMemoryError:
        raise
    except GeneratorError as error:
        # Not a picture at all: no other way of running it will help.
        if batching == "together" and error.what.startswith("the model does not return"):
            raise
        return error
    except Exception as error:  # noqa: BLE001 -- a model may raise anything
        return error
    if len(pictures) != len(latents[0]):
        return ValueError(f"{len(latents[0])} latents give {len(pictures)} pictures")
    return None


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; NaN agrees with NaN and with nothing else."""
    if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
        return math.inf
    same = (one == other) | one.isnan()
    if bool(same.all()):
        return 0.0
    return float((one - other)[~same].abs().max())


def _static(where: str, found: str) -> GeneratorError:
    return GeneratorError(
        "the model was exported for a fixed number of samples",
        where=where,
        expected="a dynamic batch, or a batch of 1",
        found=found,
        hint=(
            "Export it with a dynamic batch: torch.export.export(model, (z,), "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)) with a z of 2 samples."
        ),
    )
