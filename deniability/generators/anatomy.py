"""What a generator is made of: its layers and operations, with their parameters and arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deniability.generators.base import Generator
from deniability.generators.flops import FlopCounter, count_flops

#: Formats whose modules are compiled or flattened into one graph: a forward pass does not go
#: through them one by one.
_GRAPHS = frozenset({"torchscript", "torch-export", "onnx"})


@dataclass(frozen=True)
class Layer:
    """A module of the network.

    Attributes:
        name: with dots, as in a state dict; empty for the network itself.
        kind: its class.
        parameters: numbers in its own weights, not in those of modules within it.
        output: shape of what it returned for one picture, without the batch axis; None if it
            returned no tensor, or cannot be observed.
        flops: of its own operations for one picture; None where it cannot be observed.

    """

    name: str
    kind: str
    parameters: int
    output: tuple[int, ...] | None
    flops: int | None


@dataclass(frozen=True)
class Operation:
    """An operator of torch: how often it ran for one picture, and its FLOPs."""

    name: str
    calls: int
    flops: int


@dataclass(frozen=True)
class Anatomy:
    """A generator taken apart.

    Attributes:
        layers: in the order of the network; those without weights and FLOPs that only hold others
            are left out.
        visible: whether outputs and FLOPs of single layers could be observed.
        operations: all that ran for one picture, the most FLOPs first.
        parameters: numbers in all weights, each tensor once.
        constants: floating-point numbers in buffers. Of ONNX files these are the weights.
        flops: of one picture's forward pass, two for each multiply-add.
        uncounted: operators that ran and have no formula; `flops` lacks them.

    """

    layers: tuple[Layer, ...]
    visible: bool
    operations: tuple[Operation, ...]
    parameters: int
    constants: int
    flops: int
    uncounted: tuple[str, ...]


def dissect(generator: Generator) -> Anatomy:
    """Run the generator on one latent (zeros) and list what it is made of.

    Raises:
        GeneratorError: the model failed.

    """
    module = generator.module
    visible = generator.spec.format not in _GRAPHS
    latent = torch.zeros(1, generator.dimension, device=generator.device)
    counter = FlopCounter()
    watch = _Watch(module, counter)

    def run() -> None:
        with watch.hooked() if visible else contextlib.nullcontext():
            generator(latent)

    count_flops(run, counter)
    return Anatomy(
        layers=tuple(watch.layers(visible=visible)),
        visible=visible,
        operations=tuple(_operations(counter)),
        parameters=sum(weight.numel() for weight in module.parameters()),
        constants=sum(b.numel() for b in module.buffers() if b.is_floating_point()),
        flops=counter.total,
        uncounted=tuple(counter.uncounted),
    )


def _operations(counter: FlopCounter) -> list[Operation]:
    found = [Operation(n, calls, counter.flops.get(n, 0)) for n, calls in counter.calls.items()]
    return sorted(found, key=lambda o: (-o.flops, -o.calls, o.name))


class _Watch:
    """Follows which module is running, and gives each the FLOPs of its own operations."""

    def __init__(self, module: nn.Module, counter: FlopCounter) -> None:
        self._module = module
        self._counter = counter
        self._flops: dict[str, int] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}
        self._stack: list[str] = []
        self._counted = 0

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Have every module tell when it begins and ends."""
        handles = []
        for name, module in self._module.named_modules():
            handles += [
                module.register_forward_pre_hook(self._entering(name)),
                module.register_forward_hook(self._leaving(name)),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._settle()
            self._stack.append(name)

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            self._settle()
            self._stack.pop()
            if isinstance(output, Tensor):
                self._outputs[name] = tuple(output.shape[1:])

        return hook

    def _settle(self) -> None:
        """Enter what was counted since the last time for the module that is running."""
        total = self._counter.total
        if self._stack:
            name = self._stack[-1]
            self._flops[name] = self._flops.get(name, 0) + total - self._counted
        self._counted = total

    def layers(self, *, visible: bool) -> Iterator[Layer]:
        """Yield the modules that are leaves, have weights of their own, or computed something."""
        for name, module in self._module.named_modules():
            own = sum(weight.numel() for weight in module.parameters(recurse=False))
            leaf = next(module.children(), None) is None and bool(name)
            if leaf or own or self._flops.get(name):
                yield Layer(
                    name=name,
                    kind=str(getattr(module, "original_name", type(module).__name__)),
                    parameters=own,
                    output=self._outputs.get(name),
                    flops=self._flops.get(name, 0) if visible else None,
                )
