from __future__ import annotations

import itertools
import random
from pathlib import Path

import pandas as pd
import pytest

from perfkit.errors import TruncatedError
from perfkit.logs.format import Reading
from perfkit.logs.frames import check
from perfkit.logs.iperf2 import figures
from perfkit.logs.iperf2 import text as iperf2

DATA = Path(__file__).parents[3] / "data" / "iperf2"


def read(name: str) -> Reading:
    path = DATA / name
    reading = iperf2.parse(path.read_bytes(), path)
    check(reading.frame, "traffic")
    return reading


def parse(text: str) -> Reading:
    reading = iperf2.parse(text.encode(), Path("made-up.log"))
    check(reading.frame, "traffic")
    return reading


def own(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"].isin(["interval", "summary"])]


@pytest.mark.parametrize("path", sorted(DATA.glob("*.log")), ids=lambda p: p.name)
def test_every_line_of_real_output_is_understood(path: Path) -> None:
    assert read(path.name).unparsed.count == 0


def test_twelve_clients_of_one_server_are_told_apart_by_their_address() -> None:
    frame = read("server.log").frame
    twelve = frame[frame["peer_address"].isin([f"127.0.1.{i}" for i in range(1, 13)])]
    summaries = twelve[twelve["kind"] == "summary"]
    assert sorted(summaries["peer_address"]) == sorted(f"127.0.1.{i}" for i in range(1, 13))
    per_client = twelve[twelve["kind"] == "interval"].groupby("peer_address", observed=True).size()
    assert set(per_client) <= {3, 4}
    assert set(twelve["side"]) == {"receiver"}


def test_a_servers_summary_says_what_its_client_says_it_sent() -> None:
    server, client = read("server.log").frame, read("client-1.log").frame
    port = client["local_port"].iloc[0]
    received = server[(server["peer_port"] == port) & (server["kind"] == "summary")]
    sent = client[client["kind"] == "summary"]
    assert received["size_bytes"].tolist() == sent["size_bytes"].tolist()
    assert sent["side"].tolist() == ["sender"]


def test_the_connection_stamp_is_read_as_utc() -> None:
    frame = read("client-1.log").frame
    moment = pd.Timestamp("2026-11-22 13:27:12.000060", tz="UTC")  # ct=0.06 ms
    assert frame["connected_utc"].iloc[0] == moment


def test_sum_lines_repeat_their_streams_and_are_kept_apart_from_them() -> None:
    frame = read("parallel-client.log").frame
    summaries = frame[frame["kind"] == "summary"]
    sums = frame[frame["kind"] == "group-summary"]
    assert len(summaries) == 3
    assert sums["stream_id"].tolist() == ["SUM"]
    assert sums["size_bytes"].sum() == summaries["size_bytes"].sum()


def test_the_two_halves_of_a_full_duplex_stream_have_opposite_sides() -> None:
    for name, sides in (
        ("fullduplex-client.log", ("sender", "receiver")),
        ("server.log", ("receiver", "sender")),
    ):
        frame = read(name).frame
        stream = frame.loc[frame["stream_id"].str.startswith("FD"), "stream"].iloc[0]
        summaries = own(frame)[(own(frame)["stream"] == stream) & (own(frame)["kind"] == "summary")]
        by_mark = summaries.set_index(summaries["stream_id"].str.startswith("*"))["side"]
        assert (by_mark[False], by_mark[True]) == sides


def test_a_reverse_stream_is_received_by_the_client_and_sent_by_the_server() -> None:
    client = read("reverse-client.log").frame
    assert set(client["side"]) == {"receiver"}
    server = read("server.log").frame
    there = server[server["peer_port"] == client["local_port"].iloc[0]]
    assert set(there["side"]) == {"sender"}


def test_a_client_that_was_killed_has_no_summary_and_the_note_says_so() -> None:
    reading = read("killed-client.log")
    assert set(reading.frame["kind"]) == {"interval"}
    assert "no summary" in reading.notes[0]


def test_a_refused_connection_is_a_message_and_no_traffic() -> None:
    reading = read("refused-client.log")
    assert reading.frame.empty
    assert reading.messages == ("tcp connect failed: Connection refused",)


def test_ids_of_three_digits_are_all_seen() -> None:
    frame = read("many-server.log").frame
    assert frame["peer_address"].nunique() == 110
    assert (
        frame.groupby("stream")["kind"].apply(lambda kinds: (kinds == "summary").sum()) == 1
    ).all()


def test_udp_jitter_loss_and_the_server_report_are_read() -> None:
    frame = read("udp-client.log").frame
    report = frame[frame["side"] == "receiver"]
    assert report["kind"].tolist() == ["summary"]
    assert report["jitter_s"].tolist() == [pytest.approx(2e-6)]
    assert (report["lost"].tolist(), report["datagrams"].tolist()) == ([0], [514])
    assert set(frame["protocol"]) == {"udp"}


def test_retransmits_and_round_trip_time_of_a_sender_are_read() -> None:
    frame = read("server.log").frame
    reverse = frame[(frame["side"] == "sender") & (frame["kind"] == "summary")].iloc[-1]
    assert reverse["retransmits"] == 1
    assert 0 < reverse["rtt_s"] < 0.1


@pytest.mark.parametrize(
    ("printed", "size_bytes", "rate_bps"),
    [
        ("  1000 Bytes  8000 bits/sec", 1000, 8000),
        ("  1.50 KBytes  12.3 Kbits/sec", 1536, 12_300),
        ("  2.00 MBytes  16.8 Mbits/sec", 2 * 2**20, 16.8e6),
        ("  1.25 GBytes  10.7 Gbits/sec", 1.25 * 2**30, 10.7e9),
        ("  3.00 TBytes  1.00 Tbits/sec", 3 * 2**40, 1e12),
        ("  6272 KBytes  6205 KBytes/sec", 6272 * 1024, 6205 * 1024 * 8),
        ("  0.00 Bytes  0.00 bits/sec", 0, 0),
    ],
)
def test_every_unit_prefix_is_read(printed: str, size_bytes: float, rate_bps: float) -> None:
    row = parse(f"[  3]  0.0-10.0 sec{printed}\n").frame.iloc[0]
    assert row["size_bytes"] == pytest.approx(size_bytes)
    assert row["throughput_bps"] == pytest.approx(rate_bps)


@pytest.mark.parametrize(
    ("line", "start_s", "end_s", "stream_id"),
    [
        ("[  3]  0.0- 2.8 sec  12 MBytes  35.9 Mbits/sec", 0.0, 2.8, "3"),
        ("[128] 0.00-1.00 sec  12 MBytes  101 Mbits/sec", 0.0, 1.0, "128"),
        ("[*3] 1.0000-2.0000 sec  12 MBytes  101 Mbits/sec", 1.0, 2.0, "*3"),
        ("[ *3] 1.0000-2.0000 sec  12 MBytes  101 Mbits/sec", 1.0, 2.0, "*3"),
        ("13:47:16.57571 [  4]  3.0- 4.0 sec  1.0 MBytes  8.4 Mbits/sec", 3.0, 4.0, "4"),
        ("2026-11-22 13:47:16 [  4]  3.0- 4.0 sec  1 MBytes  8.4 Mbits/sec", 3.0, 4.0, "4"),
    ],
)
def test_intervals_and_ids_are_read_however_they_are_set(
    line: str, start_s: float, end_s: float, stream_id: str
) -> None:
    row = parse(line + "\n").frame.iloc[0]
    assert (row["start_s"], row["end_s"], row["stream_id"]) == (start_s, end_s, stream_id)


def test_an_id_that_comes_again_is_another_stream() -> None:
    connect = "[  4] local 10.0.0.1 port 5001 connected with 10.0.0.{} port {}\n"
    figure = "[  4]  0.0-10.0 sec  {} MBytes  1.0 Mbits/sec\n"
    text = "Server listening on TCP port 5001\n"
    text += "".join(connect.format(i, 4000 + i) + figure.format(i) for i in (7, 8, 9))
    frame = parse(text).frame
    assert frame["peer_address"].tolist() == ["10.0.0.7", "10.0.0.8", "10.0.0.9"]
    assert frame["stream"].tolist() == [0, 1, 2]
    assert set(frame["kind"]) == {"summary"}


def test_figures_that_are_no_numbers_are_unknown_not_zero() -> None:
    row = parse(
        "[  3] 0.0000-0.0000 sec  0.00 Bytes  -nan bits/sec  131.072 ms 4294966296/0 (inf%)\n"
    )
    assert row.frame["throughput_bps"].isna().all()
    assert row.frame["lost"].tolist() == [4294966296]


def test_lines_that_are_not_understood_are_counted_numbered_and_shown() -> None:
    reading = parse(
        "Server listening on TCP port 5001\nwhat is this\n[  1] 2.0-1.0 sec  1 Bytes  1 bits/sec\n"
    )
    assert reading.unparsed.count == 2
    assert reading.unparsed.line_nos == (2, 3)
    assert reading.unparsed.samples[0] == "what is this"
    assert "line 2" in str(reading.unparsed)


def test_a_log_that_stops_in_the_middle_of_a_line_is_partial() -> None:
    text = (DATA / "client-1.log").read_bytes()
    reading = iperf2.parse(text[: text.rindex(b"bits/sec")], Path("cut.log"))
    assert reading.partial
    assert reading.frame["kind"].tolist() == ["interval"] * 3
    assert reading.unparsed.count == 1


def test_an_empty_log_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="never wrote"):
        parse(" \n")


