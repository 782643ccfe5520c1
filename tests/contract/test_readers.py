"""Every parser under one contract: it knows its own, keeps the frames' rules, and never breaks.

To bring a parser under it, put real output under tests/data and name its folder in `FIXTURES`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from perfkit.errors import LogError
from perfkit.logs import registry
from perfkit.logs.format import SNIFF_BYTES, Format, clean
from perfkit.logs.frames import check
from perfkit.logs.reader import read, sniff

DATA = Path(__file__).parents[1] / "data"
FIXTURES = {
    "iperf2": ("iperf2", "*.log"),
    "iperf2_csv": ("iperf2-csv", "*.csv"),
    "iperf3/json": ("iperf3-json", "*.json"),
    "iperf3/text": ("iperf3-text", "*.txt"),
    "dool": ("dstat", "*.csv"),
    "dstat": ("dstat", "*.csv"),
    "openvpn/status": ("openvpn-status", "*.txt"),
    "openvpn/statistics": ("openvpn-statistics", "*.txt"),
    "openvpn/log": ("openvpn-log", "*.log"),
    "irtt": ("irtt", "[lp]*.txt"),
    "wireguard/peers": ("wireguard-peers", "*"),
    "wireguard/log": ("wireguard-log", "*.log"),
}
CASES = [
    pytest.param(path, name, id=f"{folder}/{path.name}")
    for folder, (name, pattern) in FIXTURES.items()
    for path in sorted((DATA / folder).glob(pattern))
]
MADE_UP = {
    "procstat": b"epoch,pid,cpu_s,rss_bytes,pss_bytes\n100.5,7,1.25,4096,99\n101.5,7,1.5,4096,\n",
    "queuestat": b"epoch,device,drops\n100.5,eth0,3\n100.5,tun0,0\n101.5,eth0,7\n101.5,tun0,1\n",
    "nicstat": b"epoch,device,counter,count\n100.5,eth0,pps_allowance_exceeded,3\n"
    b"100.5,eth0,bw_in_allowance_exceeded,0\n101.5,eth0,pps_allowance_exceeded,17\n",
    "samples": b"epoch,quantity,value,note\n100.5,rtt_s,0.25,loaded\n101.5,rtt_s,,late\n# end\n",
    "events": b'{"slot":"01-a","host":"h","starter":"epoch","planned_start_utc_s":1.0,'
    b'"planned_end_utc_s":2.0,"start_utc_s":1.0,"end_utc_s":2.0,"exit_status":0,"timed_out":false}',
}
LIMIT_S_PER_KB = 0.1
ENOUGH_BYTES = 2000  # of a log that is cut at each of them


def parse(chosen: Format, data: bytes) -> None:
    """Damaged input gives a frame that keeps the contract, or a LogError; anything else fails."""
    started = time.process_time()  # a busy machine is no slow parser
    try:
        reading = chosen.parse(clean(data), Path("damaged"))
    except LogError:
        reading = None
    if reading is not None:
        check(reading.frame, reading.kind)
        assert reading.kind == chosen.kind
        assert reading.unparsed.count >= len(reading.unparsed.line_nos)
    assert time.process_time() - started < 1.0 + LIMIT_S_PER_KB * len(data) / 1000


@pytest.mark.parametrize(("path", "name"), CASES)
def test_a_parser_knows_its_own_output_and_no_other_parser_does(path: Path, name: str) -> None:
    head = clean(path.read_bytes())[:SNIFF_BYTES]
    assert sniff(path) == name
    assert [n for n, f in registry.formats().items() if f.sniff(head)] == [name]


@pytest.mark.parametrize(("path", "name"), CASES)
def test_real_output_keeps_the_column_contract_and_is_understood(path: Path, name: str) -> None:
    reading = read(path)
    check(reading.frame, reading.kind)
    assert reading.kind == registry.get_format(name).kind
    assert (reading.unparsed.count, reading.partial) == (0, False)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_reading_twice_gives_the_same(path: Path, name: str) -> None:
    assert read(path).frame.equals(read(path, name).frame)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_line_ends_of_another_system_and_a_byte_order_mark_change_nothing(
    path: Path, name: str
) -> None:
    chosen = registry.get_format(name)
    data = path.read_bytes()
    foreign = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")
    assert chosen.parse(clean(foreign), path).frame.equals(chosen.parse(data, path).frame)


def _smallest_of_each_format() -> list[tuple[str, bytes]]:
    made = list(MADE_UP.items())
    for folder, (name, pattern) in FIXTURES.items():
        smallest = min((DATA / folder).glob(pattern), key=lambda p: p.stat().st_size)
        data = smallest.read_bytes()
        if len(data) > ENOUGH_BYTES:  # its last lines: those before are no others to a parser
            data = data[data.index(b"\n", len(data) - ENOUGH_BYTES) + 1 :]
        made.append((name, data))
    return made


SMALLEST = [pytest.param(name, data, id=name) for name, data in _smallest_of_each_format()]


@pytest.mark.parametrize(("name", "data"), SMALLEST)
def test_a_log_cut_at_any_byte_is_read_in_part_or_refused(name: str, data: bytes) -> None:
    chosen = registry.get_format(name)
    for length in range(len(data)):
        parse(chosen, data[:length])


@pytest.mark.parametrize(("name", "data"), SMALLEST)
def test_a_log_with_random_damage_is_read_in_part_or_refused(name: str, data: bytes) -> None:
    chosen, chance = registry.get_format(name), random.Random(20261122)
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(damaged))
            end = place + chance.randint(0, 12)
            damaged[place:end] = chance.choice(
                [
                    b"",
                    chance.randbytes(3),
                    b"\n",
                    b'"',
                    b",",
                    b"-",
                    b"9" * 30,
                    b"[",
                    b"nan",
                    b"1e999",
                ]
            )
        parse(chosen, bytes(damaged))


@pytest.mark.parametrize("name", sorted(registry.formats()))
@pytest.mark.parametrize(
    "data",
    [
        b"A" * 2_000_000,
        b"[  1] " * 200_000,
        b"9" * 1_000_000 + b"\n",
        b'"' * 100_000 + b"\n",
        b"\xff\xfe" * 100_000,
        b"\n" * 200_000,
        b"[  1] 0.0-1.0 sec " + b" " * 500_000 + b"1 Bytes\n",
    ],
    ids=["one-line", "ids", "digits", "quotes", "latin", "blank", "spaces"],
)
def test_hostile_lines_end_quickly(name: str, data: bytes) -> None:
    parse(registry.get_format(name), data)
