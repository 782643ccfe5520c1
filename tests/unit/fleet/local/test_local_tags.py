from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_runs import wait_until

from perfkit.fleet.local import tags

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

FIELDS = {"name": "client-001", "role": "client", "address": "127.0.0.1", "expires": "1"}


@given(st.dictionaries(st.sampled_from(["name", "owner", "token"]), st.text(max_size=40)))
def test_a_tag_reads_back_as_it_was_written(fields: dict[str, str]) -> None:
    written = tags.format_tag(tags.HOST, {"run": "r", **fields})
    assert tags.parse_tag(written) == (tags.HOST, {"run": "r", **fields})
    assert "\0" not in written


@pytest.mark.parametrize(
    "argument", ["", "sleep", "perfkit-host", "perfkit-host name=x", "xperfkit-host run=x", "-"]
)
def test_other_arguments_are_no_tags(argument: str) -> None:
    assert tags.parse_tag(argument) is None


def test_an_uplinks_name_fits_linux_and_differs_by_run() -> None:
    first, second = tags.uplink_name("20260101T000000Z-a"), tags.uplink_name("20260101T000000Z-b")
    assert len(first) <= 15
    assert first != second


@pytest.fixture
def tagged() -> Iterator[tuple[str, int]]:
    run = f"unit-{os.getpid()}-{time.monotonic_ns()}"
    title = tags.format_tag(tags.HOST, {"run": run, "isolation": tags.LOOPBACK, **FIELDS})
    child = subprocess.Popen([title, "60"], executable="/bin/sleep")
    try:
        assert wait_until(lambda: bool(tags.scan(run)), 60)
        yield run, child.pid
    finally:
        child.kill()
        child.wait()


def test_a_scan_finds_a_tagged_process_of_ours(tagged: tuple[str, int]) -> None:
    run, pid = tagged
    (found,) = tags.scan(run)
    assert (found.pid, found.kind, found.run_id) == (pid, tags.HOST, run)
    assert found.isolation == tags.LOOPBACK
    assert found in tags.scan()
    assert tags.scan("another run") == []


def test_a_process_that_is_no_first_process_is_no_host_in_namespaces() -> None:
    run = f"unit-{os.getpid()}-{time.monotonic_ns()}"
    title = tags.format_tag(tags.HOST, {"run": run, "isolation": tags.NAMESPACES, **FIELDS})
    real = tags.format_tag(tags.HOST, {"run": run, "isolation": tags.LOOPBACK, **FIELDS})
    children = [subprocess.Popen([tag, "60"], executable="/bin/sleep") for tag in (title, real)]
    try:
        assert wait_until(lambda: bool(tags.scan(run)), 60)
        assert [found.pid for found in tags.scan(run)] == [children[1].pid]
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_ending_kills_and_leaves_no_zombie(tagged: tuple[str, int]) -> None:
    run, pid = tagged
    tags.end(tags.scan(run), signal.SIGKILL, 60)
    assert tags.scan(run) == []
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_whose_tag_changed_meanwhile_is_not_signalled(tagged: tuple[str, int]) -> None:
    run, pid = tagged
    stale = tags.Tagged(pid, tags.HOST, {"run": "another"})
    (there,) = tags.scan(run)
    other = tags.Tagged(pid, tags.HOST, {**there.fields, "name": "another"})
    gone = tags.Tagged(2**22 - 1, tags.HOST, {"run": run})
    tags.end([stale, other, gone], signal.SIGKILL, 1)
    assert [found.pid for found in tags.scan(run)] == [pid]


def test_a_tagged_process_is_named_for_people() -> None:
    assert str(tags.Tagged(7, tags.HOST, {"run": "r", "name": "server"})) == "server (pid 7)"
    assert str(tags.Tagged(7, tags.KEEPER, {"run": "r"})) == "keeper (pid 7)"
    making = tags.Tagged(7, tags.KEEPER, {"run": "r"}, making=True)
    assert str(making) == "host in the making (pid 7)"
