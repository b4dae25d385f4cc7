"""A bundle or an attribution, whichever the signed statement is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deniability.verify.bundle import VerifiedBundle, verify_exclusion
from deniability.verify.envelope import verify_signature
from deniability.verify.exclusion import ReadExclusion, read_either
from deniability.verify.trust import TrustPolicy
from deniability.wire.statement import ATTRIBUTION_TYPE

if TYPE_CHECKING:
    from deniability.verify.attribution import VerifiedAttribution


def verify_finding(
    raw: bytes, *, trust: TrustPolicy, where: str = "bundle"
) -> VerifiedBundle | VerifiedAttribution:
    """Verify a bundle or an attribution at level V0.

    Raises as `verify_bundle` and `verify_attribution`.
    """
    signed = verify_signature(raw, trust=trust, where=where)
    read = read_either(signed.payload, ATTRIBUTION_TYPE, where=where)
    if isinstance(read, ReadExclusion):
        return verify_exclusion(read, signed, trust=trust, where=where)
    # Most files are bundles, and need nothing of it.
    from deniability.verify.attribution import verify_statement  # noqa: PLC0415

    return verify_statement(signed, read, trust=trust, where=where)
