"""OpenVPN's logs, captured from 2.6.14 and in the stamps of other releases."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from log_damage import mutations, truncations

from perfkit.errors import LogError, TruncatedError
from perfkit.logs import frames, reader
from perfkit.logs.format import Reading, clean
from perfkit.logs.local_times import LOCAL_TIME
from perfkit.logs.openvpn import log

DATA = Path(__file__).parents[3] / "data" / "openvpn" / "log"


def parse(text: str | bytes) -> Reading:
    data = text if isinstance(text, bytes) else text.encode()
    reading = log.parse(clean(data), Path("openvpn.log"))
    frames.check(reading.frame, reading.kind)
    return reading


def events(name: str) -> pd.DataFrame:
    reading = reader.read(DATA / name)
    assert (reading.format, reading.kind) == ("openvpn-log", "vpn-events")
    assert reading.unparsed.count == 0
    return frames.check(reading.frame, "vpn-events")


def test_a_client_that_comes_up_restarts_and_comes_up_again_is_told_in_order() -> None:
    found = events("client-restart.log")
    assert found["event"].tolist() == [
        "start",
        "connected",
        "tunnel-up",
        "restart",
        "connected",
        "tunnel-up",
        "restart",
    ]
    assert found["t_utc"].iloc[2] == pd.Timestamp("2026-11-22T13:15:25Z")
    connected = found.iloc[1]
    assert (connected["common_name"], connected["peer_address"], connected["peer_port"]) == (
        "server",
        "10.77.0.1",
        1194,
    )


def test_every_client_of_a_server_is_named_with_its_address() -> None:
    connected = events("server.log").query("event == 'connected'")
    peers = zip(connected["common_name"], connected["peer_address"], strict=True)
    assert list(peers) == [
        ("branch, office", "10.77.0.4"),
        ("client-001", "10.77.0.2"),
        ("client-001", "10.77.0.3"),
        ("six.example.org", "fd77::5"),
        ("branch, office", "10.77.0.4"),
    ]


def test_a_killed_client_times_out_and_one_that_says_goodbye_disconnects() -> None:
    found = events("server.log")
    lost = found[(found["event"] == "timeout") & (found["common_name"] == "client-001")]
    assert lost["peer_address"].tolist() == ["10.77.0.3"]
    assert lost["text"].iloc[0].startswith("[client-001] Inactivity timeout")
    gone = found[found["event"] == "disconnect"]
    assert set(gone["peer_address"]) == {"10.77.0.2"}
    assert found["event"].iloc[-1] == "exit"


def test_failed_handshakes_are_counted_by_the_restarts_that_end_them() -> None:
    found = events("server.log")
    failed = found[(found["event"] == "restart") & found["text"].str.contains("tls-error")]
    handshakes = found[found["text"].str.contains("TLS handshake failed")]
    assert len(failed) == len(handshakes) > 0
    assert set(failed["peer_address"]) == {"10.77.0.6"}


def test_refused_passwords_and_a_full_server_are_told_and_microseconds_are_kept() -> None:
    server, client = events("server-verb4.log"), events("client-refused.log")
    refused = server[server["event"] == "auth-failed"]
    assert set(refused["peer_address"]) == {"10.77.0.2"}
    assert server["event"].eq("refused").sum() == 1
    assert client["event"].tolist()[-2:] == ["auth-failed", "exit"]
    assert client["t_utc"].iloc[-1] == pd.Timestamp("2026-11-22T13:16:22.400455Z")


def test_unix_stamps_are_utc_and_need_no_note() -> None:
    reading = reader.read(DATA / "server-epoch.log")
    assert LOCAL_TIME not in reading.notes
    first = reading.frame.iloc[0]
    assert (first["event"], first["t_utc"]) == (
        "start",
        pd.Timestamp("2026-11-22T13:16:33.282992Z"),
    )


def test_a_zone_that_is_given_makes_local_times_utc_and_needs_no_note() -> None:
    reading = reader.read(DATA / "client.log", zone="Europe/Helsinki")
    assert str(reading.frame["t_utc"].iloc[0]) == "2026-11-22 11:15:25+00:00"
    assert LOCAL_TIME not in reading.notes


def test_a_log_without_stamps_has_events_without_times_and_says_so() -> None:
    reading = reader.read(DATA / "client-plain.log")
    assert reading.frame["event"].tolist() == [
        "start",
        "network-error",
        "connected",
        "tunnel-up",
        "exit",
    ]
    assert reading.frame["t_utc"].isna().all()
    assert any("--suppress-timestamps" in note for note in reading.notes)


def test_a_server_that_is_not_there_and_a_mistyped_option_end_in_fatal_errors() -> None:
    assert events("client-nobody.log")["event"].tolist() == [
        "start",
        "network-error",
        "restart",
        "fatal",
    ]
    mistake = reader.read(DATA / "client-mistake.log")
    assert mistake.frame["event"].tolist() == ["fatal"]
    assert "no-such-option" in mistake.messages[0]


@pytest.mark.parametrize("name", [path.name for path in sorted(DATA.glob("*.log"))])
def test_every_line_is_an_event_or_ordinary(name: str) -> None:
    reading = reader.read(DATA / name)
    ordinary = next(note for note in reading.notes if note.endswith(" ordinary lines"))
    lines = (DATA / name).read_text().count("\n")
    assert len(reading.frame) + int(ordinary.split()[0]) + reading.unparsed.count == lines


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("Wed Dec 27 01:48:22 2017 us=445895 ", "2017-12-27T01:48:22.445895Z"),
        ("Wed Dec  6 01:48:22 2017 ", "2017-12-06T01:48:22Z"),
        ("2021-03-06 01:48:22 ", "2021-03-06T01:48:22Z"),
        ("2021-03-06T01:48:22.25+02:00 vpn ovpn-server[812]: ", "2021-03-05T23:48:22.25Z"),
        ("Mar  6 01:48:22 vpn openvpn[812]: ", None),
    ],
)
def test_stamps_of_other_releases_and_of_syslog_are_read(stamp: str, moment: str | None) -> None:
    text = f"{stamp}198.51.100.7:1194 TLS Error: TLS handshake failed\n"
    assert log.sniff(text.encode())
    row = parse(text).frame.iloc[0]
    assert (row["event"], row["peer_address"]) == ("tls-error", "198.51.100.7")
    assert row["t_utc"] == pd.Timestamp(moment) if moment else pd.isna(row["t_utc"])


def test_lines_without_the_others_stamp_are_not_understood() -> None:
    stamped = "2021-03-06 01:48:22 Initialization Sequence Completed\n"
    reading = parse(stamped + "RTNETLINK answers: File exists\n2021-13-06 01:48:22 TLS: x\n")
    assert reading.frame["event"].tolist() == ["tunnel-up"]
    assert reading.unparsed.line_nos == (2, 3)


def test_bytes_that_are_no_text_and_lines_longer_than_openvpn_prints_are_not_understood() -> None:
    stamped = b"2021-03-06 01:48:22 Initialization Sequence Completed\n"
    reading = parse(stamped + b"2021-03-06 01:48:22 \xff\xfe\n" + b"x" * 10_000_000 + b"\n")
    assert reading.unparsed.line_nos == (2, 3)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(TruncatedError, match="never wrote"):
        parse(b"")


def test_no_other_tools_text_is_taken_for_openvpns() -> None:
    for text in (
        b"Client connecting to 10.77.0.2, TCP port 5001\n",
        b'"Dstat 0.7.3 CSV output"\n',
        b"TITLE,OpenVPN 2.5.1 x86_64-pc-linux-gnu [SSL (OpenSSL)]\n",
        b"OpenVPN CLIENT LIST\nUpdated,2026-11-22 13:15:32\n",
        b"OpenVPN STATISTICS\n",
        b"epoch,pid,cpu_s,rss_bytes\n",
        b"",
    ):
        assert not log.sniff(text)


def test_a_log_cut_at_any_byte_loses_only_what_was_cut() -> None:
    data = (DATA / "client-nobody.log").read_bytes()
    whole = log.parse(data, Path("x")).frame["line_no"].tolist()
    for damaged in truncations(data):
        try:
            reading = log.parse(damaged, Path("x"))
        except TruncatedError:
            assert not damaged.strip()
            continue
        ended = damaged.count(b"\n")
        kept = [line_no for line_no in reading.frame["line_no"] if line_no <= ended]
        assert kept == [line_no for line_no in whole if line_no <= ended]
        assert reading.partial == (not damaged.endswith(b"\n"))


@pytest.mark.parametrize("name", ["client-nobody.log", "client-plain.log", "server-epoch.log"])
def test_damage_gives_a_checked_frame_or_a_log_error(name: str) -> None:
    for damaged in mutations((DATA / name).read_bytes(), 200, seed=11):
        try:
            reading = log.parse(clean(damaged), Path(name))
        except LogError:
            continue
        frames.check(reading.frame, reading.kind)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("SIGTERM[soft,TLS Error: handshake] received, process exiting", "exit"),
        ("TLS Error: SIGTERM[soft] received, process exiting", "tls-error"),
        ("read UDPv4 [ECONNREFUSED]: TLS key negotiation failed", "network-error"),
        ("TLS Error: TLS key negotiation failed to occur within 60 seconds", "tls-error"),
        ("TLS Auth Error: TLS Error", "auth-failed"),
    ],
)
def test_a_message_that_tells_two_things_is_an_event_of_what_it_says_first(
    text: str, event: str
) -> None:
    reading = log.parse(f"2026-11-22 13:16:01 {text}\n".encode(), Path("a.log"))
    assert list(reading.frame["event"].astype("str")) == [event]
