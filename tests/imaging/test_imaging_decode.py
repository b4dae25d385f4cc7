"""Every way a file can be other than plain 8-bit pixels is recorded or refused."""

import hashlib
import struct
import zlib

import numpy as np
import pytest
from imaging_samples import chunk, decode_or_refuse, encode, exif, image_of, noise, png
from PIL import Image, ImageCms, ImageFile, ImageOps

from deniability.errors import ImageError
from deniability.imaging.colour import profile_family
from deniability.imaging.decode import canonical_digest, decode_picture, displayed


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("BMP", {}), ("PPM", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_give_the_stored_bytes(file_format, options, channels):
    pixels = noise(channels)
    picture = decode_picture(encode(pixels, file_format, **options), where="a")
    assert picture.format == file_format
    assert picture.cautions == ()
    assert (picture.pixels == pixels).all()
    if file_format != "WEBP":  # which has no gray
        assert picture.channels == channels
        assert picture.canonical_digest == canonical_digest(pixels)


def test_canonical_digest_is_what_its_docstring_says():
    pixels = noise(3, 2, 5)
    expected = hashlib.sha256(b"deniability/pixels/v1\n5 2 3\n" + pixels.tobytes()).hexdigest()
    data = encode(pixels, "PNG")
    picture = decode_picture(data, where="a.png")
    assert picture.canonical_digest == expected == canonical_digest(pixels)
    assert picture.file_sha256 == hashlib.sha256(data).hexdigest()
    assert picture.transforms == ()
    assert not picture.pixels.flags.writeable


def test_interlaced_png():
    pixels = noise(3, 20, 21)
    rows = []
    for top, left, down, across in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += [row.tobytes() for row in pixels[top::down, left::across]]
    data = bytearray(png(21, 20, 8, 2, rows))
    header = struct.pack(">IIBBBBB", 21, 20, 8, 2, 0, 0, 1)
    data[8 : 8 + 25] = chunk(b"IHDR", header)
    assert (decode_picture(bytes(data), where="a.png").pixels == pixels).all()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_cautioned(file_format, orientation):
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(noise(), file_format, exif=exif(orientation), **options)
    picture = decode_picture(data, where="a")
    plain = decode_picture(encode(noise(), file_format, **options), where="a")
    shown = ImageOps.exif_transpose(_with_orientation(plain.pixels, orientation))
    assert (picture.pixels == np.asarray(shown)).all()
    assert (displayed(plain.pixels, orientation) == picture.pixels).all()
    assert picture.orientation == orientation
    if orientation == 1:
        assert picture.transforms == picture.cautions == ()
    else:
        assert picture.transforms == (f"EXIF orientation {orientation} applied",)
        assert "only the picture as displayed was searched" in picture.cautions[0]


def _with_orientation(pixels, orientation):
    image = image_of(pixels)
    image.getexif()[0x0112] = orientation
    return image


def test_meaningless_orientation_is_recorded():
    picture = decode_picture(encode(noise(), "PNG", exif=exif(9)), where="a.png")
    assert picture.orientation == 1
    assert picture.transforms == ("a meaningless EXIF orientation was ignored",)


def test_unreadable_exif_never_escapes():
    data = encode(noise(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_picture(data, where="a.png").orientation == 1


def test_icc_profiles_are_recorded_and_not_applied():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = decode_picture(encode(noise(), "PNG", icc_profile=srgb), where="a.png")
    assert (picture.pixels == noise()).all()
    assert "ICC profile (sRGB" in picture.transforms[0]
    assert picture.cautions == ()

    other = srgb.replace("sRGB".encode("utf-16-be"), "P3P3".encode("utf-16-be"))
    picture = decode_picture(encode(noise(), "PNG", icc_profile=other), where="a.png")
    assert (picture.pixels == noise()).all()
    assert "neither sRGB nor gray" in picture.cautions[0]


def test_icc_families():
    assert profile_family(b"") == "other"
    assert profile_family(b"\0" * 16 + b"GRAY" + b"\0" * 200) == "gray"
    assert profile_family(b"\xff" * 400) == "other"


def test_unusual_gamma_is_a_caution():
    rows = [b"\1\2\3"]
    usual = chunk(b"gAMA", struct.pack(">I", 45455))
    unusual = chunk(b"gAMA", struct.pack(">I", 100000))
    assert decode_picture(png(3, 1, 8, 0, rows, usual), where="a").cautions == ()
    assert "gamma" in decode_picture(png(3, 1, 8, 0, rows, unusual), where="a").cautions[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_only_when_opaque(mode):
    image = image_of(noise()).convert(mode)
    picture = decode_picture(encode(image, "PNG"), where="a.png")
    assert picture.transforms == ("alpha channel dropped: opaque everywhere",)
    assert picture.cautions == ()
    assert (picture.pixels == np.asarray(image)[..., :-1]).all()

    image.putpixel((3, 4), (*image.getpixel((3, 4))[:-1], 254))
    with pytest.raises(ImageError, match="1 pixels that are not") as caught:
        decode_picture(encode(image, "PNG"), where="see-through.png")
    assert caught.value.where == "see-through.png"


def test_transparent_colours():
    rows = [b"\1\2\3\1\2\4"]
    used = chunk(b"tRNS", b"\0\1\0\2\0\3")
    unused = chunk(b"tRNS", b"\0\1\0\2\0\7")
    with pytest.raises(ImageError, match="transparent"):
        decode_picture(png(2, 1, 8, 2, rows, used), where="a.png")
    picture = decode_picture(png(2, 1, 8, 2, rows, unused), where="a.png")
    assert picture.pixels.tolist() == [[[1, 2, 3], [1, 2, 4]]]
    assert "alpha" in picture.transforms[0]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_exact_or_refused(channels, interlaced):
    pixels = noise(channels, 1, 1) if interlaced else noise(channels)
    height, width = pixels.shape[:2]
    wide = (pixels.astype(">u2") * 257).astype(">u2")
    colour_type = {1: 0, 3: 2}[channels]

    def build(samples):
        return png(width, height, 16, colour_type, [row.tobytes() for row in samples])

    picture = decode_picture(build(wide), where="a.png")
    assert (picture.pixels == pixels).all()
    assert picture.channels == channels
    assert picture.transforms == ("16-bit samples, all multiples of 257, divided by 257",)
    wide[-1, -1, -1] ^= 1
    with pytest.raises(ImageError, match="more than 8 bits"):
        decode_picture(build(wide), where="a.png")


@pytest.mark.parametrize("colour_type", [4, 6])
def test_sixteen_bits_with_alpha_are_refused(colour_type):
    row = b"\xff\xff" * {4: 2, 6: 4}[colour_type]
    with pytest.raises(ImageError, match="16-bit samples with transparency"):
        decode_picture(png(1, 1, 16, colour_type, [row]), where="a.png")


def test_palettes():
    gray = image_of(noise(1)).convert("P")
    picture = decode_picture(encode(gray, "PNG"), where="a.png")
    assert (picture.pixels == noise(1)).all()
    assert picture.transforms == ("palette expanded to gray",)
    assert picture.cautions == ()  # all 256 grays in order

    colour = image_of(noise()).quantize(64)
    picture = decode_picture(encode(colour, "PNG"), where="a.png")
    assert (picture.pixels == np.asarray(colour.convert("RGB"))).all()
    assert picture.transforms == ("palette expanded",)
    assert "would have been reduced" in picture.cautions[0]

    picture = decode_picture(encode(image_of(noise(1)), "GIF"), where="a.gif")
    assert (picture.pixels == noise(1)).all()
    assert picture.channels == 1
    assert "would have been reduced" in picture.cautions[0]  # the writer left out unused grays


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP"])
@pytest.mark.parametrize("reduce", ["web", "adaptive", "dark", "backwards"])
def test_gray_pictures_reduced_to_a_palette_are_cautioned(file_format, reduce):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(pixels)
    if reduce == "web":  # dithered to six levels, and a few colours
        image = image.convert("RGB").convert("P")
    elif reduce == "adaptive":
        image = image.quantize(16)
    else:
        grays = range(16) if reduce == "dark" else range(255, -1, -1)
        image = Image.fromarray(pixels // 16 if reduce == "dark" else 255 - pixels).convert("P")
        image.putpalette([level for level in grays for _ in range(3)])
    options = {"bits": 8} if file_format == "PNG" else {}
    picture = decode_picture(encode(image, file_format, **options), where="a")
    assert (picture.pixels == np.asarray(image.convert("RGB"))).all()
    assert "palette" in picture.cautions[0], picture
    assert "would have been reduced" in picture.cautions[0]


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP"])
def test_all_grays_in_order_reduce_nothing(file_format):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encode(Image.fromarray(pixels).convert("P"), file_format)
    picture = decode_picture(data, where="a")
    assert (picture.pixels[..., 0] == pixels).all()
    assert picture.cautions == ()


def test_palette_with_transparency():
    colour = image_of(noise()).quantize(64)
    with pytest.raises(ImageError, match="transparent"):
        decode_picture(encode(colour, "PNG", transparency=colour.getpixel((0, 0))), where="a")
    opaque = decode_picture(encode(colour, "PNG", transparency=b"\xff" * 64), where="a")
    assert (opaque.pixels == np.asarray(colour.convert("RGB"))).all()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "PPM"])
def test_one_bit(file_format):
    image = Image.fromarray(noise(1)[..., 0] > 127)
    picture = decode_picture(encode(image, file_format), where="a")
    assert set(np.unique(picture.pixels)) == {0, 255}
    assert (picture.pixels[..., 0] == np.asarray(image.convert("L"))).all()
    assert "1-bit" in picture.transforms[0]
    assert "1 bits per sample" in picture.cautions[0]


@pytest.mark.parametrize(("bits", "raw", "expected"), [(2, 0b00011011, 85), (4, 0x0F, 17)])
def test_shallow_gray(bits, raw, expected):
    picture = decode_picture(png(8 // bits, 1, bits, 0, [bytes([raw])]), where="a.png")
    assert (picture.pixels % expected == 0).all()
    assert picture.pixels.max() == 255
    assert f"{bits}-bit gray" in picture.transforms[0]
    assert picture.cautions


def test_cmyk_is_refused():
    for data in (
        encode(image_of(noise()).convert("CMYK"), "JPEG"),
        encode(image_of(noise()).convert("CMYK"), "JPEG", quality=95),
    ):
        with pytest.raises(ImageError, match="found mode CMYK"):
            decode_picture(data, where="print.jpg")


@pytest.mark.parametrize(
    ("file_format", "mode", "name"),
    [
        ("TIFF", "RGB", "TIFF"),
        ("TIFF", "LAB", "TIFF"),
        ("TIFF", "F", "TIFF"),
        ("ICO", "RGB", "icon"),
    ],
)
def test_formats_outside_the_list_are_named(file_format, mode, name):
    image = Image.new(mode, (16, 16))
    with pytest.raises(ImageError, match="not a picture in a format that is accepted") as caught:
        decode_picture(encode(image, file_format), where="a.png")
    assert caught.value.found == name
    assert "PNG" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"P",
        b"P6",
        b"P6\n",
        b"PF\n1 1\n-1\n\0\0\0\0",
        b"RIFF\4\0\0\0WEBP",
        b"BM",
        b"GIF89a",
    ],
)
def test_stubs(data):
    with pytest.raises(ImageError):
        decode_picture(data, where="stub")


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP"])
def test_animated(file_format):
    frames = [image_of(noise(seed=seed)) for seed in range(3)]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(ImageError, match="one frame"):
        decode_picture(data, where="moving")


def test_several_pictures_in_one_jpeg():
    data = encode(image_of(noise()), "MPO", save_all=True, append_images=[image_of(noise(seed=1))])
    with pytest.raises(ImageError, match="several pictures"):
        decode_picture(data, where="phone.jpg")


def test_lossy_webp():
    with pytest.raises(ImageError, match="lossy"):
        decode_picture(encode(noise(), "WEBP"), where="a.webp")


@pytest.mark.parametrize("maximum", [b"15", b"256", b"65535", b"x"])
def test_ppm_of_other_depths(maximum):
    with pytest.raises(ImageError, match="plain bytes"):
        decode_picture(b"P5\n# made by hand\n2 2\n" + maximum + b"\n" + b"\1" * 8, where="a.pgm")


def test_bmp_of_sixteen_bits_per_pixel():
    data = bytearray(encode(noise(3, 4, 4), "BMP"))
    data[28:30] = (16).to_bytes(2, "little")
    with pytest.raises(ImageError, match="5 or 6 bits"):
        decode_picture(bytes(data), where="a.bmp")


def test_mislabelled_files_are_read_by_content():
    picture = decode_picture(encode(noise(), "PNG"), where="holiday.jpg")
    assert picture.format == "PNG"
    assert picture.transforms == ("named .jpg, but the content is PNG and was read as that",)


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_png_claiming_another_size(size):
    data = bytearray(encode(noise(), "PNG"))
    header = struct.pack(">II", *size) + bytes(data[24:29])
    data[8 : 8 + 25] = chunk(b"IHDR", header)
    with pytest.raises(ImageError):
        decode_picture(bytes(data), where="bomb.png")


def test_cap_is_the_callers():
    data = encode(noise(), "PNG")
    decode_picture(data, where="a.png", max_pixels=9 * 12)
    with pytest.raises(ImageError, match="at most 107 pixels, found 12 x 9"):
        decode_picture(data, where="a.png", max_pixels=9 * 12 - 1)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "PPM", "WEBP", "JPEG"])
def test_cap_holds_for_every_format(file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    with pytest.raises(ImageError, match="too large"):
        decode_picture(encode(noise(), file_format, **options), where="a", max_pixels=100)


@pytest.mark.parametrize(("name", "prefix"), [(b"iCCP", b"x\0\0"), (b"zTXt", b"Comment\0\0")])
def test_compressed_bombs_beside_the_picture(name, prefix):
    bomb = chunk(name, prefix + zlib.compress(b"\0" * 2**26, 9))
    picture = decode_or_refuse(png(4, 1, 8, 0, [b"\0" * 4], bomb))
    assert picture is None or picture.pixels.shape == (1, 4, 1)


PNG_CHUNKS = png(4, 1, 8, 0, [b"\0" * 4], chunk(b"abCd", b"") * 10_000)
GIF = encode(noise(1), "GIF")
GIF_BLOCKS = GIF[:-1] + b"\x21\xfe\0" * 10_000 + b"\x3b"
GIF_COMMENT = GIF[:-1] + b"\x21\xfe" + b"\1x" * 10_000 + b"\0\x3b"
GIF_PIXELS = GIF[:-2] + b"\1x" * 1_000_000 + b"\0\x3b"
WEBP = encode(noise(), "WEBP", lossless=True)
WEBP_CHUNKS = WEBP + b"abcd\0\0\0\0" * 10_000
WEBP_CHUNKS = b"RIFF" + struct.pack("<I", len(WEBP_CHUNKS) - 8) + WEBP_CHUNKS[8:]


@pytest.mark.parametrize(
    "data",
    [PNG_CHUNKS, GIF_BLOCKS, GIF_COMMENT, GIF_PIXELS, WEBP_CHUNKS],
    ids=["png", "gif", "gif-comment", "gif-pixels", "webp"],
)
def test_too_many_chunks_are_refused_before_a_decoder_walks_them(data):
    with pytest.raises(ImageError, match="split into too many"):
        decode_picture(data, where="a")


def test_gif_frame_that_does_not_cover_the_screen():
    data = bytearray(encode(noise(), "GIF"))
    data[6:10] = struct.pack("<HH", 20, 20)
    with pytest.raises(ImageError, match="does not cover"):
        decode_picture(bytes(data), where="a.gif")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "PPM", "WEBP", "GIF"])
