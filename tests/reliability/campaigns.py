"""Campaigns in processes of their own, to be killed; and what is looked at afterwards."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from project_copy import copy_project

from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs import journal, progress
from perfkit.runs.folder import Run, list_runs

LIMIT_S = 400.0
POLL_S = 0.02
TABLES = ("tests", "clients", "server", "windows", "hosts")


def make_project(folder: Path) -> Path:
    """A project of its own: config/, resources/, notebooks/, and an empty runs/."""
    return copy_project(folder)


@dataclass
class Campaign:
    """One command that is given again and again: `perfkit run`, or papermill on the notebook."""

    project: Path
    name: str
    clients: int = 2
    notebook: bool = False
    isolation: str = "auto"
    tests: str = "all"
    provider: str = "local"

    @property
    def command(self) -> list[str]:
        chosen = {
            "clients": self.clients,
            "duration_s": 1,
            "name": self.name,
            "isolation": self.isolation,
            "tests": self.tests,
            "provider": self.provider,
        }
        if self.notebook:
            quiet = ["--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-"]
            options = [str(x) for key, value in chosen.items() for x in ("-p", key, value)]
            made = f"out-{self.name}.ipynb"
            return [sys.executable, "-m", "papermill", "campaign.ipynb", made, *options, *quiet]
        flags = [str(x) for k, v in chosen.items() for x in (f"--{k.replace('_', '-')}", v)]
        return [sys.executable, "-m", "perfkit.cli.app", "run", *flags]

    @property
    def log(self) -> Path:
        return self.project / f"{self.name}.out"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self.command,
                cwd=self.project / "notebooks",
                env={**os.environ, "PERFKIT_HOME": str(self.project)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def finish(self) -> float:
        """Give the command and wait for its good end; returns its seconds."""
        started = time.monotonic()
        process = self.start()
        status = process.wait(timeout=LIMIT_S)
        assert status == 0, self.log.read_text()[-3000:]
        return time.monotonic() - started

    def kill_after(self, turn: int, delay_s: float) -> bool:
        """Give the command and kill it, so long after that many turning points.

        False: it had ended before. Of a notebook the kernel is killed, not papermill.
        """
        before = self._turns()
        process = self.start()
        while self._turns() < before + turn and process.poll() is None:
            time.sleep(POLL_S)
        try:
            process.wait(timeout=delay_s)
        except subprocess.TimeoutExpired:
            os.kill(_kernel_of(process.pid) or process.pid, signal.SIGKILL)
            process.wait(timeout=LIMIT_S)
            return True
        return False

    def _turns(self) -> int:
        runs = self.runs()
        return len(turning_points(runs[-1])) if runs else 0

    def runs(self) -> list[Run]:
        found = list_runs(self.project / "runs")
        return [run for run in found if run.manifest()["name"] == self.name]


def turning_points(run: Run) -> list[float]:
    """When each phase began, the tests were armed, and the hosts released; epoch seconds."""
    if not run.journal_path.exists():
        return []
    kinds = ("phase-started", progress.ARMED, "released")
    events = journal.read(run.journal_path).events
    return [event.t_utc.timestamp() for event in events if event.kind in kinds]


def _kernel_of(pid: int) -> int | None:
    """The Jupyter kernel that a papermill process has started."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children = []
        with contextlib.suppress(OSError):  # a thread that has just ended
            children = task.read_text().split()
        for child in children:
            with contextlib.suppress(OSError):  # a child that has just ended
                if b"ipykernel" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return None


def left_of(run: Run) -> list[str]:
    """What still carries the run's tag on this machine."""
    provider = LocalProvider()
    return [*(host.name for host in provider.hosts(run.id)), *provider.residue(run.id)]


def rows_of(run: Run, table: str) -> list[dict[str, str]]:
    with (run.report_dir / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def shape_of(run: Run) -> list[tuple[str, ...]]:
    """What must not depend on a kill: the tests, who took part in them, and who failed."""
    columns = ("slot", "clients_expected", "clients_seen", "clients_failed")
    return [tuple(row[column] for column in columns) for row in rows_of(run, "tests")]


def tables_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.report_dir.glob("*.csv"))}


def tables_from_raw(run: Run, folder: Path) -> dict[str, bytes]:
    """The tables of a copy that has nothing but what was collected and the journal."""
    copy = Run(folder / run.id)
    shutil.copytree(run.root, copy.root, ignore=shutil.ignore_patterns("report", "tables"))
    copy.segments_path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "perfkit.cli.app", "report", str(copy.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tables_of(copy)


def recipes_repeated(run: Run) -> int:
    """How many recipes were begun on a host that had one done before."""
    repeated = 0
    for log in (run.root / "hosts").glob("*/configure.log"):
        marks = re.findall(r"recipe \w+: (begins|done)$", log.read_text(), re.MULTILINE)
        first_end = marks.index("done") if "done" in marks else len(marks)
        repeated += marks[first_end:].count("begins")
    return repeated


def times_armed(run: Run) -> int:
    """How often the tests of a run were started."""
    return sum(event.kind == "armed" for event in journal.read(run.journal_path).events)


def problems_of(campaign: Campaign, expected: Sequence[tuple[str, ...]]) -> list[str]:
    """What is not as an undisturbed campaign leaves it: one run, its tables, nothing twice."""
    runs = campaign.runs()
    if len(runs) != 1:
        return [f"{len(runs)} runs instead of one: {[run.id for run in runs]}"]
    (run,) = runs
    found = []
    if shape_of(run) != list(expected):
        found.append(f"other tables: {shape_of(run)}")
    if not (run.tables_dir / "tests.parquet").exists():
        found.append("no frames beside the tables")
    if left_of(run):
        found.append(f"left behind: {left_of(run)}")
    if recipes_repeated(run):
        found.append(f"{recipes_repeated(run)} recipes repeated")
    if times_armed(run) != 1:
        found.append(f"tests started {times_armed(run)} times")
    with tempfile.TemporaryDirectory() as folder:
        again = tables_from_raw(run, Path(folder))
    now = tables_of(run)
    found += [f"{name}: not what the raw logs give" for name in now if now[name] != again.get(name)]
    return found
