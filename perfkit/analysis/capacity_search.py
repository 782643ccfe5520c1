"""The search for the highest load at which no more than a share of the datagrams is lost; pure.

MLRsearch decides what the next trial offers, from the trials before it: it begins at the highest load,
takes what came through as a hint, and halves the interval between a load that was carried and one that
was not. It is deterministic, so a search has no state but its trials: `advance` gives them to it from
the first one on, and the trial that it asks for next is the one to be run. So a campaign that was
killed goes on where it was, by the same way that it goes on after each trial.

A load is what all clients offer together, in bit/s of payload. A trial is one block; all are equally
long, so durations are counted in trials. A load is *carried* (a lower bound) or *not carried* (an
upper bound) once no further trial could change that: at most the share `exceed_ratio` of
`CapacityGoal.trials` of them may lose more than the goal.

A trial in which the clients did not offer what was asked says nothing about the tunnel's loss. It
bounds the search from above all the same, by its own name: there is no way to look beyond it.

Source: M. Konstantynowicz, V. Polak, Multiple Loss Ratio Search, draft-ietf-bmwg-mlrsearch-05, and
its library, MLRsearch 1.2 (FD.io); the bounds and the conditional throughput are its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from perfkit.errors import RunError
from perfkit.model import CapacityGoal
from perfkit.settings.capacity import trial_bounds

if TYPE_CHECKING:
    from MLRsearch import MeasurementResult

PACKAGE = "MLRsearch"
TRIAL = (
    "block-trial"  # a line of a campaign's journal: its fields are those of `Trial`, and the block
)
GENERATOR, CLIENTS = "generator", "clients"  # what bounded a trial in place of the network
LIMITS = {
    GENERATOR: "the generator, not the tunnel",
    CLIENTS: "clients that did not get through the test, not their loss",
}
_PARTS = 10**9  # that a share is counted in, where no datagrams are
_COARSER_STEPS = 1  # targets before the goal, which one trial a load decides
_ENDLESS_S = 1e12  # what ends a search is the campaign's budget, not the library's clock
METHOD = (
    "MLRsearch (draft-ietf-bmwg-mlrsearch): the relevant lower bound is the highest load that was carried below "
    "the lowest one that was not, the relevant upper bound; the search ends when they are as near as asked. "
    "Conditional throughput: what of the lower bound arrived in the trial that decided. Loads are payload of "
    "all clients together; loss is over sums of datagrams, after the first third of each trial, its start"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a block of a search came to.

    Attributes:
        load_bps: What all clients together were to offer, as the search asked for it.
        offered_bps: What they offered; NaN: not known.
        lost, sent: Datagrams after the start of the trial, sums over clients.
        limit: What bounded it in place of the network, a key of `LIMITS`; empty: nothing.
    """

    load_bps: float
    offered_bps: float
    lost: int
    sent: int
    limit: str = ""

    @property
    def loss_ratio(self) -> float:
        """Lost over sent; NaN: nothing was sent."""
        return self.lost / self.sent if self.sent else math.nan

    def is_good(self, goal: CapacityGoal) -> bool:
        """Whether no more was lost than the goal allows."""
        return not self.limit and self.loss_ratio <= goal.loss_ratio


