"""ONNX operators that work number by number, and reductions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from deniability.generators.onnx_node import DTYPES, Call, Table

TABLE = Table()


def _divide(one: Tensor, other: Tensor) -> Tensor:
    if one.is_floating_point():
        return one / other
    return torch.div(one, other, rounding_mode="trunc")


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *values: functools.reduce(function, values)


def _mean(*values: Tensor) -> Tensor:
    return functools.reduce(torch.add, values) / len(values)


def _prelu(values: Tensor, slope: Tensor) -> Tensor:
    return torch.where(values < 0, values * slope, values)


TABLE.simple(
    {
        "Abs": torch.abs,
        "Add": torch.add,
        "And": torch.logical_and,
        "Ceil": torch.ceil,
        "Cos": torch.cos,
        "Div": _divide,
        "Equal": torch.eq,
        "Erf": torch.erf,
        "Exp": torch.exp,
        "Floor": torch.floor,
        "Greater": torch.gt,
        "GreaterOrEqual": torch.ge,
        "Identity": lambda values: values,
        "Less": torch.lt,
        "LessOrEqual": torch.le,
        "Log": torch.log,
        "MatMul": torch.matmul,
        "Max": _fold(torch.maximum),
        "Mean": _mean,
        "Min": _fold(torch.minimum),
        "Mish": functional.mish,
        "Mul": torch.mul,
        "Neg": torch.neg,
        "Not": torch.logical_not,
        "Or": torch.logical_or,
        "PRelu": _prelu,
        "Reciprocal": torch.reciprocal,
        "Relu": torch.relu,
        "Sigmoid": torch.sigmoid,
        "Sign": torch.sign,
        "Sin": torch.sin,
        "Softplus": lambda values: functional.softplus(values, threshold=1e9),
        "Softsign": functional.softsign,
        "Sqrt": torch.sqrt,
        "Sub": torch.sub,
        "Sum": _fold(torch.add),
        "Tanh": torch.tanh,
        "Where": torch.where,
    }
)


@TABLE.operator("Pow")
def power(call: Call) -> Tensor:
    """Raise to a power; the result has the base's type."""
    base, exponent = call.needed(0), call.needed(1)
    if exponent.numel() == 1 and exponent.ndim <= base.ndim:
        # A number has no derivative of its own, which would be NaN at negative bases.
        return torch.pow(base, exponent.reshape(()).item()).to(base.dtype)
    return torch.pow(base, exponent).to(base.dtype)


@TABLE.operator("LeakyRelu", "alpha")
def leaky_relu(call: Call) -> Tensor:
    """x, or α·x below zero; α is 0.01 unless stated."""
    return functional.leaky_relu(call.needed(0), call.get("alpha", 0.01))


@TABLE.operator("Elu", "alpha")
def elu(call: Call) -> Tensor:
    """x, or α·(eˣ - 1) below zero."""
    return functional.elu(call.needed(0), call.get("alpha", 1.0))


@TABLE.operator("Celu", "alpha")
def celu(call: Call) -> Tensor:
    """x, or α·(e^(x/α) - 1) below zero."""
    return functional.celu(call.needed(0), call.get("alpha", 1.0))


@TABLE.operator("Selu", "alpha", "gamma")
def selu(call: Call) -> Tensor:
    """Scale `x`, or `alpha (exp(x) - 1)` below zero, by `gamma`."""
    values = call.needed(0)
    alpha = call.get("alpha", 1.67326319217681884765625)
    gamma = call.get("gamma", 1.05070102214813232421875)
    # The branch not taken is held at 0, so that its derivative cannot overflow.
    below = alpha * torch.expm1(torch.where(values > 0, 0.0, values))
    scaled: Tensor = gamma * torch.where(values > 0, values, below)
    return scaled


@TABLE.operator("Gelu", "approximate")
def gelu(call: Call) -> Tensor:
    """Multiply by the normal distribution function, exact or by tanh."""
    kind = call.only("approximate", "none", "none", "tanh")
    return functional.gelu(call.needed(0), approximate=kind)


@TABLE.operator("Swish", "alpha")
def swish(call: Call) -> Tensor:
    """Multiply `x` by the sigmoid of `alpha x`."""
    values = call.needed(0)
    return values * torch.sigmoid(values * call.get("alpha", 1.0))


@TABLE.operator("HardSigmoid", "alpha", "beta")
def hard_sigmoid(call: Call) -> Tensor:
    """α·x + β, held within [0, 1]."""
    values: Tensor = call.needed(0) * call.get("alpha", 0.2) + call.get("beta", 0.5)
    return values.clamp(0.0, 1.0)


