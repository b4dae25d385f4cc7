"""Every ONNX operator against the reference evaluator; its derivatives against each other."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="needs the extra deniability[onnx]")

from onnx_graphs import (
    expected,
    floats,
    forward_jacobian,
    ints,
    model_of,
    one,
    opened,
    positive,
    reverse_jacobian,
    sample,
)

from deniability.generators.onnx_file import OPERATORS

MAP = (4, 6, 6)
PLAIN = [
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Identity", "Mish", "Neg", "Reciprocal", "Relu",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "Elu", "Celu", "Selu", "LeakyRelu",
    "HardSigmoid", "HardSwish", "ThresholdedRelu", "Softmax", "LogSoftmax", "GlobalAveragePool",
    "GlobalMaxPool", "Flatten", "Transpose", "Dropout", "LpNormalization",
]  # fmt: skip

CASES = {kind: one(kind, MAP) for kind in PLAIN}
CASES |= {
    "Add": one("Add", MAP, floats(4, 1, 1)),
    "Sub": one("Sub", MAP, floats(6)),
    "Mul": one("Mul", MAP, floats(4, 6, 6)),
    "Div": one("Div", MAP, positive(4, 1, 1)),
    "Pow square": one("Pow", MAP, np.float32(2)),
    "Pow integer": one("Pow", MAP, np.int64(3)),
    "Pow each": one("Pow", (3,), np.array([1.0, 2.0, 3.0], dtype=np.float32)),
    "Max": one("Max", MAP, floats(4, 1, 1), np.float32(0.1)),
    "Min": one("Min", MAP, floats(6)),
    "Mean": one("Mean", MAP, floats(6), floats(6, seed=2)),
    "Sum": one("Sum", MAP, floats(6), floats(6, seed=2)),
    "PRelu": one("PRelu", MAP, floats(4, 1, 1)),
    "Gelu": one("Gelu", MAP, opset=20),
    "Gelu tanh": one("Gelu", MAP, opset=20, approximate="tanh"),
    "Elu 2": one("Elu", MAP, alpha=2.0),
    "Celu 2": one("Celu", MAP, alpha=2.0),
    "LeakyRelu 0.2": one("LeakyRelu", MAP, alpha=0.2),
    "Softmax 1": one("Softmax", MAP, axis=1),
    "Clip": one("Clip", MAP, np.float32(-0.5), np.float32(0.5)),
    "Clip above": one("Clip", MAP, None, np.float32(0.5)),
    "MatMul": one("MatMul", (3, 5), floats(5, 7)),
    "Gemm": one("Gemm", (5,), floats(7, 5), floats(7), transB=1, alpha=0.5, beta=2.0),
    "Gemm alone": one("Gemm", (5,), floats(5, 7)),
    "Einsum": one("Einsum", (3, 5), floats(5, 7), equation="bij,jk->bki"),
    "Conv": one(
        "Conv", MAP, floats(8, 4, 3, 3), floats(8), pads=[1, 1, 1, 1], strides=[2, 2],
        kernel_shape=[3, 3],
    ),
    "Conv uneven": one("Conv", MAP, floats(8, 4, 3, 3), pads=[0, 1, 2, 1], dilations=[2, 1]),
    "Conv group": one("Conv", MAP, floats(4, 2, 3, 3), group=2),
    "Conv same": one("Conv", MAP, floats(3, 4, 4, 4), auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv line": one("Conv", (4, 9), floats(3, 4, 3), pads=[1, 1]),
    "ConvTranspose": one(
        "ConvTranspose", MAP, floats(4, 3, 4, 4), floats(3), pads=[1, 1, 1, 1], strides=[2, 2]
    ),
    "ConvTranspose odd": one(
        "ConvTranspose", MAP, floats(4, 3, 3, 3), strides=[2, 2], output_padding=[1, 1],
        pads=[1, 1, 1, 1],
    ),
    "BatchNormalization": one(
        "BatchNormalization", MAP, floats(4), floats(4, seed=2), floats(4, seed=3), positive(4)
    ),
    "InstanceNormalization": one("InstanceNormalization", MAP, floats(4), floats(4, seed=2)),
    "LayerNormalization": one("LayerNormalization", MAP, floats(6), floats(6, seed=2)),
    "LayerNormalization 1": one("LayerNormalization", MAP, floats(4, 6, 6), axis=1),
    "GroupNormalization": one(
        "GroupNormalization", MAP, floats(4), floats(4, seed=2), num_groups=2, opset=21
    ),
    "RMSNormalization": one("RMSNormalization", MAP, floats(6), opset=23),
    "AveragePool": one("AveragePool", MAP, kernel_shape=[2, 2], strides=[2, 2]),
    "AveragePool padded": one(
        "AveragePool", MAP, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "AveragePool edge": one("AveragePool", MAP, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "MaxPool": one("MaxPool", MAP, kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool padded": one("MaxPool", MAP, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "Reshape": one("Reshape", MAP, ints(0, -1, 12)),
    "Flatten 2": one("Flatten", MAP, axis=2),
    "Squeeze": one("Squeeze", (4, 1, 1), ints(2, 3)),
    "Squeeze 11": one("Squeeze", (4, 1, 1), axes=[2], opset=11),
    "Unsqueeze": one("Unsqueeze", (4,), ints(-1, 1)),
    "Unsqueeze 11": one("Unsqueeze", (4,), axes=[2, 3], opset=11),
    "Transpose": one("Transpose", MAP, perm=[0, 2, 3, 1]),
    "Concat": model_of([("Concat", ["x", "x"], ["y"], {"axis": 1})], {}, MAP),
    "Split": one("Split", (6,), ints(2, 4), axis=1, names=["y", "rest"]),
    "Split equal": one("Split", (6,), axis=1, num_outputs=2, names=["y", "rest"]),
    "Slice": one("Slice", MAP, ints(1, -3), ints(4, 100), ints(1, -1), ints(2, 1)),
    "Slice back": one("Slice", MAP, ints(-1), ints(-100), ints(2), ints(-2)),
    "Gather": one("Gather", MAP, ints(3, -1, 0), axis=1),
    "Gather one": one("Gather", MAP, np.int64(-2), axis=2),
    "Expand": one("Expand", (4, 1, 6), ints(4, 3, 1)),
    "Tile": one("Tile", MAP, ints(1, 2, 1, 3)),
    "Pad": one("Pad", MAP, ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.25)),
    "Pad axes": one("Pad", MAP, ints(1, 2), np.float32(0.0), ints(-1)),
    "Pad mirror": one("Pad", MAP, ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    "Pad edge": one("Pad", MAP, ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    "DepthToSpace": one("DepthToSpace", MAP, blocksize=2),
    "DepthToSpace crd": one("DepthToSpace", MAP, blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", MAP, blocksize=2),
}  # fmt: skip
for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
             "ReduceSumSquare", "ReduceLogSumExp"):  # fmt: skip
    CASES[name] = one(name, MAP, ints(1, 3), keepdims=0)
CASES["ReduceMean 11"] = one("ReduceMean", MAP, axes=[2, 3], opset=11)
for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
    for kind in ("nearest", "linear", "cubic"):
        CASES[f"Resize {kind} {mode}"] = one(
            "Resize", MAP, None, np.array([1, 1, 2, 1.5], dtype=np.float32),
            mode=kind, coordinate_transformation_mode=mode,
        )  # fmt: skip
CASES["Resize sizes"] = one("Resize", MAP, None, None, ints(2, 4, 9, 3), mode="linear")
CASES["Resize floor"] = one(
    "Resize", MAP, None, np.array([1, 1, 2, 2], dtype=np.float32), mode="nearest",
    nearest_mode="floor", coordinate_transformation_mode="asymmetric",
)  # fmt: skip
CASES["Swish"] = one("Swish", (5,), opset=24, alpha=1.5)
CASES["Upsample"] = one("Upsample", MAP, np.array([1, 1, 2, 3], dtype=np.float32), opset=9)

#: Not continuous, or with a corner that a sample never meets: the values alone are compared.
FLAT = {"Ceil", "Floor", "Sign"}
POSITIVE = {"Log", "Sqrt"}


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_reference_evaluators(name):
    model, shape = CASES[name], _shape(CASES[name])
    x = sample(shape)
    module = opened(model).module
    with torch.no_grad():
        y = module(x)
    reference = expected(model, x)
    assert y.shape == reference.shape
    assert y.dtype == reference.dtype
    assert torch.allclose(y, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name not in FLAT])
def test_forward_derivatives_are_reverse_derivatives(name):
    model = CASES[name]
    module, x = opened(model).module, sample(_shape(model), seed=5)
    forward, reverse = forward_jacobian(module, x), reverse_jacobian(module, x)
    assert torch.allclose(forward, reverse, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(forward).all()


@pytest.mark.parametrize("name", sorted(POSITIVE))
def test_functions_of_positive_numbers(name):
    model, x = one(name, (5,)), sample((5,)).abs() + 0.1
    module = opened(model).module
    assert torch.allclose(module(x), expected(model, x), atol=1e-6)
    assert torch.allclose(
        forward_jacobian(module, x), reverse_jacobian(module, x), rtol=1e-4, atol=1e-5
    )


def test_softmax_was_over_all_axes_from_one_on():
    # As operator sets before 13 define it; the reference evaluator knows the later rule alone.
    y = opened(one("Softmax", (4, 6), axis=1, opset=11)).module(sample((4, 6)))
    assert torch.allclose(y.sum(dim=(1, 2)), torch.ones(2))


#: Operators whose results are no pictures; they are tested inside a graph.
INSIDE = {
    "And", "Cast", "CastLike", "ConstantOfShape", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Not", "Or", "Range", "Shape", "Size", "Where",
}  # fmt: skip


def test_every_operator_is_tested():
    tested = {name.partition(" ")[0] for name in CASES} | POSITIVE | INSIDE
    assert set(OPERATORS) - tested == set()


def _shape(model):
    axes = model.graph.input[0].type.tensor_type.shape.dim[1:]
    return tuple(axis.dim_value for axis in axes)
