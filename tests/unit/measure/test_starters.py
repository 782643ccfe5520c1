"""The starters' T0 and shell text; the text runs in a real sh, with programs that only record."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import ConfigError
from perfkit.measure.plan import Addresses, order_names, plan
from perfkit.measure.starters import CronStarter, EpochStarter, Starter, Timetable, get_starter
from perfkit.model import Host, Role, TestSpec
from perfkit.units import NS_PER_S

CRON = CronStarter(shell="/bin/sh", path="/usr/bin:/bin")
OTHERS = "# mine\n0 5 * * * backup\n"


def spec(name: str, *, serves: bool = True) -> TestSpec:
    server_script = Path(f"{name}.server") if serves else None
    return TestSpec(name=name, script=Path(name), server_script=server_script, duration_s=10)


TIMETABLE = Timetable(
    slots=plan([spec("a"), spec("b", serves=False)]),
    t0_utc_s=4_000_000_000.0,
    addresses=Addresses(remote="10.0.0.1", peer="10.8.0.1"),
)


class Machine:
    """A work folder whose run-slot, and a PATH whose crontab, only record."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = root / "table"
        self.programs = root / "programs"
        self.programs.mkdir()
        (root / "bin").mkdir()
        self.program(root / "bin" / "run-slot", f'echo "$@" >>"{root}/calls"')
        self.program(
            self.programs / "crontab",
            f"""case $1 in
            -l) [ -e '{self.table}' ] || {{ echo 'no crontab for you' >&2; exit 1; }}; cat '{self.table}' ;;
            -r) rm -f '{self.table}' ;;
            *) cp "$1" '{self.table}' ;;
            esac""",
        )
        self.program(self.programs / "sleep", ":")
        # Not in the background: what it starts is over when the script is.
        self.program(self.programs / "setsid", f'echo "$@" >>"{root}/detached"')

    def program(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def host(self, role: Role = Role.CLIENT) -> Host:
        return Host(
            name=role.value, role=role, address="10.0.0.9", host_key="k", workdir=str(self.root)
        )

    def run(self, script: str) -> str:
        path = f"{self.programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", f"{script}\nwait"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def read(self, name: str) -> str:
        path = self.root / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "a work folder"
    folder.mkdir()
    return Machine(folder)


@given(earliest_s=st.floats(1e9, 4e9))
def test_an_epoch_t0_is_the_next_full_second(earliest_s: float) -> None:
    t0_s = EpochStarter().first_t0_s(earliest_s)
    assert earliest_s <= t0_s < earliest_s + 1
    assert t0_s == int(t0_s)


@given(earliest_s=st.floats(1e9, 4e9))
def test_a_cron_t0_is_a_full_minute_that_fires_at_least_half_a_minute_ahead(
    earliest_s: float,
) -> None:
    t0_s = CRON.first_t0_s(earliest_s)
    assert t0_s % 60 == 0
    assert t0_s >= earliest_s + 90
    assert t0_s - 60 >= earliest_s + 30  # when cron fires the first line


def test_arming_writes_orders_and_starts_one_waiter(machine: Machine) -> None:
    told = machine.run(EpochStarter().arm_script(machine.host(), TIMETABLE))
    assert told.strip().isdigit()
    assert machine.read("calls") == ""
    assert machine.read("detached") == "bin/run-slot slots/01-a.order slots/02-b.order\n"
    order = dict(line.split("=") for line in machine.read("slots/02-b.order").splitlines())
    assert order["test"] == "b"
    assert order["role"] == "client"
    assert order["start_ns"] == "4000000016000000000"


@pytest.mark.parametrize("starter", [EpochStarter(), CRON])
def test_arming_ends_what_waits_of_an_earlier_attempt_and_removes_what_it_left(
    machine: Machine, starter: Starter
) -> None:
    machine.run(starter.arm_script(machine.host(), TIMETABLE))
    for name in ("slots/4711.waiter", "slots/4712.waiter", "slots/09-old.order", "logs/01-a.log"):
        (machine.root / name).touch()
    machine.run(starter.arm_script(machine.host(), TIMETABLE))
    assert machine.read("calls").splitlines().count("stop") == 1
    assert not (machine.root / "slots/09-old.order").exists()
    assert not (machine.root / "logs/01-a.log").exists()
    assert (machine.root / "slots/01-a.order").exists()


@pytest.mark.parametrize("starter", [EpochStarter(), CRON])
def test_orders_are_by_the_hosts_clock_and_its_cron_fires_as_everywhere(
    machine: Machine, starter: Starter
) -> None:
    machine.run(starter.arm_script(machine.host(), TIMETABLE))
    table = machine.read("table")
    slow = replace(TIMETABLE, clock_error_s=-0.08)
    machine.run(starter.arm_script(machine.host(), slow))
    order = dict(line.split("=") for line in machine.read("slots/02-b.order").splitlines())
    assert order["start_ns"] == "4000000015920000000"
    assert slow.starts_of(Role.CLIENT)[1] == pytest.approx(4_000_000_015.92, abs=1e-6)
    assert slow.confirm_by_s == pytest.approx(TIMETABLE.confirm_by_s - 0.08, abs=1e-6)
    assert machine.read("table") == table


def test_a_server_with_several_programs_in_a_slot_has_a_waiter_for_each(machine: Machine) -> None:
    first, second = TIMETABLE.slots
    slots = (replace(first, servers=2), second)
    machine.run(
        EpochStarter().arm_script(machine.host(Role.SERVER), replace(TIMETABLE, slots=slots))
    )
    started = machine.read("detached").splitlines()
    of_first = [f"slots/{name}.order" for name in order_names(slots[0], Role.SERVER)]
    of_second = [f"slots/{name}.order" for name in order_names(second, Role.SERVER)]
    assert sorted(started) == sorted(
        [" ".join(["bin/run-slot", of_first[0], *of_second]), f"bin/run-slot {of_first[1]}"]
    )
    ports = [re.findall(r"port=(\d+)", machine.read(name)) for name in of_first]
    assert ports == [["5001"], ["5002"]]


def test_a_server_whose_next_program_comes_before_the_last_one_leaves_has_two_waiters(
    machine: Machine,
) -> None:
    first = TIMETABLE.slots[0]
    served = replace(first, test=replace(first.test, port=5101))
    near = replace(served, name="02-b", start_s=first.end_s + first.grace_s + 1.0)
    later = replace(first, name="03-c", start_s=near.end_s + near.grace_s + 1.0)
    table = replace(TIMETABLE, slots=(first, near, later))
    machine.run(EpochStarter().arm_script(machine.host(Role.SERVER), table))
    assert sorted(machine.read("detached").splitlines()) == [
        "bin/run-slot slots/01-a.order slots/03-c.order",
        "bin/run-slot slots/02-b.order",
    ]


def test_a_server_gets_orders_only_for_tests_with_a_server_script(machine: Machine) -> None:
    machine.run(EpochStarter().arm_script(machine.host(Role.SERVER), TIMETABLE))
    assert machine.read("detached") == "bin/run-slot slots/01-a.order\n"
    assert sorted(p.name for p in (machine.root / "slots").glob("*.order")) == ["01-a.order"]


def test_arming_again_removes_what_an_earlier_attempt_left(machine: Machine) -> None:
    for folder in ("logs", "slots"):
        (machine.root / folder).mkdir()
    for name in ("logs/01-a.events.json", "logs/01-a.log", "slots/09-old.order"):
        (machine.root / name).write_text("old")
    (machine.root / "logs/facts.json").write_text("kept")
    machine.run(EpochStarter().arm_script(machine.host(), TIMETABLE))
    assert [p.name for p in (machine.root / "logs").iterdir()] == ["facts.json"]
    assert not (machine.root / "slots/09-old.order").exists()


@pytest.mark.parametrize("before", ["", OTHERS])
def test_cron_lines_come_after_the_users_own_and_go_without_them(
    machine: Machine, before: str
) -> None:
    if before:
        machine.table.write_text(before)
    for _ in range(2):  # arming twice leaves one set of lines
        machine.run(CRON.arm_script(machine.host(), TIMETABLE))
    table = machine.table.read_text()
    assert table.startswith(before + "# perfkit: begin\nSHELL=/bin/sh\n")
    assert table.count("run-slot") == 2
    machine.run(CRON.disarm_script(machine.host()))
    assert (machine.table.read_text() if machine.table.exists() else "") == before


@pytest.mark.parametrize("starter", [EpochStarter(), CRON])
def test_a_host_that_takes_its_orders_too_late_arms_nothing(
    machine: Machine, starter: Starter
) -> None:
    machine.run(starter.arm_script(machine.host(), TIMETABLE))
    armed = machine.read("detached"), machine.read("table")
    past = replace(TIMETABLE, t0_utc_s=1_000_000_000.0)
    told = machine.run(starter.arm_script(machine.host(), past))
    assert int(told) / NS_PER_S > past.confirm_by_s
    assert any(armed)
    assert (machine.read("detached"), machine.read("table")) == armed


def test_disarming_is_harmless_where_nothing_was_armed(machine: Machine, tmp_path: Path) -> None:
    machine.table.write_text(OTHERS)
    for starter in (EpochStarter(), CRON):
        machine.run(starter.disarm_script(machine.host()))
        nowhere = Host(
            name="c", role=Role.CLIENT, address="a", host_key="k", workdir=f"{tmp_path}/none"
        )
        machine.run(starter.disarm_script(nowhere))
    assert machine.table.read_text() == OTHERS
    assert not (tmp_path / "none").exists()


def test_cron_says_what_a_host_lacks(machine: Machine) -> None:
    starter = CronStarter(shell="/no/such/shell", path="/nowhere")
    said = machine.run(starter.ready_script())
    assert "cron.conf: shell is not there" in said
    assert "cron.conf: timeout is not found on path" in said
    assert "no crontab command" not in said


def test_a_starter_is_found_by_name() -> None:
    settings = {"shell": "/bin/sh", "path": "/usr/bin:/bin"}
    assert get_starter("epoch", settings) == EpochStarter()
    assert get_starter("cron", settings) == CRON
    with pytest.raises(ConfigError, match="did you mean 'cron'"):
        get_starter("crn", settings)
