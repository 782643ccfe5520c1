"""Is this machine ready? Each need of perfkit, whether it is there, and the command that mends it.

The programs come from `needs.tsv`, which scripts/setup reads as well. What is only needed for
hosts in namespaces (root, tunnels) is not a fault where there is no privilege: local hosts on
loopback work without, and the verdict says so.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.resources
import importlib.util
import os
import re
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from perfkit.errors import PerfkitError, ProviderError
from perfkit.fleet.local import namespaces, tools
from perfkit.report.tables import ReportTable, in_cell
from perfkit.settings.levels import MAX_CLIENTS
from perfkit.settings.project import project_dir
from perfkit.units import format_size

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on the PATH of Debian's users
MEMORY_PER_CLIENT_BYTES = 12 * 2**20  # an idle host's 5 MB, its OpenVPN client and iperf
DISK_BYTES = 2**30  # logs, tables and plots of some hundred clients
IPERF_PORT = 5001  # iperf 2's own
OPEN_FILES = 1024  # a connection, its streams and a log for each of some hundred hosts


class State(StrEnum):
    """What a finding means for a campaign."""

    OK = "ok"
    LIMITED = "limited"  # some things cannot be done: the row says which
    MISSING = "MISSING"


_MARKS = {State.OK: "✓", State.LIMITED: "△", State.MISSING: "✗"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One line of needs.tsv: a program, module or library and its package; "-": there is none."""

    program: str
    apt: str
    dnf: str
    conda: str
    needed_for: str  # "all" hosts, those in "namespaces", "setup", "extras" or "tests"
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One need and what was found; `remedy` is a command, or a sentence where none can do it."""

    need: str
    why: str
    found: str
    state: State
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All findings of one look at this machine."""

    findings: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Nothing is missing; some things may be limited."""
        return all(finding.state is not State.MISSING for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence."""
        limited = [f.need for f in self.findings if f.state is State.LIMITED]
        missing = [f.need for f in self.findings if f.state is State.MISSING]
        if missing:
            return f"Not ready; missing: {', '.join(missing)}. scripts/setup installs what it may."
        if limited:
            return f"Ready, within limits: {', '.join(limited)}."
        return "Ready for local hosts with tunnels."

    def __str__(self) -> str:
        rows = [("need", "state", "why", "found"), *map(_columns, self.findings)]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = []
        for number, row in enumerate(rows):
            cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
            lines.append("  ".join([*cells, row[3]]).rstrip())
            if number and self.findings[number - 1].remedy:
                lines.append(f"  -> {self.findings[number - 1].remedy}")
        return "\n".join([*lines, "", self.verdict])

    def _repr_html_(self) -> str:
        gaps = [(*_columns(f, _MARKS), f.remedy) for f in self.findings if f.state is not State.OK]
        met = [_columns(f, _MARKS) for f in self.findings if f.state is State.OK]
        count = f"{len(met)} need{'s are' if len(met) > 1 else ' is'} met"
        heads = ("need", "state", "why", "found", "remedy")
        opened = [ReportTable.of_texts("gaps", heads, gaps)] if gaps else []
        closed = {count: ReportTable.of_texts("met", heads[:4], met)} if met else {}
        return in_cell(opened, self.verdict, closed)


def _columns(finding: CheckResult, marks: Mapping[State, str] | None = None) -> tuple[str, ...]:
    mark = f"{marks[finding.state]} " if marks else ""
    return finding.need, f"{mark}{finding.state}", finding.why, finding.found


def _judged(
    need: str, why: str, found: str, *, ok: bool, remedy: str, otherwise: State = State.LIMITED
) -> CheckResult:
    """A need that is met, or else is limited or missing and has a remedy."""
    state = State.OK if ok else otherwise
    return CheckResult(need=need, why=why, found=found, state=state, remedy="" if ok else remedy)


def load_needs() -> tuple[Need, ...]:
    """The table of programs, in its order."""
    text = importlib.resources.files("perfkit").joinpath("needs.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    names = ("program", "apt", "dnf", "conda", "needed_for", "why")
    return tuple(Need(**dict(zip(names, row, strict=True))) for row in rows)


def examine(*, project: Path | None = None, search_path: str | None = None) -> Examination:
    """Look at this machine; takes about a second.

    Side effects: as root (or with passwordless sudo) the namespaces of one host are made and
    ended; a temporary file is written to runs/ and removed.

    Args:
        project: The project's folder; None: found as the settings find it.
        search_path: Where programs are looked for; None: $PATH and the sbin folders.
    """
    path = search_path or f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    obstacle = namespaces.why_not()
    return Examination(
        findings=(
            _python(),
            *_packages(),
            *_privileges(obstacle),
            *(
                _program(need, path, rooted=obstacle is None)
                for need in load_needs()
                if need.needed_for != "tests"
            ),
            *([_test_port()] if obstacle else []),
            *_resources(),
            _runs_folder(project),
        )
    )


def _python() -> CheckResult:
    return _judged(
        "Python",
        "perfkit itself, 3.11 or newer",
        f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.prefix})",
        ok=sys.version_info >= (3, 11),
        remedy="PYTHON=/path/to/python3.11 scripts/setup",
        otherwise=State.MISSING,
    )


