"""ONNX: the graph is read from its bytes and run here, operator by operator, with torch.

ONNX files hold no code, only a list of operators. It is run by our own interpreter, because what
others offer has no forward-mode derivatives, or converts through packages that a plain
installation of torch lacks (ADR 0013). All operators and attributes are checked before anything
runs; one that is not known is an error, never an approximation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deniability.errors import GeneratorError
from deniability.generators import onnx_elementwise, onnx_layers, onnx_resize, onnx_shapes
from deniability.generators.base import last_line
from deniability.generators.module import Inputs, LoadedModule
from deniability.generators.onnx_node import DTYPES, Call, Entry

_TABLES = (onnx_elementwise, onnx_layers, onnx_resize, onnx_shapes)
#: All operators that are known, by name.
OPERATORS: dict[str, Entry] = {
    name: entry for part in _TABLES for name, entry in part.TABLE.entries.items()
}
#: Operator sets whose rules are followed.
OPSETS = range(9, 27)
_OPERATIONS = "an ONNX graph of known operators on tensors"


def load_onnx(data: bytes, *, where: str, device: torch.device) -> LoadedModule:
    """Open an ONNX model.

    Args:
        data: the whole file; weights in other files are refused.
        where: its name, for messages.
        device: where the weights go.

    Raises GeneratorError if package `onnx` is missing, the file is damaged, keeps weights
    elsewhere, or uses anything that is not known here.

    """
    onnx = _package(where)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise _invalid(where, error) from error
    version = _check_model(model, where)  # first: nothing outside the file is looked at
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise _invalid(where, error) from error
    graph = model.graph
    constants = {tensor.name: _tensor(onnx, tensor, where) for tensor in graph.initializer}
    inputs, batch = _inputs(graph, constants, where)
    if len(graph.output) != 1:
        raise _refusal(where, f"{len(graph.output)} outputs", expected="one: the picture")
    nodes = [_Node(onnx, node, version, where) for node in graph.node]
    module = GraphModule(
        nodes, constants, [value[0] for value in inputs], graph.output[0].name, device
    )
    forward = module
    _try(forward, inputs, batch or 1, device)
    return LoadedModule(
        module=module,
        forward=forward,
        format="onnx",
        candidates=(tuple((_plain(name), shape) for name, shape in inputs),),
        certain=True,
        static_batch=batch,
    )


class GraphModule(nn.Module):
    """The graph, run node by node; what depends on weights alone is computed once.

    Args:
        nodes: in an order in which inputs come first.
        constants: weights by name.
        inputs: names of the graph's inputs.
        output: name of its output.
        device: where the weights go.

    """

    def __init__(
        self,
        nodes: Sequence[_Node],
        constants: Mapping[str, Tensor],
        inputs: Sequence[str],
        output: str,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._inputs = list(inputs)
        self._output = output
        values: dict[str, Tensor] = dict(constants)
        self.nodes: list[_Node] = []
        with torch.no_grad():
            for node in nodes:
                if all(name in values for name in node.inputs if name):
                    values.update(node.run(values))
                else:
                    self.nodes.append(node)
        used = {name for node in self.nodes for name in node.inputs if name} | {output}
        self._names: dict[str, str] = {}
        for number, (name, value) in enumerate(values.items()):
            if name in used:
                self._names[name] = f"constant_{number}"
                placed = value.to(device) if value.is_floating_point() else value
                self.register_buffer(self._names[name], placed.detach().clone())

    def forward(self, *parts: Tensor) -> Tensor:
        """Run the graph: one tensor for each input, to the one output."""
        values: dict[str, Tensor] = {k: self.get_buffer(v) for k, v in self._names.items()}
        values.update(zip(self._inputs, parts, strict=True))
        for node in self.nodes:
            values.update(node.run(values))
        return values[self._output]


class _Node:
    """One node, checked: its operator and attributes are known."""

    def __init__(self, onnx: Any, node: Any, version: int, where: str) -> None:
        self.kind: str = node.op_type
        self.inputs: list[str] = list(node.input)
        self.outputs: list[str] = list(node.output)
        self.label = f"{where}: node {node.name or self.outputs[0]!r}"[:300]
        self._version = version
        self._attributes = {
            a.name: _attribute(onnx, a, self.kind, self.label) for a in node.attribute
        }
        entry = OPERATORS.get(self.kind)
        if self.kind == "Constant":
            entry = Entry(_constant, frozenset(_CONSTANTS), None)
        if entry is None:
            raise _refusal(self.label, f"operator {self.kind} (opset {version})")
        for name in self._attributes:
            if name not in entry.attributes:
                raise self.call(()).unsupported(f"attribute {name}")
        self._entry = entry

    def call(self, inputs: tuple[Tensor | None, ...]) -> Call:
        """Return what the operator gets."""
        asked = sum(bool(name) for name in self.outputs)
        return Call(self.kind, self.label, self._version, inputs, self._attributes, asked)

    def run(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name. Raises GeneratorError naming the node if it fails."""
        inputs = [values[name] if name else None for name in self.inputs]
        self._gather(inputs)
        try:
            result = self._entry.function(self.call(tuple(inputs)))
        except (GeneratorError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise GeneratorError(
                "an operator of the ONNX graph failed",
                where=self.label,
                found=f"{self.kind}: {last_line(error)}",
            ) from error
        results = result if isinstance(result, tuple) else (result,)
        if len(results) < len(self.outputs):
            raise self.call(()).unsupported(f"{len(self.outputs)} outputs")
        return {name: value for name, value in zip(self.outputs, results, strict=False) if name}

    def _gather(self, inputs: list[Tensor | None]) -> None:
        """Bring inputs that are computed with to one device; those that are read stay."""
        end = len(inputs) if self._entry.host is None else self._entry.host
        devices = {v.device for v in inputs[:end] if v is not None}
        if len(devices) > 1:
            target = next(device for device in devices if device.type != "cpu")
            inputs[:end] = [None if v is None else v.to(target) for v in inputs[:end]]


_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


def _constant(call: Call) -> Tensor:
    """Return the tensor of a Constant node."""
    ((name, value),) = call.attributes.items()
    if name == "value":
        return value  # type: ignore[no-any-return]  # parsed as a tensor
    return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)


