"""What an answer costs, before it is asked for: blocks, time and money, and what could be seen.

Afterwards: `perfkit.analysis.spent`.

Time is the timetable's, which is known, and what is around a block: idle control, arming, collecting.
The constants of the second are measured ones of local hosts; each says on how many clients it stands.
Money is the fleet's for as long as its hosts may live, also when nobody is left to release them: that
worst case is what the caps of the provider's file are held against.

The smallest change that could be seen is that of a paired t-test on the logarithms of two variants
run side by side, else of a two-sample one against a baseline of as many repetitions, with a power of
80 % at a level of 5 %, which the primary figures share (Holm's first step, Bonferroni).
Source: J. Cohen, Statistical Power Analysis (1988), chapter 2, with the exact noncentral t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from perfkit.campaign.earlier_spread import BlockSpread, earlier_spread
from perfkit.campaign.planned_slots import slots_of
from perfkit.errors import ConfigError
from perfkit.fleet.provider import CostEstimate, PricedProvider, Provider
from perfkit.measure.starters import CRON_LEAD_S
from perfkit.runs.design import Design
from perfkit.settings import capacity, variants
from perfkit.settings.levels import format_counts
from perfkit.settings.parameters import FEWEST_FOR_PRECISION, Parameters, Settings
from perfkit.units import format_count, format_duration, minutes_to_s

if TYPE_CHECKING:
    from perfkit.analysis.spent import Spent  # which needs pandas, and a launch does not

MARGIN, LEVEL, POWER = 0.05, 0.05, 0.8

# All phases around the timetable together, from the command to the report, took 16.6 s with 100 clients
# (1.1 launching, 3.5 configuring, 7.0 until T0, 1.1 collecting, 2.9 reporting) and 90 s with 1,000 (9.1,
# 33, 20, 11, 14) on two processors: what is between is on one line.
LOCAL_FIXED_S = 8.4
LOCAL_PER_HOST_S = 0.082
CRON_WAIT_S = CRON_LEAD_S + 30.0  # T0 is a whole minute then: half of one on average
# Around a block whose fleet is there: idle control, arming, the wait for T0, collecting, reducing. It
# took 7.9 s with 5 clients (mean of 8 blocks), 18 s with 150 and 26 s with 400 on two processors.
BLOCK_FIXED_S = 8.5
BLOCK_PER_CLIENT_S = 0.045
# To stop, start and try all tunnels of another variant: 0.5 s with 2 clients, 1 s with 20, 3 s with
# 100 on two processors.
SWITCH_S = 0.5
SWITCH_PER_CLIENT_S = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfAnswer:
    """What a campaign takes, at least and at most.

    Attributes:
        repetitions: At least and at most, with what the budget allows.
        around_s: Before the first block and after the last one.
        repetition_s: One of all cells.
        life_s: The longest that a host may live, and be paid for.
        is_paired: Variants are compared side by side.
        primary: Figures that share the level.
        wanted: The most repetitions that were asked for; fewer where it `ends_by` something else.
        is_default: Nobody said how many repetitions.
        trials: Blocks of a search, see `perfkit.settings.capacity.trial_bounds`; of none, one.
    """

    cells: int
    blocks_each: int
    hosts: int
    repetitions: tuple[int, int]
    around_s: float
    repetition_s: float
    life_s: float
    spread: BlockSpread
    is_paired: bool
    primary: int
    wanted: int
    ends_by: str
    precision: float | None
    is_default: bool
    usd_per_h: float = 0.0
    worst_usd: float = 0.0
    trials: tuple[int, int] = (1, 1)

    @property
    def rounds(self) -> tuple[int, int]:
        """Blocks of each cell, at least and at most."""
        (least, most), trials = self.repetitions, self.trials
        return least * trials[0], most * trials[1]

    @property
    def seconds(self) -> tuple[float, float]:
        """In all, at least and at most."""
        least, most = (self.around_s + n * self.repetition_s for n in self.rounds)
        return least, most

    @property
    def is_search(self) -> bool:
        """Whether blocks are trials."""
        return self.trials != (1, 1)

    @property
    def time(self) -> str:
        """One clause."""
        least, most = map(format_duration, self.seconds)
        span = f"about {most}" if least == most else f"about {least} to {most}"
        return f"{span} in all"

    @property
    def money(self) -> str:
        """One clause."""
        if not self.usd_per_h:
            return "costs nothing"
        least_usd = self.usd_per_h * self.seconds[0] / 3600
        return (
            f"{self.usd_per_h:.2f} USD an hour, at least {least_usd:.2f} USD, at most "
            f"{self.worst_usd:.2f} USD"
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """What to know before it begins, one line each."""
        least, most = self.repetitions
        often = _span(least, most, noun="repetition") + (
            " (the default of a list)" * self.is_default
        )
        blocks = _span(*(n * self.blocks_each for n in self.rounds), noun="block")
        each = "trial of each cell" if self.is_search else "repetition"
        head = (
            f"{format_count(self.cells, 'cell')}, {often}, {blocks}: {self.time}, "
            f"{format_duration(self.repetition_s)} a {each}; {self.money}"
        )
        short = ""
        if most < self.wanted:
            short = f"the {self.ends_by} ends it after about {most} of {self.wanted} repetitions"
        return tuple(line for line in (head, short, self.outlook) if line)

    @property
    def outlook(self) -> str:
        """What its repetitions could show, one sentence."""
        if self.is_search:
            return (
                "each cell is a search in each repetition, of as many trials as it needs, at most "
                f"{self.trials[1]}; a budget ends it with the bounds so far"
            )
        numbers = sorted({n for n in self.repetitions if n > 1})
        if not numbers:
            return "one repetition gives no interval and no verdict; both need a second one"
        shown = "; ".join(
            f"{n} repetitions give intervals of about {_pct(half_width_share(n, self.spread.share))} "
            f"and show a change of {100 * self.smallest_change(n):.0f} %"
            for n in numbers
        )
        test = "between variants, in pairs" if self.is_paired else "against a baseline of as many"
        return f"{self.spread}: {shown} in 8 of 10 cases, by a t-test {test}{self._expected}"

    @property
    def _expected(self) -> str:
        """When the precision is reached, in words."""
        if self.precision is None:
            return ""
        least, most = self.repetitions
        bound = self.precision / (1 + self.precision)
        enough = (
            n for n in range(least, most + 1) if half_width_share(n, self.spread.share) <= bound
        )
        found = next(enough, None)
        when = f"after about {found}" if found else f"not within {most}"
        return f"; {_pct(self.precision)} is expected {when}"

    def smallest_change(self, repetitions: int) -> float:
        """The smallest change that could be seen, as a share; the margin at least."""
        return smallest_change(
            repetitions, self.spread.share, is_paired=self.is_paired, figures=self.primary
        )


def _pct(share: float) -> str:
    return f"+-{100 * share:.1f} %"


def _span(least: int, most: int, *, noun: str) -> str:
    return format_count(most, noun) if least == most else f"{least} to {format_count(most, noun)}"


def half_width_share(repetitions: int, spread: float) -> float:
    """Half-width of the 95 % interval of a cell's mean, as a share of it; at least 2 repetitions."""
    from scipy.special import stdtrit  # noqa: PLC0415 -- a run that is no campaign needs no scipy

    quantile = float(stdtrit(repetitions - 1, 0.975))
    return math.expm1(min(quantile * spread / math.sqrt(repetitions), 20.0))


