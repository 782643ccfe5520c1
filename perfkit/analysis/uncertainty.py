"""How far one run's figures could have come out otherwise: standard errors from within the run.

Two things of a run would be drawn anew if it were repeated, and both can be seen inside it:

- *time*: the steady window is cut into batches, each figure is taken over each, and the batches'
  means are taken as independent (non-overlapping batch means, as in `confidence`); a test that
  was not steady (`perfkit.analysis.steady_state`) has no such part, and so no figure has an error;
- *clients*: the clients are taken as a sample of clients like them, and drawn anew with
  replacement (bootstrap). Where all clients share one full link or processor their rates make up
  for each other, and this part is too large for their total: the interval is wide, never narrow.

Both are added in squares. What changes from run to run and cannot be seen inside one (another
day, other machines) is in neither: only repetitions show it.

Source: Law, Simulation Modeling and Analysis, section 9.5.3; Efron and Tibshirani, An Introduction
to the Bootstrap, section 6.2; Satterthwaite (1946) for the degrees of freedom of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from perfkit.analysis import confidence, rates
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.slot_figures import Prepared
from perfkit.model import Window

RESAMPLES = 400
LEAST_CLIENTS = 3  # fewer say nothing about how clients differ


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard error with its degrees of freedom; NaN and 0 where none can be given."""

    error: float = float("nan")
    degrees: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(np.isfinite(self.error)) and self.degrees > 0


def together(*parts: Spread) -> Spread:
    """Independent parts added in squares, with Satterthwaite's degrees of freedom.

    Parts that are not known are left out; none known is none.
    """
    known = [part for part in parts if part.known]
    square = sum(part.error**2 for part in known)
    if not known:
        return Spread()
    if not square:
        return Spread(0.0, min(part.degrees for part in known))
    degrees = square**2 / sum(part.error**4 / part.degrees for part in known)
    return Spread(float(np.sqrt(square)), float(degrees))


def over_time(prepared: Prepared, window: Window, figures: Sequence[str]) -> dict[str, Spread]:
    """Batch means of each figure that depends on the window, as likely to be alike as the goodput.

    Args:
        figures: Names of `Prepared.figures`; one that a batch does not have is left out.

    Returns:
        Empty where the goodput has no such interval either, see `confidence.choose_batches`.
    """
    batches = confidence.choose_batches(prepared.by_second_bps(window).sum(axis=0))
    if not batches.count:
        return {}
    edges = np.linspace(window.start_s, window.end_s, batches.count + 1)
    parts = [
        prepared.figures(Window(start_s=float(start), end_s=float(end)))
        for start, end in pairwise(edges)
    ]
    found = {}
    for name in figures:
        values = np.array([part.get(name, np.nan) for part in parts])
        if np.isfinite(values).all():
            found[name] = Spread(batches.error_of(values), batches.count - 1.0)
    return found


def over_clients(clients: pd.DataFrame) -> dict[str, Spread]:
    """Bootstrap of the figures that are made of clients; the same run has the same interval every time.

    Args:
        clients: The counted clients of one slot: `goodput_bps`, or that of both ways, and
            `retransmits` if known.

    Returns:
        `goodput_bps` and those of both ways (of the total: the root of n times the s.d., no resampling needed),
        `client_median_bps`, `jain`, and `retransmits_per_gb` *relative* to its value; empty with
        fewer than three clients.
    """
    goodput = clients["goodput_bps"].to_numpy(dtype=np.float64)
    totals = {name: clients[name] for name in GOODPUT if name in clients}
    n = len(goodput)
    if n < LEAST_CLIENTS:
        return {}
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    values = goodput[drawn]
    # A resample of n differs by the biased s.d.; the factor makes it the unbiased one.
    wider = np.sqrt(n / (n - 1))
    errors = {
        **{name: np.sqrt(n) * float(values.std(ddof=1)) for name, values in totals.items()},
        "client_median_bps": wider * np.median(values, axis=1).std(ddof=1),
        "jain": wider * np.array([rates.jain_index(row) for row in values]).std(ddof=1),
    }
    again = clients["retransmits"].to_numpy(dtype=np.float64)
    if np.isfinite(again).all() and goodput.sum() > 0 and again.sum() > 0:
        shares = again[drawn].sum(axis=1) / np.maximum(values.sum(axis=1), 1e-9)
        errors["retransmits_per_gb"] = wider * shares.std(ddof=1) / (again.sum() / goodput.sum())
    return {
        name: Spread(float(error), n - 1.0) for name, error in errors.items() if np.isfinite(error)
    }
