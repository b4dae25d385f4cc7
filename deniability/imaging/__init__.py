"""Safe decoding to canonical pixels, and observations: an operator and a cell per file."""
