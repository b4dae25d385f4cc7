"""Seeds to latents: bit-exactness of our own source, independent oracles for the other two."""

import hashlib
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mersenne import NumpyOracle, TorchOracle

from deniability.errors import GeneratorError
from deniability.generators.entropy import (
    entropy_source,
    latents_from_seed,
)
from deniability.imaging import normal
from deniability.imaging.draws import shake256_normal, shake256_uniform
from deniability.imaging.normal import natural_logarithm, normal_quantile
from deniability.wire.generator import GeneratorSpec


def make_spec(*parts, source="shake256", seed_bits=32):
    latent = [
        {"name": f"z{i}", "shape": shape, "prior": "normal"}
        if bounds is None
        else {
            "name": f"z{i}",
            "shape": shape,
            "prior": "uniform",
            "low": bounds[0],
            "high": bounds[1],
        }
        for i, (shape, bounds) in enumerate(parts)
    ]
    return GeneratorSpec.model_validate(
        {
            "latent": latent,
            "channels": 1,
            "height": 2,
            "width": 2,
            "output_range": ("-1", "1"),
            "rounding": "round",
            "entropy": {"source": source, "seed_bits": seed_bits},
            "format": "torchscript",
        }
    )


# The source again, in plain Python floats, from the text of SPEC.md.


def plain_logarithm(x):
    m, e = math.frexp(x)
    if m < 0.7071067811865476:
        m, e = 2.0 * m, e - 1
    t = (m - 1.0) / (m + 1.0)
    s = t * t
    p = 1.0 / 23
    for odd in range(21, 0, -2):
        p = p * s + 1.0 / odd
    return e * 0.6931471805599453 + (2.0 * t) * p


def plain_polynomial(coefficients, x):
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def plain_quantile(u):
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * (
            plain_polynomial(normal._CENTRAL_NUMERATOR, r)
            / plain_polynomial(normal._CENTRAL_DENOMINATOR, r)
        )
    r = math.sqrt(-plain_logarithm(min(u, 1.0 - u)))
    if r <= 5.0:
        s = r - 1.6
        value = plain_polynomial(normal._MIDDLE_NUMERATOR, s) / plain_polynomial(
            normal._MIDDLE_DENOMINATOR, s
        )
    else:
        s = r - 5.0
        value = plain_polynomial(normal._FAR_NUMERATOR, s) / plain_polynomial(
            normal._FAR_DENOMINATOR, s
        )
    return -value if q < 0 else value


def plain_uniform(seed, count):
    stream = hashlib.shake_256(seed).digest(8 * count)
    return [
        ((int.from_bytes(stream[8 * i : 8 * i + 8], "little") >> 12) + 0.5) * 2.0**-52
        for i in range(count)
    ]


def test_golden_vectors():
    assert shake256_normal(bytes(32), 8).astype("<f8").tobytes().hex() == (
        "94f236693d27d2bf0496654989f0dfbf48a3bd6a609dbdbfa0260b663af4d2bf"
        "bb005644243cc2bf363997d5edd4ffbfd8eb9ba3ee8804c03379b7844498fb3f"
    )
    many = shake256_normal(b"\x01" * 32, 100_000).astype("<f8").tobytes()
    assert (
        hashlib.sha256(many).hexdigest()
        == "4be1ecee2b540dba3ed0e7c6686f613d914ea0ee63863e7b3d2500f7791b286f"
    )


@settings(deadline=None)
@given(st.binary(max_size=64), st.integers(0, 70))
def test_same_bits_as_plain_python(seed, count):
    uniform = plain_uniform(seed, count)
    assert shake256_uniform(seed, count).tolist() == uniform
    assert shake256_normal(seed, count).tolist() == [plain_quantile(u) for u in uniform]


@settings(deadline=None)
@given(st.integers(0, 2**52 - 1), st.integers(0, 52))
def test_every_branch_has_the_bits_of_plain_python(k, shift):
    u = ((k >> shift) + 0.5) * 2.0**-52
    for value in (u, 1.0 - u):
        (result,) = normal_quantile(np.array([value])).tolist()
        assert result == plain_quantile(value)
        assert math.isclose(
            result, statistics.NormalDist().inv_cdf(value), rel_tol=1e-14, abs_tol=1e-15
        )
    assert normal_quantile(np.array([1.0 - u]))[0] == -normal_quantile(np.array([u]))[0]


