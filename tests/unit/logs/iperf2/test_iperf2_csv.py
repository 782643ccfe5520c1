"""iperf 2's CSV, against the cells of the captured files."""

from __future__ import annotations

import csv
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from log_damage import mutations, read_or_refuse, truncations

from perfkit.errors import LogError, TruncatedError
from perfkit.logs.format import Reading
from perfkit.logs.frames import check
from perfkit.logs.iperf2.csv import parse, sniff

DATA = Path(__file__).parents[3] / "data" / "iperf2_csv"
PATH = Path("log.csv")
HEADER = "time,srcaddress,srcport,dstaddr,dstport,transferid,istart,iend,bytes,speed"
ROW = "20261122120001,10.0.0.2,40000,10.0.0.1,5001,3,0.0-1.0,1000,8000"


def read(name: str) -> Reading:
    return parse((DATA / name).read_bytes(), DATA / name)


def cells(name: str) -> list[list[str]]:
    with (DATA / name).open(newline="") as file:
        return [row for row in csv.reader(file) if row and row[0][0] in "+-12"]


def rows(frame: pd.DataFrame, kind: str, side: str) -> pd.DataFrame:
    return frame[(frame["kind"] == kind) & (frame["side"] == side)]


def lines(*texts: str, end: str = "\n") -> bytes:
    return ("\n".join(texts) + end).encode()


def test_every_row_is_read_with_its_own_figures() -> None:
    frame, printed = read("2.1.8-tcp.server.csv").frame, cells("2.1.8-tcp.server.csv")
    assert frame["size_bytes"].tolist() == [float(row[7]) for row in printed]
    assert frame["throughput_bps"].tolist() == [float(row[8]) for row in printed]
    assert frame["end_s"].tolist() == [float(row[6].split("-")[1]) for row in printed]
    assert frame["stream_id"].tolist() == [row[5] for row in printed]


def test_a_servers_file_is_its_clients_apart_and_received() -> None:
    reading = read("2.1.8-tcp.server.csv")
    assert set(reading.frame["side"]) == {"receiver"}
    of_stream = reading.frame.groupby("stream")
    assert of_stream["peer_address"].first().tolist() == ["127.0.0.3", "127.0.0.2", "127.0.0.4"]
    assert set(reading.frame["local_port"]) == {5001}
    assert of_stream["kind"].agg(list).tolist() == [["interval", "interval", "summary"]] * 3
    whole = of_stream["size_bytes"].last()  # the last fraction of a second is in it only
    parts = of_stream["size_bytes"].sum() - whole
    assert ((parts > 0.99 * whole) & (parts <= whole)).all()


def test_one_clients_rows_do_not_tell_who_wrote_them() -> None:
    reading = read("2.1.8-tcp-p2.client-2.csv")
    assert set(reading.frame["side"]) == {"unknown"}
    assert set(reading.frame["local_address"]) == {"127.0.0.2"}
    assert reading.frame["stream"].nunique() == 2
    assert any("does not say whether" in note for note in reading.notes)


def test_files_of_clients_put_together_are_not_taken_for_a_servers() -> None:
    first, second = (ROW.replace("12000", f"1200{n}").replace(",3,", f",{n},") for n in (3, 1))
    other = second.replace("10.0.0.2", "10.0.0.9")
    assert set(parse(lines(first, other), PATH).frame["side"]) == {"unknown"}
    assert set(parse(lines(other, first), PATH).frame["side"]) == {"receiver"}


def test_a_udp_client_is_known_by_datagrams_it_cannot_count() -> None:
    frame = read("2.1.8-udp.client-2.csv").frame
    assert set(frame["side"]) == {"sender"}
    assert set(frame["protocol"]) == {"udp"}
    assert frame["datagrams"].tolist()[:2] == [44.0, 43.0]
    assert frame["datagrams"].isna().tolist() == [False, False, True]
    assert "lost" not in frame
    assert "jitter_s" not in frame


