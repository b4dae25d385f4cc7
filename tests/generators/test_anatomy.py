"""Parameters and FLOPs of a network, against counts by hand."""

import torch
from torch import nn
from toy_networks import Toy


def test_every_layer_is_given_its_own_operations_alone():
    from deniability.generators.anatomy import dissect
    from deniability.generators.base import Generator
    from deniability.generators.load import load_generator

    class Mixed(nn.Module):
        """A product of its own beside a layer that is used twice."""

        def __init__(self):
            super().__init__()
            self.own = nn.Parameter(torch.ones(16, 16))
            self.twice = nn.Linear(16, 16)

        def forward(self, z):
            return self.twice(torch.tanh(self.twice(z) @ self.own)).reshape(-1, 1, 4, 4)

    spec = load_generator("builtin", device=torch.device("cpu")).spec
    spec = spec.model_copy(update={"channels": 1, "height": 4, "width": 4})
    module = Mixed().requires_grad_(False)
    generator = Generator(
        module=module, forward=module, spec=spec, device=torch.device("cpu"), files=()
    )
    anatomy = dissect(generator)
    found = {layer.name: (layer.parameters, layer.flops) for layer in anatomy.layers}
    assert found == {"": (256, 2 * 256), "twice": (272, 2 * 2 * 256)}
    assert (anatomy.parameters, anatomy.flops) == (528, 3 * 2 * 256)
    assert not module.twice._forward_hooks


def test_operators_without_a_formula_are_named():
    from deniability.generators.flops import count_flops

    matrix, vector = torch.ones(5, 7), torch.ones(7)
    assert count_flops(lambda: matrix @ vector).total == 2 * 5 * 7
    assert count_flops(lambda: vector @ vector).total == 2 * 7
    distances = count_flops(lambda: torch.cdist(matrix, matrix))
    assert (distances.total, distances.uncounted) == (0, ["aten._cdist_forward"])
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    counted = count_flops(lambda: layer(torch.zeros(1, 4, 8)))  # of 4 places, 2 heads of 4 numbers
    projections, attended, wide = 4 * 8 * (24 + 8), 2 * 2 * 4 * 4 * 4, 2 * 4 * 8 * 16
    assert (counted.total, counted.uncounted) == (2 * (projections + attended + wide), [])
    scaled = nn.functional.scaled_dot_product_attention
    query = torch.ones(1, 2, 4, 8)
    attention = count_flops(lambda: scaled(query, query, query))
    assert (attention.total, attention.uncounted) == (2 * 2 * 2 * 4 * 4 * 8, [])


def test_toy_is_what_the_count_by_hand_is_of():
    assert [tuple(w.shape) for w in Toy().main.parameters() if w.ndim == 4] == [
        (6, 8, 4, 4),
        (8, 3, 4, 4),
    ]
