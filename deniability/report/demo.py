"""The story that `deny demo` tells: three accusations of the built-in generator, and a forgery."""

from __future__ import annotations

import base64
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from deniability.crypto.keys import (
    PrivateKey,
    generate_key,
    private_pem,
    read_private_key,
    read_public_key,
)
from deniability.errors import DeniabilityError, OutputError, VerificationError
from deniability.evidence.chain import chain_for
from deniability.evidence.progress import Progress
from deniability.evidence.prove import Proof, prove
from deniability.evidence.register import (
    OpenRegistration,
    open_registration,
    register,
    sidecar_path,
    state_folder,
)
from deniability.generators.builtin import photo_path
from deniability.generators.load import load_generator
from deniability.report.case import draw_case, own_picture
from deniability.report.wording import verify_command
from deniability.verify.bundle import verify_bundle
from deniability.verify.parse import MAX_BUNDLE_BYTES
from deniability.verify.trust import TrustPolicy
from deniability.wire.exclusion import Exclusion, Verdict
from deniability.wire.files import read_capped, write_atomic
from deniability.wire.protocol import Protocol

_MAX_PHOTO_BYTES = 2**20
_SEED = 2  # of the own output, and of the twin's


class DemoError(VerificationError):
    """The story did not end as it has to."""

    stage = "demo"


@dataclass(frozen=True)
class Plan:
    """One accusation to be made.

    Attributes:
        name: of its files.
        heading, story: what it shows.
        expected: verdict.
        source: where the picture comes from.

    """

    name: str
    heading: str
    story: str
    expected: Verdict
    source: Literal["photo", "builtin", "builtin-twin"]


PLAN = (
    Plan(
        "photo",
        "The generator is accused of a real photo",
        "A photo of a garment from Fashion-MNIST's test set. No generator made it.",
        "excluded",
        "photo",
    ),
    Plan(
        "twin",
        "The generator is accused of a picture by its twin",
        "The twin has the same architecture and the same training pictures, and another "
        "training seed.",
        "excluded",
        "builtin-twin",
    ),
    Plan(
        "own",
        "The generator is accused of one of its own outputs",
        f"The output of seed {_SEED}. The search is not told the seed.",
        "reached",
        "builtin",
    ),
)


@dataclass(frozen=True)
class DemoCase:
    """One accusation with its result.

    Attributes:
        plan: what was expected.
        image, bundle, latents, figure: files.
        exclusion: as read back from disk and verified with the public key's file.
        latent: that makes the picture, where one was found.

    """

    plan: Plan
    image: Path
    bundle: Path
    latents: Path
    figure: Path
    exclusion: Exclusion
    latent: list[float] | None

    @property
    def verdict(self) -> Verdict:
        """What was found."""
        return self.exclusion.finding.verdict


@dataclass(frozen=True)
class Forgery:
    """A copy of a bundle with one character changed, and what its verification said.

    Attributes:
        original, bundle: the files.
        offset: of the character, counted from 0.
        before, after: the character.
        residual_before, residual_after: what the signed payload says and said.
        stage, message: of the refusal; empty if it was not refused.

    """

    original: Path
    bundle: Path
    offset: int
    before: str
    after: str
    residual_before: str
    residual_after: str
    stage: str
    message: str