def test_a_udp_servers_losses_and_jitter_are_in_our_units() -> None:
    frame, printed = read("2.2.n-udp-e.server.csv").frame, cells("2.2.n-udp-e.server.csv")
    assert frame["lost"].tolist() == [float(row[11]) for row in printed]
    assert frame["datagrams"].tolist() == [float(row[12]) for row in printed]
    assert frame["jitter_s"].tolist() == [float(row[10]) / 1000 for row in printed]
    assert frame["lost"].sum() > 0


def test_an_older_version_puts_its_own_end_first() -> None:
    server = read("2.0.13-udp.server.csv").frame
    assert set(server["side"]) == {"receiver"}
    assert set(server["local_port"]) == {5001}
    client = read("2.0.13-udp.client-2.csv").frame
    assert client["side"].tolist() == ["sender", "sender", "receiver"]
    assert client["kind"].tolist() == ["interval", "summary", "summary"]
    assert client["stream"].unique().tolist() == [0]
    assert set(client["local_address"]) == {"127.0.0.2"}
    assert set(client["protocol"]) == {"udp"}


@pytest.mark.parametrize("name", ["2.0.13-tcp-p2.server.csv", "2.2.n-tcp-e.server.csv"])
def test_a_negative_id_adds_up_others(name: str) -> None:
    frame = read(name).frame
    groups = frame[frame["stream"] == -1]
    assert set(groups["stream_id"]) == {"SUM"}
    assert groups["kind"].str.startswith("group-").all()
    assert len(groups) == sum(int(row[5]) < 0 for row in cells(name))
    assert frame.loc[frame["stream"] >= 0, "stream"].nunique() == 6


def test_a_header_names_what_follows_the_rate() -> None:
    name = "2.2.n-tcp-e.client-3.csv"
    frame, printed = read(name).frame, cells(name)
    assert set(frame["side"]) == {"sender"}
    assert frame["retransmits"].tolist() == [float(row[12]) for row in printed]
    own = frame["stream"] >= 0
    known = [float(row[15]) / 1e6 for row in printed if int(row[5]) >= 0]
    assert frame.loc[own, "rtt_s"].tolist() == pytest.approx(known)
    assert set(read("2.2.n-tcp-e.server.csv").frame["side"]) == {"receiver"}


def test_columns_without_a_header_are_told_by_their_number() -> None:
    frame = parse(lines(f"+0000:{ROW},12,0,4294967295,-1,0,0", f"+0000:{ROW},12,0,7,9,250,8"), PATH)
    assert frame.frame["retransmits"].isna().tolist() == [True, False]
    assert frame.frame["rtt_s"].tolist()[1] == 250e-6
    assert set(frame.frame["side"]) == {"sender"}


def test_a_stamp_with_its_zone_says_when_a_stream_began() -> None:
    # 2.2 stamps an interval with the end of the next one, and the summary with its own end.
    name = "2.2.n-tcp-e-kolkata.client-2.csv"
    *_, summary = cells(name)
    reading = read(name)
    printed = pd.to_datetime(summary[0].removeprefix("+0530:"), format="%Y%m%d%H%M%S.%f")
    began = printed - pd.Timedelta(hours=5, minutes=30) - pd.Timedelta(seconds=float(summary[7]))
    difference = reading.frame["connected_utc"] - began.tz_localize("UTC")
    assert difference.abs().max() < pd.Timedelta("1ms")
    assert not any("zone" in note for note in reading.notes)


def test_a_local_stamp_is_taken_as_utc_and_that_is_said() -> None:
    reading = parse(lines(ROW, ROW.replace("0001,10", "0003,10").replace("0.0-1", "0.0-3")), PATH)
    assert reading.frame["connected_utc"].unique().tolist() == [
        pd.Timestamp("2026-11-22 12:00:00", tz="UTC")
    ]
    assert any("local time without a zone" in note for note in reading.notes)
    kolkata = read("2.1.8-tcp-e-kolkata.server.csv").frame["connected_utc"]  # 14:01:46 UTC
    assert set(kolkata.dt.floor("s")) == {pd.Timestamp("2026-11-22 19:31:46", tz="UTC")}


