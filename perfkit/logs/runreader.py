"""A run folder's raw logs to `RunLogs`: finds the files, names their owners, sets the clocks."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import LogError, PerfkitError, RunError
from perfkit.logs import anchor, frames
from perfkit.logs.arrowtext import to_categories
from perfkit.logs.cache import Cache
from perfkit.logs.events import parse_record, to_frame
from perfkit.logs.format import Reading
from perfkit.logs.many import read_all
from perfkit.logs.registry import load
from perfkit.logs.runlogs import Clock, Finding, LogNote, RunLogs, SlotPlan, clocks_from
from perfkit.model import NetworkPath
from perfkit.runs import Run

_COUNTERS = (("monitor.csv", "dstat"), ("procstat.csv", "procstat"))


class RunReader:
    """Reads one run, once; collects what goes wrong on the way.

    Args:
        executor: Runs the parsing; None = `read_all` chooses.
        cache: Where parsed logs are kept; None = nowhere.
    """

    def __init__(
        self, run: Run, executor: Executor | None = None, cache: Cache | None = None
    ) -> None:
        self.run = run
        self._executor, self._cache = executor, cache
        self._found: dict[Path, Reading | LogError] = {}
        self.findings: list[Finding] = []
        self.logs: list[LogNote] = []
        self.messages: dict[tuple[str, str], str] = {}
        timetable = run.load_json(run.timetable_path)
        self.t0_utc_s = float(timetable["t0_utc_s"])
        self.slots = tuple(_slot(record) for record in timetable["slots"])
        columns = ["name", "role", "address", "tunnel_address", "state", "reason", "log"]
        self.hosts = pd.DataFrame(run.load_json(run.hosts_path), columns=columns).fillna("")
        self.names = [str(name) for name in self.hosts["name"]]
        self.server = next(
            (n for n, r in zip(self.names, self.hosts["role"], strict=True) if r == "server"), ""
        )
        self.clocks = self._clocks()

    def read(self) -> RunLogs:
        """All of it."""
        self._read_ahead()
        events = self._events()
        traffic, more = anchor.place(self._traffic(), events, self._clock, self.t0_utc_s)
        self.findings += more
        return RunLogs(
            run_id=self.run.id,
            manifest=self.run.manifest(),
            t0_utc_s=self.t0_utc_s,
            slots=self.slots,
            hosts=self.hosts,
            clocks=self.clocks,
            facts=self._facts(),
            events=events,
            traffic=traffic,
            monitor=self._counters("monitor.csv", "monitor"),
            process=self._counters("procstat.csv", "process"),
            messages=self.messages,
            logs=tuple(self.logs),
            findings=tuple(self.findings),
        )

    def _clock(self, host: str) -> Clock:
        return self.clocks.get(host, Clock())

    def _clocks(self) -> dict[str, Clock]:
        if not self.run.clocks_path.is_file():
            self.findings.append(
                Finding("clock", "clock offsets were not measured; all hosts are taken to agree")
            )
            return {}
        return clocks_from(self.run.load_json(self.run.clocks_path))

    def _events(self) -> pd.DataFrame:
        rows = []
        for name in self.names:
            for slot in self.slots:
                path = self.run.host_raw_dir(name) / f"{slot.name}.events.json"
                if not path.is_file():
                    continue
                try:
                    row = parse_record(load(path), path)
                except LogError as exc:
                    self._lost(path, exc)
                else:  # the folder and the file's name say whose it is; the text may be a copy
                    rows.append({**row, "host": name, "slot": slot.name})
        return to_frame(rows)

    def _traffic(self) -> pd.DataFrame:
        return frames.concat([self._slot_traffic(slot) for slot in self.slots], "run-traffic")

    def _slot_traffic(self, slot: SlotPlan) -> pd.DataFrame:
        """All traffic logs of a slot: each client's, and the server's about all of them."""
        names, found = [], []
        for name in self.names:
            path = self.run.host_raw_dir(name) / f"{slot.name}.log"
            reading = self._read(path) if name != self.server else None
            if reading is None:
                continue
            if reading.messages:
                self.messages[slot.name, name] = reading.messages[-1]
            names.append(name)
            found.append(reading.frame)
        sent = frames.concat(found, "traffic")
        # Added once for all logs: thousands of small frames would each pay for three columns.
        places = np.repeat(np.arange(len(found)), [len(frame) for frame in found])
        clients = to_categories(places, names)
        sent = _owned(sent, slot.name, clients, clients)
        received = self._server_log(slot)
        if received is None:
            return sent
        owners = self._owners(received, sent)
        nobodys = received.loc[(owners == "") & (received["stream"] >= 0), "stream"].nunique()
        if nobodys:
            text = f"{nobodys} streams at the server are from no client of this run"
            self.findings.append(Finding(slot.name, text))
        there = to_categories(np.zeros(len(received), dtype=np.int8), [self.server])
        owned = _owned(received, slot.name, pd.Categorical(owners.astype(str)), there)
        return frames.concat([sent, owned], "run-traffic")

    def _server_log(self, slot: SlotPlan) -> pd.DataFrame | None:
        if slot.server is not None or not self.server:
            return None
        path = self.run.host_raw_dir(self.server) / f"{slot.name}.server.log"
        if not path.is_file():
            text = "the server's log is missing: sender-side figures"
            self.findings.append(Finding(slot.name, text))
        reading = self._read(path)
        return None if reading is None else reading.frame

    def _owners(self, received: pd.DataFrame, sent: pd.DataFrame) -> NDArray[np.object_]:
        """The client of each row of a server's log: by both ends' ports, else by its address.

        Hosts that share one address (loopback) can only be told apart by the port.
        """
        streams = sent.drop_duplicates(["host", "stream"])
        ends = zip(streams["local_address"].astype("str"), streams["local_port"], strict=True)
        by_end = dict(zip(ends, streams["host"].astype("str"), strict=True))
        clients = self.hosts[self.hosts["role"] != "server"]
        pairs = [
            (str(address), str(name))
            for column in ("address", "tunnel_address")
            for address, name in zip(clients[column], clients["name"], strict=True)
            if address
        ]
        times_seen = Counter(address for address, _ in pairs)
        by_address = {address: name for address, name in pairs if times_seen[address] == 1}
        ends = zip(received["peer_address"].astype("str"), received["peer_port"], strict=True)
        names = [by_end.get(end) or by_address.get(end[0], "") for end in ends]
        return np.array(names, dtype=object)

    def _counters(self, file: str, kind: str) -> pd.DataFrame:
        found = []
        for name in self.names:
            path = self.run.host_raw_dir(name) / file
            reading = self._read(path)
            if reading is None or reading.frame.empty:
                continue
            offset = self._clock(name).offset_s(self.t0_utc_s)
            t_utc = reading.frame["t_utc"] - pd.Timedelta(seconds=offset)
            t_s = (t_utc - pd.Timestamp(self.t0_utc_s, unit="s", tz="UTC")).dt.total_seconds()
            host = to_categories(np.zeros(len(t_s), dtype=np.int8), [name])
            found.append(reading.frame.assign(host=host, t_utc=t_utc, t_s=t_s))
        frame = frames.concat(found, kind)
        return frame if "t_s" in frame else frame.assign(t_s=np.nan)

    def _facts(self) -> dict[str, dict[str, Any]]:
        facts = {}
        for name in self.names:
            path = self.run.host_raw_dir(name) / "facts.json"
            if not path.is_file():
                continue
            try:
                value = self.run.load_json(path)
            except RunError as exc:
                self._lost(path, exc)
            else:
                facts[name] = value if isinstance(value, dict) else {}
        return facts

    def _read_ahead(self) -> None:
        """All logs at once, so that all cores have work; what they are for is seen later."""
        tasks: list[tuple[Path, str | None]] = []
        for name in self.names:
            folder = self.run.host_raw_dir(name)
            kind = "server.log" if name == self.server else "log"
            tasks += [(folder / f"{slot.name}.{kind}", "iperf2") for slot in self.slots]
            tasks += [(folder / file, form) for file, form in _COUNTERS]
        tasks = [task for task in tasks if task[0].is_file()]
        paths = [path for path, _ in tasks]
        read = read_all(tasks, self._executor, self._cache)
        self._found = dict(zip(paths, read, strict=True))

    def _read(self, path: Path) -> Reading | None:
        reading = self._found.pop(path, None)
        if isinstance(reading, LogError):
            self._lost(path, reading)
            return None
        if reading is not None:
            self._note(reading)
        return reading

    def _note(self, reading: Reading) -> None:
        log = str(reading.path.relative_to(self.run.raw_dir))
        if reading.unparsed.count:
            self.findings.append(Finding(log, str(reading.unparsed)))
        for note in reading.notes:
            level: Literal["warning", "note"] = "warning" if reading.partial else "note"
            self.findings.append(Finding(log, note, level))
        self.logs.append(
            LogNote(
                log=log,
                format=reading.format,
                rows=len(reading.frame),
                unparsed=reading.unparsed.count,
                remark="; ".join((*reading.notes, *reading.messages)),
            )
        )

    def _lost(self, path: Path, error: PerfkitError) -> None:
        """A log or record that cannot be used is a finding."""
        log = str(path.relative_to(self.run.raw_dir))
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}:")
        self.findings.append(Finding(log, text))
        self.logs.append(LogNote(log=log, format="unread", rows=0, unparsed=0, remark=text))


def _slot(record: dict[str, Any]) -> SlotPlan:
    return SlotPlan(
        name=str(record["name"]),
        test=str(record["test"]),
        start_s=float(record["start_s"]),
        duration_s=float(record["duration_s"]),
        path=NetworkPath(record.get("path", "direct")),
        server=record.get("server"),
    )


def _owned(
    frame: pd.DataFrame, slot: str, clients: pd.Categorical[Any], log_hosts: pd.Categorical[Any]
) -> pd.DataFrame:
    """A log's own lines (sums repeat them) with the slot, the client and the log's host."""
    slots = to_categories(np.zeros(len(frame), dtype=np.int8), [slot])
    named = frame.assign(slot=slots, host=clients, log_host=log_hosts)
    own = named["kind"].isin(["interval", "summary"]).to_numpy(dtype=bool)
    return named[own]
