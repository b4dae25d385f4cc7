"""Accused JPEGs: own outputs saved twice, or by an encoder that does not round, are not denied."""

import hashlib
import io

import numpy as np
import pytest
import toy_evidence as toy
from PIL import Image
from test_handled_denials import SIDE, Registered, make_generator

from deniability.imaging.jpeg_encoder import encoder_cautions, layout_of
from deniability.imaging.jpeg_markers import read_markers
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.imaging.observation import build_handling
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import PRESETS

QUALITY = 80
FIRST = {
    "jpeg-twice-444-30-49": (31, 48),
    "jpeg-twice-444-50-69": (52, 66),
    "jpeg-twice-444-70-84": (71, 84),
    "jpeg-twice-444-85-95": (86, 95),
}
EDITS = (*FIRST, "jpeg-twice-other-encoder", "jpeg-trellis")
PROTOCOL = toy.TINY.model_copy(
    update={
        "name": "test-jpeg-v1",
        "edits": EDITS,
        "restarts": 6,
        "accused_restarts": 8,
        "encoder_outputs": 128 * 60,
    }
)


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jpeg")
    generator = make_generator()
    with pytest.MonkeyPatch.context() as patch, toy.threads(1):
        patch.setitem(PRESETS, PROTOCOL.name, PROTOCOL)
        opened = {PROTOCOL.name: toy.register_toy(generator, folder, PROTOCOL)}
        yield Registered(generator, opened, folder)


def own(registered, number):
    drawn = toy.drawn(registered.generator, number + 1, "saved")
    return toy.own_pictures(registered.generator, drawn)[number]


def jpeg(pixels, quality):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=quality)
    return target.getvalue()


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def written(registered, data, name):
    path = registered.folder / f"{name}.jpg"
    path.write_bytes(data)
    return path


def by_trellis(pixels, quality):
    """A file of the trellis, with the markers of libjpeg."""
    kind = ObservationKind(
        family="jpeg",
        channels=1,
        height=SIDE,
        width=SIDE,
        model_channels=1,
        components="gray",
        luma_table=ijg_tables(quality)[0],
        quality=quality,
        orientation=1,
    )
    (data,) = build_handling(kind).files_by_trellis(pixels[None, None])
    # jpeglib calls the only component 0 in the frame and the scan (T.81, B.2.2 and B.2.3).
    changed = bytearray(data)
    for marker, place in ((b"\xff\xc0", 10), (b"\xff\xda", 5)):
        changed[data.index(marker) + place] = 1
    data = bytes(changed)
    header = read_markers(data, where="own")
    assert encoder_cautions(header, layout_of(header)) == ()
    return data


@pytest.mark.parametrize("name", FIRST)
def test_an_own_output_saved_twice_is_not_denied_by_its_family(registered, name):
    for number, quality in enumerate(FIRST[name]):
        data = jpeg(decoded(jpeg(own(registered, number), quality)), QUALITY)
        image = written(registered, data, f"twice-{quality}")
        found = registered.verdict(image, PROTOCOL, name)
        assert found.families[0].edit == name
        assert found.verdict != "excluded"
        assert found.families[0].recovered >= 54  # of 59


def test_an_own_output_of_another_encoder_before_is_not_denied(registered):
    name = "jpeg-twice-other-encoder"
    image = written(registered, jpeg(own(registered, 0), QUALITY), "plain")
    edit = registered.proof(image, PROTOCOL, name).verified.exclusion.accused.kind
    handling = build_handling(edit)
    seed = hashlib.sha256(b"other").digest()
    before = handling.edited(own(registered, 1)[None, None], [seed])[0, 0]
    image = written(registered, jpeg(before, QUALITY), "other-encoder")
    assert registered.verdict(image, PROTOCOL, name).verdict != "excluded"


def test_of_a_trellis_only_its_family_keeps_an_own_output_from_being_denied(registered):
    """Of outputs saved as such encoders do the file shows nothing of it: the markers can be any."""
    alone = []
    for number in range(3):
        data = by_trellis(own(registered, number), 50)
        image = written(registered, data, f"trellis-{number}")
        alone.append(registered.verdict(image, PROTOCOL, "unedited").verdict)
        both = registered.verdict(image, PROTOCOL, "unedited", "jpeg-trellis")
        assert both.verdict != "excluded"
    assert "excluded" in alone  # what the family is there for


def test_a_stranger_saved_twice_is_excluded_by_all_families(registered):
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    stripes = (60 + 130 * ((8 * x + 3 * y) % 1 > 0.5)).astype(np.uint8)
    image = written(registered, jpeg(decoded(jpeg(stripes, 75)), QUALITY), "stripes")
    found = registered.verdict(image, PROTOCOL)
    assert found.verdict == "excluded"
    assert [family.edit for family in found.families] == [None, *EDITS]
    assert "already a JPEG (4:4:4, q 70 to 84)" in found.sentence
    assert "quantised by a trellis" in found.sentence