def test_a_log_without_banner_and_connections_has_unknown_sides_and_peers() -> None:
    reading = parse(
        "[  1] 0.0-1.0 sec  1 MBytes  8.4 Mbits/sec\n[  1] 0.0-2.0 sec  2 MBytes  8.4 Mbits/sec\n"
    )
    assert set(reading.frame["side"]) == {"unknown"}
    assert set(reading.frame["peer_address"]) == {""}
    assert "no connection line" in reading.notes[0]


def test_a_stamp_in_a_zone_that_is_only_an_abbreviation_is_not_taken_for_utc() -> None:
    text = (
        "[  1] local 10.0.0.2 port 4000 connected with 10.0.0.1 port 5001 on 2026-11-22 12:00:00 (CST)\n"
        "[  1] 0.0-1.0 sec  1 MBytes  8.4 Mbits/sec\n"
    )
    assert parse(text).frame["connected_utc"].isna().all()


@pytest.mark.parametrize(
    "head",
    [
        b"Connecting to host 10.0.0.1, port 5201\n[  5] local 10.0.0.2 port 1 connected to 10.0.0.1 port 5201\n",
        b"Server listening on 5201 (test #1)\n",
        b"[ ID] Interval           Transfer     Bitrate\n",
        b'{"start": {"version": "iperf 3.12"}}',
    ],
)
def test_iperf3_is_not_taken_for_iperf_2(head: bytes) -> None:
    assert not iperf2.sniff(head)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.log")), ids=lambda p: p.name)
