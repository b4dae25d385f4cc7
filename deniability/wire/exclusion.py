"""Predicate `exclusion/v1`: what a bundle says about one accused file and one model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.wire.base import (
    DecimalString,
    LongText,
    PlainDecimal,
    Sha256Hex,
    Text,
    Timestamp,
    WireModel,
)
from deniability.wire.beacon import Beacon
from deniability.wire.cited import CitedEvaluation
from deniability.wire.controls import ControlSet, Count
from deniability.wire.edits import EditName, HandlingName
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Family, Protocol, Stages
from deniability.wire.registration import Environment, FileDescriptor, ModelDescriptor
from deniability.wire.restarts import Restarts
from deniability.wire.statement import Base64Text

EXCLUSION_TYPE = "urn:deniability:exclusion/v1"

Verdict = Literal["excluded", "reached", "inconclusive"]
Tier = Literal["calibrated", "reached"]
GateName = Literal["tail-bound", "effect-margin", "recall", "complete-search", "file-history"]


class Accused(WireModel):
    """The accused file as received, and what was made of it.

    Attributes:
        file: the file; equal to the statement's subject.
        format, width, height, channels: after decoding.
        pixels: digest of the canonical pixels (SPEC.md).
        transforms: what decoding did, in order.
        cautions: facts that forbid `excluded`.
        kind: what kind of observation the file is.

    """

    file: FileDescriptor
    format: Text
    width: Annotated[int, Field(ge=1, le=65535)]
    height: Annotated[int, Field(ge=1, le=65535)]
    channels: Literal[1, 3]
    pixels: Sha256Hex
    transforms: tuple[Text, ...]
    cautions: tuple[Text, ...]
    kind: ObservationKind


class ExactFraction(WireModel):
    """A fraction as two integers."""

    numerator: Count
    denominator: Annotated[int, Field(ge=1, le=2**53)]


class Gate(WireModel):
    """One condition for `excluded`."""

    name: GateName
    passed: bool
    reason: Text


class FamilyFinding(WireModel):
    """The rule's numbers for one family of handling; every one is recomputed by verifiers.

    Attributes:
        family: of the file's cell.
        edit: what the output went through before; absent if nothing.
        n: controls.
        k: controls with residual >= the accused's.
        alpha, upper_bound: the bound on P(S >= s_x), rounded up, and its limit.
        p: conformal (1 + k)/(n + 1).
        statistic: the accused's smallest residual, absent if none was finite.
        threshold: at or below it a target counts as reached.
        percentile99: of the controls' residuals, absent if infinite.
        floor: of the residual by quantisation.
        allowance: of mismatch, absent if infinite.
        margin: κ times the largest of the three, rounded up; absent if infinite.
        recovered: controls recovered.
        gates: conditions for `excluded`, all of which must pass.

    """

    family: Family
    edit: EditName | None = None
    n: Count
    k: Count
    alpha: PlainDecimal
    upper_bound: PlainDecimal
    p: ExactFraction
    statistic: DecimalString | None = None
    threshold: DecimalString
    percentile99: DecimalString | None = None
    floor: DecimalString
    allowance: DecimalString | None = None
    margin: DecimalString | None = None
    recovered: Count
    gates: tuple[Gate, ...]


class Reached(WireModel):
    """The latent that makes the picture.

    Attributes:
        restart: whose best latent it is.
        family: in which of the finding's families, absent for the first.
        pixel_for_pixel: whether its output, quantised, equals the accused pixels everywhere.

    """

    restart: Count
    family: Annotated[int, Field(ge=1, le=63)] | None = None
    pixel_for_pixel: bool


class Finding(WireModel):
    """The finding, generated from the numbers by a fixed rule."""

    verdict: Verdict
    tier: Tier
    sentence: LongText
    families: Annotated[tuple[FamilyFinding, ...], Field(min_length=1, max_length=64)]
    reached: Reached | None = None


class RegistrationReference(WireModel):
    """Which registration was used.

    Attributes:
        payload: sha256 of the registration's signed payload.
        created_at: as it states; nothing proves it without a timestamp.
        chain: the key's chain as it was when proving: the file's bytes in base64.

    """

    payload: Sha256Hex
    created_at: Timestamp
    chain: Base64Text | None = None


class HandledSearch(WireModel):
    """The search for the picture as an output that was handled in one more way.

    Attributes:
        controls: own outputs handled so; their kind names the edit.
        restarts: the whole trace on the accused, in index order.
        trace_root: Merkle root (hex) over the restarts' canonical JSON.

    """

    controls: ControlSet
    restarts: Restarts
    trace_root: Sha256Hex


class Exclusion(WireModel):
    """The predicate; its statement's only subject is the accused file.

    Attributes:
        finding: what is asserted.
        scope: what is and is not covered, line by line.
        accused, model, generator, registration: about what.
        protocol, protocol_digest: the frozen preset.
        encoder: sha256 of the encoder's tensors.
        stages: of the generator, which was searched stage by stage; absent if it was not.
        beacon: the registration's: its value is in the controls' seeds.
        binding: of the service's outputs to the model: the signed file's bytes in base64.
        evaluation: of the procedure on this model: the known error rate, by reference.
        controls: the set used.
        restarts: the whole trace on the accused, in index order.
        trace_root: Merkle root (hex) over the restarts' canonical JSON.
        narrowed: families of handling that the search was narrowed to; absent for all of the
            protocol that apply to the file.
        handled: further families of handling, in the protocol's order.
        latents: sidecar with all latents and the encoder.
        environment, created_at: for the record.

    """

    finding: Finding
    scope: tuple[LongText, ...]
    accused: Accused
    model: ModelDescriptor
    generator: GeneratorSpec
    registration: RegistrationReference
    protocol: Protocol
    protocol_digest: Sha256Hex
    encoder: Sha256Hex | None = None
    stages: Stages | None = None
    beacon: Beacon | None = None
    binding: Base64Text | None = None
    evaluation: CitedEvaluation | None = None
    controls: ControlSet
    restarts: Restarts
    trace_root: Sha256Hex
    narrowed: Annotated[tuple[HandlingName, ...], Field(min_length=1, max_length=64)] | None = None
    handled: Annotated[tuple[HandledSearch, ...], Field(min_length=1, max_length=63)] | None = None
    latents: FileDescriptor
    environment: Environment
    created_at: Timestamp