def test_the_year_1970_is_no_time() -> None:
    reading = read("2.1.8-tcp-no-intervals.server.csv")
    assert reading.frame["connected_utc"].isna().all()
    assert set(reading.frame["kind"]) == {"summary"}
    assert any("6 of 6 rows have no time: stamped 1970" in note for note in reading.notes)


def test_a_pair_of_ends_used_again_is_another_stream() -> None:
    test = (ROW, ROW.replace("0.0-1.0", "1.0-2.0"), ROW.replace("0.0-1.0", "0.0-2.0"))
    later = (row.replace("20261122", "20261123") for row in test)
    frame = parse(lines(*test, *later), PATH).frame
    assert frame["stream"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["kind"].tolist() == ["interval", "interval", "summary"] * 2


def test_a_file_put_behind_its_own_copy_counts_each_connection_once() -> None:
    data = (DATA / "2.1.8-tcp.server.csv").read_bytes()
    once, twice = parse(data, PATH), parse(data * 2, PATH)
    pd.testing.assert_frame_equal(once.frame, twice.frame)
    assert any("are in the file twice" in note for note in twice.notes)


def test_a_summary_may_end_before_the_last_interval_does() -> None:
    texts = [ROW.replace("0.0-1.0", t) for t in ("0.0-1.0", "1.0-2.0", "2.0-3.0", "0.0-2.7")]
    frame = parse(lines(*texts), PATH).frame
    assert frame["stream"].tolist() == [0, 0, 0, 0]
    assert frame["kind"].tolist() == ["interval", "interval", "interval", "summary"]


def test_a_test_after_one_without_a_summary_is_another_stream() -> None:
    texts = [ROW.replace("0.0-1.0", t) for t in ("0.0-1.0", "1.0-2.0")]
    later = [row.replace("20261122", "20261123") for row in texts]
    assert parse(lines(*texts, *later), PATH).frame["stream"].tolist() == [0, 0, 1, 1]


def test_the_listening_port_is_the_one_that_most_rows_share() -> None:
    mine = ROW.replace("5001", "7000")
    frame = parse(lines(mine, mine.replace("40000", "50"), mine.replace("40000", "6000")), PATH)
    assert set(frame.frame["peer_port"]) == {7000}
    assert parse(lines(mine), PATH).frame["peer_port"].tolist() == [7000]
    assert parse(lines(ROW.replace("40000", "99")), PATH).frame["peer_port"].tolist() == [5001]


def test_what_another_program_glued_on_is_said() -> None:
    reading = parse(lines(f"{ROW} 0.14 0.18 1/227 51688", " 0.06 0.17 1/225 60214"), PATH)
    assert len(reading.frame) == 1
    assert reading.unparsed.line_nos == (2,)
    assert any("1 of 1 rows have text after" in note for note in reading.notes)


def test_warnings_between_rows_are_messages() -> None:
    reading = parse(lines(ROW, "WARN: this test may have been CPU bound (1)"), PATH)
    assert (reading.unparsed.count, len(reading.messages)) == (0, 1)


@pytest.mark.parametrize(
    "row",
    [
        ROW + ",1,2",
        ROW.replace("0.0-1.0", "2.0-1.0"),
        ROW.replace("10.0.0.2", "10.0,0.2"),
        "2026112212,10.0.0.2",
    ],
)
def test_a_row_that_is_not_understood_is_counted(row: str) -> None:
    reading = parse(lines(ROW, row), PATH)
    assert (len(reading.frame), reading.unparsed.line_nos) == (1, (2,))


def test_a_last_row_that_lost_its_end_is_not_used() -> None:
    udp = f"{ROW},0.012,3,90,3.333,0"
    for first, cut in ((ROW, ROW[:-1]), (udp, udp[:-4]), (udp, udp[:-22])):
        reading = parse(lines(first, cut, end=""), PATH)
        assert (len(reading.frame), reading.unparsed.count, reading.partial) == (1, 1, True)
    whole = parse(lines(ROW, ROW, end=""), PATH)
    assert (len(whole.frame), whole.unparsed.count, whole.partial) == (2, 0, True)


def test_an_empty_file_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="empty"):
        parse(b"\n", PATH)


