"""Controls on demand: kept, reused, checked, and never borrowed."""

import json
from dataclasses import replace

import pytest
import torch
import toy_evidence as toy

from deniability.evidence import cache
from deniability.evidence.cache import controls_for
from deniability.imaging.observation import build_handling
from deniability.wire.observation import ObservationKind


def jpeg_handling(quality_step=2):
    return build_handling(
        ObservationKind(
            family="jpeg",
            channels=1,
            height=toy.SIDE,
            width=toy.SIDE,
            model_channels=1,
            components="gray",
            luma_table=(quality_step,) * 64,
            orientation=1,
        )
    )


@pytest.fixture
def made(monkeypatch):
    """Every calibration that `controls_for` asks for."""
    calls = []
    calibrate = cache.calibrate

    def counted(procedure, handling, **options):
        calls.append(handling.kind.digest())
        return calibrate(procedure, handling, **options)

    monkeypatch.setattr(cache, "calibrate", counted)
    return calls


def wanted(opened, folder, handling=None, progress=None):
    return controls_for(
        opened,
        handling or jpeg_handling(),
        folder=folder,
        state=None,
        progress=progress or toy.Notes(),
    )


def test_controls_of_a_kind_are_made_once(smooth, tmp_path, made):
    _, opened = smooth
    notes = toy.Notes()
    first = wanted(opened, tmp_path / "cache", progress=notes)
    assert len(made) == 1
    assert "made now" in notes.notes[0]
    second = wanted(opened, tmp_path / "cache", progress=notes)
    assert len(made) == 1
    assert "reused" in notes.notes[1]
    assert second.controls == first.controls
    assert torch.equal(second.latents, first.latents)


def test_the_registration_s_own_controls_are_used_where_they_fit(smooth, tmp_path, made):
    _, opened = smooth
    (registered,) = opened.sets.values()
    handling = build_handling(registered.controls.kind)
    assert wanted(opened, tmp_path / "cache", handling) is registered
    assert made == []


def test_registered_controls_of_another_device_are_not_borrowed(smooth, tmp_path, made):
    _, opened = smooth
    (digest, registered), *_ = opened.sets.items()
    foreign = replace(
        registered, controls=registered.controls.model_copy(update={"device_class": "cuda"})
    )
    result = wanted(
        replace(opened, sets={digest: foreign}),
        tmp_path / "cache",
        build_handling(registered.controls.kind),
    )
    assert len(made) == 1
    assert result.controls.device_class == "cpu"


def test_cached_controls_of_another_kind_device_engine_or_registration_are_not_borrowed(
    smooth, tmp_path, made, monkeypatch
):
    generator, opened = smooth
    folder = tmp_path / "cache"

    def again(opened=opened, handling=None):
        before = len(made)
        wanted(opened, folder, handling)
        return len(made) - before

    assert again() == 1
    assert again() == 0
    assert again(handling=jpeg_handling(3)) == 1
    other = toy.register_toy(generator, tmp_path)  # same model, registered at another time
    moved = replace(other, verified=replace(other.verified, payload_digest="b" * 64))
    assert again(opened=moved) == 1
    with monkeypatch.context() as patch:
        patch.setattr(cache, "ENGINE_VERSION", "0")
        assert again() == 1
    with monkeypatch.context() as patch:
        patch.setattr(cache, "device_class", lambda _: "cuda")
        assert again() == 1
    assert again() == 0


def spoil(path, how):
    side = path.with_suffix(".safetensors")
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "no-sidecar":
        side.unlink()
    elif how == "changed-latents":
        raw = bytearray(side.read_bytes())
        raw[-3] ^= 1
        side.write_bytes(raw)
    else:
        entry = json.loads(path.read_bytes())
        if how == "a-control-less":
            entry["controls"]["controls"].pop()
        elif how == "another-seed":
            entry["controls"]["controls"][0]["seed"] = "0" * 64
        elif how == "another-kind":
            entry["controls"]["kind"]["orientation"] = 3
        path.write_text(json.dumps(entry, separators=(",", ":"), sort_keys=True))


@pytest.mark.parametrize(
    "how",
    ["cut", "no-sidecar", "changed-latents", "a-control-less", "another-seed", "another-kind"],
)
def test_a_spoiled_cache_is_made_again(smooth, tmp_path, made, how):
    _, opened = smooth
    first = wanted(opened, tmp_path)
    (path,) = tmp_path.glob("*.json")
    spoil(path, how)
    again = wanted(opened, tmp_path)
    assert len(made) == 2
    assert again.controls == first.controls
    wanted(opened, tmp_path)
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_is_a_note(smooth, tmp_path, made):
    _, opened = smooth
    (tmp_path / "file").write_text("in the way")
    notes = toy.Notes()
    result = wanted(opened, tmp_path / "file" / "cache", progress=notes)
    assert len(result.controls.controls) == 59
    assert len(made) == 1
    assert "could not be kept" in notes.notes[-1]
