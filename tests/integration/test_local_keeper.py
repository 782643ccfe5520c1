"""What a keeper knows of the hosts that it has made."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import pytest
from local_runs import LocalRun, wait_until

from perfkit.fleet.local import namespaces, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.testing.provider_runs import with_reasons

pytestmark = pytest.mark.root

# The keeper as it is, but that it cannot look at the whole process table while it makes hosts.
KEEPER = """
import sys
from perfkit.fleet.local import host_factory, keeper, tags
launch = host_factory.HostFactory.launch


def without_a_look(self, request):
    scan, tags.scan = tags.scan, None
    try:
        return launch(self, request)
    finally:
        tags.scan = scan


host_factory.HostFactory.launch = without_a_look
sys.exit(keeper.main(sys.argv[1:]))
"""


def test_a_keeper_knows_its_hosts_without_a_look_at_the_process_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also which of them have ended: their names are free again, and a token makes nothing twice."""
    monkeypatch.setattr(
        namespaces, "privileged", lambda *words: [sys.executable, "-c", KEEPER, *words]
    )
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    first = run.request("server", "client-001")
    second, reasons = with_reasons(run.request("client-001", "client-002", token="second"))
    try:
        made = {host.name: host for host in provider.launch(first)}
        assert [host.name for host in provider.launch(second)] == ["client-002"]
        assert reasons == {"client-001": "a host of this run has that name already"}
        (pid,) = (it.pid for it in tags.scan(run.run_id) if it.fields.get("name") == "client-001")
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: tags.read(pid) is None, 60)
        assert [host.name for host in provider.launch(first)] == ["server"]
        third = run.request("client-001", token="third")
        (again,) = provider.launch(third)
        assert again.address not in {host.address for host in made.values()}
        assert list(provider.launch(dataclasses.replace(third))) == [again]
    finally:
        report = provider.release(run.run_id)
    assert len(report.released) == 3
    assert report.leaked == ()