def test_a_file_without_rows_is_an_empty_frame() -> None:
    reading = parse(lines(HEADER, "tcp connect failed: Connection refused"), PATH)
    check(reading.frame, "traffic")
    assert (len(reading.frame), len(reading.messages)) == (0, 1)


@pytest.mark.parametrize(
    ("head", "is_ours"),
    [
        (ROW.encode(), True),
        (f"+0530:{ROW}".encode(), True),
        (b"WARNING: x\n" + ROW.encode(), True),
        (HEADER.encode(), True),
        (b"time,usr,sys\n20261122120001,1,2\n", False),
        (b"Server listening on TCP port 5001\n" + ROW.encode(), False),
        (b"epoch,pid,cpu_s,rss_bytes\n", False),
        (b"", False),
    ],
)
def test_only_rows_of_iperf_are_claimed(head: bytes, is_ours: bool) -> None:
    assert sniff(head) is is_ours


def survive(data: bytes) -> None:
    read_or_refuse(parse, data, PATH)


@pytest.mark.parametrize("name", ["2.0.13-udp.client-2.csv", "2.2.n-udp-e.client-2.csv"])
def test_cut_at_any_byte_no_figure_is_wrong(name: str) -> None:
    whole = (DATA / name).read_bytes()
    sizes = {float(row[8 if "istart" in whole.decode() else 7]) for row in cells(name)}
    for data in truncations(whole):
        try:
            frame = parse(data, PATH).frame
        except LogError:
            continue
        assert set(check(frame, "traffic")["size_bytes"]) <= sizes


def test_damaged_at_random_it_is_read_in_part_or_refused() -> None:
    for name in ("2.1.8-udp.server.csv", "2.2.n-tcp-e.client-3.csv"):
        for data in mutations((DATA / name).read_bytes(), 150, seed=20261122):
            survive(data)


def test_datagrams_out_of_order_are_read_where_the_writer_may_have_received() -> None:
    assert read("2.1.8-udp-late.server.csv").frame["out_of_order"].tolist() == [9, 9, 18]
    assert read("2.1.8-udp.client-2.csv").frame["out_of_order"].isna().all()


def test_a_zone_that_the_caller_knows_moves_the_stamps_and_silences_the_note() -> None:
    name = "2.1.8-tcp-e-kolkata.server.csv"
    data, as_printed = (DATA / name).read_bytes(), read(name)
    local = parse(data, DATA / name, zone=ZoneInfo("Asia/Kolkata"))
    moved = as_printed.frame["connected_utc"] - local.frame["connected_utc"]
    assert set(moved.dropna()) == {pd.Timedelta(hours=5, minutes=30)}
    assert any("without a zone" in note for note in as_printed.notes)
    assert not any("without a zone" in note for note in local.notes)


def test_a_zone_that_is_printed_is_taken_before_the_callers() -> None:
    path = DATA / "2.2.n-tcp-e-kolkata.client-2.csv"
    local = parse(path.read_bytes(), path, zone=ZoneInfo("Europe/Helsinki"))
    assert local.frame["connected_utc"].tolist() == read(path.name).frame["connected_utc"].tolist()


def test_a_stamp_in_the_hour_that_comes_twice_is_no_time() -> None:
    row = "{},10.0.0.2,40000,10.0.0.1,5001,3,0.0-10.0,1000,800\n"
    for stamp, known in (("20261025023000", False), ("20261025033000", True)):
        data = row.format(stamp).encode()
        frame = parse(data, PATH, zone=ZoneInfo("Europe/Berlin")).frame
        assert frame["connected_utc"].notna().all() == known