def _packages() -> Iterator[CheckResult]:
    """The Python packages perfkit declares; one row for all that are there."""
    there, absent = [], []
    for requirement in importlib.metadata.requires("perfkit") or []:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            there.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    yield _judged(
        "Python packages",
        "as declared in pyproject.toml",
        f"{len(there)} found" + (f", not: {', '.join(absent)}" if absent else ""),
        ok=not absent,
        remedy="scripts/setup",
        otherwise=State.MISSING,
    )
    for name, why in (("papermill", "notebooks without a browser"), ("jupyterlab", "notebooks")):
        found = next((t for t in there if t.startswith(f"{name} ")), "")
        if found:
            yield CheckResult(need=name, why=why, found=found.partition(" ")[2], state=State.OK)
    spec = Path(sys.prefix) / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    yield _judged(
        "Jupyter kernel",
        "`python3`, of this environment",
        str(spec.parent) if spec.is_file() else "not found",
        ok=spec.is_file(),
        remedy=f"{sys.executable} -m pip install --force-reinstall ipykernel",
        otherwise=State.MISSING,
    )


def _privileges(obstacle: str | None) -> Iterator[CheckResult]:
    """Root, namespaces and the tunnel device; without the first the others are not asked for."""
    why = "hosts with their own network, and tunnels"
    found, _, remedy = (obstacle or "").partition("; ")
    yield _judged(
        "privilege",
        why,
        found or ("root" if os.geteuid() == 0 else "sudo -n"),
        ok=not obstacle,
        remedy=f"{remedy or 'run as root or allow sudo without password'}; "
        "until then hosts are on loopback and there are no tunnels",
    )
    if obstacle:
        return
    try:
        namespaces.probe()
        problem, remedy = "", ""
    except ProviderError as exc:
        problem, _, remedy = str(exc).partition(";")
    yield _judged(
        "namespaces",
        "made and ended once, as for a host",
        problem or "work",
        ok=not problem,
        remedy=remedy.strip() or "-p isolation loopback",
    )
    tun = Path("/dev/net/tun")
    there = tun.is_char_device()
    yield _judged(
        str(tun),
        "the tunnel",
        "there" if there else "not there",
        ok=there,
        remedy=f"{_sudo()}modprobe tun",
    )


def _program(need: Need, path: str, *, rooted: bool) -> CheckResult:
    """Look for one program; what only hosts in namespaces run is no fault without privilege."""
    program, _, part = need.program.partition(":")
    label, found = program, None
    if program == "lib":
        label, found = part, _load(part)
    elif part:  # an environment that is there was made with it, or did without
        label = f"{program} -m {part}"
        in_environment = sys.prefix != sys.base_prefix or importlib.util.find_spec(part)
        found = sys.prefix if in_environment else None
    else:  # hosts see the system's python3, not one that lies in a home
        found = shutil.which(program, path=os.defpath if program == "python3" else path)
    fatal = {"all", "namespaces"} if rooted else {"all"}
    return _judged(
        label,
        need.why,
        found or "not found",
        ok=bool(found),
        remedy=_install_command(need),
        otherwise=State.MISSING if need.needed_for in fatal else State.LIMITED,
    )


def _load(library: str) -> str | None:
    """A word that the system's loader finds a shared library; None when it does not."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return None
    return "loads"


def _install_command(need: Need) -> str:
    """What installs a need's package here; conda only where its environment is active."""
    if os.environ.get("CONDA_PREFIX") and need.conda != "-":
        return f"conda install -c conda-forge {need.conda}"
    if shutil.which("apt-get"):
        return f"{_sudo()}apt-get install -y {need.apt}"
    if shutil.which("dnf") and need.dnf != "-":
        return f"{_sudo()}dnf install -y {need.dnf}"
    what = need.program.removeprefix("lib:")
    return f"install the package that has {what} (Debian calls it {need.apt})"


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "


def _test_port() -> CheckResult:
    """The port of the shipped tests; only hosts on loopback share it with this machine."""
    try:
        with socket.create_server(("127.0.0.1", IPERF_PORT)):
            free = True
    except OSError:
        free = False
    return _judged(
        f"port {IPERF_PORT}",
        "the server of the shipped tests, on loopback",
        "free" if free else "in use",
        ok=free,
        remedy=f"ss -ltnp sport = :{IPERF_PORT} names the program; end it",
    )


def _resources() -> Iterator[CheckResult]:
    """Memory, which bounds the number of local hosts, and open files."""
    free_bytes = tools.available_memory_bytes()
    if free_bytes is not None:
        clients = min(MAX_CLIENTS, free_bytes // MEMORY_PER_CLIENT_BYTES)
        yield _judged(
            "memory",
            "about 12 MiB for each client under test",
            f"{format_size(free_bytes)} free: up to {clients} clients",
            ok=clients >= 10,
            remedy="end other programs, or ask for fewer clients",
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield _judged(
        "open files",
        "connections and logs of some hundred hosts",
        f"{soft} (may be raised to {hard})",
        ok=soft == resource.RLIM_INFINITY or soft >= OPEN_FILES,
        remedy=f"ulimit -n {OPEN_FILES}",
    )


def _runs_folder(project: Path | None) -> CheckResult:
    """Runs can be written, and the disk they are on has room."""
    why = "run folders, writable, with 1 GiB free"
    try:
        folder = (project or project_dir()) / "runs"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free_bytes = shutil.disk_usage(folder).free
    except PerfkitError as exc:
        return CheckResult(need="runs/", why=why, found=str(exc), state=State.MISSING)
    except OSError as exc:
        return CheckResult(
            need="runs/",
            why=why,
            found=f"{exc.filename}: {exc.strerror}",
            state=State.MISSING,
            remedy="fix its permissions, or choose another folder with -p runs_dir",
        )
    return _judged(
        "runs/",
        why,
        f"{folder}, {format_size(free_bytes)} free",
        ok=free_bytes >= DISK_BYTES,
        remedy="delete old runs, or -p runs_dir another disk",
    )