def _package(where: str) -> Any:
    try:
        import onnx  # noqa: PLC0415 -- an extra, needed for this format alone
        import onnx.checker  # noqa: PLC0415
        import onnx.numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise GeneratorError(
            "reading an ONNX model needs the package onnx, which is not installed",
            where=where,
            hint='Install it with pip install "deniability[onnx]".',
        ) from error
    return onnx


def _invalid(where: str, error: Exception) -> GeneratorError:
    return GeneratorError("not a valid ONNX model", where=where, found=last_line(error))


def _external(model: Any) -> str | None:
    """Name a file outside in which the model keeps weights, if there is one."""
    attributes = (a for node in model.graph.node for a in node.attribute)
    tensors = [*model.graph.initializer, *(a.t for a in attributes if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_location == 1 or tensor.external_data:
            return "; ".join(f"{e.key} = {e.value!r}" for e in tensor.external_data)[:200] or "one"
    return None


def _check_model(model: Any, where: str) -> int:
    """Refuse what is beyond a plain graph; returns the version of its operator set."""
    found = _external(model)
    if found is not None:
        raise GeneratorError(
            "the ONNX model keeps weights in other files",
            where=where,
            found=found,
            hint="Write it as one file: onnx.save(onnx.load(path), new_path), or "
            "torch.onnx.export(..., external_data=False).",
        )
    if model.functions:
        raise _refusal(where, f"a function of its own ({model.functions[0].name!r})"[:200])
    if model.graph.sparse_initializer:
        raise _refusal(where, "sparse weights")
    domains = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    for node in model.graph.node:
        if node.domain not in {"", "ai.onnx"}:
            raise _refusal(where, f"operator {node.op_type} of the domain {node.domain!r}"[:200])
    version = int(domains.get("ai.onnx", 0))
    if version not in OPSETS:
        raise _refusal(
            where, f"opset {version}", expected=f"opset {OPSETS.start} to {OPSETS.stop - 1}"
        )
    return version


def _inputs(graph: Any, constants: Iterable[str], where: str) -> tuple[Inputs, int | None]:
    """Return the inputs without their batch axis, and the batch size if it is fixed."""
    found: list[tuple[str, tuple[int, ...]]] = []
    batches = []
    for value in graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        sizes = [axis.dim_value for axis in kind.shape.dim]
        if kind.elem_type != 1 or len(sizes) < 2 or not all(size > 0 for size in sizes[1:]):
            raise GeneratorError(
                "an input of the ONNX graph is no latent of fixed shape",
                where=f"{where}: input {value.name!r}"[:300],
                expected="float32 of a batch axis and axes of fixed size",
                found=f"element type {kind.elem_type}, axes {sizes} (0: not fixed)",
                hint="Export it with latents as its only inputs and a dynamic first axis.",
            )
        found.append((value.name, tuple(sizes[1:])))
        batches.append(sizes[0])
    if not found:
        raise _refusal(where, "no inputs", expected="latents as inputs")
    fixed = {size for size in batches if size > 0}
    return tuple(found), max(fixed) if fixed else None


def _try(module: nn.Module, inputs: Inputs, batch: int, device: torch.device) -> None:
    """Run once on zeros, so that what is not supported is told as it is."""
    zeros = [torch.zeros(batch, *shape, device=device) for _, shape in inputs]
    with torch.no_grad():
        module(*zeros)


def _tensor(onnx: Any, tensor: Any, where: str) -> Tensor:
    if tensor.data_type not in DTYPES:
        raise _refusal(
            f"{where}: {tensor.name!r}"[:300],
            f"weights of type {onnx.TensorProto.DataType.Name(tensor.data_type)}",
            expected="float32, float64, float16, int32, int64 or bool",
        )
    try:
        return torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    except (ValueError, TypeError) as error:
        raise GeneratorError(
            "a damaged tensor in the ONNX model", where=where, found=last_line(error)
        ) from error


def _attribute(onnx: Any, attribute: Any, kind: str, label: str) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return _tensor(onnx, value, label)
    if isinstance(value, float | int):
        return value
    values = list(value) if not isinstance(value, onnx.GraphProto) else [value]
    if not all(isinstance(entry, float | int) for entry in values):
        raise _refusal(label, f"operator {kind} with attribute {attribute.name}")
    return values


def _plain(name: str) -> str:
    """Return an input's name as an identifier."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:60]
    return plain if plain[:1].isalpha() else f"z_{plain}"


def _refusal(where: str, found: str, expected: str = _OPERATIONS) -> GeneratorError:
    return GeneratorError(
        "the ONNX graph uses something that is not supported",
        where=where,
        expected=expected,
        found=found,
        hint="Export the generator with torch.export (.pt2) instead, or without it.",
    )
