"""What is expected of a host, and what is made of a host's list of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from perfkit.measure.collect import expected_files, parse_listing, surely_watched
from perfkit.measure.plan import plan
from perfkit.model import Host, Role, TestSpec
from perfkit.ssh.jump_hosts import to_jump

CLIENT = Host(name="client-001", role=Role.CLIENT, address="a", host_key="k")
SERVER = Host(name="server", role=Role.SERVER, address="a", host_key="k")
SLOTS = plan(
    [
        TestSpec(name="a", script=Path("a"), server_script=Path("a.server"), duration_s=1),
        TestSpec(name="b", script=Path("b"), server_script=None, duration_s=1),
    ]
)
DIGEST = "0123456789abcdef" * 4


def test_a_client_delivers_log_and_record_of_every_slot() -> None:
    assert expected_files(CLIENT, SLOTS, watched=False) == (
        "01-a.log",
        "01-a.events.json",
        "02-b.log",
        "02-b.events.json",
    )


def test_a_watched_server_delivers_the_monitor_and_what_its_scripts_said() -> None:
    assert expected_files(SERVER, SLOTS, watched=True) == (
        "01-a.server.log",
        "01-a.server.events.json",
        "monitor.csv",
    )


def test_a_server_delivers_log_and_record_of_each_of_its_programs() -> None:
    slots = [replace(slot, servers=2) for slot in SLOTS]  # of b none runs there
    assert expected_files(CLIENT, slots, watched=False) == expected_files(
        CLIENT, SLOTS, watched=False
    )
    assert expected_files(SERVER, slots, watched=False) == (
        "01-a.server.log",
        "01-a.server.events.json",
        "01-a.server-2.log",
        "01-a.server-2.events.json",
    )


def test_the_last_client_left_of_a_machine_need_not_be_the_one_that_watched_it() -> None:
    machine = replace(CLIENT, name="lab-1", machine="lab-1")
    packed = replace(CLIENT, name="client-002", machine="lab-1", jump=to_jump(machine))
    alone = replace(CLIENT, machine="lab-2")
    assert surely_watched([SERVER, packed, alone], "all") == {"server", "client-001"}
    assert surely_watched([SERVER, packed, alone], "server") == {"server"}


def test_a_listing_gives_digest_and_size_by_name() -> None:
    listed, refused = parse_listing(f"{DIGEST}  ./01-a.log\nsize 17 01-a.log\n")
    assert refused == []
    assert (listed["01-a.log"].sha256, listed["01-a.log"].size_bytes) == (DIGEST, 17)


def test_a_name_that_is_no_log_is_refused_and_printable() -> None:
    names = ["../../etc/passwd", "/abs", ".hidden", "a b", "-rf", "\x1b[2J", "", "a" * 200]
    listing = "".join(f"{DIGEST}  ./{name}\nsize 1 {name}\n" for name in names)
    listed, refused = parse_listing(listing)
    assert listed == {}
    assert len(refused) == len(names)
    assert all(line.isprintable() for line in refused)


@given(st.text())
def test_whatever_a_host_says_a_name_never_leaves_its_folder(text: str) -> None:
    listing = "".join(f"{DIGEST}  ./{line}\nsize 1 {line}\n" for line in text.splitlines())
    listed, _ = parse_listing(listing)
    raw = Path("/runs/x/raw/client-001")
    assert all((raw / name).parent == raw and name not in {".", ".."} for name in listed)