@TABLE.operator("HardSwish")
def hard_swish(call: Call) -> Tensor:
    """Multiply `x` by `x/6 + 1/2` held within [0, 1]."""
    return call.needed(0) * (call.needed(0) / 6.0 + 0.5).clamp(0.0, 1.0)


@TABLE.operator("ThresholdedRelu", "alpha")
def thresholded_relu(call: Call) -> Tensor:
    """Keep `x` where it is above α, else 0."""
    values = call.needed(0)
    return torch.where(values > call.get("alpha", 1.0), values, torch.zeros_like(values))


@TABLE.operator("Clip", "min", "max")
def clip(call: Call) -> Tensor:
    """Hold within bounds, which older operator sets have as attributes."""
    values = call.needed(0)
    for index, (name, bound) in enumerate((("min", torch.maximum), ("max", torch.minimum)), 1):
        limit = call.optional(index)
        if limit is None and (stated := call.get(name)) is not None:
            limit = torch.tensor(stated, dtype=values.dtype, device=values.device)
        if limit is not None:
            values = bound(values, limit)
    return values


@TABLE.operator("Softmax", "axis")
def softmax(call: Call) -> Tensor:
    """Softmax along an axis; before opset 13 over all axes from it on."""
    return _soft(call, torch.softmax)


@TABLE.operator("LogSoftmax", "axis")
def log_softmax(call: Call) -> Tensor:
    """Logarithm of softmax."""
    return _soft(call, torch.log_softmax)


def _soft(call: Call, function: Callable[..., Tensor]) -> Tensor:
    values = call.needed(0)
    if call.version >= 13:
        return function(values, dim=call.get("axis", -1))
    axis = call.get("axis", 1) % values.ndim
    flat = values.reshape(*values.shape[:axis], math.prod(values.shape[axis:]))
    return function(flat, dim=-1).reshape(values.shape)


@TABLE.operator("Cast", "to", "saturate", "round_mode")
def cast(call: Call) -> Tensor:
    """Change the type of numbers."""
    return call.needed(0).to(DTYPES[call.only("to", None, *DTYPES)])


@TABLE.operator("CastLike", "saturate", "round_mode")
def cast_like(call: Call) -> Tensor:
    """Change the type of numbers to that of another tensor."""
    return call.needed(0).to(call.needed(1).dtype)


@TABLE.operator("Dropout", "seed", "ratio")
def dropout(call: Call) -> Tensor:
    """Return the input: this is evaluation. Training mode is refused."""
    mode = call.optional(2)
    if mode is not None and bool(mode.item()):
        raise call.unsupported("training_mode = 1")
    if call.outputs != 1:
        raise call.unsupported("its mask as an output")
    return call.needed(0)


@TABLE.operator("Einsum", "equation")
def einsum(call: Call) -> Tensor:
    """Sum of products by an equation."""
    values = [call.needed(index) for index in range(len(call.inputs))]
    return torch.einsum(call.get("equation"), *values)


@TABLE.operator("Gemm", "alpha", "beta", "transA", "transB")
def gemm(call: Call) -> Tensor:
    """α·A·B + β·C."""
    left, right = call.needed(0), call.needed(1)
    left = left.T if call.get("transA", 0) else left
    right = right.T if call.get("transB", 0) else right
    product = left @ right
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    product = product if alpha == 1.0 else product * alpha
    bias = call.optional(2)
    if bias is None:
        return product
    return product + (bias if beta == 1.0 else bias * beta)


def _reduction(name: str, function: Callable[[Tensor, list[int], bool], Tensor]) -> None:
    @TABLE.operator(name, "axes", "keepdims", "noop_with_empty_axes", host=1)
    def reduce(call: Call) -> Tensor:
        values, axes = call.needed(0), call.axes(1)
        if not axes:
            if call.get("noop_with_empty_axes", 0):
                raise call.unsupported("noop_with_empty_axes = 1 and no axes")
            axes = list(range(values.ndim))
        return function(values, axes, bool(call.get("keepdims", 1)))


def _norm(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sqrt(values.square().sum(axes, keepdim=keep))


_reduction("ReduceSum", lambda values, axes, keep: values.sum(axes, keepdim=keep))
_reduction("ReduceMean", lambda values, axes, keep: values.mean(axes, keepdim=keep))
_reduction("ReduceMax", lambda values, axes, keep: values.amax(axes, keepdim=keep))
_reduction("ReduceMin", lambda values, axes, keep: values.amin(axes, keepdim=keep))
_reduction("ReduceL1", lambda values, axes, keep: values.abs().sum(axes, keepdim=keep))
_reduction("ReduceL2", _norm)
_reduction("ReduceSumSquare", lambda values, axes, keep: values.square().sum(axes, keepdim=keep))
_reduction("ReduceLogSumExp", lambda values, axes, keep: values.logsumexp(axes, keepdim=keep))
