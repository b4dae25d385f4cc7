"""Edits: done as programs do them, and modelled so that a search can move along."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imaging_samples import encode, smooth, to_bytes
from torch.func import jvp, vmap

from deniability.errors import InputError
from deniability.imaging.decode import decode_picture
from deniability.imaging.decoded_jpeg import DecodedJpegHandling
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits import build_edit
from deniability.imaging.edits.edit import REACH, free_numbers, within_reach
from deniability.imaging.edits.of_jpeg import jpeg_on_grid
from deniability.imaging.jpeg_tables import ijg_tables
from deniability.imaging.observation import build_handling, lossless_kind, observe
from deniability.imaging.residual import cell_residual, mean_squared
from deniability.stats.verdict import LOSSLESS_FLOOR
from deniability.wire.edits import EDITS, applies, changes_size, last_edit
from deniability.wire.observation import ObservationKind
from deniability.wire.protocol import PRESETS

SHAPES = [(1, 16, 16), (1, 28, 28), (3, 32, 32), (3, 24, 40)]
#: What nothing models: a search compares the output itself.
OVERLAYS = {"patched": 0.15, "bordered": 0.24, "captioned": 0.25}
WITHOUT_MODEL = {
    "noisy",
    "palette",
    *OVERLAYS,
    *(n for n in EDITS if n.startswith(("jpeg", "webp")) or "-of-jpeg-" in n),
}
#: How far a model may be from the program, in steps: half a step for each rounding on the way, and
#: what a filter with negative weights makes of those of the passes before.
STEPS_OFF = {
    "mirrored": 1e-3,
    "cut-out": 1e-3,
    "framed": 1e-3,
    "resized-nearest": 1e-3,
    "shifted": 0.51,
    "rotated": 0.51,
    "tone": 0.51,
    "colour": 0.51,
    "blurred-gaussian": 0.51,
    "cropped": 1.2,
    "composite": 1.9,
    "resized-bilinear": 1.2,
    "resized-bicubic": 1.2,
    "resized-lanczos": 1.2,
    "part-bilinear": 1.2,
    "part-bicubic": 1.2,
    "part-lanczos": 1.3,
    "halved": 2.5,
    "reduced": 2.5,
    "enlarged": 2.5,
    "blurred-box": 3.0,
}


def sizes(name, height, width):
    if not changes_size(name):
        return [(height, width)]
    if last_edit(name) == "cut-out":
        return [(height - 2, width - 3), (height, width - 1)]
    if last_edit(name) == "framed":
        return [(height + 2, width + 3), (height + 1, width)]
    larger = [(2 * height, 3 * width // 2), (height + 1, width)]
    # Of the half of 16 pixels too few are away from an unknown edge: then none count.
    return larger if name.startswith("part") else [(height // 2, width // 2), *larger]


CASES = [
    (name, shape, size)
    for name in EDITS
    for shape in SHAPES
    for size in sizes(name, *shape[1:])
    if applies(name, model=shape[1:], file=size, colour=shape[0] == 3)
]
MODELLED = [case for case in CASES if case[0] not in WITHOUT_MODEL]


def kind_of(name, shape, size):
    channels, height, width = shape
    stored = lossless_kind(channels=channels, height=size[0], width=size[1], rounding="round")
    return stored.edited(name, height=height, width=width)


def jpeg_kind(name, shape, components, quality=75):
    channels, height, width = shape
    luma, chroma = ijg_tables(quality)
    return ObservationKind(
        family="jpeg",
        channels=channels,
        height=height,
        width=width,
        model_channels=channels,
        components=components,
        luma_table=luma,
        chroma_table=None if channels == 1 else chroma,
        quality=quality,
        orientation=1,
        edit=name,
    )


def seed_of(number):
    return hashlib.sha256(b"edit %d" % number).digest()


def random_picture(shape, number):
    """Smooth by turns, and noise over the whole range."""
    if number % 2:
        return to_bytes(smooth(1, *shape, seed=number))[0]
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def modelled(edit, picture, parameters):
    values = torch.from_numpy(picture.astype(np.float64) / 255)[None]
    return edit.model(values, torch.from_numpy(parameters)[None])[0]


# --- as programs do it


@pytest.mark.parametrize(("name", "shape", "size"), CASES)
def test_done_to_bytes_and_the_same_from_the_same_seed(name, shape, size):
    edit, picture = build_edit(kind_of(name, shape, size)), random_picture(shape, 0)
    before = picture.copy()
    parameters = edit.sample(seed_of(1))
    assert parameters.shape == (edit.parameters,)
    assert (np.abs(parameters) <= 1).all()
    np.testing.assert_array_equal(parameters, edit.sample(seed_of(1)))
    done = edit.apply(picture, parameters, seed_of(1))
    assert done.dtype == np.uint8
    assert done.shape == (shape[0], *size)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(done, edit.apply(picture, parameters, seed_of(1)))
    if name == "noisy":
        assert (done != edit.apply(picture, parameters, seed_of(2))).any()


@pytest.mark.parametrize(("name", "shape", "size"), [c for c in CASES if c[0] == "noisy"])
def test_noise_is_between_one_and_four_steps(name, shape, size):
    edit = build_edit(kind_of(name, shape, size))
    picture = np.full(shape, 128, np.uint8)
    for number in range(5):
        done = edit.apply(picture, edit.sample(b""), seed_of(number)).astype(float)
        assert 0.7 < (done - 128).std() < 4.6


AFTER_JPEG = [case for case in CASES if "-of-jpeg-" in case[0]]


@pytest.mark.parametrize(("name", "shape", "size"), AFTER_JPEG)
def test_a_jpeg_comes_before_the_edit(name, shape, size):
    """Encoded by Pillow, decoded, and then what the edit in front of the name does."""
    edit, last = (build_edit(kind_of(n, shape, size)) for n in (name, last_edit(name)))
    picture = random_picture(shape, 1)
    parameters = edit.sample(seed_of(1))
    quality = edit.first(edit.kind).quality(seed_of(1))
    file = encode(np.moveaxis(picture, 0, 2), "JPEG", quality=quality, subsampling=2)
    pixels = np.asarray(decode_picture(file, where="x").pixels)
    decoded = np.moveaxis(pixels, 2, 0)[: shape[0]]
    done = edit.apply(picture, parameters, seed_of(1))
    np.testing.assert_array_equal(done, last.apply(decoded, parameters, seed_of(1)))
    values = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    moved = torch.from_numpy(parameters)[None].float()
    torch.testing.assert_close(edit.model(values, moved), last.model(values, moved))


COMPRESSED = [n for n in EDITS if n.startswith(("jpeg-4", "webp")) or "-of-jpeg-" in n]


@pytest.mark.parametrize("name", COMPRESSED)
def test_qualities_are_those_of_the_name(name):
    shape = (3, 24, 24)
    (size, *_) = sizes(name, *shape[1:])
    edit = build_edit(kind_of(name, shape, size))
    edit = edit.first(edit.kind) if "-of-jpeg-" in name else edit
    low, high = map(int, name.split("-")[-2:])
    drawn = {edit.quality(seed_of(number)) for number in range(400)}
    assert drawn == set(range(low, high + 1))


@pytest.mark.parametrize(("name", "shape", "size"), [c for c in CASES if c[0] in OVERLAYS])
def test_an_overlay_leaves_the_rest_and_covers_no_more_than_is_left_out(name, shape, size):
    handling = build_handling(kind_of(name, shape, size))
    assert handling.trims
    assert handling.edit.covered == OVERLAYS[name]
    pictures = np.stack([random_picture(shape, i) for i in range(20)])
    seeds = [seed_of(i) for i in range(20)]
    done = handling.edited(pictures, seeds)
    changed = (done != pictures).any(axis=1).mean(axis=(1, 2))
    assert changed.max() > 0
    shown = torch.from_numpy(pictures / 255.0).float()
    observed = handling.save(done)
    outside = cell_residual(handling.operator(shown), observed.low, observed.high, handling.slack)
    assert (mean_squared(outside) > 1e-3).any()
    assert mean_squared(handling.trim(outside)).max() <= float(LOSSLESS_FLOOR)


@pytest.mark.parametrize(("name", "shape", "size"), [c for c in CASES if c[0] == "cut-out"])
def test_a_part_is_at_its_own_scale(name, shape, size):
    edit, picture = build_edit(kind_of(name, shape, size)), random_picture(shape, 0)
    room = shape[1] - size[0], shape[2] - size[1]
    places = set()
    for number in range(100):
        u = edit.sample(seed_of(number))
        left, top = (round((u[i] + 1) / 2 * room[1 - i]) if room[1 - i] else 0 for i in (0, 1))
        done = edit.apply(picture, u, b"")
        part = picture[:, top : top + size[0], left : left + size[1]]
        np.testing.assert_array_equal(done, part)
        places.add((top, left))
    assert len(places) == (room[0] + 1) * (room[1] + 1)


@pytest.mark.parametrize(("name", "shape", "size"), [c for c in CASES if c[0] == "framed"])
def test_a_frame_leaves_the_output_as_it_is(name, shape, size):
    edit, picture = build_edit(kind_of(name, shape, size)), random_picture(shape, 0)
    room = size[0] - shape[1], size[1] - shape[2]
    for number in range(30):
        done = edit.apply(picture, edit.sample(seed_of(number)), b"")
        windows = [
            done[:, top : top + shape[1], left : left + shape[2]]
            for top in range(room[0] + 1)
            for left in range(room[1] + 1)
        ]
        assert any(np.array_equal(window, picture) for window in windows)


# --- models


@pytest.mark.parametrize(("name", "shape", "size"), MODELLED)
def test_a_model_gives_what_the_program_does(name, shape, size):
    edit = build_edit(kind_of(name, shape, size))
    visible = edit.visible()
    for number in range(8):
        picture, parameters = random_picture(shape, number), edit.sample(seed_of(number))
        done = edit.apply(picture, parameters, seed_of(number)).astype(float)
        off = np.abs(modelled(edit, picture, parameters).numpy() * 255 - done)
        counted = off if visible is None else off[:, visible]
        assert counted.size > 0
        assert counted.max() <= STEPS_OFF.get(name, 1e-3)


@pytest.mark.parametrize(("name", "shape", "size"), MODELLED)
def test_what_is_undone_is_about_what_it_was(name, shape, size):
    edit = build_edit(kind_of(name, shape, size))
    for number in (1, 3, 5):
        picture, parameters = random_picture(shape, number), edit.sample(seed_of(number))
        seen = modelled(edit, picture, parameters)[None]
        undone = edit.undo(seen, torch.from_numpy(parameters)[None])[0].numpy()
        assert undone.shape == shape
        inner = np.abs(undone * 255 - picture)[:, 5:-5, 5:-5]
        assert inner.mean() < (40 if name.startswith(("blurred", "resized", "part")) else 10)


@pytest.mark.parametrize(("name", "shape", "size"), MODELLED)
def test_a_model_is_differentiable_as_the_search_does_it(name, shape, size):
    """Several tangents at once, of all rows together."""
    edit, rows, count = build_edit(kind_of(name, shape, size)), 3, 2
    stream = torch.Generator().manual_seed(5)
    pictures = torch.from_numpy(smooth(rows, *shape, seed=7)) * 0.5 + 0.25  # nothing is clipped
    drawn = np.stack([edit.sample(seed_of(i)) for i in range(rows)])
    free = torch.from_numpy(free_numbers(drawn if edit.modes else 0.6 * drawn))
    moves = (
        torch.randn(count, *pictures.shape, generator=stream, dtype=torch.float64) * 0.1,
        torch.randn(count, *free.shape, generator=stream, dtype=torch.float64),
    )

    def model(pictures, numbers):
        return edit.model(pictures, within_reach(numbers))

    def along(d_pictures, d_numbers):
        return jvp(model, (pictures, free), (d_pictures, d_numbers))[1]

    slopes, step = vmap(along)(*moves), 1e-5
    for slope, d_pictures, d_numbers in zip(slopes, *moves, strict=True):
        ahead, behind = (
            model(pictures + sign * step * d_pictures, free + sign * step * d_numbers)
            for sign in (1, -1)
        )
        torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)
    if edit.parameters:
        alone = along(torch.zeros_like(pictures), moves[1][0])
        assert bool(alone.abs().amax() > 1e-3) is not edit.modes


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=4))
def test_free_numbers_stand_for_parameters(parameters):
    free = free_numbers(np.array(parameters))
    back = within_reach(torch.from_numpy(free)).numpy()
    np.testing.assert_allclose(back, parameters, atol=1e-12)


@given(st.floats(-1e6, 1e6))
def test_a_search_may_leave_the_bin_by_a_quarter_and_no_more(number):
    moved = float(within_reach(torch.tensor(number, dtype=torch.float64)))
    assert abs(moved) <= REACH == 1.25


@pytest.mark.parametrize("name", ["halved", "reduced", "enlarged"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_mode_is_tried(name, shape):
    edit = build_edit(kind_of(name, shape, shape[1:]))
    tried = edit.candidates(np.zeros((128, 1)))
    places = edit._place(torch.from_numpy(tried[:, 0])).tolist()
    assert places == list(range(len(edit._modes)))
    for number in range(50):
        assert edit.sample(seed_of(number)) in tried
    free = within_reach(torch.from_numpy(free_numbers(tried).astype(np.float32)))
    assert edit._place(free[:, 0]).tolist() == places  # also as it is stored


# --- which apply


@pytest.mark.parametrize(
    ("name", "model", "file", "colour", "expected"),
    [
        ("mirrored", (8, 8), (8, 8), False, True),
        ("mirrored", (8, 8), (8, 9), False, False),
        ("shifted", (16, 15), (16, 15), True, False),
        ("rotated", (16, 16), (16, 16), False, True),
        ("colour", (16, 16), (16, 16), False, False),
        ("jpeg-420-30-49", (16, 16), (16, 16), False, False),
        ("jpeg-444-30-49", (16, 16), (16, 16), False, True),
        ("cut-out", (20, 20), (16, 20), True, True),
        ("cut-out", (20, 20), (15, 20), True, False),
        ("cut-out", (20, 20), (20, 20), True, False),
        ("cut-out", (20, 20), (19, 21), True, False),
        ("framed", (20, 20), (25, 20), True, True),
        ("framed", (20, 20), (26, 20), True, False),
        ("resized-nearest", (20, 20), (5, 80), True, True),
        ("resized-nearest", (20, 20), (4, 20), True, False),
        ("resized-nearest", (20, 20), (20, 81), True, False),
        ("resized-nearest", (20, 20), (20, 20), True, False),
    ],
)
def test_which_files_an_edit_applies_to(name, model, file, colour, expected):
    assert applies(name, model=model, file=file, colour=colour) is expected


# --- cells


@pytest.mark.parametrize(("name", "shape", "size"), CASES)
def test_hidden_pixels_decide_nothing_and_all_others_count(name, shape, size):
    handling = build_handling(kind_of(name, shape, size))
    assert isinstance(handling, EditedHandling)
    visible = handling.edit.visible()
    if visible is None:
        assert handling._shown is None
        return
    wanted = np.flatnonzero(np.broadcast_to(visible, (shape[0], *size)))
    np.testing.assert_array_equal(handling._shown.numpy(), wanted)
    picture = np.random.default_rng(0).integers(0, 256, (1, shape[0], *size), dtype=np.uint8)
    other = np.where(visible, picture, 255 - picture)
    first, second = handling.save(picture), handling.save(other)
    for field in ("low", "high", "centre"):
        assert torch.equal(getattr(first, field), getattr(second, field))


def test_of_too_few_coordinates_none_is_left():
    """A 4:2:0 JPEG of 24 x 24 pixels, turned, shows one whole block: any model would meet that."""
    handling = build_handling(jpeg_kind("rotated", (3, 24, 24), "ycc420"))
    assert len(handling._shown) == 0
    assert len(build_handling(kind_of("shifted", (1, 16, 16), (16, 16)))._shown) == 64


@pytest.mark.parametrize("name", ["shifted", "cropped", "rotated"])
@pytest.mark.parametrize("components", ["gray", "ycc444", "ycc420"])
def test_blocks_that_show_a_hidden_pixel_decide_nothing(name, components):
    shape = (1 if components == "gray" else 3, 64, 48)
    handling = build_handling(jpeg_kind(name, shape, components))
    hidden = ~handling.edit.visible()
    touched = []
    for component in range(shape[0]):
        side = 16 if components == "ycc420" and component else 8
        blocks = hidden.reshape(64 // side, side, 48 // side, side).any(axis=(1, 3))
        touched.append(np.repeat(blocks.ravel(), 64))
    wanted = np.flatnonzero(~np.concatenate(touched))
    assert 0 < len(wanted) < sum(map(len, touched))
    np.testing.assert_array_equal(handling._shown.numpy(), wanted)


def test_where_nothing_is_left_to_compare_nothing_is_near():
    """Every block of a small JPEG shows the border: no residual, and never one of 0."""
    handling = build_handling(jpeg_kind("shifted", (3, 16, 16), "ycc444"))
    observed = handling.controls(random_picture((3, 16, 16), 0)[None], [seed_of(0)])
    assert observed.low.shape == (1, 0)
    values = handling.operator(torch.rand(1, 3, 16, 16))
    assert mean_squared(cell_residual(values, observed.low, observed.high)).isnan().all()


@pytest.mark.parametrize(("name", "shape", "size"), MODELLED)
def test_own_outputs_are_within_the_rounding_of_a_pixel(name, shape, size):
    handling = build_handling(kind_of(name, shape, size))
    pictures = np.stack([random_picture(shape, 2 * i + 1) for i in range(6)])
    seeds = [seed_of(i) for i in range(6)]
    residuals = _residuals(handling, pictures, seeds)
    # Pillow's boxes round to bytes six times: what adds up is more than that, and stays small.
    most = 3e-5 if name == "blurred-box" else float(LOSSLESS_FLOOR)
    assert max(residuals) <= most
    assert min(_residuals(handling, pictures, seeds, of=pictures[::-1])) > 1e-3


def _residuals(handling, pictures, seeds, *, of=None):
    """Residuals of the outputs themselves, or of others, at the true parameters."""
    observed = handling.controls(pictures, seeds)
    shown = torch.from_numpy((pictures if of is None else of) / 255.0).float()
    values = handling.operator(handling.edit.model(shown, within_reach(handling.parameters(seeds))))
    return mean_squared(cell_residual(values, observed.low, observed.high, handling.slack)).tolist()


def grainy(count, shape):
    """Smooth pictures with some grain, and none of it clipped."""
    grain = np.random.default_rng(2).normal(0, 12, (count, *shape))
    return np.clip(to_bytes(smooth(count, *shape, seed=1)) + grain, 0, 255).astype(np.uint8)


DECODED = [n for n in EDITS if n.startswith(("jpeg-444", "jpeg-420", "mirrored-of-jpeg"))]


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_quality_of_a_decoded_jpeg_is_found_again(name, shape):
    if not applies(name, model=shape[1:], file=shape[1:], colour=shape[0] == 3):
        pytest.skip("of colour only")
    handling = build_handling(kind_of(name, shape, shape[1:]))
    assert isinstance(handling, DecodedJpegHandling)
    first = jpeg_on_grid(handling.edit)
    low, high, sampling = first.lowest, first.highest, first.subsampling
    pictures = grainy(high - low + 1, shape)
    decoded = []
    for quality, picture in zip(range(low, high + 1), pictures, strict=True):
        data = encode(np.moveaxis(picture, 0, 2), "JPEG", quality=quality, subsampling=sampling)
        pixels = np.moveaxis(decode_picture(data, where="x").pixels, 2, 0)
        decoded.append(pixels[..., ::-1] if first is not handling.edit else pixels)
    values = handling.operator(torch.from_numpy(np.stack(decoded) / 255.0).float())
    blocks = values.double().reshape(len(decoded), 3 if handling._colour else 1, -1, 64) * 127.5
    found = handling._estimated(blocks)
    same = [ijg_tables(a)[0] == ijg_tables(b)[0] for a, b in zip(found, range(low, high + 1))]  # noqa: B905
    assert sum(same) >= 0.9 * len(same)


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("shape", SHAPES)
def test_own_outputs_lie_near_the_cell_of_a_decoded_jpeg(name, shape):
    if not applies(name, model=shape[1:], file=shape[1:], colour=shape[0] == 3):
        pytest.skip("of colour only")
    handling = build_handling(kind_of(name, shape, shape[1:]))
    pictures, seeds = grainy(12, shape), [seed_of(i) for i in range(12)]
    assert max(_residuals(handling, pictures, seeds)) <= float(LOSSLESS_FLOOR)
    assert min(_residuals(handling, pictures, seeds, of=pictures[::-1])) > 1e-3


def test_an_accused_file_is_taken_as_controls_are():
    """A PNG decoded from a JPEG by somebody else's hands gives the observation of a control."""
    name, shape = "jpeg-420-70-84", (3, 32, 32)
    protocol = PRESETS["pristine-quick-v1"].model_copy(update={"edits": ("mirrored", name)})
    handling = build_handling(kind_of(name, shape, shape[1:]))
    picture = grainy(1, shape)
    done = handling.edited(picture, [seed_of(0)])
    data = encode(np.moveaxis(done[0], 0, 2), "PNG")
    found = observe(
        decode_picture(data, where="x"),
        data,
        channels=3,
        height=32,
        width=32,
        where="x",
        protocol=protocol,
    )
    (first, _), (last, observations) = found.further
    assert [first.kind.edit, last.kind.edit] == ["mirrored", name]
    control = handling.controls(picture, [seed_of(0)])
    for field in ("low", "high", "centre", "pixels"):
        assert torch.equal(getattr(observations, field), getattr(control, field))
    assert found.cautions == ()  # the JPEG that it was is one of the families
    plain = observe(
        decode_picture(data, where="x"), data, channels=3, height=32, width=32, where="x"
    )
    assert any("JPEG" in caution for caution in plain.cautions)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize(
    ("channels", "edit", "covered"),
    [
        (3, "jpeg-420-70-84", True),
        (3, "jpeg-444-70-84", False),  # what was subsampled would look foreign in chroma
        (3, "jpeg-420-50-69", False),
        (1, "jpeg-444-70-84", True),
        (1, "jpeg-444-85-95", False),
    ],
)
def test_the_caution_of_an_earlier_jpeg_stays_unless_its_sampling_is_covered(
    sampling, channels, edit, covered
):
    shape = (channels, 32, 32)
    options = {"quality": 77} | ({"subsampling": sampling} if channels == 3 else {})
    jpeg = encode(np.moveaxis(grainy(1, shape)[0], 0, 2), "JPEG", **options)
    data = encode(decode_picture(jpeg, where="x").pixels, "PNG")
    protocol = PRESETS["pristine-quick-v1"].model_copy(update={"edits": (edit,)})
    sizes_ = {"channels": channels, "height": 32, "width": 32}
    picture = decode_picture(data, where="x")
    (caution,) = observe(picture, data, where="x", **sizes_).cautions
    kept = observe(picture, data, where="x", protocol=protocol, **sizes_).cautions
    assert kept == (() if covered else (caution,))


@pytest.mark.parametrize(
    ("edits", "only"),
    [
        (None, ("unedited",)),
        (None, ("mirrored",)),
        (("mirrored",), ("unedited", "noisy")),
    ],
)
def test_a_search_cannot_be_narrowed_to_what_the_preset_does_not_have(edits, only):
    protocol = PRESETS["pristine-quick-v1"].model_copy(update={"edits": edits})
    data = encode(np.moveaxis(random_picture((3, 32, 32), 1), 0, 2), "PNG")
    picture = decode_picture(data, where="x")
    sizes_ = {"channels": 3, "height": 32, "width": 32}
    with pytest.raises(InputError, match="no such families of handling"):
        observe(picture, data, where="x", protocol=protocol, only=only, **sizes_)
