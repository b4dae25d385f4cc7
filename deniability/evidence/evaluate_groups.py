"""The groups of pictures of an evaluation: own outputs, copies, other generators, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deniability.errors import DeniabilityError, GeneratorError
from deniability.evidence.bind import pictures_of
from deniability.evidence.calibrate import produced_pictures
from deniability.evidence.copies import ModelCopy, as_copy, model_copy
from deniability.evidence.latents import drawn_latents
from deniability.evidence.outputs import signed_name
from deniability.evidence.procedure import Procedure
from deniability.evidence.progress import Progress
from deniability.evidence.prove import MAX_IMAGE_BYTES
from deniability.evidence.tensors import describe_bytes
from deniability.generators.base import Generator
from deniability.generators.builtin import BUILTIN, photo_path
from deniability.generators.load import load_generator
from deniability.imaging.decode import decode_picture
from deniability.imaging.edits.pillow import as_image, as_picture
from deniability.imaging.handling import Handling, Pixels
from deniability.stats.evaluation_words import COPIES, about_group
from deniability.wire.evaluation import EvaluatedGroup, NotApplied
from deniability.wire.files import read_capped
from deniability.wire.generator import GeneratorSpec
from deniability.wire.numbers import decimal_string
from deniability.wire.registration import FileDescriptor
from deniability.wire.roles import evaluation_seed

#: A photo that is enlarged by more than this is none any more.
_MOST_ENLARGED = 2


@dataclass(frozen=True)
class Group:
    """One group: what is signed of it, and what makes its pictures.

    Attributes:
        about: as signed.
        count: of pictures in every family.
        copied: the copy of the model whose outputs they are.
        maker: another generator whose outputs they are.
        pictures: that are there already, `N x C x H x W` uint8.

    """

    about: EvaluatedGroup
    count: int
    copied: ModelCopy | None = None
    maker: Generator | None = None
    pictures: Pixels | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.about.name

    def make(self, procedure: Procedure, handling: Handling, seeds: list[bytes]) -> Pixels:
        """Return its pictures in a family, `N x C x H x W` uint8, from derived seeds."""
        if self.pictures is not None:
            return self.pictures
        if self.maker is not None:
            made = Procedure(self.maker, procedure.model, procedure.protocol, None)
            return produced_pictures(
                made, handling, drawn_latents(self.maker.spec, handling.kind, seeds), seeds
            )
        latents = drawn_latents(procedure.generator.spec, handling.kind, seeds)
        with as_copy(procedure.generator, self.copied):
            return produced_pictures(procedure, handling, latents, seeds)


@dataclass(frozen=True)
class Strangers:
    """What a user brings to be told from the model.

    Attributes:
        others: other generators, by the names that the user gave them.
        folders: of pictures.

    """

    others: dict[str, Generator]
    folders: tuple[Path, ...] = ()


def picture_seeds(procedure: Procedure, kind: str, group: str, count: int) -> list[bytes]:
    """Derive the seeds of a group's pictures in the family of this kind."""
    protocol, beacon = procedure.protocol.digest, procedure.beacon
    return [
        evaluation_seed(procedure.model, protocol, kind, group, index, beacon=beacon)
        for index in range(count)
    ]


