"""Small networks that tests export, save and load; named by factories as `toy_networks:…`."""

import torch
from torch import nn

WIDTH = 6


class Toy(nn.Module):
    """R x 6 x 1 x 1 to R x 3 x 8 x 8 in [-1, 1], with batch norm that is not trivial."""

    def __init__(self, channels=3, last=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.main = nn.Sequential(
                nn.ConvTranspose2d(WIDTH, 8, 4, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.ConvTranspose2d(8, channels, 4, 2, 1),
                last or nn.Tanh(),
            )
            self.main[0].weight.data.mul_(4.0)
            self.main[3].weight.data.mul_(4.0)
            self.main[1].running_mean.uniform_(-0.5, 0.5)
            self.main[1].running_var.uniform_(0.5, 2.0)
        self.register_buffer("gain", torch.ones(channels, 1, 1))
        self.offset = torch.zeros(1)

    def forward(self, z):
        return self.main(z) * self.gain + self.offset


class Flat(nn.Module):
    """R x 5 to gray pictures R x 4 x 4 without a channel axis, in [0, 1]."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.layer = nn.Linear(5, 16)
            self.layer.weight.data.mul_(5.0)

    def forward(self, z):
        return torch.sigmoid(self.layer(z)).reshape(-1, 4, 4)


class TwoParts(nn.Module):
    """A latent and a style, of different shapes."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Linear(4, 48)
            self.second = nn.Linear(2, 48)

    def forward(self, z, style):
        mixed = self.first(z.flatten(1)) + self.second(style)
        return torch.tanh(mixed).reshape(-1, 3, 4, 4)


class Viewing(nn.Module):
    """Uses `.view` on a convolution's output, which channels-last does not bear."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.first = nn.ConvTranspose2d(WIDTH, 8, 4)
            self.one = nn.Conv2d(8, 8, 1)
            self.last = nn.Linear(128, 192)

    def forward(self, z):
        hidden = self.one(torch.relu(self.first(z)))
        return torch.tanh(self.last(hidden.view(len(z), 128))).reshape(-1, 3, 8, 8)


class GroupNormed(nn.Module):
    """Runs channels-last, where group norm cannot push a batch of tangents, and contiguous."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.main = nn.Sequential(
                nn.ConvTranspose2d(WIDTH, 8, 4),
                nn.GroupNorm(2, 8),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 3, 4, 2, 1),
                nn.Tanh(),
            )

    def forward(self, z):
        return self.main(z)


def viewing():
    return Viewing().eval()


def group_normed():
    return GroupNormed().eval()


def toy():
    return Toy().eval()


def trained_mode():
    return Toy().train()


def flat():
    return Flat().eval()


def two_parts():
    return TwoParts().eval()


def broken():
    raise RuntimeError("no such checkpoint\nsecond line")


def not_a_module():
    return 3


NOT_CALLABLE = 3


class _Function(nn.Module):
    """Parameters of Toy, another forward pass."""

    def __init__(self, function):
        super().__init__()
        self.main = Toy().main
        self.function = function

    def forward(self, z):
        return self.function(self.main(z))


def noisy():
    return _Function(lambda x: x * 0.5 + 0.1 * torch.randn_like(x))


def not_a_number():
    return _Function(lambda x: x * float("nan"))


def no_picture():
    return _Function(lambda x: x.flatten(1))


def a_dictionary():
    return _Function(lambda x: {"picture": x})


def two_channels():
    return _Function(lambda x: x[:, :2])


def bytes_range():
    return _Function(lambda x: (x + 1) * 127.5)


def normalising():
    """Mixes the samples of a batch, as batch norm in training mode does."""
    return _Function(lambda x: (x - x.mean(0)) * 0.4)
