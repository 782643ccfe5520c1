"""iperf3's text, against what is printed in the captured logs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from log_damage import mutations, read_or_refuse, truncations

from perfkit.errors import TruncatedError
from perfkit.logs.format import Reading
from perfkit.logs.frames import check
from perfkit.logs.iperf3.text import parse, sniff

DATA = Path(__file__).parents[3] / "data" / "iperf3" / "text"
PATH = Path("log.txt")
MIB = 2**20


def read(name: str) -> Reading:
    return parse((DATA / name).read_bytes(), DATA / name)


def rows(frame: pd.DataFrame, kind: str, side: str) -> pd.DataFrame:
    return frame[(frame["kind"] == kind) & (frame["side"] == side)]


def printed(name: str, ending: str) -> list[float]:
    """Sizes of the lines that end so, straight from the text."""
    units = {"": 1, "K": 2**10, "M": MIB, "G": 2**30}
    found = re.findall(
        rf"sec +([\d.]+) ([KMG]?)Bytes .*{ending} *$", (DATA / name).read_text(), re.M
    )
    return [float(size) * units[unit] for size, unit in found]


def log(*lines: str, end: str = "\n") -> bytes:
    return ("\n".join(lines) + end).encode()


BEGIN = (
    "Connecting to host 10.0.0.1, port 5201",
    "[  5] local 10.0.0.2 port 40000 connected to 10.0.0.1 port 5201",
    "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd",
    "[  5]   0.00-1.00   sec  1.00 MBytes  8.39 Mbits/sec    2   1.12 MBytes       ",
)
RULE = "- - - - - - - - - - - - - - - - - - - - - - - - -"
SUMMARY = (
    RULE,
    "[ ID] Interval           Transfer     Bitrate         Retr",
    "[  5]   0.00-1.00   sec  1.00 MBytes  8.39 Mbits/sec    2             sender",
    "[  5]   0.00-1.00   sec  1.00 MBytes  8.39 Mbits/sec                  receiver",
)


def test_intervals_sums_and_summaries_are_told_apart() -> None:
    frame = read("3.12-p2.client.txt").frame
    counts = frame.groupby(["kind", "side"], observed=True).size().to_dict()
    assert counts == {
        ("interval", "sender"): 4,
        ("summary", "sender"): 2,
        ("summary", "receiver"): 2,
        ("group-interval", "sender"): 2,
        ("group-summary", "sender"): 1,
        ("group-summary", "receiver"): 1,
    }
    assert rows(frame, "summary", "receiver")["size_bytes"].tolist() == [4.88 * MIB] * 2
    assert rows(frame, "group-summary", "sender")["throughput_bps"].tolist() == [40.9e6]
    assert frame["stream_id"].unique().tolist() == ["5", "7", "SUM"]
    assert frame.loc[frame["stream"] >= 0, "peer_port"].unique().tolist() == [5201]
    sums = rows(frame, "group-interval", "sender")["retransmits"]
    assert rows(frame, "interval", "sender")["retransmits"].sum() == sums.sum() == 1


def test_roles_say_which_way_a_line_is() -> None:
    for name, forth in (("3.12-bidir-p2.client.txt", "TX"), ("3.12-bidir-p2.server.txt", "RX")):
        frame = read(name).frame
        text = (DATA / name).read_text().splitlines()
        for row in frame[frame["kind"] == "interval"].itertuples():
            sends = f"[{'TX' if row.side == 'sender' else 'RX'}-" in text[int(str(row.line_no)) - 1]
            assert sends
        first = frame.iloc[0]
        assert f"[{forth}-" in text[int(first["line_no"]) - 1]
    frame = read("3.12-bidir-p2.client.txt").frame
    assert len(rows(frame, "summary", "receiver")) == 4


def test_omitted_intervals_are_left_out_and_said() -> None:
    reading = read("3.12-omit.client.txt")
    assert len(rows(reading.frame, "interval", "sender")) == 2
    assert any("1 omitted intervals" in note for note in reading.notes)


def test_the_time_that_the_verbose_form_prints_is_when_its_streams_began() -> None:
    for name in ("3.12-verbose.client.txt", "3.21+-verbose.server.txt"):
        said = re.search(r"Time: \w+, (.*) GMT", (DATA / name).read_text())
        assert said is not None
        assert set(read(name).frame["connected_utc"]) == {pd.Timestamp(said[1], tz="UTC")}


def test_omitted_seconds_move_the_start() -> None:
    lines = (
        "Time: Sun, 22 Nov 2026 13:16:26 GMT",
        *BEGIN[:3],
        f"{BEGIN[3]}(omitted)",
        *BEGIN[3:],
    )
    frame = parse(log(*lines), PATH).frame
    assert frame["connected_utc"].tolist() == [pd.Timestamp("2026-11-22 13:16:27", tz="UTC")]


def test_stamps_before_the_lines_are_passed_over_and_said() -> None:
    reading = read("3.12-timestamps.client.txt")
    assert len(reading.frame) == 4
    assert reading.frame["connected_utc"].isna().all()
    assert any("time stamps of the prefix are not used" in note for note in reading.notes)


def test_bytes_per_second_are_made_bits() -> None:
    frame = read("3.12-bytes.client.txt").frame
    rates = re.findall(r"([\d.]+) KBytes/sec", (DATA / "3.12-bytes.client.txt").read_text())
    assert frame["throughput_bps"].tolist() == [float(rate) * 8 * 1024 for rate in rates]


def test_a_reverse_tests_client_receives_and_its_server_sends() -> None:
    client, server = read("3.12-reverse.client.txt").frame, read("3.12-reverse.server.txt").frame
    assert set(client.loc[client["kind"] == "interval", "side"]) == {"receiver"}
    assert set(server["side"]) == {"sender"}


def test_udp_lines_have_jitter_and_losses_of_the_receiver() -> None:
    client, server = read("3.12-udp-loss.client.txt").frame, read("3.12-udp-loss.server.txt").frame
    received = rows(client, "summary", "receiver")
    assert received["lost"].gt(0).all()
    pd.testing.assert_frame_equal(
        received[["lost", "datagrams", "jitter_s", "size_bytes"]].reset_index(drop=True),
        rows(server, "summary", "receiver")[
            ["lost", "datagrams", "jitter_s", "size_bytes"]
        ].reset_index(drop=True),
    )
    sent = rows(client, "interval", "sender")
    assert sent["datagrams"].gt(0).all()
    assert "retransmits" not in client
    assert rows(client, "summary", "sender")["lost"].isna().all()
    assert set(client["protocol"]) == {"udp"}


def test_where_every_datagram_is_lost_it_does_not_say_none_was() -> None:
    assert "0/0 (0%)  receiver" in (DATA / "3.12-udp-all-lost.client.txt").read_text()
    received = rows(read("3.12-udp-all-lost.client.txt").frame, "summary", "receiver")
    assert received["lost"].tolist() == received["datagrams"].tolist() == [357, 357]
    assert received["size_bytes"].tolist() == [0, 0]


def test_the_servers_output_gives_the_receivers_intervals_of_the_same_stream() -> None:
    reading = read("3.12-get-server-output.client.txt")
    assert reading.frame["stream"].unique().tolist() == [0]
    assert len(rows(reading.frame, "interval", "receiver")) == 2
    assert len(rows(reading.frame, "summary", "receiver")) == 1
    assert not any("tests in one file" in note for note in reading.notes)


def test_a_servers_log_of_several_tests_keeps_them_apart() -> None:
    reading = read("3.12-many.server.txt")
    own = reading.frame[reading.frame["stream"] >= 0]
    of_stream = own.groupby("stream")
    assert of_stream["protocol"].first().tolist() == ["tcp", "udp", "tcp", "tcp", "tcp"]
    assert of_stream["side"].unique().map(list).tolist() == [
        ["receiver"], ["receiver"], ["sender"], ["sender"], ["receiver"]
    ]  # fmt: skip
    assert of_stream["stream_id"].first().tolist() == ["5", "5", "5", "8", "5"]
    assert of_stream["peer_port"].first().is_unique
    assert any("4 tests in one file" in note for note in reading.notes)


def test_the_summary_of_a_test_that_broke_off_is_left_out() -> None:
    # Its bytes go on to the end, its time to the last interval, which is printed twice.
    text = (DATA / "3.12-many.server.txt").read_text().splitlines()
    assert any(a == b and a.startswith("[  5]") for a, b in itertools.pairwise(text))
    reading = read("3.12-many.server.txt")
    last = reading.frame[reading.frame["stream"] == reading.frame["stream"].max()]
    assert set(last["kind"]) == {"interval"}
    assert last["start_s"].is_unique
    assert any("1 lines repeat the one before" in note for note in reading.notes)
    assert any("1 summaries have other bytes" in note for note in reading.notes)


def test_an_interrupted_client_does_not_say_that_nothing_arrived() -> None:
    assert 0.0 in printed("3.12-interrupted.client.txt", "receiver")
    reading = read("3.12-interrupted.client.txt")
    assert rows(reading.frame, "summary", "receiver").empty
    assert len(rows(reading.frame, "summary", "sender")) == 1
    assert reading.messages == ("iperf3: interrupt - the client has terminated",)


def test_a_receiver_that_got_nothing_of_a_whole_test_is_kept() -> None:
    lines = [*BEGIN, *SUMMARY[:3], SUMMARY[3].replace("1.00 MBytes", "0.00 Bytes ")]
    whole = rows(parse(log(*lines, "", "iperf Done."), PATH).frame, "summary", "receiver")
    assert whole["size_bytes"].tolist() == [0]
    assert rows(parse(log(*lines), PATH).frame, "summary", "receiver").empty


def test_a_refused_test_is_a_message_and_no_rows() -> None:
    reading = read("3.12-refused.client.txt")
    message = "iperf3: error - unable to connect to server: Connection refused"
    assert (len(reading.frame), reading.messages) == (0, (message,))
    check(reading.frame, "traffic")


def test_an_old_servers_zeros_for_the_client_are_left_out() -> None:
    assert printed("3.1.3-tcp.server.txt", "sender") == [0.0]
    reading = read("3.1.3-tcp.server.txt")
    assert set(reading.frame["side"]) == {"receiver"}
    assert rows(reading.frame, "summary", "receiver")["size_bytes"].tolist() == printed(
        "3.1.3-tcp.server.txt", "receiver"
    )


def test_an_old_server_that_sends_without_counting_retransmits_is_the_sender() -> None:
    frame = parse(
        log(
            "Accepted connection from 10.0.0.2, port 38108",
            "[  5] local 10.0.0.1 port 5201 connected to 10.0.0.2 port 38116",
            "[ ID] Interval           Transfer     Bandwidth",
            "[  5]   0.00-1.00   sec  5.75 MBytes  48.2 Mbits/sec                  ",
            RULE,
            "[ ID] Interval           Transfer     Bandwidth",
            "[  5]   0.00-1.00   sec  5.75 MBytes  48.2 Mbits/sec                  sender",
            "[  5]   0.00-1.00   sec  0.00 Bytes  0.00 bits/sec                  receiver",
        ),
        PATH,
    ).frame
    assert frame["side"].tolist() == ["sender", "sender"]
    assert frame["kind"].tolist() == ["interval", "summary"]


def test_an_old_udp_server_gets_the_bytes_of_its_intervals() -> None:
    name = "3.1.3-udp-p2.server.txt"
    reading = read(name)
    received = rows(reading.frame, "summary", "receiver").set_index("stream")
    counted = rows(reading.frame, "interval", "receiver").groupby("stream")["size_bytes"].sum()
    assert received["size_bytes"].tolist() == counted.tolist()
    assert rows(reading.frame, "group-summary", "receiver")["size_bytes"].isna().all()
    rates = 8 * received["size_bytes"] / received["end_s"]
    assert received["throughput_bps"].tolist() == pytest.approx(rates.tolist())


def test_an_old_udp_clients_summary_is_found_without_a_label() -> None:
    reading = read("3.0.11-udp-p2.client.txt")
    assert len(rows(reading.frame, "summary", "sender")) == 2
    assert len(rows(reading.frame, "group-summary", "sender")) == 1
    assert any("the receiver's losses" in note for note in reading.notes)


def test_an_id_that_nobody_opened_in_its_test_is_a_stream_without_ends() -> None:
    frame = parse(
        log(
            *BEGIN,
            "Accepted connection from 10.0.0.3, port 1",
            BEGIN[3],
            BEGIN[3].replace("5]", "7]"),
        ),
        PATH,
    ).frame
    assert frame["stream"].tolist() == [0, 1, 2]
    assert frame["peer_port"].tolist() == [5201, 0, 0]


def test_a_line_that_is_not_understood_is_counted() -> None:
    reading = parse(log(*BEGIN, "what is this", BEGIN[3].replace("0.00-1.00", "3.00-1.00")), PATH)
    assert reading.unparsed.line_nos == (5, 6)
    assert len(reading.frame) == 1


def test_a_last_line_that_is_cut_is_not_used() -> None:
    for cut in (BEGIN[3][:60], SUMMARY[3].rstrip()[:-4]):
        reading = parse(log(*BEGIN, *SUMMARY[:3], cut, end=""), PATH)
        assert (len(reading.frame), reading.partial, reading.unparsed.count) == (2, True, 1)
    whole = parse(log(*BEGIN, *SUMMARY, "", "iperf Done.", end=""), PATH)
    assert (len(whole.frame), whole.partial) == (3, False)


def test_an_empty_log_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="empty"):
        parse(b"\n \n", PATH)


def test_impossible_figures_are_missing() -> None:
    later = BEGIN[3].replace("0.00-1.00", "1.00-2.00")
    lines = [*BEGIN, later.replace("1.00 MBytes  8.39 Mbits", "-nan Bytes  -nan bits")]
    frame = check(parse(log(*lines), PATH).frame, "traffic")
    assert np.isnan(frame["size_bytes"].iloc[1])


@pytest.mark.parametrize(
    ("head", "is_ours"),
    [
        (b"Connecting to host h, port 5201\n", True),
        (b"-----\nServer listening on 5201 (test #1)\n", True),
        (b"-----\nServer listening on TCP port 5001\n", False),
        (b"iperf3: error - no route to host\n", True),
        (b"[ ID] Interval       Transfer     Bandwidth\n", False),
        (b'{\n"version": "iperf 3.12"\n', False),
        (b"iperf 3.12\nLinux h 6.1\nServer output:\n{\n", True),
        (b"", False),
    ],
)
def test_only_iperf3s_own_words_are_claimed(head: bytes, is_ours: bool) -> None:
    assert sniff(head) is is_ours


def survive(data: bytes) -> None:
    read_or_refuse(parse, data, PATH)


def test_cut_at_any_byte_it_is_read_in_part_or_refused() -> None:
    for data in truncations((DATA / "3.12-omit.client.txt").read_bytes()):
        survive(data)


def test_damaged_at_random_it_is_read_in_part_or_refused() -> None:
    for name in ("3.12-many.server.txt", "3.12-udp-all-lost.client.txt"):
        for data in mutations((DATA / name).read_bytes(), 120, seed=20261122):
            survive(data)


def test_datagrams_out_of_order_are_given_to_the_summary_after_the_line() -> None:
    frame = read("3.12-udp-late.server.txt").frame
    assert frame["out_of_order"].dropna().tolist() == [25]
    assert frame.loc[frame["kind"] == "summary", "out_of_order"].notna().all()
    without = read("3.12-udp-loss.server.txt").frame
    own = (without["kind"] == "summary") & (without["side"] == "receiver")
    assert set(without.loc[own, "out_of_order"]) == {0}
    assert "out_of_order" not in read("3.12-udp-loss.client.txt").frame


def test_the_mss_is_what_v_prints() -> None:
    assert set(read("3.12-verbose.client.txt").frame["mss_bytes"]) == {32768}
    assert "mss_bytes" not in read("3.21+-verbose.server.txt").frame
