"""`deny attribute`: search several models for one accused picture, and sign an open-set verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deniability.crypto.keys import PrivateKey
from deniability.errors import CommitmentError, InputError
from deniability.evidence.progress import Progress, Silent
from deniability.evidence.prove import Exhibit, examine, read_exhibit, run_identity
from deniability.evidence.register import (
    OpenRegistration,
    check_reproduction,
    check_writable,
    sidecar_path,
    state_folder,
)
from deniability.evidence.signing import sign_statement
from deniability.evidence.state import RunState
from deniability.evidence.subject import now
from deniability.generators.base import Generator
from deniability.stats.attribution import attribution_scope, decide_attribution
from deniability.verify.attribution import VerifiedAttribution, verify_attribution
from deniability.verify.parse import MAX_BUNDLE_BYTES, MAX_VALUES
from deniability.verify.trust import TrustPolicy
from deniability.wire.attribution import MAX_CANDIDATES, MIN_CANDIDATES, Attribution
from deniability.wire.edits import HandlingName, edits_that_apply
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.protocol import Protocol, mismatch_ways
from deniability.wire.statement import ATTRIBUTION_TYPE

#: Commas and opening brackets of a record of a control or mismatch, of a restart, and of all else
#: in a candidate: its generator, quantisation tables, finding and protocol. From above.
_PER_CONTROL, _PER_RESTART, _BESIDE = 9, 11, 1700
#: Of what a family has beside those: its kind with quantisation tables, its entry in the finding.
_PER_FAMILY = 300


@dataclass(frozen=True)
class Candidate:
    """A model to examine.

    Attributes:
        opened: its registration.
        chain: the key's chain of registrations, to be embedded.

    """

    opened: OpenRegistration
    chain: bytes | None = None


@dataclass(frozen=True)
class Attributed:
    """What `attribute` wrote, verified from disk.

    Attributes:
        path: of the attribution.
        verified: it as read back.
        sidecars: files with the candidates' latents, in order of the candidates.

    """

    path: Path
    verified: VerifiedAttribution
    sidecars: tuple[Path, ...]


def candidate_sidecar(output: Path, digest: str) -> Path:
    """Return where the latents of the candidate with this model digest go: beside the output."""
    return sidecar_path(_beside(output, digest))


def _beside(output: Path, digest: str) -> Path:
    return output.with_name(f"{output.name.removesuffix('.json')}.{digest[:16]}.json")


def check_models(generators: Mapping[str, Generator]) -> None:
    """Refuse models that cannot be told apart by their files, before hours of work.

    Args:
        generators: by the names that the user gave them.

    Raises:
        InputError: there are too few or too many, or two are the same.

    """
    if not MIN_CANDIDATES <= len(generators) <= MAX_CANDIDATES:
        raise InputError(
            "not a number of models that can be compared",
            where="--model",
            expected=f"{MIN_CANDIDATES} to {MAX_CANDIDATES} different models",
            found=str(len(generators)),
            hint="Of a single model, deny prove tells whether it made the picture.",
        )
    names: dict[str, str] = {}
    for name, generator in generators.items():
        first = names.setdefault(generator.weights_digest, name)
        if first != name:
            raise InputError(
                "the same model twice",
                where=name,
                expected="another model",
                found=f"the weights of {first}, sha256:{generator.weights_digest}",
                hint="Name each model once.",
            )


def check_sizes(protocols: Sequence[Protocol], families: Sequence[int] | None = None) -> None:
    """Refuse more than a verifier reads, before hours of work.

    Args:
        protocols: one for each model.
        families: how many the file has for each of them; as many as a file can have if None.

    Raises:
        InputError: the attribution would have too many values, or the presets do not search the
            same families of handling.

    """
    first = protocols[0]
    other = next((protocol for protocol in protocols if protocol.edits != first.edits), None)
    if other is not None:
        raise InputError(
            "the models are registered under presets that search different families of handling",
            where="--model",
            expected=f"one preset, such as {first.name}, or others with the same families",
            found=f"{first.name} and {other.name}",
            hint="Register them under presets of one kind.",
        )
    counted = [_families(protocol) for protocol in protocols] if families is None else families
    values = values_of(protocols, counted)
    if values > MAX_VALUES:
        raise InputError(
            "too many models for one attribution under these presets",
            where="--model",
            expected=f"controls, restarts and all else to be at most {MAX_VALUES} values",
            found=f"up to {values}",
            hint=f"{_most(protocols, counted)} can be compared at once; more under a smaller "
            "preset, such as the quick one.",
        )


def _most(protocols: Sequence[Protocol], families: Sequence[int]) -> str:
    """Say how many of the models fit, in their order."""
    fit = [n for n in range(len(protocols)) if values_of(protocols[:n], families) <= MAX_VALUES]
    count = max(fit)
    return f"The first {count}" if count >= MIN_CANDIDATES else "Not even two of these"


def values_of(protocols: Sequence[Protocol], families: Sequence[int]) -> int:
    """Return how many values an attribution has under these protocols, from above.

    Args:
        protocols: one for each model.
        families: how many a file has for each of them.

    """
    mismatches = len(mismatch_ways("jpeg"))
    return sum(
        _BESIDE
        + count
        * (
            _PER_CONTROL * (protocol.controls + mismatches * protocol.mismatch_outputs)
            + _PER_RESTART * protocol.searches
            + _PER_FAMILY
        )
        for protocol, count in zip(protocols, families, strict=False)
    )


def _families(protocol: Protocol) -> int:
    """Return how many families of handling a file has under a protocol at most."""
    size = {"model": (64, 64), "file": (64, 64)}
    return 1 + max(
        len(edits_that_apply(protocol.edits or (), **size, colour=True, family=family))
        for family in protocol.families
    )


def attribute(
    image: Path,
    candidates: Sequence[Candidate],
    *,
    key: PrivateKey,
    output: Path,
    resume: bool = False,
    progress: Progress | None = None,
    cache: Path | None = None,
    batch_limit: int | None = None,
    only: tuple[HandlingName, ...] | None = None,
) -> Attributed:
    """Search every model for the accused picture, decide, sign, write, and verify from disk.

    The order in which the models are given changes nothing.

    Args:
        image: the accused file.
        candidates: the models.
        key: the signing key.
        output: file for the attribution; the latents of each model go beside it.
        resume: continue an interrupted run for the same output.
        progress: is told what happens.
        cache: folder of control sets made on demand; the user's cache folder if None.
        batch_limit: most restarts at once; the memory decides if None.
        only: families of handling that the search is narrowed to; None for all of the presets.

    Raises:
        ImageError: the picture cannot be examined for one of the models.
        InputError: the models cannot be compared, or the file changed meanwhile.
        OutputError: something cannot be written.

    """
    report = progress or Silent()
    ordered = sorted(candidates, key=lambda c: c.opened.procedure.model.digest)
    check_models({f"candidate {i}": c.opened.procedure.generator for i, c in enumerate(ordered)})
    exhibits = _exhibits(image, ordered, only)
    check_sizes([c.opened.procedure.protocol for c in ordered], [len(e.families) for e in exhibits])
    digests = [c.opened.procedure.model.digest for c in ordered]
    check_writable(output)
    for candidate, digest in zip(ordered, digests, strict=True):
        check_writable(_beside(output, digest))
        check_reproduction(candidate.opened.procedure, candidate.opened.pictures)
    with ExitStack() as stack:
        # What is finished of one model is kept until all of it is signed.
        states = [
            stack.enter_context(
                RunState(
                    state_folder(_beside(output, digest)),
                    run_identity(exhibit, candidate.opened),
                    resume=resume,
                    note=report.note,
                )
            )
            for candidate, exhibit, digest in zip(ordered, exhibits, digests, strict=True)
        ]
        found = []
        for index, candidate in enumerate(ordered):
            report.note(f"Model {index + 1} of {len(ordered)}: sha256:{digests[index]}")
            examined = examine(
                exhibits[index],
                candidate.opened,
                side=candidate_sidecar(output, digests[index]),
                state=states[index],
                progress=report,
                cache=cache,
                batch_limit=batch_limit,
                chain=candidate.chain,
                only=only,
            )
            found.append(examined.exclusion)
        attribution = Attribution(
            finding=decide_attribution(found),
            scope=attribution_scope(found),
            picture=exhibits[0].file,
            candidates=tuple(found),
            created_at=now(),
        )
        write_atomic(
            output,
            sign_statement(
                attribution,
                predicate_type=ATTRIBUTION_TYPE,
                subjects=[attribution.picture],
                key=key,
            ),
        )
        verified = verify_attribution(
            read_capped(output, MAX_BUNDLE_BYTES, what="attribution"),
            trust=TrustPolicy((key.public,)),
            where=str(output),
        )
        for state in states:
            state.remove()
    return Attributed(output, verified, tuple(candidate_sidecar(output, d) for d in digests))


def _exhibits(
    image: Path, candidates: Sequence[Candidate], only: tuple[HandlingName, ...] | None
) -> list[Exhibit]:
    """Observe the file for every model, and make sure that it was one file each time."""
    procedures = [candidate.opened.procedure for candidate in candidates]
    exhibits = [
        read_exhibit(image, p.generator, protocol=p.protocol, only=only) for p in procedures
    ]
    for exhibit in exhibits:
        if exhibit.file != exhibits[0].file:
            raise CommitmentError(
                "the picture changed while it was read",
                where=str(image),
                expected=f"sha256 {exhibits[0].file.sha256}",
                found=f"sha256 {exhibit.file.sha256}",
            )
    return exhibits
