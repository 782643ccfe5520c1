"""One line of a table of truths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class TruthRow:
    """What was planted, what must come out, what came out, and how long it took."""

    what: str
    expected: str
    got: str
    ok: bool
    seconds: float


def share(hits: int, tries: int) -> str:
    """A percentage with its Monte Carlo standard error."""
    found = hits / tries
    error = np.sqrt(max(found * (1 - found), 1 / tries) / tries)
    return f"{100 * found:.1f} +- {100 * error:.1f} % of {tries}"
