"""Synthetic runs with known truth, and their logs' text; for tests, perfkit's and yours."""
