"""Small ONNX graphs, and the reference evaluator of package onnx as an independent oracle."""

import numpy as np
import torch

CPU = torch.device("cpu")


def model_of(
    nodes, constants, shape, *, opset=18, batch="batch", out=None, domain="", elem_type=1, **more
):
    """A graph from `x` (batch x shape) to `y`; `nodes` as (kind, inputs, outputs, attributes)."""
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(kind, inputs, outputs, domain=domain, **attributes)
        for kind, inputs, outputs, attributes in nodes
    ]
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("x", elem_type, [batch, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out or ["batch"])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def one(kind, shape, *constants, opset=18, names=None, **attributes):
    """A graph of one operator whose other inputs are constants; None leaves one out."""
    inputs, values = ["x"], {}
    for number, constant in enumerate(constants):
        if constant is None:
            inputs.append("")
            continue
        inputs.append(f"c{number}")
        values[f"c{number}"] = constant
    return model_of([(kind, inputs, names or ["y"], attributes)], values, shape, opset=opset)


def sample(shape, rows=2, seed=0):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


def opened(model):
    from deniability.generators.onnx_file import load_onnx

    return load_onnx(model.SerializeToString(), where="g.onnx", device=CPU)


def expected(model, x):
    from onnx.reference import ReferenceEvaluator

    (y,) = ReferenceEvaluator(model).run(None, {"x": x.numpy()})
    return torch.from_numpy(np.array(y))


def forward_jacobian(function, x):
    """All tangents pushed forward at once, as the search does it."""
    basis = torch.eye(x.numel()).reshape(-1, *x.shape)
    push = torch.func.vmap(lambda t: torch.func.jvp(function, (x,), (t,))[1])
    return push(basis).reshape(len(basis), -1)


def reverse_jacobian(function, x):
    rows = torch.autograd.functional.jacobian(lambda v: function(v).reshape(-1), x)
    return rows.reshape(len(rows), -1).T


def floats(*shape, seed=1, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def positive(*shape, seed=1):
    return np.abs(floats(*shape, seed=seed)) + np.float32(0.5)


def ints(*values):
    return np.array(values, dtype=np.int64)
