"""Canonical bytes, digests, trees, keys and signatures: the layer above errors."""
