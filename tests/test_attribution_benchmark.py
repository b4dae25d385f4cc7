"""The attribution benchmark's own logic: what counts as right, handling, attacks, kept rows."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = list(sys.path)
    yield
    sys.path[:] = before


def _picture():
    return np.random.default_rng(0).integers(0, 256, size=(3, 32, 32), dtype=np.uint8)


def test_only_the_smallest_residual_alone_is_right():
    from attribution_rows import outcome

    found = outcome([[0.0, 1.0], [0.0, 0.0], [2.0, 1.0], [3.0, 1.0]], [0, 1, 1, 0])
    assert (found.right, found.several, found.count) == (2, 1, 4)
    assert str(found) == "2 of 4 (1 several)"


def test_a_method_run_on_the_first_pictures_is_counted_on_them_alone():
    from attribution_rows import outcome

    assert outcome([[0.0, 1.0]], [0, 1, 1]).count == 1


def test_the_interval_of_no_error_ends_at_100():
    from attribution_rows import Outcome

    assert Outcome(20, 0, 20).interval() == "83.16 to 100.00"  # 0.025^(1/20) = 0.8316


def test_ties_with_the_wrong_models_are_not_several():
    from attribution_rows import outcome

    found = outcome([[1.0, 0.0, 0.0]], [0])
    assert (found.right, found.several) == (0, 0)


def test_every_handling_changes_the_picture_and_keeps_its_size():
    from attribution_pictures import HANDLED, as_image

    picture = _picture()
    for how in HANDLED:
        if how.change is not None:
            changed = how.change(as_image(picture), np.random.default_rng(1))
            assert changed.size == (32, 32), how.name
            assert changed.mode == "RGB", how.name
            assert not np.array_equal(np.moveaxis(np.asarray(changed), 2, 0), picture), how.name
    names = [how.name for how in HANDLED]
    assert len(set(names)) == len(names)


def test_what_lies_outside_the_bins_is_measured_last_and_nothing_is_lost():
    from attribution_pictures import HANDLED, by_turns

    order = by_turns()
    assert sorted(how.name for how in order) == sorted(how.name for how in HANDLED)
    inside = [how.inside for how in order]
    assert inside == sorted(inside, reverse=True)
    assert order[0].name == "JPEG file quality 30"


@pytest.mark.parametrize("method", ["FGSM", "PGD"])
@pytest.mark.parametrize("strength", [1, 8])
def test_an_attack_stays_within_its_strength_and_uses_it(method, strength):
    from attribution_attacks import Attack

    picture = torch.from_numpy(_picture())
    aim = torch.rand(picture.numel(), generator=torch.Generator().manual_seed(2)) - 0.5
    changed = Attack("residual", method, strength)._changed(
        picture, lambda _: aim, torch.Generator().manual_seed(3)
    )
    moved = changed.astype(int) - picture.numpy()
    assert np.abs(moved).max() == strength
    with_room = (picture.numpy() >= 8) & (picture.numpy() <= 247)
    towards = np.sign(aim.numpy().reshape(moved.shape))
    assert (moved * towards)[with_room].mean() > 0.7 * strength


def test_a_fit_takes_no_step_that_fits_worse():
    from attribution_attacks import Fit

    class Square:
        dimension = 2

        def __call__(self, latents):
            return (latents**2).reshape(-1, 1, 1, 2)

    class One:
        generator = Square()

    fit = Fit(One(), torch.tensor([1.0, 1.0]))
    wanted = torch.tensor([4.0, 0.25])
    misfits = [float((fit.to(wanted) - wanted).square().sum()) for _ in range(8)]
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[-1] < 1e-6


def test_rows_are_kept_between_runs(tmp_path, monkeypatch):
    import attribution_rows
    from attribution_report import report
    from attribution_rows import Row, read

    monkeypatch.setattr(attribution_rows, "digests", lambda: {"a": "1"})
    row = Row("handled", "flipped left to right", [0, 1], [[0.0, 0.5], [2.5e-3, 0.0]], [[1.0, 0.5]])
    report({(row.part, row.name): row}, tmp_path)
    assert read(tmp_path / "attribution-cpu.json") == {(row.part, row.name): row}
    assert "| flipped | left to right |" in (tmp_path / "attribution-cpu.md").read_text()
    more = row.extended(replace(row, truth=[1, 0]))
    assert more.truth == [0, 1, 1, 0]

    monkeypatch.setattr(attribution_rows, "digests", lambda: {"a": "2"})
    with pytest.raises(SystemExit, match="other models"):
        read(tmp_path / "attribution-cpu.json")


def test_pooled_pictures_go_back_to_their_own_rows(monkeypatch):
    import attribution_parts
    from attribution_rows import Row
    from attribution_search import Scores

    called = []

    def theirs(_, pixels, names):
        called.append(list(names))
        return Scores(torch.from_numpy(pixels.reshape(len(pixels), -1)[:, :1]).double(), (), 1.0)

    class Experiment(attribution_parts.Experiment):
        candidates = ()

        def pixels(self, row):
            first = {"a": 0, "b": 100}[row.name]
            return np.arange(first, first + len(row.ours), dtype=np.uint8).reshape(-1, 1, 1, 1)

    monkeypatch.setattr(attribution_parts, "theirs", theirs)
    rows = [
        Row("closed", "a", ours=[[0.0]] * 60, theirs=[[0.0]]),
        Row("handled", "b", ours=[[0.0]] * 5),
    ]
    wanted = {"closed": 50, "handled": 9}
    done = {row.name: row for row in Experiment(0).beside(rows, wanted, lambda: False)}
    assert [int(value) for (value,) in done["a"].theirs] == list(range(50))
    assert [int(value) for (value,) in done["b"].theirs] == list(range(100, 105))
    assert called[0][:5] == [("attribution handled b", i) for i in range(5)]
    assert called[0][5] == ("attribution closed a", 1)
    assert max(len(names) for names in called) <= attribution_parts._POOL
    assert not list(Experiment(0).beside(rows, wanted, lambda: True))
