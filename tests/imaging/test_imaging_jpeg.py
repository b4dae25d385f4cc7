"""The cell of a JPEG holds what was encoded, for every layout, size and orientation."""

import io
import struct
import subprocess
import sys
import time

import jpeglib
import numpy as np
import pytest
import torch
from imaging_samples import encode, exif, image_of, jpeg_kind, noise, smooth, to_bytes
from PIL import Image

from deniability.errors import ImageError
from deniability.imaging import jpeg_read
from deniability.imaging.decode import decode_picture
from deniability.imaging.jpeg_markers import MAX_SCANS, read_markers
from deniability.imaging.jpeg_operator import as_stored, block_shapes, dct_matrix
from deniability.imaging.jpeg_tables import STANDARD_HUFFMAN, ijg_quality, ijg_tables
from deniability.imaging.observation import build_handling, cell_residual, mean_squared, observe

LAYOUTS = [("gray", 1), ("ycc444", 3), ("ycc422", 3), ("ycc420", 3), ("ycc420", 1)]
SUBSAMPLING = {"ycc444": 0, "ycc422": 1, "ycc420": 2}


def misses(handling, pictures, observations):
    values = handling.operator(torch.from_numpy(pictures).float())
    return cell_residual(values, observations.low, observations.high, handling.slack)


