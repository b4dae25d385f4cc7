"""What kind of model file these bytes are, told from the bytes and never from the name alone."""

from __future__ import annotations

import struct
from typing import Literal

from deniability.errors import GeneratorError
from deniability.generators.archive import Archive

#: The formats that have an adapter.
FileFormat = Literal["torchscript", "torch-export", "state-dict", "safetensors", "onnx"]

_ACCEPTED = "TorchScript .pt, torch.export .pt2, a state dict .pt or .pth, .safetensors, or .onnx"


def detect_format(data: bytes, where: str) -> FileFormat:
    """Return the format of a model file.

    Args:
        data: the whole file.
        where: its name, for messages.

    Raises GeneratorError if no adapter reads it, saying what it looks like.

    """
    if data.startswith(b"PK\x03\x04"):
        return _detect_archive(Archive(data, where))
    if len(data) > 9 and struct.unpack("<Q", data[:8])[0] <= len(data) - 8 and data[8:9] == b"{":
        return "safetensors"
    # A pickle of protocol 2 or later: torch.save before version 1.6.
    if data[:1] == b"\x80" and data[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "state-dict"
    if _is_onnx(data):
        return "onnx"
    what, hint = _describe(data)
    raise GeneratorError(
        "not a model that can be loaded", where=where, expected=_ACCEPTED, found=what, hint=hint
    )


def _detect_archive(archive: Archive) -> FileFormat:
    if "archive_format" in archive or any(
        name.startswith("models/") and name.endswith(".json") for name in archive.names
    ):
        return "torch-export"
    if "constants.pkl" in archive or any(name.startswith("code/") for name in archive.names):
        return "torchscript"
    if "data.pkl" in archive:
        return "state-dict"
    if "serialized_exported_program.json" in archive:
        raise archive.refusal(
            "a .pt2 of an old layout, which torch can only open by unpickling",
            expected="one written by torch 2.8 or later",
            hint="Load it where it was made and write it again with torch.export.save.",
        )
    raise archive.refusal(
        "not a model that can be loaded",
        expected=_ACCEPTED,
        found="a zip that torch did not write",
    )


def _is_onnx(data: bytes) -> bool:
    """Tell a serialised ModelProto by its fields, which no file of another kind has so.

    Protocol buffers: a tag (number << 3 | type), then a varint (type 0) or a length and as many
    bytes (type 2). A model has a version of the format (1), a graph (7) and operator sets (8).
    """
    numbers, place = set(), 0
    while place < len(data):
        tag, place = _varint(data, place)
        if tag & 7 not in {0, 2} or not 1 <= tag >> 3 <= 31:
            return False
        numbers.add(tag >> 3)
        value, place = _varint(data, place)
        if tag & 7 == 2:
            place += value
    return place == len(data) and {1, 7, 8} <= numbers


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at `place` and where it ends; past the end of the data if it is cut."""
    value = 0
    for count, byte in enumerate(data[place : place + 10]):
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value, place + count + 1
    return 0, len(data) + 1


def _describe(data: bytes) -> tuple[str, str | None]:
    """Return what the bytes look like and, where there is one, the way out."""
    known = (
        (not data, "an empty file", None),
        (
            data.startswith(b"version https://git-lfs"),
            "a Git LFS pointer",
            "Fetch the weights themselves with `git lfs pull`.",
        ),
        (data.startswith(b"\x89HDF"), "an HDF5 file (Keras)", None),
        (
            data[257:262] == b"ustar",
            "a tar archive",
            "Unpack it and give the weights inside it.",
        ),
        (
            _is_text(data),
            "text",
            "Give the file of weights, not its description or source code.",
        ),
    )
    for applies, what, hint in known:
        if applies:
            return what, hint
    return "bytes of an unknown kind, or a damaged file", None


def _is_text(data: bytes) -> bool:
    try:
        # A character may be cut at the end of the excerpt.
        head = data[:4096].decode(errors="strict" if len(data) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\r\n\t" for c in head)
