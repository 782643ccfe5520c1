"""What an experiment is: a promise, how often it is tried, and what came out.

Each module of this folder holds one, named EXPERIMENT. `python -m tests.reliability` runs them all
and prints the table; the quick tier is part of the test suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out, in words and as a verdict."""

    result: str
    ok: bool
    baseline: str = ""  # what the naive way does under the same faults


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of the reliability table.

    Attributes:
        run: Called with the number of trials and a seed.
        quick: Trials in the test suite; 0 = not there.
        full: Trials for the published table.
    """

    key: str
    promise: str
    bound: str
    run: Callable[[int, int], Outcome]
    quick: int
    full: int
    root: bool = False
