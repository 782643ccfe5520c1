"""What the VPN itself said about a run: who was connected, what it carried, what went wrong.

Its counters are the third witness beside the traffic generator and the interfaces. The server's
status counts a client's encrypted packets without their UDP and IP headers, so what it received
is a little more than what came out of its tunnel device; less cannot be.

OpenVPN and wireguard-go stamp their logs to the second, so a time between two lines is right within one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfkit.analysis import counters
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.units import bytes_to_bits, format_some

METHOD = (
    "The VPN's own words: bytes by client from the server's last status, encrypted and without UDP "
    "and IP headers, since the client connected; events counted in both ends' logs (the larger "
    "count); connected: in that status, where it has handshakes with one in the last 180 s; time to "
    "tunnel up from the client's start to its completed initialisation or first handshake, stamps of "
    "1 s. MB = 10^6 bytes"
)
CROSS_CHECK = (
    "Tunnel: what the server's tunnel device counted from the monitor's start to that status; what "
    "What the VPN received may exceed it by its headers (24 bytes a packet and more), never fall short"
)
# Kinds of `perfkit.logs.openvpn.log.EVENTS` that a table counts, by the column's name.
COUNTED = {
    "renegotiations": ("renegotiation",),
    "tls_errors": ("tls-error", "auth-failed"),
    "timeouts": ("timeout",),
    "restarts": ("restart",),
    "refused": ("refused",),
}
# A session of WireGuard carries nothing after it (REJECT_AFTER_TIME, its whitepaper section 6.1).
_SESSION_S = 180.0
_LEAST_RATIO = 0.99  # counters are not read at the same instant
_LEAST_BYTES = 10e6  # below, keep-alives and the status's age are more than the difference
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnSummary:
    """The VPN's side of a run.

    Attributes:
        clients: One row a client of the run: `host`, `connected` (in the server's last status; where
            that has handshakes, with one in the last 180 s), `handshake_age_s` (then), `tunnel_up_s` (since its start), `recv_bytes` and `send_bytes` (at the server),
            `sessions` (times it connected), and the counts of `COUNTED`.
        server: One row: `clients`, `connected`, `status_s` (from T0), `tunnel_up_median_s`,
            `tunnel_up_max_s`, `recv_bytes`, `tunnel_in_bytes`, `recv_ratio`, the same of `send`,
            and the sums of the counts, of unknown peers as well.
    """

    clients: pd.DataFrame
    server: pd.DataFrame
    findings: tuple[Finding, ...] = ()


def summarise_vpn(logs: RunLogs) -> VpnSummary | None:
    """Reduce what the VPN said; None when it left neither status nor log."""
    if logs.vpn.clients.empty and logs.vpn.events.empty:
        return None
    status = _last_status(logs)
    events = _with_client(logs)
    clients = pd.DataFrame({"host": logs.clients})
    up_s = clients["host"].map(_tunnel_up_s(logs.vpn.events))
    connected, ages_s = _handshakes(status)
    clients = clients.assign(
        connected=clients["host"].isin(connected),
        handshake_age_s=clients["host"].map(ages_s).astype("float64"),
        tunnel_up_s=up_s.astype("float64"),
        sessions=_count(events, ("connected",), clients["host"], at=logs.server),
    )
    for name in ("recv_bytes", "send_bytes"):
        sums = status.groupby(status["common_name"].astype("str"))[name].sum()
        clients[name] = clients["host"].map(sums).astype("float64")
    for name, kinds in COUNTED.items():
        clients[name] = _count(events, kinds, clients["host"])
    server = _server_row(logs, status, events, clients)
    found = _findings(logs, events, clients, server)
    return VpnSummary(clients=clients, server=pd.DataFrame([server]), findings=tuple(found))


def _last_status(logs: RunLogs) -> pd.DataFrame:
    """The server's last snapshot."""
    own = logs.vpn.clients[(logs.vpn.clients["host"] == logs.server).to_numpy(dtype=bool)]
    last: pd.DataFrame = own[own["snapshot"] == own["snapshot"].max()]
    return last


