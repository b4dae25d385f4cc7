"""`deny withdraw`, `deny revoke`, and the withdrawals that `deny verify` is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deniability.cli.options import Json, Quiet, SigningKey
from deniability.cli.terminal import Output

if TYPE_CHECKING:
    from deniability.crypto.keys import PrivateKey
    from deniability.verify.attribution import VerifiedAttribution
    from deniability.verify.bundle import VerifiedBundle
    from deniability.verify.withdrawal import WithdrawalFile

#: What a folder of withdrawals is searched for.
SUFFIX = ".withdrawal.json"
_MAX_FILES = 10_000

Reason = Annotated[
    str, typer.Option("--reason", help="Why, in one line; it is signed and shown to verifiers.")
]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", help=f"File to write; default: the name with {SUFFIX}."),
]


def withdraw(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="A bundle, attribution, examiner's attestation, binding or evaluation."
        ),
    ],
    reason: Reason,
    key: SigningKey = None,
    output: Target = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a finding back: a statement signed by the key that signed it."""
    from deniability.evidence.withdraw import present_time, withdraw_finding  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    out = Output(json, quiet)
    raw = read_capped(bundle, MAX_BUNDLE_BYTES, what="bundle")
    signer = _key(key)
    signed = withdraw_finding(
        raw, key=signer, reason=reason, time=present_time(), where=str(bundle)
    )
    target = output or bundle.with_name(bundle.name.removesuffix(".json") + SUFFIX)
    _write(out, target, signed, signer, "withdrawal")


def revoke(
    reason: Reason,
    key: SigningKey = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="From when on it must not be believed (2026-11-02T00:00:00Z): what a trusted "
            "timestamp shows to be older stays good. Default: always.",
        ),
    ] = None,
    output: Target = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Revoke a signing key: a statement signed by that key about itself."""
    from deniability.cli.keyfiles import PRIVATE_SUFFIX, signing_key_path  # noqa: PLC0415
    from deniability.evidence.withdraw import present_time, revoke_key  # noqa: PLC0415

    out = Output(json, quiet)
    signer = _key(key)
    name = signing_key_path(key).name.removesuffix(PRIVATE_SUFFIX)
    signed = revoke_key(signer, reason=reason, time=present_time(), since=since)
    _write(out, output or Path(name + SUFFIX), signed, signer, "revocation")


def _key(given: Path | None) -> PrivateKey:
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415

    return read_signing_key(signing_key_path(given))


def _write(out: Output, target: Path, raw: bytes, key: PrivateKey, what: str) -> None:
    from deniability.wire.files import write_atomic  # noqa: PLC0415

    write_atomic(target, raw, overwrite=False)
    out.field(what, str(target))
    out.field("signed by", f"key {key.public.keyid}")
    out.detail("Publish it where you published the finding: whoever verifies has to be given it:")
    out.detail(f"  deny verify BUNDLE --withdrawal {target}")
    out.result({what: str(target), "keyid": key.public.keyid})


def read_withdrawals(given: list[Path] | None) -> tuple[WithdrawalFile, ...]:
    """Read the withdrawals that a verifier names: files, and folders of `*.withdrawal.json`.

    Raises:
        InputError: one cannot be read, or there are too many.

    """
    if not given:
        return ()
    from deniability.errors import InputError  # noqa: PLC0415
    from deniability.verify.withdrawal import (  # noqa: PLC0415
        MAX_WITHDRAWAL_BYTES,
        WithdrawalFile,
    )
    from deniability.wire.files import read_capped  # noqa: PLC0415

    paths: list[Path] = []
    for path in given:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        paths += [p for p in inside if p == path or p.name.endswith(SUFFIX)]
    if len(paths) > _MAX_FILES:
        raise InputError(
            "too many withdrawals", where="--withdrawal", expected=f"at most {_MAX_FILES}"
        )
    return tuple(
        WithdrawalFile(read_capped(path, MAX_WITHDRAWAL_BYTES, what="withdrawal"), str(path))
        for path in paths
    )


def check_withdrawals(
    withdrawals: tuple[WithdrawalFile, ...],
    verified: VerifiedBundle | VerifiedAttribution,
    where: Path,
) -> list[str]:
    """Refuse a bundle that was taken back; return what to say of withdrawals without effect.

    Raises:
        WithdrawnError: the finding was withdrawn, or its key revoked.

    """
    if not withdrawals:
        return []
    from deniability.verify.withdrawal import refuse_withdrawn  # noqa: PLC0415

    return list(
        refuse_withdrawn(
            withdrawals,
            signer=verified.signer,
            payload_digest=verified.payload_digest,
            stamped=verified.times.earliest,
            where=str(where),
        )
    )
