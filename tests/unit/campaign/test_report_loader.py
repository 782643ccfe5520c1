"""A report's modules come in while the last clients end; the run does not depend on it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from campaign_lab import Lab

from perfkit.campaign import measuring, offline, phases
from perfkit.campaign import session as sessions
from perfkit.campaign.measuring import measure as really_measure
from perfkit.campaign.report_loader import ReportLoader
from perfkit.campaign.session import Session
from perfkit.errors import StageError
from perfkit.fleet.provider import ReleaseReport
from perfkit.model import HostResult, StageResult
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

PROGRAM = """
import json, sys
from pathlib import Path
from perfkit.campaign.report_loader import ReportLoader
from perfkit.runs.folder import Run

loader = ReportLoader()
loader.begin()
loader.wait()
before = {name.partition(".")[0] for name in sys.modules}
from perfkit.campaign.offline import segment_and_report
segment_and_report(Run(Path(sys.argv[1])))
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([sorted(before), sorted(after - before - set(sys.stdlib_module_names))]))
"""


def test_a_report_needs_no_package_that_was_not_loaded_ahead(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2, duration_s=5)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run.root)], capture_output=True, text=True, check=True
    )
    before, later = json.loads(done.stdout.splitlines()[-1])
    assert {"pandas", "matplotlib", "openpyxl", "pyarrow", "jinja2"} <= set(before)
    assert later == []


def test_what_cannot_be_imported_is_left_to_who_needs_it() -> None:
    loader = ReportLoader(["perfkit.there_is_none"])
    loader.begin()
    loader.wait()
    assert "perfkit.there_is_none" not in sys.modules


def test_a_module_that_fails_does_not_keep_the_next_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loader_breaks.py").write_text("raise OSError('the disk')")
    (tmp_path / "loader_works.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    loader = ReportLoader(["loader_breaks", "loader_works"])
    loader.begin()
    loader.begin()
    loader.wait()
    assert "loader_breaks" not in sys.modules
    assert sys.modules.pop("loader_works")


def test_without_a_further_thread_nothing_is_loaded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    loader = ReportLoader()
    loader.begin()
    loader.wait()


def test_it_begins_when_the_first_quarter_of_the_hosts_has_ended_its_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()

    class AllWell:
        """A measurement of hosts on which all goes well."""

        def __init__(self, **of: Any) -> None:
            self.hosts, self.hooks = of["hosts"], of["hooks"]

        def measure(self) -> StageResult:
            for name in ("ready", "arm", "finish"):
                for host in self.hosts:
                    said.append(f"{name} {host.name}")
                    self.hooks.on_result(name, HostResult(host=host.name, ok=True))
            return StageResult(stage="measure")

    lab = Lab(tmp_path, monkeypatch)
    monkeypatch.setattr(measuring, "Measurement", AllWell)
    run = lab.launch(clients="2", repetitions=1)
    with sessions.attach(run.root.parent, run.id) as session:
        really_measure(session, meanwhile=lambda: said.append("meanwhile"))
    assert said.count("meanwhile") == 1
    assert said.index("meanwhile") == 7
    assert said[6].startswith("finish ")


class Steps:
    """What `run_all` does, in its order, on a run without hosts."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said = list[str]()
        parameters = SimpleNamespace(executor="")
        self.session = SimpleNamespace(
            run=run, spared="", is_campaign=False, settings=SimpleNamespace(parameters=parameters)
        )
        for name in ("launch", "configure", "collect", "conclude"):
            monkeypatch.setattr(phases, name, lambda *_, name=name: self.said.append(name))
        monkeypatch.setattr(phases, "measure", self.measure)
        monkeypatch.setattr(phases, "release", self.release)
        monkeypatch.setattr(phases, "ReportLoader", lambda: self)
        monkeypatch.setattr(
            offline, "segment_and_report", lambda *_, **__: self.said.append("report")
        )

    def measure(self, _session: Session, *, meanwhile: Callable[[], None]) -> None:
        self.said.append("measure")
        meanwhile()

    def release(self, _session: Session) -> ReleaseReport:
        self.said.append("release")
        return ReleaseReport()

    def begin(self) -> None:
        self.said.append("begin")

    def wait(self) -> None:
        self.said.append("wait")

    def run_all(self) -> None:
        phases.run_all(cast("Session", self.session))


def test_the_report_waits_for_what_is_being_loaded_and_the_release_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(Run(tmp_path), monkeypatch)
    steps.run_all()
    assert steps.said == [
        *("launch", "configure", "measure", "begin", "collect", "release"),
        *("wait", "report", "conclude"),
    ]


def test_a_run_that_fails_releases_its_hosts_and_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(Run(tmp_path), monkeypatch)

    def fail(_session: Session) -> None:
        raise StageError("collect: no client", ())

    monkeypatch.setattr(phases, "collect", fail)
    with pytest.raises(StageError, match="no client"):
        steps.run_all()
    assert steps.said == ["launch", "configure", "measure", "begin", "release"]