def _handshakes(status: pd.DataFrame) -> tuple[list[str], dict[str, float]]:
    """The clients that were connected then, and the seconds since the last handshake of each.

    Connected are all that are listed, or those with a handshake in `_SESSION_S` where it says any.
    """
    names = list(status["common_name"].astype("str"))
    if "handshake_utc" not in status:
        return names, {}
    ages_s = (status["t_utc"] - status["handshake_utc"]).dt.total_seconds()
    named = list(zip(names, ages_s, strict=True))
    return [name for name, age_s in named if age_s < _SESSION_S], dict(named)  # NaN: none


def _with_client(logs: RunLogs) -> pd.DataFrame:
    """The events, each with the `client` it is about: by its name, else by its address.

    What a client logged is about itself. Empty: the server itself, or nobody of this run.
    """
    events, names = logs.vpn.events, set(logs.clients)
    by_address = {
        str(host["traffic_address"] or host["address"]): str(host["name"])
        for host in logs.hosts.to_dict("records")
        if host["role"] != "server" and host["address"]
    }
    if len(by_address) < len(names):  # hosts that share an address
        by_address = {}
    client = [
        host if host in names else name if name in names else by_address.get(address, "")
        for host, name, address in zip(
            events["host"].astype("str"),
            events["common_name"].astype("str"),
            events["peer_address"].astype("str"),
            strict=True,
        )
    ]
    return events.assign(client=np.array(client, dtype=object))


def _tunnel_up_s(events: pd.DataFrame) -> dict[str, float]:
    """Seconds from each host's first start to the completion that follows it."""
    starts, ups = (_moments(events, kind) for kind in ("start", "tunnel-up"))
    first = dict(reversed(starts))  # what is written last stays
    later = [(host, t_s - first[host]) for host, t_s in ups if t_s >= first.get(host, math.inf)]
    return dict(reversed(later))


def _moments(events: pd.DataFrame, kind: str) -> list[tuple[str, float]]:
    """Host and moment of each event of a kind, in the order of the logs."""
    own = events.loc[((events["event"] == kind) & events["t_s"].notna()).to_numpy(dtype=bool)]
    return list(zip(own["host"].astype("str").tolist(), own["t_s"].tolist(), strict=True))


def _count(
    events: pd.DataFrame, kinds: Sequence[str], clients: pd.Series[str], at: str = ""
) -> pd.Series[int]:
    """How often something happened to each client, by the log that has it more often.

    Both ends log most events, so their counts are not added.

    Args:
        at: Only this host's log.
    """
    own = _occurrences(events, kinds)
    if at:
        own = own[own["host"] == at]
    per_log = own.groupby(["client", own["host"].astype("str")]).size()
    most = per_log.groupby(level=0).max()
    return clients.map(most).fillna(0).astype("int64")


