"""How much of the machine's matrix rate a dense Jacobian reaches.

    python benchmarks/roofline.py                      # face DCGAN and built-in generator

Counts the generator's FLOPs, measures the float32 rate of large matrix products and of the
generator's own layers on as many rows, and times the Jacobian, by turns and in one run, so that a
busy machine slows all of them alike. The best of several rounds counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from setting import Setting, common_options, forward_flops, load_settings, machine, table, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deniability.inversion.jacobian import Jacobian
from deniability.inversion.objective import composed

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_SIDE = 2048  # of the large matrices


@dataclass(frozen=True)
class Layer:
    """A layer with weights and the input that it gets for one latent."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Rate:
    """FLOPs of something and the least seconds that it took."""

    name: str
    flops: int
    seconds: float

    @property
    def giga(self) -> float:
        """GFLOP/s."""
        return self.flops / self.seconds / 1e9


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call; with one CPU thread those that it really had."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    with torch.no_grad():
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def layers_of(setting: Setting) -> list[Layer]:
    """List the generator's layers with weights, by a forward pass with hooks."""
    found: list[Layer] = []
    hooks = []
    for name, module in setting.generator.module.named_modules():
        if isinstance(module, _LAYERS):

            def note(layer: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                found.append(Layer(name, layer, tuple(inputs[0].shape[1:])))

            hooks.append(module.register_forward_pre_hook(note))
    device = setting.generator.device
    with torch.no_grad():
        setting.generator(torch.zeros(1, setting.generator.dimension, device=device))
    for hook in hooks:
        hook.remove()
    return found


def measure(setting: Setting, restarts: int, rounds: int) -> tuple[list[Rate], dict[str, float]]:
    """Time everything by turns; return the rates and what follows from them."""
    generator = setting.generator
    device, dimension = generator.device, generator.dimension
    stream = torch.Generator().manual_seed(0)
    latents = torch.randn(restarts, dimension, generator=stream).to(device)
    left = torch.randn(_SIDE, _SIDE, generator=stream).to(device)
    right = torch.randn(_SIDE, _SIDE, generator=stream).to(device)
    lanes = 256 if device.type == "cpu" else 4096
    jacobian = Jacobian(composed(generator, setting.handling.operator), dimension, lanes=lanes)
    one = forward_flops(generator, latents[:1])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        jacobian(latents)
    counted = int(counter.get_total_flops())
    tangents = one * restarts * dimension  # the least that a dense Jacobian pushes forward

    rows = min(lanes, restarts * dimension)
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        f"matrix product, {_SIDE} × {_SIDE}": (2 * _SIDE**3, lambda: left @ right)
    }
    layers = layers_of(setting)
    for layer in layers:
        batch = torch.randn(rows, *layer.shape, generator=stream).to(device)
        flops = forward_flops(layer.module, batch[:1]) * rows
        runs[f"layer {layer.name}, input {' × '.join(map(str, batch.shape))}"] = (
            flops,
            lambda layer=layer, batch=batch: layer.module(batch),
        )
    wide = torch.randn(rows, dimension, generator=stream).to(device)
    runs[f"forward pass, {rows} latents"] = (one * rows, lambda: generator(wide))
    runs[f"Jacobian, {restarts} latents × {dimension}"] = (tangents, lambda: jacobian(latents))
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name, (_, run) in runs.items():
            seconds = timed(run, device)
            if turn:  # the first round only warms up
                best[name] = min(best[name], seconds)
    rates = [Rate(name, flops, best[name]) for name, (flops, _) in runs.items()]
    own = rates[1 : 1 + len(layers)]
    layered = sum(r.flops for r in own) / sum(r.seconds for r in own) / 1e9
    last = rates[-1]
    return rates, {
        "forward_flops": one,
        "jacobian_flops_least": tangents / restarts,
        "jacobian_flops_counted": counted / restarts,
        "matrix_gflops": rates[0].giga,
        "layers_gflops": layered,
        "jacobian_gflops": last.giga,
        "of_matrix_rate": last.giga / rates[0].giga,
        "of_layer_rate": last.giga / layered,
        "of_fastest": last.giga / max(r.giga for r in rates),
        "executed_of_matrix_rate": counted / last.seconds / 1e9 / rates[0].giga,
    }


def describe(setting: Setting, rates: list[Rate], facts: dict[str, float], device: str) -> str:
    """Write the page of one generator."""
    rows = [
        (r.name, f"{r.flops / 1e9:.2f}", f"{1e3 * r.seconds:.1f}", f"{r.giga:.1f}",
         f"{r.giga / rates[0].giga:.0%}")
        for r in rates
    ]  # fmt: skip
    heads = ("what", "GFLOP", "ms, best", "GFLOP/s", "of the matrix rate")
    waste = facts["jacobian_flops_counted"] / facts["jacobian_flops_least"]
    return (
        f"# Arithmetic of a dense Jacobian: {setting.name}\n\n{machine(device)}, float32.\n\n"
        f"- one forward pass: {facts['forward_flops'] / 1e6:.1f} MFLOP\n"
        f"- one Jacobian, {setting.generator.dimension} tangents: at least "
        f"{facts['jacobian_flops_least'] / 1e9:.2f} GFLOP, counted "
        f"{facts['jacobian_flops_counted'] / 1e9:.2f} ({waste:.2f} times; the primal passes)\n"
        f"- **the Jacobian reaches {facts['of_matrix_rate']:.0%} of the rate of a large matrix "
        f"product** (useful FLOPs only; {facts['executed_of_matrix_rate']:.0%} with all that is "
        f"executed), {facts['of_fastest']:.0%} of the fastest rate of anything measured, and "
        f"{facts['of_layer_rate']:.0%} of what the generator's own layers reach one by one\n\n"
        f"{table(heads, rows)}"
    )


def main() -> None:
    """Measure and write a page for each generator."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=16, help="latents per Jacobian")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for setting in load_settings(options):
        rates, facts = measure(setting, options.restarts, options.rounds)
        text = describe(setting, rates, facts, options.device)
        data = {"machine": machine(options.device), "facts": facts,
                "rates": [vars(r) for r in rates]}  # fmt: skip
        write(options.out, f"roofline-{setting.name}-{setting.generator.device.type}", text, data)


if __name__ == "__main__":
    main()
