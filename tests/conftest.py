"""What all tests share: a parent that reaps orphans, and one answer to "this needs root".

A test that needs a privilege or a tool is skipped with the reason on a developer's machine and
fails where CI is set: a test that nobody runs anywhere proves nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from prerequisites import require
from project_copy import PROJECT, copy_project

# A noisy machine is no bug; the same examples in every CI run, other ones on every desk.
settings.register_profile(
    "perfkit",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("perfkit")

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_reaped_by: int | None = None


def pytest_configure() -> None:
    """Put the test process under a parent that reaps, once, before any thread or child exists."""
    global _reaped_by  # noqa: PLW0603 -- one process, one parent
    in_worker = "PYTEST_XDIST_WORKER" in os.environ  # its parent's parent reaps for it
    if _reaped_by is None and not in_worker and sys.platform == "linux":
        _reaped_by = _continue_in_child()


def _continue_in_child() -> int:
    """Fork: the child goes on as pytest; the parent collects every orphan and the exit status.

    Tests start hosts and servers that outlive the process that made them. Not every machine's
    PID 1 collects such orphans (a container's often does not), and a zombie looks alive to
    whoever asks "is this process gone". The test process itself cannot collect them: waiting for
    any child steals the exit status from `subprocess`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # never tests without their reaper
        return os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the child as well
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    while True:
        with contextlib.suppress(InterruptedError):
            pid, status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


@pytest.fixture(scope="session", autouse=True)
def _as_shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where whoever runs the tests has settings of their own, the project is a copy without them."""
    with pytest.MonkeyPatch.context() as patch:
        if any((PROJECT / "config").glob("*.conf")):
            patch.setenv("PERFKIT_HOME", str(copy_project(tmp_path_factory.mktemp("shipped"))))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Where CI is set, a test that was skipped has failed, whoever skipped it and how."""
    report = yield
    return _fail_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """And so has a module that was skipped as a whole."""
    report = yield
    return _fail_if_skipped(report)


def _fail_if_skipped(report: Any) -> Any:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CI must have what its tests need: {report.longrepr[-1]}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ask for root before the fixtures of a test marked `root` are made."""
    if item.get_closest_marker("root"):
        require(os.geteuid() == 0, "needs root: real local hosts are made")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave benchmarks out unless they are asked for by `-m benchmark`."""
    if "benchmark" in (config.option.markexpr or ""):
        return
    benchmarks = [item for item in items if item.get_closest_marker("benchmark")]
    if benchmarks:
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if item not in benchmarks]


@pytest.fixture(scope="session")
def needs_root() -> None:
    """For fixtures that make real hosts; a test says it with the marker `root`."""
    require(os.geteuid() == 0, "needs root: real local hosts are made")


@pytest.fixture(scope="session")
def needs_tools() -> Callable[..., None]:
    """`needs_tools("iperf", "openvpn")`: the programs a test runs, found on PATH or in sbin."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin:/usr/sbin:/sbin"])

    def check(*names: str) -> None:
        missing = [name for name in names if shutil.which(name, path=path) is None]
        require(not missing, f"not installed: {', '.join(missing)}; scripts/setup installs them")

    return check
