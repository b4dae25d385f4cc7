"""What a proof cites of the model that is accused: a binding, an evaluation; both verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deniability.crypto.encoding import b64encode
from deniability.crypto.keys import PublicKey
from deniability.evidence.subject import describe_model
from deniability.generators.base import Generator
from deniability.verify.binding import VerifiedBinding, verify_binding
from deniability.verify.cited import check_evaluated
from deniability.verify.deployment import check_same_model
from deniability.verify.evaluation import VerifiedEvaluation, verify_evaluation
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.files import read_capped


@dataclass(frozen=True)
class Citation:
    """A verified binding with the bytes that go into the bundle."""

    raw: bytes
    verified: VerifiedBinding

    @property
    def embedded(self) -> str:
        """The bytes in base64, as a bundle carries them."""
        return b64encode(self.raw)


def read_citation(path: Path, *, trust: TrustPolicy) -> Citation:
    """Read and verify the binding to be cited.

    Raises:
        InputError: there is no such file.
        DeniabilityError: as `verify_binding`.

    """
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="binding")
    return Citation(raw, verify_binding(raw, trust=trust, where=str(path)))


def signers(cited: Citation | None) -> tuple[PublicKey, ...]:
    """Return whom a bundle's reader has to trust for its binding, beside the bundle's signer."""
    return () if cited is None else (cited.verified.signer,)


def check_citation(cited: Citation, generator: Generator) -> None:
    """Check before the search that a binding is about this model.

    Raises:
        CommitmentError: it is about another, or another description of it.

    """
    model = describe_model(generator)
    check_same_model(cited.verified, model, generator.spec, where="--binding")


def read_evaluation(path: Path, *, trust: TrustPolicy) -> VerifiedEvaluation:
    """Read and verify the evaluation to be cited.

    Raises:
        InputError: there is no such file.
        DeniabilityError: as `verify_evaluation`.

    """
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="evaluation")
    return verify_evaluation(raw, trust=trust, where=str(path))


def check_evaluation(
    evaluated: VerifiedEvaluation, generator: Generator, registration: str
) -> None:
    """Check before the search that an evaluation is about this model as registered.

    Args:
        evaluated: to be cited.
        generator: the model.
        registration: payload digest of the registration whose controls are used.

    Raises:
        CommitmentError: it is about another.

    """
    model = describe_model(generator)
    check_evaluated(evaluated, model, generator.spec, registration, where="--evaluation")