def read_trial(fields: Mapping[str, Any]) -> Trial:
    """A trial from its line in a journal."""
    offered_bps = fields["offered_bps"]
    return Trial(
        load_bps=float(fields["load_bps"]),
        offered_bps=math.nan if offered_bps is None else float(offered_bps),
        lost=int(fields["lost"]),
        sent=int(fields["sent"]),
        limit=str(fields["limit"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchState:
    """How far a search has come.

    Attributes:
        next_bps: What the next trial is to offer, all clients together; None: the search is over.
        is_cut: It is over because it has had as many trials as it may, see
            `perfkit.settings.capacity.trial_bounds`: its bounds are farther apart than asked.
        lower_bps: The relevant lower bound; None: no load was carried so far.
        upper_bps: The relevant upper bound; None: no load was not carried so far.
        conditional_bps: What of the lower bound arrived, by the trial that decides; None: as `lower_bps`.
    """

    next_bps: float | None
    is_cut: bool
    lower_bps: float | None
    upper_bps: float | None
    conditional_bps: float | None


class _AskedError(Exception):
    """The search wants a trial that was not run yet."""

    def __init__(self, load_bps: float) -> None:
        self.load_bps = load_bps


@dataclass(slots=True)
class _Replay:
    """Hands the search its trials, one after the other; what the library calls a measurer."""

    goal: CapacityGoal
    trials: Sequence[Trial]
    used: int = 0

    def measure(self, intended_duration: float, intended_load: float) -> MeasurementResult:
        if self.used == len(self.trials):
            raise _AskedError(intended_load)
        trial = self.trials[self.used]
        self.used += 1
        if trial.load_bps != intended_load:
            raise RunError(
                f"trial {self.used} of a search offered {trial.load_bps:.0f} bit/s, where {PACKAGE} "
                f"{version(PACKAGE)} would have asked for {intended_load:.0f}: it was chosen by another "
                "version, or for another goal; install the version that the campaign's manifest names"
            )
        is_known = trial.sent > 0 and not trial.limit
        from MLRsearch import MeasurementResult  # noqa: PLC0415 -- takes half as long as pandas

        lost, sent = (trial.lost, trial.sent) if is_known else self._not_offered(trial)
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            offered_count=sent,
            loss_count=lost,
        )

    def _not_offered(self, trial: Trial) -> tuple[int, int]:
        """Counts of a trial that was not offered: what was not sent is as good as lost.

        The library reads its hint from it, what got through; a trial that says nothing is half.
        """
        sent = trial.offered_bps / trial.load_bps if trial.offered_bps > 0 else 0.5
        through = min(sent, 1.0) * (1 - (trial.loss_ratio if trial.sent else 0.0))
        least = math.ceil(_PARTS * self.goal.loss_ratio) + 1  # it is more than the goal, always
        return min(max(round(_PARTS * (1 - through)), least), _PARTS), _PARTS


def advance(
    goal: CapacityGoal, bounds_bps: tuple[float, float], trials: Sequence[Trial]
) -> SearchState:
    """What a search knows after these trials, and what it wants next.

    Args:
        bounds_bps: The least and the highest load, see `perfkit.settings.capacity.load_bounds`.
        trials: In the order run.

    Raises:
        RunError: the trials are not those of this search.
    """
    import MLRsearch  # noqa: PLC0415 -- as above

    wanted = MLRsearch.SearchGoal(
        loss_ratio=goal.loss_ratio,
        exceed_ratio=goal.exceed_ratio,
        relative_width=goal.width,
        initial_trial_duration=1.0,
        final_trial_duration=1.0,
        duration_sum=float(goal.trials),
        preceding_targets=_COARSER_STEPS,
        fail_fast=False,
    )
    search = MLRsearch.MultipleLossRatioSearch(
        MLRsearch.Config(
            goals=[wanted],
            min_load=bounds_bps[0],
            max_load=bounds_bps[1],
            search_duration_max=_ENDLESS_S,
            warmup_duration=None,
        )
    )
    replay = _Replay(goal, trials)
    asked_bps: float | None = None
    try:
        search.search(replay, debug=lambda _text: None)
    except _AskedError as asked:
        asked_bps = asked.load_bps
    else:
        if replay.used < len(trials):
            raise RunError(
                f"{len(trials)} trials of a search that {PACKAGE} {version(PACKAGE)} ends after "
                f"{replay.used}: they are of another version, or for another goal"
            )
    bounds = search.database.get_relevant_bounds(search.scaling.goal_to_final_target[wanted])
    conditional_bps = None
    if bounds.clo:
        (stat,) = bounds.clo.target_to_stat.values()
        conditional_bps = float(bounds.clo) * (1.0 - stat.pessimistic_loss_ratio)
    is_cut = asked_bps is not None and len(trials) >= trial_bounds(goal)[1]
    return SearchState(
        next_bps=None if is_cut else asked_bps,
        is_cut=is_cut,
        lower_bps=float(bounds.clo) if bounds.clo else None,
        upper_bps=float(bounds.chi) if bounds.chi else None,
        conditional_bps=conditional_bps,
    )
