"""What makes the search fast, and what does not: one change at a time on the same targets.

    python benchmarks/ablation.py                      # built-in generator and face DCGAN

Every variant gets the same own 8-bit outputs and the same start (the encoder's guess, one restart
each) in one process; CPU seconds count, the least of --rounds by turns. Variants are subclasses and
patches of this file; the product has the first row. Jacobians that compute the same numbers in
another way are compared by the time of one. The matrix-free solver is compared with the dense one
on a synthetic generator of growing latent.
"""

# ruff: noqa: SLF001 - variants change the parts of solvers

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from ablation_variants import (
    SHARE,
    Broyden,
    GainRatio,
    PixelLoss,
    TrustRegion,
    by_jacfwd,
    by_reverse,
    coarse,
    half_precision,
    random_block,
)
from counting import Cost, counted
from setting import (
    Setting,
    common_options,
    load_setting,
    load_settings,
    machine,
    start_seed,
    table,
    write,
)
from torch import Tensor, nn

from deniability.evidence import procedure as procedures
from deniability.evidence.procedure import train_encoder
from deniability.evidence.progress import Silent
from deniability.imaging.handling import Observations
from deniability.inversion import jacobian as jacobians
from deniability.inversion import lm
from deniability.inversion.engine import Engine
from deniability.inversion.gncg import GaussNewtonCG
from deniability.inversion.jacobian import Jacobian
from deniability.inversion.lm import LevenbergMarquardt
from deniability.inversion.objective import Objective, composed
from deniability.inversion.products import Products
from deniability.inversion.solution import Stop
from deniability.inversion.starts import Starts

_REVERSIBLE = 4096  # most coordinates for which a Jacobian by reverse mode is timed
_RADIUS = 4.0  # of the first trust region, in latent numbers
_SQUARE, _COARSE = 4, 10  # side of the squares in a coarse picture, and steps on it at most
_EARLY, _STARTS = 8, 8  # steps after which restarts are halved, and how many there are


