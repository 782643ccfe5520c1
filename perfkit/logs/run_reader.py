"""A run folder's raw logs to `RunLogs`: finds the files, names their owners, sets the clocks."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from perfkit import untrusted
from perfkit.errors import LogError, PerfkitError, UnknownFormatError, UntrustedError
from perfkit.logs import frames, slot_traffic, time_line
from perfkit.logs.arrow_text import to_categories
from perfkit.logs.cache import Cache
from perfkit.logs.clock_alignment import place
from perfkit.logs.events import parse_record, to_frame
from perfkit.logs.format import Reading
from perfkit.logs.links import LinkLog, read_links
from perfkit.logs.parallel import read_all
from perfkit.logs.registry import load
from perfkit.logs.run_logs import (
    VPN_KINDS,
    Clock,
    Finding,
    LogNote,
    Notice,
    RunLogs,
    SlotPlan,
    VpnLogs,
    clocks_from,
    grouped,
    slot_from,
)
from perfkit.runs.folder import Run
from perfkit.runs.vpn_record import current_facts, vpn_of
from perfkit.units import format_size

_COUNTERS = (
    ("monitor.csv", "dstat"),
    ("procstat.csv", "procstat"),
    ("queues.csv", "queuestat"),
    ("nic.csv", "nicstat"),
)
_LONGEST_MESSAGE = 200
# What perfkit's own starter puts in the place of a test's log: why there was no test.
_OWN_WORDS = re.compile(rb"\S+Z run-slot: ([^\n]{1,200})\n")


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
        self._samples: list[time_line.Owned] = []
        self._sampled_in: list[str] = []  # the slot of each of them
        timetable = run.load_json(run.timetable_path)
        self.t0_utc_s = float(timetable["t0_utc_s"])
        self.slots = tuple(slot_from(record) for record in timetable["slots"])
        addresses = ["address", "traffic_address", "tunnel_address"]
        columns = ["name", "role", "machine", *addresses, "state", "reason", "log"]
        hosts = run.load_json(run.hosts_path)  # those of earlier versions lack some of them
        self.hosts = pd.DataFrame(hosts, columns=columns, dtype=object).fillna("")
        self.names = [str(name) for name in self.hosts["name"]]
        self.server = next(
            (n for n, r in zip(self.names, self.hosts["role"], strict=True) if r == "server"), ""
        )
        self.clocks = self._clocks()
        self._vpn_logs = vpn_of(run.manifest()).logs  # told apart by content

    def read(self) -> RunLogs:
        """All of it."""
        self._read_ahead()
        self._note_parts()
        events = self._events()
        traffic, more = place(self._traffic(), events, self._clock, self.t0_utc_s, self.slots)
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
            queues=self._counters("queues.csv", "queues"),
            limits=self._counters("nic.csv", "limits"),
            vpn=self._vpn(),
            samples=self._sampled(),
            messages={place: untrusted.one_line(text) for place, text in self.messages.items()},
            logs=tuple(replace(it, remark=untrusted.one_line(it.remark)) for it in self.logs),
            findings=tuple(grouped([_for_eyes(finding) for finding in self.findings])),
            interrupted=self._interrupted(),
            links=self._links(),
            server_exits=self._server_exits(),
        )

    def _links(self) -> LinkLog:
        path = self.run.links_path
        try:
            return read_links(path) if path.is_file() else LinkLog()
        except LogError as exc:
            return LinkLog(not_read=untrusted.one_line(str(exc))[:2000])

    def _interrupted(self) -> dict[str, Notice]:
        path = self.run.interruptions_path
        if not path.is_file():
            return {}
        return {
            str(row["host"]): Notice(
                noticed_utc_s=float(row["noticed_utc_s"]), reason=str(row["reason"])
            )
            for row in self.run.load_json(path)
        }

    def _clock(self, host: str) -> Clock:
        return self.clocks.get(host, Clock())

    def _clocks(self) -> dict[str, Clock]:
        if not self.run.clocks_path.is_file():
            self.findings.append(
                Finding("clock", "clock offsets were not measured: all clocks are taken as exact")
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

    def _server_exits(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        names = [(slot.name, name) for slot in self.slots for name in slot.server_names]
        for slot, name in names if self.server else ():
            path = self.run.host_raw_dir(self.server) / f"{name}.events.json"
            if not path.is_file():
                continue
            try:
                status = parse_record(load(path), path)["exit_status"]
            except LogError as exc:
                self._lost(path, exc)
            else:
                found.setdefault(slot, []).extend([] if np.isnan(status) else [int(status)])
        return found

    def _traffic(self) -> pd.DataFrame:
        return frames.concat([self._slot_traffic(slot) for slot in self.slots], "run-traffic")

    def _slot_traffic(self, slot: SlotPlan) -> pd.DataFrame:
        """The traffic in a slot's logs: each client's, and the servers' about all of them.

        Logs of samples are kept aside.
        """
        names, found, assumed = [], [], 0
        for name in self.names:
            path = self.run.host_raw_dir(name) / f"{slot.name}.log"
            reading = self._read_test_log(path, slot.name) if name != self.server else None
            if reading is None:
                continue
            if reading.messages:
                self.messages[slot.name, name] = reading.messages[-1]
            if self._keep_samples(reading, slot, name):
                continue
            names.append(name)
            found.append(slot_traffic.with_sides(reading, of_server=False))
            assumed += found[-1] is not reading.frame
        sent = slot_traffic.of_clients(slot.name, names, found)
        received = []
        for reading in self._server_logs(slot):
            if not self._keep_samples(reading, slot, self.server):
                received.append(slot_traffic.with_sides(reading, of_server=True))
                assumed += received[-1] is not reading.frame
        if received:
            told = self._received(slot, slot_traffic.of_all_servers(received), sent)
            sent = frames.concat([sent, told], "run-traffic")
        if assumed:
            text = f"the format of {assumed} logs {slot_traffic.SIDE_ASSUMED}"
            self.findings.append(Finding(slot.name, text, "note"))
        return sent

    def _received(self, slot: SlotPlan, received: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
        clients = self.hosts[self.hosts["role"] != "server"]
        named = slot_traffic.owners(received, sent, clients)
        nobodys = received.loc[(named == "") & (received["stream"] >= 0), "stream"].nunique()
        if nobodys:
            text = f"{nobodys} streams at the server are not from a client of this run"
            self.findings.append(Finding(slot.name, text))
        return slot_traffic.of_server(slot.name, self.server, received, named)

    def _server_logs(self, slot: SlotPlan) -> list[Reading]:
        if slot.server is not None or not self.server:
            return []
        read = []
        for name in slot.server_names:
            path = self.run.host_raw_dir(self.server) / f"{name}.log"
            silent = not slot.server_script or (path.is_file() and not path.stat().st_size)
            if silent and not slot.kind.has_traffic:  # its figures are what the clients observed
                self._found.pop(path, None)
                continue
            if not path.is_file():
                text = "the server's log is missing: figures are from the clients' logs"
                if not slot.server_script:
                    why = "the test has no server script, so there is no server log"
                    text = f"{why}: figures are from the clients' logs"
                elif slot.servers > 1:
                    text = (
                        f"{name}.log is missing: what arrived there only its clients' logs can say"
                    )
                self.findings.append(Finding(slot.name, text))
            reading = self._read_test_log(path, slot.name)
            read += [] if reading is None else [reading]
        return read

    def _keep_samples(self, reading: Reading, slot: SlotPlan, name: str) -> bool:
        """Whether a log of a test holds samples, which are kept."""
        if reading.kind != slot_traffic.SAMPLES:
            return False
        if len(reading.frame):
            self._samples.append((name, reading.frame))
            self._sampled_in.append(slot.name)
        return True

    def _read_test_log(self, path: Path, slot: str) -> Reading | None:
        """A test's log of whatever format; of one that is none, its last line is the message."""
        unknown = isinstance(self._found.get(path), UnknownFormatError)
        if unknown and (own := _OWN_WORDS.fullmatch(load(path))):
            del self._found[path]
            self.messages[slot, path.parent.name] = own[1].decode("utf-8", "replace")
            return None
        reading = self._read(path)
        try:
            if reading is not None:
                return slot_traffic.checked(reading)
        except LogError as exc:
            self._lost(path, exc)
            unknown = True
        if unknown:
            last = load(path).rstrip().rsplit(b"\n", 1)[-1][:_LONGEST_MESSAGE]
            self.messages[slot, path.parent.name] = last.decode("utf-8", "replace").strip()
        return None

    def _sampled(self) -> pd.DataFrame:
        if not self._samples:
            return frames.empty(slot_traffic.SAMPLES).assign(slot="", host="", t_s=np.nan)
        names = list(dict.fromkeys(self._sampled_in))
        places = [names.index(slot) for slot in self._sampled_in]
        rows = [len(frame) for _, frame in self._samples]
        joined = self._on_time_line(slot_traffic.SAMPLES, self._samples)
        return joined.assign(slot=to_categories(np.repeat(places, rows), names))

    def _counters(self, file: str, kind: str) -> pd.DataFrame:
        found = []
        for name in self.names:
            reading = self._read(self.run.host_raw_dir(name) / file)
            if reading is not None and len(reading.frame):
                found.append((name, reading.frame))
        return self._on_time_line(kind, found) if found else frames.empty(kind).assign(t_s=np.nan)

    def _on_time_line(self, kind: str, logs: list[time_line.Owned]) -> pd.DataFrame:
        """Rows of hosts with their names and their time from T0, their clocks corrected."""

        def offset_s(name: str) -> float:
            return self._clock(name).offset_s(self.t0_utc_s)

        return time_line.placed(kind, logs, offset_s, self.t0_utc_s)

    def _vpn(self) -> VpnLogs:
        """What the VPN said on every host: its status or statistics, and its log."""
        found: dict[str, list[time_line.Owned]] = {kind: [] for kind in VPN_KINDS}
        for name in self.names:
            for file in self._vpn_logs:
                path = self.run.host_raw_dir(name) / file
                reading = self._read(path, quietly=True)
                if reading is None:
                    continue
                if reading.kind in found:
                    found[reading.kind].append((name, reading.frame))
                else:
                    self._lost(path, LogError(path, f"{reading.format}, not a log of a VPN"))
        joined = {
            kind.removeprefix("vpn-"): self._on_time_line(kind, logs)
            for kind, logs in found.items()
            if any(len(frame) for _, frame in logs)
        }
        return VpnLogs(**joined)

    def _facts(self) -> dict[str, dict[str, Any]]:
        facts = {}
        for name in self.names:
            path = self.run.host_raw_dir(name) / "facts.json"
            if not path.is_file():
                continue
            try:
                facts[name] = current_facts(untrusted.parse_record(load(path), untrusted.FACTS))
            except UntrustedError as exc:
                self._lost(path, LogError(path, str(exc)))
            except LogError as exc:
                self._lost(path, exc)
        return facts

    def _read_ahead(self) -> None:
        """All logs at once, so that all cores have work; what they are for is seen later."""
        tasks: list[tuple[Path, str | None]] = []
        for name in self.names:
            folder = self.run.host_raw_dir(name)
            for slot in self.slots:
                stems = slot.server_names if name == self.server else (slot.name,)
                tasks += [(folder / f"{stem}.log", None) for stem in stems]
            tasks += [(folder / file, form) for file, form in _COUNTERS]
            tasks += [(folder / file, None) for file in self._vpn_logs]
        tasks = [task for task in tasks if task[0].is_file()]
        paths = [path for path, _ in tasks]
        read = read_all(tasks, self._executor, self._cache)
        self._found = dict(zip(paths, read, strict=True))

    def _read(self, path: Path, *, quietly: bool = False) -> Reading | None:
        """A log that was read ahead; None when it is not there, or lost, which is then noted.

        Args:
            quietly: Its notes, where it is whole, are for the table of logs only.
        """
        reading = self._found.pop(path, None)
        if isinstance(reading, LogError):
            self._lost(path, reading)
            return None
        if reading is not None:
            self._note(reading, quietly=quietly)
        return reading

    def _note(self, reading: Reading, *, quietly: bool) -> None:
        log = str(reading.path.relative_to(self.run.raw_dir))
        if reading.unparsed.count:
            self.findings.append(Finding(log, str(reading.unparsed)))
        for note in reading.notes if reading.partial or not quietly else ():
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

    def _note_parts(self) -> None:
        """Logs whose collection broke off: their beginnings are kept, and used for nothing."""
        for name in self.names:
            for part in sorted(self.run.host_raw_dir(name).glob(".*.part")):
                log = f"{name}/{part.name[1:].removesuffix('.part')}"
                size = format_size(part.stat().st_size)
                text = f"only the first {size} were collected; they are kept but not used"
                self.findings.append(Finding(log, text))
                self.logs.append(
                    LogNote(log=log, format="partial", rows=0, unparsed=0, remark=text)
                )

    def _lost(self, path: Path, error: PerfkitError) -> None:
        """A log or record that cannot be used is a finding."""
        log = str(path.relative_to(self.run.raw_dir))
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path}:")
        self.findings.append(Finding(log, text))
        self.logs.append(LogNote(log=log, format="unread", rows=0, unparsed=0, remark=text))


def _for_eyes(finding: Finding) -> Finding:
    """A finding that may quote a log."""
    return replace(finding, text=untrusted.one_line(finding.text))
