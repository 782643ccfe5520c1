"""What a run will take: time and money by provider before it starts, the time of a phase after.

The time is the timetable's, which is known, and what is around it: launching, configuring, arming,
collecting. For hosts that share this machine's processors that was measured (see
`perfkit.campaign.cost_of_answer`, also for campaigns); for others only the timetable is said. How
long one phase takes, for the live view, is a guess and shown as one ("of about"): phases of the
newest runs of the same provider, scaled with the number of hosts, which is right where hosts share
processors and too long elsewhere.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from perfkit.campaign import limits
from perfkit.campaign import session as sessions
from perfkit.campaign.cost_of_answer import (
    CRON_WAIT_S,
    LOCAL_FIXED_S,
    LOCAL_PER_HOST_S,
    CostOfAnswer,
    price,
    reckon,
)
from perfkit.campaign.planned_slots import slots_of
from perfkit.campaign.session import Session
from perfkit.errors import PerfkitError
from perfkit.fleet.provider import Provider, provider_names
from perfkit.runs import folder, progress
from perfkit.settings import parameters as settings
from perfkit.settings.levels import parse_counts
from perfkit.settings.parameters import Settings
from perfkit.units import format_duration, minutes_to_s

RUNS_ASKED = 3
RUNS_TRIED = 20
# To make ready, arm, and wait for T0: 7.0 s with 100 clients, 20 s with 1,000 on two processors.
ARMING_S = 5.6
ARMING_PER_CLIENT_S = 0.014


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """What one run takes.

    Attributes:
        hosts: The server and the clients.
        tests_s: From T0 to the end of the last test.
        overall_s: All phases together; None where nobody has measured it.
        expires_s: Hosts end by themselves so long after the run was opened.
        money: One clause.
        campaign: What all its blocks take; None for a single run.
        warnings: What speaks against it, and how the money was reckoned.
        notices: What to know about the hosts, and what is left out because of them; the session
            says it as well.
    """

    provider: str
    hosts: int
    tests_s: float
    overall_s: float | None
    expires_s: float
    money: str
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    campaign: CostOfAnswer | None = None

    @property
    def time(self) -> str:
        """One clause."""
        if self.campaign is not None:
            return self.campaign.time
        tests = f"the tests take {format_duration(self.tests_s)}"
        if self.overall_s is None:
            return f"{tests}; launching and configuring come on top"
        overall_s = round(self.overall_s)
        overall = f"{overall_s} s" if overall_s < 60 else format_duration(overall_s)
        return f"about {overall} in all, of which {tests}"

    @property
    def outlook(self) -> tuple[str, ...]:
        """What no session will say, one line each."""
        count = f"{self.hosts - 1} client{'s' if self.hosts > 2 else ''} and 1 server"
        expiry = f"hosts end by themselves after {format_duration(self.expires_s)}"
        what = "" if self.campaign else f"{self.time}; {self.money}; "  # else among the notices
        head = f"{count} at {self.provider}: {what}{expiry}"
        return (head, *self.warnings)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know beside time and money, which the first line about a campaign repeats."""
        return (*self.warnings, *self.notices[1 if self.campaign else 0 :])

    def __str__(self) -> str:
        return "\n".join([*self.outlook, *self.notices])

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in str(self).splitlines())


def estimate(chosen: Settings) -> RunEstimate:
    """Reckon what a run with these settings takes; asks the provider nothing that costs.

    Raises:
        ConfigError, ScheduleError, ProviderError: such a run would be refused.
    """
    provider = sessions.provider_for(chosen)
    chosen, left_out = limits.fitted(chosen, provider)
    hosts = chosen.parameters.most_clients + 1
    tests_s = max((slot.end_s for slot in slots_of(chosen)), default=0.0)
    expires_s = minutes_to_s(chosen.parameters.expires_min)
    around_s = LOCAL_FIXED_S + LOCAL_PER_HOST_S * hosts if provider.traits.shared_cpu else None
    waiting_s = CRON_WAIT_S if chosen.parameters.starter == "cron" else 0.0
    overall_s = None if around_s is None else tests_s + waiting_s + around_s
    late: tuple[str, ...] = ()
    cost = reckon(chosen, provider)
    campaign = cost if chosen.parameters.is_campaign else None
    if campaign is None and (overall_s or tests_s + waiting_s) > expires_s:
        late = ("The hosts would end before the tests do: raise expires_min.",)
    money, reckoned = _money(provider, hosts, cost.life_s)
    return RunEstimate(
        provider=provider.name,
        hosts=hosts,
        tests_s=tests_s,
        overall_s=overall_s,
        expires_s=expires_s,
        money=campaign.money if campaign else money,
        warnings=(*late, *reckoned),
        notices=(*(campaign.lines if campaign else ()), *left_out, provider.notice),
        campaign=campaign,
    )


def _money(provider: Provider, hosts: int, life_s: float) -> tuple[str, tuple[str, ...]]:
    """One clause about money, and how it was reckoned."""
    if not provider.traits.costs_money:
        return "costs nothing", ()
    found = price(provider, hosts, life_s)
    clause = f"{found.usd_per_h:.2f} USD an hour, at most {found.worst_usd:.2f} USD"
    return clause, (*(f"OVER THE CAP: {text}" for text in found.over), *found.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """The same run at every provider; for one that cannot serve it, the reason instead."""

    rows: tuple[tuple[str, RunEstimate | str], ...]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {row}" for name, row in self.rows)

    def _repr_html_(self) -> str:
        texts = [
            (name, "not here", "", row)
            if isinstance(row, str)
            else (name, row.time, row.money, " ".join(row.remarks))
            for name, row in self.rows
        ]
        heads = ("provider", "time", "money", "what to know")
        from perfkit.report.tables import ReportTable, in_cell  # noqa: PLC0415 -- loads pandas

        return in_cell([ReportTable.of_texts("providers", heads, texts)])


def by_provider(**parameters: Any) -> Estimates:
    """What a run with these parameters takes at each registered provider."""
    return Estimates(rows=tuple((name, _row(name, parameters)) for name in provider_names()))


def _row(name: str, parameters: Mapping[str, Any]) -> RunEstimate | str:
    try:
        return estimate(settings.load({**parameters, "provider": name}))
    except (PerfkitError, ImportError) as exc:
        return str(exc)


def expected_s(session: Session, phase: str) -> float | None:
    """Seconds that a phase of this session takes; None where no earlier run tells."""
    if phase == "measure":
        waiting_s = CRON_WAIT_S if session.settings.parameters.starter == "cron" else 0.0
        arming_s = ARMING_S + ARMING_PER_CLIENT_S * session.settings.parameters.most_clients
        return max(slot.end_s + slot.grace_s for slot in session.slots) + arming_s + waiting_s
    found = list(itertools.islice(_per_host_s(session, phase), RUNS_ASKED))
    return median(found) * (session.settings.parameters.most_clients + 1) if found else None


def _per_host_s(session: Session, phase: str) -> Iterator[float]:
    """What earlier runs took, the newest first; runs that cannot be read say nothing."""
    earlier = reversed(folder.list_runs(session.settings.runs_dir))
    for run in itertools.islice(earlier, RUNS_TRIED):
        try:
            parameters = run.manifest()["parameters"]
            if parameters["provider"] != session.provider.name or run == session.run:
                continue
            seconds = progress.read(run).done.get(phase)
            hosts = max(parse_counts(parameters["clients"])) + 1
        except (PerfkitError, KeyError, TypeError, ValueError):
            continue
        if seconds:
            yield seconds / hosts
