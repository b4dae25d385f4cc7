"""Evidence, re-checkable by a hostile expert, on whether a picture came from an image generator.

`deniability.evidence` registers models and proves, `deniability.verify` re-checks; see
`examples/quickstart.py`. This package itself imports nothing, so that verifying stays light.
"""

__version__ = "0.1.0"
