"""Synthetic run folders whose true figures are known, for tests: perfkit's and yours.

`make_run` writes a finished run as the phases would have left it: logs in the exact text of
iperf 2.1.8 and dool 1.3.8, event records, clocks, the sampler's CSV. What a perfect reader must
find is in `truth.json` beside them (`read_truth`). The same arguments write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perfkit.runs.folder import Run, write_json
from perfkit.testing.logtext import (
    CPU_S_PER_GBIT,
    GAP_S,
    NCPU,
    NIC_OVERHEAD,
    T0_UTC_S,
    SimulatedSlot,
    SimulatedStream,
    address,
    client_log,
    monitor_csv,
    procstat_csv,
    server_log,
)
from perfkit.units import BITS_PER_BYTE

Failure = Literal["refused", "absent", "killed", "quiet"]


def make_run(  # noqa: PLR0913 - one keyword a property of the run
    folder: Path,
    *,
    clients: int = 10,
    tests: Sequence[str] = ("direct-tcp", "tunnel-tcp"),
    seed: int = 0,
    duration_s: int = 10,
    rate_mbps: float = 900.0,
    tunnel_share: float = 0.5,
    client_cv: float = 0.15,
    cpu_s_per_gbit: float = CPU_S_PER_GBIT,
    t0_utc_s: float = T0_UTC_S,
    failed: Mapping[str, Failure] | None = None,
    clock_offset_s: Mapping[str, float] | None = None,
    missed_ticks: Sequence[int] = (),
    shared_cpu: bool = True,
) -> Run:
    """Write a run folder.

    Args:
        folder: Becomes the run's root; must not exist. Files are written there and nowhere else.
        tests: Names; those that begin with `tunnel` go through the tunnel.
        rate_mbps: Total goodput of a direct test.
        tunnel_share: What a tunnel carries of it.
        client_cv: How far clients' shares of the total differ: s.d. of their logarithms.
        cpu_s_per_gbit: Of the server's OpenVPN process, for each Gbit of goodput in the tunnel.
        t0_utc_s: When the tests began.
        failed: `refused`: nobody answered. `absent`: never came up, left no file. `killed`: lost
            half way through the last test. `quiet`: exit status 0, but not one byte.
        clock_offset_s: How far a host's clock is ahead of the controller's.
        missed_ticks: Seconds from T0 in which the server's monitor was too busy to write.

    Returns:
        The run, ready for `perfkit.logs.reader.read_run`.
    """
    folder.mkdir(parents=True)
    run, chance = Run(folder), np.random.default_rng(seed)
    names = [f"client-{number:03d}" for number in range(1, clients + 1)]
    failed, offsets = dict(failed or {}), dict(clock_offset_s or {})
    slots = _slots(tests, duration_s, cpu_s_per_gbit)
    shares = {"direct": rate_mbps / max(clients, 1)}
    shares["tunnel"] = shares["direct"] * tunnel_share
    for slot in slots:
        for number, host in enumerate(names):
            how = failed.get(host, "")
            if how in ("refused", "absent", "quiet"):
                continue
            killed, rate = how == "killed" and slot is slots[-1], (shares[slot.path], client_cv)
            slot.streams.append(_stream(host, number, slot, rate, chance, killed=killed))
    _write_plan(run, names, slots, failed, (seed, t0_utc_s), shared_cpu=shared_cpu)
    # The logs' own clocks count from one T0: another one is a clock that is ahead by the difference.
    stamped = {h: offsets.get(h, 0.0) + t0_utc_s - T0_UTC_S for h in ("server", *names)}
    for slot in slots:
        _write_slot(run, slot, names, failed, stamped, t0_utc_s)
    _write_counters(run, slots, chance, stamped["server"], missed_ticks)
    _write_clocks(run, ["server", *names], offsets, slots[-1], t0_utc_s)
    write_json(folder / "truth.json", _truth(slots, names, failed))
    _write_sums(run)
    return run


def _slots(tests: Sequence[str], duration_s: int, cpu_s_per_gbit: float) -> list[SimulatedSlot]:
    return [
        SimulatedSlot(
            name=f"{place:02d}-{test}",
            test=test,
            path="tunnel" if test.startswith("tunnel") else "direct",
            start_s=5.0 + (place - 1) * (duration_s + GAP_S),
            duration_s=float(duration_s),
            cpu_s_per_gbit=cpu_s_per_gbit,
        )
        for place, test in enumerate(tests, start=1)
    ]


def read_truth(run: Run) -> dict[str, Any]:
    """What a perfect reader finds: per slot the windows, the total goodput, and each client's."""
    return dict(json.loads((run.root / "truth.json").read_bytes()))