def test_extremes_are_finite():
    assert normal_quantile(np.array([2.0**-53, 1 - 2.0**-53])).tolist() == pytest.approx(
        [-8.2095, 8.2095], abs=1e-3
    )


def test_logarithm_is_accurate():
    x = np.concatenate([np.random.default_rng(0).random(10_000), 2.0 ** -np.arange(1, 54)])
    assert np.max(np.abs(natural_logarithm(x) / np.log(x) - 1)) < 1e-15


def test_constants_are_the_nearest_numbers():
    assert math.log(2) == normal._LN2
    assert math.sqrt(0.5) == normal._SQRT_HALF


def test_normal_numbers_are_normal():
    x = np.sort(shake256_normal(b"distribution", 20_000))
    expected = np.array([statistics.NormalDist().cdf(v) for v in x])
    distance = np.max(np.abs(expected - (np.arange(20_000) + 0.5) / 20_000))
    # Kolmogorov's bound at 1e-6: sqrt(-ln(5e-7) / 2n).
    assert distance < math.sqrt(-math.log(5e-7) / 40_000)


def test_uniform_numbers_never_touch_the_ends():
    x = shake256_uniform(b"ends", 100_000)
    assert x.min() > 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 0.005


def test_parts_come_from_one_stream_in_order():
    spec = make_spec(((3, 2), None), ((4,), ("-1", "0.5")), ((2,), None))
    u = np.array(plain_uniform(b"seed", 12))
    expected = np.concatenate(
        [normal_quantile(u[:6]), -1.0 + 1.5 * u[6:10], normal_quantile(u[10:])]
    ).astype(np.float32)
    latent = latents_from_seed(spec, b"seed")
    assert latent.dtype == np.float32
    assert latent.tobytes() == expected.tobytes()


def test_controls_ignore_the_service_source():
    part = ((20, 1, 1), None)
    of_torch = latents_from_seed(make_spec(part, source="torch-cpu"), b"seed")
    assert of_torch.tobytes() == latents_from_seed(make_spec(part), b"seed").tobytes()


def test_shake256_source_takes_the_seed_as_32_bytes():
    spec = make_spec(((9,), None), seed_bits=256)
    for seed in (0, 1, 2**256 - 1):
        expected = latents_from_seed(spec, seed.to_bytes(32, "big"))
        assert entropy_source(spec).latent(seed).tobytes() == expected.tobytes()


SIZES = [1, 2, 3, 15, 16, 17, 31, 32, 40, 100, 128]


@pytest.mark.parametrize("size", SIZES)
def test_torch_source_matches_the_oracle(size):
    latent = entropy_source(make_spec(((size,), None), source="torch-cpu")).latent(123)
    assert np.abs(latent - TorchOracle(123).randn(size)).max() < 1e-6


def test_torch_source_carries_its_spare_number_over_parts():
    spec = make_spec(*(((n,), None) for n in (3, 20, 1, 2, 16)), source="torch-cpu")
    oracle = TorchOracle(5)
    expected = np.concatenate([oracle.randn(n) for n in (3, 20, 1, 2, 16)])
    assert np.abs(entropy_source(spec).latent(5) - expected).max() < 1e-6


def test_torch_source_is_what_a_service_draws():
    spec = make_spec(((4, 2, 2), None), ((3,), ("-2", "2")), source="torch-cpu")
    generator = torch.Generator().manual_seed(77)
    z = torch.randn(1, 4, 2, 2, generator=generator)
    w = torch.rand(1, 3, generator=generator) * 4.0 - 2.0
    expected = torch.cat([z.flatten(), w.flatten()]).numpy()
    assert entropy_source(spec).latent(77).tobytes() == expected.tobytes()


def test_torch_uniform_matches_the_oracle():
    spec = make_spec(((20,), ("0", "1")), source="torch-cpu")
    assert entropy_source(spec).latent(5).tolist() == TorchOracle(5).rand(20)


