"""Cross-checks of a run's figures: what contradicts what, in words a reader can act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from perfkit.analysis import (
    background_load,
    both_ways,
    datagram_loss,
    durations,
    network_limits,
    offered,
    propose,
    server_crash,
)
from perfkit.analysis.slot_figures import COARSEST_S, Prepared
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.model import Segment
from perfkit.units import format_count, format_some

# Headers of Ethernet, IP, TCP and the tunnel explain up to 1.15 (0.99: counters are not read at the
# same instant). More than 1.25 needs another reason; below 0.99 something was not counted.
NIC_RATIO = (0.99, 1.25)
HEADERS = 1.15
# Of a datagram, at most: Ethernet 14, IPv6 and UDP 48, twice in a tunnel, and 40 for the VPN's own.
PACKET_HEADERS_BYTES = 150
LEAST_OVERLAP = 0.8
LEAST_COVERAGE = 0.95
LEAST_WINDOW_S = 5.0
LATE_S = 1.0
UNSURE_SHARE = 0.05  # of the window: not knowing a start that well, a client counts as unsure
LEAST_IDLE_S = 0.5  # as long as that, and more than that share, a client's traffic may be missing
CLOCK_DRIFT_S = 0.1
NAMED = 8  # failed clients named in a warning; the table has all


def findings_of(
    logs: RunLogs,
    segments: Sequence[Segment],
    outcomes: pd.DataFrame,
    tests: pd.DataFrame,
) -> list[Finding]:
    """Everything about a run's figures that a reader must know, most telling first."""
    found = []
    for slot in logs.slots:
        own = outcomes[outcomes["slot"] == slot.name]
        found += [*_failures(slot.name, own), *_unread(slot.name, own)]
        found += _off_the_plan(slot, own)
        found += server_crash.findings(logs, slot)
        placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
        if short := offered.why_short(slot, placed, list(own.loc[own["ok"], "host"])):
            found.append(Finding(slot.name, short))
        if own["cut_off"].any():
            text = (
                f"{own['cut_off'].sum()} of {len(own)} clients still had data on the way at their "
                "time limit and were ended; what arrived in the window counts"
            )
            found.append(Finding(slot.name, text))
        if slot.name not in {segment.slot for segment in segments}:
            text = "no client counts, so there is no window and no figure"
            if own["ok"].any():
                text = "no host recorded when this test ran, so there is no window and no figure"
            text += _proposal(tests, slot.name)
            found.append(Finding(slot.name, text))
    for segment in segments:
        found += [Finding(segment.slot, note) for note in segment.notes]
    for row in tests.to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        found += [*_doubts(named), *_contradictions(named), *datagram_loss.findings(named)]
    found += network_limits.findings(logs, segments)
    found += background_load.findings(logs, outcomes)
    return found + _moved_clocks(logs)


def _moved_clocks(logs: RunLogs) -> list[Finding]:
    """Clocks that moved during the run, each once: hosts that share a machine have one."""
    moved: dict[str, dict[str, float]] = {}
    for host, clock in logs.clocks.items():
        by_s = max(clock.offsets_s, default=0.0) - min(clock.offsets_s, default=0.0)
        if by_s > CLOCK_DRIFT_S:
            moved.setdefault(logs.machines.get(host, host), {})[host] = by_s
    found = []
    for machine, by_host in sorted(moved.items()):
        hosts = sorted(by_host)
        whose = (
            f"{hosts[0]}'s clock"
            if len(hosts) == 1
            else f"the clock of {machine}, on which {format_some(hosts, NAMED)} are,"
        )
        text = f"{whose} moved {max(by_host.values()):.3f} s during the run; its times are that uncertain"
        found.append(Finding("clock", text))
    return found


def impossible_findings(slot: str, prepared: Prepared) -> list[Finding]:
    """What of a slot's logs cannot have happened, and what became of its figures for it."""
    if not prepared.impossible:
        return []
    said = "; ".join(text for text, _ in prepared.impossible)
    if prepared.is_void:
        text = (
            f"VOID: {said}. That is impossible, so no figure of this test is published: look for a log that "
            "was copied or appended to, or is another run's; then make the report again, or run the test again"
        )
    else:
        share = max(share for _, share in prepared.impossible)
        text = (
            f"{said}: impossible, but {share:.2%} of the bytes at most, and so left in the figures"
        )
    return [Finding(slot, text)]