def test_a_log_read_in_slices_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(path.name)
    # private: a few lines stand for many
    monkeypatch.setattr(figures, "_SLICE_LINES", 7)
    in_slices = read(path.name)
    pd.testing.assert_frame_equal(whole.frame, in_slices.frame, check_exact=True)
    assert (whole.unparsed, whole.notes) == (in_slices.unparsed, in_slices.notes)


def test_a_stamp_that_is_no_moment_is_none(tmp_path: Path) -> None:
    line = b"[  1] local 127.0.0.1 port 5001 connected with 127.0.0.1 port 4000 on 2026-11-22 %s (UTC)\n"
    sums = b"[ ID] Interval Transfer Bandwidth\n[  1] 0.00-1.00 sec  1000 Bytes  8000 bits/sec\n"
    for moment, known in ((b"13:07:12", True), (b"13:87:12", False), (b"99:99:99", False)):
        frame = iperf2.parse(line % moment + sums, tmp_path / "x.log").frame
        assert frame["connected_utc"].notna().all() == known
        assert float(frame["size_bytes"].sum()) == 1000


def test_datagrams_out_of_order_are_given_to_the_line_before() -> None:
    server, client = read("udp-late-server.log").frame, read("udp-late-client.log").frame
    assert server["out_of_order"].tolist() == [9, 8, 18]
    report = client[client["side"] == "receiver"]
    assert report["out_of_order"].tolist() == [18]
    assert client.loc[client["side"] == "sender", "out_of_order"].isna().all()


@pytest.mark.parametrize("said", ["Killed", "Aborted (core dumped)", "Terminated"])
def test_a_shells_word_on_how_iperf_ended_is_a_message(said: str) -> None:
    text = "[  1] 0.0000-1.0000 sec  1000 Bytes  8000 bits/sec\n"
    reading = parse(f"{text}{said}\n")
    assert reading.messages == (said,)
    assert reading.unparsed.count == 0
    assert parse(f"{text}{said} by me\n").unparsed.count == 1


