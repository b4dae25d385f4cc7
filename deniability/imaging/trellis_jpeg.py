"""JPEG files of an encoder that chooses coefficients by rate and distortion (`jpeg_trellis`)."""

from __future__ import annotations

from deniability.imaging.edited import EditedHandling
from deniability.imaging.handling import Observations, Pixels
from deniability.imaging.jpeg import JpegHandling


class TrellisJpegHandling(EditedHandling):
    """The file's own cell, which outputs saved by such an encoder miss; so controls are, too."""

    _stored: JpegHandling

    def save(self, pictures: Pixels) -> Observations:
        """Store pictures with the file's tables and sampling, coefficients chosen by a trellis."""
        return self._stored.save_by_trellis(pictures)
