"""What may have been done to outputs before they were stored: families of handling."""

from deniability.imaging.edits.edit import Edit
from deniability.imaging.edits.registry import build_edit

__all__ = ["Edit", "build_edit"]
