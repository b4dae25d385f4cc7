"""Writes the toy networks in every format that has an adapter."""

import copy
import io
import warnings
import zipfile

import torch
from safetensors.torch import save_file
from toy_networks import WIDTH, Toy


def export(path, module, *shapes, batch=3, dynamic=True):
    inputs = tuple(torch.zeros(batch, *shape) for shape in shapes)
    dynamic_shapes = tuple({0: torch.export.Dim("batch")} for _ in shapes) if dynamic else None
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes), path)


def script(path, module):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)


def trace(path, module, *shapes, batch=3):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        inputs = tuple(torch.zeros(batch, *shape) for shape in shapes)
        torch.jit.save(torch.jit.trace(module, inputs), path)


def write_all(folder):
    """Write Toy in every way; returns the path of each by name."""
    toy, shape = Toy().eval(), (WIDTH, 1, 1)
    paths = {
        name: folder / name
        for name in (
            "script.pt",
            "trace.pt",
            "dynamic.pt2",
            "static.pt2",
            "state.pt",
            "legacy.pth",
            "checkpoint.tar",
            "weights.safetensors",
        )
    }
    script(paths["script.pt"], toy)
    trace(paths["trace.pt"], toy, shape)
    export(paths["dynamic.pt2"], toy, shape)
    export(paths["static.pt2"], toy, shape, batch=1, dynamic=False)
    state = toy.state_dict()
    torch.save(state, paths["state.pt"])
    torch.save(state, paths["legacy.pth"], _use_new_zipfile_serialization=False)
    nested = {f"outer.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "netG": nested, "netD": {"w": torch.ones(1)}}, paths["checkpoint.tar"])
    save_file(copy.deepcopy(dict(state)), paths["weights.safetensors"])
    return paths


def edit_archive(path, edits, *, add=None):
    """Rewrite a zip: `edits` maps a record (without its folder) to a function of its bytes."""
    with zipfile.ZipFile(path) as old:
        root = old.namelist()[0].split("/")[0]
        records = {name: old.read(name) for name in old.namelist()}
    for name, edit in edits.items():
        records[f"{root}/{name}"] = edit(records[f"{root}/{name}"])
    for name, data in (add or {}).items():
        records[f"{root}/{name}"] = data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, data in records.items():
            new.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    return path
