"""Statistics of a run: frames and windows in, one row a test and one row a client out.

All figures of a test are over its steady window, where every counted client is active. Clients
that failed are listed and counted, and are in no mean. Quantiles interpolate linearly between
order statistics (Hyndman and Fan's type 7, NumPy's default). One idea a module: `rates` (bytes in
a window), `reduction` (a slot over a window), `serverload`, `transport`, `confidence`,
`sensitivity`, `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from perfkit.analysis import (
    both_ways,
    confidence,
    datagram_loss,
    impossible,
    kind_figures,
    links,
    offered,
    propose,
    rates,
    steady_state,
    transport,
)
from perfkit.analysis import server_load as serverload
from perfkit.analysis.checks import (
    LEAST_IDLE_S,
    UNSURE_SHARE,
    findings_of,
    impossible_findings,
    unsteady_findings,
)
from perfkit.analysis.sensitivity import inwards_change_pct, sensitivity
from perfkit.analysis.server_crash import server_crash
from perfkit.analysis.slot_figures import Prepared, prepare
from perfkit.analysis.vpn import VpnSummary, summarise_vpn
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.model import NetworkPath, Segment, Window

_ALIKE = ["kind", "protocol", "ways"]  # in common, for a ratio of two tests' goodputs
_NAMES = ("clients_part_time", "starved_named", "dominant_named")
_WORDS = ("void", "not_steady", "side", "protocol", "ways", "chosen_by", *_NAMES)  # text
STARVED_SHARE = 0.01  # of the median client's goodput
# A client that moves half of the total leaves the others little, whatever the mean says. Of two or
# three clients half may be chance: it must be three times what each of the others had on average,
# which of four clients and more half of the total always is.
DOMINANT_SHARE, DOMINANT_TIMES = 0.5, 3.0
DOMINANT_MEDIANS = 1 / STARVED_SHARE  # where many have little, and none has half
METHOD = (
    "Goodput: receiver-side bytes of the counted clients in the steady window, intervals weighted "
    "by overlap, divided by its length; mean per client and Jain's index: over the same clients. "
    "95 % CI of the total: means of batches of seconds, the longer the more alike its neighbours are, "
    "Student's t; none where that leaves under four batches, or the test was not steady"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Statistics of a run.

    Attributes:
        tests: One row a slot, in the timetable's order; see `summarise`.
        clients: One row a (slot, client), failed ones included.
        sensitivity: See `perfkit.analysis.sensitivity.sensitivity`; all slots with a window.
        findings: What a reader of the figures must know.
        vpn: What the VPN said; None when it said nothing.
    """

    tests: pd.DataFrame
    clients: pd.DataFrame
    sensitivity: pd.DataFrame
    findings: tuple[Finding, ...]
    vpn: VpnSummary | None = None


