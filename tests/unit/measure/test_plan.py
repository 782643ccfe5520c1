"""The timetable and the crontab, without any host."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import ScheduleError
from perfkit.logs.run_logs import slot_from
from perfkit.measure.pacing import (
    Pacing,
    connect_s_for,
    connected_grace_for,
    direct_grace_for,
    grace_for,
    pacing_for,
)
from perfkit.measure.plan import (
    SERVER_LEAD_S,
    SERVER_LEAVES_S,
    SERVER_OUTLASTS_S,
    SLOW_LEAVE_S,
    Addresses,
    begin_s,
    crontab,
    fires_utc,
    order,
    order_names,
    over_s,
    plan,
    runs_on,
    timetable_dict,
)
from perfkit.measure.starters import Timetable, in_turn
from perfkit.model import Host, NetworkPath, Role, Slot, TestKind, TestSpec

CLIENT = Host(name="client-001", role=Role.CLIENT, address="10.0.0.2", host_key="k")
SERVER = Host(name="server", role=Role.SERVER, address="10.0.0.1", host_key="k")
ADDRESSES = Addresses(remote="10.0.0.1", peer="10.8.0.1")


def spec(
    name: str = "direct-tcp",
    *,
    time_min: float | None = None,
    duration_s: float = 10,
    server: str | None = None,
    serves: bool = True,
) -> TestSpec:
    return TestSpec(
        name=name,
        script=Path("resources/tests") / name,
        server_script=Path("resources/tests") / f"{name}.server" if serves else None,
        duration_s=duration_s,
        time_min=time_min,
        server=server,
        path=NetworkPath.TUNNEL if name.startswith("tunnel") else NetworkPath.DIRECT,
    )


def test_tests_without_a_time_follow_each_other_after_the_gap() -> None:
    slots = plan([spec("a"), spec("b", duration_s=20), spec("c")], grace_s=2)
    assert [(s.name, s.start_s, s.end_s) for s in slots] == [
        ("01-a", 0, 10),
        ("02-b", 15, 35),
        ("03-c", 40, 50),
    ]


def test_a_test_with_a_time_starts_then_and_the_next_one_follows_it() -> None:
    slots = plan([spec("a", time_min=0.5), spec("b")], grace_s=4)
    assert [(s.name, s.start_s) for s in slots] == [("01-a", 30), ("02-b", 47)]


def test_slots_are_numbered_in_the_order_of_their_starts() -> None:
    slots = plan([spec("late", time_min=2), spec("early", time_min=0)])
    assert [s.name for s in slots] == ["01-early", "02-late"]


def test_a_slot_keeps_its_port_for_the_grace_and_the_server_outlasts_the_clients() -> None:
    first, second = plan([spec("a"), spec("b")], grace_s=9)
    client, server, next_server = (
        order(slot, host, t0_utc_s=100.0, starter="epoch", addresses=ADDRESSES)
        for slot, host in ((first, CLIENT), (first, SERVER), (second, SERVER))
    )
    assert int(client["limit_ns"]) == (100 + 10 + 9) * 10**9
    assert int(server["limit_ns"]) - int(client["limit_ns"]) == SERVER_OUTLASTS_S * 10**9
    assert int(next_server["start_ns"]) > int(server["limit_ns"])


def test_a_rate_for_each_client_is_in_the_orders_and_kind_and_rate_in_the_timetable() -> None:
    limited = replace(spec("a"), kind=TestKind.UDP, rate_bps=2e5)
    first, second = plan([limited, spec("b")])
    given, free = (
        order(slot, CLIENT, t0_utc_s=100.0, starter="epoch", addresses=ADDRESSES)
        for slot in (first, second)
    )
    assert given["rate_bps"] == "200000"
    assert "rate_bps" not in free
    table = timetable_dict([first, second], t0_utc_s=1.0, starter="epoch", addresses=ADDRESSES)
    assert [(row["kind"], row["rate_bps"]) for row in table["slots"]] == [
        ("udp", 2e5),
        ("tcp", None),
    ]


def test_more_clients_get_more_time_to_end_but_never_over_a_minute() -> None:
    assert [grace_for(n) for n in (500, 1000)] == [60, 60]
    assert grace_for(1) < 5
    assert grace_for(100) > 9


def test_only_a_test_beside_the_tunnel_is_followed_sooner_and_not_one_of_a_server_elsewhere() -> (
    None
):
    tests = [spec("a"), spec("tunnel-b"), spec("c", server="192.0.2.1"), spec("d")]
    slots = plan(tests, grace_s=16, direct_grace_s=6)
    assert [slot.grace_s for slot in slots] == [6, 16, 16, 6]
    gaps_s = [after.start_s - before.end_s for before, after in itertools.pairwise(slots)]
    leads_s = (SERVER_LEAD_S, 0.0, 0.0)  # a server elsewhere is not started
    assert gaps_s == [
        pytest.approx(grace_s + 1 + lead_s)
        for grace_s, lead_s in zip((6, 16, 16), leads_s, strict=True)
    ]


def test_beside_the_tunnel_nobody_gets_more_time_to_end_than_in_it() -> None:
    assert all(3 < direct_grace_for(n) <= grace_for(n) for n in (1, 10, 100, 1000, 4000))
    assert direct_grace_for(100) < grace_for(100) / 2


@pytest.mark.parametrize(
    ("next_min", "how"), [(0.1, "overlap"), (10.5 / 60, "only 500 ms apart"), (0, "overlap")]
)
def test_tests_too_near_each_other_are_refused_with_both_names_and_a_remedy(
    next_min: float, how: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        plan([spec("a", time_min=0), spec("b", time_min=next_min)], grace_s=2)
    message = str(caught.value)
    assert "'a'" in message
    assert "'b'" in message
    assert how in message
    assert "set [b] time to 0.25" in message


def test_following_the_remedy_mends_an_overlap() -> None:
    tests = [spec("a", time_min=0), spec("b", time_min=0.1)]
    with pytest.raises(ScheduleError) as caught:
        plan(tests)
    remedy_min = float(re.findall(r"time to ([0-9.]+)", str(caught.value))[0])
    assert len(plan([tests[0], spec("b", time_min=remedy_min)])) == 2


def test_a_start_before_t0_is_refused() -> None:
    with pytest.raises(ScheduleError, match="before T0"):
        plan([spec(time_min=-1)])


@given(
    times=st.lists(st.none() | st.floats(0, 500, allow_nan=False), min_size=1, max_size=8),
    durations=st.lists(st.floats(0.1, 3600), min_size=8, max_size=8),
    grace_s=st.floats(0, 60),
)
def test_a_plan_that_is_accepted_never_lets_two_slots_meet(
    times: list[float | None], durations: list[float], grace_s: float
) -> None:
    tests = [
        spec(f"t{n}", time_min=t, duration_s=d)
        for n, (t, d) in enumerate(zip(times, durations, strict=False))
    ]
    try:
        slots = plan(tests, grace_s=grace_s)
    except ScheduleError:
        return
    assert sorted(s.test.name for s in slots) == sorted(t.name for t in tests)
    for before, after in itertools.pairwise(slots):
        assert after.start_s - before.end_s >= grace_s - 1e-5


def test_the_timetable_names_addresses_path_and_starter() -> None:
    slots = plan([spec("direct-tcp"), spec("tunnel-tcp", server="192.0.2.7")])
    table = timetable_dict(slots, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES)
    assert table["t0_utc_s"] == 1e9
    assert table["starter"] == "epoch"
    assert table["slots"][0] == {
        "name": "01-direct-tcp",
        "test": "direct-tcp",
        "start_s": 0.0,
        "duration_s": 10,
        "path": "direct",
        "kind": "tcp",
        "rate_bps": None,
        "server": None,
        "remote_address": "10.0.0.1",
        "server_script": True,
        "peer_address": "10.8.0.1",
    }
    other = table["slots"][1]
    assert (other["path"], other["server"]) == ("tunnel", "192.0.2.7")
    assert (other["remote_address"], other["peer_address"]) == ("192.0.2.7", "192.0.2.7")


def test_without_a_vpn_the_peer_is_the_servers_own_address() -> None:
    (slot,) = plan([spec()])
    assert Addresses(remote="10.0.0.1").of(slot) == ("10.0.0.1", "10.0.0.1")


def test_a_server_that_exists_already_gets_no_server_script() -> None:
    own, foreign, serverless = plan([spec("a"), spec("b", server="x"), spec("c", serves=False)])
    assert [runs_on(s, Role.SERVER) for s in (own, foreign, serverless)] == [True, False, False]
    assert runs_on(foreign, Role.CLIENT)


@pytest.mark.parametrize(("clients", "servers"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_servers_script_runs_as_often_as_its_clients_need(clients: int, servers: int) -> None:
    limited = replace(spec(), clients_per_server=2)
    (slot,) = plan([limited], clients=clients)
    assert slot.servers == servers
    table = timetable_dict([slot], t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES)
    (one,) = plan([spec()], clients=clients)
    as_ever = timetable_dict([one], t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES)
    more = {"servers": servers} if servers > 1 else {}
    assert table["slots"] == [as_ever["slots"][0] | more]


def test_the_next_test_waits_longer_for_several_programs_to_leave_the_server() -> None:
    tests = [replace(spec("a"), clients_per_server=2), spec("b")]
    few, many = plan(tests, clients=2), plan(tests, clients=3)
    assert many[1].start_s == few[1].start_s + SLOW_LEAVE_S
    assert few == plan(tests, clients=1)


def test_the_test_after_one_both_ways_waits_longer_for_its_server_to_leave() -> None:
    both = replace(spec("a"), kind=TestKind.TCP_BOTH)
    (_, after_one), (_, after_both) = (plan([first, spec("b")]) for first in (spec("a"), both))
    assert after_both.start_s == after_one.start_s + SLOW_LEAVE_S


@pytest.mark.parametrize(
    ("following", "lead_s"),
    [
        (spec("b"), SERVER_LEAD_S),
        (replace(spec("b"), port=5004), 0.0),
        (
            replace(spec("b"), port=5003),
            SERVER_LEAD_S,
        ),  # the third program of the first test is there
        (replace(spec("b"), port=4999, clients_per_server=2), SERVER_LEAD_S),
        (spec("b", server="192.0.2.1"), 0.0),
    ],
)
def test_only_a_server_on_the_same_port_waits_until_the_one_before_has_left(
    following: TestSpec, lead_s: float
) -> None:
    first, second = plan(
        [replace(spec("a"), clients_per_server=2), replace(following, connect_first=True)],
        clients=5,
        grace_s=9,
    )
    others_s = SERVER_OUTLASTS_S + SERVER_LEAVES_S + SLOW_LEAVE_S + connect_s_for(5)
    assert second.start_s - first.end_s == pytest.approx(9 + others_s + lead_s)
    leaving, coming = orders_of(first), orders_of(second)
    assert int(coming[0]["start_ns"]) > int(leaving[1]["limit_ns"])  # no client before it has left
    if lead_s:
        assert int(coming[1]["start_ns"]) > int(leaving[1]["limit_ns"])


@given(
    ports=st.lists(st.integers(5001, 5006), min_size=2, max_size=6),
    clients=st.integers(1, 12),
    duration_s=st.floats(1, 60),
)
def test_no_two_programs_of_the_server_are_ever_on_one_port_and_no_waiter_has_two_at_a_time(
    ports: list[int], clients: int, duration_s: float
) -> None:
    tests = [
        replace(spec(f"t{n}", duration_s=duration_s), port=port, clients_per_server=4 + n)
        for n, port in enumerate(ports)
    ]
    slots = plan(tests, clients=clients, grace_s=grace_for(clients))
    busy: dict[str, float] = {}  # until when each port is taken
    for slot in slots:
        for number in range(1, slot.servers + 1):
            of_server = order(
                slot, SERVER, t0_utc_s=100.0, starter="epoch", addresses=ADDRESSES, number=number
            )
            assert int(of_server["start_ns"]) / 1e9 > busy.get(of_server["port"], 0.0)
            busy[of_server["port"]] = int(of_server["limit_ns"]) / 1e9
    spans = {
        name: (begin_s(slot, Role.SERVER), over_s(slot, Role.SERVER))
        for slot in slots
        for name in order_names(slot, Role.SERVER)
    }
    waiters = in_turn(slots, Role.SERVER)
    assert sorted(name for each in waiters for name in each) == sorted(spans)
    for each in waiters:
        for before, after in itertools.pairwise(each):
            assert spans[before][1] <= spans[after][0] + 1e-5
    assert len(in_turn(slots, Role.CLIENT)) == 1


@pytest.mark.parametrize(("kind", "most"), [(TestKind.TCP_BOTH, None), (TestKind.TCP, 2)])
def test_a_server_that_is_slow_to_leave_keeps_no_other_one_from_starting(
    kind: TestKind, most: int | None
) -> None:
    slow = replace(spec("a"), kind=kind, clients_per_server=most)
    following = replace(spec("b"), port=5101)
    apart = plan([slow, following], clients=3)
    assert in_turn(apart, Role.SERVER)[-1] == ["02-b"]
    alone = plan([slow, spec("b")], clients=3)
    assert in_turn(alone, Role.SERVER)[0] == ["01-a", "02-b"]


def test_one_server_serves_all_where_nothing_else_is_written_or_none_is_ours() -> None:
    foreign, serverless = spec("b", server="x"), spec("c", serves=False)
    limited = [replace(it, clients_per_server=2) for it in (foreign, serverless)]
    assert [slot.servers for slot in plan([spec("a"), *limited], clients=4000)] == [1, 1, 1]


def test_each_program_on_the_server_has_an_order_with_a_number_and_a_port_of_its_own() -> None:
    (slot,) = plan([replace(spec(), clients_per_server=2)], clients=5)
    assert order_names(slot, Role.CLIENT) == ("01-direct-tcp",)
    assert order_names(slot, Role.SERVER) == ("01-direct-tcp", "01-direct-tcp.2", "01-direct-tcp.3")
    orders = [
        order(slot, SERVER, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES, number=number)
        for number in (1, 2, 3)
    ]
    assert [it["port"] for it in orders] == ["5001", "5002", "5003"]
    assert [it.get("server_number") for it in orders] == [None, "2", "3"]
    served = order(slot, CLIENT, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES, number=3)
    assert served["port"] == "5003"
    assert "server_number" not in served


def test_clients_go_to_the_servers_programs_in_turn() -> None:
    names = [f"client-{number:03d}" for number in (2, 3, 5, 8, 13)]  # a block has a part of them
    (slot,) = plan([replace(spec(), clients_per_server=2)], clients=len(names))
    table = Timetable(slots=[slot], t0_utc_s=1e9, addresses=ADDRESSES, clients=names)
    served_by = [table.server_of(replace(CLIENT, name=name), slot) for name in names]
    assert served_by == [1, 2, 3, 1, 2]
    assert table.starts_of(Role.SERVER) == [1e9 - SERVER_LEAD_S] * 3
    assert table.starts_of(Role.CLIENT) == [1e9]


def test_a_crontab_has_a_line_for_each_program_on_the_server() -> None:
    slots = plan([replace(spec("a"), clients_per_server=1), spec("b")], clients=2)
    t0 = datetime(2026, 11, 22, 12, 34, 5, tzinfo=UTC)
    text = crontab(slots, t0, shell="/bin/sh", path="/bin", workdir="/w", role=Role.SERVER)
    assert re.findall(r"/w/slots/(\S+)", text) == ["01-a.order", "01-a.2.order", "02-b.order"]
    assert re.findall(r"/w/slots/(\S+)", crontab_of(slots, t0, "/w")) == [
        "01-a.order",
        "02-b.order",
    ]


def test_the_server_is_ordered_around_the_clients() -> None:
    (slot,) = plan([spec(time_min=0.5)])
    to_client, to_server = (
        order(slot, host, t0_utc_s=1_795_000_000.25, starter="epoch", addresses=ADDRESSES)
        for host in (CLIENT, SERVER)
    )
    assert to_client["start_ns"] == "1795000030250000000"
    assert to_client["end_ns"] == "1795000040250000000"
    assert to_client["limit_ns"] == "1795000043250000000"
    assert to_server["start_ns"] == "1795000028250000000"
    assert to_server["limit_ns"] == "1795000043750000000"
    assert to_client["t0_ns"] == to_server["t0_ns"] == to_client["start_ns"]
    assert (to_client["remote"], to_client["peer"]) == ("10.0.0.1", "10.8.0.1")


def test_hosts_that_share_processors_get_more_time_to_start_the_more_they_are() -> None:
    alone, few, many = (
        pacing_for(1000, shared_cpu=False),
        pacing_for(10, shared_cpu=True),
        pacing_for(1000, shared_cpu=True),
    )
    assert alone == Pacing(late_s=0.5, spread_s=1.0)
    assert (few.late_s, few.spread_s) == (1.05, 1.0)
    assert (many.late_s, many.spread_s) == (6.0, 20.0)


def test_the_order_says_how_late_a_host_may_start_and_a_server_lives_on_its_lead() -> None:
    (slot,) = plan([spec()])
    pacing = Pacing(late_s=5.5, spread_s=20.0)
    to_client, to_server = (
        order(slot, host, t0_utc_s=1e9, starter="epoch", addresses=ADDRESSES, pacing=pacing)
        for host in (CLIENT, SERVER)
    )
    assert (to_client["late_ns"], to_client["spread_ns"]) == ("5500000000", "20000000000")
    assert to_server["late_ns"] == "1500000000"


@pytest.mark.parametrize("address", ["10.0.0.1\nrole=server", "$(reboot)", "", "a b", "-rf"])
def test_an_address_that_is_not_a_plain_word_never_reaches_a_host(address: str) -> None:
    (slot,) = plan([spec()])
    with pytest.raises(ScheduleError, match="not a plain word"):
        order(slot, CLIENT, t0_utc_s=1e9, starter="epoch", addresses=Addresses(remote=address))


def crontab_of(slots: tuple[Slot, ...], t0: datetime, workdir: str = "/var/lib/perfkit") -> str:
    return crontab(slots, t0, shell="/bin/sh", path="/usr/bin:/bin", workdir=workdir)


def test_a_crontab_says_shell_path_and_one_line_a_test_a_minute_early() -> None:
    slots = plan([spec("a"), spec("b", time_min=1.9)])
    text = crontab_of(slots, datetime(2026, 11, 22, 12, 34, 5, tzinfo=UTC))
    assert text.splitlines() == [
        "# perfkit: begin",
        "SHELL=/bin/sh",
        "PATH=/usr/bin:/bin",
        'MAILTO=""',
        "33 12 22 11 * /var/lib/perfkit/bin/run-slot "
        "/var/lib/perfkit/slots/01-a.order >/dev/null 2>&1",
        "34 12 22 11 * /var/lib/perfkit/bin/run-slot "  # T0 + 114 s is 12:35:59
        "/var/lib/perfkit/slots/02-b.order >/dev/null 2>&1",
        "# perfkit: end",
    ]
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("t0", "fields"),
    [
        (datetime(2026, 11, 23, 0, 0, 0, tzinfo=UTC), "59 23 22 11 *"),  # midnight
        (datetime(2026, 12, 1, 0, 0, 59, tzinfo=UTC), "59 23 30 11 *"),  # month
        (datetime(2027, 1, 1, 0, 0, 30, tzinfo=UTC), "59 23 31 12 *"),  # year
        (datetime(2028, 3, 1, 0, 0, 0, tzinfo=UTC), "59 23 29 2 *"),  # leap day
        (datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))), "29 23 30 6 *"),
    ],
)
def test_a_crontab_line_is_right_over_every_border_of_the_calendar(
    t0: datetime, fields: str
) -> None:
    lines = crontab_of(plan([spec()]), t0).splitlines()
    assert lines[4].startswith(f"{fields} /var/lib/perfkit/bin/run-slot")


@given(
    t0=st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    start_s=st.floats(0, 1e6),
)
def test_cron_fires_between_one_and_two_minutes_before_the_start(
    t0: datetime, start_s: float
) -> None:
    slot = Slot(name="01-a", test=spec("a"), start_s=start_s)
    start = t0 + timedelta(seconds=start_s)
    ahead_s = (start - fires_utc(t0, slot)).total_seconds()
    assert 60 <= ahead_s < 120


def test_percent_signs_and_blanks_in_a_path_survive_cron() -> None:
    text = crontab_of(plan([spec()]), datetime(2026, 1, 2, tzinfo=UTC), workdir="/tmp/50% off")
    assert r"'/tmp/50\% off/bin/run-slot' '/tmp/50\% off/slots/01-direct-tcp.order'" in text
    assert "%" not in text.replace(r"\%", "")


@pytest.mark.parametrize("broken", ["relative", "/bin/sh\n* * * * * reboot", "", "/a\tb\0"])
@pytest.mark.parametrize("argument", ["shell", "path", "workdir"])
def test_a_value_that_would_break_its_crontab_line_is_refused(argument: str, broken: str) -> None:
    values = {"shell": "/bin/sh", "path": "/bin", "workdir": "/var/lib/perfkit"} | {
        argument: broken
    }
    with pytest.raises(ScheduleError, match=argument):
        crontab(plan([spec()]), datetime(2026, 1, 2, tzinfo=UTC), **values)


@given(t0=st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_every_line_of_a_crontab_is_a_comment_a_setting_or_an_entry(t0: datetime) -> None:
    entry = re.compile(r"([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) \* /var/lib/perfkit/bin/run-slot .+")
    for line in crontab_of(plan([spec("a"), spec("b")]), t0).splitlines():
        fields = entry.fullmatch(line)
        assert fields or re.fullmatch(r"# .*|[A-Z]+=.*", line)
        if fields:
            minute, hour, day, month = map(int, fields.groups())
            assert minute < 60
            assert hour < 24
            assert 1 <= day <= 31
            assert 1 <= month <= 12


def test_the_machines_own_crontab_accepts_it(
    tmp_path: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("crontab")
    crontab_program = shutil.which("crontab") or "/usr/bin/crontab"
    file = tmp_path / "crontab"
    file.write_text(crontab_of(plan([spec("a"), spec("b")]), datetime.now(UTC), "/tmp/50% off"))
    dry_run = [crontab_program, "-n", str(file)]  # checks the syntax, installs nothing
    assert subprocess.run(dry_run, capture_output=True, text=True, check=False).returncode == 0
    file.write_text("99 99 99 99 * x\n")
    assert subprocess.run(dry_run, capture_output=True, text=True, check=False).returncode != 0


def orders_of(slot: Slot) -> tuple[dict[str, str], dict[str, str]]:
    """The client's and the server's; T0 is 1,000 s after 1970."""
    client, server = (
        dict(order(slot, host, t0_utc_s=1000.0, starter="epoch", addresses=ADDRESSES))
        for host in (CLIENT, SERVER)
    )
    return client, server


def test_clients_that_connect_first_start_before_the_slot_and_the_server_before_them() -> None:
    (slot,) = plan([replace(spec(), connect_first=True)], clients=100)
    client, server = orders_of(slot)
    connect_ns = round(connect_s_for(100) * 1e9)
    assert connect_ns > 0
    assert int(client["start_ns"]) == 1000 * 10**9 - connect_ns
    assert int(server["start_ns"]) == int(client["start_ns"]) - SERVER_LEAD_S * 10**9
    assert client["send_ns"] == client["t0_ns"] == server["t0_ns"] == str(1000 * 10**9)
    assert client["end_ns"] == str(1010 * 10**9)
    assert "send_ns" not in server


def test_a_test_that_does_not_connect_first_starts_with_its_slot_and_is_told_no_moment() -> None:
    (slot,) = plan([spec()], clients=100)
    client, _ = orders_of(slot)
    assert client["start_ns"] == client["t0_ns"]
    assert "send_ns" not in client
    table = timetable_dict([slot], t0_utc_s=1.0, starter="epoch", addresses=ADDRESSES)
    assert "connect_s" not in table["slots"][0]


def test_the_timetable_keeps_how_long_before_a_slot_its_clients_connect() -> None:
    slots = plan([spec("a"), replace(spec("b"), connect_first=True)], clients=40)
    table = timetable_dict(slots, t0_utc_s=1.0, starter="epoch", addresses=ADDRESSES)
    kept = [slot_from(row).connect_s for row in table["slots"]]
    assert kept == [0.0, connect_s_for(40)]


@pytest.mark.parametrize("clients", [1, 100, 4000])
def test_no_client_connects_before_the_server_of_the_test_before_has_left(clients: int) -> None:
    first, second = plan([spec("a"), replace(spec("b"), connect_first=True)], clients=clients)
    _, leaving = orders_of(first)
    _, coming = orders_of(second)
    assert int(coming["start_ns"]) > int(leaving["limit_ns"])


def test_clients_that_connected_first_are_waited_for_less_long_but_never_more() -> None:
    assert all(connected_grace_for(n) <= grace_for(n) for n in (1, 10, 100, 1000, 4000))
    tests = [replace(spec("tunnel-a"), connect_first=True), spec("tunnel-b")]
    slots = plan(tests, clients=1000, grace_s=grace_for(1000))
    assert [slot.grace_s for slot in slots] == [connected_grace_for(1000), 60]


def test_hosts_confirm_before_the_first_server_starts_for_clients_that_connect_first() -> None:
    slots = plan([replace(spec(), connect_first=True)], clients=1000)
    table = Timetable(slots=slots, t0_utc_s=1e9, addresses=ADDRESSES)
    (server_s,), (client_s,) = table.starts_of(Role.SERVER), table.starts_of(Role.CLIENT)
    assert table.confirm_by_s < server_s < client_s < 1e9
