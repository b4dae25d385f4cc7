"""A JPEG whose pixels had been one before, on the same grid: the hull of its preimages.

The first compression left multiples of its steps; decoding rounded them to pixels; the second put
each into an interval of its own steps. So the output's coefficient lay near one of the multiples of
the first steps that the file's interval, widened by that rounding, still holds. From half a step
below the lowest of them to half a step above the highest is a box again, much smaller where the
first steps are the larger ones. Source of the idea that the first quality can be read from the
second's coefficients: Lukas and Fridrich, Estimation of primary quantization matrix in double
compressed JPEG images, DFRWS 2003; here it is one of the tables that libjpeg writes, by likelihood.
Where several are about as likely, the box holds the hulls of all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deniability.imaging.decoded_jpeg import ijg_steps
from deniability.imaging.edited import EditedHandling
from deniability.imaging.edits.codecs import JpegEdit
from deniability.imaging.handling import STEPS, Observations
from deniability.imaging.jpeg import JpegHandling
from deniability.imaging.jpeg_operator import as_stored, block_shapes, stored_size
from deniability.wire.observation import ObservationKind

#: Deviation of a coefficient by the rounding of pixels in between, in steps: of gray pixels, and
#: of colours, which are rounded several times.
_DEVIATION = {1: 0.3, 3: 0.45}
_WIDTHS = 3.0  # deviations by which an interval is widened
_CLIPPED = 2.0  # deviations of a first compression's rounding that clipping may spread
_REACH = 4.0  # deviations beyond which the likelihood has nothing
_OUTLIERS = 0.02  # share of coefficients of which the first compression says nothing
_LEAST = 1e-300
#: Spreads of a frequency before any compression, in steps; of each file the likeliest counts.
_SPREADS = 2.0 ** (torch.arange(-3, 28, dtype=torch.float64) / 3)
_BEHIND = 16.0  # how far behind the likeliest quality one still counts (natural logarithm)


class TwiceJpegHandling(EditedHandling):
    """A cell of DCT coefficients behind two compressions; the first one's quality is estimated.

    Whole blocks only: what filled the others up is not the same both times. Chroma is compared only
    where neither compression subsampled it: what enlarged it in between is not known.
    """

    _stored: JpegHandling

    def __init__(self, kind: ObservationKind, edit: JpegEdit, stored: JpegHandling) -> None:
        colour = kind.components == "ycc444" and kind.model_channels == 3
        self._components = 3 if colour and edit.subsampling == "4:4:4" else 1
        self._qualities = range(edit.lowest, edit.highest + 1)
        self._whole = tuple(side // 8 for side in stored_size(stored.kind))
        self._deviation = _DEVIATION[kind.model_channels]
        super().__init__(kind, edit, stored)

    def shown(self, observations: Observations) -> Observations:
        """Take the coefficients of the file for what two compressions left."""
        index = self._coordinates()
        shape = (len(observations), self._components, -1, 64)
        second = self._stored.quantisers()[index].reshape(self._components, -1, 64)[None]
        values = observations.centre[:, index].double() * STEPS
        multiples = (values.reshape(shape) / second).round()
        plausible = self._plausible(multiples[:, 0], second[0, 0, 0])
        low = torch.full_like(multiples, torch.inf)
        high = torch.full_like(multiples, -torch.inf)
        for place, quality in enumerate(self._qualities):
            rows = torch.nonzero(plausible[:, place])[:, 0]
            first = ijg_steps(quality, colour=self._components == 3)[None, :, None, :]
            bounds = self._hull(multiples[rows], second, first, observations.pixels[rows])
            low[rows] = torch.minimum(low[rows], bounds[0])
            high[rows] = torch.maximum(high[rows], bounds[1])
        return Observations(
            low=(low.flatten(1) / STEPS).float(),
            high=(high.flatten(1) / STEPS).float(),
            centre=((low + high).flatten(1) / 2 / STEPS).float(),
            pixels=observations.pixels,
        )

    def _hull(
        self, multiples: Tensor, second: Tensor, first: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the bounds `N x c x b x 64` of what outputs can have been, in pixel steps.

        Where the decoder clipped, a coefficient was moved by who knows how much. It shows in pixels
        at either end of the range, and in intervals without any multiple; of such a block the
        file's own intervals count, widened on either side. Clipping brings a block nearer to what
        it was, but spreads over all frequencies what the coarse ones were off by: so half a first
        step, or twice the deviation of a mean one's rounding if that is more.
        """
        low, high = (multiples - 0.5) * second, (multiples + 0.5) * second
        margin = _WIDTHS * self._deviation
        lowest = ((low - margin) / first).ceil()
        highest = ((high + margin) / first).floor()
        strange = (highest < lowest).any(dim=3).any(dim=1) | self._clipped(pixels)
        unsure = strange[:, None, :, None]
        spread = (first.square().mean(dim=3, keepdim=True) / 12).sqrt()
        beyond = torch.maximum(first / 2, _CLIPPED * spread)
        return (
            torch.where(unsure, low - beyond, (lowest - 0.5) * first),
            torch.where(unsure, high + beyond, (highest + 0.5) * first),
        )

    def _clipped(self, pixels: Tensor) -> Tensor:
        """Tell of each whole block whether a pixel of it is at either end of the range: N x b."""
        rows, columns = self._whole
        stored = as_stored(pixels, self.kind.orientation or 1)
        ends = ((stored <= 0) | (stored >= 1)).any(dim=1)[:, : 8 * rows, : 8 * columns]
        return ends.reshape(-1, rows, 8, columns, 8).any(dim=4).any(dim=2).flatten(1)

    def _plausible(self, multiples: Tensor, second: Tensor) -> Tensor:
        """Tell which first qualities a file's coefficients do not speak against: N x qualities.

        Args:
            multiples: luma of the file, `N x b x 64`, in steps of the second compression.
            second: its steps, 64.

        """
        heights = multiples.abs()
        values = torch.from_numpy(np.unique(heights.numpy()))
        counts = torch.stack([(heights == value).sum(dim=1) for value in values], dim=2).double()
        scores = []
        for quality in self._qualities:
            first = ijg_steps(quality, colour=False)[0]
            likely = _likelihoods(values, first, second, self._deviation).log()
            likely[:, 0] = 0  # the mean of a block can lie on any grid by accident
            by_spread = torch.einsum("nfv,lfv->nlf", counts, likely)
            scores.append(by_spread.amax(dim=1).sum(dim=1))
        found = torch.stack(scores, dim=1)
        return found >= found.amax(dim=1, keepdim=True) - _BEHIND

    def _visible_coordinates(self) -> Tensor:
        return self._coordinates().to(self.device)

    def _coordinates(self) -> Tensor:
        """Return the coordinates of whole blocks of the components that count."""
        rows, columns = self._whole
        found, offset = [], 0
        for down, across in block_shapes(self.kind.stored)[: self._components]:
            places = offset + torch.arange(64 * down * across).reshape(down, across, 64)
            found.append(places[:rows, :columns].flatten())
            offset += 64 * down * across
        return torch.cat(found)


