"""Exhaustive generation: every seed of a range, compared with a file. Nothing in it is random."""
