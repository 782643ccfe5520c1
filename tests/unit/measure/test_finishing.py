"""The end of a measurement on a host that has no record of a test, and of one taken up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from perfkit.errors import LostError, RunError
from perfkit.measure.collect import small_logs_of
from perfkit.measure.options import Hooks, Options
from perfkit.measure.plan import Addresses, plan, timetable_dict
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import EpochStarter, Timetable
from perfkit.model import Host, Role, Slot, TestSpec
from perfkit.runs.folder import Run
from perfkit.ssh.remote import RemotePool

ADDRESSES = Addresses(remote="192.0.2.1")
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
    work = measurement(tmp_path, slots, pool=Mock(RemotePool, get=Mock(return_value=remote)))
    work.finish(Timetable(slots=slots, t0_utc_s=0.0, addresses=ADDRESSES))
    (failed,) = work.result(0.0).failed
    assert "has no record" in failed.reason
    assert "bin/run-slot stop" in asked[-1]
    assert "bin/monitor stop" in asked[-1]
    assert asked[-1] != asked[0]


@pytest.mark.parametrize("connect_first", [True, False])
def test_a_timetable_of_clients_that_connect_first_is_gone_on_with_as_it_is(
    tmp_path: Path, connect_first: bool
) -> None:
    test = TestSpec(name="a", script=tmp_path, server_script=None, duration_s=1)
    slots, others = (
        plan([replace(test, connect_first=it)]) for it in (connect_first, not connect_first)
    )
    written = timetable_dict(slots, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES)
    Run(tmp_path).timetable_path.write_text(json.dumps(written))
    assert measurement(tmp_path, slots).load_timetable().slots == slots
    with pytest.raises(RunError, match="config/ of the run was changed"):
        measurement(tmp_path, others).load_timetable()


@pytest.mark.parametrize(("before", "now"), [(2, None), (None, 2), (2, 1)])
def test_a_timetable_with_other_servers_of_a_test_is_not_gone_on_with(
    tmp_path: Path, before: int | None, now: int | None
) -> None:
    def slots_with(clients_per_server: int | None) -> list[Slot]:
        test = TestSpec(name="a", script=tmp_path, server_script=tmp_path, duration_s=1)
        return plan([replace(test, clients_per_server=clients_per_server)], clients=3)

    armed = slots_with(before)
    written = timetable_dict(armed, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES)
    run = Run(tmp_path)
    run.timetable_path.write_text(json.dumps(written))
    assert measurement(tmp_path, slots_with(before)).load_timetable().slots == armed
    with pytest.raises(RunError, match="config/ of the run was changed"):
        measurement(tmp_path, slots_with(now)).load_timetable()


@pytest.mark.parametrize(("exit_status", "told"), [(0, [CLIENT.name]), (1, [])])
def test_only_of_a_host_that_did_its_tests_are_the_logs_said_to_be_whole(
    tmp_path: Path, exit_status: int, told: list[str]
) -> None:
    record = {
        "planned_start_utc_s": 0.0,
        "planned_end_utc_s": 1.0,
        "start_utc_s": 0.0,
        "end_utc_s": 1.0,
        "exit_status": exit_status,
        "timed_out": False,
    }
    said = Mock(stdout=f"record 01-a {json.dumps(record)}\nsaid 01-a done\n")
    remote = Mock(run_script=Mock(return_value=said))
    remote.converse.side_effect = LostError(CLIENT.name, "no clock")
    remote.access.command_timeout_s = 1.0
    slots = plan([TestSpec(name="a", script=tmp_path, server_script=None, duration_s=1)])
    work = measurement(tmp_path, slots, pool=Mock(RemotePool, get=Mock(return_value=remote)))
    heard: list[str] = []
    work.hooks = replace(work.hooks, on_over=lambda host: heard.append(host.name))
    work.finish(Timetable(slots=slots, t0_utc_s=0.0, addresses=ADDRESSES))
    assert heard == told


def test_a_folder_that_is_gone_here_does_not_fail_a_host_whose_logs_were_to_come_ahead(
    tmp_path: Path,
) -> None:
    listing = f"{'0' * 64}  ./01-a.log\nsize 5 01-a.log\n"
    remote = Mock(host=CLIENT, run_script=Mock(return_value=Mock(stdout=listing)))
    run = Run(tmp_path / "removed")
    small_logs_of(run, Mock(RemotePool, get=Mock(return_value=remote)))(CLIENT)
    remote.run_script.assert_called_once()
    remote.get.assert_not_called()


def measurement(folder: Path, slots: Sequence[Slot], pool: Mock | None = None) -> Measurement:
    return Measurement(
        run=Run(folder),
        hosts=[CLIENT],
        slots=slots,
        pool=pool or Mock(RemotePool),
        starter=EpochStarter(),
        addresses=ADDRESSES,
        options=Options(bin_dir=folder),
        hooks=Hooks(now=lambda: 1e9),
    )
