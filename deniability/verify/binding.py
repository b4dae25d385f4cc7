"""Section 19 of SPEC.md: a binding at level V0, without the pictures or the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deniability.crypto.digest import sha256_hex
from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, StatisticsError
from deniability.stats.binding import binding_scope, decide_binding, kind_threshold
from deniability.verify.bundle import (
    NO_TIMES,
    check_beacon,
    check_kind,
    check_model,
    check_protocol,
)
from deniability.verify.envelope import VerifiedStatement, verify_envelope
from deniability.verify.follows import check_residual, equal
from deniability.verify.parse import parse_predicate
from deniability.verify.timestamps import Times
from deniability.verify.trust import TrustPolicy
from deniability.wire.binding import Binding, BindingKind, BoundPicture, listed_digests
from deniability.wire.numbers import order_of
from deniability.wire.protocol import Protocol
from deniability.wire.statement import BINDING_TYPE


@dataclass(frozen=True)
class VerifiedBinding:
    """A binding that passed V0. Only `verify_binding` makes one.

    Attributes:
        binding: the predicate, its result computed again.
        payload_digest: sha256 (hex) of the signed bytes.
        signer: the trusted key that signed it.
        times: what its timestamps show.

    """

    binding: Binding
    payload_digest: str
    signer: PublicKey
    times: Times = NO_TIMES


def verify_binding(raw: bytes, *, trust: TrustPolicy, where: str = "binding") -> VerifiedBinding:
    """Verify a binding's bytes at level V0.

    Raises:
        ParseError, UncheckedError, SignatureError, StatementError, TimestampError: as
            `verify_envelope`.
        CommitmentError: a digest, threshold or list does not follow.
        StatisticsError: the result does not follow from the pictures.

    """
    signed = verify_envelope(raw, trust=trust, predicate_type=BINDING_TYPE, where=where)
    binding = parse_predicate(signed.statement.predicate, Binding, where=where)
    _check_subjects(signed, binding, where)
    check_model(binding.model, where)
    check_protocol(binding.protocol, binding.protocol_digest, binding.generator, where)
    check_beacon(binding.beacon, where)
    equal("registration.chain", None, binding.registration.chain, where)
    kinds = _check_kinds(binding, where)
    _check_pictures(binding, kinds, where)
    _check_list(binding, where)
    equal("scope", binding_scope(binding.obtained), binding.scope, where)
    _check_result(binding, where)
    return VerifiedBinding(binding, signed.payload_digest, signed.signer, signed.times)


def _check_subjects(signed: VerifiedStatement, binding: Binding, where: str) -> None:
    # Step 19.2: the model's files, as in a registration.
    expected = [(file.name, file.sha256) for file in binding.model.files]
    found = [(subject.name, subject.digest.sha256) for subject in signed.statement.subject]
    equal("subject", expected, found, where)


def _check_kinds(binding: Binding, where: str) -> dict[str, BindingKind]:
    # Step 19.4: each kind once, fit for the model, its threshold computed again.
    protocol, found = binding.protocol, {k.kind.digest(): k for k in binding.kinds}
    equal("kinds (different)", len(binding.kinds), len(found), where)
    used = {picture.kind for picture in binding.pictures if picture.kind is not None}
    equal("kinds (of the pictures)", sorted(used), sorted(found), where)
    for index, entry in enumerate(binding.kinds):
        field, family = f"kinds.{index}", entry.kind.family
        check_kind(entry.kind, binding.generator, f"{field}.kind", where)
        equal(f"{field}.kind.edit", None, entry.kind.edit, where)
        equal(f"{field}.kind.family", True, family in protocol.families, where)
        count = protocol.controls if family == "jpeg" else 0
        equal(f"{field}.truths (count)", count, len(entry.truths), where)
        for truth in entry.truths:
            known = None if truth == "notFinite" else truth
            check_residual(known, protocol, f"{field}.truths", where)
        threshold = kind_threshold(entry.kind, entry.truths, protocol)
        equal(f"{field}.threshold", threshold, entry.threshold, where)
    return found


def _check_pictures(binding: Binding, kinds: dict[str, BindingKind], where: str) -> None:
    # Step 19.5: every picture says whether it was reached as its residual does, and no output
    # that its record shows to be a repeated one counts twice.
    names = [picture.file.name for picture in binding.pictures]
    equal("pictures (names)", len(names), len(set(names)), where)
    for index, picture in enumerate(binding.pictures):
        field = f"pictures.{index}"
        _check_fields(picture, field, where)
        _check_outcome(picture, kinds, binding.protocol, field, where)
        _check_repeats(index, binding.pictures, field, where)


def _check_fields(picture: BoundPicture, field: str, where: str) -> None:
    """Check that the fields that an outcome has are there, and no others."""
    examined = picture.stop != "notExamined"
    finite = examined and picture.stop != "nonFinite"
    expected = {
        "reason": not examined,
        "kind": examined,
        "pixels": examined,
        "residual": finite,
        "distance": finite,
        "restart": finite,
        "latent": finite,
        "pixel_for_pixel": picture.stop == "reached",
    }
    for name, there in expected.items():
        equal(f"{field}.{name} (there)", there, getattr(picture, name) is not None, where)


def _check_outcome(
    picture: BoundPicture,
    kinds: dict[str, BindingKind],
    protocol: Protocol,
    field: str,
    where: str,
) -> None:
    if picture.kind is None or picture.residual is None:
        return
    check_residual(picture.residual, protocol, f"{field}.residual", where)
    reached = order_of(picture.residual) <= order_of(kinds[picture.kind].threshold)
    equal(f"{field}.stop", reached, picture.stop == "reached", where)
    if picture.restart is not None and picture.restart >= protocol.restarts:
        equal(f"{field}.restart", f"below {protocol.restarts}", picture.restart, where)


def _check_repeats(index: int, pictures: Sequence[BoundPicture], field: str, where: str) -> None:
    picture, earlier = pictures[index], pictures[:index]
    if picture.repeats is None:
        same = next((i for i, other in enumerate(earlier) if shows_the_same(picture, other)), None)
        if same is not None:
            equal(f"{field}.repeats", f"that it repeats picture {same}", None, where)
    elif picture.repeats >= index or earlier[picture.repeats].repeats is not None:
        equal(f"{field}.repeats", "an earlier picture that counts", picture.repeats, where)


def shows_the_same(one: BoundPicture, other: BoundPicture) -> bool:
    """Tell whether two records alone show that the pictures are one output."""
    return any(
        a is not None and a == b
        for a, b in (
            (one.file.sha256, other.file.sha256),
            (one.pixels, other.pixels),
            (one.latent, other.latent),
        )
    )


def _check_list(binding: Binding, where: str) -> None:
    # Step 19.6: the pictures are those of the list, all of them and no others.
    obtained = binding.obtained
    if obtained is None:
        return
    field = f"{where}: obtained.contents"
    raw = b64decode_strict(obtained.contents, field, CommitmentError)
    equal("obtained.sha256", sha256_hex(raw), obtained.sha256, where)
    listed = listed_digests(raw, where=field)
    equal("obtained.count", len(listed), obtained.count, where)
    shown = {picture.file.sha256 for picture in binding.pictures}
    if set(listed) != shown:
        raise CommitmentError(
            "the pictures are not those of the list of what was obtained",
            where=f"{where}: pictures",
            expected=f"the {len(set(listed))} files of the list",
            found=f"{len(set(listed) - shown)} missing, {len(shown - set(listed))} not listed",
        )


def _check_result(binding: Binding, where: str) -> None:
    # Step 19.7: the whole result is computed again.
    computed = decide_binding(
        binding.pictures, binding.kinds, model_digest=binding.model.digest
    ).to_wire()
    for name, claimed in binding.result.to_wire().items():
        if claimed != computed[name]:
            raise StatisticsError(
                f"field result.{name} does not follow from the pictures",
                where=where,
                expected=str(computed[name])[:100],
                found="other words" if name == "sentence" else str(claimed),
            )
