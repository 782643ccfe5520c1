"""Segments and statistics: frame in, frame out; needs no machine, no network."""
