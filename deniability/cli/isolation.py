"""V1 and V2 in an isolated child: private copies in, checked numbers out.

Every file is copied once into a private folder while it is hashed, and the child gets the copy:
a file that is exchanged between the hash and the use changes nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deniability.cli.answers import check_answer, check_binding_answer
from deniability.cli.evaluation_answers import check_evaluation_answer
from deniability.cli.options import Device
from deniability.cli.outputs import latents_beside
from deniability.crypto.canonical import canonical_json
from deniability.errors import CommitmentError, DeniabilityError, InputError
from deniability.generators.builtin import BUILTIN
from deniability.generators.folder import model_paths
from deniability.generators.options import config_path, stated_options
from deniability.sandbox.choose import choose_isolation
from deniability.sandbox.conversation import converse
from deniability.sandbox.interface import Grants, Isolation, IsolationError, Limits, Program
from deniability.sandbox.messages import Advance, Answer, Note, Phase
from deniability.sandbox.python import exposing, search_path

if TYPE_CHECKING:
    from deniability.cli.verification import VerificationRequest
    from deniability.evidence.progress import Progress
    from deniability.verify.binding import VerifiedBinding
    from deniability.verify.bundle import VerifiedBundle, VerifiedRegistration
    from deniability.verify.evaluation import VerifiedEvaluation
    from deniability.wire.registration import ModelDescriptor

_CHUNK = 1 << 20
_GIB = 1 << 30
#: Wall clock of V1, and of V2, unless --time-limit says otherwise, seconds.
_SECONDS, _SECONDS_OF_SEARCH = 3600, 24 * 3600


@dataclass(frozen=True)
class Plan:
    """How the model will be run.

    Attributes:
        isolation: the mechanism; None: in this process.
        why_not: why there is none, as a clause; empty if there is one.

    """

    isolation: Isolation | None
    why_not: str = ""

    @property
    def sentence(self) -> str:
        """Say how the model was run."""
        if self.isolation is None:
            return f"the model was run without isolation, as you ({self.why_not})"
        return (
            f"The model was run in a child process isolated by {self.isolation.name}: no network, "
            "no files but copies of these, bounded memory and time. The answer was computed in "
            "that process: a model that took it over could make up an answer, and nothing else."
        )


def plan(request: VerificationRequest, *, trust_model: bool) -> Plan:
    """Decide how to run the model.

    Raises IsolationError where there is no isolation and nobody said --trust-model.
    """
    wants_gpu = request.device is Device.CUDA or (
        request.device is Device.AUTO and trust_model and Path("/dev/nvidiactl").exists()
    )
    if wants_gpu:
        why = "a GPU's driver is reached past any isolation"
    else:
        choice = choose_isolation()
        if choice.isolation is not None:
            return Plan(choice.isolation)
        why = "; ".join(choice.reasons)
    if not trust_model:
        raise IsolationError(
            "running somebody else's model is running their code, on this machine and as you, "
            "and it cannot be isolated here",
            where="--model",
            found=why,
            hint="Use --device cpu, which can be isolated."
            if wants_gpu
            else "Install bubblewrap; or, if you trust whoever made this model file, add "
            "--trust-model.",
        )
    return Plan(None, why)


def limits(request: VerificationRequest) -> Limits:
    """Return the bounds: those asked for, or three quarters of the memory and an hour or a day."""
    memory = request.memory_limit * _GIB if request.memory_limit else _three_quarters()
    usual = _SECONDS if request.replay is None else _SECONDS_OF_SEARCH
    return Limits(memory=memory, seconds=request.time_limit or usual)


def _three_quarters() -> int:
    return max(2 * _GIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4)


def replay_isolated(
    isolation: Isolation,
    request: VerificationRequest,
    verified: VerifiedBundle,
    sidecar: Path,
    progress: Progress,
) -> Answer:
    """Run V1, and V2 if it was asked for, in a child and return its checked answer.

    Raises:
        CommitmentError: a file is another than the bundle's.
        IsolationError: the child broke its bounds or died.
        DeniabilityError: whatever V1 or V2 found wrong.

    """
    assert request.image is not None  # noqa: S101 - the request was checked
    with tempfile.TemporaryDirectory(prefix="deniability-") as folder:
        given, scratch = Path(folder).resolve() / "given", Path(folder).resolve() / "scratch"
        scratch.mkdir()
        exhibits = _Exhibits(given)
        wanted = verified.exclusion
        model = _copy_model(exhibits, str(request.model), wanted.model)
        message: dict[str, str | int] = {
            "bundle": exhibits.add(request.bundle, "bundle", None),
            "image": exhibits.add(request.image, "picture", (wanted.accused.file.sha256,)),
            "latents": exhibits.add(sidecar, "latents file", (wanted.latents.sha256,)),
            "model": model,
            "signer": base64.b64encode(verified.signer.der).decode("ascii"),
            "payload": verified.payload_digest,
            "candidate": wanted.model.digest,
            "options": json.dumps(dataclasses.asdict(request.flags.options())),
        }
        if request.replay is not None:
            message["count"] = request.replay
        answer = _ask(isolation, request, "isolated", message, exhibits, scratch, progress)
    check_answer(answer, wanted, request.replay)
    return answer


def replay_binding_isolated(
    isolation: Isolation,
    request: VerificationRequest,
    verified: VerifiedBinding,
    images: Sequence[Path],
    sidecar: Path,
    progress: Progress,
) -> Answer:
    """Run V1 of a binding in a child and return its checked answer.

    Args:
        isolation: the mechanism.
        request: what the verifier brought.
        verified: the binding.
        images: its pictures, in its order.
        sidecar: its latents file.
        progress: is told what happens.

    Raises as `replay_isolated`.

    """
    binding = verified.binding
    with tempfile.TemporaryDirectory(prefix="deniability-") as folder:
        given, scratch = Path(folder).resolve() / "given", Path(folder).resolve() / "scratch"
        scratch.mkdir()
        exhibits = _Exhibits(given)
        model = _copy_model(exhibits, str(request.model), binding.model)
        for number, (picture, image) in enumerate(zip(binding.pictures, images, strict=True)):
            wanted, name = (picture.file.sha256,), f"{number:04d}"
            exhibits.add(image, "picture", wanted, name=name)
        message: dict[str, str | int] = {
            "binding": exhibits.add(request.bundle, "binding", None),
            "images": str(given / "picture"),
            "latents": exhibits.add(sidecar, "latents file", (binding.latents.sha256,)),
            "model": model,
            "signer": base64.b64encode(verified.signer.der).decode("ascii"),
            "payload": verified.payload_digest,
            "options": json.dumps(dataclasses.asdict(request.flags.options())),
        }
        answer = _ask(isolation, request, "isolated_binding", message, exhibits, scratch, progress)
    check_binding_answer(answer, binding)
    return answer


def replay_evaluation_isolated(
    isolation: Isolation,
    request: VerificationRequest,
    verified: VerifiedEvaluation,
    registration: VerifiedRegistration | None,
    pictures: Mapping[str, Sequence[Path]],
    progress: Progress,
) -> Answer:
    """Run V1 of an evaluation, and V2 if it was asked for, in a child.

    Args:
        isolation: the mechanism.
        request: what the verifier brought; `registration` in it is the file of that.
        verified: the evaluation.
        registration: that it names, if it was brought.
        pictures: of the groups that were brought, in their order.
        progress: is told what happens.

    Returns:
        its checked answer.

    Raises as `replay_isolated`.

    """
    evaluation = verified.evaluation
    files = {group.name: group.files or () for group in evaluation.groups}
    with tempfile.TemporaryDirectory(prefix="deniability-") as folder:
        given, scratch = Path(folder).resolve() / "given", Path(folder).resolve() / "scratch"
        scratch.mkdir()
        exhibits = _Exhibits(given)
        message: dict[str, str | int] = {
            "evaluation": exhibits.add(request.bundle, "evaluation", None),
            "model": _copy_model(exhibits, str(request.model), evaluation.model),
            "pictures": str(given),
            "signer": base64.b64encode(verified.signer.der).decode("ascii"),
            "payload": verified.payload_digest,
            "options": json.dumps(dataclasses.asdict(request.flags.options())),
        }
        if registration is not None and request.registration is not None:
            copy = exhibits.add(request.registration, "registration", None)
            side, name = latents_beside(request.registration), latents_beside(Path(copy)).name
            wanted = (registration.registration.sidecar.sha256,)
            exhibits.add(side, "registration latents", wanted, name=name)
            message["registration"] = copy
            message["registrar"] = base64.b64encode(registration.signer.der).decode("ascii")
        for group, images in pictures.items():
            for number, (file, image) in enumerate(zip(files[group], images, strict=True)):
                exhibits.add(image, f"{group} picture", (file.sha256,), name=f"{number:04d}")
        if request.replay is not None:
            message["count"] = request.replay
        module = "isolated_evaluation"
        answer = _ask(isolation, request, module, message, exhibits, scratch, progress)
    check_evaluation_answer(answer, evaluation, request.replay)
    return answer


def _ask(
    isolation: Isolation,
    request: VerificationRequest,
    module: str,
    message: dict[str, str | int],
    exhibits: _Exhibits,
    scratch: Path,
    progress: Progress,
) -> Answer:
    """Run a module of the replay in a child, on private copies."""
    factory = _factory(request)
    grants = Grants(
        scratch=scratch,
        read=(exhibits.folder, *(_importable(factory) if factory else ())),
        folder=Path.cwd() if factory else None,
    )
    try:
        return converse(
            isolation,
            Program(f"deniability.evidence.replay.{module}", processes=True),
            grants,
            limits(request),
            request=canonical_json(message),
            listen=lambda heard: _pass_on(heard, progress),
        )
    except DeniabilityError as error:
        raise exhibits.renamed(error) from None


class _Exhibits:
    """Private copies of what the child may read, and what they were copied from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[str, str] = {}

    def add(
        self, path: Path, what: str, expected: tuple[str, ...] | None, *, name: str | None = None
    ) -> str:
        """Copy a file, hashing what is copied; refuse another than expected."""
        return self._copy(path, self.folder / what.partition(" ")[0], what, expected, name=name)

    def add_folder(self, folder: Path, config: Path | None, expected: tuple[str, ...]) -> str:
        """Copy exactly the files of a model that is a folder, and its description into it."""
        place = self.folder / "model" / (folder.resolve().name or "folder")
        for path in model_paths(folder).values():
            self._copy(path, place, "model", expected)
        if config is not None:
            self._copy(config, place, "model", None, name="generator.toml")
        self._names[str(place)] = str(folder)
        return str(place)

    def _copy(
        self,
        path: Path,
        place: Path,
        what: str,
        expected: tuple[str, ...] | None,
        *,
        name: str | None = None,
    ) -> str:
        place.mkdir(parents=True, exist_ok=True)
        copy, digest = place / (name or path.name), hashlib.sha256()
        try:
            with path.open("rb") as source, copy.open("xb") as target:
                while data := source.read(_CHUNK):
                    digest.update(data)
                    target.write(data)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cannot copy this {what}", where=str(path), found=reason) from error
        if expected is not None and digest.hexdigest() not in expected:
            raise CommitmentError(
                f"not the {what} that the bundle is about",
                where=str(path),
                expected=" or ".join(expected)[:300],
                found=digest.hexdigest(),
            )
        self._names[str(copy)] = str(path)
        self._names[str(place)] = str(path.parent)
        return str(copy)

    def renamed(self, error: DeniabilityError) -> DeniabilityError:
        """Return an error of the child with the user's names of its files."""
        fields = {
            name: self._original(getattr(error, name))
            for name in ("where", "expected", "found", "hint")
        }
        return type(error)(self._original(error.what) or "", **fields)

    def _original(self, text: str | None) -> str | None:
        if text is not None:
            for copy, path in self._names.items():
                text = text.replace(copy, path)
        return text


