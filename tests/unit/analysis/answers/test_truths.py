"""The quick tier of the table of truths: a few campaigns a row; `bench_campaigns.py` has the whole."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_a_few_campaigns_of_each_row_about_cells_meet_their_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    rows = list(importlib.import_module("truths_cells").rows(12, 0.04))
    assert len(rows) > 30
    assert not [row for row in rows if not row.ok]


def test_a_few_searches_of_each_row_about_capacity_meet_their_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    rows = list(importlib.import_module("truths_capacity").rows(12, 0.05))
    assert len(rows) > 5
    assert not [row for row in rows if not row.ok]
