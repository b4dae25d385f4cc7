"""Weights without a programme: a state dict (`.pt`, `.pth`, `.tar`) or `.safetensors`.

The network itself is built by a *factory*, `package.module:callable`, which is code: it is named by
the local user, on the command line or in their generator.toml, and is never taken from a bundle or
a registration. Files are read with `weights_only=True`, never unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import nn

from deniability.errors import GeneratorError
from deniability.generators.base import last_line
from deniability.generators.fold import fold_batch_norms
from deniability.generators.layout import LAYOUTS, lay_out
from deniability.generators.module import LoadedModule, candidates_of

Tensors = dict[str, torch.Tensor]


def read_tensors(
    data: bytes,
    *,
    format: Literal["state-dict", "safetensors"],  # noqa: A002 -- the word of the registration
    where: str,
    key: str | None = None,
) -> tuple[Tensors, str | None]:
    """Return the tensors of a file by name, and the key under which they lay.

    Args:
        data: the whole file.
        format: which of the two it is.
        where: its name, for messages.
        key: entry of a checkpoint that holds the generator's state dict; None: the whole file, or
            its only entry that is a state dict.

    Raises GeneratorError if the file is damaged, needs unpickling, or has no such entry.

    """
    if format == "safetensors":
        try:
            tensors: Tensors = safetensors.torch.load(data)
        except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise GeneratorError(
                "a damaged safetensors file", where=where, found=last_line(error)
            ) from error
        if key is not None:
            raise GeneratorError(
                "a safetensors file has no entries to choose from",
                where="state_dict_key",
                hint="Leave state_dict_key away, or use prefix.",
            )
        return tensors, None
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise GeneratorError(
            "the file holds more than tensors, or is damaged; it was not unpickled",
            where=where,
            expected="a state dict, as torch.save(model.state_dict(), path) writes it",
            found=_reason(error),
            hint=(
                "Where the model was made, write its state dict alone with "
                "torch.save(model.state_dict(), path) or safetensors.torch.save_file."
            ),
        ) from error
    return _select(content, key, where)


def import_factory(name: str) -> Any:
    """Return the callable that `package.module:callable` names; the current folder is searched too.

    Raises GeneratorError if there is none.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise GeneratorError(
            "not the name of a factory",
            where="factory",
            expected="package.module:callable",
            found=repr(name)[:200],
        )
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # our results alone go to stdout
            target: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                target = getattr(target, part)
    except (Exception, SystemExit) as error:
        raise GeneratorError(
            "the factory cannot be imported",
            where="factory",
            found=f"{name}: {type(error).__name__}: {last_line(error)}",
            hint="Run from the folder that contains it, install it, or set PYTHONPATH.",
        ) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not callable(target):
        raise GeneratorError(
            "the factory is not callable",
            where="factory",
            found=f"{name} of type {type(target).__name__}",
        )
    return target