def test_truncated_files_are_refused(file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(noise(3, 40, 40), file_format, **options)
    for length in [*range(0, len(data) - 2, max(1, len(data) // 40)), len(data) - 2]:
        assert decode_or_refuse(data[:length]) is None, length


def interlaced(rows):
    """2 x 2 gray pixels in three passes of Adam7."""
    data = zlib.compress(b"".join(rows))
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(b"IDAT", data[i : i + 3]) for i in range(0, len(data), 3))
        + chunk(b"IEND", b"")
    )


ROWS_OF_PASSES = [b"\0\x0a", b"\0\x3c", b"\0\xa0\xc8"]


@pytest.mark.parametrize(
    "data",
    [
        png(3, 2, 8, 0, [b"abc"]),
        png(3, 2, 8, 0, []),
        png(3, 2, 8, 0, [b"abc", b"ab"]),
        png(9, 2, 1, 0, [b"ab", b"a"]),
        png(2, 2, 8, 2, [b"abcdef"]),
        png(2, 2, 16, 0, [b"aabb"]),
        png(2, 2, 16, 2, [b"aabbccddeeff"]),
        png(2, 2, 8, 3, [b"\0\1"], chunk(b"PLTE", bytes(6))),
        png(2, 2, 8, 6, [b"abc\xffdef\xff"]),
        interlaced(ROWS_OF_PASSES[:2]),
        interlaced(ROWS_OF_PASSES[:1]),
    ],
)
def test_missing_rows_of_a_png_are_not_black(data):
    """The stream ends properly, between two rows: Pillow alone fills in zeros without a word."""
    with pytest.raises(ImageError, match="rows of the PNG are missing"):
        decode_picture(data, where="a.png")


def test_all_rows_of_an_interlaced_png_in_many_chunks():
    picture = decode_picture(interlaced(ROWS_OF_PASSES), where="a.png")
    assert picture.pixels[..., 0].tolist() == [[10, 60], [160, 200]]


def test_many_equal_rows_are_all_there():
    """A thousand rows in a few bytes of the stream."""
    picture = decode_picture(png(3000, 1000, 8, 0, [bytes(3000)] * 1000), where="a.png")
    assert picture.pixels.shape == (1000, 3000, 1)
    with pytest.raises(ImageError, match="rows of the PNG are missing"):
        decode_picture(png(3000, 1001, 8, 0, [bytes(3000)] * 1000), where="a.png")


def test_truncation_is_never_tolerated(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        decode_picture(encode(noise(), "PNG"), where="a.png")


def test_png_checksums_are_checked():
    data = bytearray(encode(noise(), "PNG"))
    at = data.index(b"IDAT") + 20
    data[at] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        decode_picture(bytes(data), where="a.png")


def test_errors_carry_no_control_characters():
    with pytest.raises(ImageError) as caught:
        decode_picture(b"P5\n2 2\n\x1b[31m\n\1\1\1\1", where="a.pgm")
    assert str(caught.value).isprintable()