def _likelihoods(values: Tensor, first: Tensor, second: Tensor, deviation: float) -> Tensor:
    """Return how likely two compressions leave these multiples, by spread and frequency.

    Args:
        values: multiples of the second steps, not negative, V.
        first: steps of the first compression, 64.
        second: steps of the second compression, 64.
        deviation: of the rounding in between.

    Returns:
        S x 64 x V, S spreads of Laplace's distribution before any compression.

    """
    spreads = _SPREADS[:, None, None]
    low, high = (values - 0.5) * second[:, None], (values + 0.5) * second[:, None]
    steps = first[:, None]
    reach = _REACH * deviation
    lowest = ((low - reach) / steps).ceil()
    most = int(((second + 2 * reach) / first).max()) + 1
    likely = torch.zeros(len(spreads), *low.shape, dtype=torch.float64)
    for place in range(most):
        centre = (lowest + place) * steps
        kept = torch.special.ndtr((high - centre) / deviation)
        kept = kept - torch.special.ndtr((low - centre) / deviation)
        likely += kept * _laplace(centre - steps / 2, centre + steps / 2, spreads)
    once = _laplace(low, high, spreads)
    return (_OUTLIERS * once + (1 - _OUTLIERS) * likely).clamp_min(_LEAST)


def _laplace(low: Tensor, high: Tensor, spread: Tensor) -> Tensor:
    """Return how much of Laplace's distribution lies in [low, high]."""
    near, far = torch.minimum(low.abs(), high.abs()), torch.maximum(low.abs(), high.abs())
    inner, outer = torch.exp(-near / spread), torch.exp(-far / spread)
    return torch.where((low < 0) & (high > 0), 2 - inner - outer, inner - outer) / 2