def summarise(logs: RunLogs, segments: Sequence[Segment], outcomes: pd.DataFrame) -> Summary:
    """Reduce a run to its figures; those of a test both ways: see `perfkit.analysis.both_ways`.

    Args:
        segments: At most one a slot; a slot without a steady window has NaN figures, and so has
            one whose logs say what cannot have happened (`perfkit.analysis.impossible`).
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.

    Returns:
        `tests` has, among others: `void` (why its figures are; else empty), `not_steady` (why its mean
        is none of a steady rate; else empty), `warm_up_s` (cut off its window), `proposal` (a window that nobody took), `clients_expected`,
        `clients_seen` (at the receiver), `clients_counted`, `clients_failed`, `clients_unread` (did
        a test that no reader knows), `window_s`, `goodput_bps` with `goodput_se_bps` (standard error
        by batch means), `goodput_ci_bps` (half of the 95 % interval from `goodput_batches` batches) and
        `goodput_sd_bps` (over seconds), `goodput_change_pct` (largest change when the window's
        edges move inwards by up to two samples), `client_*_bps`, `jain`, `start_spread_s`, `overlap`
        (steady over outer window), `nic_bps`, `tunnel_bps`, `nic_ratio` (NIC over all goodput
        received), `nic_ratio_whole` (the same of a direct test from its first byte to its last),
        `cpu_*_pct`, `cpu_cores`, `vpn_cpu_s`, `vpn_cpu_s_per_gbit`, `vs_direct`
        (in-tunnel over out-of-tunnel goodput, of `direct_slot`, in which `direct_clients` count), `ways` (`recv` by the server,
        `send` by it, or both), `clients_part_time` (whose traffic was missing at an edge of the
        window, see `perfkit.analysis.rates.idle_at_edges_s`), and what `perfkit.analysis.transport` and
        `perfkit.analysis.kind_figures` return.
        `clients` has the outcome's columns and `goodput_bps`, `share` of the total, `retransmits`.
    """
    windows = {segment.slot: segment for segment in segments}
    proposed = _proposals(logs, windows)
    rows, per_client, moved, contradictions, of_kinds = [], [], [], [], list[Finding]()
    for slot in logs.slots:
        own = outcomes[outcomes["slot"] == slot.name]
        segment = windows.get(slot.name)
        row = _outline(logs, slot, own) | {"proposal": proposed.get(slot.name, "")}
        if segment is None or segment.steady is None:
            row |= {"window_s": np.nan, **dict.fromkeys(_WORDS, "")}
            clients = own.assign(goodput_bps=np.nan, share=np.nan, retransmits=np.nan)
        else:
            prepared = prepare(logs, slot, own)
            contradictions += impossible_findings(slot.name, prepared)
            row |= _figures(prepared, segment)
            if not prepared.is_void and prepared.has_goodput:
                moved.append(sensitivity(prepared, segment.steady))
                row["goodput_change_pct"] = inwards_change_pct(moved[-1], *both_ways.GOODPUT)
            clients = _clients(prepared, segment, own)
        window = segment.steady if segment is not None else None
        row |= kind_figures.figures(logs, slot, list(own.loc[own["ok"], "host"]), window)
        of_kinds += kind_figures.findings(logs, slot)
        rows.append(row)
        per_client.append(clients)
    tests = with_ratio_to_direct(pd.DataFrame(rows))
    clients = pd.concat(per_client, ignore_index=True) if per_client else outcomes.copy()
    moves = pd.concat(moved, ignore_index=True) if moved else pd.DataFrame()
    findings = [*contradictions, *of_kinds, *unsteady_findings(tests)]
    findings += [*logs.findings, *links.findings(logs)]
    findings += findings_of(logs, segments, outcomes, tests)
    vpn = summarise_vpn(logs)
    findings += vpn.findings if vpn else ()
    return Summary(
        tests=tests, clients=clients, sensitivity=moves, findings=tuple(findings), vpn=vpn
    )


def _proposals(logs: RunLogs, windows: Mapping[str, Segment]) -> dict[str, str]:
    """What could be guessed of tests that have no window, in words: nothing is taken silently."""
    if all(slot.name in windows for slot in logs.slots):
        return {}
    return {
        found.slot: f"{found.outer.start_s:.1f} to {found.outer.end_s:.1f} s after T0 "
        f"({found.chosen_by}, confidence {found.confidence:.2f})"
        for found in propose.propose(logs)
        if found.slot not in windows
    }


def _outline(logs: RunLogs, slot: SlotPlan, outcomes: pd.DataFrame) -> dict[str, Any]:
    """What is known of a slot without any traffic."""
    counted = outcomes[outcomes["ok"]]
    # Without records starts are known from stamps of whole seconds: no spread was measured.
    recorded = counted if (logs.events["slot"] == slot.name).any() else counted.iloc[:0]
    return {
        "slot": slot.name,
        "test": slot.test,
        "kind": slot.kind.value,
        "path": str(slot.path),
        "clients_expected": len(outcomes),
        "clients_seen": int(((outcomes["streams"] > 0) | (outcomes["samples"] > 0)).sum()),
        "clients_counted": len(counted),
        "clients_failed": int((~(outcomes["ok"] | outcomes["unread"])).sum()),
        "clients_unread": int(outcomes["unread"].sum()),
        "start_spread_s": float(recorded["start_s"].max() - recorded["start_s"].min()),
        "late_max_s": float(recorded["late_s"].max()),
        "clock_bound_s": _clock_bound(logs, counted),
    }


