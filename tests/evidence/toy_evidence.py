"""Small generators and protocols, so that whole proofs take a second; and dishonest signers."""

import base64
import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from deniability.crypto.canonical import canonical_json
from deniability.crypto.digest import FileDigest
from deniability.crypto.keys import generate_key
from deniability.crypto.merkle import merkle_root
from deniability.evidence.prove import prove
from deniability.evidence.register import register, sidecar_path
from deniability.evidence.signing import sign_statement
from deniability.evidence.tensors import describe_bytes, latent_digest, write_tensors
from deniability.generators.base import Generator
from deniability.generators.entropy import latents_from_seed
from deniability.stats.sentence import model_cautions
from deniability.stats.verdict import decide
from deniability.verify.bundle import verify_bundle
from deniability.verify.trust import TrustPolicy
from deniability.wire.exclusion import EXCLUSION_TYPE
from deniability.wire.generator import GeneratorSpec
from deniability.wire.protocol import Protocol
from deniability.wire.restarts import Restarts

SIDE = 8
KEY = generate_key()
TRUST = TrustPolicy((KEY.public,))


def _protocol(name, **changes):
    values = {
        "name": f"test-{name}-v1",
        "families": ("lossless", "jpeg"),
        "controls": 59,  # the fewest with which alpha 5 % can be shown
        "alpha": "0.05",
        "confidence": "0.95",
        "kappa": "10",
        "recall": "0.9",
        "restarts": 5,
        "dense_limit": 512,
        "iterations": 40,
        "adam_iterations": 200,
        "encoder_outputs": 0,
        "mismatch_outputs": 2,
        "resolution": "1.00000e-09",
    }
    return Protocol(**(values | changes))


TINY = _protocol("tiny")
ENCODED = _protocol("encoded", encoder_outputs=128 * 30)
NO_STEPS = _protocol("no-steps", iterations=0)
BY_ADAM = _protocol("adam", dense_limit=0, adam_iterations=600, restarts=3)
#: Searches that are cut off long before they have found anything.
BY_LUCK = _protocol("by-luck", dense_limit=0, adam_iterations=60, restarts=1)
BY_CG = _protocol("gncg", dense_limit=0, large_solver="gauss-newton-cg", cg_iterations=16)
#: As few searches as find this file's toys again.
BRIEF = _protocol("brief", restarts=2, iterations=10, encoder_outputs=128 * 10)
#: More restarts on the accused than on a control, and edits of every sort.
HANDLED = _protocol(
    "handled",
    alpha="0.1",
    controls=29,
    accused_restarts=6,
    iterations=20,
    edits=("tone", "mirrored", "other-rounding", "noisy", "jpeg-444-50-69"),
)
#: Few controls, and edits whose codecs are programs, or that depend on the processor.
CODECS = _protocol(
    "codecs",
    alpha="0.5",
    controls=5,
    restarts=2,
    iterations=6,
    edits=(
        *("bfloat16", "shifted", "jpeg-444-50-69", "jpeg-other-encoder", "webp-30-59"),
        "resized-bilinear",
    ),
)
BFLOAT16 = _protocol("bfloat16", alpha="0.1", controls=29, iterations=20, edits=("bfloat16",))
#: Style first, then the latent, also through an edit.
TWO_STAGES = _protocol(
    "two-stages",
    alpha="0.5",
    controls=5,
    restarts=3,
    encoder_outputs=128 * 30,
    stages="mapping-synthesis",
    edits=("mirrored", "tone"),
)
ALL = (
    TINY,
    ENCODED,
    BRIEF,
    BY_LUCK,
    NO_STEPS,
    BY_ADAM,
    BY_CG,
    HANDLED,
    CODECS,
    BFLOAT16,
    TWO_STAGES,
)


class Smooth(nn.Module):
    """R x 4 to gray pictures R x 1 x 8 x 8 by a small MLP whose latents are easily found."""

    def __init__(self, seed=0, dimension=4):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Linear(dimension, 32)
            self.second = nn.Linear(32, SIDE * SIDE)
            self.first.weight.data.mul_(1.4)
            self.second.weight.data.mul_(2.0)

    def forward(self, z):
        linear = self.first(z)
        hidden = torch.tanh(linear) + 0.3 * linear
        return torch.sigmoid(self.second(hidden)).reshape(-1, 1, SIDE, SIDE)


