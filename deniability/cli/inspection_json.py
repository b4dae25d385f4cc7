"""The JSON of `deny inspect MODEL --json`; times are seconds, sizes bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from deniability.evidence.estimate import BASIS
from deniability.evidence.subject import describe_environment

if TYPE_CHECKING:
    from deniability.evidence.estimate import Costs, Estimate
    from deniability.generators.anatomy import Anatomy
    from deniability.generators.base import Generator
    from deniability.inversion.cost import StepCost, Timing


def describe(generator: Generator, anatomy: Anatomy, costs: Costs) -> dict[str, Any]:
    """Return all that is known of a model, as JSON has it."""
    free = generator.dimension if generator.free is None else len(generator.free)
    environment = describe_environment(generator.device)
    return {
        "kind": "model",
        "digest": generator.digest,
        "weights": generator.weights_digest,
        "files": [{"name": f.path, "size": f.size, "sha256": f.sha256} for f in generator.files],
        "generator": generator.spec.to_wire(),
        "dimension": generator.dimension,
        "tangents": free,
        "batching": generator.batching,
        "parameters": anatomy.parameters,
        "constants": anatomy.constants,
        "layersObserved": anatomy.visible,
        "layers": [
            {
                "name": layer.name,
                "type": layer.kind,
                "parameters": layer.parameters,
                "output": None if layer.output is None else list(layer.output),
                "flops": layer.flops,
            }
            for layer in anatomy.layers
        ],
        "operations": [
            {"name": o.name, "calls": o.calls, "flops": o.flops} for o in anatomy.operations
        ],
        "flops": {
            "forward": anatomy.flops or None,
            "jacobian": free * anatomy.flops or None,
            "jacobianCounted": costs.jacobian_flops,
            "uncounted": list(anatomy.uncounted),
        },
        "device": {
            "name": environment.device,
            "type": generator.device.type,
            "threads": environment.threads,
            "torch": str(torch.__version__),
        },
        "measured": {
            "matrix": {"side": costs.matrix_side, "flopsPerSecond": costs.matrix_rate},
            "forward": _timing(costs.forward),
            "encoderTraining": _timing(costs.training),
            "steps": [
                {"solver": solver, **_step(cost), "secondsForOnePicture": costs.few[solver].seconds}
                for solver, cost in costs.steps.items()
            ],
            "problems": dict(costs.problems),
            "cpuShare": costs.cpu_share,
        },
        "estimates": [_estimate(estimate) for estimate in costs.estimates],
        "basis": " ".join(BASIS),
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {"batch": timing.rows, "seconds": timing.seconds}


def _step(cost: StepCost) -> dict[str, Any]:
    return {
        "batch": cost.rows,
        "seconds": cost.seconds,
        "measured": cost.measured,
        "restartBytes": cost.restart_bytes,
        "peakBytes": cost.peak_bytes,
        "fits": cost.fits,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    protocol = estimate.protocol
    times = {"register": estimate.register, "reached": estimate.reached, "missed": estimate.missed}
    return {
        "preset": protocol.name,
        "solver": estimate.solver,
        "controls": protocol.controls,
        "restarts": protocol.restarts,
        "encoderOutputs": protocol.encoder_outputs,
        **{name: None if value is None else list(value) for name, value in times.items()},
        "whyNot": estimate.why_not,
    }