def _figures(prepared: Prepared, segment: Segment) -> dict[str, Any]:
    """A slot's figures over its steady window."""
    window = segment.steady
    assert window is not None
    outline = _about_window(prepared, segment)
    if prepared.is_void:
        return (
            outline
            | {"void": "; ".join(text for text, _ in prepared.impossible)}
            | prepared.figures(window)
        )
    if not prepared.has_goodput:
        return outline | prepared.figures(window)
    arrived, intervals = prepared.arrived, prepared.intervals
    counted = list(prepared.counted)
    ours = arrived["host"].isin(counted)
    idle_s = rates.idle_at_edges_s(arrived[ours], window)
    idle = idle_s[idle_s > max(UNSURE_SHARE * window.length_s, LEAST_IDLE_S)]
    unsure_s = arrived.loc[ours].groupby("host", observed=True)["t_bound_s"].max()
    crashed = bool(server_crash(prepared.logs, prepared.slot.name))
    lost = datagram_loss.by_client(
        prepared.placed, arrived, window, prepared.slot, counted, crashed=crashed
    )
    figures = {
        **transport.udp_figures(arrived, counted, offered.datagrams_sent(prepared.placed, arrived)),
        **datagram_loss.figures(lost, arrived, window),
        **prepared.figures(window),
    }
    if prepared.slot.connect_s:  # scripts started before; what counts began with the traffic
        begun_s = arrived[ours].groupby("host", observed=True)["t_start_s"].min()
        figures["start_spread_s"] = float(begun_s.max() - begun_s.min())
    return outline | {
        "placement_bound_s": float(arrived.loc[ours, "t_bound_s"].max()),
        "clients_unsure": int((unsure_s > UNSURE_SHARE * window.length_s).sum()),
        "clients_part_time": ", ".join(sorted(map(str, idle.index))),
        "idle_max_s": float(idle_s.max()),
        **_by_way(prepared, window),
        "resolution_s": prepared.resolution_s,
        "disagreeing_streams": rates.disagreeing_streams(arrived),
        **transport.tcp_figures(prepared.placed, counted),
        **figures,
        **offered.packet_figures(figures, prepared.slot.kind),
        "nic_ratio_whole": impossible.interface_ratio(
            prepared.logs, prepared.slot, arrived, intervals, prepared.side
        )
        if prepared.slot.path == NetworkPath.DIRECT
        else np.nan,
    }


def _by_way(prepared: Prepared, window: Window) -> dict[str, Any]:
    """How steady the goodput was and how equal its clients; of traffic both ways, of each direction."""
    figures: dict[str, Any] = {}
    counted, shaken, unequal = list(prepared.counted), list[str](), list[dict[str, Any]]()
    for way in prepared.ways:
        by_second = prepared.by_second_bps(window, way)
        seconds = by_second.sum(axis=0)
        why = steady_state.why_not_steady(seconds, by_second, counted)
        shaken += [f"{way}: {why}" if way else why] if why else []
        batches = confidence.choose_batches(seconds[:0] if why else seconds)
        error = batches.error(seconds)
        own = {
            "goodput_se_bps": error,
            "goodput_ci_bps": confidence.half_width(error, batches.count),
            "goodput_batches": batches.count,
            "goodput_sd_bps": float(seconds.std(ddof=1)) if len(seconds) > 1 else np.nan,
        }
        figures |= {both_ways.name(figure, way): value for figure, value in own.items()}
        goodput = prepared.way_bps(window, way).reindex(counted, fill_value=0.0)
        unequal.append(unequal_clients(goodput))
    return figures | {"not_steady": "; ".join(shaken)} | _either(unequal)


