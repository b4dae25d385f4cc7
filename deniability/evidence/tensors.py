"""Tensors on disk and their digests: safetensors, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import sha256_hex
from deniability.errors import CommitmentError
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.registration import FileDescriptor

#: Largest sidecar that is read, bytes.
MAX_SIDECAR_BYTES = 4 * 2**30

__all__ = [
    "describe_bytes",
    "latent_digest",
    "read_sidecar",
    "safe_open",
    "save_bytes",
    "tensors_digest",
    "write_tensors",
]


def latent_digest(latent: Tensor) -> str:
    """Sha256 (hex) of a latent's `d` float32 little-endian bytes."""
    return sha256_hex(_bytes(latent.to(torch.float32)))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 (hex) of the canonical JSON list of {name, shape, sha256} in order of name.

    Each sha256 is over the float32 little-endian bytes in row-major order.
    """
    entries = [
        {
            "name": name,
            "shape": list(tensor.shape),
            "sha256": sha256_hex(_bytes(tensor.to(torch.float32))),
        }
        for name, tensor in sorted(tensors.items())
    ]
    return sha256_hex(canonical_json(entries))


def describe_bytes(name: str, data: bytes) -> FileDescriptor:
    """Describe a file that has these bytes."""
    return FileDescriptor(name=name, size=len(data), sha256=sha256_hex(data))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Write a safetensors file atomically and return its bytes."""
    rows = {name: tensor.contiguous() for name, tensor in tensors.items()}
    data: bytes = save_bytes(rows, dict(metadata) if metadata else None)
    write_atomic(path, data)
    return data


def read_sidecar(path: Path, expected: FileDescriptor) -> dict[str, Tensor]:
    """Read a sidecar whose digest something signed commits to.

    Raises:
        InputError: there is no such file.
        CommitmentError: it is another file, or not safetensors.

    """
    data = read_capped(path, MAX_SIDECAR_BYTES, what="latents file")
    if sha256_hex(data) != expected.sha256:
        raise CommitmentError(
            "not the latents file that was signed",
            where=str(path),
            expected=f"sha256 {expected.sha256}",
            found=sha256_hex(data),
            hint="Use the file that was written beside the bundle or registration.",
        )
    try:
        tensors: dict[str, Tensor] = load_bytes(data)
    except SafetensorError as error:
        raise CommitmentError(
            "not a safetensors file", where=str(path), found=str(error)
        ) from error
    return tensors


def _bytes(tensor: Tensor) -> bytes:
    array = tensor.detach().cpu().contiguous().numpy()
    return array.astype("<f4", copy=False).tobytes()