def _stream(
    host: str,
    number: int,
    slot: SimulatedSlot,
    share: tuple[float, float],
    chance: np.random.Generator,
    *,
    killed: bool,
) -> SimulatedStream:
    began = slot.start_s + float(chance.uniform(0.002, 0.180))
    connected = began + float(chance.uniform(0.006, 0.030))
    share_mbps, client_cv = share
    own_share = share_mbps * float(chance.lognormal(0.0, client_cv))
    seconds = int(slot.duration_s // 2) if killed else int(slot.duration_s)
    sizes = own_share * 1e6 / BITS_PER_BYTE * chance.lognormal(0.0, 0.08, seconds)
    tail = float(chance.uniform(0.02, 0.09))
    tail_bytes = sizes.mean() * tail * 0.8
    edges = np.round(np.append(np.arange(seconds + 1.0), seconds + tail), 4)
    return SimulatedStream(
        host=host,
        number=number,
        process_start_s=began,
        start_s=connected,
        edges_s=edges,
        size_bytes=np.append(sizes, tail_bytes).astype(np.int64),
        process_end_s=connected + float(edges[-1]) + float(chance.uniform(0.010, 0.050)),
        whole=not killed,
    )


def _write_plan(
    run: Run,
    names: Sequence[str],
    slots: Sequence[SimulatedSlot],
    failed: Mapping[str, Failure],
    made: tuple[int, float],
    *,
    shared_cpu: bool,
) -> None:
    seed, t0_utc_s = made
    write_json(
        run.manifest_path,
        {
            "format": 1,
            "run": run.id,
            "name": "synthetic",
            "created_utc": datetime.fromtimestamp(t0_utc_s - 60, UTC).isoformat(),
            "parameters": {"clients": len(names), "provider": "synthetic", "seed": seed},
            "provider_traits": {"shared_cpu": shared_cpu},
        },
    )
    hosts = [_host("server", "server", 0, "")]
    for number, name in enumerate(names, start=1):
        absent = failed.get(name) == "absent"
        hosts.append(_host(name, "client", number, "UnreachableError: no answer" if absent else ""))
    write_json(run.hosts_path, hosts)
    planned = [
        {
            "name": slot.name,
            "test": slot.test,
            "start_s": slot.start_s,
            "duration_s": slot.duration_s,
            "path": slot.path,
            "server": None,
            "remote_address": address(0, "direct"),
            "peer_address": address(0, "tunnel"),
        }
        for slot in slots
    ]
    write_json(run.timetable_path, {"t0_utc_s": t0_utc_s, "starter": "epoch", "slots": planned})


def _host(name: str, role: str, number: int, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "address": address(number, "direct"),
        "traffic_address": address(number, "direct"),
        "tunnel_address": address(number, "tunnel"),
        "state": "failed" if reason else "released",
        "reason": reason,
        "log": f"hosts/{name}/configure.log",
    }


def _write_slot(
    run: Run,
    slot: SimulatedSlot,
    names: Sequence[str],
    failed: Mapping[str, Failure],
    stamped: Mapping[str, float],
    t0_utc_s: float,
) -> None:
    streams = {stream.host: stream for stream in slot.streams}
    for host in names:
        if failed.get(host) == "absent":
            continue
        stream = streams.get(host)
        _write_text(run, host, f"{slot.name}.log", client_log(slot, stream, stamped[host]))
        record = _event_record(slot, host, stream, failed.get(host, ""), stamped[host])
        record |= {
            "planned_start_utc_s": t0_utc_s + slot.start_s,
            "planned_end_utc_s": t0_utc_s + slot.start_s + slot.duration_s,
        }
        write_json(run.host_raw_dir(host) / f"{slot.name}.events.json", record)
    text = server_log(slot, stamped["server"])
    _write_text(run, "server", f"{slot.name}.server.log", text)


def _event_record(
    slot: SimulatedSlot, host: str, stream: SimulatedStream | None, how: str, offset_s: float
) -> dict[str, Any]:
    began = slot.start_s + 0.02 if stream is None else stream.process_start_s
    ended = began + 0.05 if stream is None else stream.process_end_s
    lost = stream is not None and not stream.whole
    said = ended if stream is None else stream.start_s + float(stream.edges_s[-1])
    status = None if lost else (1 if how == "refused" else 0)
    return {
        "slot": slot.name,
        "host": host,
        "starter": "epoch",
        "start_utc_s": round(T0_UTC_S + began + offset_s, 3),
        "last_output_utc_s": round(T0_UTC_S + min(said + 0.01, ended) + offset_s, 3),
        "end_utc_s": None if lost else round(T0_UTC_S + ended + offset_s, 3),
        "exit_status": status,
        "timed_out": False,
    }


def _write_counters(
    run: Run,
    slots: Sequence[SimulatedSlot],
    chance: np.random.Generator,
    offset_s: float,
    missed: Sequence[int],
) -> None:
    """The server's monitor.csv, procstat.csv and facts.json."""
    _write_text(run, "server", "monitor.csv", monitor_csv(slots, chance, offset_s, missed))
    _write_text(run, "server", "procstat.csv", procstat_csv(slots, offset_s))
    facts = {
        "kernel": "6.1.0-18-amd64",
        "ncpu": NCPU,
        "memory_bytes": 8 * 2**30,
        "os": "Debian GNU/Linux 12 (bookworm)",
        "vpn_version": "2.6.3",
        "iperf_version": "2.1.8",
        "python_version": "3.11.2",
    }
    write_json(run.host_raw_dir("server") / "facts.json", facts)


def _write_clocks(
    run: Run,
    hosts: Sequence[str],
    offsets: Mapping[str, float],
    last: SimulatedSlot,
    t0_utc_s: float,
) -> None:
    moments = {"before": t0_utc_s - 5, "after": t0_utc_s + last.start_s + last.duration_s + 10}
    records = [
        {
            "host": host,
            "when": when,
            "measured_utc_s": moment,
            "offset_s": offsets.get(host, 0.0),
            "bound_s": 0.0006,
        }
        for host in hosts
        for when, moment in moments.items()
    ]
    write_json(run.clocks_path, records)


def _truth(
    slots: Sequence[SimulatedSlot], names: Sequence[str], failed: Mapping[str, Failure]
) -> dict[str, Any]:
    found = {}
    for slot in slots:
        counted = [stream for stream in slot.streams if stream.whole]
        begin = max(stream.process_start_s for stream in counted)
        ends = [min(s.process_end_s, s.process_start_s + slot.duration_s) for s in counted]
        end = min(ends)
        window = np.array([begin, end])
        per_client = {
            stream.host: float(
                SimulatedSlot("", "", "", 0, 0, [stream]).bytes_between(window)[0]
                * BITS_PER_BYTE
                / (end - begin)
            )
            for stream in counted
        }
        found[slot.name] = {
            "outer_s": [
                min(stream.process_start_s for stream in counted),
                max(stream.process_end_s for stream in counted),
            ],
            "steady_s": [begin, end],
            "goodput_bps": sum(per_client.values()),
            "per_client_bps": per_client,
            "failed": sorted(set(names) - set(per_client)),
            "nic_ratio": NIC_OVERHEAD[slot.path],
            "cpu_s_per_gbit": slot.cpu_s_per_gbit if slot.path == "tunnel" else 0.0,
        }
    return {"slots": found, "failed": dict(failed)}


def _write_text(run: Run, host: str, name: str, text: str) -> None:
    path = run.host_raw_dir(host) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_sums(run: Run) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(run.raw_dir)}"
        for path in sorted(run.raw_dir.rglob("*"))
        if path.is_file()
    ]
    run.sums_path.write_text("\n".join(lines) + "\n")
