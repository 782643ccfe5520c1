"""A link of known capacity for trials of a search: what is above it is lost, with noise on top.

Shares no code with the search but the trial that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from perfkit.analysis.capacity_search import Trial

DATAGRAM_BITS = 1372 * 8
COUNTED_S = 7.0  # of a trial of ten seconds


@dataclass
class SyntheticLink:
    """Carries `capacity_bps`, less or more by `spread` from trial to trial.

    Attributes:
        hiccups: Share of trials in which a fifth of it is missing.
        most_bps: What the generator can offer.
        overload: Share of what is offered above the capacity that costs the link as much capacity.
        loads: What was offered so far.
    """

    capacity_bps: float
    spread: float = 0.0
    hiccups: float = 0.0
    most_bps: float = float("inf")
    overload: float = 0.0
    seed: int = 0
    loads: list[float] = field(default_factory=list)

    def trial(self, load_bps: float) -> Trial:
        """One trial; the same number of the same load comes to the same, whoever asks."""
        self.loads.append(load_bps)
        chance = Random(f"{self.seed} {load_bps} {self.loads.count(load_bps)}")
        capacity = self.capacity_bps * (1 + chance.gauss(0, self.spread))
        capacity *= 0.8 if chance.random() < self.hiccups else 1.0
        offered = min(load_bps, self.most_bps)
        capacity -= min(self.overload * max(offered - capacity, 0.0), 0.9 * capacity)
        sent = round(offered * COUNTED_S / DATAGRAM_BITS)
        arrived = min(sent, round(capacity * COUNTED_S / DATAGRAM_BITS))
        limit = "generator" if offered < 0.95 * load_bps else ""
        return Trial(
            load_bps=load_bps, offered_bps=offered, lost=sent - arrived, sent=sent, limit=limit
        )


def search_of(step: Callable[[list[Trial]], float | None], link: SyntheticLink) -> list[Trial]:
    """Run trials on a link until no further one is asked for.

    Args:
        step: The load that is wanted after these trials; None: it is over.
    """
    trials: list[Trial] = []
    while (load_bps := step(trials)) is not None:
        trials.append(link.trial(load_bps))
    return trials
