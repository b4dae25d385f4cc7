"""Step 14 of SPEC.md: what the binding that a bundle cites shows of the model in service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from deniability.crypto.encoding import b64decode_strict
from deniability.crypto.keys import PublicKey
from deniability.errors import CommitmentError, DeniabilityError, TimestampError, UncheckedError
from deniability.stats.binding import counted_for
from deniability.verify.binding import VerifiedBinding, verify_binding
from deniability.verify.parse import parse_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.binding import LEAST_OUTPUTS, Binding
from deniability.wire.exclusion import Exclusion
from deniability.wire.generator import GeneratorSpec
from deniability.wire.registration import ModelDescriptor


@dataclass(frozen=True)
class Deployment:
    """What a bundle shows of the model in service; only `deployment_of` makes one.

    Attributes:
        keyid: of the binding's signer, as the binding says while `binding` is None.
        binding: verified; None if it is signed by a key that the verifier does not trust.
        payload_digest: of the binding.
        signer: of the binding, while it is verified.
        own: whether the bundle's own signer signed it.
        count: outputs that count for the accused file's kind.
        time: at which the binding existed at the latest, by an authority the verifier trusts.
        listed: whether its list is one that the verifier has from elsewhere.
        withdrawn: why it does not count any more, as a clause.

    """

    keyid: str
    binding: Binding | None = None
    payload_digest: str | None = None
    signer: PublicKey | None = None
    own: bool = False
    count: int = 0
    time: datetime | None = None
    listed: bool = False
    withdrawn: str | None = None

    @property
    def bound(self) -> bool:
        """Whether enough outputs of a kind that counts here were found, and all there were."""
        bound = (
            self.withdrawn is None
            and self.binding is not None
            and self.binding.result.verdict == "bound"
        )
        return bound and self.count >= LEAST_OUTPUTS


def deployment_of(
    exclusion: Exclusion, signer: str, *, trust: TrustPolicy, where: str
) -> Deployment | None:
    """Verify the binding that an exclusion carries; None if it carries none.

    One by a key that the verifier does not trust is not looked into: it shows nothing and
    refuses nothing, as an unknown authority's timestamp does.

    Raises:
        CommitmentError: it does not verify, or is of another model.
        TimestampError: a timestamp of it is bad.

    """
    if exclusion.binding is None:
        return None
    field = f"{where}: binding"
    raw = b64decode_strict(exclusion.binding, field, CommitmentError)
    try:
        keyid = parse_bundle(raw, where=field).verification_material.public_key.hint
        try:
            verified = verify_binding(raw, trust=trust, where=field)
        except UncheckedError:
            return Deployment(keyid)
    except TimestampError:
        raise
    except DeniabilityError as cause:
        raise CommitmentError(
            f"the binding does not verify: {cause.what}",
            where=cause.where,
            expected=cause.expected,
            found=cause.found,
        ) from cause
    check_same_model(verified, exclusion.model, exclusion.generator, where=field)
    binding = verified.binding
    return Deployment(
        keyid=verified.signer.keyid,
        binding=binding,
        payload_digest=verified.payload_digest,
        signer=verified.signer,
        own=verified.signer.keyid == signer,
        count=counted_for(exclusion.accused.kind, binding.pictures, binding.kinds),
        time=verified.times.earliest,
    )


def check_same_model(
    verified: VerifiedBinding, model: ModelDescriptor, generator: GeneratorSpec, *, where: str
) -> None:
    """Check that a binding is about these weights, described alike.

    Raises:
        CommitmentError: it is about others.

    """
    binding = verified.binding
    if binding.model.weights != model.weights:
        raise CommitmentError(
            "the binding is of another model",
            where=f"{where}: model.weights",
            expected=model.weights,
            found=binding.model.weights,
        )
    if binding.generator != generator:
        raise CommitmentError(
            "the binding describes the model otherwise",
            where=f"{where}: generator",
            expected=str(generator.to_wire())[:300],
            found=str(binding.generator.to_wire())[:300],
        )
