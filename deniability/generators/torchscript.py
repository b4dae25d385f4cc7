"""TorchScript `.pt`: what most people have.

Opening a TorchScript archive runs no Python, but its programme may name any operator of torch, and
two of them touch files: `aten::from_file` creates or overwrites one, `aten::save` writes one. Both
are refused by name, in the code before it is opened and in the graph after. It is still a programme
of its author's: run it only if you would run their code.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deniability.errors import GeneratorError
from deniability.generators.archive import Archive
from deniability.generators.base import last_line
from deniability.generators.module import LoadedModule, candidates_of

#: Operators that reach beyond tensors.
FORBIDDEN = frozenset({"from_file", "save", "load_tensor"})
#: Namespaces of operators that a network may use.
NAMESPACES = frozenset({"aten", "prim"})

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMESPACE = re.compile(r"\bops[\s\\]*\.[\s\\]*([A-Za-z_][A-Za-z0-9_]*)")
# torch writes submodules with odd names as getattr(self, "0"); any other use could spell a name.
_GETATTR = re.compile(r"\bgetattr\b(?!\([A-Za-z_][\w.]*, \"\w*\"\))")


def load_torchscript(data: bytes, *, where: str, device: torch.device) -> LoadedModule:
    """Open a TorchScript archive after scanning its code.

    Args:
        data: the whole file.
        where: its name, for messages.
        device: where the weights go.

    Raises GeneratorError if the archive is damaged, names a forbidden operator, or holds custom
    classes.

    """
    archive = Archive(data, where)
    keep = [name for name in archive.names if _is_needed(name)]
    for name in keep:
        if name.startswith("code/"):
            scan_code(archive.text(name), where=f"{where}: {name}")
        elif name in {"data.pkl", "constants.pkl"} and b"torch.classes" in archive.read(name):
            raise _refusal(where, "a custom class")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning
            )
            module: Any = torch.jit.load(  # type: ignore[no-untyped-call]
                archive.rewritten(keep, {}), map_location=device
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise GeneratorError(
            "torch cannot open this TorchScript archive",
            where=where,
            found=last_line(error),
            hint="Save the model again with the torch version that is installed here.",
        ) from error
    _scan_graph(module, where)
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)

    def forward(*parts: Tensor) -> Tensor:
        # The optimising executor drops forward-mode tangents (measured: zero Jacobians from the
        # second call on, without an error). The switch holds for this thread only.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            pictures: Tensor = module(*parts)
            return pictures

    return LoadedModule(
        module=module, forward=forward, format="torchscript", candidates=candidates_of(module)
    )


def scan_code(code: str, *, where: str) -> None:
    """Refuse TorchScript source that names an operator which touches files, or could spell one.

    Raises GeneratorError.
    """
    for word in FORBIDDEN.intersection(_WORD.findall(code)):
        raise _refusal(where, f"the operator {word}")
    for namespace in _NAMESPACE.findall(code):
        if namespace not in NAMESPACES:
            raise _refusal(where, f"an operator of the library {namespace!r}")
    if "torch.classes" in code:
        raise _refusal(where, "a custom class")
    if _GETATTR.search(code):
        raise _refusal(where, "an attribute looked up by a computed name")


def _scan_graph(module: Any, where: str) -> None:
    try:
        kinds = set(_kinds(module.inlined_graph))
    except RuntimeError as error:
        raise GeneratorError(
            "the TorchScript module has no forward method", where=where, found=last_line(error)
        ) from error
    for kind in kinds:
        namespace, _, name = kind.partition("::")
        if namespace not in NAMESPACES or name in FORBIDDEN:
            raise _refusal(where, f"the operator {kind}")


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _is_needed(name: str) -> bool:
    """Tell the records that make the module from debug information and stored inputs."""
    if name.startswith("code/"):
        return name.endswith(".py")
    return name in {"data.pkl", "constants.pkl", "version", "byteorder", ".data/version"} or (
        name.startswith(("data/", "constants/"))
    )


def _refusal(where: str, found: str) -> GeneratorError:
    return GeneratorError(
        "the TorchScript model uses something that reaches beyond a network",
        where=where,
        expected="operators of torch on tensors only",
        found=found,
        hint="Such a model may read or overwrite files; export the network alone.",
    )
