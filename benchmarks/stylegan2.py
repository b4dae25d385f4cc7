"""A small generator in the style of StyleGAN2, written from the paper (Karras et al. 2020).

Mapping network, weight modulation and demodulation, skip connections to RGB, noise inputs that are
constant buffers. The modulation scales the inputs and outputs of a plain convolution (section 2.2
of the paper, not fused), so that it runs under `torch.func.vmap` and `jvp`. Weights are seeded, not
trained: equalised normal draws, and styles away from 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT = 512
_GAIN = math.sqrt(2)  # of the leaky ReLU, which halves the power
_MAPPING = 8  # layers of the mapping network
_WIDTHS = (32, 32, 32, 16, 16)  # channels at 4, 8, 16, 32, 64 pixels
_RGB = 0.35  # so that the sum over resolutions mostly stays in [-1, 1]
_NOISE = 0.1  # strength of the constant noise


def _active(values: Tensor) -> Tensor:
    return _GAIN * functional.leaky_relu(values, 0.2)


class Equalised(nn.Linear):
    """A linear layer whose weights are drawn with variance 1 / inputs."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight, std=1 / math.sqrt(inputs))
        nn.init.constant_(self.bias, bias)


class Modulated(nn.Module):
    """A convolution with a style for every input channel.

    Args:
        before, after: channels.
        kernel: side of the kernel.
        demodulate: whether each output channel is brought back to unit power.

    """

    def __init__(self, before: int, after: int, kernel: int, *, demodulate: bool) -> None:
        super().__init__()
        self.style = Equalised(LATENT, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        nn.init.normal_(self.weight, std=1 / math.sqrt(before * kernel**2))
        self.demodulate = demodulate

    def forward(self, values: Tensor, w: Tensor) -> Tensor:
        """Convolve `R x C x H x W` in the style of `w`, `R x 512`."""
        style = self.style(w)
        padding = self.weight.shape[-1] // 2
        out = functional.conv2d(values * style[:, :, None, None], self.weight, padding=padding)
        if self.demodulate:
            power = style.square() @ self.weight.square().sum(dim=(2, 3)).T
            out = out * torch.rsqrt(power + 1e-8)[:, :, None, None]
        return out


class Layer(nn.Module):
    """Modulated 3 x 3 convolution, constant noise, bias, leaky ReLU."""

    noise: Tensor

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.convolution = Modulated(before, after, 3, demodulate=True)
        self.bias = nn.Parameter(torch.zeros(after, 1, 1))
        self.register_buffer("noise", _NOISE * torch.randn(1, 1, side, side))

    def forward(self, values: Tensor, w: Tensor) -> Tensor:
        """Return `R x C x H x W`."""
        return _active(self.convolution(values, w) + self.noise + self.bias)


class Mapping(nn.ModuleList):
    """Latents to styles, both `R x 512`; the length of a latent has no say."""

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self:
            w = _active(layer(w))
        return w


class StyleGenerator(nn.Module):
    """Latents `R x 512` to pictures `R x 3 x 64 x 64`, held within [-1, 1]."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mapping = Mapping(Equalised(LATENT, LATENT) for _ in range(_MAPPING))
        self.constant = nn.Parameter(torch.randn(1, _WIDTHS[0], 4, 4))
        self.layers, self.to_rgb = nn.ModuleList(), nn.ModuleList()
        before = _WIDTHS[0]
        for depth, width in enumerate(_WIDTHS):
            side = 4 << depth
            pair = [Layer(before, width, side)]
            if depth > 0:
                pair.append(Layer(width, width, side))
            self.layers.append(nn.ModuleList(pair))
            self.to_rgb.append(Modulated(width, 3, 1, demodulate=False))
            before = width
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("filter", (taps[:, None] * taps[None, :])[None, None])

    def upsampled(self, values: Tensor) -> Tensor:
        """Double the side with the filter 1-3-3-1, each channel by itself."""
        rows, channels, height, width = values.shape
        flat = values.reshape(rows * channels, 1, height, width)
        flat = functional.conv_transpose2d(flat, self.filter, stride=2, padding=1)
        return flat.reshape(rows, channels, 2 * height, 2 * width)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        return self.synthesis(self.mapping(z))

    def synthesis(self, w: Tensor) -> Tensor:
        """Return the pictures of styles `R x 512`."""
        values = self.constant.expand(len(w), -1, -1, -1)
        picture = torch.zeros_like(values[:, :3])
        for depth, (pair, to_rgb) in enumerate(zip(self.layers, self.to_rgb, strict=True)):
            if depth > 0:
                values, picture = self.upsampled(values), self.upsampled(picture)
            for layer in pair:  # type: ignore[attr-defined]
                values = layer(values, w)
            picture = picture + _RGB * to_rgb(values, w)
        return picture.clamp(-1, 1)


def network() -> StyleGenerator:
    """Build the network; its weights come from whatever seed torch has."""
    return StyleGenerator()


class Truncated(nn.Module):
    """The same with a second input: how much of a style's distance from the mean style is kept.

    That is StyleGAN's truncation (Karras et al. 2019, section B), drawn anew for every picture.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.generator = StyleGenerator()
        with torch.no_grad():
            styles = self.generator.mapping(torch.randn(8192, LATENT))
        self.register_buffer("mean", styles.mean(dim=0))

    def mapping(self, z: Tensor, psi: Tensor) -> Tensor:
        """Map latents `R x 512` and shares `R x 1` to styles `R x 512`."""
        style: Tensor = self.generator.mapping(z)
        return self.mean + psi * (style - self.mean)

    def synthesis(self, w: Tensor) -> Tensor:
        """Return the pictures of styles `R x 512`."""
        return self.generator.synthesis(w)

    def forward(self, z: Tensor, psi: Tensor) -> Tensor:
        """Return pictures `R x 3 x 64 x 64`."""
        return self.synthesis(self.mapping(z, psi))


def truncated() -> Truncated:
    """Build the network with truncation as an input."""
    return Truncated()