class Demo:
    """The story, told step by step: `register`, `accuse` each of `plan`, `forge`, `write_page`.

    Args:
        folder: for all files; made if missing, and refused if it holds something else.
        protocol: a preset.
        device: where the generator runs.
        resume: go on with an interrupted run.

    Raises:
        OutputError: the folder cannot be used.

    """

    plan = PLAN

    def __init__(
        self, folder: Path, protocol: Protocol, *, device: torch.device, resume: bool = False
    ) -> None:
        self.folder = folder
        self.protocol = protocol
        self.registration = folder / "builtin.registration.json"
        self.private_key = folder / "demo.key.pem"
        self.public_key = folder / "demo.pub.pem"
        self.cases: list[DemoCase] = []
        self.forgery: Forgery | None = None
        self._device = device
        self._resume = resume
        self._opened: OpenRegistration | None = None
        _prepare(folder, self.private_key)
        self.key = self._signing_key()
        self.generator = load_generator("builtin", device=device)

    def register(self, progress: Progress) -> None:
        """Register the built-in generator; with `resume`, take a registration that is there."""
        trust = TrustPolicy((self.key.public,))
        if self._resume and self.registration.exists():
            opened = open_registration(self.registration, self.generator, trust=trust)
            if opened.verified.registration.protocol == self.protocol:
                self._opened = opened
                return
        self._opened = register(
            self.generator,
            protocol=self.protocol,
            key=self.key,
            output=self.registration,
            resume=self._resume and state_folder(self.registration).exists(),
            progress=progress,
            chain=self.folder / "chains",
        )

    def accuse(self, number: int, progress: Progress) -> DemoCase:
        """Make the picture of one accusation, prove, draw, and verify from disk."""
        if self._opened is None:
            self.register(progress)
        assert self._opened is not None  # noqa: S101 - just registered
        plan = self.plan[number]
        image = self.folder / f"{plan.name}.png"
        write_atomic(image, self._picture(plan))
        bundle = self.folder / f"{plan.name}.bundle.json"
        proof = prove(
            image,
            self._opened,
            key=self.key,
            output=bundle,
            resume=self._resume and state_folder(bundle).exists(),
            progress=progress,
            cache=self.folder / "controls",
            chain=chain_for(
                self._opened.verified.payload_digest,
                self.key,
                folder=self.folder / "chains",
                beside=None,
            ),
        )
        figure = draw_case(self.folder / f"{plan.name}.figure.png", proof, self.generator)
        case = DemoCase(
            plan=plan,
            image=image,
            bundle=bundle,
            latents=sidecar_path(bundle),
            figure=figure,
            exclusion=self._verified(bundle),
            latent=_latent(proof),
        )
        self.cases.append(case)
        return case

    def forge(self) -> Forgery:
        """Change one character of the first bundle and have the copy verified."""
        original = self.cases[0].bundle
        raw = read_capped(original, MAX_BUNDLE_BYTES, what="bundle")
        statistic = self.cases[0].exclusion.finding.families[0].statistic or "0"
        offset, changed, residual = _changed(raw, statistic)
        bundle = self.folder / "forged.bundle.json"
        write_atomic(bundle, changed)
        stage = message = ""
        try:
            self._verified(bundle)
        except VerificationError as error:
            stage, message = error.stage, str(error)
        self.forgery = Forgery(
            original=original,
            bundle=bundle,
            offset=offset,
            before=chr(raw[offset]),
            after=chr(changed[offset]),
            residual_before=statistic,
            residual_after=residual,
            stage=stage,
            message=message,
        )
        return self.forgery

    def write_page(self) -> Path:
        """Write index.html, which shows the story."""
        from deniability.report.demo_page import demo_page  # noqa: PLC0415 - it imports this

        path = self.folder / "index.html"
        write_atomic(path, demo_page(self).encode())
        return path

    def check(self) -> None:
        """Check that the story ended as it has to.

        Raises:
            DemoError: a case ended otherwise, or the forgery was not refused.

        """
        for case in self.cases:
            if case.verdict != case.plan.expected:
                raise DemoError(
                    "a case of the demo did not end as it has to",
                    where=str(case.bundle),
                    expected=case.plan.expected,
                    found=case.verdict,
                    hint=case.exclusion.finding.sentence,
                )
        if self.forgery is None or not self.forgery.stage:
            raise DemoError("the forged bundle was not refused", where="forged.bundle.json")

    def files(self) -> list[Path]:
        """Return every file that was left, in an order to read them in."""
        made = [self.folder / "index.html", self.registration, sidecar_path(self.registration)]
        for case in self.cases:
            made += [case.image, case.bundle, case.latents, case.figure]
        if self.forgery is not None:
            made.append(self.forgery.bundle)
        return [path for path in (*made, self.public_key, self.private_key) if path.exists()]

    def commands(self, *, inside: bool = False, program: str = "deny") -> list[str]:
        """Return commands to try next.

        Args:
            inside: as typed in the folder itself.
            program: how `deny` is called.

        """

        def name(path: Path) -> str:
            return path.name if inside else str(path)

        key = name(self.public_key)
        first = self.cases[0]
        full = verify_command(name(first.bundle), key=key, image=name(first.image), model="builtin")
        output = name(self.folder / "seed-7.png")
        bundle = name(self.folder / "seed-7.bundle.json")
        own = ["deny", "prove", output, "--model", "builtin"]
        own += ["--registration", name(self.registration), "--key", name(self.private_key)]
        commands = [
            verify_command(name(first.bundle), key=key),
            full,
            f"{full} --replay 10",
            verify_command(name(self.folder / "forged.bundle.json"), key=key),
            shlex.join(["deny", "inspect", name(first.bundle)]),
            shlex.join(["deny", "generate", "builtin", "--seed", "7", "-o", output]),
            shlex.join([*own, "-o", bundle]),
        ]
        return [program + command.removeprefix("deny") for command in commands]

    def _signing_key(self) -> PrivateKey:
        """Read the demo's key, or make it."""
        if self.private_key.exists():
            key = read_private_key(self.private_key, None)
        else:
            key = generate_key()
            write_atomic(self.private_key, private_pem(key, None), mode=0o600, overwrite=False)
        write_atomic(self.public_key, key.public.pem)
        return key

    def _picture(self, plan: Plan) -> bytes:
        if plan.source == "photo":
            return read_capped(photo_path(), _MAX_PHOTO_BYTES, what="photo")
        generator = self.generator
        if plan.source == "builtin-twin":
            generator = load_generator(plan.source, device=self._device)
        return own_picture(generator, _SEED)

    def _verified(self, bundle: Path) -> Exclusion:
        """Verify a bundle from disk as anyone would, with the public key's file."""
        trust = TrustPolicy((read_public_key(self.public_key),))
        raw = read_capped(bundle, MAX_BUNDLE_BYTES, what="bundle")
        return verify_bundle(raw, trust=trust, where=str(bundle)).exclusion