def _either(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `unequal_clients` says of each direction, as one: a client that it names in either."""
    if len(found) == 1:
        return found[0]
    named = {
        key: sorted({name for one in found for name in one[key].split(", ") if name})
        for key in ("starved_named", "dominant_named")
    }
    return {
        "clients_starved": len(named["starved_named"]),
        **{key: ", ".join(names) for key, names in named.items()},
        "dominant_share": float(np.nanmax([0.0, *(one["dominant_share"] for one in found)])),
    }


def unequal_clients(goodput: pd.Series[float]) -> dict[str, Any]:
    """Clients that got next to nothing, and clients that got most of it.

    Args:
        goodput: Of each counted client; the index is its name.

    Returns:
        `clients_starved` (how many), `starved_named`, `dominant_named` (separated by commas) and
        `dominant_share` of the total.
    """
    total, count, median = float(goodput.sum()), len(goodput), float(goodput.median())
    starved = goodput[goodput <= STARVED_SHARE * median]
    others = (total - goodput) / max(count - 1, 1)
    dominant = (goodput >= DOMINANT_SHARE * total) & (goodput >= DOMINANT_TIMES * others)
    if median > 0:
        dominant |= goodput >= DOMINANT_MEDIANS * median
    named = goodput[dominant] if count > 1 and total > 0 else goodput.iloc[:0]
    return {
        "clients_starved": len(starved),
        "starved_named": ", ".join(sorted(map(str, starved.index))),
        "dominant_named": ", ".join(sorted(map(str, named.index))),
        "dominant_share": float(named.sum()) / total if total else np.nan,
    }


def _about_window(prepared: Prepared, segment: Segment) -> dict[str, Any]:
    """What was measured and in which window, whatever came out."""
    window = segment.steady
    assert window is not None
    return {
        "void": "",
        "not_steady": "",
        "warm_up_s": segment.warm_up_s,
        "side": prepared.side if prepared.has_goodput else "",
        "protocol": "+".join(sorted(prepared.arrived["protocol"].astype("str").unique())),
        "ways": "+".join(serverload.directions(prepared.arrived)),
        "chosen_by": segment.chosen_by,
        **dict.fromkeys(_NAMES, ""),
        "window_start_s": window.start_s,
        "window_end_s": window.end_s,
        "window_s": window.length_s,
        "overlap": window.length_s / segment.outer.length_s,
        "planned_s": prepared.slot.duration_s,
    }


def _clients(prepared: Prepared, segment: Segment, outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a client: its outcome, goodput, share and retransmits."""
    assert segment.steady is not None
    if prepared.is_void:
        return outcomes.assign(goodput_bps=np.nan, share=np.nan, retransmits=np.nan)
    again = outcomes["host"].map(transport.retransmits_by_host(prepared.placed)).astype("float64")
    if prepared.ways is both_ways.BOTH:
        each = {
            both_ways.name("goodput_bps", way): outcomes["host"]
            .map(prepared.way_bps(segment.steady, way))
            .astype("float64")
            for way in both_ways.BOTH
        }
        return outcomes.assign(goodput_bps=np.nan, share=np.nan, retransmits=again, **each)
    got = outcomes["host"].map(prepared.goodput_by_host(segment.steady)).fillna(0.0)
    clients = outcomes.assign(goodput_bps=got.astype("float64"))
    counted = clients["goodput_bps"].where(clients["ok"])
    return clients.assign(share=counted / counted.sum(), retransmits=again)


def _clock_bound(logs: RunLogs, counted: pd.DataFrame) -> float:
    bounds = [logs.clocks[h].bound_s for h in (*counted["host"], logs.server) if h in logs.clocks]
    return max(bounds, default=float("nan"))


def with_ratio_to_direct(tests: pd.DataFrame) -> pd.DataFrame:
    """Compare each in-tunnel test with the out-of-tunnel test of the same name, or one like it.

    `tunnel-udp` is compared with `direct-udp`; where there is no such name, with the nearest
    earlier direct test of the same protocol and directions, else the first such one. A UDP sender
    offers what it was told to, so TCP over UDP would be a ratio of nothing to anything.
    """
    tests = tests.assign(vs_direct=np.nan, direct_slot="", direct_clients=np.nan)
    if "goodput_bps" not in tests:
        return tests
    alike = [name for name in _ALIKE if name in tests.columns]
    direct = tests[tests["path"] == str(NetworkPath.DIRECT)]
    for place, row in tests[tests["path"] == str(NetworkPath.TUNNEL)].iterrows():
        named = direct[direct["test"] == str(row["test"]).replace("tunnel", "direct", 1)]
        like = direct[(direct[alike] == row[alike]).all(axis=1)]
        earlier = like[like.index < place]
        candidates = next((d for d in (named, earlier[::-1], like) if len(d)), like)
        if len(candidates):
            partner = candidates.iloc[0]
            tests.loc[place, "vs_direct"] = row["goodput_bps"] / (partner["goodput_bps"] or np.nan)
            tests.loc[place, "direct_slot"] = partner["slot"]
            tests.loc[place, "direct_clients"] = partner["clients_counted"]
    return tests
