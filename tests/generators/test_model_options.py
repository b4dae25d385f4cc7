"""generator.toml, flags, and the one error that asks for what is missing."""

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import script
from toy_networks import WIDTH, Flat, TwoParts, toy

from deniability.errors import DeniabilityError, GeneratorError
from deniability.generators.load import load_generator
from deniability.generators.options import ModelOptions, PartOptions, parse_config

CPU = torch.device("cpu")
FULL = """
[latent]
name = "z"
shape = [100, 1, 1]
prior = "uniform"
low = -1
high = 0.50
[output]
range = [-1, 1.0]
size = [3, 64, 64]
rounding = "truncate"
[entropy]
source = "numpy-randomstate"
seed_bits = 32
[model]
factory = "package.module:callable"
state_dict_key = "netG_state_dict"
prefix = "main."
"""


def test_everything_is_read():
    assert parse_config(FULL.encode(), "generator.toml") == ModelOptions(
        latent=(PartOptions("z", (100, 1, 1), "uniform", "-1", "0.5"),),
        output_range=("-1", "1"),
        output_size=(3, 64, 64),
        rounding="truncate",
        entropy_source="numpy-randomstate",
        seed_bits=32,
        factory="package.module:callable",
        state_dict_key="netG_state_dict",
        prefix="main.",
    )


def test_an_empty_file_states_nothing():
    assert parse_config(b"", "generator.toml") == ModelOptions()


def test_several_parts():
    text = '[[latent]]\nname = "z"\nshape = 4\n[[latent]]\nname = "w"\nshape = [2]\n'
    options = parse_config(text.encode(), "generator.toml")
    assert [part.shape for part in options.latent] == [(4,), (2,)]


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("[latent]\nshap = [1]", "latent.shap", "one of name, shape, prior, low, high"),
        ("[lantent]", "lantent", "one of output, entropy, model, latent"),
        ("[latent]\nshape = []", "latent.shape", "without the batch axis"),
        ("[latent]\nshape = [0]", "latent.shape", "without the batch axis"),
        ("[latent]\nshape = [1.0]", "latent.shape", "without the batch axis"),
        ("[latent]\nshape = [true]", "latent.shape", "without the batch axis"),
        ('[latent]\nshape = "4"', "latent.shape", "found '4'"),
        ('[latent]\nprior = "gaussian"', "latent.prior", "'normal', 'uniform'"),
        ("[latent]\nprior = 1", "latent.prior", "'normal', 'uniform'"),
        ("[latent]\nlow = nan", "latent.low", "a number"),
        ("[latent]\nlow = inf", "latent.low", "a number"),
        ("[latent]\nlow = 1e999999", "latent.low", "a number"),
        ("[latent]\nlow = 0.1234567890123", "latent.low", "a number"),
        ("[latent]\nlow = true", "latent.low", "a number"),
        ('[latent]\nname = "a b"', "latent.name", "letters"),
        ("[[latent]]\nshape = 1\n[[latent]]\nshape = 1", "latent.name", "a name for each"),
        ("latent = 3", "latent", "a table"),
        ("latent = []", "latent", "a table"),
        ("output = 3", "output", "a table"),
        ("[output]\nrange = [1, -1]", "output.range", "two rising numbers"),
        ("[output]\nrange = [1]", "output.range", "two rising numbers"),
        ("[output]\nrange = 1", "output.range", "two rising numbers"),
        ("[output]\nsize = [64, 64]", "output.size", "[channels, height, width]"),
        ("[output]\nsize = [64, 64, 3]", "output.size", "[channels, height, width]"),
        ('[output]\nrounding = "floor"', "output.rounding", "'round', 'truncate'"),
        ('[entropy]\nsource = "cuda"', "entropy.source", "'torch-cpu'"),
        ("[entropy]\nseed_bits = 0", "entropy.seed_bits", "from 1 to 256"),
        ("[entropy]\nseed_bits = 32.0", "entropy.seed_bits", "from 1 to 256"),
        ('[model]\nfactory = ""', "model.factory", "one line of text"),
        ('[model]\nprefix = "a\\nb"', "model.prefix", "one line of text"),
        ("[model]\nweights = 1", "model.weights", "one of factory"),
    ],
)
def test_wrong_values_name_file_and_key(text, where, expected):
    with pytest.raises(GeneratorError) as caught:
        parse_config(text.encode(), "some/generator.toml")
    message = str(caught.value)
    assert "some/generator.toml" in message
    assert where in message
    assert expected in message


def test_same_name_twice():
    text = '[[latent]]\nname = "z"\nshape = 1\n' * 2
    with pytest.raises(GeneratorError, match="same name"):
        parse_config(text.encode(), "g.toml")


@pytest.mark.parametrize(
    "data",
    [
        b"[latent",
        b"\xff\xfe",
        b"a = " + b"[" * 5000,
        b"a = 1" + b"0" * 5000,
        b"a = 1\na = 2",
        b"\0",
    ],
)
def test_what_is_not_toml(data):
    with pytest.raises(GeneratorError):
        parse_config(data, "g.toml")


TOML_PIECES = st.sampled_from(
    ["[", "]", "[[", "=", '"', "'", "\n", ".", ",", "{", "}", "nan", "-", "1e9", "true", "\0", "é"]
) | st.sampled_from(["1979-05-27", "0x10", "[latent]", "[output]", "shape", "range", "low", '"""'])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(FULL)), TOML_PIECES), min_size=1, max_size=6))
def test_mutated_files_are_errors_of_ours(mutations):
    text = FULL
    for position, piece in mutations:
        text = text[:position] + piece + text[position + len(piece) :]
    with contextlib.suppress(DeniabilityError):
        parse_config(text.encode(), "g.toml")


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["latent", "output", "entropy", "model", "shape", "prior", "low", "range", "size", "source"]
)


