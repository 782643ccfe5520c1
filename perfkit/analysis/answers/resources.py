"""Which resource is full where a figure stops growing; "unknown" where none of the watched ones is.

For each client count the use of each resource that was watched, as a share of all there is of it.
A resource is named when it is at least `FULL` used on each size of the flat part, from the knee of
the law on, and was less used on the sizes before it: what is full where the total still grows does
not bend it. Where the knee's interval reaches beyond the sizes measured nothing is named. Of two that are full where
one explains the other, such as a thread and the core under it, the one that explains is named.

What was not watched may be the full one, so the watched ones are always listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfkit.analysis.answers.frame import counted
from perfkit.analysis.answers.growth import Growth
from perfkit.analysis.confidence import mean_interval
from perfkit.errors import FrameError
from perfkit.units import format_count

FULL = 0.9
NEAR_MOST = 0.95  # of the most that a law gives: from there on it is flat
WELL_BEFORE = 0.75  # of the knee's lower end: what is full there already does not bend the total
ONE_CORE = 1.1  # more than that, by its counters, is not the work of one core
ALLOWANCE = "allowance"
TAKEN = 0.05  # of the processors: from there on the hypervisor is why they are full
METHOD = (
    "Full resource: used to 90 % or more on every size from the knee on, and less before it; uses are "
    "means over blocks with 95 % intervals by Student's t. The VPN's thread counts only where one core "
    "does all its work, the link only where its capacity is known, the clients where they were watched; an "
    "instance's network allowance by the share of seconds in which its card held packets back"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be full.

    Attributes:
        share: Of all there is of it, by row of the cells frame; NaN where it was not watched.
        title: What it is called.
        explains: Resources that are full because it is.
    """

    name: str
    share: Callable[[pd.DataFrame], pd.Series[float]]
    title: str
    explains: tuple[str, ...] = ()


def _percent(column: str) -> Callable[[pd.DataFrame], pd.Series[float]]:
    return lambda frame: frame[column] / 100.0


