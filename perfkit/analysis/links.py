"""Links of hosts: what was planted, what was counted, and whether the one can be the other.

Hosts of one role with the same link are taken together: a loss is lost packets over all that came to
it, sum over sum. Its interval is Clopper and Pearson's, since a packet is lost by itself.

Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfkit.analysis.interfaces import rate_columns
from perfkit.analysis.server_load import outside_nic
from perfkit.logs.links import Counted, LinkRecord
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.units import format_count, format_rate

WAYS: Mapping[str, str] = {"to_host": "recv", "from_host": "send"}
SURE = 0.999  # level of the interval that a planted loss must be outside of to be doubted
MOST_OVER = 1.1  # times the rate, in any second: bursts and the beginning of a queue are in it
METHOD = (
    "Links: bytes and packets that the queue of a link let pass while the tests ran, with their "
    "Ethernet headers; loss: packets that the rule of loss dropped over all that came to it, summed over hosts "
    "with the same link, with the 95 % interval of Clopper and Pearson; busiest second: of the server's "
    "own interface, by its monitor"
)


def link_rows(logs: RunLogs) -> list[dict[str, Any]]:
    """One row a (role, link, direction).

    Returns:
        `whose`, `link`, `direction`, `hosts`, `carried_bytes`, `busiest_bps` (of the server, where its interface tells; else NaN),
        `queue_drops`, `lost_packets`, `loss_ratio`, `loss_low`, `loss_high`, and what was planted:
        `rate_bps`, `planted_loss_ratio`.
    """
    alike: dict[tuple[bool, str], list[tuple[str, LinkRecord]]] = {}
    for name, record in logs.links.hosts.items():
        alike.setdefault((name == logs.server, record.link), []).append((name, record))
    # Elsewhere what a host receives waits in it, behind the interface that the monitor watches.
    waits_outside = bool(logs.manifest.get("provider_traits", {}).get("can_link"))
    return [
        {
            **row_of(group, direction),
            "rate_bps": group[0][1].rate_bps or np.nan,
            "planted_loss_ratio": group[0][1].loss_ratio,
            "hosts": len(group),
            "busiest_bps": _busiest_bps(logs, direction)
            if is_server and (waits_outside or direction == "from_host")
            else np.nan,
        }
        for (is_server, _), group in alike.items()
        for direction in WAYS
    ]


def server_rate_bps(logs: RunLogs) -> float:
    """The rate of the server's link; NaN: it has none."""
    record = logs.links.hosts.get(logs.server)
    return float("nan") if record is None or record.rate_bps is None else record.rate_bps


def findings(logs: RunLogs) -> list[Finding]:
    """Links that were not what they were to be, or of which nothing is known."""
    found = _gone(logs)
    if logs.links.not_read:
        text = f"what the links counted was not read: {logs.links.not_read}"
        found = [Finding("links", text)]
    for row in link_rows(logs):
        where = f"link of {row['whose']}, {row['direction']}"
        planted, total = row["planted_loss_ratio"], row["lost_packets"] + row["passed_packets"]
        low, high = loss_interval(row["lost_packets"], total, SURE)
        if planted and total and not low <= planted <= high:
            text = (
                f"a loss of {100 * planted:.4g} % was asked for, and {row['lost_packets']} of "
                f"{total} packets were lost: that is not by chance"
            )
            found.append(Finding(where, text))
        if row["busiest_bps"] > MOST_OVER * row["rate_bps"]:
            text = (
                f"it was to carry {format_rate(row['rate_bps'])}, and carried "
                f"{format_rate(row['busiest_bps'])} in its busiest second"
            )
            found.append(Finding(where, text))
    return found


def _gone(logs: RunLogs) -> list[Finding]:
    """Links of which a part was no longer there when it was read: root on a host can take off its own."""
    found = []
    for name, record in logs.links.hosts.items():
        for direction in WAYS:
            counted = getattr(record, direction)
            known = set() if counted is None else counted.model_fields_set
            parts = (
                ("rate or delay", record.rate_bps or record.delay_s, "carried_bytes"),
                ("loss", record.loss_ratio, "lost_packets"),
            )
            for what, is_asked, counter in parts:
                if is_asked and counter not in known:
                    text = f"its {what} was not in force any more at the end: somebody has taken it off"
                    found.append(
                        Finding(f"link of {name}, {direction.replace('_', ' the ')}", text)
                    )
    return found


def loss_interval(lost: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share, by Clopper and Pearson; NaN of nothing."""
    from scipy import special  # noqa: PLC0415 -- it takes longer to load than all of perfkit

    if not total:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low = float(special.betaincinv(lost, total - lost + 1, tail)) if lost else 0.0
    high = float(special.betaincinv(lost + 1, total - lost, 1 - tail)) if lost < total else 1.0
    return low, high


def row_of(group: Sequence[tuple[str, LinkRecord]], direction: str) -> dict[str, Any]:
    """One direction of hosts with the same link: `whose`, `link`, `direction`, and `_summed`."""
    names = sorted({name for name, _ in group})
    return {
        "whose": names[0] if len(names) == 1 else format_count(len(names), "client"),
        "link": group[0][1].link,
        "direction": direction.replace("_", " the "),
        **_summed([it for _, record in group if (it := getattr(record, direction))]),
    }


def _summed(counted: Sequence[Counted]) -> dict[str, Any]:
    """Counters of one direction of several links, and the share that was lost, with its interval.

    What a link without a queue carried and dropped there nobody counts: NaN.
    """
    names = ("carried_bytes", "queue_drops", "lost_packets", "passed_packets")
    sums: dict[str, Any] = {name: sum(getattr(it, name) for it in counted) for name in names}
    for name in names[:2]:
        if counted and not any(name in it.model_fields_set for it in counted):
            sums[name] = float("nan")
    total = sums["lost_packets"] + sums["passed_packets"]
    low, high = loss_interval(sums["lost_packets"], total)
    loss = sums["lost_packets"] / total if total else float("nan")
    return {**sums, "loss_ratio": loss, "loss_low": low, "loss_high": high}


def _busiest_bps(logs: RunLogs, direction: str) -> float:
    """The busiest second of the server's interface in the time of the tests; NaN: not watched."""
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    if not logs.slots or monitor.empty:
        return float("nan")
    end_s = max(slot.end_s for slot in logs.slots)
    during = monitor[monitor["t_s"].between(0.0, end_s).to_numpy()]
    nic = outside_nic(during, logs.vpn_record.device)
    own = [it.name for it in rate_columns(during) if (it.nic, it.way) == (nic, WAYS[direction])]
    return float(during[own[0]].max()) if own else float("nan")
