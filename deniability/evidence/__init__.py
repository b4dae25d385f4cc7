"""Registration, proof and replay: the only writers of bundles."""
