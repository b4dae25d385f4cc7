"""A registration: model, sampler, protocol and controls, fixed and signed before any accusation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deniability.wire.base import Sha256Hex, Text, Timestamp, WireModel
from deniability.wire.beacon import Beacon
from deniability.wire.controls import ControlSet, Count
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import Protocol, Stages

REGISTRATION_TYPE = "urn:deniability:registration/v1"


class FileDescriptor(WireModel):
    """A file by name, size in bytes and the sha256 that `sha256sum` prints."""

    name: Text
    size: Annotated[int, Field(ge=0, le=2**53)]
    sha256: Sha256Hex


class ModelDescriptor(WireModel):
    """A model by its digests.

    Attributes:
        digest: sha256 of the canonical list of {path, size, sha256}; file names count.
        weights: sha256 of the canonical list of sorted file sha256; names do not count.
        files: the files themselves.

    """

    digest: Sha256Hex
    weights: Sha256Hex
    files: Annotated[tuple[FileDescriptor, ...], Field(min_length=1, max_length=4096)]


class Environment(WireModel):
    """Where it ran: for the record, nothing is decided by it."""

    deniability: Text
    python: Text
    torch: Text
    numpy: Text
    pillow: Text
    jpeglib: Text
    platform: Text
    device: Text
    threads: Annotated[int, Field(ge=1, le=65536)]


class Registration(WireModel):
    """Predicate `registration/v1`; its subject is the model's files.

    Attributes:
        model: what is registered.
        generator: latent, output and entropy source, as used.
        protocol, protocol_digest: the frozen preset.
        encoder: sha256 of the encoder's tensors (SPEC.md), absent if none was trained.
        stages: of the generator, which is searched stage by stage; absent if it is not.
        controls: sets that do not depend on an accused file.
        sidecar: file with the encoder and the controls' best latents.
        beacon: whose value entered the controls' seeds, absent if none did.
        position: of the link in the key's chain (wire/chain.py), absent outside a chain.
        previous: payload digest of the link before it, absent for the first.
        environment, created_at: for the record.

    """

    model: ModelDescriptor
    generator: GeneratorSpec
    protocol: Protocol
    protocol_digest: Sha256Hex
    encoder: Sha256Hex | None = None
    stages: Stages | None = None
    controls: Annotated[tuple[ControlSet, ...], Field(min_length=1, max_length=64)]
    sidecar: FileDescriptor
    beacon: Beacon | None = None
    position: Count | None = None
    previous: Sha256Hex | None = None
    environment: Environment
    created_at: Timestamp
