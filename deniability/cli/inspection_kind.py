"""Whether a file given to `deny inspect` is a model, told from its content before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from deniability.errors import GeneratorError, ParseError
from deniability.generators.builtin import BUILTIN
from deniability.generators.formats import detect_format
from deniability.generators.options import ModelOptions, stated_options
from deniability.wire.files import read_capped

_MAX_HEADER = 8 * 2**20  # of a safetensors file
_MAX_ONNX = 2**31  # what protocol buffers hold
#: How zips and pickles of torch begin.
_TORCH = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
#: A tensor that goes beside every registration and bundle, and the only one of kept controls.
_PICTURES, _LATENTS = "pictures", "latents"


def is_model(file: str, options: ModelOptions) -> bool:
    """Tell whether `file` is to be loaded as a model.

    So are the shipped ones by name, folders, and whatever a flag describes as one. Of safetensors
    files, which our latents are too, those whose factory is stated and that do not look like ours.

    Args:
        file: as it was given.
        options: what flags state of a model.

    Raises:
        GeneratorError: the generator.toml beside a safetensors file is not one.

    """
    path = Path(file)
    if file in BUILTIN or path.is_dir() or options != ModelOptions():
        return True
    head = read_head(path)
    if head is None or head.lstrip().startswith(b"-----BEGIN ") or head.startswith(b"{"):
        return False
    if is_safetensors(head):
        return _weights(head, path)
    return head.startswith(_TORCH) or _is_onnx(head, path)


def read_head(path: Path) -> bytes | None:
    """Return a file's first megabytes: the whole header of a safetensors file.

    None if it cannot be read, or only once (a pipe).
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(8 + _MAX_HEADER)
    except (OSError, ValueError):
        return None


def is_safetensors(head: bytes) -> bool:
    """Tell whether this begins as a safetensors file does."""
    return head[8:9] == b"{" and not head.startswith(b"{")


def tensor_shapes(raw: bytes, where: str) -> dict[str, str]:
    """Return type and shape of each tensor of a safetensors file, from its header.

    That is 8 bytes of length, little-endian, then JSON.

    Raises:
        ParseError: it is damaged, or its header is longer than 8 MiB.

    """
    size = int.from_bytes(raw[:8], "little")
    if size > _MAX_HEADER or size > len(raw) - 8:
        raise ParseError("a damaged latents file", where=where, found=f"a header of {size} bytes")
    try:
        header = json.loads(raw[8 : 8 + size])
        return {
            name: f"{entry['dtype']} {' x '.join(map(str, entry['shape']))}"
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise ParseError("a damaged latents file", where=where) from cause


def are_latents(names: Iterable[str]) -> bool:
    """Tell whether tensors of these names are a latents file of ours rather than weights."""
    found = set(names)
    return _PICTURES in found or found == {_LATENTS}


def _weights(head: bytes, path: Path) -> bool:
    try:
        names = tensor_shapes(head, str(path)).keys()
    except ParseError:
        return False
    return not are_latents(names) and stated_options(path, ModelOptions()).factory is not None


def _is_onnx(head: bytes, path: Path) -> bool:
    """Look at the whole of a file that may be a protocol buffer by its first byte."""
    if not head or head[0] & 7 not in {0, 2} or not 1 <= head[0] >> 3 <= 31:
        return False
    if path.stat().st_size > _MAX_ONNX:
        return False
    try:
        return detect_format(read_capped(path, _MAX_ONNX, what="file"), str(path)) == "onnx"
    except GeneratorError:
        return False
