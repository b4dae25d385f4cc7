"""A model as it is sent to workers: bytes and description, with digests to check them against."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.errors import CommitmentError, GeneratorError
from deniability.generators.base import Generator
from deniability.generators.builtin import BUILTIN
from deniability.generators.load import (
    file_digest,
    load_generator,
    load_model_bytes,
    read_model,
)
from deniability.generators.options import ModelOptions
from deniability.wire.generator import GeneratorSpec


@dataclass(frozen=True)
class ModelParcel:
    """All that another process needs in order to load the same model.

    Attributes:
        path: where it was read; its name is part of the model's digest.
        contents: the bytes of its files by name; empty for the built-in generators.
        options: what flags and generator.toml state.
        files, spec: of the generator that the sender runs.

    """

    path: str
    contents: Mapping[str, bytes]
    options: ModelOptions
    files: tuple[FileDigest, ...]
    spec: GeneratorSpec

    @property
    def digest(self) -> str:
        """Sha256 (hex) that tells parcels apart."""
        return sha256_hex(repr((self.files, self.spec, self.options)).encode())

    def load(self, device: torch.device) -> Generator:
        """Load the model, having hashed its bytes again.

        Raises:
            CommitmentError: it is not the model that the sender runs.
            GeneratorError: it cannot be loaded here, for instance for want of its factory.

        """
        here = f"worker on {socket.gethostname()}"
        if self.path in BUILTIN:
            generator = load_generator(self.path, device=device)
        else:
            _check(self.contents, self.files, here)
            try:
                generator = load_model_bytes(Path(self.path), self.contents, self.options, device)
            except GeneratorError as error:
                raise GeneratorError(
                    f"the model cannot be loaded by a worker: {error.what}",
                    where=here,
                    expected=error.expected,
                    found=error.found,
                    hint="A factory's module must be importable on every machine of the cluster.",
                ) from error
        if generator.files != self.files:
            raise _another(here, model_digest(self.files), generator.digest)
        if generator.spec != self.spec:
            raise _another(here, str(self.spec.to_wire()), str(generator.spec.to_wire()))
        return generator


def pack_model(path: str, options: ModelOptions | None, generator: Generator) -> ModelParcel:
    """Read a model's files for sending it.

    Raises:
        InputError: the file cannot be read.
        CommitmentError: it is not what `generator` was loaded from.

    """
    files, spec = generator.files, generator.spec
    if path in BUILTIN:
        return ModelParcel(path, {}, ModelOptions(), files, spec)
    contents, stated = read_model(Path(path), options or ModelOptions())
    _check(contents, files, path)
    return ModelParcel(path, contents, stated, files, spec)


def _check(contents: Mapping[str, bytes], files: tuple[FileDigest, ...], where: str) -> None:
    found = tuple(file_digest(name, data) for name, data in sorted(contents.items()))
    if found != files:
        raise _another(where, model_digest(files), model_digest(found))


def _another(where: str, expected: str, found: str) -> CommitmentError:
    return CommitmentError(
        "not the model that is searched",
        where=where,
        expected=expected,
        found=found,
        hint="Keep the model's file unchanged during a run, and the same version of deniability "
        "on every machine.",
    )
