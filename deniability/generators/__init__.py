"""Generators: one adapter for each model format, entropy sources, the built-in model."""