def _copy_model(exhibits: _Exhibits, model: str, described: ModelDescriptor) -> str:
    if model in BUILTIN:
        return model
    expected = tuple(file.sha256 for file in described.files)
    path = Path(model)
    config = config_path(path)
    if path.is_dir():
        return exhibits.add_folder(path, config, expected)
    copy = exhibits.add(path, "model", expected)
    if config is not None:
        exhibits.add(config, "model", None)
    return copy


def _factory(request: VerificationRequest) -> str | None:
    if request.model is None or request.model in BUILTIN:
        return None
    return stated_options(Path(request.model), request.flags.options()).factory


def _importable(factory: str) -> tuple[Path, ...]:
    """Return what a local factory may be imported from: sys.path and this folder, never a home."""
    folders = [Path(entry) for entry in (str(Path.cwd()), *search_path())]
    granted = [folder for folder in folders if not exposing(folder)]
    package = factory.partition(":")[0].partition(".")[0]
    for folder in folders:
        if exposing(folder):
            granted += [p for p in (folder / f"{package}.py", folder / package) if p.exists()]
    return tuple(granted)


def _pass_on(heard: Phase | Advance | Note, progress: Progress) -> None:
    if isinstance(heard, Phase):
        progress.phase(heard.name, heard.total)
    elif isinstance(heard, Advance):
        best = heard.best
        progress.advance(heard.done, best=None if best is None else float(best))
    else:
        progress.note(heard.text)
