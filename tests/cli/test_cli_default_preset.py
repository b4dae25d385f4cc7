"""Which preset a model is registered under where none is named."""

from types import SimpleNamespace

import pytest

from deniability.cli.register import protocol_for


@pytest.mark.parametrize(
    ("dimension", "name"), [(100, "pristine-standard-v1"), (16_384, "pristine-standard-v2")]
)
def test_a_large_latent_takes_the_matrix_free_preset_and_says_so(dimension, name):
    notes = []
    assert protocol_for(SimpleNamespace(dimension=dimension), notes.append).name == name
    assert len(notes) == (name != "pristine-standard-v1")
    assert all(str(dimension) in note and name in note for note in notes)