@contextmanager
def _changed(module: Any, **names: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in names.items():
            stack.enter_context(mock.patch.object(module, name, value))
        yield


@dataclass(frozen=True)
class Variant:
    """A search that differs from the product in one respect."""

    name: str
    solver: LevenbergMarquardt
    module: Any = lm
    change: Callable[[], dict[str, Any]] = dict
    setting: Setting | None = None


@dataclass
class Row:
    """What a variant found and took; the least seconds of all rounds."""

    name: str
    found: int
    targets: int
    equivalents: float
    seconds: float


def variants(setting: Setting) -> list[Variant]:
    """List the searches, the product's first."""
    dense = LevenbergMarquardt(setting.protocol.iterations)
    found = [
        Variant("product", dense),
        Variant("no chord steps", dense, change=lambda: {"_CHORDS": 0}),
        Variant("Broyden updates, not plain chord steps", Broyden(dense.max_iterations)),
        Variant("one trial damping (0.3), not four", dense, change=lambda: {"_TRIALS": (0.3,)}),
        Variant(
            "one trial, damping by gain ratio",
            GainRatio(dense.max_iterations),
            change=lambda: {"_TRIALS": (1.0,)},
        ),
        Variant("trust region", TrustRegion(dense.max_iterations, damping=_RADIUS)),
        Variant(
            f"JᵀJ from a random {SHARE:.0%} of the coordinates",
            dense,
            change=lambda: {"_linearised": random_block(lm._linearised)},
        ),
        Variant(
            "Jacobian in bfloat16",
            dense,
            jacobians,
            lambda: {"_by_vmap": half_precision(jacobians._by_vmap)},
        ),
    ]
    with mock.patch("deniability.generators.state_dict.fold_batch_norms", lambda module: module):
        bare = load_setting(setting.name, setting.training.outputs).generator
    found.append(Variant("batch norm not folded", dense, setting=replace(setting, generator=bare)))
    last = load_setting(setting.name, setting.training.outputs).generator
    for layer in last.module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found.append(Variant("channels last", dense, setting=replace(setting, generator=last)))
    return found


def search(setting: Setting, variant: Variant, targets: Observations) -> tuple[int, Cost]:
    """Run one restart on every target from the encoder's guess."""
    chosen = variant.setting or setting
    engine = Engine(
        generator=chosen.generator,
        handling=setting.handling,
        solver=variant.solver,
        starts=Starts(chosen.generator, setting.encoder),
        restarts=1,
        threshold=setting.resolution,
        resolution=setting.resolution,
    )
    with _changed(variant.module, **variant.change()), counted(chosen.generator) as cost:
        traces = engine.run(targets, lambda *_: b"")
    return sum(t.restarts[0].stop is Stop.REACHED for t in traces), cost


def compare(setting: Setting, count: int, rounds: int) -> list[Row]:
    """Run all variants by turns."""
    targets = setting.targets(count)
    rows: dict[str, Row] = {}
    listed = variants(setting)
    for _ in range(rounds):
        for variant in listed:
            found, cost = search(setting, variant, targets)
            row = rows.setdefault(
                variant.name,
                Row(variant.name, found, count, cost.equivalents, float("inf")),
            )
            row.seconds = min(row.seconds, cost.cpu_seconds)
    return list(rows.values())


def encoders(setting: Setting, sizes: list[int], count: int) -> list[Row]:
    """Run the product with encoders that saw more or fewer outputs."""
    rows = []
    for size in sizes:
        other = load_setting(setting.name, size)
        plain = Variant("", LevenbergMarquardt(setting.protocol.iterations))
        found, cost = search(other, plain, other.targets(count))
        name = f"{size} outputs, {other.training.seconds:.0f} s of training"
        rows.append(Row(name, found, count, cost.equivalents, cost.cpu_seconds))
    return rows


def by_pixels(setting: Setting, count: int) -> Row:
    """Run the product with an encoder whose loss is on pixels too."""
    size, begun = setting.training.outputs, time.perf_counter()
    with _changed(procedures, EncoderTraining=PixelLoss):
        encoder = train_encoder(
            setting.generator, setting.model, setting.protocol, state=None, progress=Silent()
        )
    seconds = time.perf_counter() - begun
    assert encoder is not None, "the protocol trains an encoder"
    other = replace(setting, encoder=encoder)
    plain = Variant("", LevenbergMarquardt(setting.protocol.iterations))
    found, cost = search(other, plain, other.targets(count))
    name = f"{size} outputs, loss in latent and pixels, {seconds:.0f} s of training"
    return Row(name, found, count, cost.equivalents, cost.cpu_seconds)


def coarse_to_fine(setting: Setting, count: int) -> list[Row]:
    """From one prior start each: on pixels at once, or on means over squares first."""
    targets, generator = setting.targets(count), setting.generator
    spec, solver = generator.spec, LevenbergMarquardt(setting.protocol.iterations)
    starts, seed = Starts(generator, None), start_seed("ablation-start")
    latents = torch.stack([starts.latent(0, seed(index, 0), None) for index in range(count)])
    forward = composed(generator, setting.handling.operator)
    objective = Objective(
        forward,
        Jacobian(forward, generator.dimension),
        targets.low,
        targets.high,
        targets.centre,
        setting.handling.slack,
    )
    shape = (spec.channels, spec.height, spec.width)
    rows = []
    for name, first in (
        ("on pixels at once", None),
        (
            f"on means over {_SQUARE} × {_SQUARE} pixels first, {_COARSE} steps at most",
            coarse(objective, generator.dimension, shape, _SQUARE),
        ),
    ):
        with counted(generator) as cost:
            begun = latents
            if first is not None:
                state = solver.init(first, begun)
                for _ in range(_COARSE):
                    going = torch.tensor([r is None for r in solver.terminate(state, 0.0)])
                    if not bool(going.any()):
                        break
                    rows_left = going.nonzero()[:, 0]
                    part = solver.step(first.rows(rows_left), state.rows(rows_left))
                    state = state.replaced(rows_left, part)
                begun = state.latents
            engine = Engine(
                generator, setting.handling, solver, starts, 1,
                setting.resolution, setting.resolution,
            )  # fmt: skip
            found = sum(r.stop is Stop.REACHED for r in engine.from_latents(targets, begun))
        rows.append(Row(name, found, count, cost.equivalents, cost.cpu_seconds))
    return rows


def halving(setting: Setting, count: int) -> list[Row]:
    """From prior starts: restarts in order, or all at once with most dropped early.

    Of eight starts three go on after eight steps: the best two and a random one of the others.
    """
    targets, generator = setting.targets(count), setting.generator
    solver = LevenbergMarquardt(setting.protocol.iterations)
    starts = Starts(generator, None)
    bound = setting.resolution
    engine = Engine(generator, setting.handling, solver, starts, _STARTS, bound, setting.resolution)
    seed = start_seed("ablation-start")
    with counted(generator) as cost:
        traces = engine.run(targets, seed)
    found = sum(any(r.stop is Stop.REACHED for r in t.restarts) for t in traces)
    rows = [Row("restarts in order", found, count, cost.equivalents, cost.cpu_seconds)]
    forward = composed(generator, setting.handling.operator)
    jacobian = Jacobian(forward, generator.dimension)
    stream, found = torch.Generator().manual_seed(0), 0
    with counted(generator) as cost:
        for index in range(count):
            one = targets[torch.full((_STARTS,), index)]
            objective = Objective(
                forward, jacobian, one.low, one.high, one.centre, setting.handling.slack
            )
            latents = torch.stack([starts.latent(j, seed(index, j), None) for j in range(_STARTS)])
            state = solver.init(objective, latents)
            for step in range(solver.max_iterations):
                reasons = solver.terminate(state, bound)
                going = torch.tensor([j for j, r in enumerate(reasons) if r is None])
                if Stop.REACHED in reasons or not len(going):
                    break
                if step == _EARLY and len(going) > 3:
                    order = state.loss[going].argsort()
                    other = int(torch.randint(2, len(order), (1,), generator=stream))
                    going = going[order[[0, 1, other]]]
                state, objective = state.rows(going), objective.rows(going)
                state = solver.step(objective, state)
            found += Stop.REACHED in solver.terminate(state, bound)
    name = "all at once, three of eight go on"
    return [*rows, Row(name, found, count, cost.equivalents, cost.cpu_seconds)]


def jacobian_ways(setting: Setting, restarts: int, rounds: int) -> list[tuple[str, str]]:
    """Time ways to compute one and the same Jacobian, by turns; ms for each latent."""
    forward = composed(setting.generator, setting.handling.operator)
    dimension = setting.generator.dimension
    latents = torch.randn(restarts, dimension, generator=torch.Generator().manual_seed(0))
    ways = {
        "vmap(jvp), the product": jacobians._by_vmap,
        "dual numbers on an expanded batch": jacobians._by_expansion,
        "torch.func.jacfwd, latent by latent": by_jacfwd,
        "vmap(vjp)": by_reverse,
    }
    best: dict[str, float] = {}
    told: dict[str, str] = {}
    jacobian = Jacobian(forward, dimension)
    if setting.handling.operator(setting.generator(latents[:1])).shape[1] > _REVERSIBLE:
        del ways["vmap(vjp)"]  # one pass for each coordinate: minutes
    exact = jacobian(latents)
    for _ in range(rounds):
        for name, way in ways.items():
            few = latents[:1] if way is by_reverse else latents
            jacobian._push = way
            start = time.process_time()
            try:
                value = jacobian(few)
            except Exception as error:  # noqa: BLE001 - that it fails is a result
                told[name] = f"fails: {str(error).strip().splitlines()[0][:80]}"
                continue
            seconds = (time.process_time() - start) / len(few)
            best[name] = min(seconds, best.get(name, seconds))
            off = float((value - exact[: len(few)]).abs().max())
            told[name] = f"{1e3 * best[name]:.1f} (largest difference {off:.0e})"
    return list(told.items())


def compiled(setting: Setting, rows: int) -> str:
    """Say what torch.compile does for a forward pass, or why it does not work."""
    latents = torch.randn(rows, setting.generator.dimension)

    def best(run: Callable[[Tensor], Tensor]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            run(latents)
            times.append(time.process_time() - start)
        return min(times)

    start = time.perf_counter()
    try:
        with torch.no_grad():
            quick = torch.compile(setting.generator.module)
            quick(latents)
            taken = time.perf_counter() - start
            plain, fast = best(setting.generator.module), best(quick)
    except Exception as error:  # noqa: BLE001 - that it fails is a result
        return f"does not work here: {str(error).strip().splitlines()[0][:120]}"
    return (
        f"{taken:.0f} s to compile; a forward pass of {rows} latents takes {1e3 * fast:.1f} ms "
        f"instead of {1e3 * plain:.1f}"
    )


def matrix_free(dimensions: list[int]) -> list[tuple[object, ...]]:
    """Compare both second-order solvers on a curved generator with 1.5 d coordinates."""
    rows: list[tuple[object, ...]] = []
    for d in dimensions:
        stream = torch.Generator().manual_seed(d)
        strength = torch.logspace(0.3, -1.2, d)[:, None]
        matrix = strength * torch.randn(d, 3 * d // 2, generator=stream) / d**0.5
        products = 0

        def forward(z: Tensor, matrix: Tensor = matrix) -> Tensor:
            return torch.tanh(z @ matrix)

        truth = torch.randn(2, d, generator=stream)
        centre = (forward(truth) * 127.5).round() / 127.5
        half = 0.5 / 127.5
        objective = Objective(
            forward, Jacobian(forward, d), centre - half, centre + half, centre, 0.0
        )
        results: list[object] = [d]
        for solver in (LevenbergMarquardt(50), GaussNewtonCG(50, 64)):
            pull, push = Products.pull, Products.push

            def note(inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
                def call(self: Products, vectors: Tensor) -> Tensor:
                    nonlocal products
                    products += len(vectors)
                    return inner(self, vectors)

                return call

            start = time.process_time()
            with _changed(Products, pull=note(pull), push=note(push)):
                state: Any = solver.init(objective, torch.zeros_like(truth))
                for _ in range(51):
                    reasons = solver.terminate(state, 1e-9)
                    if all(reasons):
                        break
                    state = solver.step(objective, state)
            seconds = time.process_time() - start
            reached = sum(reason is Stop.REACHED for reason in reasons)
            steps = float(state.iterations.double().mean())
            work = steps * d if isinstance(solver, LevenbergMarquardt) else products / 2
            results += [f"{reached} of 2", f"{work:.0f}", f"{seconds / 2:.2f}"]
        rows.append(tuple(results))
    return rows


def shown(rows: list[Row]) -> list[tuple[object, ...]]:
    """Format rows with their cost for each target that was found exactly."""
    return [
        (
            r.name,
            f"{r.found} of {r.targets}",
            f"{r.equivalents / r.found:.0f}" if r.found else "-",
            f"{r.seconds / r.found:.3f}" if r.found else "-",
        )
        for r in rows
    ]


def page(setting: Setting, options: argparse.Namespace) -> None:
    """Measure on one generator, and write its page."""
    heads = ("variant", "found exactly", "forward-equivalents per find", "CPU seconds per find")
    small = setting.name == "builtin"
    count = options.targets if small else options.face_targets
    rounds = options.rounds if small else 1
    rows = compare(setting, count, rounds)
    ways = jacobian_ways(setting, 4, rounds)
    text = [
        f"# What made the search fast, and what did not: {setting.name}\n\n"
        f"{machine(options.device)}. Encoder of {setting.training.outputs} outputs.",
        table(heads, shown(rows)),
        table(("one Jacobian", "CPU ms per latent"), ways),
    ]
    data: dict[str, object] = {"variants": [vars(r) for r in rows], "jacobian": dict(ways)}
    from_afar = coarse_to_fine(setting, count)
    text.append(table(("one start from the prior", *heads[1:]), shown(from_afar)))
    data["coarse"] = [vars(r) for r in from_afar]
    if small:
        trained, halved = encoders(setting, options.encoders, count), halving(setting, count)
        trained.append(by_pixels(setting, count))
        data |= {"encoders": [vars(r) for r in trained], "halving": [vars(r) for r in halved]}
        data["compile"] = compiled(setting, 64)
        text.append(table(("encoder", *heads[1:]), shown(trained)))
        text.append(table(("restarts from the prior", *heads[1:]), shown(halved)))
        text.append(f"`torch.compile`: {data['compile']}.")
    write(options.out, f"ablation-{setting.name}-cpu", "\n\n".join(text), data)


def main() -> None:
    """Measure and write a page for each generator, and one for large latents."""
    parser = common_options(__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=32, help="of the built-in generator")
    parser.add_argument("--face-targets", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--encoders", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    parser.add_argument("--dimensions", type=int, nargs="*", default=[16, 64, 256, 512, 1024])
    parser.set_defaults(encoder_outputs=5_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.dimensions:
        free = matrix_free(options.dimensions)
        names = ("d", "dense: found", "tangents", "s", "matrix-free: found", "products", "s")
        text = f"# Dense and matrix-free, per target\n\n{machine('cpu')}.\n\n{table(names, free)}"
        write(options.out, "ablation-large-cpu", text, [list(row) for row in free])
    for setting in load_settings(options):
        page(setting, options)


if __name__ == "__main__":
    main()
