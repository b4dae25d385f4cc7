"""What every ONNX operator gets and gives, and the table in which the operators are entered.

An operator is a function of a `Call`; it is written with torch functions that have forward-mode
and reverse-mode derivatives and work under `torch.func.vmap`. What an operator does not know, an
attribute or a value of one, it refuses by name; it never comes near.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deniability.errors import GeneratorError


@dataclass(frozen=True)
class Call:
    """One node of the graph with its inputs.

    Attributes:
        kind: the operator, such as "Conv".
        label: how messages name the node.
        version: of the operator set of the graph.
        inputs: tensors in order; None where an optional input is left out.
        attributes: what the node states.
        outputs: how many outputs are asked for.

    """

    kind: str
    label: str
    version: int
    inputs: tuple[Tensor | None, ...]
    attributes: Mapping[str, Any]
    outputs: int

    def needed(self, index: int) -> Tensor:
        """Return an input. Raises GeneratorError if it is left out."""
        value = self.optional(index)
        if value is None:
            raise self.unsupported(f"input {index} left out")
        return value

    def optional(self, index: int) -> Tensor | None:
        """Return an input, or None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integers(self, index: int) -> list[int] | None:
        """Return an input of integers that the graph computes from shapes and constants alone."""
        value = self.optional(index)
        return None if value is None else [int(v) for v in value.reshape(-1).tolist()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def only(self, name: str, default: Any, *allowed: Any) -> Any:
        """Return an attribute. Raises GeneratorError unless it is one of `allowed`."""
        value = self.get(name, default)
        if value not in allowed:
            raise self.unsupported(f"{name} = {value!r}")
        return value

    def axes(self, index: int) -> list[int] | None:
        """Return axes: an attribute in older operator sets, an input in newer ones."""
        stated = self.get("axes")
        return self.integers(index) if stated is None else list(stated)

    def unsupported(self, what: str) -> GeneratorError:
        """Return the error to raise about something that is not known here."""
        return GeneratorError(
            "the ONNX graph uses something that is not supported",
            where=self.label,
            found=f"operator {self.kind} (opset {self.version}) with {what}"[:300],
            hint="Export the generator with torch.export (.pt2) instead, or without it.",
        )


Operator = Callable[[Call], Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Entry:
    """One operator: its function, the attributes it knows, and which inputs describe shapes.

    Inputs from number `host` on are read as numbers and stay in main memory.
    """

    function: Operator
    attributes: frozenset[str]
    host: int | None


class Table:
    """Operators by name."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def operator(
        self, name: str, *attributes: str, host: int | None = None
    ) -> Callable[[Operator], Operator]:
        """Enter a function under `name`, with the attributes that it knows."""

        def enter(function: Operator) -> Operator:
            self.entries[name] = Entry(function, frozenset(attributes), host)
            return function

        return enter

    def simple(self, functions: Mapping[str, Callable[..., Tensor]]) -> None:
        """Enter functions of tensors alone, without attributes."""
        for name, function in functions.items():
            self.entries[name] = Entry(_applied(function), frozenset(), None)


def _applied(function: Callable[..., Tensor]) -> Operator:
    def apply(call: Call) -> Tensor:
        return function(*(call.needed(index) for index in range(len(call.inputs))))

    return apply


def per_channel(values: Tensor, axes: int) -> Tensor:
    """Return `values` (C) so that they broadcast over N x C x … of that many axes."""
    return values.reshape(1, -1, *([1] * (axes - 2)))


#: ONNX element types (TensorProto.DataType) that are computed with.
DTYPES = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