@pytest.mark.parametrize(
    ("took", "moment"),
    [
        ("(ct=35694.29 ms) ", "21:01:10.694290"),  # its stamp was made when it began to connect
        ("(ct=0.41 ms) ", "21:00:35.000410"),
        ("", "21:00:35"),
    ],
)
def test_a_client_is_connected_when_its_connecting_was_over(took: str, moment: str) -> None:
    text = (
        "Client connecting to 10.8.0.1, TCP port 5001 with pid 122 (1 flows)\n"
        "[  1] local 10.8.0.95%tun0 port 46422 connected with 10.8.0.1 port 5001 (reverse) (sock=3) "
        f"(icwnd/mss/irtt=13/1388/953111) {took}on 2026-11-30 21:00:35 (UTC)\n"
        "[ *1] 0.0000-12.0243 sec  562140 Bytes  365446 bits/sec  167=163:4:0:0:0:0:0:0\n"
    )
    assert parse(text).frame["connected_utc"].tolist() == [
        pd.Timestamp(f"2026-11-30 {moment}", tz="UTC")
    ]


def test_a_udp_summary_without_a_word_on_the_order_had_none_out_of_order() -> None:
    frame = read("udp-server.log").frame
    of_summary = frame["kind"] == "summary"
    assert set(frame.loc[of_summary & (frame["side"] == "receiver"), "out_of_order"]) == {0}
    assert "out_of_order" not in read("server.log").frame


def test_the_mss_of_a_connection_is_on_all_its_lines() -> None:
    frame = read("server.log").frame
    assert set(frame.loc[frame["peer_port"] > 0, "mss_bytes"]) == {32768}
    assert "mss_bytes" not in read("udp-server.log").frame


def test_a_stamp_beyond_what_nanoseconds_can_hold_is_none(tmp_path: Path) -> None:
    line = b"[  1] local 127.0.0.1 port 5001 connected with 127.0.0.1 port 4000 on %s-11-22 13:07:12 (UTC)\n"
    sums = b"[ ID] Interval Transfer Bandwidth\n[  1] 0.00-1.00 sec  1000 Bytes  8000 bits/sec\n"
    for year in (b"0000", b"1600", b"2300", b"9999"):
        frame = iperf2.parse(line % year + sums, tmp_path / "x.log").frame
        assert frame["connected_utc"].isna().all()
        assert float(frame["size_bytes"].sum()) == 1000


LISTENS = "Server listening on TCP port 5001\n"
OPENS = "[{0:3}] local 10.9.0.1 port 5001 connected with 10.9.0.{0} port 4000{0}\n"


def row(of: int, start_s: float, end_s: float) -> str:
    """A line whose size tells its place: a million bytes a second."""
    size = int(1e6 * (end_s - start_s))
    return f"[{of:3}] {start_s:.4f}-{end_s:.4f} sec  {size} Bytes  8000000 bits/sec\n"


@pytest.mark.parametrize("before", range(4))
def test_rows_before_their_connection_line_are_of_the_connection_after_them(before: int) -> None:
    rows = [row(2, 0, 1), row(2, 1, 2), row(2, 0, 2)]
    lines = [OPENS.format(1), row(1, 0, 1), *rows[:before], OPENS.format(2), *rows[before:]]
    reading = parse(LISTENS + "".join(lines) + row(1, 1, 2) + row(1, 0, 2))
    frame = reading.frame
    assert set(frame["peer_address"]) == {"10.9.0.1", "10.9.0.2"}
    assert frame[frame["kind"] == "summary"].groupby("stream")["size_bytes"].sum().tolist() == [
        2e6, 2e6
    ]  # fmt: skip
    assert reading.notes == ()


@pytest.mark.parametrize("before", range(4))
def test_an_id_used_again_may_have_rows_before_its_second_connection_line(before: int) -> None:
    opens = [OPENS.format(5), OPENS.format(5).replace("10.9.0.5", "10.9.0.6")]
    first, second = ([row(5, 0, 1), row(5, 1, 2), row(5, 0, 2.5)] for _ in range(2))
    lines = [opens[0], *first, *second[:before], opens[1], *second[before:]]
    frame = parse(LISTENS + "".join(lines)).frame
    assert frame.groupby("peer_address", observed=True).size().to_dict() == {
        "10.9.0.5": 3, "10.9.0.6": 3
    }  # fmt: skip
    assert frame["kind"].tolist() == ["interval", "interval", "summary"] * 2