def unsteady_findings(tests: pd.DataFrame) -> list[Finding]:
    """Tests whose mean is not that of a steady rate, and what to do about it."""
    rows = tests[tests["not_steady"] != ""] if "not_steady" in tests else tests.iloc[:0]
    return [
        Finding(
            str(slot),
            f"NOT STEADY: {why}. The mean is of different states, and no interval is given: look at the "
            "picture of the test, choose the part that counts (notebook 05_segments), or find what "
            "changed and run it again, longer if it only needs more time to settle",
        )
        for slot, why in zip(rows["slot"], rows["not_steady"], strict=True)
    ]


def _proposal(tests: pd.DataFrame, slot: str) -> str:
    """What was proposed for a slot and not taken, as the end of a sentence."""
    said = tests[tests["slot"] == slot]
    words = str(said["proposal"].iloc[0]) if len(said) and "proposal" in said else ""
    return f"; proposed, not taken: {words}; segments = auto would take it" if words else ""


def _failures(slot: str, outcomes: pd.DataFrame) -> list[Finding]:
    failed = outcomes[~(outcomes["ok"] | outcomes["unread"])]
    if failed.empty:
        return []
    hosts: dict[str, list[str]] = {}
    for host, reason in zip(failed["host"], failed["reason"], strict=True):
        hosts.setdefault(str(reason), []).append(str(host))
    alike = [f"{format_some(names, NAMED)} ({reason})" for reason, names in hosts.items()]
    where = ", see the table of hosts" if len(failed) > NAMED else ""
    some = format_some(alike, NAMED, "; ")
    text = f"{len(failed)} of {len(outcomes)} clients failed: {some}{where}"
    return [Finding(slot, text)]


def _unread(slot: str, outcomes: pd.DataFrame) -> list[Finding]:
    """A test that was done, but has no figures: that is no failure of it."""
    count = int(outcomes["unread"].sum())
    if not count:
        return []
    text = (
        f"no reader understands any log of this test: the {count} of {len(outcomes)} clients whose "
        "script ended with exit status 0 are taken to have done it"
    )
    return [Finding(slot, text)]


def _off_the_plan(slot: SlotPlan, outcomes: pd.DataFrame) -> list[Finding]:
    """Scripts and traffic that did not last as long as planned, and what to do about it."""
    ended = outcomes[((outcomes["exit_status"] == 0) & (outcomes["streams"] > 0)).to_numpy()]
    script_s = (ended["end_s"] - ended["start_s"]).to_numpy(dtype=np.float64)
    traffic_s = ended["traffic_s"].to_numpy(dtype=np.float64)
    texts = []
    outlasted = durations.outlasted(script_s, traffic_s)
    if count := int(outlasted.sum()):
        texts.append(
            f"the traffic of {format_count(count, 'client')} went on when the test's script was over, for up "
            f"to {(traffic_s - script_s)[outlasted].max():.1f} s by the tool's own log: "
            f"{durations.BACKGROUND}, so nobody recorded how it ended; run it in the foreground, or end "
            "the script with `wait`"
        )
    brief = script_s < durations.LEAST_PLANNED_SHARE * slot.duration_s
    if (brief & ~outlasted).sum() > len(outcomes) / 2:
        texts.append(
            f"most scripts ended within {durations.LEAST_PLANNED_SHARE:.0%} of the planned {slot.duration_s:g} s: let the script run for "
            f"$PERFKIT_DURATION_S seconds, or give [{slot.test}] in tests.conf the duration that it takes"
        )
    most_s = ended["traffic_most_s"].to_numpy(dtype=np.float64)
    silent = most_s < LEAST_OVERLAP * np.minimum(script_s, slot.duration_s)
    silent &= ended["ok"].to_numpy(dtype=bool)
    if silent.any():
        texts.append(
            f"the traffic of {format_count(int(silent.sum()), 'client')} lasted {most_s[silent].min():.1f} s "
            f"at the least, of the planned {slot.duration_s:g} s, by the tool's own log, though the script "
            "ran on: the rest of the window is without traffic"
        )
    return [Finding(slot.name, text) for text in texts]