def build(factory: Any, name: str) -> nn.Module:
    """Call the factory without arguments. Raises GeneratorError unless it returns a module."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # our results alone go to stdout
            module = factory()
    except (Exception, SystemExit) as error:
        raise GeneratorError(
            "the factory failed",
            where="factory",
            found=f"{name}: {type(error).__name__}: {last_line(error)}",
            hint="It is called without arguments and returns the generator as a torch module.",
        ) from error
    if not isinstance(module, nn.Module):
        raise GeneratorError(
            "the factory does not return a torch module",
            where="factory",
            expected="a torch.nn.Module",
            found=f"{name} returns {type(module).__name__}",
        )
    return module


def load_tensors(
    module: nn.Module, tensors: Tensors, *, prefix: str | None, where: str
) -> str | None:
    """Put `tensors` into `module`; every weight must be there. Returns the prefix that was taken.

    Raises GeneratorError if names or shapes differ.
    """
    wanted = set(module.state_dict())
    if prefix is None and not wanted & set(tensors):
        prefix = _common_prefix(tensors, wanted)
    if prefix:
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if not tensors:
            raise GeneratorError("no tensor has this prefix", where="prefix", found=repr(prefix))
    # Counters of training steps, which older files lack and evaluation never reads.
    missing = {k for k in wanted - set(tensors) if not k.endswith("num_batches_tracked")}
    extra = set(tensors) - wanted
    if missing or extra:
        raise GeneratorError(
            "the file's tensors are not those of the factory's module",
            where=where,
            expected=some_names("also", missing) if missing else "no others than the module's",
            found=some_names("unknown", extra) if extra else f"{len(tensors)} tensors",
            hint="Check factory, state_dict_key and prefix.",
        )
    try:
        module.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise GeneratorError(
            "the file's tensors do not fit the factory's module",
            where=where,
            found=last_line(error),
            hint="Check the arguments with which the factory builds the network.",
        ) from error
    return prefix or None


def load_with_factory(
    data: bytes,
    *,
    format: Literal["state-dict", "safetensors"],  # noqa: A002 -- the word of the registration
    where: str,
    device: torch.device,
    factory: str,
    key: str | None = None,
    prefix: str | None = None,
) -> LoadedModule:
    """Read the tensors, build the module with the local user's factory, and join them.

    Raises GeneratorError; see the functions above.
    """
    tensors, key = read_tensors(data, format=format, where=where, key=key)
    module = build(import_factory(factory), factory)
    prefix = load_tensors(module, tensors, prefix=prefix, where=where)
    return finish(module, format=format, device=device, factory=factory, key=key, prefix=prefix)


def finish(
    module: nn.Module,
    *,
    format: Literal["state-dict", "safetensors", "builtin"],  # noqa: A002 -- as above
    device: torch.device,
    factory: str | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> LoadedModule:
    """Put a module into evaluation mode in float32 on its device, its parameters detached.

    It is laid out channels-last, until it is shown not to bear that (`probe.probe`).
    """
    module = module.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    module = fold_batch_norms(module).requires_grad_(False)
    lay_out(module, LAYOUTS[0])
    return LoadedModule(
        module=module,
        forward=module,
        format=format,
        candidates=candidates_of(module),
        layouts=LAYOUTS,
        factory=factory,
        state_dict_key=key,
        prefix=prefix,
    )


def _select(content: Any, key: str | None, where: str) -> tuple[Tensors, str | None]:
    if not isinstance(content, Mapping):
        raise _no_state_dict(where, f"an object of type {type(content).__name__}")
    entries = {k: v for k, v in content.items() if _is_state_dict(v)}
    if key is not None:
        if key not in entries:
            names = ", ".join(sorted(repr(k) for k in entries)) or "none"
            raise GeneratorError(
                "the file has no state dict under this key",
                where="state_dict_key",
                expected=f"one of: {names}"[:500],
                found=repr(key),
            )
        return dict(entries[key]), key
    if _is_state_dict(content):
        return dict(content), None
    if len(entries) == 1:
        ((key, tensors),) = entries.items()
        return dict(tensors), str(key)
    if entries:
        names = ", ".join(sorted(repr(k) for k in entries))
        raise GeneratorError(
            "the file holds several state dicts",
            where=where,
            expected="one of them named by state_dict_key",
            found=names[:500],
        )
    raise _no_state_dict(where, "a dictionary without one")


def _is_state_dict(value: Any) -> bool:
    """Tell whether a value maps names to tensors, and has at least one."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items())
    )


def _common_prefix(tensors: Tensors, wanted: set[str]) -> str | None:
    """Return the one leading part, such as `module.`, without which the names are the module's."""
    heads = {name.partition(".")[0] for name in tensors}
    if len(heads) != 1:
        return None
    prefix = f"{heads.pop()}."
    return prefix if any(name.removeprefix(prefix) in wanted for name in tensors) else None


def _no_state_dict(where: str, found: str) -> GeneratorError:
    return GeneratorError(
        "the file holds no state dict",
        where=where,
        expected="tensors by name",
        found=found,
        hint="Write it with torch.save(model.state_dict(), path).",
    )


def some_names(word: str, names: set[str]) -> str:
    """Return the first few of `names` for a message, and how many more there are."""
    shown = ", ".join(sorted(names)[:4])
    return f"{word} {shown}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _reason(error: Exception) -> str:
    """Return the line of torch's long explanation that says what was refused."""
    for line in str(error).splitlines():
        if "Unsupported" in line or "GLOBAL" in line:
            # torch goes on to recommend allowing the class, which is what must not be done.
            return line.strip().partition(" Please use ")[0][:300]
    return last_line(error)
