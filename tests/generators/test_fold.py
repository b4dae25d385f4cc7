import torch
from torch import nn

from deniability.generators.fold import fold_batch_norms


def with_statistics(norm):
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    torch.nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(
            nn.ConvTranspose2d(8, 6, 4, bias=False),
            with_statistics(nn.BatchNorm2d(6)),
            nn.ReLU(),
            nn.Conv2d(6, 5, 3),
            with_statistics(nn.BatchNorm2d(5)),
        ),
        nn.Flatten(),
        nn.Linear(20, 7),
        with_statistics(nn.BatchNorm1d(7)),
    ).eval()


def test_folding_changes_nothing_but_the_number_of_layers():
    module = network()
    latents = torch.randn(4, 8, 1, 1)
    before = module(latents)
    folded = fold_batch_norms(module)
    assert torch.allclose(folded(latents), before, atol=1e-5)
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in folded.modules())


def test_a_norm_behind_something_else_stays():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), with_statistics(nn.BatchNorm1d(4))).eval()
    latents = torch.randn(5, 3)
    before = module(latents)
    folded = fold_batch_norms(module)
    assert torch.equal(folded(latents), before)
    assert any(isinstance(m, nn.BatchNorm1d) for m in folded.modules())


def test_hooks_keep_a_sequence_as_it_is():
    module = network()
    module[2].register_forward_hook(lambda *_: None)
    assert any(isinstance(m, nn.BatchNorm1d) for m in fold_batch_norms(module).modules())