def groups_for(
    procedure: Procedure,
    strangers: Strangers,
    *,
    own: int,
    each: int,
    progress: Progress,
) -> tuple[list[Group], list[NotApplied]]:
    """Make all groups, own outputs first, and say which cannot be applied and why.

    Args:
        procedure: of the model.
        strangers: what the user brings.
        own: how many own outputs in each family.
        each: how many outputs of each copy and each other generator.
        progress: is told of each copy.

    Raises:
        InputError: a folder or picture of the user cannot be read.

    """
    found, missing = [Group(_about("own"), own)], []
    progress.phase("making copies of the model", len(COPIES))
    for number, name in enumerate(COPIES, start=1):
        try:
            copied = model_copy(procedure, name)
        except GeneratorError as error:
            missing.append(NotApplied(name=name, reason=_reason(error)))
        else:
            about = _about(name, distance=decimal_string(copied.distance))
            found.append(Group(about, each, copied=copied))
        progress.advance(number)
    for name, maker in _generators(procedure, strangers).items():
        why = _unfit(procedure, maker)
        if why is None:
            about = _about(name, weights=maker.weights_digest)
            found.append(Group(about, each, maker=maker))
        else:
            missing.append(NotApplied(name=name, reason=why))
    spec = procedure.generator.spec
    photos = _photos(spec)
    if photos is None:
        why = "the photos of this program would have to be enlarged more than twice"
        missing.append(NotApplied(name="photos", reason=why))
    else:
        found.append(photos)
    found += [
        _of_folder(folder, f"nonmembers-{number}", spec)
        for number, folder in enumerate(strangers.folders, start=1)
    ]
    return found, missing


def brought(data: bytes, spec: GeneratorSpec, *, where: str) -> Pixels:
    """Bring a picture to a model's size and channels: `C x H x W` uint8.

    The middle is cut out in the model's proportions and scaled by Lanczos's filter.

    Raises:
        ImageError: it is no picture that can be decoded.

    """
    decoded = as_image(np.moveaxis(decode_picture(data, where=where).pixels, 2, 0))
    image = decoded.convert("L" if spec.channels == 1 else "RGB")
    size = (spec.width, spec.height)
    return as_picture(ImageOps.fit(image, size, method=Image.Resampling.LANCZOS))


def _about(
    name: str,
    *,
    distance: str | None = None,
    weights: str | None = None,
    files: tuple[FileDescriptor, ...] | None = None,
) -> EvaluatedGroup:
    about = about_group(name)
    assert about is not None  # noqa: S101 - all names here are known
    return EvaluatedGroup(
        name=name,
        closeness=about[0],
        how=about[1],
        distance=distance,
        weights=weights,
        files=files,
    )


def _generators(procedure: Procedure, strangers: Strangers) -> dict[str, Generator]:
    """Return the generators of this program, then the user's."""
    device = procedure.generator.device
    found = {name: load_generator(name, device=device) for name in BUILTIN}
    return found | {
        f"other-{number}": maker for number, maker in enumerate(strangers.others.values(), start=1)
    }


def _unfit(procedure: Procedure, maker: Generator) -> str | None:
    """Say why outputs of a generator are no strangers of this model's kind; None if they are."""
    if maker.weights_digest == procedure.model.weights:
        return "it is the model itself"
    own, other = procedure.generator.spec, maker.spec
    wanted = (own.channels, own.height, own.width)
    shape = (other.channels, other.height, other.width)
    if shape == wanted:
        return None
    words = "{} x {} x {} (channels, height, width)"
    return f"its outputs are {words.format(*shape)}, the model's {words.format(*wanted)}"


def _photos(spec: GeneratorSpec) -> Group | None:
    path = photo_path()
    data = read_capped(path, MAX_IMAGE_BYTES, what="picture")
    side = min(decode_picture(data, where=path.name).pixels.shape[:2])
    if max(spec.height, spec.width) > _MOST_ENLARGED * side:
        return None
    return _of_files([(path.name, data)], "photos", spec)


def _of_folder(folder: Path, name: str, spec: GeneratorSpec) -> Group:
    paths = pictures_of(folder)
    read = [(str(path), read_capped(path, MAX_IMAGE_BYTES, what="picture")) for path in paths]
    return _of_files(read, name, spec)


def _of_files(files: Sequence[tuple[str, bytes]], name: str, spec: GeneratorSpec) -> Group:
    pictures = np.stack([brought(data, spec, where=where) for where, data in files])
    described = tuple(describe_bytes(signed_name(Path(where)), data) for where, data in files)
    return Group(_about(name, files=described), len(files), pictures=pictures)


def _reason(error: DeniabilityError) -> str:
    said = error.what if error.found is None else f"{error.what} ({error.found})"
    return "".join(c if c.isprintable() else " " for c in said)[:500]
