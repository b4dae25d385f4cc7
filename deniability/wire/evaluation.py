"""Predicate `evaluation/v1`: how often the procedure is wrong on one model, measured (ADR 0022)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deniability.wire.base import DecimalString, PlainDecimal, Sha256Hex, Text, Timestamp, WireModel
from deniability.wire.beacon import Beacon
from deniability.wire.cited import Name
from deniability.wire.controls import ControlSet, Count
from deniability.wire.exclusion import RegistrationReference
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import Protocol
from deniability.wire.registration import Environment, FileDescriptor, ModelDescriptor

#: Most pictures of a group, families, groups, and what an evaluation leaves out.
MAX_PICTURES = 4096
MAX_FAMILIES = 64
MAX_GROUPS = 64

#: A smallest residual; a list has no absent entries.
Measured = DecimalString | Literal["notFinite"]
#: How near a group is to the model. Only of what is far a denial is hoped for.
Closeness = Literal["own", "near", "far"]


class EvaluatedGroup(WireModel):
    """Which pictures were examined, in every family that they fit.

    Attributes:
        name: `own`; a copy of the model; `other-N` and `builtin`, `builtin-twin`: another
            generator; `photos`: of this package; `nonmembers-N`: of the user.
        closeness: near ones are reported, and nothing is promised of them.
        how: what they are, in words that follow from the name.
        distance: of a copy: mean squared difference of its outputs to the model's.
        weights: of another generator.
        files: of pictures: as they were found, before they were brought to the model's size.

    """

    name: Name
    closeness: Closeness
    how: Text
    distance: DecimalString | None = None
    weights: Sha256Hex | None = None
    files: Annotated[tuple[FileDescriptor, ...], Field(max_length=MAX_PICTURES)] | None = None


class NotApplied(WireModel):
    """A group or family that was not examined, and why."""

    name: Name
    reason: Text


class GroupResult(WireModel):
    """One group's pictures in one family.

    Attributes:
        group: its name.
        residuals: smallest over the restarts, in order of index. `notFinite`: none was, or one of
            the restarts that would have to agree to a denial was not.
        denied: how many the family's rule denies.
        reached: how many it finds a latent for.
        at_least, at_most: one-sided bounds on the share that is denied, given these controls.
        auc: share of pairs with an own output in which this picture's residual is the larger, ties
            counted half; rounded down. Absent of `own`.
        iterations: linearisations or gradients of all the restarts.
        seconds: for the record.

    """

    group: Name
    residuals: Annotated[tuple[Measured, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    denied: Count
    reached: Count
    at_least: PlainDecimal
    at_most: PlainDecimal
    auc: PlainDecimal | None = None
    iterations: Count
    seconds: PlainDecimal


class SharedControlsTest(WireModel):
    """Own outputs denied by one set of controls, against the rule's promise.

    Attributes:
        allowed: most controls that may lie as far as a picture that is denied.
        critical: most denials that the promise explains, at the level of one family.
        p: probability of as many denials or more, if the promise holds; rounded up.
        passed: whether there are no more than the critical number.

    """

    allowed: Annotated[int, Field(ge=-1, le=2**53)]
    critical: Count
    p: PlainDecimal
    passed: bool


class UniformityTest(WireModel):
    """Whether p-values of own outputs are too small: exact one-sided Kolmogorov-Smirnov.

    Attributes:
        excess: largest amount by which the share of own outputs above a residual exceeds that of
            controls; rounded up.
        p: probability of as large a one, if own outputs are as controls; rounded up.
        passed: whether p is above the level of one family.

    """

    excess: PlainDecimal
    p: PlainDecimal
    passed: bool


class EvaluatedFamily(WireModel):
    """One family of handling.

    Attributes:
        name: `lossless`, `jpeg-75-420`, or the edit.
        controls: as `deny prove` would use them for a file of this kind.
        groups: in order of the evaluation's groups; one that is missing did not fit.
        shared: test of the number of own outputs denied.
        uniform: test of their p-values.

    """

    name: Name
    controls: ControlSet
    groups: Annotated[tuple[GroupResult, ...], Field(min_length=1, max_length=MAX_GROUPS)]
    shared: SharedControlsTest
    uniform: UniformityTest


class EvaluationResult(WireModel):
    """What follows from all families by a fixed rule.

    Attributes:
        sentence: in words.
        own, denied: own outputs over all families, and denials among them.
        at_most: largest bound of any family on the share of own outputs that it denies.
        promise_held: whether every family passed the test of shared controls.
        uniform: whether every family passed the test of p-values.

    """

    sentence: Text
    own: Count
    denied: Count
    at_most: PlainDecimal
    promise_held: bool
    uniform: bool


class Evaluation(WireModel):
    """The predicate; its statement's subjects are the model's files.

    Attributes:
        result: what is asserted.
        scope: what it does not show, line by line.
        model, generator, registration, protocol, protocol_digest, beacon: as in an exclusion.
        groups: own outputs first, then from near to far.
        families: in the order of the preset.
        narrowed: names of families that it was narrowed to; absent for all there are.
        not_applied: what was not examined, groups first.
        environment, created_at: for the record.

    """

    result: EvaluationResult
    scope: tuple[Text, ...]
    model: ModelDescriptor
    generator: GeneratorSpec
    registration: RegistrationReference
    protocol: Protocol
    protocol_digest: Sha256Hex
    beacon: Beacon | None = None
    groups: Annotated[tuple[EvaluatedGroup, ...], Field(min_length=1, max_length=MAX_GROUPS)]
    families: Annotated[tuple[EvaluatedFamily, ...], Field(min_length=1, max_length=MAX_FAMILIES)]
    narrowed: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)] | None = None
    not_applied: Annotated[tuple[NotApplied, ...], Field(max_length=128)]
    environment: Environment
    created_at: Timestamp
