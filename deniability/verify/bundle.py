"""Level V0: everything about a bundle that needs neither model nor picture (SPEC.md, steps 1-12).

No I/O happens here and nothing is trusted but the keys that the caller brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import FileDigest, model_digest, sha256_hex
from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PublicKey
from deniability.crypto.merkle import merkle_root
from deniability.errors import (
    CommitmentError,
    DeniabilityError,
    StatisticsError,
    TimestampError,
)
from deniability.stats.sentence import model_cautions, scope_lines
from deniability.stats.verdict import (
    complete_mismatches,
    decide,
    reached_threshold,
    residual,
)
from deniability.verify.chain import Dating, VerifiedChain, date_registration, verify_chain
from deniability.verify.cited import check_cited
from deniability.verify.envelope import SignedPayload, verify_envelope, verify_signature
from deniability.verify.exclusion import ReadExclusion, read_exclusion
from deniability.verify.follows import check_residual, equal, short
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times
from deniability.verify.trace import Trace, check_trace
from deniability.verify.trust import TrustPolicy
from deniability.wire.beacon import Beacon, round_time
from deniability.wire.controls import Control, ControlSet
from deniability.wire.exclusion import Exclusion
from deniability.wire.families import edits_of, kinds_of
from deniability.wire.generator import GeneratorSpec
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import ENGINE_VERSION, PRESETS, Protocol
from deniability.wire.registration import REGISTRATION_TYPE, ModelDescriptor, Registration
from deniability.wire.roles import (
    control_seed,
    mismatch_seed,
    most_labels,
)
from deniability.wire.statement import Subject

if TYPE_CHECKING:
    from deniability.verify.deployment import Deployment

NO_TIMES = Times()
NO_DATING = Dating()


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle that passed V0. Only `verify_exclusion` makes one.

    Attributes:
        exclusion: the predicate, every number of it recomputed.
        payload_digest: sha256 (hex) of the signed bytes.
        signer: the trusted key that signed it.
        times: what the bundle's timestamps show.
        dating: what is shown of the registration's time and of its seeds.
        chain: of the key's registrations, if the bundle has it.
        deployment: what the binding shows that it cites, if it cites one.

    """

    exclusion: Exclusion
    payload_digest: str
    signer: PublicKey
    times: Times = NO_TIMES
    dating: Dating = NO_DATING
    chain: VerifiedChain | None = None
    deployment: Deployment | None = None


@dataclass(frozen=True)
class VerifiedRegistration:
    """A registration that passed the same checks. Only `verify_registration` makes one."""

    registration: Registration
    payload_digest: str
    signer: PublicKey
    times: Times = NO_TIMES


def verify_bundle(raw: bytes, *, trust: TrustPolicy, where: str = "bundle") -> VerifiedBundle:
    """Verify a bundle's bytes at level V0.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError: as `verify_envelope`.
        CommitmentError: a digest, seed, index or root does not follow.
        StatisticsError: a number or the finding does not follow from the residuals.

    """
    signed = verify_signature(raw, trust=trust, where=where)
    read = read_exclusion(signed.payload, where=where)
    return verify_exclusion(read, signed, trust=trust, where=where)


def verify_exclusion(
    read: ReadExclusion, signed: SignedPayload, *, trust: TrustPolicy, where: str
) -> VerifiedBundle:
    """Verify an exclusion that was read from a signed payload: its predicate, or a part of that.

    Raises as `verify_bundle`.
    """
    exclusion = read.exclusion
    _check_subject(read, where)
    check_model(exclusion.model, where)
    _check_protocol(exclusion, where)
    _check_accused(exclusion, where)
    _check_control_sets(exclusion, where)
    _check_trace(exclusion, where)
    _check_finding(exclusion, where)
    chain = _check_chain(exclusion, signed, trust, where)
    deployment = _deployment(exclusion, signed, trust, where)
    # Step 15: what is cited as the known error rate is about the bundle's families.
    check_cited(exclusion, where)
    return VerifiedBundle(
        exclusion,
        signed.payload_digest,
        signed.signer,
        signed.times,
        _dating(exclusion, chain, where),
        chain,
        deployment,
    )