def _occurrences(events: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Events of these kinds, each once: one failure prints several lines in the same second."""
    own = events[events["event"].isin(list(kinds)).to_numpy(dtype=bool)]
    same = own.duplicated(["host", "client", "peer_address", "peer_port", "t_s"])
    return own[~(same & own["t_s"].notna()).to_numpy(dtype=bool)]


def _server_row(
    logs: RunLogs, status: pd.DataFrame, events: pd.DataFrame, clients: pd.DataFrame
) -> dict[str, object]:
    status_s = float(status["t_s"].max()) if len(status) else np.nan
    row: dict[str, object] = {
        "clients": len(clients),
        "connected": int(clients["connected"].sum()) if len(status) else np.nan,
        "status_s": status_s,
        "tunnel_up_median_s": float(clients["tunnel_up_s"].median()),
        "tunnel_up_max_s": float(clients["tunnel_up_s"].max()),
    }
    # What it received from clients it writes into the device, which counts it as received.
    for name, way in (("recv", "in"), ("send", "out")):
        counted = float(status[f"{name}_bytes"].sum()) if len(status) else np.nan
        inside = _tunnel_bytes(logs, f"net_{logs.vpn_record.device}_{name}_bps", status_s)
        row[f"{name}_bytes"], row[f"tunnel_{way}_bytes"] = counted, inside
        row[f"{name}_ratio"] = counted / inside if inside > 0 else np.nan
    strangers = events[(events["client"] == "").to_numpy(dtype=bool)]
    for name, kinds in COUNTED.items():
        row[name] = int(clients[name].sum() + len(_occurrences(strangers, kinds)))
    return row


def _tunnel_bytes(
    logs: RunLogs, column: str, until_s: float, *, in_whole_ticks: bool = False
) -> float:
    """Bytes at the server's tunnel device up to a moment; NaN where nobody watched it.

    From the last start of its VPN on, where its log has one: a test may start it anew, and then the
    VPN's own counters begin again.

    Args:
        in_whole_ticks: Without the tick in which the moment lies, whose bytes may all be later ones.
    """
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy(dtype=bool)]
    if column not in monitor or not np.isfinite(until_s):
        return float("nan")
    begin, end = counters.spans(monitor)
    # The status falls into a tick: a whole one more or less is a fifth of a test of five seconds.
    since_s = _last_start_s(logs)
    seconds = np.clip(np.minimum(end, until_s) - np.maximum(begin, since_s), 0.0, None)
    if in_whole_ticks:
        seconds = np.where(end <= until_s, seconds, 0.0)
    return float(np.nansum(monitor[column] * seconds) / bytes_to_bits(1.0))


def _last_start_s(logs: RunLogs) -> float:
    """When the server's VPN was started last, from T0; minus infinity: its log does not say."""
    events = logs.vpn.events
    is_start = (events["event"] == "start") & (events["host"] == logs.server)
    starts = events.loc[is_start.to_numpy(dtype=bool), "t_s"].dropna()
    return float(starts.max()) if len(starts) else -np.inf


def _findings(
    logs: RunLogs, events: pd.DataFrame, clients: pd.DataFrame, server: dict[str, object]
) -> list[Finding]:
    texts, notes = [], []
    if logs.vpn_in_kernel:
        notes.append(
            f"the kernel carries the packets of {logs.vpn_record.title}: the CPU time of its threads is "
            "not told apart, so no CPU of the VPN is given; see the processors as a whole"
        )
    up = set(logs.hosts.loc[logs.hosts["state"] != "failed", "name"])
    absent = clients.loc[~clients["connected"] & clients["host"].isin(up), "host"]
    if len(absent) and not logs.vpn.clients.empty:
        texts.append(f"not connected in the server's last status: {_named(absent)}")
    for name, what in (("tls_errors", "TLS or certificate errors"), ("refused", "were refused")):
        hit = clients.loc[clients[name] > 0, "host"]
        if len(hit):
            texts.append(f"{what}: {_named(hit)}; see the table of the VPN by client")
    during = events[~(events["t_s"] < 0).to_numpy(dtype=bool)]  # without a time it may be
    for kind, what in (("timeout", "timed out"), ("restart", "restarted"), ("fatal", "ended")):
        lines = during[(during["event"] == kind).to_numpy(dtype=bool)]
        if len(lines):
            who = lines["client"].where(lines["client"] != "", lines["host"].astype("str")).unique()
            texts.append(f"connections {what} while tests ran: {_named(who)}")
    strangers = during[(during["client"] == "").to_numpy(dtype=bool)]
    unknown = len(_occurrences(strangers, COUNTED["tls_errors"]))
    if unknown:
        texts.append(f"{unknown} TLS errors of peers that are no client of this run")
    received, status_s = float(str(server["recv_bytes"])), float(str(server["status_s"]))
    column = f"net_{logs.vpn_record.device}_recv_bps"
    inside = _tunnel_bytes(logs, column, status_s, in_whole_ticks=True)
    if inside > _LEAST_BYTES and received / inside < _LEAST_RATIO:
        texts.append(
            f"{logs.vpn_record.title} says it received {received / inside:.2f} times what came out of its tunnel device: clients "
            "connected anew and their counters began again, or a counter is wrong"
        )
    title = logs.vpn_record.title
    return [
        *(Finding(title, text) for text in texts),
        *(Finding(title, text, "note") for text in notes),
    ]


def _named(hosts: Iterable[object]) -> str:
    return format_some([str(host) for host in hosts], _NAMED)