def test_an_id_used_again_without_intervals_may_have_its_row_before_its_connection_line() -> None:
    opens = [OPENS.format(5).replace("10.9.0.5", f"10.9.0.{n}") for n in (7, 8, 9)]
    lines = [opens[0], row(5, 0, 10), row(5, 0, 11), opens[1], opens[2], row(5, 0, 12)]
    frame = parse(LISTENS + "".join(lines)).frame
    assert frame["peer_address"].tolist() == ["10.9.0.7", "10.9.0.8", "10.9.0.9"]


def test_rows_of_a_stream_that_was_cut_off_at_the_beginning_are_not_the_next_ones() -> None:
    lines = [row(3, 7, 8), row(3, 0, 8), OPENS.format(3), row(3, 0, 1), row(3, 1, 2), row(3, 0, 2)]
    frame = parse(LISTENS + "".join(lines)).frame
    assert frame["peer_address"].tolist() == ["", "", *["10.9.0.3"] * 3]
    assert frame["stream"].nunique() == 2


def test_tests_without_connection_lines_that_follow_each_other_are_streams_of_their_own() -> None:
    test = row(3, 0, 1) + row(3, 1, 2) + row(3, 0, 2)
    frame = parse(LISTENS + test * 3).frame
    assert frame["kind"].tolist() == ["interval", "interval", "summary"] * 3
    assert frame["stream"].nunique() == 3


def banner(protocol: str) -> str:
    return f"Client connecting to 10.9.0.1, {protocol} port 5001\n"


def client(protocol: str, port: int, *, ticks: bool, ids: tuple[int, ...] = (3,)) -> str:
    """A client's test of 10 s as 2.0.13 prints it."""
    text = banner(protocol)
    for of in ids:
        text += f"[{of:3}] local 10.9.0.2 port {port + of} connected with 10.9.0.1 port 5001\n"
    steps = [(0, 5), (5, 10)] if ticks else []
    for start_s, end_s in [*steps, (0, 10)]:
        for of in ids:
            text += row(of, start_s, end_s)
        if len(ids) > 1:
            text += row(0, start_s, end_s).replace("[  0]", "[SUM]")
    if protocol == "UDP":
        for of in ids:
            text += f"[{of:3}] Sent 6803 datagrams\n[{of:3}] Server Report:\n"
            text += row(of, 0, 10).rstrip() + "   0.106 ms 5/6803 (0.1%)\n"
    return text


@pytest.mark.parametrize(
    "order", sorted(set(itertools.permutations(("UDP", "TCP", "UDP", "TCP"), 3)))
)
@pytest.mark.parametrize("ids", [((3,),) * 3, ((3, 4), (3,), (3, 4, 5))])
@pytest.mark.parametrize("ticks", [(False,) * 3, (True, False, True), (False, True, True)])
def test_a_log_may_hold_tests_of_both_protocols_one_after_the_other(
    order: tuple[str, ...], ids: tuple[tuple[int, ...], ...], ticks: tuple[bool, ...]
) -> None:
    tests = [
        client(protocol, 40000 + 100 * n, ticks=tick, ids=of)
        for n, (protocol, tick, of) in enumerate(zip(order, ticks, ids, strict=True))
    ]
    reading = parse("".join(tests))
    together = reading.frame[reading.frame["stream"] >= 0]
    alone = [parse(text).frame for text in tests]
    apart = pd.concat([frame[frame["stream"] >= 0] for frame in alone])
    for column in ("protocol", "kind", "side", "size_bytes", "peer_port"):
        assert together[column].astype(str).tolist() == apart[column].astype(str).tolist(), column
    summaries = together[together["kind"] == "summary"].groupby("stream", observed=True)
    udp = sum(len(of) for protocol, of in zip(order, ids, strict=True) if protocol == "UDP")
    assert summaries.size().tolist().count(2) == udp  # with the receiver's
    assert (summaries.ngroups, reading.notes) == (sum(map(len, ids)), ())


def test_bounces_are_read_with_their_retransmits_and_round_trip_times() -> None:
    frame = read("bounceback-client.log").frame
    assert frame["kind"].tolist() == ["interval", "interval", "summary"]
    assert frame["retransmits"].tolist() == [0, 0, 0]
    assert frame["rtt_s"].tolist() == pytest.approx([5e-6, 4e-6, 1696e-6])
    assert "lost" not in frame


def test_datagrams_a_second_of_a_udp_sender_are_no_retransmits() -> None:
    assert " pps" in (DATA / "udp-client.log").read_text()
    assert "retransmits" not in read("udp-client.log").frame
    assert read("isoch-client.log").frame["retransmits"].tolist() == [0, 0, 1]