def verify_registration(
    raw: bytes, *, trust: TrustPolicy, where: str = "registration"
) -> VerifiedRegistration:
    """Verify a registration's bytes: signature, model digests, protocol, controls' seeds.

    Raises as `verify_bundle`.
    """
    signed = verify_envelope(raw, trust=trust, predicate_type=REGISTRATION_TYPE, where=where)
    registration = parse_predicate(signed.statement.predicate, Registration, where=where)
    model = registration.model
    expected = [Subject.model_validate(_subject(f.name, f.sha256)) for f in model.files]
    if list(signed.statement.subject) != expected:
        raise CommitmentError(
            "the statement's subjects are not the model's files", where=f"{where}: subject"
        )
    check_model(model, where)
    spec = registration.generator
    _check_protocol(registration, where)
    kinds = [controls.kind for controls in registration.controls]
    equal("controls (kinds)", len(kinds), len({kind.digest() for kind in kinds}), where)
    for controls in registration.controls:
        check_kind(controls.kind, spec, "controls.kind", where)
        equal("controls.kind.edit", None, controls.kind.edit, where)
        check_controls(
            controls,
            model,
            registration.protocol,
            dimension=spec.dimension,
            beacon=registration.beacon,
            where=where,
        )
    check_beacon(registration.beacon, where)
    return VerifiedRegistration(registration, signed.payload_digest, signed.signer, signed.times)


def _subject(name: str, sha256: str) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": sha256}}


def _check_subject(read: ReadExclusion, where: str) -> None:
    # Step 6: the accused file, and nothing else, is the subject.
    subjects, exclusion = read.subject, read.exclusion
    equal("subject (count)", 1, len(subjects), where)
    equal("subject.0.name", exclusion.accused.file.name, subjects[0].name, where)
    equal("subject.0.digest", exclusion.accused.file.sha256, subjects[0].digest.sha256, where)


def check_model(model: ModelDescriptor, where: str) -> None:
    """Check that a model's digests follow from its files.

    Raises:
        CommitmentError: one does not, or two files have one name.

    """
    # Step 7: both digests follow from the list of files.
    files = [FileDigest(f.name, f.size, f.sha256) for f in model.files]
    equal("model.files (names)", len(files), len({f.path for f in files}), where)
    equal("model.digest", model_digest(files), model.digest, where)
    weights = sha256_hex(canonical_json(sorted(f.sha256 for f in files)))
    equal("model.weights", weights, model.weights, where)


def check_protocol(protocol: Protocol, digest: str, spec: GeneratorSpec, where: str) -> None:
    """Check that a protocol is a known preset, and enough for the generator's labels.

    Raises:
        CommitmentError: it is not, or its digest does not follow.

    """
    # Step 8: a preset that this verifier knows, unchanged, with restarts for every class label.
    known = PRESETS.get(protocol.name)
    equal("protocol", known, protocol, where)
    equal("protocolDigest", protocol.digest, digest, where)
    most = most_labels(protocol.restarts)
    if spec.labels and spec.label_count > most:
        equal("generator.latent (labels)", f"at most {most}", spec.label_count, where)


def _check_protocol(signed: Exclusion | Registration, where: str) -> None:
    # A search stage by stage is one that the protocol has, and has neither encoder nor labels.
    check_protocol(signed.protocol, signed.protocol_digest, signed.generator, where)
    if signed.stages is not None:
        equal("stages", signed.protocol.stages, signed.stages, where)
        equal("encoder (beside stages)", None, signed.encoder, where)
        equal("generator.latent (labels)", 1, signed.generator.label_count, where)


def _check_accused(exclusion: Exclusion, where: str) -> None:
    # Step 9: the file's kind fits the file and the model, and is the controls' kind.
    accused, spec = exclusion.accused, exclusion.generator
    kind = accused.kind
    equal("controls.kind", kind, exclusion.controls.kind, where)
    equal("accused.kind (size)", kind.file_size, (accused.height, accused.width), where)
    check_kind(kind, spec, "accused.kind", where)
    equal("accused.kind.channels", accused.channels, kind.channels, where)
    if kind.family not in exclusion.protocol.families:
        equal("accused.kind.family", exclusion.protocol.families, kind.family, where)
    _check_narrowed(exclusion, where)
    only = exclusion.narrowed
    expected = kinds_of(
        exclusion.protocol, kind.stored, height=spec.height, width=spec.width, only=only
    )
    handled = [one.controls.kind for one in exclusion.handled or ()]
    equal("handled (count)", max(0, len(expected) - 1), len(handled), where)
    if not expected:
        field = "accused.kind" if only is None else "narrowed"
        equal(field, "a family of the protocol that the file can be of", only, where)
    for number, (wanted, found) in enumerate(zip(expected, (kind, *handled), strict=False)):
        field = f"handled.{number - 1}.controls.kind" if number else "accused.kind"
        equal(field, wanted, found, where)
    equal("scope", scope_of(exclusion), exclusion.scope, where)


