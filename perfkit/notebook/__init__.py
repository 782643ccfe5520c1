"""Notebooks: their parameters, the form that shows them, and `perfkit lab`."""