def test_latencies_of_a_tcp_server_are_no_jitter() -> None:
    frame = read("histograms-server.log").frame
    assert set(frame["protocol"]) == {"tcp"}
    assert "jitter_s" not in frame


def test_where_only_sums_are_printed_they_are_read_as_such() -> None:
    frame = read("sumonly-client.log").frame
    assert frame["kind"].tolist() == ["group-interval", "group-interval", "group-summary"]


def overloaded(seed: int) -> tuple[str, dict[str, float]]:
    """A server's log whose connection lines come late, and what each peer sent in all."""
    chance = random.Random(seed)
    reuses, ticks = chance.random() < 0.4, chance.choice([0, 1, 3, 5])
    waiting: dict[int, list[str]] = {}
    sent: dict[str, float] = {}
    for number in range(chance.randint(2, 12)):
        of, peer = (number % 3 + 1 if reuses else number + 1), f"10.9.0.{number + 10}"
        size = 1000 * (number + 1)
        steps = [*((s, s + 1) for s in range(ticks)), (0, max(ticks, 1))]
        rows = [
            f"[{of:3}] {a}.0000-{b}.0000 sec  {size * (b - a)} Bytes  {size * 8} bits/sec"
            for a, b in steps
        ]
        late = chance.choice([0, chance.randint(0, len(rows))])
        rows.insert(
            late, f"[{of:3}] local 10.9.0.1 port 5001 connected with {peer} port {of + 4000}"
        )
        waiting.setdefault(of, []).extend(rows)
        sent[peer] = size * max(ticks, 1)
    lines = []
    while left := [rows for rows in waiting.values() if rows]:
        lines.append(chance.choice(left).pop(0))
    return LISTENS + "\n".join(lines) + "\n", sent


def test_connection_lines_may_come_at_any_time_before_the_next_stream_of_their_id() -> None:
    for seed in range(100):
        text, sent = overloaded(seed)
        reading = parse(text)
        summaries = reading.frame[reading.frame["kind"] == "summary"]
        by_peer = dict(zip(summaries["peer_address"], summaries["size_bytes"], strict=True))
        assert by_peer == sent, seed
        assert len(summaries) == len(sent)
        assert (reading.notes, reading.unparsed.count) == ((), 0)


WAITS = """Client connecting to 10.8.0.1, TCP port 5001 with pid 5541 (1 flows)
[  1] local 10.8.0.9%tun0 port 41226 connected with 10.8.0.1 port 5001 (epoch-start) (sock=3) \
(icwnd/mss/irtt=13/1388/11) (ct=40.00 ms) on 2026-11-30 23:54:18 ({zone})
[  1] {says}
[  1] 0.0000-2.0237 sec  1251680 Bytes  4947970 bits/sec  894/0          0     1098K/11725 us  52.75
"""
TO_START = "Client traffic to start in 2 seconds at 2026-11-30 23:54:20 current time is 2026-11-30 23:54:18 "
PAST = "WARNING: --txstart-time (1796082857.194052) 2026-11-30 23:54:17 is before now 2026-11-30 23:54:18 "


@pytest.mark.parametrize(
    ("says", "zone", "moment"),
    [
        (f"{TO_START}(UTC)", "UTC", "23:54:20"),
        (f"{TO_START}(CST)", "CST", None),
        (f"{PAST}(UTC)", "UTC", "23:54:18.040"),  # it was connected too late to wait
    ],
)
def test_a_client_that_waits_for_its_moment_begins_then_and_not_when_it_connects(
    says: str, zone: str, moment: str | None
) -> None:
    found = parse(WAITS.format(says=says, zone=zone))
    stamp = found.frame["connected_utc"].iloc[0]
    assert pd.isna(stamp) if moment is None else stamp == pd.Timestamp(f"2026-11-30 {moment}Z")
    assert found.unparsed.count == 0


def test_a_server_does_not_know_when_a_client_that_waits_begins() -> None:
    text = (
        "Server listening on TCP port 5001 with pid 38098\n"
        "[  1] local 10.8.0.1%tun0 port 5001 connected with 10.8.0.9 port 41226 (epoch-start) (sock=4) "
        "(peer 2.1.8) (icwnd/mss/irtt=13/1388/18) on 2026-11-30 23:54:18 (UTC)\n"
        "[  1] 0.0000-2.0003 sec  1251680 Bytes  5005869 bits/sec  254=218:36:0:0:0:0:0:0\n"
    )
    assert parse(text).frame["connected_utc"].isna().all()