def _check_narrowed(exclusion: Exclusion, where: str) -> None:
    """Check that each name is there once, and is a family that the protocol has."""
    only, edits = exclusion.narrowed, exclusion.protocol.edits
    if only is None:
        return
    if edits is None:  # there is nothing to narrow
        equal("narrowed", None, only, where)
        return
    equal("narrowed (names)", len(set(only)), len(only), where)
    for name in only:
        if name != "unedited" and name not in edits:
            equal("narrowed", "families of the protocol", name, where)


def scope_of(exclusion: Exclusion) -> tuple[str, ...]:
    """Return the scope that follows from a predicate's other fields."""
    return scope_lines(
        exclusion.accused.kind,
        model=exclusion.generator.format,
        chained=exclusion.registration.chain is not None,
        beacon=exclusion.beacon is not None,
        edits=edits_of(exclusion.handled or ()),
        bound=exclusion.binding is not None,
    )


def check_kind(kind: ObservationKind, spec: GeneratorSpec, field: str, where: str) -> None:
    """Check that outputs of this generator can be of this kind.

    Raises:
        CommitmentError: they cannot.

    """
    equal(
        f"{field} (model)",
        (spec.height, spec.width, spec.channels),
        (kind.height, kind.width, kind.model_channels),
        where,
    )
    if kind.family == "lossless":
        equal(f"{field}.rounding", spec.rounding, kind.rounding, where)


def _check_control_sets(exclusion: Exclusion, where: str) -> None:
    # Every family's own controls, each set as if it were the only one.
    handled = enumerate(exclusion.handled or ())
    sets = {f"handled.{number}.controls": one.controls for number, one in handled}
    for field, controls in {"controls": exclusion.controls, **sets}.items():
        check_controls(
            controls,
            exclusion.model,
            exclusion.protocol,
            dimension=exclusion.generator.dimension,
            beacon=exclusion.beacon,
            field=field,
            where=where,
        )


def check_controls(
    controls: ControlSet,
    model: ModelDescriptor,
    protocol: Protocol,
    *,
    dimension: int,
    where: str,
    beacon: Beacon | None = None,
    field: str = "controls",
) -> None:
    """Step 10: all n controls are there in order, from derived seeds, by this engine.

    Raises:
        CommitmentError: one is missing, repeated, out of order, or from another seed.

    """
    digest, kind = protocol.digest, controls.kind.digest()
    equal(f"{field}.engine", ENGINE_VERSION, controls.engine, where)
    equal(f"{field}.solver", protocol.solver(dimension), controls.solver, where)
    equal(f"{field} (count)", protocol.controls, len(controls.controls), where)
    truths = [control.truth for control in controls.controls]
    threshold = reached_threshold(
        truths, protocol, family=controls.kind.family, edit=controls.kind.edit
    )
    for index, control in enumerate(controls.controls):
        name = f"{field}.controls.{index}"
        equal(f"{name}.index", index, control.index, where)
        seed = control_seed(model, digest, kind, index, beacon=beacon).hex()
        equal(f"{name}.seed", seed, control.seed, where)
        equal(f"{name}.best", control.residual is None, control.best is None, where)
        equal(f"{name}.latent", control.residual is None, control.latent is None, where)
        check_residual(control.residual, protocol, f"{name}.residual", where)
        check_residual(control.truth, protocol, f"{name}.truth", where)
        _check_search(control, threshold, protocol, name, where)
    if not complete_mismatches(controls, protocol):
        raise CommitmentError(
            "not every way of mismatch is there with all its outputs, in order",
            where=f"{where}: {field}.mismatches",
        )
    for position, mismatch in enumerate(controls.mismatches):
        seed = mismatch_seed(model, digest, kind, mismatch.index, beacon=beacon).hex()
        equal(f"{field}.mismatches.{position}.seed", seed, mismatch.seed, where)


def _check_search(
    control: Control, threshold: Fraction, protocol: Protocol, field: str, where: str
) -> None:
    """Check that a search ended with the restart that reached the threshold, or ran them all."""
    if residual(control.residual) <= threshold:
        if not 1 <= control.restarts <= protocol.restarts:
            equal(f"{field}.restarts", f"1 to {protocol.restarts}", control.restarts, where)
        equal(f"{field}.best", control.restarts - 1, control.best, where)
        return
    equal(f"{field}.restarts", protocol.restarts, control.restarts, where)
    if control.best is not None and control.best >= control.restarts:
        equal(f"{field}.best", f"below {control.restarts}", control.best, where)