def as_toml(value):
    if isinstance(value, dict):
        items = (f"{as_toml(str(k))} = {as_toml(v)}" for k, v in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return repr(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, JSON_LIKE | st.dictionaries(KEYS, JSON_LIKE, max_size=4), max_size=4))
def test_any_value_under_any_key_is_an_error_of_ours(content):
    text = "\n".join(f"{k} = {as_toml(v)}" for k, v in content.items())
    with contextlib.suppress(DeniabilityError):
        parse_config(text.encode("utf-8", "replace"), "g.toml")


# Beside a model.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "toy.pt"
    script(path, toy())
    return path.read_bytes()


@pytest.fixture
def model(made, tmp_path):
    path = tmp_path / "toy.pt"
    path.write_bytes(made)
    return path


def test_missing_facts_are_asked_for_with_a_file_that_then_works(model):
    with pytest.raises(GeneratorError) as caught:
        load_generator(model, device=CPU)
    message = str(caught.value)
    assert "latent.prior" in message
    assert "output.range" not in message
    assert str(model.with_name("toy.generator.toml")) in message
    example = caught.value.hint.split("\n\n", 1)[1]
    model.with_name("toy.generator.toml").write_text(example)
    generator = load_generator(model, device=CPU)
    assert generator.spec.latent[0].shape == (WIDTH, 1, 1)
    assert generator.spec.rounding == "round"
    assert generator.spec.entropy.source == "torch-cpu"
    assert generator.spec.entropy.seed_bits == 32


def test_everything_missing_is_one_error(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(Flat().state_dict(), path)
    with pytest.raises(GeneratorError) as caught:
        load_generator(path, device=CPU)
    message = str(caught.value)
    assert "model.factory" in message
    assert "latent.prior" in message
    example = caught.value.hint.split("\n\n", 1)[1]
    assert "shape = [5]" in example
    example = example.replace("package.module:callable", "toy_networks:flat")
    (tmp_path / "generator.toml").write_text(example.replace("[-1, 1]", "[0, 1]"))
    assert load_generator(path, device=CPU).spec.factory == "toy_networks:flat"


def test_several_parts_missing(tmp_path):
    script(tmp_path / "two.pt", TwoParts().eval())
    with pytest.raises(GeneratorError, match=r"latent\.shape.*latent\.prior.*output\.range"):
        load_generator(tmp_path / "two.pt", device=CPU)


def test_uniform_prior_without_bounds_is_missing(model):
    with pytest.raises(GeneratorError, match=r"latent\.prior") as caught:
        load_generator(model, device=CPU, options=ModelOptions(prior="uniform"))
    model.with_name("generator.toml").write_text(caught.value.hint.split("\n\n", 1)[1])
    assert load_generator(model, device=CPU).spec.latent[0].low == "-1"


def test_own_file_wins_over_the_folders_and_flags_over_both(model):
    model.with_name("generator.toml").write_text('[latent]\nprior = "x"\n')
    model.with_name("toy.generator.toml").write_text(
        '[latent]\nprior = "normal"\n[output]\nrounding = "round"\n[entropy]\nseed_bits = 20\n'
    )
    generator = load_generator(
        model,
        device=CPU,
        options=ModelOptions(
            rounding="truncate", entropy_source="shake256", latent_shape=(WIDTH, 1, 1)
        ),
    )
    assert generator.spec.rounding == "truncate"
    assert generator.spec.entropy.source == "shake256"
    assert generator.spec.entropy.seed_bits == 20
    pictures = torch.tensor([[[[0.5, 1.0, 0.0039]]]])
    assert generator.quantise(pictures).flatten().tolist() == [127, 255, 0]


def test_rounding_is_half_to_even(model):
    generator = load_generator(model, device=CPU, options=ModelOptions(prior="normal"))
    pictures = torch.tensor([[[[0.5, 1.5, 2.5, 254.6, 255.0]]]]) / 255
    assert generator.quantise(pictures).flatten().tolist() == [0, 2, 2, 255, 255]


def test_flags_for_one_latent_do_not_fit_several(model):
    model.with_name("generator.toml").write_text(
        '[[latent]]\nname = "a"\nshape = 2\n[[latent]]\nname = "b"\nshape = 2\n'
    )
    with pytest.raises(GeneratorError, match="lists several"):
        load_generator(model, device=CPU, options=ModelOptions(prior="normal"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"low": "-1", "high": "1"}, "belong to a uniform prior"),
        ({"entropy_source": "numpy-randomstate", "seed_bits": 40}, "at most 32"),
        ({"latent_shape": (7, 1, 1)}, r"refuses latents of this shape.*8 x 7 x 1 x 1"),
        ({"output_size": (3, 8, 9)}, r"another size.*3 x 8 x 9.*3 x 8 x 8"),
        ({"output_range": ("0", "1")}, r"leaves the declared range.*\[0, 1\].*values from -"),
    ],
)
def test_descriptions_that_the_model_contradicts(model, more, message):
    with pytest.raises(GeneratorError, match=message):
        load_generator(model, device=CPU, options=ModelOptions(prior="normal", **more))


def test_declared_range_may_be_wider(model):
    options = ModelOptions(prior="normal", output_range=("-2", "2"))
    generator = load_generator(model, device=CPU, options=options)
    z = torch.zeros(1, WIDTH)
    assert torch.allclose(generator(z), (toy()(z.reshape(1, WIDTH, 1, 1)) + 2) / 4, atol=1e-6)