def _thread(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["vpn_cores"].where(frame["vpn_single_core"])


def _server_cores(frame: pd.DataFrame) -> pd.Series[float]:
    return frame[["busiest_core_tick_pct", "busiest_core_pct"]].max(axis=1) / 100.0


RESOURCES = (
    Resource("link", lambda rows: rows["nic_bps"] / rows["link_bps"], "server's link"),
    Resource(
        ALLOWANCE, lambda rows: rows["server_held_back_ratio"], "instance's network allowance"
    ),
    Resource("thread", _thread, "{vpn} thread", ("core",)),
    Resource("processors", _percent("cpu_busy_pct"), "{whose} processors", ("core",)),
    Resource("softirq", _percent("cpu_softirq_pct"), "{whose} softirq", ("processors", "core")),
    Resource("core", _server_cores, "busiest core of {machine}"),
    Resource("clients", _percent("clients_cpu_pct"), "clients' processors"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FullResource:
    """What is full where a figure of one test and variant stops growing.

    Attributes:
        names: Of `RESOURCES`, and `steal`: the hypervisor took it; empty: unknown.
        words: For the answer's sentence.
        uses: A row a (resource, clients) that was watched: `use` (share), `low` and `high` (95 %
            interval; NaN with one block), `repetitions`. Besides those that can be full it has
            `steal` (share of the processors) and `drops` (packets a block).
        titles: What each of those resources is called here.
    """

    names: tuple[str, ...]
    words: str
    titles: Mapping[str, str] = field(repr=False, compare=False)
    uses: pd.DataFrame = field(repr=False, compare=False)


def full_resource(frame: pd.DataFrame, growth: Growth | None, vpn: str = "VPN") -> FullResource:
    """Find what is full from the knee on.

    Args:
        frame: Rows of the cells frame, of one test and one variant; void ones do not count.
        growth: Of their goodput; None, or without a law: no knee is known, so nothing is named.
        vpn: What to call the VPN.

    Raises:
        FrameError: the rows are of several tests or variants.
    """
    both = frame[["test", "variant"]].drop_duplicates()
    if len(both) > 1:
        raise FrameError(
            f"full resource: rows of one test and variant are needed, found {both.values.tolist()}"
        )
    rows = counted(frame)
    uses = use_by_size(rows)
    sizes = sorted({int(clients) for clients in rows["clients"]})
    before, flat = _parts(sizes, growth)
    full = [one for one in RESOURCES if _is_full(uses, one.name, before, flat)]
    explained = {name for one in full for name in one.explains}
    full = [one for one in full if one.name not in explained]
    called = _titles(vpn, shared=bool(rows["shared_cpu"].any()))
    if not full:
        why = "no sure knee in the sizes measured; " if len(sizes) > 1 and not flat else ""
        words = why + _watched(uses, sizes, called)
        return FullResource(names=(), words=words, titles=called, uses=uses)
    names = [one.name for one in full]
    said = [f"the {called[one.name]} is full ({_use(uses, one, flat)})" for one in full]
    taken = _mean(uses, "steal", flat)
    if taken >= TAKEN and {"core", "processors"} & set(names):
        names.append("steal")
        said.append(f"the hypervisor took {100 * taken:.0f} % of the processors")
    words = " and ".join(said).replace("processors is", "processors are")
    return FullResource(names=tuple(names), words=words, titles=called, uses=uses)


def _titles(vpn: str, *, shared: bool) -> dict[str, str]:
    """What each resource is called; the processors that server and clients share are not the server's."""
    whose = "server's and clients'" if shared else "server's"
    machine = "server and clients" if shared else "the server"
    called = {
        one.name: one.title.format(vpn=vpn, whose=whose, machine=machine) for one in RESOURCES
    }
    return called | {"steal": "taken by the hypervisor", "drops": "queue drops"}


def use_by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """The use of each resource that was watched at each client count, see `FullResource.uses`."""
    shares = {one.name: one.share(rows) for one in RESOURCES}
    shares |= {"steal": rows["cpu_steal_pct"] / 100.0, "drops": rows["queue_drops"]}
    found = []
    for name, share in shares.items():
        for clients, own in share[np.isfinite(share)].groupby(rows["clients"]):
            found.append(
                (name, clients, *mean_interval(np.asarray(own, dtype=np.float64)), len(own))
            )
    names = ("resource", "clients", "use", "low", "high", "repetitions")
    return pd.DataFrame(found, columns=list(names))


def _parts(sizes: Sequence[int], growth: Growth | None) -> tuple[list[int], list[int]]:
    """Sizes well before the knee, and those on the flat part; none there: no knee is known.

    A law that bends softly is flat from where it gives 95 % of the most it gives; where it falls
    again, also beyond.
    """
    knee = growth.knee if growth is not None else None
    if growth is None or knee is None or not math.isfinite(knee.high):
        return [], []  # perhaps it bends beyond the sizes measured, or not at all
    fit = growth.curve(sizes)["fit"].to_numpy(dtype=np.float64)
    near_most = (fit >= NEAR_MOST * np.nanmax(fit)) | (np.arange(len(sizes)) >= np.nanargmax(fit))
    flat = [n for n, near in zip(sizes, near_most, strict=True) if near and n >= knee.high]
    return [n for n in sizes if n < WELL_BEFORE * knee.low], flat


def _is_full(uses: pd.DataFrame, name: str, before: Sequence[int], flat: Sequence[int]) -> bool:
    own = uses[(uses["resource"] == name).to_numpy()].set_index("clients")["use"]
    if not flat or not set(flat) <= set(own.index):
        return False
    used = own.loc[list(flat)]
    if name == "thread" and (used > ONE_CORE).any():
        return False  # whatever is said of the VPN, that was not one core's work
    return bool((used >= FULL).all()) and not (own.reindex(list(before)) >= FULL).any()


def _mean(uses: pd.DataFrame, name: str, sizes: Sequence[int]) -> float:
    own = uses[((uses["resource"] == name) & uses["clients"].isin(list(sizes))).to_numpy()]
    return float(own["use"].mean())


def _use(uses: pd.DataFrame, one: Resource, sizes: Sequence[int]) -> str:
    used = _mean(uses, one.name, sizes)
    if one.name == "thread":
        return f"{used:.2f} core" if used <= ONE_CORE else f"{used:.2f} cores, not the work of one"
    if one.name == ALLOWANCE:
        return f"packets held back in {100 * used:.0f} % of the seconds"
    return f"{100 * used:.0f} %"


def _watched(uses: pd.DataFrame, sizes: Sequence[int], called: Mapping[str, str]) -> str:
    """What is said where nothing is named: the use of all that was watched at the largest size."""
    most = sizes[-1:]
    known = [one for one in RESOURCES if math.isfinite(_mean(uses, one.name, most))]
    known.sort(key=lambda one: -_mean(uses, one.name, most))
    seen = [f"{called[one.name]} {_use(uses, one, most)}" for one in known]
    seen += [
        f"steal {100 * taken:.0f} %" for taken in [_mean(uses, "steal", most)] if taken >= TAKEN
    ]
    seen += [f"{drops:.0f} queue drops" for drops in [_mean(uses, "drops", most)] if drops > 0]
    if not seen:
        return "the full resource is unknown; none was watched"
    at = format_count(most[0], "client")
    if len(sizes) == 1:
        return f"one size does not tell what is full; used were: {', '.join(seen)}"
    return f"the full resource is unknown; watched were, at {at}: {', '.join(seen)}"
