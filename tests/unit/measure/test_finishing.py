"""The end of a measurement on a host that has no record of a test."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from perfkit.errors import LostError
from perfkit.measure.options import Hooks, Options
from perfkit.measure.plan import Addresses, plan
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import EpochStarter, Timetable
from perfkit.model import Host, Role, TestSpec
from perfkit.runs.folder import Run
from perfkit.ssh.remote import RemotePool

CLIENT = Host(name="client-001", role=Role.CLIENT, address="192.0.2.2", host_key="k")


def test_a_host_that_never_had_a_record_is_left_without_its_monitor(tmp_path: Path) -> None:
    """In the next block another host of its machine may be the one that watches."""
    asked: list[str] = []
    remote = Mock(converse=Mock(side_effect=LostError(CLIENT.name, "no clock")))
    remote.access.command_timeout_s = 1.0

    def run_script(script: str, **_: object) -> Mock:
        asked.append(script)
        return Mock(stdout="pending 01-a\n")

    remote.run_script = run_script
    slots = plan([TestSpec(name="a", script=tmp_path, server_script=None, duration_s=1)])
    addresses = Addresses(remote="192.0.2.1")
    work = Measurement(
        run=Run(tmp_path),
        hosts=[CLIENT],
        slots=slots,
        pool=Mock(RemotePool, get=Mock(return_value=remote)),
        starter=EpochStarter(),
        addresses=addresses,
        options=Options(bin_dir=tmp_path),
        hooks=Hooks(now=lambda: 1e9),
    )
    work.finish(Timetable(slots=slots, t0_utc_s=0.0, addresses=addresses))
    (failed,) = work.result(0.0).failed
    assert "has no record" in failed.reason
    assert "bin/run-slot stop" in asked[-1]
    assert "bin/monitor stop" in asked[-1]
    assert asked[-1] != asked[0]
