"""The figure of a case: always a readable PNG, whatever the numbers and the title are."""

import builtins
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deniability.errors import InputError, OutputError
from deniability.report.figure import _title_lines, case_figure, difference
from deniability.report.residual_plot import _number

ROOT = Path(__file__).resolve().parent.parent.parent
NUMBERS = {
    "statistic": 4.4e-2,
    "controls": [0.0] * 96 + [2e-8, 3e-6, 4e-5],
    "threshold": 1e-9,
    "floor": 5.13e-6,
    "margin": 4e-4,
    "resolution": 1e-9,
}


def picture(height, width, channels, phase=0.0):
    y, x = np.mgrid[0:height, 0:width]
    wave = 128 + 100 * np.sin(6 * x / width + phase) * np.cos(5 * y / height)
    return np.repeat(wave[..., None], channels, axis=2).astype(np.uint8)


def draw(path, *, accused=None, reconstruction=None, title="Excluded", **numbers):
    case_figure(
        path,
        accused=picture(28, 28, 1) if accused is None else accused,
        reconstruction=picture(28, 28, 1, 0.7) if reconstruction is None else reconstruction,
        title=title,
        **(NUMBERS | numbers),
    )
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        assert image.size == (1650, 1275)
        return np.asarray(image.convert("RGB"))


def near(pixels, colour):
    """Number of pixels of almost this colour."""
    apart = np.abs(pixels.astype(int) - np.array(colour)).max(axis=2)
    return int((apart < 12).sum())


ACCUSED_COLOUR = (0xD5, 0x5E, 0x00)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (384, 512), (512, 384), (1, 700)])
def test_draws_pictures_of_any_size(tmp_path, height, width, channels):
    one = picture(height, width, channels)
    pixels = draw(tmp_path / "f.png", accused=one, reconstruction=255 - one)
    assert near(pixels, ACCUSED_COLOUR) > 100
    assert near(pixels, (255, 255, 255)) < 0.95 * pixels.shape[0] * pixels.shape[1]


def test_a_colour_file_beside_a_gray_model(tmp_path):
    draw(tmp_path / "f.png", accused=picture(28, 28, 3))


@pytest.mark.parametrize(
    "numbers",
    [
        {"statistic": None},
        {"statistic": 0.0},
        {"statistic": math.nan, "controls": [math.inf, math.nan, 1e-3]},
        {"margin": None},
        {"controls": [None] * 99},
        {"controls": [None] * 3 + [0.0] * 90 + [1e-4] * 6},
        {"controls": [0.0] * 999},
        {"controls": []},
        {"floor": 0.0, "threshold": 1e-9, "margin": 1e-9},
        {"statistic": 1e30},
        {"statistic": None, "controls": [None], "margin": None, "floor": 0.0},
    ],
    ids=str,
)
def test_draws_any_numbers(tmp_path, numbers):
    assert near(draw(tmp_path / "f.png", **numbers), ACCUSED_COLOUR) > 50


@pytest.mark.parametrize(
    "title",
    [
        "",
        "a\nb\tc\x00\x1b[31m",
        "price $x^2$ and $\\frac$ and {",
        "photo\u202egnp.exe \u2066 \u200f",
        "漢字 😀 \ud800 \U0010ffff",
        "w" * 3000,
        "W" * 200,
    ],
    ids=ascii,
)
def test_draws_any_title(tmp_path, title):
    draw(tmp_path / "f.png", title=title)


def test_titles_show_only_what_is_harmless_and_known_to_the_font():
    known = frozenset(map(ord, "abc \u202e\x1b×"))
    assert _title_lines("a\x1b\u202eb×é😀", known) == ["a\\x1b\\u202eb×\\xe9\\U0001f600"]
    assert len(_title_lines("abc " * 500, known)) == 3


def test_equal_cases_give_equal_files(tmp_path):
    draw(tmp_path / "one.png")
    draw(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_difference_is_eight_times_the_distance_and_clipped():
    left = np.array([0, 10, 10, 200, 255, 0, 0], np.uint8).reshape(1, -1, 1)
    right = np.array([0, 11, 8, 100, 0, 31, 32], np.uint8).reshape(1, -1, 1)
    assert difference(left, right).ravel().tolist() == [0, 8, 16, 255, 255, 248, 255]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (4.42e-2, "4.4 × 10⁻²"), (0.523, "0.52"), (None, "none was finite")],
)
def test_numbers_are_written_for_reading(value, text):
    assert _number(value) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"accused": picture(28, 27, 1)},
        {"accused": picture(28, 28, 1)[..., 0]},
        {"accused": picture(28, 28, 1).astype(float)},
        {"resolution": 0.0},
        {"resolution": math.nan},
    ],
    ids=["size", "shape", "floats", "zero", "nan"],
)
def test_refuses_what_cannot_be_drawn(tmp_path, wrong):
    with pytest.raises(InputError):
        draw(tmp_path / "f.png", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        draw(tmp_path / "missing" / "f.png")


def test_says_what_to_install_without_matplotlib(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install matplotlib"):
        draw(tmp_path / "f.png")


def test_needs_no_home_and_no_settings_and_leaves_them_alone(tmp_path):
    """A fresh process: no cache to write to, and a user's matplotlibrc that would break it."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: no-such-font\n")
    code = f"""
import sys, numpy as np
from pathlib import Path
from deniability.report.figure import case_figure
assert "matplotlib" not in sys.modules
grey = np.full((28, 28, 1), 90, np.uint8)
case_figure(Path("f.png"), accused=grey, reconstruction=grey, title="x", **{NUMBERS!r})
import matplotlib
assert matplotlib.rcParams["text.usetex"]
assert "matplotlib.pyplot" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "HOME": "/nonexistent/home",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    with Image.open(io.BytesIO((tmp_path / "f.png").read_bytes())) as image:
        assert image.size == (1650, 1275)
