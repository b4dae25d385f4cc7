"""Predicate `binding/v1`: outputs obtained from the live service, searched for in a model."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from deniability.errors import CommitmentError, DeniabilityError
from deniability.wire.base import DecimalString, PlainDecimal, Sha256Hex, Text, Timestamp, WireModel
from deniability.wire.beacon import Beacon
from deniability.wire.controls import Count
from deniability.wire.exclusion import RegistrationReference
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import Protocol
from deniability.wire.registration import Environment, FileDescriptor, ModelDescriptor
from deniability.wire.statement import Base64Text

#: Fewest different outputs that bind.
LEAST_OUTPUTS = 30
#: Confidence of the share that may come from something else.
CONFIDENCE = "0.95"
MAX_PICTURES = 4096
MAX_KINDS = 16
#: Largest list of obtained files, bytes.
MAX_LIST_BYTES = 2**20

BindingVerdict = Literal["bound", "not-bound"]
#: A truth that is not finite: a list has no absent entries.
Truth = DecimalString | Literal["notFinite"]

_LINE = re.compile(r"\\?([0-9a-f]{64})[ ][ *](.+)")


class BindingKind(WireModel):
    """A kind of file among the pictures, and when one of it counts as reached.

    Attributes:
        kind: of observation.
        truths: of JPEG kinds: residuals of the controls at their true latents, in index order.
        threshold: follows from them; of lossless kinds it is the protocol's resolution.

    """

    kind: ObservationKind
    truths: Annotated[tuple[Truth, ...], Field(max_length=100_000)]
    threshold: DecimalString


class BoundPicture(WireModel):
    """One picture and the best restart on it.

    Attributes:
        file: as obtained.
        stop: why the best restart ended; `notExamined`: the file cannot be the model's output.
        reason: of `notExamined`.
        repeats: place of an earlier picture that shows the same output.
        kind: digest of one of the binding's kinds.
        pixels: digest of the canonical pixels (SPEC.md).
        residual, distance: at the best latent, absent if no restart gave a finite number.
        restart: its index.
        latent: sha256 of its float32 little-endian bytes.
        pixel_for_pixel: whether its output, quantised and handled alike, is the picture exactly.

    """

    file: FileDescriptor
    stop: Literal["reached", "stalled", "exhausted", "nonFinite", "notExamined"]
    reason: Text | None = None
    repeats: Count | None = None
    kind: Sha256Hex | None = None
    pixels: Sha256Hex | None = None
    residual: DecimalString | None = None
    distance: DecimalString | None = None
    restart: Count | None = None
    latent: Sha256Hex | None = None
    pixel_for_pixel: bool | None = None


class Obtained(WireModel):
    """The list of what was obtained from the service, as its maker wrote it.

    Attributes:
        contents: the bytes of the file in base64: lines of `sha256sum`.
        sha256: of the file, to be compared with what its maker published.
        count: of its lines.

    """

    contents: Base64Text
    sha256: Sha256Hex
    count: Count


class BindingResult(WireModel):
    """What follows from the pictures by a fixed rule.

    Attributes:
        verdict: `bound` if all were reached, and enough different ones.
        sentence: the same in words.
        count: of different outputs; what repeats another is not counted.
        reached: those of them that were reached.
        share: upper bound on the share of the service's outputs that come from something else,
            if these were drawn as the users' are.

    """

    verdict: BindingVerdict
    sentence: Text
    count: Count
    reached: Count
    share: PlainDecimal


class Binding(WireModel):
    """The predicate; its statement's subjects are the model's files (ADR 0019).

    Attributes:
        result: what is asserted.
        scope: what it does not show, line by line.
        model, generator, registration, protocol, protocol_digest, beacon: as in an exclusion.
        kinds: of the pictures.
        pictures: every one, in order of name.
        obtained: the list that says which pictures these have to be; absent: the signer chose.
        latents: sidecar with the best latents.
        environment, created_at: for the record.

    """

    result: BindingResult
    scope: tuple[Text, ...]
    model: ModelDescriptor
    generator: GeneratorSpec
    registration: RegistrationReference
    protocol: Protocol
    protocol_digest: Sha256Hex
    beacon: Beacon | None = None
    kinds: Annotated[tuple[BindingKind, ...], Field(max_length=MAX_KINDS)]
    pictures: Annotated[tuple[BoundPicture, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    obtained: Obtained | None = None
    latents: FileDescriptor
    environment: Environment
    created_at: Timestamp


def listed_digests(
    data: bytes, *, where: str, error: type[DeniabilityError] = CommitmentError
) -> tuple[str, ...]:
    """Return the digests of a list that `sha256sum FILES` wrote, line by line.

    Raises:
        error: it is not such a list, or too long.

    """
    expected = "lines of sha256sum: 64 hex digits, two spaces, a name"
    if len(data) > MAX_LIST_BYTES:
        raise error("the list is too long", where=where, expected=f"{MAX_LIST_BYTES} bytes at most")
    try:
        lines = data.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError as cause:
        raise error("not a list of files", where=where, expected=expected) from cause
    found = [_LINE.fullmatch(line) for line in lines]
    for number, match in enumerate(found, start=1):
        if match is None:
            raise error(
                "not a list of files",
                where=f"{where}: line {number}",
                expected=expected,
                found=ascii(lines[number - 1])[:80],
            )
    return tuple(match[1] for match in found if match is not None)
