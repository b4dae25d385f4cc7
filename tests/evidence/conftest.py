import pytest
import torch
import toy_evidence as toy

from deniability.wire.protocol import PRESETS


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _presets_of_tests():
    """Let level V0 accept the small protocols."""
    with pytest.MonkeyPatch.context() as patch:
        for protocol in toy.ALL:
            patch.setitem(PRESETS, protocol.name, protocol)
        yield


@pytest.fixture(scope="session")
def smooth(tmp_path_factory, _presets_of_tests):
    """The smooth toy, registered: (generator, open registration)."""
    torch.set_num_threads(1)
    generator = toy.make_generator(toy.Smooth())
    return generator, toy.register_toy(generator, tmp_path_factory.mktemp("smooth"))


@pytest.fixture(scope="session")
def stranger_case(smooth, tmp_path_factory):
    """An honest bundle that excludes a stranger."""
    generator, opened = smooth
    folder = tmp_path_factory.mktemp("stranger")
    image = toy.stranger(folder)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)


@pytest.fixture(scope="session")
def own_case(smooth, tmp_path_factory):
    """An honest bundle that reaches an own output."""
    generator, opened = smooth
    folder = tmp_path_factory.mktemp("own")
    image = toy.own_file(folder, generator)
    return toy.case_of(toy.prove_toy(image, opened, folder), image, generator)
