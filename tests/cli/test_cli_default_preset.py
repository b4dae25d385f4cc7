"""Which preset a model is registered under where none is named, and what is said of it."""

from types import SimpleNamespace

import pytest
import torch

from deniability.cli import attribute
from deniability.cli.register import protocol_for
from deniability.evidence import estimate
from deniability.evidence.estimate import Estimate
from deniability.generators.load import load_generator
from deniability.wire.protocol import DEFAULT_PRESET, SEVERAL_PRESET, UNEDITED_PRESET


def test_the_default_searches_for_edited_outputs_and_says_what_it_takes():
    notes = []
    generator = load_generator("builtin", device=torch.device("cpu"))
    protocol = protocol_for(generator, notes.append)
    assert protocol.name == DEFAULT_PRESET
    assert protocol.edits
    (note,) = notes
    assert f"it is {DEFAULT_PRESET}, which also searches for edited outputs: about" in note
    for other in (SEVERAL_PRESET, UNEDITED_PRESET):
        assert f"--preset {other} (about" in note


def test_a_model_that_it_cannot_search_is_told_why(monkeypatch):
    def measured(_, presets):
        found = [Estimate(p, "adam", None, None, None, "too many labels") for p in presets]
        return SimpleNamespace(estimates=found)

    monkeypatch.setattr(estimate, "measure_costs", measured)
    notes = []
    protocol_for(SimpleNamespace(), notes.append)
    assert "too many labels" in notes[0]


@pytest.mark.parametrize("named", [None, "pristine-quick-v1"])
def test_several_models_are_registered_under_one_preset(tmp_path, named):
    def job(name):
        return attribute.Job(
            image=tmp_path / "a.png",
            model=name,
            registration=tmp_path / f"{name}.json",
            registration_named=False,
            preset=named,
            output=tmp_path / "attribution.json",
            figure=None,
            key_file=tmp_path / "key",
            key=None,
            resume=False,
        )

    jobs = attribute._with_presets({"a": job("a"), "b": job("b")})
    assert {j.preset for j in jobs.values()} == {named or SEVERAL_PRESET}
