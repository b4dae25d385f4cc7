"""How it is told whether the model in service is shown to be the registered one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deniability.verify.deployment import Deployment
    from deniability.wire.binding import Binding

_NOT = "deployment not verified"
NOT_SHOWN = f"{_NOT}: nothing shows that the registered model is the one in service"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def deployment_line(deployment: Deployment | None) -> str:
    """Say whether the model in service is shown to be this one, by whom, and what is missing.

    Verified it is only by somebody else than the bundle's signer: another key that signed the
    binding, or a list of the outputs that the verifier has from whoever obtained them.
    """
    if deployment is None:
        return NOT_SHOWN
    if deployment.withdrawn is not None:
        return f"{_NOT}: the binding that the bundle cites {deployment.withdrawn}"
    if deployment.binding is None:
        return (
            f"{_NOT}: the bundle cites a binding by key {deployment.keyid}, which you do not "
            "trust; it was not looked into"
        )
    binding = deployment.binding
    who = f"signed by key {deployment.keyid}, {_when(deployment, binding)}"
    if not deployment.bound:
        return f"{_missing(deployment, binding)} ({who})"
    if deployment.own and not deployment.listed:
        return f"{_own_word(deployment, binding)} ({who})"
    return (
        f"deployment verified by {deployment.count} outputs obtained from the service ({who}); "
        f"{_chosen(deployment, binding)}"
    )


def _missing(deployment: Deployment, binding: Binding) -> str:
    from deniability.wire.binding import LEAST_OUTPUTS  # noqa: PLC0415 - most bundles cite none

    result = binding.result
    if result.verdict == "bound":
        return (
            f"{_NOT} for a file of this kind: {deployment.count} of the {result.count} outputs of "
            f"the binding count for it, where {LEAST_OUTPUTS} are needed"
        )
    missed = sum(picture.stop != "reached" for picture in binding.pictures)
    return (
        f"{_NOT}: of {len(binding.pictures)} outputs said to be obtained from the service {missed} "
        f"were not found in this model, and {result.reached} different ones were"
    )


def _own_word(deployment: Deployment, binding: Binding) -> str:
    said = (
        f"{_NOT} by anybody but the bundle's own signer, who says that {deployment.count} outputs "
        "of this model were obtained from the service"
    )
    if binding.obtained is None:
        return f"{said}, and chose them"
    return (
        f"{said}; compare the list of them, with sha256 {binding.obtained.sha256}, with that of "
        "whoever obtained them (--obtained)"
    )


def _chosen(deployment: Deployment, binding: Binding) -> str:
    if deployment.listed:
        return "they are those of the list that you brought"
    if binding.obtained is None:
        return "that signer chose them"
    return f"the list of them has sha256 {binding.obtained.sha256} (compare: --obtained)"


def _when(deployment: Deployment, binding: Binding) -> str:
    if deployment.time is not None:
        return f"which a timestamp shows at {deployment.time:{_TIME}}"
    return f"dated {binding.created_at} by that signer"
