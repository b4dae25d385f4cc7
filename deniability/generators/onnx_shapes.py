"""ONNX operators that move numbers about: shapes, slices, joins, resizing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from deniability.generators.onnx_node import Call, Table

TABLE = Table()


@TABLE.operator("Shape", "start", "end")
def shape(call: Call) -> Tensor:
    """Sizes of the axes, from `start` to `end`."""
    sizes = list(call.needed(0).shape)
    return torch.tensor(sizes[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@TABLE.operator("Size")
def size(call: Call) -> Tensor:
    """How many numbers there are."""
    return torch.tensor(math.prod(call.needed(0).shape), dtype=torch.int64)


@TABLE.operator("Reshape", "allowzero", host=1)
def reshape(call: Call) -> Tensor:
    """Change the shape; 0 keeps an axis."""
    values, wanted = call.needed(0), call.integers(1) or []
    if not call.get("allowzero", 0):
        wanted = [values.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return values.reshape(wanted)


@TABLE.operator("Flatten", "axis")
def flatten(call: Call) -> Tensor:
    """Join the axes before `axis`, and those from it on."""
    values, axis = call.needed(0), call.get("axis", 1)
    axis = axis + values.ndim if axis < 0 else axis
    return values.reshape(math.prod(values.shape[:axis]), math.prod(values.shape[axis:]))


@TABLE.operator("Squeeze", "axes", host=1)
def squeeze(call: Call) -> Tensor:
    """Drop axes of one entry."""
    values, axes = call.needed(0), call.axes(1)
    if axes is None:
        raise call.unsupported("no axes: which ones it drops depends on the batch")
    wrong = [axis for axis in axes if values.shape[axis] != 1]
    if wrong:
        raise call.unsupported(f"axes {wrong} of more than one entry")
    return values.squeeze(tuple(axes))


@TABLE.operator("Unsqueeze", "axes", host=1)
def unsqueeze(call: Call) -> Tensor:
    """Insert axes of one entry; their numbers count in the result."""
    values, axes = call.needed(0), call.axes(1) or []
    total = values.ndim + len(axes)
    for axis in sorted(axis % total for axis in axes):
        values = values.unsqueeze(axis)
    return values


@TABLE.operator("Transpose", "perm")
def transpose(call: Call) -> Tensor:
    """Reorder the axes; reversed unless stated."""
    values = call.needed(0)
    return values.permute(call.get("perm", list(range(values.ndim))[::-1]))


@TABLE.operator("Concat", "axis")
def concat(call: Call) -> Tensor:
    """Join along an axis."""
    return torch.cat([call.needed(i) for i in range(len(call.inputs))], dim=call.get("axis"))


@TABLE.operator("Split", "axis", "split", "num_outputs", host=1)
def split(call: Call) -> tuple[Tensor, ...]:
    """Cut along an axis, into parts of stated sizes or of equal ones (the last may be smaller)."""
    values, axis = call.needed(0), call.get("axis", 0)
    sizes = call.get("split") or call.integers(1)
    parts = sizes or math.ceil(values.shape[axis] / call.get("num_outputs", call.outputs))
    return tuple(torch.split(values, parts, dim=axis))


@TABLE.operator("Slice", "starts", "ends", "axes", host=1)
def slices(call: Call) -> Tensor:
    """Cut out ranges, with steps of either sign."""
    values = call.needed(0)
    starts = call.get("starts") or call.integers(1) or []
    ends = call.get("ends") or call.integers(2) or []
    axes = call.axes(3) or list(range(len(starts)))
    steps = call.integers(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = values.shape[axis]
        # Python's rule for slices is ONNX's, but for an end below -length with a negative step.
        stop = None if step < 0 and end < -length else end
        first, last, stride = slice(start, stop, step).indices(length)
        if stride > 0:
            index = (slice(None),) * (axis % values.ndim) + (slice(first, max(first, last), step),)
            values = values[index]
        else:
            picked = torch.arange(first, last, stride, device=values.device)
            values = values.index_select(axis, picked)
    return values


@TABLE.operator("Gather", "axis")
def gather(call: Call) -> Tensor:
    """Take entries along an axis by their numbers, negative ones counting from the end."""
    values, index, axis = call.needed(0), call.needed(1), call.get("axis", 0)
    axis = axis % values.ndim
    index = torch.where(index < 0, index + values.shape[axis], index)
    taken = values.index_select(axis, index.reshape(-1))
    return taken.reshape(*values.shape[:axis], *index.shape, *values.shape[axis + 1 :])


@TABLE.operator("Expand", host=1)
def expand(call: Call) -> Tensor:
    """Repeat axes of one entry, both ways."""
    values, wanted = call.needed(0), call.integers(1) or []
    shape: torch.Size = torch.broadcast_shapes(values.shape, torch.Size(wanted))  # type: ignore[no-untyped-call]
    return values.expand(shape)


@TABLE.operator("Tile", host=1)
def tile(call: Call) -> Tensor:
    """Repeat whole axes."""
    return call.needed(0).repeat(call.integers(1) or [])


@TABLE.operator("Pad", "mode", "pads", "value", host=1)
def pad(call: Call) -> Tensor:
    """Pad with a number, by mirroring or by the edge; negative amounts crop."""
    values = call.needed(0)
    mode = call.only("mode", "constant", "constant", "reflect", "edge")
    amounts = call.get("pads") or call.integers(1) or []
    axes = call.integers(3)
    axes = list(range(values.ndim)) if axes is None else axes
    stated = call.optional(2)
    fill = call.get("value", 0.0) if stated is None else stated.reshape(()).item()
    for position, axis in enumerate(axes):
        before, after = amounts[position], amounts[position + len(axes)]
        if before == after == 0:
            continue
        if mode == "constant":
            flat = [0, 0] * (values.ndim - 1 - axis % values.ndim) + [before, after]
            values = functional.pad(values, flat, value=fill)
            continue
        length = values.shape[axis]
        if mode == "reflect" and max(before, after) >= length:
            raise call.unsupported("mirroring of more than the axis holds")
        places = torch.arange(-before, length + after, device=values.device)
        if mode == "reflect":
            places = (length - 1) - ((length - 1) - places.abs()).abs()
        values = values.index_select(axis, places.clamp(0, length - 1))
    return values


@TABLE.operator("ConstantOfShape", "value", host=0)
def constant_of_shape(call: Call) -> Tensor:
    """Fill a shape with one number."""
    value: Tensor = call.get("value", torch.zeros(1))
    return value.reshape(()).expand(call.integers(0) or []).clone()


@TABLE.operator("Range", host=0)
def numbers(call: Call) -> Tensor:
    """Count from start to limit by delta."""
    start, limit, delta = (call.needed(index) for index in range(3))
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@TABLE.operator("DepthToSpace", "blocksize", "mode")
def depth_to_space(call: Call) -> Tensor:
    """Turn blocks of channels into blocks of pixels."""
    values, block = call.needed(0), call.get("blocksize")
    count, channels, height, width = values.shape
    if call.only("mode", "DCR", "DCR", "CRD") == "DCR":
        parts = values.reshape(count, block, block, channels // block**2, height, width)
        parts = parts.permute(0, 3, 4, 1, 5, 2)
    else:
        parts = values.reshape(count, channels // block**2, block, block, height, width)
        parts = parts.permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(count, channels // block**2, height * block, width * block)


@TABLE.operator("SpaceToDepth", "blocksize")
def space_to_depth(call: Call) -> Tensor:
    """Turn blocks of pixels into blocks of channels."""
    values, block = call.needed(0), call.get("blocksize")
    count, channels, height, width = values.shape
    parts = values.reshape(count, channels, height // block, block, width // block, block)
    parts = parts.permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(count, channels * block**2, height // block, width // block)
