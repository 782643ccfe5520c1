"""Logs of known streams, in the exact text of iperf 2.1.8, dool 1.3.8 and perfkit's sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from perfkit.units import BITS_PER_BYTE, SI_PREFIXES

T0_UTC_S = 1_795_350_000.0  # 2026-11-22 12:20:00 UTC
NIC_OVERHEAD = {"direct": 1.052, "tunnel": 1.094}  # wire bytes per byte of goodput
TUN_OVERHEAD = 1.037
CPU_S_PER_GBIT = 3.2  # of the OpenVPN server, tunnel slots only
NCPU = 4
GAP_S = 8.0


@dataclass(slots=True)
class SimulatedStream:
    """One client's stream in one slot, in seconds from T0 by a perfect clock."""

    host: str
    number: int
    process_start_s: float
    start_s: float
    edges_s: NDArray[np.float64]  # borders of the intervals, from start_s; the last is the tail's
    size_bytes: NDArray[np.int64]
    process_end_s: float
    whole: bool = True  # False: it was killed, and printed no summary


@dataclass(slots=True)
class SimulatedSlot:
    """A test: its name, which way it goes, when it was planned, and what happened."""

    name: str
    test: str
    path: str
    start_s: float
    duration_s: float
    streams: list[SimulatedStream] = field(default_factory=list)
    cpu_s_per_gbit: float = CPU_S_PER_GBIT

    def bytes_between(self, edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Goodput bytes of all streams in each [edge, next edge)."""
        total = np.zeros(len(edges_s) - 1)
        for stream in self.streams:
            borders = stream.start_s + stream.edges_s
            counted = np.concatenate([[0.0], np.cumsum(stream.size_bytes)])
            total += np.diff(np.interp(edges_s, borders, counted))
        return total


def address(number: int, path: str) -> str:
    """Address of the server (0) or of the n-th client, beside or inside the tunnel."""
    place = number + 2
    return f"{'10.8' if path == 'tunnel' else '10.77'}.{place // 250}.{place % 250 + 1}"


_RULE = "-" * 60


def _stamp(t_s: float, offset_s: float) -> str:
    moment = datetime.fromtimestamp(int(T0_UTC_S + t_s + offset_s), UTC)
    return moment.strftime("on %Y-%m-%d %H:%M:%S (UTC)")


def client_log(slot: SimulatedSlot, stream: SimulatedStream | None, offset_s: float) -> str:
    """What a client's iperf prints; without a stream, that nobody answered."""
    target = address(0, slot.path)
    lines = [
        _RULE,
        f"Client connecting to {target}, TCP port 5001 with pid 4021 (1 flows)",
        "Write buffer size: 131072 Byte",
        "TOS set to 0x0 (Nagle on)",
        "TCP window size: 16384 Byte (default)",
        _RULE,
    ]
    if stream is None:
        lines.append("tcp connect failed: Connection refused")
        return "\n".join(lines) + "\n"
    lines.append(
        f"[  1] local {address(stream.number + 1, slot.path)} port {30000 + stream.number} connected "
        f"with {target} port 5001 (sock=3) (icwnd/mss/irtt=14/1448/310) (ct=0.41 ms) "
        f"{_stamp(stream.start_s, offset_s)}"
    )
    lines.append(
        "[ ID] Interval            Transfer    Bandwidth       Write/Err  Rtry     "
        "Cwnd/RTT(var)        NetPwr"
    )
    tail = f"{'20/0':<9}  {2:>3}     {1151:>4}K/444(715) us  5904"
    lines += _figures(stream, 1, tail)
    return "\n".join(lines) + "\n"


def server_log(slot: SimulatedSlot, offset_s: float) -> str:
    """What the server's iperf prints about all clients, lines of all streams interleaved."""
    lines = [
        _RULE,
        "Server listening on TCP port 5001 with pid 3977",
        "Read buffer size: 131072 Byte (Dist bin width=16.0 KByte)",
        "TCP window size: 131072 Byte (default)",
        _RULE,
    ]
    in_order = sorted(slot.streams, key=lambda stream: stream.start_s)
    printed: list[tuple[float, str]] = []
    for number, stream in enumerate(in_order, start=1):
        lines.append(
            f"[{number:3d}] local {address(0, slot.path)}%eth0 port 5001 connected with "
            f"{address(stream.number + 1, slot.path)} port {30000 + stream.number} (sock={number + 3}) "
            f"(peer 2.1.8) (icwnd/mss/irtt=14/1448/310) {_stamp(stream.start_s, offset_s)}"
        )
        rows = _figures(stream, number, "22=2:0:0:0:0:0:0:20")
        ends = stream.start_s + np.append(stream.edges_s[1 : len(rows)], stream.edges_s[-1])
        printed += list(zip(ends.tolist(), rows, strict=True))
    lines.append("[ ID] Interval            Transfer    Bandwidth       Reads=Dist")
    lines += [row for _, row in sorted(printed, key=lambda pair: pair[0])]
    return "\n".join(lines) + "\n"


def _figures(stream: SimulatedStream, number: int, tail: str) -> list[str]:
    """Interval lines and the summary; as iperf, it prints no interval for the short tail."""
    rows = [
        (float(begin), float(end), int(size))
        for begin, end, size in zip(
            stream.edges_s[:-2], stream.edges_s[1:-1], stream.size_bytes[:-1], strict=True
        )
    ]
    if stream.whole:
        rows.append((0.0, float(stream.edges_s[-1]), int(stream.size_bytes.sum())))
    return [
        f"[{number:3d}] {begin:.4f}-{end:.4f} sec  {size} Bytes  "
        f"{size * BITS_PER_BYTE / (end - begin):.0f} bits/sec  {tail}"
        for begin, end, size in rows
    ]


def monitor_csv(
    slots: Sequence[SimulatedSlot],
    chance: np.random.Generator,
    offset_s: float,
    missed_ticks: Sequence[int],
) -> str:
    """The server's counters as dool writes them, a row since boot first.

    A tick that was missed writes no row; the next row has the counters of both, undivided.
    """
    edges = tick_edges(slots)
    nic, tun, cpu_s = _load(slots, edges)
    busy_pct = np.clip(2.0 + 100.0 * (cpu_s + nic * 1e-9) / NCPU, 0, 100)
    rows = [f"{T0_UTC_S + edges[0] + offset_s:.3f},99.1,0.4,0.5,0,0,1,1,1,1,0,0,0,0"]
    saved = np.zeros(2)
    for tick, t_s in enumerate(edges[1:]):
        recv = np.array([nic[tick], tun[tick]]) + saved
        saved = recv if int(np.floor(t_s)) in missed_ticks else np.zeros(2)
        if int(np.floor(t_s)) in missed_ticks:
            continue
        shares = busy_pct[tick] * np.array([0.3, 0.7]) + chance.uniform(0, 0.5, 2)
        cells = [f"{shares[0]:.3f}", f"{shares[1]:.3f}", f"{100 - shares.sum():.3f}", "0", "0"]
        cells += ["412000256", "7400001536", "812000256", "7600001024"]
        cells += [f"{value:.3f}" for got in recv for value in (got, got * 0.02)]
        rows.append(",".join([f"{T0_UTC_S + t_s + offset_s:.3f}", *cells]))
    return "\n".join([*_DOOL_HEAD, *rows]) + "\n"


def procstat_csv(slots: Sequence[SimulatedSlot], offset_s: float) -> str:
    """CPU seconds of the server's OpenVPN process, as perfkit's sampler writes them."""
    edges = tick_edges(slots)
    used = np.concatenate([[0.0], np.cumsum(_load(slots, edges)[2])])
    rows = [
        f"{T0_UTC_S + t_s + offset_s:.3f},3100,{0.5 + spent:.4f},9437184"
        for t_s, spent in zip(edges, used, strict=True)
    ]
    return "\n".join(["epoch,pid,cpu_s,rss_bytes", *rows]) + "\n"


def tick_edges(slots: Sequence[SimulatedSlot]) -> NDArray[np.float64]:
    """When the samplers tick: once a second, a quarter past, around all slots."""
    return np.arange(-3.0, slots[-1].start_s + slots[-1].duration_s + 5.0) + 0.25


def _load(
    slots: Sequence[SimulatedSlot], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bytes at the NIC, bytes in the tunnel, OpenVPN's CPU seconds in each tick."""
    nic, tun, cpu_s = (np.zeros(len(edges) - 1) for _ in range(3))
    for slot in slots:
        goodput = slot.bytes_between(edges)
        nic += goodput * NIC_OVERHEAD[slot.path]
        if slot.path == "tunnel":
            tun += goodput * TUN_OVERHEAD
            cpu_s += goodput * (BITS_PER_BYTE / SI_PREFIXES["G"] * slot.cpu_s_per_gbit)
    return nic, tun, cpu_s


_DOOL_HEAD = (
    '"dool 1.3.8 CSV output"',
    '"Author:","Scott Baker",,,,"URL:","https://github.com/scottchiefbaker/dool/"',
    '"Host:","server",,,,"User:","root"',
    '"Cmdline:","dool --epoch --bytes --cpu --mem --net -N eth0,tun0 --output monitor.csv 1"'
    ',,,,"Date:","22 Nov 2026 12:19:57 UTC"',
    '"epoch","total cpu usage",,,,,"memory usage",,,,"net/eth0",,"net/tun0",',
    '"epoch","usr","sys","idl","wai","stl","used","free","cach","avai",'
    '"net/eth0:recv","net/eth0:send","net/tun0:recv","net/tun0:send"',
)
