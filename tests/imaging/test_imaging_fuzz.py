"""No bytes whatsoever raise anything but `ImageError`, and none warns."""

import functools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imaging_samples import decode_or_refuse, encode, exif, image_of, noise, smooth, to_bytes
from PIL import ImageCms

from deniability.errors import ImageError
from deniability.imaging.colour import describe_colour_space
from deniability.imaging.jpeg_markers import read_markers
from deniability.imaging.observation import observe

_SETTINGS = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@functools.cache
def files():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = noise(3, 11, 13)
    return (
        encode(pixels, "PNG", exif=exif(6), icc_profile=icc),
        encode(image_of(pixels).quantize(16), "PNG"),
        encode(image_of(pixels).convert("RGBA"), "PNG"),
        encode(pixels, "JPEG", exif=exif(3), icc_profile=icc),
        encode(pixels, "JPEG", progressive=True, subsampling=2),
        encode(noise(1), "JPEG"),
        encode(image_of(pixels).convert("CMYK"), "JPEG"),
        encode(pixels, "BMP"),
        encode(image_of(pixels).quantize(16), "BMP"),
        encode(pixels, "GIF"),
        encode(pixels, "PPM"),
        encode(pixels, "WEBP", lossless=True, exif=exif(8)),
        encode(pixels, "WEBP"),
        encode(pixels, "TIFF"),
    )


@st.composite
def mutated(draw):
    data = bytearray(files()[draw(st.integers(0, len(files()) - 1))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        action = draw(st.sampled_from(("set", "early", "insert", "delete", "cut", "repeat")))
        if action == "set":
            data[at] = draw(st.integers(0, 255))
        elif action == "early":
            data[at % min(64, len(data))] = draw(st.sampled_from((0, 1, 127, 128, 254, 255)))
        elif action == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        elif action == "delete":
            del data[at : at + draw(st.integers(1, 8))]
        elif action == "cut":
            del data[max(at, 16) :]
        else:
            data[at:at] = data[at : at + 32]
        if not data:
            break
    return bytes(data)


@_SETTINGS
@given(mutated())
def test_mutated_files(data):
    decode_or_refuse(data)


@_SETTINGS
@given(st.binary(max_size=200), st.integers(0, 13), st.integers(0, 60))
def test_arbitrary_bytes_after_a_real_beginning(tail, number, kept):
    decode_or_refuse(files()[number][:kept] + tail)


@_SETTINGS
@given(st.binary(max_size=300))
def test_arbitrary_segments(body):
    try:
        header = read_markers(b"\xff\xd8" + body, where="x")
    except ImageError:
        return
    assert header.scans >= 1


@_SETTINGS
@given(st.binary(max_size=400))
def test_arbitrary_profiles(profile):
    describe_colour_space({"icc_profile": profile, "gamma": 0.0})


@settings(_SETTINGS, max_examples=10)
@given(st.integers(400, 900), st.integers(0, 255), st.integers(0, 2))
def test_mutated_jpegs_through_the_child(at, value, subsampling):
    picture = to_bytes(smooth(1, 3, 24, 24))[0].transpose(1, 2, 0)
    data = bytearray(encode(picture, "JPEG", quality=80, subsampling=subsampling))
    data[at % len(data)] = value
    decoded = decode_or_refuse(bytes(data))
    if decoded is None or (decoded.height, decoded.width) != (24, 24) or decoded.channels != 3:
        return
    try:
        observe(decoded, bytes(data), channels=3, height=24, width=24, where="x")
    except ImageError:
        return