@pytest.mark.parametrize("quality", [1, 20, 49, 50, 75, 90, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_tables_are_those_of_libjpeg(mode, quality):
    header = read_markers(encode(Image.new(mode, (20, 17), 7), "JPEG", quality=quality), where="x")
    luma, chroma = header.tables[0], header.tables.get(1)
    assert (luma, chroma or ijg_tables(quality)[1]) == ijg_tables(quality)
    assert ijg_quality(luma, chroma) == quality
    for number, table in header.huffman:
        assert STANDARD_HUFFMAN[number] == table


def test_tables_of_no_quality():
    luma, chroma = ijg_tables(75)
    assert ijg_quality(luma, ijg_tables(76)[1]) is None
    assert ijg_quality((*luma[:-1], luma[-1] + 1), chroma) is None


def test_dct_is_orthonormal():
    matrix = dct_matrix().double()
    assert torch.allclose(matrix @ matrix.T, torch.eye(8, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("size", [(28, 28), (64, 64), (37, 53), (53, 37), (17, 16), (1, 1), (8, 9)])
@pytest.mark.parametrize(("components", "channels"), LAYOUTS)
def test_own_pictures_lie_in_their_cells(components, channels, size):
    pictures = smooth(6, channels, *size)
    for quality, share, most in ((30, 0.01, 1e-6), (75, 0.02, 1e-6), (95, 0.08, 3e-6)):
        handling = build_handling(jpeg_kind(*size, components, quality, model_channels=channels))
        observations = handling.save(to_bytes(pictures))
        residual = misses(handling, pictures, observations)
        if min(size) > 8:
            assert (residual != 0).double().mean() < share
            assert mean_squared(residual).max() < most
        assert residual.abs().max() * 127.5 < 6
        assert observations.pixels.shape == pictures.shape
        assert ((observations.pixels - torch.from_numpy(pictures)).abs().mean()) < 0.1
        assert (observations.low < observations.high).all()


def test_edges_are_padded_as_libjpeg_pads():
    """At quality 100 the quantiser hides nothing: a wrong padding misses by many steps."""
    for components, channels in LAYOUTS:
        for size in ((10, 9), (18, 26), (33, 35), (34, 36)):
            handling = build_handling(jpeg_kind(*size, components, 100, model_channels=channels))
            bytes_ = to_bytes(smooth(4, channels, *size))
            residual = misses(handling, bytes_ / 255, handling.save(bytes_))
            assert residual.abs().max() * 127.5 < 4, (components, size)
            assert mean_squared(residual).max() < 6e-6, (components, size)


def test_strangers_lie_outside():
    handling = build_handling(jpeg_kind(32, 32, "ycc420", 50))
    observations = handling.save(to_bytes(smooth(4, 3, 32, 32)))
    other = smooth(4, 3, 32, 32, seed=1)
    assert mean_squared(misses(handling, other, observations)).min() > 1e-2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_part_of_the_operator(orientation):
    stored = np.arange(6).reshape(2, 3).astype(np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    picture = decode_picture(encode(image, "PNG", exif=exif(orientation)), where="x").pixels[..., 0]
    assert as_stored(torch.from_numpy(picture.copy()), orientation).tolist() == stored.tolist()

    pictures = smooth(3, 3, 24, 40)
    handling = build_handling(jpeg_kind(24, 40, "ycc420", 75, orientation=orientation))
    observations = handling.save(to_bytes(pictures))
    assert mean_squared(misses(handling, pictures, observations)).max() < 1e-6
    assert (observations.pixels - torch.from_numpy(pictures)).abs().mean() < 0.05

    shown = to_bytes(pictures)[0]
    raw = as_stored(torch.from_numpy(shown), orientation).movedim(0, 2).numpy()
    data = encode(np.ascontiguousarray(raw), "JPEG", quality=75, exif=exif(orientation))
    decoded = decode_picture(data, where="x.jpg")
    read = observe(decoded, data, channels=3, height=24, width=40, where="x.jpg")
    assert read.handling.kind == handling.kind
    assert torch.equal(read.observations.centre, observations.centre[:1])
    assert torch.equal(read.observations.pixels, observations.pixels[:1])
    assert bool(read.cautions) == (orientation != 1)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_file_says_what_saving_said(quality, subsampling):
    pictures = to_bytes(smooth(1, 3, 37, 53))
    data = encode(pictures[0].transpose(1, 2, 0), "JPEG", quality=quality, subsampling=subsampling)
    picture = decode_picture(data, where="x.jpg")
    read = observe(picture, data, channels=3, height=37, width=53, where="x.jpg")
    assert read.cautions == ()
    assert read.handling.kind.quality == quality
    assert SUBSAMPLING[read.handling.kind.components] == subsampling
    again = read.handling.save(pictures)
    for name in ("low", "high", "centre", "pixels"):
        assert torch.equal(getattr(read.observations, name), getattr(again, name))


def test_gray_model_and_colour_jpeg():
    photo = to_bytes(smooth(1, 3, 24, 24))[0].transpose(1, 2, 0)
    data = encode(photo, "JPEG")
    picture = decode_picture(data, where="x.jpg")
    read = observe(picture, data, channels=1, height=24, width=24, where="x.jpg")
    assert read.handling.kind.channels == 3
    assert read.observations.pixels.shape == (1, 1, 24, 24)
    gray = smooth(1, 1, 24, 24)
    assert mean_squared(misses(read.handling, gray, read.observations)) > 1e-3
    own = read.handling.save(to_bytes(gray))
    assert mean_squared(misses(read.handling, gray, own)) < 1e-6


def test_operator_is_affine_and_differentiable():
    handling = build_handling(jpeg_kind(17, 21, "ycc420", 75))
    first, second = torch.rand(2, 1, 3, 17, 21)
    zero = handling.operator(torch.zeros_like(first))
    directions = torch.randn(5, 1, 3, 17, 21)

    def push(direction):
        return torch.func.jvp(handling.operator, (first,), (direction,))[1]

    pushed = torch.func.vmap(push)(directions)
    assert pushed.shape == (5, 1, zero.shape[1])
    for direction, tangent in zip(directions, pushed, strict=True):
        assert torch.allclose(tangent, handling.operator(direction) - zero, atol=1e-4)
    mixed = handling.operator(0.25 * first + 0.75 * second)
    parts = 0.25 * handling.operator(first) + 0.75 * handling.operator(second)
    assert torch.allclose(mixed, parts, atol=1e-5)
    batch = handling.operator(torch.cat((first, second)))
    assert torch.allclose(batch[1:], handling.operator(second), atol=1e-6)
    first.requires_grad_()
    handling.operator(first).square().sum().backward()
    assert first.grad.abs().sum() > 0


def test_units_are_those_of_pixels():
    """The DCT is orthonormal: one step of gray everywhere keeps its length."""
    handling = build_handling(jpeg_kind(16, 16, "gray", 75))
    base = torch.full((1, 1, 16, 16), 0.5)
    step = handling.operator(base + 1 / 255) - handling.operator(base)
    assert step.square().mean().item() == pytest.approx(127.5**-2, rel=1e-3)


def test_many_files_take_seconds():
    handling = build_handling(jpeg_kind(28, 28, "gray", 75))
    pictures = np.repeat(to_bytes(smooth(10, 1, 28, 28)), 30, axis=0)
    began = time.monotonic()
    observations = handling.save(pictures)
    assert time.monotonic() - began < 15
    assert len(observations) == 300
    assert len(observations[10:20]) == 10


def test_saving_nothing_and_the_wrong_thing():
    handling = build_handling(jpeg_kind(28, 28, "ycc420", 75))
    assert len(handling.save(np.zeros((0, 3, 28, 28), np.uint8))) == 0
    with pytest.raises(ImageError, match="do not fit"):
        handling.save(np.zeros((1, 3, 28, 27), np.uint8))
    with pytest.raises(ImageError, match="do not fit"):
        handling.save(np.zeros((1, 3, 28, 28), np.float32))


@pytest.mark.parametrize(("components", "channels"), LAYOUTS)
def test_other_encoders_with_the_same_markers(components, channels):
    pictures = smooth(4, channels, 40, 40)
    handling = build_handling(jpeg_kind(40, 40, components, 90, model_channels=channels))
    plain = mean_squared(misses(handling, pictures, handling.save(to_bytes(pictures))))
    ways = handling.indistinguishable(to_bytes(pictures))
    assert list(ways) == ["libjpeg 8, fast DCT"]
    for observations in ways.values():
        other = mean_squared(misses(handling, pictures, observations))
        assert (other > plain).all()
        assert (other < 1e-4).all()
    again = mean_squared(misses(handling, pictures, handling.save(to_bytes(pictures))))
    assert torch.equal(plain, again)


def observed(data, channels=3, size=24):
    picture = decode_picture(data, where="x.jpg")
    return observe(picture, data, channels=channels, height=size, width=size, where="x.jpg")


def photo():
    return to_bytes(smooth(1, 3, 24, 24))[0].transpose(1, 2, 0)


def tables(entry):
    return [[entry] * 64, [entry] * 64]


@pytest.mark.parametrize(
    ("options", "trait"),
    [
        ({"progressive": True}, "coding is progressive"),
        ({"optimize": True}, "Huffman tables are not the standard ones"),
        ({"qtables": tables(7)}, "not the IJG tables of any quality"),
        ({"restart_marker_blocks": 1}, "restart intervals"),
    ],
)
def test_traits_that_libjpeg_would_not_have_are_cautions(options, trait):
    read = observed(encode(photo(), "JPEG", **options))
    assert read.handling.kind.family == "jpeg"
    assert any(trait in caution for caution in read.cautions)
    residual = misses(read.handling, photo().transpose(2, 0, 1)[None] / 255, read.observations)
    assert mean_squared(residual) < 1e-6


def segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def test_markers_that_libjpeg_would_not_write_are_cautions():
    data = encode(photo(), "JPEG")
    header = read_markers(data, where="x")
    assert b"JFIF" not in header.bare
    assert any("no JFIF" in caution for caution in observed(header.bare).cautions)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    read = observed(data[:2] + adobe + data[2:])
    assert any("Adobe" in caution for caution in read.cautions)
    assert read.handling.kind.family == "jpeg"


def test_layouts_without_an_operator_fall_back_to_pixels():
    rgb = encode(photo(), "JPEG", keep_rgb=True)
    odd = bytearray(encode(photo(), "JPEG", subsampling=0, quality=75))
    at = odd.index(b"\xff\xc0") + 11
    assert odd[at] == 0x11
    for data, reason in ((rgb, "luma and two chroma"), (_wide_tables(), "16-bit entries")):
        read = observed(data)
        assert read.handling.kind.family == "lossless"
        assert "only decoded pixels were compared" in read.cautions[-1]
        assert reason in read.cautions[-1]


def _wide_tables():
    return encode(photo(), "JPEG", qtables=tables(300))


def test_gray_jpeg_and_colour_model():
    data = encode(noise(1, 24, 24), "JPEG")
    with pytest.raises(ImageError, match="gray file cannot be"):
        observed(data)
    assert observed(data, channels=1).handling.kind.components == "gray"


def hostile(width, height):
    """A few hundred bytes that claim a large picture."""
    data = encode(Image.new("L", (8, 8), 128), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def test_a_header_that_claims_too_much_costs_nothing():
    data = hostile(30000, 30000)
    assert len(data) < 700
    began = time.monotonic()
    with pytest.raises(ImageError, match="too large"):
        decode_picture(data, where="bomb.jpg")
    assert time.monotonic() - began < 1


def test_a_header_that_claims_more_than_the_file_holds():
    """Pillow fills the rest with gray; the reader of the coefficients complains."""
    data = hostile(160, 160)
    picture = decode_picture(data, where="cut.jpg")
    with pytest.raises(ImageError, match="cannot be read cleanly") as caught:
        observe(picture, data, channels=1, height=160, width=160, where="cut.jpg")
    assert caught.value.where == "cut.jpg"


def test_scan_in_the_middle_cut_and_closed():
    data = encode(photo(), "JPEG", quality=95)
    cut = data[: len(data) - 300] + b"\xff\xd9"
    picture = decode_picture(cut, where="cut.jpg")
    with pytest.raises(ImageError, match="cannot be read cleanly"):
        observe(picture, cut, channels=3, height=24, width=24, where="cut.jpg")


def test_bytes_after_the_end_and_application_data_do_not_matter():
    data = encode(photo(), "JPEG")
    stuffed = data[:2] + segment(0xE5, b"x" * 999) * 60 + data[2:] + b"trailing" * 50
    assert torch.equal(observed(stuffed).observations.centre, observed(data).observations.centre)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:-2], "cut short"),
        (lambda d: d[:100], "cut short"),
        (lambda d: d.replace(b"\xff\xc0", b"\xff\xc3", 1), "cannot be decoded|damaged"),
        (lambda d: d[:2] + d[d.index(b"\xff\xda") :], "before the frame"),
        (lambda d: d[:20] + b"\0" + d[20:], "no marker"),
        (lambda d: d[:2] + segment(0xC4, b"\x55" + bytes(16)) + d[2:], "Huffman"),
        (lambda d: d[:2] + segment(0xDB, b"\0" + bytes(64)) + d[2:], "divides by zero"),
        (lambda d: d[:2] + segment(0xDB, b"\7" + bytes(64)) + d[2:], "quantisation table"),
        (lambda d: d[:2] + segment(0xC0, b"\x08\0\0\0\0\1\1\x11\0") + d[2:], "no size"),
        (lambda d: d[:2] + segment(0xC0, b"\x08\0\1\0\1\1\1\x51\0") + d[2:], "impossible"),
        (lambda d: d[:2] + segment(0xC0, b"\x08\0\1\0\1\1\1") + d[2:], "wrong length"),
        (lambda d: d[:-2] + segment(0xDC, b"\0\1") + d[-2:], "height is defined after"),
        (lambda d: d[:-2] + segment(0xDA, b"") * (MAX_SCANS + 1) + d[-2:], "scans"),
        (lambda d: d[:2] + segment(0xFE, b"") * 10_001 + d[2:], "segments"),
    ],
)
def test_damaged_markers(change, message):
    with pytest.raises(ImageError, match=message):
        decode_picture(change(encode(photo(), "JPEG")), where="x.jpg")


def test_many_scans_of_a_large_picture():
    data = encode(Image.new("L", (4000, 4000)), "JPEG", quality=1)
    flooded = data[:-2] + segment(0xDA, b"\1\1\0\0\x3f\0") * 200 + data[-2:]
    with pytest.raises(ImageError, match="in 201 scans"):
        decode_picture(flooded, where="x.jpg")


def test_the_child_is_bounded_and_silent_failures_are_refused(monkeypatch):
    data = encode(photo(), "JPEG")
    header = read_markers(data, where="x")
    shapes = block_shapes(observed(data).handling.kind)
    assert len(jpeg_read.read_untrusted(header, shapes, where="x")) == 64 * (9 + 4 + 4)
    with pytest.raises(ImageError, match="other dimensions"):
        jpeg_read.read_untrusted(header, ((2, 2), (2, 2), (2, 2)), where="x")

    def late(*_arguments, **options):
        raise subprocess.TimeoutExpired("child", options["timeout"])

    monkeypatch.setattr(jpeg_read.subprocess, "run", late)
    with pytest.raises(ImageError, match="too long"):
        jpeg_read.read_untrusted(header, shapes, where="x")
    monkeypatch.setattr(jpeg_read.subprocess, "run", lambda *_a, **_k: _Done())
    with pytest.raises(ImageError, match="could not be read"):
        jpeg_read.read_untrusted(header, shapes, where="x")


class _Done:
    returncode = 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits differ elsewhere")
def test_the_child_dies_at_its_limits(monkeypatch):
    data = encode(photo(), "JPEG")
    header = read_markers(data, where="x")
    shapes = block_shapes(observed(data).handling.kind)
    run = subprocess.run

    def starved(arguments, **options):
        memory = next(i for i, a in enumerate(arguments) if a.isdigit())
        arguments[memory] = str(2**20)
        return run(arguments, **options)

    monkeypatch.setattr(jpeg_read.subprocess, "run", starved)
    with pytest.raises(ImageError, match="cannot be read cleanly"):
        jpeg_read.read_untrusted(header, shapes, where="x")


def test_blocks_agree_with_an_independent_reader(tmp_path):
    data = encode(photo(), "JPEG", quality=60)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    image = jpeglib.read_dct(str(path))
    read = observed(data)
    kind = read.handling.kind
    luma = image.Y.reshape(-1, 64) * np.array(kind.luma_table)
    chroma = image.Cr.reshape(-1, 64) * np.array(kind.chroma_table)
    centre = read.observations.centre[0].double().numpy() * 127.5
    assert np.allclose(centre[: luma.size], luma.ravel(), atol=1e-3)
    assert np.allclose(centre[-chroma.size :], chroma.ravel(), atol=1e-3)


def test_decoded_pixels_are_pillows():
    data = encode(photo(), "JPEG")
    read = observed(data)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    shown = (read.observations.pixels[0] * 255).round().byte().movedim(0, 2).numpy()
    assert (shown == expected).all()
    assert image_of(shown).size == (24, 24)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_sampling_factors_of_a_gray_file_mean_nothing(subsampling):
    rows, columns = np.mgrid[:28, :28]
    gray = (127 + 100 * np.sin(columns / 5) * np.cos(rows / 7)).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(gray).save(file, format="JPEG", quality=80, subsampling=subsampling)
    picture = decode_picture(file.getvalue(), where="gray.jpg")
    seen = observe(picture, file.getvalue(), channels=1, height=28, width=28, where="gray.jpg")
    assert seen.cautions == ()
    values = seen.handling.operator(torch.from_numpy(gray).float()[None, None] / 255)
    outside = cell_residual(values, seen.observations.low, seen.observations.high)
    assert float(mean_squared(outside)) < 1e-9