def _figures_of(row: dict[str, object]) -> Callable[[str], float]:
    """A row's figures by name; NaN for what it has not, so that every comparison is False."""

    def figure(name: str) -> float:
        value = row.get(name)
        return float(value) if isinstance(value, int | float) else np.nan

    return figure


def _doubts(row: dict[str, object]) -> list[Finding]:
    """What makes a slot's window, or its clients, other than planned."""
    figure, texts = _figures_of(row), []
    if row.get("side") == "sender":
        texts.append("no receiver's log: figures are what the clients sent, not what arrived")
    if figure("resolution_s") > COARSEST_S:
        texts.append(
            f"the log that says what arrived has one figure for {figure('resolution_s'):.1f} s, which is "
            "spread evenly over that time: no confidence interval, no sensitivity"
        )
    texts += _short_window(
        figure("window_s"), figure("warm_up_s"), figure("planned_s"), str(row.get("chosen_by"))
    )
    if figure("late_max_s") > LATE_S:
        texts.append(f"a client started {figure('late_max_s'):.1f} s late")
    if figure("clients_unsure") > 0:
        texts.append(
            f"when the traffic of {format_count(figure('clients_unsure'), 'client')} began is known only "
            f"within {figure('placement_bound_s'):.2f} s at worst, more than {UNSURE_SHARE:.0%} of the "
            "window, and such a client's goodput in it no better; a longer test is less sensitive"
        )
    if row.get("clients_part_time"):
        whose = _names(row, "clients_part_time")
        texts.append(
            f"not all clients were active in the whole window: the traffic of {whose} began after it "
            f"did or was over before, by up to {figure('idle_max_s'):.1f} s; that time is in their "
            "means and in the total as one without traffic"
        )
    if figure("clients_starved") > 0:
        texts.append(
            f"{format_count(figure('clients_starved'), 'client')} moved nothing in the steady window, or "
            "less than 1 % of the median client: starved, or connected late; that is in the means and "
            f"Jain's index ({_names(row, 'starved_named')})"
        )
    if row.get("dominant_named"):
        texts.append(
            f"{_names(row, 'dominant_named')} moved {figure('dominant_share'):.0%} of the goodput of "
            f"{format_count(figure('clients_counted'), 'client')}: the total and the mean say little of the "
            "others; see the median and Jain's index"
        )
    return [Finding(str(row["slot"]), text) for text in texts]


def _names(row: dict[str, object], key: str) -> str:
    """Clients named in a figure that is text, the first few of them."""
    return format_some(str(row.get(key)).split(", "), NAMED)


def _short_window(window_s: float, warm_up_s: float, planned_s: float, chosen_by: str) -> list[str]:
    """What is to be said of a window's length: who chose it, and what that says of the clients."""
    texts = []
    span = f"{window_s + warm_up_s:.1f} s of the planned {planned_s:.1f} s"
    if window_s + warm_up_s < LEAST_OVERLAP * planned_s:
        said = {
            "events": f"all clients were active together for only {span}",
            propose.STAMPS: f"all clients were active together for only {span}, by their tools' stamps",
            propose.CHANGE_POINTS: f"the window guessed from the NIC's rate has only {span}",
        }
        texts.append(said.get(chosen_by, f"{chosen_by} chose a steady window of only {span}"))
    if window_s < LEAST_WINDOW_S:
        texts.append(f"the steady window, chosen by {chosen_by}, is only {window_s:.1f} s long")
    return texts


