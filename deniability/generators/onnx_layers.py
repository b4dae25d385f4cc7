"""ONNX operators that are layers: convolutions, normalisations, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deniability.generators.onnx_node import Call, Table, per_channel

TABLE = Table()
_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
_AVERAGES = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_MAXIMA = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


def _spatial(call: Call) -> int:
    axes = call.needed(0).ndim - 2
    if not 1 <= axes <= 3:
        raise call.unsupported(f"an input of {axes + 2} axes")
    return axes


def _window(
    call: Call, kernel: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Return strides, dilations and the padding before and after of each spatial axis."""
    count = len(kernel)
    strides = list(call.get("strides", [1] * count))
    dilations = list(call.get("dilations", [1] * count))
    mode = call.only("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if mode == "NOTSET":
        pads = list(call.get("pads", [0] * (2 * count)))
        return strides, dilations, list(zip(pads[:count], pads[count:], strict=True))
    if mode == "VALID":
        return strides, dilations, [(0, 0)] * count
    pairs = []
    sizes = call.needed(0).shape[2:]
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (width - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return strides, dilations, pairs


def _padded(
    values: Tensor, pairs: list[tuple[int, int]], fill: float = 0.0
) -> tuple[Tensor, list[int]]:
    """Pad what is not the same on both sides; returns what the layer itself shall pad."""
    if all(before == after for before, after in pairs):
        return values, [before for before, _ in pairs]
    flat = [pad for pair in reversed(pairs) for pad in pair]
    return functional.pad(values, flat, value=fill), [0] * len(pairs)


@TABLE.operator("Conv", "group", *_WINDOW)
def convolution(call: Call) -> Tensor:
    """Convolve N x C x … with weights M x C/group x …."""
    count, weight = _spatial(call), call.needed(1)
    strides, dilations, pairs = _window(call, weight.shape[2:])
    values, padding = _padded(call.needed(0), pairs)
    function = _CONVOLUTIONS[count - 1]
    result: Tensor = function(
        values,
        weight,
        call.optional(2),
        stride=strides,
        padding=padding,
        dilation=dilations,
        groups=call.get("group", 1),
    )
    return result


@TABLE.operator("ConvTranspose", "group", "output_padding", "output_shape", *_WINDOW)
def transposed_convolution(call: Call) -> Tensor:
    """Convolve transposed, with weights C x M/group x …."""
    count, weight = _spatial(call), call.needed(1)
    if call.get("output_shape") is not None:
        raise call.unsupported("output_shape")
    call.only("auto_pad", "NOTSET", "NOTSET", "VALID")
    strides, dilations, pairs = _window(call, weight.shape[2:])
    extra = list(call.get("output_padding", [0] * count))
    even = all(before == after for before, after in pairs)
    fits = all(e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True))
    if not fits:
        raise call.unsupported(f"output_padding = {extra}")
    result: Tensor = _TRANSPOSED[count - 1](
        call.needed(0),
        weight,
        call.optional(2),
        stride=strides,
        padding=[before for before, _ in pairs] if even else 0,
        output_padding=extra,
        groups=call.get("group", 1),
        dilation=dilations,
    )
    if not even:  # what would be cut off is cut here, another amount on each side
        for axis, (before, after) in enumerate(pairs, 2):
            result = result.narrow(axis, before, result.shape[axis] - before - after)
    return result


@TABLE.operator("BatchNormalization", "epsilon", "momentum", "training_mode", "spatial")
def batch_normalization(call: Call) -> Tensor:
    """Normalise by stored means and variances, one of each per channel."""
    call.only("training_mode", 0, 0)
    call.only("spatial", 1, 1)
    if call.outputs != 1:
        raise call.unsupported("statistics as outputs (training mode)")
    values, scale, bias, mean, variance = (call.needed(index) for index in range(5))
    factor = scale / torch.sqrt(variance + call.get("epsilon", 1e-5))
    shift = bias - mean * factor
    return values * per_channel(factor, values.ndim) + per_channel(shift, values.ndim)


def _normalized(values: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = values - values.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)


@TABLE.operator("InstanceNormalization", "epsilon")
def instance_normalization(call: Call) -> Tensor:
    """Normalise each channel of each sample by itself."""
    values = call.needed(0)
    axes = list(range(2, values.ndim))
    normal = _normalized(values, axes, call.get("epsilon", 1e-5))
    scale, bias = (per_channel(call.needed(index), values.ndim) for index in (1, 2))
    return normal * scale + bias


@TABLE.operator("LayerNormalization", "axis", "epsilon", "stash_type")
def layer_normalization(call: Call) -> Tensor:
    """Normalise over all axes from `axis` on."""
    call.only("stash_type", 1, 1)
    if call.outputs != 1:
        raise call.unsupported("statistics as outputs")
    values = call.needed(0)
    axes = list(range(call.get("axis", -1) % values.ndim, values.ndim))
    normal = _normalized(values, axes, call.get("epsilon", 1e-5)) * call.needed(1)
    bias = call.optional(2)
    return normal if bias is None else normal + bias


@TABLE.operator("RMSNormalization", "axis", "epsilon", "stash_type")
def rms_normalization(call: Call) -> Tensor:
    """Divide by the root of the mean square over all axes from `axis` on."""
    call.only("stash_type", 1, 1)
    values = call.needed(0)
    axes = list(range(call.get("axis", -1) % values.ndim, values.ndim))
    square = values.square().mean(axes, keepdim=True)
    return values * torch.rsqrt(square + call.get("epsilon", 1e-5)) * call.needed(1)


@TABLE.operator("GroupNormalization", "epsilon", "num_groups", "stash_type")
def group_normalization(call: Call) -> Tensor:
    """Normalise groups of channels; scale and bias per group before opset 21, then per channel."""
    call.only("stash_type", 1, 1)
    values, groups = call.needed(0), call.get("num_groups")
    grouped = values.reshape(values.shape[0], groups, -1)
    normal = _normalized(grouped, [2], call.get("epsilon", 1e-5)).reshape(values.shape)
    scale, bias = call.needed(1), call.needed(2)
    if call.version < 21:
        each = values.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return normal * per_channel(scale, values.ndim) + per_channel(bias, values.ndim)


@TABLE.operator("LpNormalization", "axis", "p")
def lp_normalization(call: Call) -> Tensor:
    """Divide by the 1- or 2-norm along an axis."""
    values, axis = call.needed(0), call.get("axis", -1)
    if call.only("p", 2, 1, 2) == 1:
        return values / values.abs().sum(axis, keepdim=True)
    return values / torch.sqrt(values.square().sum(axis, keepdim=True))


@TABLE.operator("AveragePool", "ceil_mode", "count_include_pad", *_WINDOW)
def average_pool(call: Call) -> Tensor:
    """Mean of each window."""
    count, kernel = _spatial(call), list(call.get("kernel_shape"))
    call.only("ceil_mode", 0, 0)
    strides, dilations, pairs = _window(call, kernel)
    if dilations != [1] * count:
        raise call.unsupported(f"dilations = {dilations}")
    include = bool(call.get("count_include_pad", 0))
    if not include and any(before != after for before, after in pairs):
        raise call.unsupported("other padding on one side than on the other")
    values, padding = _padded(call.needed(0), pairs)
    if any(2 * pad > size for pad, size in zip(padding, kernel, strict=True)):
        raise call.unsupported(f"pads = {padding} of more than half a window")
    result: Tensor = _AVERAGES[count - 1](
        values, kernel, stride=strides, padding=padding, count_include_pad=include
    )
    return result


@TABLE.operator("MaxPool", "ceil_mode", "storage_order", *_WINDOW)
def max_pool(call: Call) -> Tensor:
    """Maximum of each window."""
    count, kernel = _spatial(call), list(call.get("kernel_shape"))
    call.only("ceil_mode", 0, 0)
    if call.outputs != 1:
        raise call.unsupported("indices as an output")
    strides, dilations, pairs = _window(call, kernel)
    values, padding = _padded(call.needed(0), pairs, -math.inf)
    if any(2 * pad > size for pad, size in zip(padding, kernel, strict=True)):
        raise call.unsupported(f"pads = {padding} of more than half a window")
    result: Tensor = _MAXIMA[count - 1](
        values, kernel, stride=strides, padding=padding, dilation=dilations
    )
    return result


@TABLE.operator("GlobalAveragePool")
def global_average_pool(call: Call) -> Tensor:
    """Mean of each channel."""
    values = call.needed(0)
    return values.mean(list(range(2, values.ndim)), keepdim=True)


@TABLE.operator("GlobalMaxPool")
def global_max_pool(call: Call) -> Tensor:
    """Maximum of each channel."""
    values = call.needed(0)
    return values.amax(list(range(2, values.ndim)), keepdim=True)
