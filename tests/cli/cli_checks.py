"""What every refusal has to look like."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def one_sentence(ran):
    """Check that stderr is one line that begins with "error:", and no traceback anywhere."""
    assert ran.err.startswith("error: "), ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err + ran.out
    assert "a fault in deniability itself" not in ran.err
