"""A campaign on hosts that are imagined: what they were ordered to do outlives the process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory_provider import MemoryProvider

from perfkit.analysis import campaign_cells
from perfkit.campaign import campaign_run, measuring, replacements, void_rules
from perfkit.campaign import session as sessions
from perfkit.campaign.block_session import BlockSession
from perfkit.campaign.blocks import BlockLog
from perfkit.campaign.campaign_run import CampaignRun
from perfkit.campaign.campaign_view import CampaignView
from perfkit.campaign.session import Session
from perfkit.errors import StageError
from perfkit.model import Host, HostResult, HostState, Role, StageResult
from perfkit.runs import design, folder, journal, progress
from perfkit.settings import parameters as settings

TESTS_CONF = "[direct-tcp]\nduration = 10\n"


class Killed(BaseException):
    """What `kill -9` is to a process: nothing of it runs any more."""


@dataclass
class Writes:
    """Everything that is written, up to the place where the process is killed.

    Attributes:
        place: Counted from 1; even ones are after a write, odd ones in its middle. 0: nowhere.
    """

    place: int = 0
    seen: int = 0
    is_dead: bool = False

    def pass_by(self, whole: Callable[[], None], part: Callable[[], None]) -> None:
        if self.is_dead:
            raise Killed
        self.seen += 1
        if (self.place + 1) // 2 != self.seen:
            whole()
            return
        self.is_dead = True
        (part if self.place % 2 else whole)()
        raise Killed


@dataclass
class Hosts:
    """The imagined hosts: which block's orders they have, and whose tests they were given."""

    ordered: str = ""
    begun: Counter[str] = field(default_factory=Counter)
    over: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)  # cannot be told to stop
    lost: Callable[[BlockSession], str] = lambda _block: ""  # why one is not ready

    def measure(self, block: BlockSession, **_: Any) -> StageResult:
        name = block.run.root.name
        if why := self.lost(block):
            raise StageError(f"ready: {why}", ())
        if not block.progress().armed:
            assert not self.ordered, f"{self.ordered} would run beside {name}"
            self.ordered = name
            self.begun[name] += 1
            folder.write_json(block.run.timetable_path, {"t0_utc_s": 1.8e9, "slots": []})
            for record in block.inventory.records():
                block.inventory.move(record.name, HostState.ARMED)
            block.journal.append(progress.ARMED, t0_utc_s=1.8e9)
        assert self.ordered in (name, "")
        self.over.add(name)
        self.ordered = ""
        return StageResult(stage="measure")

    def stop(self, hosts: list[Host], **_: Any) -> StageResult:
        self.ordered = ""
        results = [
            HostResult(host=h.name, ok=h.name not in self.deaf, reason="silent") for h in hosts
        ]
        return StageResult(stage="stop", results=results)


def void_at_first(block: folder.Run, _logs: object, _rules: object) -> tuple[str, str] | None:
    """The first attempt with two clients is void."""
    manifest = block.manifest()
    is_void = manifest["parameters"]["clients"] == 2 and manifest["attempt"] == 1
    return ("other-load", "busy") if is_void and manifest["repetition"] == 1 else None


class Lab:
    """A configured fleet without a host, and campaigns on it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.provider = root, MemoryProvider()
        self.writes, self.hosts, self.ticks = Writes(), Hosts(), 5
        self.said: list[str] = []
        self.judge_hosts = replacements.judge_hosts  # as it is; the lab's own hosts are all well
        monkeypatch.setenv("PERFKIT_HOME", str(root))
        monkeypatch.setattr(sessions, "get_provider", lambda *_, **__: self.provider)
        self._make_project()
        self._imagine(monkeypatch)

    def _make_project(self) -> None:
        (self.root / "config").mkdir()
        (self.root / "config" / "tests.conf").write_text(TESTS_CONF)
        scripts = self.root / "resources" / "tests"
        scripts.mkdir(parents=True)
        (self.root / "resources" / "fabfile.py").touch()
        (scripts / "direct-tcp").write_text("#!/bin/sh\n")
        (scripts / "direct-tcp").chmod(0o755)

    def _imagine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # private: every write passes here, and a killed process makes no other
        whole, beside = journal._write_whole, folder._write_beside

        def write_line(fd: int, data: bytes) -> None:
            half = data[: len(data) // 2]
            self.writes.pass_by(lambda: whole(fd, data), lambda: (os.write(fd, half), None)[1])

        def write_file(path: Path, data: bytes, mode: int) -> None:
            self.writes.pass_by(lambda: beside(path, data, mode), lambda: None)

        monkeypatch.setattr(journal, "_write_whole", write_line)  # private: as above
        monkeypatch.setattr(folder, "_write_beside", write_file)  # private: as above
        monkeypatch.setattr(os, "fdatasync", lambda _fd: None)
        monkeypatch.setattr(os, "fsync", lambda _fd: None)
        monkeypatch.setattr(measuring, "measure", self._measure)
        monkeypatch.setattr(measuring, "collect", lambda _block: StageResult(stage="collect"))
        monkeypatch.setattr(sessions, "await_greeting", lambda _host, _timeout_s: None)
        monkeypatch.setattr(campaign_run, "stop_hosts", self._stop)
        monkeypatch.setattr(void_rules, "why_void", void_at_first)
        monkeypatch.setattr(void_rules, "idle_busy_pct", lambda _logs: (1.5, self.ticks))
        # private: imagined blocks have no tests whose end could be known
        monkeypatch.setattr(campaign_run, "_seconds", lambda _block, _claim: 1.0)
        monkeypatch.setattr(campaign_run, "read_run", lambda _block: None)
        monkeypatch.setattr(campaign_cells, "rows_of_block", lambda *_: [])
        monkeypatch.setattr(replacements, "judge_hosts", lambda *_: None)
        monkeypatch.setattr(CampaignView, "line", lambda _view, text: self.said.append(text))

    def _measure(self, block: BlockSession, **more: Any) -> StageResult:
        return self.hosts.measure(block, **more)

    def _stop(self, hosts: list[Host], **more: Any) -> StageResult:
        return self.hosts.stop(hosts, **more)

    def launch(self, **chosen: object) -> folder.Run:
        """A campaign whose hosts are configured."""
        asked = {"clients": "1,2", "repetitions": 2, "name": "demo", "seed": 3} | chosen
        with sessions.open_new(settings.load(asked)) as session:
            for name, role in (
                ("server", Role.SERVER),
                *((f"client-00{n}", Role.CLIENT) for n in (1, 2)),
            ):
                session.inventory.add(name, role)
                host = Host(name=name, role=role, address="198.18.0.9", host_key="ssh-ed25519 AAAA")
                session.inventory.move(name, HostState.CONFIGURED, host=host)
            self.provider.put(session.run.id, "server", "client-001", "client-002")
            return session.run

    def go_on(self, run: folder.Run) -> BlockLog:
        """What a process makes of the campaign until it ends or is killed."""
        with sessions.attach(run.root.parent, run.id) as session, session.phase("measure"):
            return self.campaign(session).run()

    def campaign(self, session: Session) -> CampaignRun:
        """The campaign of an open session; a host that is made anew is configured at once."""

        def configure() -> None:
            for host in session.inventory.hosts(HostState.REACHABLE):
                session.inventory.move(host.name, HostState.CONFIGURED)

        plan = design.load(session.run)
        return CampaignRun(session, plan, CampaignView(session, plan), configure)
