"""The quick tier of the reliability table: every bound is kept, with few trials."""

from __future__ import annotations

import pytest
from reliability.__main__ import experiments
from reliability.experiment import Experiment

pytestmark = pytest.mark.slow

QUICK = [experiment for experiment in experiments() if experiment.quick]


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(it, id=it.key, marks=[pytest.mark.root] if it.root else []) for it in QUICK],
)
def test_a_promise_is_kept(experiment: Experiment) -> None:
    outcome = experiment.run(experiment.quick, 1)
    assert outcome.ok, f"{experiment.promise}: {outcome.result}"
