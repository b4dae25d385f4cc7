"""A model as it is sent to workers: bytes and description, with digests to check them against."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import torch

from deniability.crypto.digest import FileDigest, sha256_hex
from deniability.errors import CommitmentError, GeneratorError
from deniability.generators.base import Generator
from deniability.generators.builtin import BUILTIN
from deniability.generators.load import load_generator, load_model_bytes, read_model
from deniability.generators.options import ModelOptions
from deniability.wire.generator import GeneratorSpec


@dataclass(frozen=True)
class ModelParcel:
    """All that another process needs in order to load the same model.

    Attributes:
        path: where it was read; its name is part of the model's digest.
        data: the file's bytes; empty for the built-in generators.
        options: what flags and generator.toml state.
        files, spec: of the generator that the sender runs.

    """

    path: str
    data: bytes
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
            found = sha256_hex(self.data)
            if [found] != [file.sha256 for file in self.files]:
                raise _another(here, self.files[0].sha256, found)
            try:
                generator = load_model_bytes(Path(self.path), self.data, self.options, device)
            except GeneratorError as error:
                raise GeneratorError(
                    f"the model cannot be loaded by a worker: {error.what}",
                    where=here,
                    expected=error.expected,
                    found=error.found,
                    hint="A factory's module must be importable on every machine of the cluster.",
                ) from error
        if generator.files != self.files:
            raise _another(here, self.files[0].sha256, generator.files[0].sha256)
        if generator.spec != self.spec:
            raise _another(here, str(self.spec.to_wire()), str(generator.spec.to_wire()))
        return generator


def pack_model(path: str, options: ModelOptions | None, generator: Generator) -> ModelParcel:
    """Read a model's file for sending it.

    Raises:
        InputError: the file cannot be read.
        CommitmentError: it is not what `generator` was loaded from.

    """
    files, spec = generator.files, generator.spec
    if path in BUILTIN:
        return ModelParcel(path, b"", ModelOptions(), files, spec)
    data, stated = read_model(Path(path), options or ModelOptions())
    found = sha256_hex(data)
    if [found] != [file.sha256 for file in files]:
        raise _another(path, files[0].sha256, found)
    return ModelParcel(path, data, stated, files, spec)


def _another(where: str, expected: str, found: str) -> CommitmentError:
    return CommitmentError(
        "not the model that is searched",
        where=where,
        expected=expected,
        found=found,
        hint="Keep the model's file unchanged during a run, and the same version of deniability "
        "on every machine.",
    )
