"""Model files written record by record, with fixed dates: torch's own writer is not repeatable."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

#: What hostile code would make in the working folder.
CANARY = "canary"
#: A network of one layer, 2 numbers to 1 x 2 x 2 in [-1, 1], as torch 2.13 exported it.
EXPORTED = Path(__file__).resolve().parent / "exported" / "network.json"


def archive(records: dict[str, bytes], *, root: str = "model/") -> bytes:
    """A zip of stored records, as torch lays them out."""
    return zipped([(f"{root}{name}", data) for name, data in records.items()])


def zipped(records: list[tuple[str, bytes]]) -> bytes:
    """A zip of stored records under any names, the same one twice if asked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in records:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # on every system the same
            entry.external_attr = 0o600 << 16
            if name in file.NameToInfo:
                del file.NameToInfo[name]  # it would warn
            file.writestr(entry, data)
    return buffer.getvalue()


def canary_pickle(*, protocol: int = 2) -> bytes:
    """A pickle that makes the folder `canary`: os.mkdir("canary")."""
    name = CANARY.encode()
    if protocol == 0:
        return b"cos\nmkdir\n(V" + name + b"\ntR."
    called = b"cos\nmkdir\nX" + struct.pack("<I", len(name)) + name + b"\x85R."
    return b"\x80" + bytes([protocol]) + called


def state_dict(pickle: bytes) -> dict[str, bytes]:
    """The records of what torch.save writes, around any pickle."""
    return {"data.pkl": pickle, "byteorder": b"little", "version": b"3\n"}


def torchscript(body: str) -> dict[str, bytes]:
    """The records of a TorchScript module without weights, of this forward pass."""
    code = (
        "class Net(Module):\n"
        "  __parameters__ = []\n"
        "  __buffers__ = []\n"
        "  training : bool\n"
        "  def forward(self: __torch__.Net,\n"
        "    z: Tensor) -> Tensor:\n"
        f"    {body}\n"
        "    return torch.reshape(torch.add(torch.mul(z, 0.5), x), [-1, 1, 2, 2])\n"
    )
    made = b"\x80\x02c__torch__\nNet\n)\x81}X\x08\0\0\0training\x89sb."
    return {
        "data.pkl": made,
        "code/__torch__.py": code.encode(),
        "constants.pkl": b"\x80\x02).",
        "version": b"3\n",
        "byteorder": b"little",
    }


def exported() -> dict[str, Any]:
    """The records of a clean `.pt2`: descriptions as objects, tensors as bytes."""
    kept = json.loads(EXPORTED.read_text())
    records: dict[str, Any] = {
        name: bytes.fromhex(value) if isinstance(value, str) else value
        for name, value in kept.items()
    }
    sample = archive(state_dict(b"\x80\x02)."), root="archive/")
    return records | {
        "data/sample_inputs/model.pt": sample,
        "archive_format": b"pt2",
        "archive_version": b"0",
        ".data/version": b"6\n",
        "byteorder": b"little",
    }


def as_bytes(records: dict[str, Any]) -> dict[str, bytes]:
    """Write the descriptions."""
    return {
        name: value if isinstance(value, bytes) else json.dumps(value).encode()
        for name, value in records.items()
    }


def safetensors(header: dict[str, Any], data: bytes) -> bytes:
    """A safetensors file of any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def grown(data: bytes, size: int) -> bytes:
    """A zip of which the directory states another size for its last record."""
    at = data.rindex(b"PK\1\2")
    return data[: at + 24] + struct.pack("<I", size) + data[at + 28 :]
