"""Runs of one UDP test, in the text of iperf 2.1.8: how many datagrams of each second were lost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from perfkit.runs.folder import Run, write_json
from perfkit.testing.logtext import address
from perfkit.testing.runs import make_run

SIZE = 1372
TEST = "tunnel-udp"
SLOT = f"01-{TEST}"
_HEAD = "[ ID] Interval            Transfer     Bandwidth        "


def udp_run(
    folder: Path,
    lost: Mapping[str, Sequence[int]],
    *,
    sent: int = 100,
    rate_bps: float = 100 * SIZE * 8,
    without_summary: Sequence[str] = (),
    silent_from: Mapping[str, int] | None = None,
) -> Run:
    """Write a run folder.

    Args:
        lost: Of each client, `client-001` and so on, how many of the `sent` datagrams of each second.
        rate_bps: What each was asked to offer.
        without_summary: Clients whose last word did not reach the server.
        silent_from: Of a client, the second from which the server printed nothing of it any more.
    """
    seconds = len(next(iter(lost.values())))
    run = make_run(folder, clients=len(lost), tests=(TEST,), duration_s=seconds, client_cv=0.0)
    timetable = json.loads(run.timetable_path.read_text())
    timetable["slots"][0] |= {"kind": "udp", "rate_bps": rate_bps}
    write_json(run.timetable_path, timetable)
    server = [
        "-" * 60, "Server listening on UDP port 5001 with pid 11", "Read buffer size: 1.44 KByte",
        "UDP buffer size:  208 KByte (default)", "-" * 60,
    ]  # fmt: skip
    figures = []
    for number, (host, each) in enumerate(lost.items(), start=1):
        path = run.host_raw_dir(host) / f"{SLOT}.log"
        (stamp,) = re.findall(r"on \S+ \S+ \(UTC\)", path.read_text())
        ports = f"port {30000 + number} connected with {address(0, 'tunnel')} port 5001"
        own = address(number, "tunnel")
        path.write_text(_client(seconds, sent, f"local {own} {ports} (sock=3) {stamp}"))
        server.append(
            f"[{number:3d}] local {address(0, 'tunnel')}%tun0 port 5001 connected with {own} port "
            f"{30000 + number} (sock={number + 3}) (peer 2.1.8) {stamp}"
        )
        end = (silent_from or {}).get(host, seconds)
        figures += [
            (second, _arrived(number, second, second + 1, each[second], sent))
            for second in range(end)
        ]
        if host not in without_summary:
            figures.append((seconds, _arrived(number, 0, seconds, sum(each), sent * seconds)))
    server.append(f"{_HEAD}Jitter   Lost/Total  Latency avg/min/max/stdev PPS  Rx/inP  NetPwr")
    server += [line for _, line in sorted(figures, key=lambda it: it[0])]
    (run.host_raw_dir("server") / f"{SLOT}.server.log").write_text("\n".join(server) + "\n")
    return run


def say_of_whole(run: Run, counts: str, instead: str) -> None:
    """Let the server's report of a whole stream say other counts; the one stream that has `counts`."""
    log = run.host_raw_dir("server") / f"{SLOT}.server.log"
    text = log.read_text()
    if text.count(f" {counts} ") != 1:
        raise ValueError(f"{log}: expected one line with {counts}, got {text.count(f' {counts} ')}")
    log.write_text(text.replace(f" {counts} ", f" {instead} "))


def _client(seconds: int, sent: int, connected: str) -> str:
    lines = [
        "-" * 60, f"Client connecting to {address(0, 'tunnel')}, UDP port 5001 with pid 12 (1 flows)",
        "TOS set to 0x0 (Nagle on)", f"Sending {SIZE} byte datagrams, IPG target: 9.0 us (kalman adjust)",
        "UDP buffer size:  208 KByte (default)", "-" * 60, f"[  1] {connected}",
        f"{_HEAD}Write/Err  PPS",
    ]  # fmt: skip
    spans = [*((second, second + 1) for second in range(seconds)), (0, seconds)]
    for begin, end in spans:
        size = sent * (end - begin) * SIZE
        lines.append(
            f"[  1] {begin:.4f}-{end:.4f} sec  {size} Bytes  {size * 8 / (end - begin):.0f} bits/sec  "
            f"{sent * (end - begin)}/0      {sent} pps"
        )
    return "\n".join([*lines, f"[  1] Sent {sent * seconds} datagrams"]) + "\n"


def _arrived(number: int, begin: int, end: int, lost: int, sent: int) -> str:
    size = (sent - lost) * SIZE
    return (
        f"[{number:3d}] {begin:.4f}-{end:.4f} sec  {size} Bytes  {size * 8 / (end - begin):.0f} bits/sec   "
        f"0.015 ms {lost}/{sent} ({100 * lost / sent:.2g}%) 0.018/0.002/0.140/0.022 ms "
        f"{(sent - lost) / (end - begin):.0f} pps {sent - lost}/0(0) pkts 21348"
    )