def smallest_change(repetitions: int, spread: float, *, is_paired: bool, figures: int) -> float:
    """The smallest increase that is found with a power of 80 %, as a share; at least 2 repetitions.

    Pairs are taken to be no quieter than two blocks of different times, which is on the safe side.

    Args:
        figures: Primary figures, which share the level.
    """
    from scipy.special import nctdtrinc, stdtrit  # noqa: PLC0415 -- as above

    freedom = repetitions - 1 if is_paired else 2 * (repetitions - 1)
    critical = float(stdtrit(freedom, 1 - LEVEL / figures / 2))
    standard_error = spread * math.sqrt(2 / repetitions)
    shift = float(nctdtrinc(freedom, 1 - POWER, critical)) * standard_error
    return max(MARGIN, math.expm1(min(shift, 20.0)))


def reckon(chosen: Settings, provider: Provider) -> CostOfAnswer:
    """Reckon what a campaign, or a single run, with these settings takes; costs nothing.

    Args:
        chosen: Fitted to the provider.

    Raises:
        ScheduleError: the timetable cannot be kept.
        ConfigError: a variant is wrong; the budget does not suffice for one repetition, or is of money where nothing
            costs any; or the hosts cannot live so long.
    """
    parameters = chosen.parameters
    hosts = parameters.most_clients + 1
    trials = capacity.trial_bounds(parameters.capacity)
    applied = [variants.applied(chosen, variant) for variant in variants.load(chosen)]
    each = [_block_s(own, clients) for own in applied for clients in parameters.clients]
    repetition_s = sum(each)
    around_s = LOCAL_FIXED_S + LOCAL_PER_HOST_S * hosts
    usd_per_h = price(provider, hosts, 0.0).usd_per_h
    need = partial(_fitting, around_s=around_s, repetition_s=repetition_s)
    by_budget = need(_budget_s(parameters, provider, usd_per_h))
    if by_budget < 1:
        _refuse_budget(parameters, around_s + repetition_s, usd_per_h)
    by_budget = max(1, by_budget // trials[0])  # the last search may be one that the budget ends
    least = min(parameters.fixed_repetitions or FEWEST_FOR_PRECISION, by_budget)
    expires_s = minutes_to_s(parameters.expires_min)
    is_bound = parameters.is_campaign and not provider.traits.renewable
    by_life = need(expires_s if is_bound else math.inf) // trials[1]
    if by_life < least:
        _refuse_life(parameters, provider, around_s + least * trials[1] * repetition_s)
    most = min(parameters.most_repetitions, by_budget, by_life)
    most_s = around_s + most * trials[1] * repetition_s
    is_renewed = parameters.is_campaign and most_s > expires_s
    life_s = most_s + expires_s if is_renewed else expires_s
    return CostOfAnswer(
        cells=len(each) * len(chosen.tests),
        blocks_each=len(each),
        hosts=hosts,
        repetitions=(least, most),
        wanted=parameters.most_repetitions,
        precision=parameters.precision,
        is_default=most > 1 and not (parameters.repetitions or parameters.precision),
        ends_by="budget" if by_budget <= by_life else "end of the hosts",
        around_s=around_s,
        repetition_s=repetition_s,
        life_s=life_s,
        spread=earlier_spread(chosen) if parameters.is_campaign else BlockSpread(),
        is_paired=len(parameters.crossed) > 1,
        primary=2 if any(test.path == "tunnel" for test in chosen.tests) else 1,
        usd_per_h=usd_per_h,
        worst_usd=price(provider, hosts, life_s).worst_usd,
        trials=trials,
    )


def _fitting(seconds: float, *, around_s: float, repetition_s: float) -> int:
    """How many repetitions fit into a time; many where it is endless."""
    return int(min((seconds - around_s) / repetition_s + 1e-9, 1e6))


def _block_s(chosen: Settings, clients: int) -> float:
    """From the end of a block to the end of the next one with so many clients."""
    parameters = chosen.parameters
    slots = slots_of(chosen, clients)
    waiting_s = CRON_WAIT_S if parameters.starter == "cron" else 0.0
    switching_s = 0.0
    if len(parameters.crossed) > 1:
        switching_s = SWITCH_S + SWITCH_PER_CLIENT_S * parameters.most_clients
    if not parameters.is_campaign:  # what is around a single run is around_s
        return slots[-1].end_s + waiting_s
    return BLOCK_FIXED_S + BLOCK_PER_CLIENT_S * clients + slots[-1].end_s + waiting_s + switching_s


def price(provider: Provider, hosts: int, life_s: float) -> CostEstimate:
    """What hosts of a provider cost that live so long; asks for nothing that costs money."""
    if not provider.traits.costs_money:
        return CostEstimate(usd_per_h=0.0, worst_usd=0.0)
    return cast("PricedProvider", provider).estimate(hosts, life_s)


def _budget_s(parameters: Parameters, provider: Provider, usd_per_h: float) -> float:
    """The seconds that the budget allows."""
    budget = parameters.budget
    bounds = [math.inf if budget.minutes is None else minutes_to_s(budget.minutes)]
    if budget.usd is not None and not provider.traits.costs_money:
        raise ConfigError(
            "parameters",
            "budget",
            str(budget),
            f"hosts of provider {provider.name} cost nothing",
            "give minutes: 60min",
        )
    if budget.usd is not None and usd_per_h:
        bounds.append(3600 * budget.usd / usd_per_h)
    return min(bounds)


def _refuse_budget(parameters: Parameters, needed_s: float, usd_per_h: float) -> None:
    budget = parameters.budget
    money = f" and {usd_per_h * needed_s / 3600:.2f} USD" if usd_per_h else ""
    enough = f"{math.ceil(needed_s / 60)}min"
    if budget.usd is not None:
        enough = f"{math.ceil(100 * usd_per_h * needed_s / 3600) / 100:g}usd"
    raise ConfigError(
        "parameters",
        "budget",
        str(budget),
        f"one repetition of all cells takes about {format_duration(needed_s)}{money}",
        f"give at least {enough}, or fewer clients ({format_counts(parameters.clients)}), variants "
        "or shorter tests",
    )


def _refuse_life(parameters: Parameters, provider: Provider, needed_s: float) -> None:
    raise ConfigError(
        "parameters",
        "expires_min",
        parameters.expires_min,
        f"the campaign takes about {format_duration(needed_s)}, and the hosts of provider "
        f"{provider.name} would end before, for good",
        f"give {math.ceil(1.2 * needed_s / 60)} or more, or fewer repetitions",
    )


def why_over_budget(plan: Design, used: Spent, *, worked_s: float, next_s: float) -> str:
    """Whether one more block would be more than the campaign may take, in words; empty: it may go on.

    Minutes are those that perfkit worked on it; money is what the hosts cost, also while nobody did.

    Args:
        next_s: What one more block takes.
    """
    usd = used.usd + used.usd_per_h * next_s / 3600
    if plan.budget_min is not None and worked_s + next_s > minutes_to_s(plan.budget_min):
        return f"{worked_s / 60:.1f} of {plan.budget_min:g} minutes are spent"
    if plan.budget_usd is not None and usd > plan.budget_usd:
        return f"{used.usd:.2f} of {plan.budget_usd:g} USD are spent"
    return ""
