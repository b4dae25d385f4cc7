"""SPEC.md, "Families of handling", is checked like code."""

import itertools
import re
from fractions import Fraction

import pytest
from test_spec import KINDS, TEXT, block, section

from deniability.stats.sentence import finding_sentence, scope_lines
from deniability.stats.verdict import LOSSLESS_FLOOR, reached_threshold
from deniability.wire.edits import (
    EDITS,
    EDITS_V1,
    EDITS_V2,
    TWICE,
    WORDS,
    applies,
    changes_size,
    edits_that_apply,
)
from deniability.wire.numbers import decimal_string_up
from deniability.wire.protocol import PRESETS
from deniability.wire.roles import searched_as

QUICK = PRESETS["pristine-quick-v1"]


def table(text: str) -> list[list[str]]:
    """Return the body of a table, cells stripped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines[2:]]
    return [[cell.strip() for cell in row] for row in cells]


def names(cell: str) -> list[str]:
    """Return the edits that a cell names, `…` standing for any ending."""
    found = []
    for name in re.findall(r"`([^`]+)`", cell):
        start = name.removesuffix("…")
        # A JPEG before an edit is named with it: `resized-…` is of none.
        jpeg = "-of-jpeg-"
        fits = [e for e in EDITS if name != start and e.startswith(start)]
        same = [e for e in EDITS if e == name or (e in fits and (jpeg in e) == (jpeg in name))]
        found += [e for e in same if e not in found]
    return found


def test_the_edits_and_their_words():
    (heading,) = re.findall(r"^## \d+\. (Families of handling)$", TEXT, re.MULTILINE)
    whole = re.search(rf"^## \d+\. {heading}\n(.*?)(?=^#)", TEXT, re.MULTILINE | re.DOTALL)[1]
    stated = {row[0].strip("`"): row[1] for row in table(whole)}
    assert list(stated) == list(EDITS)
    assert stated == WORDS


def test_which_presets_have_edits():
    assert "Under a preset without `edits`,\nbundles with `handled`, `narrowed`" in TEXT
    words = " ".join(TEXT.split())
    assert (
        "in the order of its table: in `handled-…-v1` the first 37, in "
        "`handled-…-v2` the first 49, in `handled-…-v3` all" in words
    )
    assert "`accusedRestarts`, twice `restarts`" in words
    assert len(EDITS_V1) == 37
    assert len(EDITS_V2) == 49
    for name, preset in PRESETS.items():
        if name.startswith("pristine"):
            assert preset.edits is None
            assert preset.accused_restarts is None
        elif name.startswith("handled"):
            version = {"v1": "v2", "v2": "v3", "v3": "v3"}[name[-2:]]
            plain = PRESETS[name.replace("handled", "pristine")[:-2] + version]
            edits = {"v1": EDITS_V1, "v2": EDITS_V2, "v3": EDITS}[name[-2:]]
            changed = {"name": name, "edits": edits, "accused_restarts": 2 * plain.restarts}
            assert preset == plain.model_copy(update=changed)


SIDES = [
    (4, 6),
    (3, 16),
    (64, 64),
    (65, 64),
    (16, 16),
    (15, 40),
    (20, 30),
    (24, 36),
    (25, 37),
    (16, 24),
    (16, 23),
    (20, 31),
    (40, 50),
]


@pytest.mark.parametrize("family", ["lossless", "jpeg"])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize(("model", "file"), list(itertools.product(SIDES, SIDES)))
def test_which_files_an_edit_applies_to(model, file, colour, family):
    rows = table(section("Which families a file has"))
    shares = [Fraction(f, m) for f, m in zip(file, model, strict=True)]
    bounds = {"cut-out": (Fraction(4, 5), 1), "framed": (1, Fraction(5, 4))}
    others = set(EDITS) - {name for row in rows for name in names(row[0])}
    for row in rows:
        for name in names(row[0]) or sorted(others):
            if "another size" in row[1]:
                low, high = bounds.get(name.split("-of-")[0], (Fraction(1, 4), 4))
                holds = file != model and all(low <= share <= high for share in shares)
            else:
                least = re.search(r"both sides have (\d+) pixels", row[1])
                holds = file == model and (least is None or min(model) >= int(least[1]))
            of_colour = name in {"colour", "palette"} or name.startswith(
                ("jpeg-420", "jpeg-twice-420")
            )
            holds = holds and (colour or not of_colour)
            holds = holds and (family == "jpeg" or "of a jpeg kind" not in row[1])
            found = applies(name, model=model, file=file, colour=colour, family=family)
            assert found == holds, name


def test_what_takes_the_place_of_what():
    words = " ".join(section("Which families a file has").split())
    assert "`jpeg-twice-…` takes the place of `jpeg-…` with the same ending" in words
    assert {old.replace("jpeg-", "jpeg-twice-"): old for old in TWICE} == {
        new: old for old, new in TWICE.items()
    }
    assert set(TWICE.values()) == {name for name in EDITS if name.startswith("jpeg-twice-")}
    size = {"model": (32, 32), "file": (32, 32)}
    for edits in (EDITS, EDITS_V1):
        lossless = edits_that_apply(edits, **size, colour=True, family="lossless")
        assert not {*TWICE.values(), "jpeg-trellis"} & set(lossless)
        assert set(TWICE) < set(lossless)
    jpeg = edits_that_apply(EDITS, **size, colour=True, family="jpeg")
    assert set(TWICE.values()) < set(jpeg)
    assert not set(TWICE) & set(jpeg)
    assert "jpeg-trellis" in jpeg
    # Under the first presets nothing changed.
    first = edits_that_apply(EDITS_V1, **size, colour=True, family="jpeg")
    assert first == edits_that_apply(EDITS_V1, **size, colour=True, family="lossless")
    # Where a preset, or a model of one channel, has but one of the two.
    alone = ("jpeg-444-30-49", "jpeg-twice-420-30-49")
    assert edits_that_apply(alone, **size, colour=True, family="jpeg") == alone
    assert edits_that_apply(alone, **size, colour=False, family="jpeg") == alone[:1]


def test_the_numbers_of_two_compressions():
    pytest.importorskip("torch")
    from deniability.imaging import jpeg_trellis, twice_jpeg

    words = " ".join(section("How outputs are handled").split())
    words = words.replace("\N{GREEK SMALL LETTER SIGMA}", "sd")
    gray, colour = twice_jpeg._DEVIATION[1], twice_jpeg._DEVIATION[3]
    assert f"sd is {gray} steps for a model of one channel, else {colour}" in words
    assert twice_jpeg._WIDTHS == 3
    assert "A − 3sd ≤ ip and jp ≤ B + 3sd" in words
    assert f"{twice_jpeg._CLIPPED:.0f}√(m/12)" in words
    assert f"at most {twice_jpeg._BEHIND:.0f} below the largest" in words
    assert f"{twice_jpeg._OUTLIERS} F(A, B) + {1 - twice_jpeg._OUTLIERS} Σᵢ" in words
    assert twice_jpeg._LEAST == 1e-300
    assert "log max(10⁻³⁰⁰, " in words
    assert twice_jpeg._REACH == 4
    assert "i ≥ (A − 4sd)/p" in words
    spreads = [2 ** (n / 3) for n in range(-3, 28)]
    assert twice_jpeg._SPREADS.tolist() == pytest.approx(spreads)
    assert "s = 2^(n/3) for n = −3 … 27" in words
    assert jpeg_trellis._WEIGHT == 2**14.75
    assert jpeg_trellis._DAMPING == 2**10.5
    assert "2^14.75/(2^10.5 + the mean of c²" in words


def test_every_edit_has_a_row_of_what_is_done():
    rows = table(section("How outputs are handled"))
    assert {name for row in rows for name in names(row[0])} == set(EDITS)
    pytest.importorskip("torch")
    from deniability.imaging.edits.registry import _CLASSES

    for row in rows:
        for name in names(row[0]):
            assert _CLASSES[name].parameters == int(row[1]), name


def test_the_shares_that_are_left_out():
    pytest.importorskip("torch")
    from deniability.imaging.edits.registry import _CLASSES

    words = " ".join(section("How outputs are handled").split())
    overlays = ("patched", "bordered", "captioned")
    shares = [_CLASSES[name].covered for name in overlays]
    stated = "{} for `patched`, {} for `bordered`, {} for `captioned`"
    assert stated.format(*shares) in words
    assert not any(_CLASSES[name].covered for name in EDITS if name not in overlays)


def test_the_seed_of_a_restart_through_an_edit():
    import hashlib

    kind, picture = KINDS["lossless"].model_copy(update={"edit": "noisy"}), "f" * 64
    words = " ".join(section("Derived seeds").split())
    assert (
        "SHA-256 (hex) of the accused file's sha256, a space, and the digest of the kind" in words
    )
    made = hashlib.sha256(f"{picture} {kind.digest()}".encode()).hexdigest()
    assert searched_as(picture, kind) == made
    assert searched_as(picture, KINDS["lossless"]) == picture


@pytest.mark.parametrize("family", ["lossless", "jpeg"])
def test_the_words(family):
    words, named = block("handled-words"), {"digest": "d" * 64, "name": QUICK.name}
    kind = KINDS[family]
    ways = f"unmodified, {WORDS['mirrored']} or {WORDS['noisy']}"
    stored = words[f"{family} stored"]
    output = words["output"].format(ways=ways, stored=stored)
    numbers = {"alpha": QUICK.alpha, "confidence": QUICK.confidence, "controls": QUICK.controls}
    given = {
        "kind": kind,
        "model_digest": "d" * 64,
        "protocol": QUICK,
        "pixel_for_pixel": False,
        "edits": ("mirrored", "noisy"),
    }
    excluded = words["excluded"].format(
        output=output, not_examined=words["not_examined"], **numbers, **named
    )
    assert finding_sentence("excluded", failed=[], **given) == excluded
    undecided = block("sentences")["inconclusive"].format(
        output=output, not_examined=words["not_examined"], reasons="one; two", **named
    )
    assert finding_sentence("inconclusive", failed=["one", "two"], **given) == undecided
    reached = words["reached"].format(words=WORDS["noisy"], **named)
    assert finding_sentence("reached", failed=[], reached="noisy", **given) == reached
    plain = scope_lines(kind)
    covered = words["scope"].format(ways=ways, stored=stored)
    lines = (words["scope rate"], words["scope edits"], words["scope sampler"], *plain[4:])
    expected = (covered, *lines)
    assert scope_lines(kind, edits=("mirrored", "noisy")) == expected
    first = kind.model_copy(update={"edit": "tone"})
    alone = words["scope"].format(ways=WORDS["tone"], stored=stored)
    assert scope_lines(first) == (alone, *lines)


@pytest.mark.parametrize("family", ["lossless", "jpeg"])
def test_every_sentence_fits_into_its_field(family):
    """With all edits of a file of the model's size, which are the most that a file can have."""
    size = {"model": (32, 32), "file": (32, 32)}
    edits = edits_that_apply(EDITS, **size, colour=True, family=family)
    assert not any(map(changes_size, edits))
    given = {"model_digest": "d" * 64, "protocol": QUICK, "pixel_for_pixel": False}
    for verdict in ("excluded", "inconclusive", "reached"):
        sentence = finding_sentence(
            verdict, kind=KINDS[family], edits=edits, failed=["x" * 5000], **given
        )
        assert len(sentence) <= 7990
        assert ("x" * 201 in sentence) is False
        assert ("x" * 200 in sentence) is (verdict == "inconclusive")
    assert "only the first 200 characters" in TEXT
    assert all(len(line) <= 7990 for line in scope_lines(KINDS[family], edits=edits))