def test_torch_drops_the_upper_half_of_a_seed():
    source = entropy_source(make_spec(((20,), None), source="torch-cpu", seed_bits=64))
    assert source.latent(7).tobytes() == source.latent(7 + 5 * 2**32).tobytes()


@pytest.mark.parametrize("size", SIZES)
def test_numpy_source_matches_the_oracle(size):
    spec = make_spec(((size,), None), source="numpy-randomstate")
    expected = NumpyOracle(2**32 - 1).randn(size)
    assert np.abs(entropy_source(spec).latent(2**32 - 1) - expected).max() < 1e-6


def test_numpy_uniform_matches_the_oracle():
    spec = make_spec(((7,), ("-1", "3")), source="numpy-randomstate")
    oracle = NumpyOracle(9)
    expected = np.array([-1 + 4 * oracle.random() for _ in range(7)], np.float32)
    assert entropy_source(spec).latent(9).tobytes() == expected.tobytes()


@pytest.mark.parametrize("source", ["torch-cpu", "numpy-randomstate", "shake256"])
@pytest.mark.parametrize("seed", [-1, 2**16])
def test_seed_outside_the_space_is_refused(source, seed):
    spec = make_spec(((2,), None), source=source, seed_bits=16)
    with pytest.raises(GeneratorError, match="seed space"):
        entropy_source(spec).latent(seed)


@pytest.mark.parametrize("source", ["torch-cpu", "numpy-randomstate", "shake256"])
def test_global_random_state_is_left_alone(source):
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    entropy_source(make_spec(((20,), None), source=source)).latent(1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


def labelled(source, classes, *, bits=32):
    """Numbers, a label, numbers."""
    spec = make_spec(((3,), None), ((1,), None), ((2,), None), source=source, seed_bits=bits)
    first, middle, last = spec.latent
    label = middle.model_copy(update={"prior": "label", "classes": classes, "encoding": "index"})
    return spec.model_copy(update={"latent": (first, label, last)})


@pytest.mark.parametrize("classes", [2, 5, 10, 1000, 2**20])
def test_labels_of_shake256_are_integer_arithmetic(classes):
    for number in range(50):
        seed = f"label {number}".encode()
        stream = hashlib.shake_256(seed).digest(48)
        k = int.from_bytes(stream[24:32], "little") >> 12
        latent = latents_from_seed(labelled("torch-cpu", classes), seed)
        assert latent[3] == k * classes // 2**52
        plain = latents_from_seed(make_spec(((6,), None)), seed)
        assert np.delete(latent, 3).tobytes() == np.delete(plain, 3).tobytes()


def test_labels_are_as_likely_as_each_other():
    spec = labelled("shake256", 5)
    found = [int(latents_from_seed(spec, f"{i}".encode())[3]) for i in range(5000)]
    counts = np.bincount(found, minlength=5)
    assert len(counts) == 5
    assert np.abs(counts - 1000).max() < 150


@pytest.mark.parametrize("classes", [2, 5, 10, 1000, 2**20])
def test_torch_labels_match_the_oracle(classes):
    source = entropy_source(labelled("torch-cpu", classes))
    for seed in range(20):
        oracle = TorchOracle(seed)
        first = oracle.randn(3)
        label = oracle.engine.draw() % classes
        expected = np.concatenate([first, [label], oracle.randn(2)])
        latent = source.latent(seed)
        assert latent[3] == label
        assert np.abs(latent - expected).max() < 1e-6


@pytest.mark.parametrize("classes", [2, 5, 8, 10, 1000, 2**20])
def test_numpy_labels_match_the_oracle(classes):
    source = entropy_source(labelled("numpy-randomstate", classes))
    mask = (1 << (classes - 1).bit_length()) - 1
    for seed in range(20):
        oracle = NumpyOracle(seed)
        first = oracle.randn(3)
        label = classes
        while label >= classes:
            label = oracle.engine.draw() & mask
        expected = np.concatenate([first, [label], oracle.randn(2)])
        latent = source.latent(seed)
        assert latent[3] == label
        assert np.abs(latent - expected).max() < 1e-6