def _check_trace(exclusion: Exclusion, where: str) -> None:
    # Step 11: every restart is there, from its derived seed, and the root commits to all.
    families, handled = exclusion.finding.families, exclusion.handled or ()
    kind = exclusion.controls.kind
    check_trace(Trace(exclusion, exclusion.restarts, kind, families[0].threshold), where)
    root = merkle_root(exclusion.restarts.leaves).hex()
    equal("traceRoot", root, exclusion.trace_root, where)
    # With another number of families, or another one that is reached, the finding is not the one
    # that follows: step 12 says so.
    reached = exclusion.finding.reached
    first = len(handled) if reached is None else reached.family or 0
    for number, (one, family) in enumerate(zip(handled, families[1:], strict=False)):
        field, kind = f"handled.{number}", one.controls.kind
        threshold = family.threshold
        trace = Trace(
            exclusion, one.restarts, kind, threshold, f"{field}.restarts", decided=first <= number
        )
        check_trace(trace, where)
        equal(f"{field}.traceRoot", merkle_root(one.restarts.leaves).hex(), one.trace_root, where)


def _check_finding(exclusion: Exclusion, where: str) -> None:
    # Step 12: the whole finding is computed again and compared field by field.
    claimed = exclusion.finding
    computed = decide(
        protocol=exclusion.protocol,
        controls=exclusion.controls,
        restarts=exclusion.restarts,
        cautions=(
            *exclusion.accused.cautions,
            *model_cautions(exclusion.generator.format),
        ),
        model_digest=exclusion.model.digest,
        pixel_for_pixel=claimed.reached is not None and claimed.reached.pixel_for_pixel,
        handled=exclusion.handled or (),
    )
    if claimed == computed:
        return
    difference = _first_difference(computed.to_wire(), claimed.to_wire(), "finding")
    field, expected, found = difference or ("finding", computed, claimed)
    words = field.endswith((".sentence", ".reason"))
    raise StatisticsError(
        f"field {field} does not follow from the residuals",
        where=where,
        expected=short(expected),
        # A refusal does not lend its voice to what a forged sentence says.
        found="other words" if words else short(found),
    )


def _check_chain(
    exclusion: Exclusion, signed: SignedPayload, trust: TrustPolicy, where: str
) -> VerifiedChain | None:
    # Step 13: the chain is the same key's and has the registration; the beacon's value is one.
    check_beacon(exclusion.beacon, where)
    if exclusion.registration.chain is None:
        return None
    field = f"{where}: registration.chain"
    raw = b64decode_strict(exclusion.registration.chain, field, CommitmentError)
    try:
        chain = verify_chain(raw, trust=TrustPolicy((signed.signer,), trust.tsa_roots), where=field)
    except TimestampError:
        raise
    except DeniabilityError as cause:
        raise CommitmentError(
            f"the chain of registrations does not verify: {cause.what}",
            where=cause.where,
            expected=cause.expected,
            found=cause.found,
        ) from cause
    return chain


def _dating(exclusion: Exclusion, chain: VerifiedChain | None, where: str) -> Dating:
    beacon = exclusion.beacon
    if chain is None:
        return Dating(beacon=beacon, round_time=None if beacon is None else round_time(beacon))
    return date_registration(
        chain,
        exclusion.registration.payload,
        weights=exclusion.model.weights,
        protocol=exclusion.protocol_digest,
        beacon=beacon,
        where=f"{where}: registration.chain",
    )


def _deployment(
    exclusion: Exclusion, signed: SignedPayload, trust: TrustPolicy, where: str
) -> Deployment | None:
    # Step 14: a binding that is cited verifies, and is about this model.
    if exclusion.binding is None:
        return None
    # It is checked with functions of this module.
    from deniability.verify.deployment import deployment_of  # noqa: PLC0415

    return deployment_of(exclusion, signed.signer.keyid, trust=trust, where=where)


def check_beacon(beacon: Beacon | None, where: str) -> None:
    """Check that a beacon's value has the form of its source, and is its signature's hash.

    Raises:
        CommitmentError: it has not, or is not.

    """
    if beacon is None:
        return
    drand = beacon.source == "drand"
    equal("beacon.value (length)", 64 if drand else 128, len(beacon.value), where)
    equal("beacon.chain (length)", drand, len(beacon.chain) == 64, where)
    equal("beacon.signature", drand, beacon.signature is not None, where)
    if beacon.signature is not None:
        value = sha256_hex(bytes.fromhex(beacon.signature))
        equal("beacon.value", value, beacon.value, where)


def _first_difference(a: object, b: object, path: str) -> tuple[str, object, object] | None:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if found := _first_difference(a.get(key), b.get(key), f"{path}.{key}"):
                return found
        return None
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            if found := _first_difference(left, right, f"{path}.{index}"):
                return found
        return None
    return None if a == b else (path, a, b)
