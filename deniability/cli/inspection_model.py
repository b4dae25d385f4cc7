"""`deny inspect MODEL`: what a model is made of and what searching it costs here, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deniability.cli.options import Device, choose_device
from deniability.cli.quantities import big, duration, memory, shape, span, table
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.evidence.estimate import Costs, Estimate
    from deniability.generators.anatomy import Anatomy
    from deniability.generators.base import Generator
    from deniability.generators.options import ModelOptions
    from deniability.inversion.cost import StepCost
    from deniability.wire.generator import GeneratorSpec

_UNVERIFIED = (
    "Nothing here was verified. The model was run in this process, without isolation, to count and "
    "measure."
)
_ROWS = 64  # of a table
_BUSY = 0.6  # of its threads' time: single-threaded parts alone take it below 1
_SOLVERS = {
    "levenberg-marquardt": "dense Levenberg-Marquardt (a Jacobian per step)",
    "gauss-newton-cg": "matrix-free Gauss-Newton-CG",
    "adam": "Adam (gradient steps)",
}


def show_model(model: str, options: ModelOptions, device: Device, out: Output) -> dict[str, Any]:
    """Load, run and measure a model, write what was found, and return it for `--json`.

    Raises:
        DeniabilityError: as `load_generator`, and where the model fails in its forward pass.

    """
    out.note("Loading and running the model, as you; measuring takes some seconds.")
    from deniability.cli.inspection_json import describe  # noqa: PLC0415
    from deniability.evidence.estimate import measure_costs  # noqa: PLC0415
    from deniability.generators.anatomy import dissect  # noqa: PLC0415
    from deniability.generators.load import load_generator  # noqa: PLC0415

    generator = load_generator(model, device=choose_device(device), options=options)
    anatomy = dissect(generator)
    costs = measure_costs(generator)
    out.line(_UNVERIFIED)
    _identity(out, model, generator)
    _layers(out, generator.spec, anatomy)
    _arithmetic(out, generator, anatomy, costs)
    _measured(out, generator, anatomy, costs)
    _estimates(out, costs)
    content = describe(generator, anatomy, costs)
    return {"verified": False, "file": model, "content": content}


def _identity(out: Output, model: str, generator: Generator) -> None:
    spec = generator.spec
    out.field("model", model)
    out.field("format", spec.format + (f", built by {spec.factory}" if spec.factory else ""))
    out.field("digest", f"sha256:{generator.digest}")
    for file in generator.files:
        out.field("file", f"{file.path}, {file.size} bytes, sha256:{file.sha256}")
    for part in spec.latent:
        if part.classes is not None:
            said = f"label, {part.classes} classes, taken as {part.encoding}"
        else:
            bounds = f" from {part.low} to {part.high}" if part.prior == "uniform" else ""
            said = f"{part.size} numbers ({shape(part.shape)}), {part.prior}{bounds}"
        out.field("latent", f"{part.name}: {said}")
    low, high = spec.output_range
    out.field(
        "output",
        f"{spec.channels} x {spec.height} x {spec.width}, range {low} to {high}, "
        f"8-bit pixels by {'rounding' if spec.rounding == 'round' else 'truncating'}",
    )
    out.field("entropy", f"{spec.entropy.source}, {spec.entropy.seed_bits} seed bits")


def _layers(out: Output, spec: GeneratorSpec, anatomy: Anatomy) -> None:
    constants = f", and {anatomy.constants:,} numbers in buffers" if anatomy.constants else ""
    out.field("parameters", f"{anatomy.parameters:,}{constants}")
    if anatomy.visible or anatomy.layers:
        out.line("layers")
        heads = ("name", "type", "parameters", "output", "FLOPs per picture")
        rows = [
            (
                layer.name or "(the network itself)",
                layer.kind,
                f"{layer.parameters:,}",
                "-" if layer.output is None else shape(layer.output),
                "-" if layer.flops is None else f"{layer.flops:,}",
            )
            for layer in anatomy.layers
        ]
        _table(out, heads, rows, "layers")
    if spec.format in {"state-dict", "safetensors"}:
        out.detail("Batch norms that follow a layer were folded into it, as for every search.")
    if not anatomy.visible:
        out.detail(
            "This format is one graph: outputs and FLOPs of its layers cannot be told apart, so "
            "operations were counted as they ran."
        )
        out.line("operations")
        found = [(o.name, f"{o.calls:,}", f"{o.flops:,}") for o in anatomy.operations]
        _table(out, ("name", "calls", "FLOPs per picture"), found, "operations")


def _table(out: Output, heads: Sequence[str], rows: Sequence[Sequence[str]], what: str) -> None:
    for line in table(heads, rows[:_ROWS]):
        out.line(f"  {line}")
    if len(rows) > _ROWS:
        out.line(f"  ... ({len(rows)} {what} in all)")


def _arithmetic(out: Output, generator: Generator, anatomy: Anatomy, costs: Costs) -> None:
    free = generator.dimension if generator.free is None else len(generator.free)
    if not anatomy.flops:
        out.field("FLOPs", "could not be counted: no matrix product or convolution was seen")
    else:
        counted = costs.jacobian_flops
        out.field(
            "FLOPs",
            f"{big(anatomy.flops)} per picture (forward), at least {big(free * anatomy.flops)} per "
            f"Jacobian ({free} tangents)" + (f", counted {big(counted)}" if counted else ""),
        )
    if anatomy.uncounted:
        out.field("not counted", f"{', '.join(anatomy.uncounted)}: FLOPs are more than that")
    out.detail(
        "Two FLOPs for each multiply-add of matrix products and convolutions; what is done number "
        "by number is not counted."
    )


def _measured(out: Output, generator: Generator, anatomy: Anatomy, costs: Costs) -> None:
    import torch  # noqa: PLC0415 - slow

    device, rate = generator.device, costs.matrix_rate
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f", {torch.get_num_threads()} thread(s)" if device.type == "cpu" else ""
    out.field("device", f"{name}{threads}")
    if costs.cpu_share is not None and costs.cpu_share < _BUSY:
        out.detail(
            f"The machine is busy: this process had {costs.cpu_share:.0%} of its threads' time. On "
            "an idle one everything below is faster."
        )
    side = costs.matrix_side
    out.field("matrix rate", f"{big(rate)}FLOP/s (float32 products of {side} x {side})")
    reached = anatomy.flops / costs.forward.seconds
    share = f": {big(reached)}FLOP/s, {reached / rate:.0%} of that" if anatomy.flops else ""
    out.field(
        "forward",
        f"{duration(costs.forward.seconds)} per picture, {costs.forward.rows} at once{share}",
    )
    for solver, cost in costs.steps.items():
        _step(out, _SOLVERS[solver], cost)
    for solver, problem in costs.problems.items():
        out.field("search", f"{_SOLVERS[solver]}: not possible: {problem}")


def _step(out: Output, name: str, cost: StepCost) -> None:
    how = (
        f"{cost.rows} at once"
        if cost.measured
        else "not measured, which would take long: from forward passes"
    )
    out.field("search", f"{name}: {duration(cost.seconds)} per step and restart ({how})")
    peak = "" if cost.peak_bytes is None else f" (peak measured: {memory(cost.peak_bytes)})"
    out.field(
        "memory",
        f"{memory(cost.restart_bytes)} allowed per restart{peak}; batches of up to {cost.fits} fit",
    )


def _estimates(out: Output, costs: Costs) -> None:
    out.line("expected times on this device, an estimate")
    several = len({e.solver for e in costs.estimates}) > 1
    heads = ("preset", "register", "prove: reached", "prove: not found")
    rows = [
        (f"{e.protocol.name} ({e.solver})" if several else e.protocol.name, *_times(e))
        for e in costs.estimates
    ]
    _table(out, heads, rows, "presets")
    from deniability.evidence.estimate import BASIS  # noqa: PLC0415

    if not several:
        out.detail("Versions that are not listed do as an earlier one of that name for this model.")
    for line in BASIS:
        out.detail(line)


def _times(estimate: Estimate) -> tuple[str, ...]:
    times = (estimate.register, estimate.reached, estimate.missed)
    if estimate.why_not is not None:
        return (f"no: {estimate.why_not}", "-", "-")
    return tuple("-" if seconds is None else span(seconds) for seconds in times)
