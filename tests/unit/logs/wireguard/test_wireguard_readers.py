"""Dumps of `wg` and the log of wireguard-go, as they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from perfkit.errors import LogError, ParseError, TruncatedError
from perfkit.logs.frames import check
from perfkit.logs.local_times import LOCAL_TIME
from perfkit.logs.wireguard import log, peers

DATA = Path(__file__).parents[3] / "data" / "wireguard"
SECRET = "SECRETSECRETSECRETSECRETSECRETSECRETSECRETS="
KEYS = [f"{letter * 43}=" for letter in "ABC"]


def interface(private: str = "(hidden)") -> str:
    return f"wg0\t{private}\t{KEYS[0]}\t1194\toff\n"


def peer(key: str, handshake: int = 1764496790, recv: int = 1000, send: int = 2000) -> str:
    return f"wg0\t{key}\t(hidden)\t10.0.0.2:5000\t10.8.0.2/32\t{handshake}\t{recv}\t{send}\t25\n"


def dump(*rows: str, at: str = "1764496800.5") -> str:
    return f"# {at} dump\n{interface()}{''.join(rows)}# end\n"


NAMES = f"# 1764496700.0 peers of kernel: WireGuard of Linux 6.1\n# peer {KEYS[1]} client-001\n"


def read(text: str) -> peers.Reading:
    reading = peers.parse(text.encode(), Path("wireguard-peers.log"))
    check(reading.frame, reading.kind)
    return reading


def test_each_dump_is_a_snapshot_with_its_time_and_clients_by_name() -> None:
    reading = read(NAMES + dump(peer(KEYS[1])) + dump(peer(KEYS[1], recv=9), at="1764496805.5"))
    frame = reading.frame
    assert frame["snapshot"].tolist() == [0, 1]
    assert frame["common_name"].tolist() == ["client-001"] * 2
    assert frame["recv_bytes"].tolist() == [1000.0, 9.0]
    assert frame["t_utc"].diff().dt.total_seconds().tolist()[1:] == [5.0]
    assert frame["handshake_utc"].tolist() == [pd.Timestamp(1764496790, unit="s", tz="UTC")] * 2
    assert frame[["peer_address", "peer_port", "tunnel_address"]].iloc[0].tolist() == [
        "10.0.0.2", 5000, "10.8.0.2",
    ]  # fmt: skip
    assert (reading.unparsed.count, reading.partial, reading.notes) == (0, False, ())


def test_a_peer_that_never_came_has_no_handshake_and_no_address() -> None:
    row = f"wg0\t{KEYS[2]}\t(none)\t(none)\t10.8.0.4/32,fd08::4/128\t0\t0\t0\toff\n"
    only = read(dump(row)).frame.iloc[0]
    assert pd.isna(only["handshake_utc"])
    assert (only["peer_address"], only["peer_port"]) == ("", 0)
    assert (only["tunnel_address"], only["tunnel_ipv6_address"]) == ("10.8.0.4", "fd08::4")
    assert only["common_name"] == KEYS[2]  # nobody has said whose it is


def test_a_dump_that_was_cut_is_partial_and_says_so() -> None:
    whole = NAMES + dump(peer(KEYS[1]), peer(KEYS[2]))
    reading = read(whole.removesuffix("# end\n"))
    assert reading.partial
    assert "no end" in reading.notes[0]
    assert len(reading.frame) == 2
    cut = read(whole[: whole.rindex("\t2000")])
    assert len(cut.frame) == 1  # 200 of 2000 bytes is no figure
    assert cut.unparsed.count == 1


def test_a_dump_in_the_middle_without_an_end_is_named() -> None:
    reading = read(dump(peer(KEYS[1])).removesuffix("# end\n") + dump(peer(KEYS[1])))
    assert not reading.partial
    assert "line 4: the dump before it has no end" in reading.notes


@pytest.mark.parametrize("spoilt", ["x\n", "\tmore\n", "\n"])
def test_no_key_of_a_line_that_is_not_understood_is_shown(spoilt: str) -> None:
    line = interface(SECRET).removesuffix("\n").replace("\t1194", "") + spoilt
    reading = read(dump(peer(KEYS[1])) + line)
    assert reading.unparsed.count == 1
    assert "SECRET" not in f"{reading.unparsed.samples} {reading.notes} {reading.messages}"
    with pytest.raises(ParseError) as caught:
        peers.parse(line.encode(), Path("x"))
    assert "SECRET" not in str(caught.value)


def test_a_dump_that_a_person_kept_has_no_times_and_its_private_key_is_not_shown() -> None:
    reading = read(interface(SECRET) + peer(KEYS[1]))
    assert reading.unparsed.count == 0
    assert reading.frame["t_utc"].isna().all()
    assert "no times of their own" in reading.notes[0]
    assert "SECRET" not in str(reading)
    assert SECRET not in reading.frame.to_csv()


@pytest.mark.parametrize(
    "row",
    [
        peer(KEYS[1]).replace("10.0.0.2:5000", "10.0.0.999:5000"),
        peer(KEYS[1]).replace("1764496790", "99999999999"),
        peer(KEYS[1]).replace("\t1000\t", "\t-5\t"),
        peer(KEYS[1]).replace("\t25\n", "\n"),
        peer("short="),
    ],
)
def test_a_row_with_a_wrong_cell_is_not_understood_and_counts_nothing(row: str) -> None:
    reading = read(dump(row, peer(KEYS[2])))
    assert reading.frame["common_name"].tolist() == [KEYS[2]]
    assert reading.unparsed.count == 1


@pytest.mark.parametrize("parse", [peers.parse, log.parse])
def test_an_empty_file_is_told_from_one_of_another_kind(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(TruncatedError):
        parse(b"\n", Path("x"))
    with pytest.raises(LogError, match="expected"):
        parse(b"hello\nworld\n", Path("x"))


def test_a_log_of_the_sampler_before_its_first_dump_has_no_rows() -> None:
    reading = read(NAMES)
    assert reading.frame.empty
    assert reading.unparsed.count == 0


def test_the_captured_dumps_agree_with_what_was_done() -> None:
    first, later = (
        peers.parse((DATA / "peers" / name).read_bytes(), Path(name)).frame
        for name in ("dump.txt", "later.txt")
    )
    assert sorted(first["tunnel_address"]) == ["10.8.0.2", "10.8.0.3", "10.8.0.4"]
    by_address = first.set_index(first["tunnel_address"].astype("str"))
    assert by_address["handshake_utc"].isna().to_dict() == {
        "10.8.0.2": False, "10.8.0.3": False, "10.8.0.4": True,
    }  # fmt: skip
    assert by_address.loc["10.8.0.3", "tunnel_ipv6_address"] == "fd08::3"
    # 20 pings of 84 bytes, padded to 96, with 32 bytes of header, and a handshake of 148 bytes.
    assert by_address.loc["10.8.0.3", "recv_bytes"] >= 20 * 128 + 148
    moved = later.set_index(later["tunnel_address"].astype("str"))["handshake_utc"]
    renewed = (moved["10.8.0.2"] - by_address.loc["10.8.0.2", "handshake_utc"]).total_seconds()
    assert renewed >= 120


def test_the_first_handshake_with_a_peer_is_the_tunnels_and_later_ones_renew_its_keys() -> None:
    reading = log.parse((DATA / "log" / "one.log").read_bytes(), Path("one.log"))
    check(reading.frame, reading.kind)
    events = reading.frame["event"].tolist()
    assert events[0] == "timeout"  # its server was not there yet
    assert events.index("tunnel-up") < events.index("renegotiation")
    assert events.count("tunnel-up") == 1
    assert events[-1] == "exit"
    assert reading.notes == (LOCAL_TIME,)


def test_the_servers_log_names_the_peers_that_it_met() -> None:
    text = (DATA / "log" / "server.log").read_text()
    keys = [
        line.split("\t")[1]
        for line in (DATA / "peers" / "dump.txt").read_text().splitlines()
        if "10.8.0.2/32" in line
    ]
    reading = log.parse(f"{text}# peer {keys[0]} client-001\n".encode(), Path("server.log"))
    met = reading.frame[reading.frame["event"] == "connected"]
    assert sorted(met["common_name"]) == ["", "client-001"]


def test_a_start_of_ours_carries_its_own_time_and_the_zone_is_the_callers() -> None:
    text = (
        "DEBUG: (wg0) 2026/11/30 12:00:05 peer(AAAA…AAAA) - Received handshake response\n"
        "# 1764496800.25 start process: wireguard-go 0.0.20220316\n"
    )
    east = timezone(timedelta(hours=2))
    frame = log.parse(text.encode(), Path("x"), zone=east).frame
    assert frame["t_utc"].tolist() == [
        pd.Timestamp(datetime(2026, 11, 30, 10, 0, 5, tzinfo=UTC)),
        pd.Timestamp(1764496800.25, unit="s", tz="UTC"),
    ]


def test_errors_of_the_program_are_messages_and_events() -> None:
    text = "ERROR: (wg0) 2026/11/30 10:00:00 Failed to create TUN device: no such device\n"
    reading = log.parse(text.encode(), Path("x"))
    assert reading.frame["event"].tolist() == ["network-error"]
    assert reading.messages == ("Failed to create TUN device: no such device",)
