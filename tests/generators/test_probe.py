"""Models that do not do what a generator must are refused when loaded; factories that fail too."""

import pytest
import torch
import toy_networks
from toy_networks import WIDTH, Toy

from deniability.errors import GeneratorError
from deniability.generators.base import Generator, round_mantissa
from deniability.generators.load import ModelOptions, load_generator

CPU = torch.device("cpu")


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state.pt"
    torch.save({k: v for k, v in Toy().state_dict().items() if k.startswith("main.")}, path)
    return path


def load(path, name, **more):
    options = ModelOptions(prior="normal", factory=f"toy_networks:{name}", **more)
    return load_generator(path, device=CPU, options=options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noisy", r"different pictures for the same latent.*noise inputs"),
        ("normalising", r"depends on the others in its batch.*model\.eval\(\)"),
        ("no_picture", r"does not return a picture.*2 axes: 8 x 192"),
        ("a_dictionary", r"does not return a picture.*type dict"),
        ("two_channels", r"odd number of channels.*1 or 3.*found 2"),
        ("broken", r"the factory failed.*RuntimeError: second line"),
        ("not_a_module", r"does not return a torch module.*returns int"),
        ("NOT_CALLABLE", r"not callable"),
        ("absent", r"cannot be imported.*AttributeError"),
        ("two_parts", r"not those of the factory's module"),
        ("a b", r"not the name of a factory.*package\.module:callable"),
    ],
)
def test_refused(state, name, message):
    with pytest.raises(GeneratorError, match=message):
        load(state, name)


@pytest.mark.parametrize("name", ["nothing", "no_such_package.module:make", ":", "a:b:c", ""])
def test_names_that_are_no_factory(state, name):
    options = ModelOptions(prior="normal", factory=name)
    with pytest.raises(GeneratorError):
        load_generator(state, device=CPU, options=options)


def test_batch_norm_left_in_training_mode_of_a_factory_is_put_right(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(Toy().state_dict(), path)
    assert not load(path, "trained_mode").module.training


def test_nan_is_let_through(state):
    generator = load(state, "not_a_number", output_range=("-1", "1"))
    pictures = generator(torch.zeros(2, WIDTH))
    assert pictures.isnan().all()
    assert generator.quantise(pictures).eq(0).all()


def test_nan_does_not_reveal_a_range(state):
    with pytest.raises(GeneratorError, match=r"output\.range"):
        load(state, "not_a_number")


def test_range_of_bytes_is_asked_for_and_then_used(state):
    with pytest.raises(GeneratorError, match=r"output\.range"):
        load(state, "bytes_range")
    generator = load(state, "bytes_range", output_range=("0", "255"))
    z = torch.zeros(1, WIDTH)
    expected = (toy_networks.toy()(z.reshape(1, WIDTH, 1, 1)) + 1) / 2
    assert torch.allclose(generator(z), expected, atol=1e-5)


def test_checkpoint_keys(tmp_path):
    path = tmp_path / "checkpoint.pt"
    weights = Toy().state_dict()
    torch.save({"a": weights, "b": weights, "step": 1}, path)
    with pytest.raises(GeneratorError, match=r"several state dicts.*'a', 'b'"):
        load(path, "toy")
    with pytest.raises(GeneratorError, match=r"no state dict under this key.*one of: 'a', 'b'"):
        load(path, "toy", state_dict_key="c")
    with pytest.raises(GeneratorError, match=r"no tensor has this prefix"):
        load(path, "toy", state_dict_key="a", prefix="x.")
    assert load(path, "toy", state_dict_key="b").spec.state_dict_key == "b"
    torch.save([1, 2], path)
    with pytest.raises(GeneratorError, match=r"no state dict.*type list"):
        load(path, "toy")


def test_weights_of_another_shape(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(Toy(channels=1).state_dict(), path)
    with pytest.raises(GeneratorError, match=r"do not fit.*size mismatch"):
        load(path, "toy")


@pytest.fixture
def generator(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(Toy().state_dict(), path)
    return load(path, "toy")


def test_latents_of_another_shape(generator):
    for shape in [(2, WIDTH + 1), (WIDTH,), (2, WIDTH, 1)]:
        with pytest.raises(GeneratorError, match="another shape"):
            generator(torch.zeros(shape))


def test_no_latents_at_all(generator):
    assert generator(torch.zeros(0, WIDTH)).shape == (0, 3, 8, 8)


def test_failure_inside_the_model_keeps_its_cause(generator):
    failing = Generator(
        module=generator.module,
        forward=toy_networks.broken,
        spec=generator.spec,
        device=CPU,
        files=generator.files,
    )
    with pytest.raises(GeneratorError, match="failed in its forward pass") as caught:
        failing(torch.zeros(1, WIDTH))
    assert isinstance(caught.value.__cause__, TypeError)


def test_running_out_of_memory_is_passed_on(generator):
    def greedy(_):
        raise torch.OutOfMemoryError("no memory")

    failing = Generator(
        module=generator.module,
        forward=greedy,
        spec=generator.spec,
        device=CPU,
        files=generator.files,
    )
    with pytest.raises(torch.OutOfMemoryError):
        failing(torch.zeros(1, WIDTH))


def test_precision_must_exist(generator):
    for bits in (0, 24):
        with pytest.raises(GeneratorError, match="no such precision"), generator.perturbed(bits):
            pass


def test_seven_mantissa_bits_are_bfloat16_and_ten_are_half():
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 3
    values = values[values.abs() > 1e-4]
    assert torch.equal(round_mantissa(values, 7), values.bfloat16().float())
    assert torch.equal(round_mantissa(values, 10), values.half().float())
    assert torch.equal(round_mantissa(values, 23), values)
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0])
    assert torch.equal(round_mantissa(odd, 7)[1:], odd[1:])
    assert round_mantissa(odd, 7)[0].isnan()
    assert torch.equal(round_mantissa(torch.arange(3), 7), torch.arange(3))
