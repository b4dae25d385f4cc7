"""`deny chain`: the key's chain of registrations, and what of it to publish."""

from __future__ import annotations

from deniability.cli.dating import TsaRootOption, read_roots
from deniability.cli.options import Json, Quiet, SigningKey
from deniability.cli.terminal import Output
from deniability.errors import InputError


def chain(
    key: SigningKey = None,
    tsa_root: TsaRootOption = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the chain of your key's registrations: its file and head, to be published."""
    from deniability.cli.keyfiles import read_signing_key, signing_key_path  # noqa: PLC0415
    from deniability.evidence.chain import chain_path, default_chain_folder  # noqa: PLC0415
    from deniability.verify.chain import verify_chain  # noqa: PLC0415
    from deniability.verify.parse import MAX_BUNDLE_BYTES  # noqa: PLC0415
    from deniability.verify.trust import TrustPolicy  # noqa: PLC0415
    from deniability.wire.files import read_capped  # noqa: PLC0415

    out = Output(json, quiet)
    public = read_signing_key(signing_key_path(key)).public
    path = chain_path(default_chain_folder(), public.keyid)
    if not path.exists():
        raise InputError(
            "this key has no chain yet", where=str(path), hint="deny register MODEL begins it."
        )
    trust = TrustPolicy((public,), read_roots(tsa_root))
    raw = read_capped(path, MAX_BUNDLE_BYTES, what="chain")
    verified = verify_chain(raw, trust=trust, where=str(path))
    links = verified.chain.links
    times = [verified.time_of(index) for index in range(len(links))]
    dates = ["undated" if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in times]
    out.field("chain", str(path))
    out.field("head", verified.chain.head)
    out.field("registrations", str(sum(link.kind == "registration" for link in links)))
    for index, (link, date) in enumerate(zip(links, dates, strict=True)):
        out.detail(f"{index}  {link.kind:<12}  {date}  weights sha256:{link.weights}")
    out.detail("Publish this file, or its head, where others can see it and you cannot change it.")
    out.result(
        {
            "chain": str(path),
            "head": verified.chain.head,
            "keyid": public.keyid,
            "links": [
                {**link.to_wire(), "time": None if time is None else date}
                for link, time, date in zip(links, times, dates, strict=True)
            ],
        }
    )