def _contradictions(row: dict[str, object]) -> list[Finding]:
    """Where one source of a slot's figures does not go with another."""
    figure, slot, texts = _figures_of(row), str(row["slot"]), []
    if figure("udp_reports_unusable") > 0:
        texts.append(
            f"{figure('udp_reports_unusable'):.0f} UDP reports say that more was lost than sent, "
            "or less than nothing; they are not in the loss"
        )
    if figure("monitor_coverage") < LEAST_COVERAGE:
        texts.append(f"the monitor saw only {figure('monitor_coverage'):.0%} of the window")
    if figure("disagreeing_streams") > 0:
        texts.append(
            f"{figure('disagreeing_streams'):.0f} streams' intervals exceed their summaries"
        )
    for way in both_ways.Way:
        received_bps = figure(both_ways.name("received_bps", way))
        failed_bps = received_bps - figure(both_ways.name("goodput_bps", way))
        if failed_bps > 0.001 * received_bps:
            moved = f"{failed_bps / received_bps:.1%} of the bytes {way}".rstrip()
            texts.append(f"failed clients moved {moved}; they are not in the total")
    lost = figure("udp_loss_pct") / 100
    about_nic = nic_findings(
        slot,
        figure("nic_ratio"),
        figure("resent_share"),
        lost,
        whole=figure("nic_ratio_whole"),
        payload_bytes=figure("udp_payload_bytes"),
    )
    return [Finding(slot, text) for text in texts] + about_nic


def nic_findings(
    slot: str,
    ratio: float,
    resent_share: float,
    lost: float,
    *,
    whole: float = np.nan,
    payload_bytes: float = np.nan,
) -> list[Finding]:
    """Whether what the NIC counted is goodput, headers, and segments sent again or datagrams lost.

    A saturated tunnel drops datagrams that its NIC has already counted, and TCP sends their
    segments again, so the NIC may count far more than arrived without anything being wrong.

    Args:
        ratio: NIC over goodput.
        resent_share: Bytes sent again per byte of goodput, at most; NaN = not known.
        lost: Part of UDP's datagrams that did not arrive; some of them passed the NIC. NaN = no UDP.
        whole: NIC over goodput of the whole test, not only the window; NaN = not known.
        payload_bytes: Of a datagram; headers of small ones are most of them. NaN = not known.
    """
    most = max(NIC_RATIO[1], 1 + PACKET_HEADERS_BYTES / payload_bytes if payload_bytes > 0 else 0)
    if not np.isfinite(ratio) or NIC_RATIO[0] <= ratio <= most:
        return []
    seen = f"the server's NIC counted {ratio:.2f} times the goodput"
    is_loss = NIC_RATIO[1] < ratio <= NIC_RATIO[1] / max(1 - lost, 1e-9)
    if not is_loss and (6 < ratio < 10 or 0.1 < ratio < 0.16):
        return [Finding(slot, f"{seen}: bits were taken for bytes in one of the logs")]
    if ratio < NIC_RATIO[0] <= whole:
        text = (
            f"{seen} in the window's ticks, and {whole:.2f} times over the whole test: nothing is missing, but "
            "streams and ticks are not placed alike to the second"
        )
        return [Finding(slot, text, "note")]
    if ratio < NIC_RATIO[0]:
        return [Finding(slot, f"{seen}: part of the traffic did not pass it, or was not counted")]
    if np.isfinite(lost):
        return [_udp_excess(slot, seen, lost, is_loss=is_loss)]
    return [_tcp_excess(slot, seen, ratio, resent_share)]


def _udp_excess(slot: str, seen: str, lost: float, *, is_loss: bool) -> Finding:
    if is_loss:
        text = f"{seen}: UDP lost {lost:.1%} of its datagrams, some after the NIC had counted them"
        return Finding(slot, text, "note")
    text = (
        f"{seen}; headers explain up to {HEADERS:.2f} of large datagrams, "
        f"and that UDP lost {lost:.1%} of them not the rest"
    )
    return Finding(slot, text)


def _tcp_excess(slot: str, seen: str, ratio: float, resent_share: float) -> Finding:
    explained = f"headers explain up to {HEADERS:.2f}"
    if not np.isfinite(resent_share):
        return Finding(slot, f"{seen}; {explained}, and how much was sent again is not known")
    again = resent_share * HEADERS
    explained += f", segments sent again up to {again:.2f} more"
    if ratio <= NIC_RATIO[1] + again:
        return Finding(slot, f"{seen}: {explained}", "note")
    rest = ratio - HEADERS - again
    return Finding(slot, f"{seen}: {explained}, and at least {rest:.2f} is not explained")
