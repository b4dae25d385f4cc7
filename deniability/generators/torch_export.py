"""`torch.export` `.pt2`: the format to prefer.

`torch.export.load` unpickles without restriction the sample inputs, tensor subclasses, custom and
opaque objects of the archive (torch 2.13: `torch/export/pt2_archive/_package.py`,
`torch/_export/serde/serialize.py`). None of that reaches it here: an archive of the checked
description and the raw tensors is written anew in memory, its sample inputs empty, and only that
is opened. Sample inputs are in every file that torch.export.save writes, so they are dropped;
everything else that would need unpickling is refused.
"""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any

import torch
from torch import nn

from deniability.errors import GeneratorError
from deniability.generators.archive import Archive
from deniability.generators.base import last_line
from deniability.generators.exported_graph import clean_payload, clean_program
from deniability.generators.module import Inputs, LoadedModule

_MODEL = "models/model.json"
_WEIGHTS = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"
_SAMPLES = "data/sample_inputs/model.pt"


def load_exported(data: bytes, *, where: str, device: torch.device) -> LoadedModule:
    """Open a `.pt2` after checking everything in it.

    Args:
        data: the whole file.
        where: its name, for messages.
        device: where the weights go, and what devices named inside become.

    Raises GeneratorError if the archive is damaged, of an old layout, compiled, needs unpickling,
    or uses anything but torch's own operators.

    """
    archive = Archive(data, where)
    _check_layout(archive)
    program = clean_program(archive.text(_MODEL), where=f"{where}: {_MODEL}", device=device)
    replaced = {_MODEL: program}
    keep = ["archive_format", "archive_version"]
    for record, folder, prefix in (
        (_WEIGHTS, "data/weights", "weight_"),
        (_CONSTANTS, "data/constants", "tensor_"),
    ):
        payload = clean_payload(
            archive.text(record), prefix=prefix, where=f"{where}: {record}", device=device
        )
        replaced[record] = payload
        files = {meta["path_name"]: None for meta in payload["config"].values()}
        keep += [f"{folder}/{name}" for name in files]
    keep += [name for name in ("byteorder", ".data/version") if name in archive]
    records = {name: json.dumps(value).encode() for name, value in replaced.items()}
    clean = archive.rewritten(keep, {**records, _SAMPLES: b""})
    inputs, batch = _signature(program, where)
    silence = _Silence()
    log = logging.getLogger("torch.export")
    log.addFilter(silence)
    try:
        module = _unlifted(torch.export.load(clean))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise GeneratorError(
            "torch cannot open this .pt2",
            where=where,
            found=last_line(error),
            hint="Export the model again with the torch version that is installed here.",
        ) from error
    finally:
        log.removeFilter(silence)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return LoadedModule(
        module=module,
        forward=module,
        format="torch-export",
        candidates=(inputs,),
        certain=True,
        static_batch=batch,
    )


def _check_layout(archive: Archive) -> None:
    if "archive_format" not in archive or archive.read("archive_format") != b"pt2":
        raise archive.refusal("not an archive of torch.export", expected="the format mark 'pt2'")
    for name in archive.names:
        if name.startswith("data/aotinductor/"):
            raise archive.refusal(
                "the .pt2 holds compiled machine code",
                found=repr(name)[:200],
                hint="Give one written by torch.export.save, not by torch._inductor.",
            )
        if name in {"data/weights/model.pt", "data/constants/model.pt"}:
            raise archive.refusal(
                "a .pt2 of an old layout, whose weights are a pickle",
                found=repr(name),
                hint="Load it where it was made and write it again with torch.export.save.",
            )
    models = [name for name in archive.names if name.startswith("models/")]
    if models != [_MODEL]:
        raise archive.refusal(
            "the .pt2 must hold one model", expected=_MODEL, found=", ".join(models)[:200] or "none"
        )


def _signature(program: dict[str, Any], where: str) -> tuple[Inputs, int | None]:
    """Return the inputs without their batch axis, and the batch size if it is fixed."""
    try:
        graph = program["graph_module"]["graph"]
        specs = program["graph_module"]["signature"]["input_specs"]
        names = [
            spec["user_input"]["arg"]["as_tensor"]["name"] for spec in specs if "user_input" in spec
        ]
        sizes = [graph["tensor_values"][name]["sizes"] for name in names]
        batches = {size[0].get("as_int") for size in sizes}
        inputs = tuple(
            (name, tuple(int(axis["as_int"]) for axis in size[1:]))
            for name, size in zip(names, sizes, strict=True)
        )
        _ = inputs[0]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise GeneratorError(
            "the .pt2 takes something else than tensors of fixed shape with a batch axis",
            where=where,
            found=last_line(error),
            hint="Export it with latents as its only inputs and a dynamic first axis.",
        ) from error
    return inputs, next(iter(batches), None) if len(batches) == 1 else None


def _unlifted(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the program as a module; shapes are checked by our probe, not by generated guards."""
    if "check_guards" in inspect.signature(program.module).parameters:
        return program.module(check_guards=False)
    return program.module()


class _Silence(logging.Filter):
    """Keeps torch from writing the traceback of a failed load to stderr; it is our error's."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 -- of the interface
        return False