def test_the_threshold_of_an_edit_has_no_cap():
    rule = " ".join(section("The rule").split())
    assert "without a cap; the resolution if that percentile is infinite" in rule
    truths = ["1.00000e-02"] * 99
    found = reached_threshold(truths, QUICK, family="lossless", edit="noisy")
    assert found == Fraction(1, 100) > LOSSLESS_FLOOR
    assert reached_threshold([None] * 99, QUICK, family="jpeg", edit="noisy") == Fraction("1e-9")
    assert "the smaller of T and 1/195075 rounded up to six digits" in rule
    assert decimal_string_up(LOSSLESS_FLOOR) == "5.12624e-06"


def test_what_the_search_may_move():
    pytest.importorskip("torch")
    import torch

    from deniability.imaging.edits.edit import REACH, free_numbers, within_reach
    from deniability.inversion import edited, race

    words = " ".join(section("What the search moves").split())
    assert f"u = {REACH} · tanh(w/{REACH})" in words
    assert f"one of {edited._CANDIDATES} draws" in words
    *most, last = edited._CHOICES
    assert f"after {', '.join(map(str, most))} and {last} iterations" in words
    (runners, steps), (kept, more) = race.ROUNDS
    assert f"n^q ≤ {runners}" in words
    assert f"All take {steps} steps" in words
    assert f"the {kept} that are then nearest {more} more" in words
    import math

    assert free_numbers(0.5) == pytest.approx(1.25 * math.atanh(0.4))
    assert float(within_reach(torch.tensor(0.7))) == pytest.approx(1.25 * math.tanh(0.56))