class Styled(nn.Module):
    """A mapping network that folds its 4 numbers, and `Smooth` behind it."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(4, 4) for _ in range(3)]
        for number, layer in enumerate(layers):
            layer.weight.data = torch.linalg.qr(torch.randn(4, 4, generator=_stream(number)))[0]
            layer.bias.data.zero_()
        rectified = [part for layer in layers for part in (layer, nn.LeakyReLU(0.3))]
        self.mapping = nn.Sequential(*rectified)
        self.synthesis = Smooth()

    def forward(self, z):
        return self.synthesis(self.mapping(z))


class Larger(nn.Module):
    """R x 4 to smooth gray pictures R x 1 x 16 x 16: large enough for every edit."""

    SIDE = 16

    def __init__(self):
        super().__init__()
        y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, self.SIDE)], indexing="ij")
        places = torch.stack([x, y, x * y, x**2, y**2, torch.ones_like(x)], dim=-1)
        weight = torch.randn(4, 6, 24, generator=_stream(7))
        self.register_buffer("places", places.reshape(-1, 6))
        self.register_buffer("weight", 0.4 * weight)
        self.register_buffer("bias", torch.randn(6, 24, generator=_stream(8)))
        self.register_buffer("mixed", torch.randn(24, generator=_stream(9)) / 3)

    def forward(self, z):
        planes = torch.einsum("rd,dkh->rkh", z, self.weight) + self.bias
        hidden = torch.tanh(torch.einsum("pk,rkh->rph", self.places, planes))
        return torch.sigmoid(hidden @ self.mixed).reshape(-1, 1, self.SIDE, self.SIDE)


class Trapdoor(Smooth):
    """Behind a threshold, the picture follows from signs alone: no gradient leads to it.

    It is R x 12 to R x 1 x 8 x 8, and what rounding to half precision changes is small.
    """

    DIMENSION = 12

    def __init__(self):
        super().__init__(dimension=self.DIMENSION)
        code = 0.8 * torch.randn(self.DIMENSION, SIDE * SIDE, generator=_stream(5))
        self.register_buffer("code", code)

    def forward(self, z):
        hidden = torch.sigmoid(torch.sign(z) @ self.code).reshape(-1, 1, SIDE, SIDE)
        return torch.where((z[:, :1] > 0.5)[:, :, None, None], hidden, super().forward(z))


class Constant(nn.Module):
    """One picture, whatever the latent is."""

    def __init__(self):
        super().__init__()
        self.register_buffer("picture", torch.rand(1, SIDE, SIDE, generator=_stream(6)))

    def forward(self, z):
        return self.picture + 0 * z.sum(dim=1)[:, None, None, None]


class Pixels(nn.Module):
    """The latent is the picture."""

    def forward(self, z):
        return z.reshape(-1, 1, SIDE, SIDE)


class NaN(Smooth):
    """Nothing but NaN."""

    def forward(self, z):
        return super().forward(z) * torch.nan


class Detached(Smooth):
    """The right pictures, and no derivative."""

    def forward(self, z):
        return super().forward(z.detach())


def _stream(seed):
    return torch.Generator().manual_seed(seed)


def make_generator(
    module, *, name="toy.pt", dimension=4, prior="normal", rounding="round", side=SIDE
):
    module = module.eval().requires_grad_(False)
    bounds = {"low": "0", "high": "1"} if prior == "uniform" else {}
    spec = GeneratorSpec.model_validate(
        {
            "latent": [{"name": "z", "shape": (dimension,), "prior": prior, **bounds}],
            "channels": 1,
            "height": side,
            "width": side,
            "output_range": ("0", "1"),
            "rounding": rounding,
            "entropy": {"source": "shake256", "seed_bits": 64},
            "format": "torchscript",
        }
    )
    return Generator(
        module=module,
        forward=module,
        spec=spec,
        device=torch.device("cpu"),
        files=(FileDigest(path=name, size=1, sha256=hashlib.sha256(name.encode()).hexdigest()),),
    )


def drawn(generator, count, salt=""):
    """Latents `count x d` from the prior, under seeds of no role in the program."""
    seeds = [hashlib.sha256(f"drawn {salt} {i}".encode()).digest() for i in range(count)]
    return torch.from_numpy(np.stack([latents_from_seed(generator.spec, s) for s in seeds]))


def own_pictures(generator, latents):
    """Uint8 pictures N x H x W, or N x H x W x 3, as the service stores them."""
    with torch.no_grad():
        pictures = generator.quantise(generator(latents)).numpy()
    return pictures[:, 0] if pictures.shape[1] == 1 else np.moveaxis(pictures, 1, 3)


def save_picture(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def own_file(folder, generator, *, number=0, salt="", name="own.png", **options):
    latents = drawn(generator, number + 1, salt)[number:]
    return save_picture(folder / name, own_pictures(generator, latents)[0], **options)


def stranger(folder, name="stranger.png", side=SIDE):
    """A smooth picture that none of these generators makes."""
    y, x = np.mgrid[0:side, 0:side] / side
    wave = 128 + 100 * np.sin(7 * x + 2) * np.cos(9 * y + 1)
    return save_picture(folder / name, wave.astype(np.uint8))


def register_toy(generator, folder, protocol=TINY, **options):
    return register(
        generator, protocol=protocol, key=KEY, output=folder / "registration.json", **options
    )


def prove_toy(image, opened, folder, **options):
    return prove(
        image,
        opened,
        key=KEY,
        output=folder / f"{image.name}.bundle.json",
        cache=folder / "cache",
        **options,
    )


def finding(proof):
    return proof.verified.exclusion.finding


def failed_gates(proof):
    return {g.name for g in finding(proof).families[0].gates if not g.passed}


@dataclass(frozen=True)
class Case:
    """What a verifier gets."""

    verified: object
    image: Path
    generator: Generator
    sidecar: Path

    def arguments(self):
        return {"image": self.image, "generator": self.generator, "sidecar": self.sidecar}


def case_of(proof, image, generator):
    return Case(proof.verified, image, generator, sidecar_path(proof.path))


def root_of(restarts):
    return merkle_root([canonical_json(r.to_wire()) for r in restarts]).hex()


def resigned(
    case,
    folder,
    *,
    tensors=None,
    controls=None,
    restarts=None,
    handled=None,
    name="forged",
    **changes,
):
    """Change a bundle and make it consistent again, as a dishonest signer would; V0 accepts it.

    Args:
        case: an honest case.
        folder: for the forged files.
        tensors: new sidecar.
        controls: new `ControlSet`.
        restarts: new trace.
        handled: new searches of further families.
        name: of the files.
        changes: other fields of the predicate.

    """
    exclusion = case.verified.exclusion
    side = folder / f"{name}.latents.safetensors"
    data = case.sidecar.read_bytes()
    if tensors is None:
        side.write_bytes(data)
    else:
        data = write_tensors(side, tensors)
    controls = controls or exclusion.controls
    restarts = Restarts.of(restarts or exclusion.restarts)
    handled = tuple(
        one.model_copy(update={"trace_root": root_of(one.restarts)})
        for one in handled or exclusion.handled or ()
    )
    claimed = exclusion.finding.reached
    found = decide(
        protocol=exclusion.protocol,
        controls=controls,
        restarts=restarts,
        cautions=(
            *exclusion.accused.cautions,
            *model_cautions(exclusion.generator.format),
        ),
        model_digest=exclusion.model.digest,
        pixel_for_pixel=claimed is not None and claimed.pixel_for_pixel,
        handled=handled,
    )
    forged = exclusion.model_copy(
        update={
            "finding": found,
            "controls": controls,
            "restarts": restarts,
            "trace_root": root_of(restarts),
            "handled": handled or None,
            "latents": describe_bytes(side.name, data),
            **changes,
        }
    )
    raw = sign_statement(
        forged, predicate_type=EXCLUSION_TYPE, subjects=[exclusion.accused.file], key=KEY
    )
    verified = verify_bundle(raw, trust=TRUST)
    return Case(verified, case.image, case.generator, side)


def with_digests(records, latents):
    """Give records (of those that have a latent) the digests of these latents."""
    rows = iter(latents)
    return tuple(
        r.model_copy(update={"latent": latent_digest(next(rows))}) if r.latent else r
        for r in records
    )


def payload_of(path):
    envelope = json.loads(Path(path).read_bytes())["dsseEnvelope"]
    return json.loads(base64.b64decode(envelope["payload"]))


class Notes:
    """Progress that remembers phases and notes."""

    def __init__(self):
        self.phases, self.notes = [], []

    def phase(self, name, _total):
        self.phases.append(name)

    def advance(self, _done, **_):
        pass

    def note(self, text):
        self.notes.append(text)


class Interruption(Notes):
    """Progress that interrupts at the `count`-th event of a phase."""

    def __init__(self, phase, count):
        super().__init__()
        self._phase, self._count = phase, count

    def advance(self, _done, **_):
        if self._phase in self.phases[-1]:
            self._count -= 1
            if self._count == 0:
                raise KeyboardInterrupt


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
