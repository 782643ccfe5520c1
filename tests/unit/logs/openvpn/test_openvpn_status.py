"""OpenVPN's status files and client statistics, captured from 2.6.14 and as other releases write."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from log_damage import mutations, truncations

from perfkit.errors import LogError, ParseError, TruncatedError
from perfkit.logs import frames, reader
from perfkit.logs.fields import read_time_t, split_end_point
from perfkit.logs.format import Reading, clean
from perfkit.logs.local_times import LOCAL_TIME, read_moment
from perfkit.logs.openvpn import statistics, status

DATA = Path(__file__).parents[3] / "data" / "openvpn"
VERSIONS = ("status-v1.txt", "status-v2.txt", "status-v3.txt")


def _path(name: str) -> Path:
    return DATA / ("statistics" if "statistics" in name else "status") / name


def parse(text: str | bytes) -> Reading:
    data = text if isinstance(text, bytes) else text.encode()
    reading = status.parse(clean(data), Path("status"))
    frames.check(reading.frame, reading.kind)
    return reading


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_gives_every_client_with_its_counters_and_addresses(name: str) -> None:
    reading = reader.read(_path(name))

    assert (reading.format, reading.kind, reading.partial) == (
        "openvpn-status",
        "vpn-clients",
        False,
    )
    assert reading.unparsed.count == 0
    clients = frames.check(reading.frame, "vpn-clients")
    named = clients[clients["common_name"] != "UNDEF"]
    assert sorted(named["common_name"]) == [
        "branch, office",
        "client-001",
        "client-001",
        "six.example.org",
    ]
    six = named[named["common_name"] == "six.example.org"].iloc[0]
    assert (six["peer_address"], six["peer_port"]) == ("fd77::5", 0)
    assert sorted(named["tunnel_address"]) == ["10.8.0.2", "10.8.0.3", "10.8.0.4", "10.8.0.5"]
    assert all(address.startswith("fd88::100") for address in named["tunnel_ipv6_address"])
    pinged = named[named["peer_address"] == "10.77.0.2"].iloc[0]
    assert pinged["recv_bytes"] > 20 * 1000 > named["recv_bytes"].drop(pinged.name).max()


def test_figures_of_version_2_are_those_of_the_file() -> None:
    client = reader.read(DATA / "status" / "status-v2.txt").frame.iloc[0]

    assert client["line_no"] == 4
    assert client["t_utc"] == pd.Timestamp("2026-11-22T13:15:50Z")
    assert (client["peer_address"], client["peer_port"]) == ("10.77.0.2", 36257)
    assert (client["recv_bytes"], client["send_bytes"]) == (23467, 23506)
    assert client["connected_utc"] == pd.Timestamp("2026-11-22T13:15:44Z")
    assert (client["client_id"], client["peer_id"]) == (1, 1)
    assert (client["username"], client["cipher"]) == ("UNDEF", "AES-256-GCM")


def test_unfinished_handshakes_and_shared_names_are_noted() -> None:
    notes = reader.read(DATA / "status" / "status-v2.txt").notes

    assert "2 without a name: the handshake was not over (UNDEF)" in notes
    assert "names used by more than one client: 1" in notes
    assert "dco_enabled: 0" in notes
    assert "Max bcast/mcast queue length: 4" in notes


def test_local_times_are_only_noted_where_there_is_no_unix_time() -> None:
    assert LOCAL_TIME in reader.read(DATA / "status" / "status-v1.txt").notes
    assert LOCAL_TIME not in reader.read(DATA / "status" / "status-v2.txt").notes


def test_a_zone_that_is_given_makes_local_times_utc() -> None:
    for name in ("status-v1.txt", "client-statistics.txt"):
        reading = reader.read(_path(name), zone="-0530")
        assert {t.minute for t in reading.frame["t_utc"]} <= {45, 46}
        assert {t.hour for t in reading.frame["t_utc"]} == {18}
        assert LOCAL_TIME not in reading.notes


OLD_V2 = """TITLE,OpenVPN 2.3.2 x86_64 built on Dec  2 2014
TIME,Tue Mar 21 10:39:14 2017,1490092754
HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,Connected Since (time_t),Username
CLIENT_LIST,one,192.0.2.1:19021,10.8.0.6,693438277,228390856,Thu Mar 16 17:09:03 2017,1489684143,UNDEF
HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)
ROUTING_TABLE,10.8.0.6,one,192.0.2.1:19021,Tue Mar 21 10:26:48 2017,1490092008
GLOBAL_STATS,Max bcast/mcast queue length,0
END
"""


def test_columns_are_found_by_their_header_and_time_t_is_preferred_to_the_local_time() -> None:
    client = parse(OLD_V2).frame.iloc[0]

    assert client["recv_bytes"] == 693438277
    assert client["t_utc"] == pd.Timestamp(1490092754, unit="s", tz="UTC")
    assert client["connected_utc"] == pd.Timestamp(1489684143, unit="s", tz="UTC")
    assert (client["client_id"], client["cipher"]) == (-1, "")


def test_printed_time_and_time_t_that_no_zone_can_reconcile_are_noted() -> None:
    notes = parse(OLD_V2.replace(",1490092754", ",1238702330")).notes
    assert any("more than the offset of any time zone; time_t is taken" in note for note in notes)


def test_a_comma_in_the_user_name_is_told_from_one_in_the_name() -> None:
    text = OLD_V2.replace("1489684143,UNDEF", "1489684143,Doe, Jane")
    client = parse(text).frame.iloc[0]
    assert (client["common_name"], client["username"]) == ("one", "Doe, Jane")


def test_a_status_of_whose_clients_none_can_be_read_is_refused() -> None:
    with pytest.raises(ParseError, match=r":4: a client whose row does not fit the header"):
        parse(OLD_V2.replace("693438277", "69343x277"))


def test_a_client_that_can_be_read_in_no_way_is_missing_and_named() -> None:
    lines = OLD_V2.splitlines(keepends=True)
    other = lines[3].replace("one,", "two,").replace("693438277", "69343x277")
    reading = parse("".join([*lines[:4], other, *lines[4:]]))
    assert reading.frame["common_name"].tolist() == ["one"]
    assert reading.unparsed.line_nos == (5,)
    assert "1 clients are missing: their rows cannot be read" in reading.notes


def test_a_row_before_its_header_is_read_by_it() -> None:
    lines = OLD_V2.splitlines(keepends=True)
    reading = parse("".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    assert reading.frame["recv_bytes"].tolist() == [693438277]
    assert reading.frame["line_no"].tolist() == [3]
    assert reading.unparsed.count == 0


def test_version_1_of_old_releases_has_ctime_and_subnet_and_cached_routes() -> None:
    text = (
        "OpenVPN CLIENT LIST\nUpdated,Thu Jun 18 08:12:15 2015\n"
        "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since\n"
        "foo@example.com,192.0.2.10:49502,334948,1973012,Thu Jun 18 04:23:03 2015\n"
        "ROUTING TABLE\nVirtual Address,Common Name,Real Address,Last Ref\n"
        "10.200.0.0/16,foo@example.com,192.0.2.10:49502,Thu Jun 18 08:12:09 2015\n"
        "192.168.255.9C,foo@example.com,192.0.2.10:49502,Thu Jun 18 08:12:09 2015\n"
        "192.168.255.134,foo@example.com,192.0.2.10:49502,Thu Jun 18 08:12:09 2015\n"
        "GLOBAL STATS\nMax bcast/mcast queue length,0\nEND\n"
    )
    reading = parse(text)
    client = reading.frame.iloc[0]
    assert reading.unparsed.count == 0
    assert client["t_utc"] == pd.Timestamp("2015-06-18T08:12:15Z")
    assert client["tunnel_address"] == "192.168.255.134"


def test_snapshots_under_each_other_are_numbered_and_keep_their_moments() -> None:
    later = OLD_V2.replace("1490092754", "1490092764").replace("693438277", "693438377")
    frame = parse(OLD_V2 + later).frame
    assert frame["snapshot"].tolist() == [0, 1]
    assert frame["recv_bytes"].diff().tolist()[1] == 100
    assert frame["t_utc"].diff().iloc[1] == pd.Timedelta(seconds=10)


def test_what_the_management_interface_says_before_the_status_is_skipped() -> None:
    text = ">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\n" + OLD_V2
    assert status.sniff(text.encode())
    assert parse(text).unparsed.count == 0


def test_a_status_without_its_end_is_partial_and_its_last_cut_line_is_not_trusted() -> None:
    data = (DATA / "status" / "status-v1.txt").read_bytes()
    cut = data[: data.index(b"2026-11-22 13:15:25\nROUTING")]
    reading = parse(cut)
    assert reading.partial
    assert len(reading.frame) == 6
    assert reading.unparsed.samples[0].startswith("six.example.org")


def test_a_client_whose_name_is_a_title_is_a_client() -> None:
    row = "END,192.0.2.1:5,1,2,2026-11-22 13:15:25\n"
    data = (DATA / "status" / "status-v1.txt").read_text().replace("ROUTING", f"{row}ROUTING", 1)
    reading = parse(data)
    assert reading.frame["common_name"].iloc[-1] == "END"
    assert reading.unparsed.count == 0


def test_an_empty_status_and_one_without_a_title_are_refused() -> None:
    with pytest.raises(TruncatedError, match="had not written it yet"):
        parse(b"\n\n")
    with pytest.raises(ParseError, match="title of an OpenVPN status expected"):
        parse("BrokenVPN CLIENT LIST\nUpdated,2026-11-22 13:15:32\n")


def test_client_statistics_are_the_counters_of_the_process() -> None:
    reading = reader.read(DATA / "statistics" / "client-statistics.txt")
    row = frames.check(reading.frame, "vpn-counters").iloc[0]
    assert reading.format == "openvpn-statistics"
    assert row["t_utc"] == pd.Timestamp("2026-11-22T13:16:08Z")
    assert [row[f"{name}_bytes"] for name in ("tun_read", "tun_write", "link_read")] == [
        20656,
        20608,
        23613,
    ]
    assert (row["link_write_bytes"], row["auth_read_bytes"]) == (23521, 20704)
    assert "pre_compress_bytes" not in reading.frame


def test_counters_of_compression_are_there_when_printed_and_lost_digits_are_not_trusted() -> None:
    whole = (DATA / "statistics" / "client-statistics.txt").read_bytes()
    more = whole.replace(b"END", b"pre-compress bytes,45388190\nEND")
    reading = statistics.parse(more, Path("status"))
    assert reading.frame["pre_compress_bytes"].tolist() == [45388190]

    cut = statistics.parse(whole[: whole.index(b"23521") + 3], Path("status"))
    assert cut.partial
    assert cut.unparsed.samples == ("TCP/UDP write bytes,235",)
    assert cut.frame["link_write_bytes"].isna().all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.77.0.2:50148", ("10.77.0.2", 50148)),
        ("10.77.0.2", ("10.77.0.2", 0)),
        ("fd77::5", ("fd77::5", 0)),
        ("[fd77::5]:1194", ("fd77::5", 1194)),
        ("[AF_INET6]fd77::5:1194", ("fd77::5", 1194)),
        ("[AF_INET6]::ffff:10.77.0.2:50148", ("10.77.0.2", 50148)),
        ("::ffff:10.77.0.2:50148", ("10.77.0.2", 50148)),
        ("udp4:10.77.0.2:50148", ("10.77.0.2", 50148)),
        ("tcp6-server:[fd77::5]:1194", ("fd77::5", 1194)),
        ("office", None),
        ("10.77.0.2:port", None),
        ("", None),
    ],
)
def test_end_points_are_taken_apart_in_every_form(
    text: str, expected: tuple[str, int] | None
) -> None:
    assert split_end_point(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22 13:15:50", "2026-11-22T13:15:50Z"),
        ("Sun Jan  1 23:42:00 2012", "2012-01-01T23:42:00Z"),
        ("2026-11-22T13:15:50.5+01:00", "2026-11-22T12:15:50.5Z"),
        ("2026-11-31 13:15:50", None),
        ("Sun Foo  1 23:42:00 2012", None),
        ("9999-11-22 13:15:50", None),
    ],
)
def test_moments_are_read_in_every_form(text: str, expected: str | None) -> None:
    assert read_moment(text) == (pd.Timestamp(expected) if expected else None)


def test_a_unix_time_beyond_what_a_frame_can_hold_is_none() -> None:
    assert read_time_t("9999999999") is None
    assert read_time_t("-5") is None
    assert read_time_t("1795353393.282043") == pd.Timestamp("2026-11-22T13:16:33.282043Z")


@pytest.mark.parametrize("name", ["status-v1.txt", "status-v3.txt", "client-statistics.txt"])
def test_a_status_cut_at_any_byte_gives_the_rows_before_the_cut_or_a_log_error(name: str) -> None:
    parser = statistics if "statistics" in name else status
    data = _path(name).read_bytes()
    whole = parser.parse(data, Path(name)).frame
    columns = ["line_no", *(name for name in whole if name.endswith("_bytes"))]
    rows = whole[columns].to_numpy().tolist()
    for damaged in truncations(data[:-1]):
        try:
            reading = parser.parse(damaged, Path(name))
        except LogError:
            assert damaged.count(b"\n") < 3  # a status cut before its client list is none
            continue
        assert reading.partial or damaged.endswith(b"END")
        if parser is status:
            found = reading.frame[columns].to_numpy().tolist()
            assert found == rows[: len(found)]
            assert len(found) >= sum(row[0] <= damaged.count(b"\n") for row in rows)


@pytest.mark.parametrize("name", [*VERSIONS, "client-statistics.txt"])
def test_damage_gives_a_checked_frame_or_a_log_error(name: str) -> None:
    parser = statistics if "statistics" in name else status
    for damaged in mutations(_path(name).read_bytes(), 300, seed=7):
        try:
            reading = parser.parse(clean(damaged), Path(name))
        except LogError:
            continue
        frames.check(reading.frame, reading.kind)