def _prepare(folder: Path, key: Path) -> None:
    """Make the folder; one that holds something else than an earlier demo is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(True for _ in os.scandir(folder)) and not key.exists()
    except OSError as cause:
        raise OutputError(
            "the folder cannot be made or read", where=str(folder), found=cause.strerror
        ) from cause
    if taken:
        raise OutputError(
            "the folder is not empty, and holds no earlier demo",
            where=str(folder),
            hint="Name another one with --out.",
        )


def _latent(proof: Proof) -> list[float] | None:
    """Return the latent that makes the picture, if one was found."""
    reached = proof.verified.exclusion.finding.reached
    if reached is None:
        return None
    latent = proof.trace.restarts[reached.restart].latent
    return None if latent is None else [float(value) for value in latent]


def _changed(raw: bytes, statistic: str) -> tuple[int, bytes, str]:
    """Change one character of a bundle so that the statistic's last digit reads differently.

    Flipping the lowest bit of a digit's byte gives another digit, and in base64 a single bit lies
    in a single character.

    Returns:
        Offset of the character, the changed bytes, and what the statistic reads now.

    """
    encoded = json.loads(raw)["dsseEnvelope"]["payload"].encode()
    payload = bytearray(base64.b64decode(encoded))
    field = b'"statistic":"' + statistic.encode()
    at = payload.find(field)
    if at < 0:
        raise DeniabilityError("the bundle has no statistic to change", where="demo")
    digit = at + len(field) - 1
    payload[digit] ^= 1
    other = base64.b64encode(bytes(payload))
    position = next(
        i for i, pair in enumerate(zip(encoded, other, strict=True)) if len({*pair}) > 1
    )
    offset = raw.index(encoded) + position
    changed = raw[:offset] + other[position : position + 1] + raw[offset + 1 :]
    return offset, changed, statistic[:-1] + chr(payload[digit])
