"""iperf3's JSON, against what the captured documents say themselves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from log_damage import mutations, read_or_refuse, truncations

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.format import Reading
from perfkit.logs.frames import check
from perfkit.logs.iperf3.json import parse, sniff

DATA = Path(__file__).parents[3] / "data" / "iperf3" / "json"
PATH = Path("log.json")


def raw(name: str) -> Any:
    return json.loads((DATA / name).read_bytes())


def read(name: str) -> Reading:
    return parse((DATA / name).read_bytes(), DATA / name)


def rows(frame: pd.DataFrame, kind: str, side: str) -> pd.DataFrame:
    return frame[(frame["kind"] == kind) & (frame["side"] == side)]


def total(frame: pd.DataFrame, side: str) -> float:
    return float(rows(frame, "summary", side)["size_bytes"].sum())


def document(**parts: Any) -> dict[str, Any]:
    start = {
        "connected": [
            {"socket": 5, "local_host": "10.0.0.2", "local_port": 40000,
             "remote_host": "10.0.0.1", "remote_port": 5201}
        ],
        "timestamp": {"timesecs": 1795350000}, "connecting_to": {"host": "10.0.0.1"},
        "cookie": "c", "test_start": {"protocol": "TCP", "omit": 0, "reverse": 0},
    }  # fmt: skip
    record = {"socket": 5, "start": 0, "end": 2, "bytes": 1000, "bits_per_second": 4000.0}
    return {
        "start": start,
        "intervals": [{"streams": [{**record, "omitted": False, "sender": True}]}],
        "end": {"streams": [{"sender": record, "receiver": record}]},
        **parts,
    }


def text_of(*documents: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(one, indent=1) for one in documents).encode() + b"\n"


def test_a_clients_intervals_are_the_senders_and_its_summary_has_both_ends() -> None:
    frame, said = read("3.12-tcp.client.json").frame, raw("3.12-tcp.client.json")
    own = rows(frame, "interval", "sender")
    assert own["size_bytes"].tolist() == [i["streams"][0]["bytes"] for i in said["intervals"]]
    assert own["rtt_s"].tolist() == [i["streams"][0]["rtt"] / 1e6 for i in said["intervals"]]
    assert total(frame, "sender") == said["end"]["sum_sent"]["bytes"]
    assert total(frame, "receiver") == said["end"]["sum_received"]["bytes"]
    assert rows(frame, "summary", "receiver")["end_s"].item() == said["end"]["sum_received"]["end"]
    assert rows(frame, "summary", "sender")["retransmits"].item() == 0


def test_the_ends_and_the_start_come_from_the_document() -> None:
    frame, start = read("3.12-tcp.client.json").frame, raw("3.12-tcp.client.json")["start"]
    first = frame.iloc[0]
    ends = start["connected"][0]
    assert (first["local_address"], first["local_port"]) == ("127.0.0.1", ends["local_port"])
    assert (first["peer_address"], first["peer_port"]) == ("127.0.0.1", 5201)
    assert first["connected_utc"].timestamp() == start["timestamp"]["timesecs"]
    assert first["stream_id"] == str(ends["socket"])


def test_parallel_streams_are_apart_and_their_sums_repeat_them() -> None:
    frame, said = read("3.12-p2.client.json").frame, raw("3.12-p2.client.json")
    assert sorted(frame["stream"].unique()) == [-1, 0, 1]
    groups = rows(frame, "group-summary", "receiver")
    assert groups["size_bytes"].item() == said["end"]["sum_received"]["bytes"]
    assert total(frame, "receiver") == said["end"]["sum_received"]["bytes"]
    own = rows(frame, "interval", "sender")
    per_tick = own.groupby(own["start_s"].round())["size_bytes"].sum()
    sums = rows(frame, "group-interval", "sender")
    assert sums["size_bytes"].tolist() == per_tick.tolist()
    assert "group-interval" not in set(read("3.12-tcp.client.json").frame["kind"])


@pytest.mark.parametrize("name", ["3.12-bidir-p2.client.json", "3.7-bidir-p2.client.json"])
def test_both_ways_are_read_also_where_their_keys_are_the_same(name: str) -> None:
    # 3.7 prints `sum` twice in an object; a plain reader keeps the second.
    frame = read(name).frame
    streams = json.loads((DATA / name).read_bytes())["end"]["streams"]
    forth = [s for s in streams if s["sender"]["sender"]]
    back = [s for s in streams if not s["sender"]["sender"]]
    for group, way in ((forth, "sender"), (back, "receiver")):
        ports = {s["sender"]["socket"] for s in group}
        own = frame[frame["stream_id"].isin([str(p) for p in ports])]
        assert set(own.loc[own["kind"] == "interval", "side"]) == {way}
        received = [s["receiver"]["bytes"] for s in group]
        assert rows(own, "summary", "receiver")["size_bytes"].tolist() == received
        assert sum(received) in rows(frame, "group-summary", "receiver")["size_bytes"].tolist()
    assert len(rows(frame, "group-interval", "sender")) == len(
        rows(frame, "group-interval", "receiver")
    )


def test_a_sending_server_is_the_sender_and_knows_nothing_of_the_receiver() -> None:
    frame = read("3.12-reverse.server.json").frame
    assert set(frame["side"]) == {"sender"}
    assert total(frame, "sender") == raw("3.12-reverse.server.json")["end"]["sum_sent"]["bytes"]


def test_omitted_intervals_are_left_out_and_time_counts_from_their_end() -> None:
    reading, said = read("3.12-omit.client.json"), raw("3.12-omit.client.json")
    kept = [i["streams"][0] for i in said["intervals"] if not i["streams"][0]["omitted"]]
    assert rows(reading.frame, "interval", "sender")["size_bytes"].tolist() == [
        s["bytes"] for s in kept
    ]
    began = reading.frame["connected_utc"].iloc[0].timestamp()
    assert began == said["start"]["timestamp"]["timesecs"] + said["start"]["test_start"]["omit"]
    assert any("1 omitted intervals" in note for note in reading.notes)


def test_udp_losses_are_the_receivers_and_its_bytes_are_what_arrived() -> None:
    frame = read("3.12-udp-loss.client.json").frame
    server = read("3.12-udp-loss.server.json").frame
    received, sent = rows(frame, "summary", "receiver"), rows(frame, "summary", "sender")
    assert (
        received["size_bytes"].tolist()
        == rows(server, "summary", "receiver")["size_bytes"].tolist()
    )
    assert received["lost"].sum() > 0
    assert (received["size_bytes"] < sent["size_bytes"].to_numpy()).all()
    assert sent["lost"].isna().all()
    assert sent["jitter_s"].isna().all()
    kept = (1 - received["lost"] / received["datagrams"]).to_numpy() * sent["size_bytes"].to_numpy()
    assert received["size_bytes"].to_numpy() == pytest.approx(kept)
    rates = 8 * received["size_bytes"] / received["end_s"]
    assert received["throughput_bps"].to_numpy() == pytest.approx(rates.to_numpy())


def test_where_every_datagram_is_lost_it_does_not_say_none_was() -> None:
    # The receiver misses nothing it never heard of: iperf3 prints 0 lost.
    assert raw("3.12-udp-all-lost.client.json")["end"]["sum"]["lost_packets"] == 0
    received = rows(read("3.12-udp-all-lost.client.json").frame, "summary", "receiver")
    assert received["size_bytes"].tolist() == [0, 0]
    assert received["lost"].tolist() == received["datagrams"].tolist() == [357, 357]


def test_an_older_client_cannot_tell_all_lost_from_nothing_lost() -> None:
    reading = read("3.7-udp-all-lost.client.json")
    received = rows(reading.frame, "summary", "receiver")
    assert len(received) == 2
    assert received["size_bytes"].isna().all()
    assert any("2 UDP receivers' bytes are not known" in note for note in reading.notes)


def test_a_server_that_prints_no_bytes_in_udp_summaries_gets_those_of_its_intervals() -> None:
    frame, said = read("3.7-udp-p2.server.json").frame, raw("3.7-udp-p2.server.json")
    assert {s["udp"]["bytes"] for s in said["end"]["streams"]} == {0}
    received = rows(frame, "summary", "receiver").set_index("stream")["size_bytes"]
    counted = rows(frame, "interval", "receiver").groupby("stream")["size_bytes"].sum()
    assert received.tolist() == counted.tolist()
    assert received.min() > 0


def test_a_number_that_is_none_is_missing_and_said() -> None:
    reading = read("3.0.11-udp.server.json")
    assert any("2 numbers are not JSON" in note for note in reading.notes)
    assert (reading.unparsed.count, reading.partial) == (0, False)


def test_the_servers_output_gives_the_receivers_intervals_of_the_same_stream() -> None:
    frame = read("3.12-get-server-output.client.json").frame
    said = raw("3.12-get-server-output.client.json")["server_output_json"]["intervals"]
    received = rows(frame, "interval", "receiver")
    assert received["size_bytes"].tolist() == [i["streams"][0]["bytes"] for i in said]
    assert frame["stream"].unique().tolist() == [0]
    assert len(rows(frame, "summary", "receiver")) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3.12-refused.client.json", "unable to connect to server: Connection refused"),
        ("3.12-busy.client.json", "the server is busy running a test. try again later"),
    ],
)
def test_a_test_that_never_ran_is_a_message_and_no_rows(name: str, message: str) -> None:
    # iperf3 3.12 exits with status 0 then, so the document is all that tells it.
    reading = read(name)
    assert (len(reading.frame), reading.messages) == (0, (message,))
    check(reading.frame, "traffic")


def test_an_interrupted_client_does_not_say_that_nothing_arrived() -> None:
    said = raw("3.12-interrupted.client.json")
    assert said["end"]["sum_received"]["bytes"] == 0
    reading = read("3.12-interrupted.client.json")
    assert total(reading.frame, "sender") == said["end"]["sum_sent"]["bytes"]
    assert rows(reading.frame, "summary", "receiver").empty
    assert reading.messages == ("interrupt - the client has terminated",)


@pytest.mark.parametrize("name", ["3.12-deserted.client.json", "3.12-many.server.json"])
def test_the_summary_of_a_test_that_broke_off_is_left_out(name: str) -> None:
    # Its bytes go on to the end, its time to the last interval, which it prints twice.
    reading = read(name)
    assert any("1 intervals repeat the one before" in note for note in reading.notes)
    assert any("1 summaries have other bytes" in note for note in reading.notes)
    last = reading.frame[reading.frame["stream"] == reading.frame["stream"].max()]
    assert set(last["kind"]) == {"interval"}
    assert not last.duplicated(["start_s", "end_s", "side"]).any()
    assert any("1 of " in n and "no summary: they did not end" in n for n in reading.notes)


def test_a_servers_file_of_several_tests_keeps_them_apart() -> None:
    reading = read("3.12-many.server.json")
    assert any("4 tests in one file" in note for note in reading.notes)
    of_stream = reading.frame[reading.frame["stream"] >= 0].groupby("stream")
    assert of_stream["protocol"].first().tolist() == ["tcp", "udp", "tcp", "tcp", "tcp"]
    assert of_stream["side"].first().tolist() == [
        "receiver", "receiver", "sender", "sender", "receiver"
    ]  # fmt: skip
    assert of_stream["peer_port"].first().is_unique
    assert of_stream["connected_utc"].first().nunique() == 4
    assert of_stream["line_no"].first().is_monotonic_increasing


@pytest.mark.parametrize("way", ["tcp", "bidir"])
def test_events_are_read_as_the_document_they_are_the_parts_of(way: str) -> None:
    name = f"3.21+-stream-{way}.client.json"
    events = [json.loads(line) for line in (DATA / name).read_text().splitlines()]
    parts: dict[str, Any] = {e["event"]: e["data"] for e in events if e["event"] != "interval"}
    parts["intervals"] = [e["data"] for e in events if e["event"] == "interval"]
    whole = parse(text_of(parts), PATH).frame.drop(columns="line_no")
    pd.testing.assert_frame_equal(read(name).frame.drop(columns="line_no"), whole)


def test_events_and_the_document_that_repeats_them_are_one_test() -> None:
    reading = read("3.21+-stream-full.server.json")
    assert any("1 tests were printed twice" in note for note in reading.notes)
    assert len(rows(reading.frame, "summary", "receiver")) == 1


def test_events_without_an_end_are_a_test_that_did_not_end() -> None:
    lines = (DATA / "3.21+-stream-tcp.client.json").read_bytes().splitlines(keepends=True)
    reading = parse(b"".join(lines[:-1]) + lines[-1][:50], PATH)
    assert len(rows(reading.frame, "interval", "sender")) == len(lines) - 2
    assert reading.partial
    assert any("1 of 1 streams have no summary" in note for note in reading.notes)


def test_intervals_that_begin_again_without_a_start_are_another_test() -> None:
    lines = (DATA / "3.21+-stream-tcp.client.json").read_bytes().splitlines(keepends=True)
    reading = parse(b"".join(lines[1:-1]) * 2, PATH)
    assert reading.frame["stream"].unique().tolist() == [0, 1]
    assert any("no connection line" in note for note in reading.notes)


def test_a_document_printed_twice_counts_once() -> None:
    once = parse(text_of(document()), PATH).frame
    reading = parse(text_of(document(), document()), PATH)
    assert reading.frame["size_bytes"].tolist() == once["size_bytes"].tolist()
    assert any("printed twice" in note for note in reading.notes)


def test_documents_in_a_wrapper_are_found() -> None:
    pairs = {"status": "ok", "data": {"pairs": [{"result": document()}, {"a": [1]}]}, "meta": {}}
    reading = parse(text_of(pairs), PATH)
    assert len(reading.frame) == 3
    assert any("wrapper" in note for note in reading.notes)


def test_a_wrapper_without_a_test_is_refused_by_its_keys() -> None:
    with pytest.raises(ParseError, match=r"without an iperf3 document.*error, meta, status"):
        parse(text_of({"status": "error", "error": {"stderr": "timeout"}, "meta": {}}), PATH)


def test_another_document_among_tests_is_an_unparsed_line() -> None:
    reading = parse(text_of(document(), {"meta": 1}), PATH)
    assert reading.unparsed.count == 1
    assert "meta" in reading.unparsed.samples[0]


def test_two_errors_in_a_document_are_two_messages() -> None:
    data = b'{"start": {}, "intervals": [], "end": {}, "error": "first", "error": "second"}\n'
    assert parse(data, PATH).messages == ("first", "second")


def test_another_protocol_is_refused() -> None:
    other = document()
    other["start"]["test_start"]["protocol"] = "SCTP"
    with pytest.raises(ParseError, match="TCP or UDP expected"):
        parse(text_of(other), PATH)


def test_a_cut_document_is_truncated_and_a_whole_one_before_it_is_kept() -> None:
    whole = text_of(document())
    with pytest.raises(TruncatedError, match="stops in the middle"):
        parse(whole[: len(whole) // 2], PATH)
    reading = parse(whole + whole[: len(whole) // 2], PATH)
    assert (len(reading.frame), reading.partial) == (3, True)


def test_figures_that_cannot_be_are_missing() -> None:
    odd = document()
    odd["intervals"][0]["streams"][0] |= {"bytes": -5, "bits_per_second": "x", "rtt": True}
    frame = check(parse(text_of(odd), PATH).frame, "traffic")
    assert np.isnan(frame["size_bytes"].iloc[0])
    assert np.isnan(frame["throughput_bps"].iloc[0])
    assert "rtt_s" not in frame


def test_an_interval_that_ends_before_it_starts_is_unparsed() -> None:
    odd = document()
    odd["intervals"][0]["streams"][0] |= {"start": 3}
    reading = parse(text_of(odd), PATH)
    assert reading.unparsed.count == 1
    assert "interval" not in set(reading.frame["kind"])


@pytest.mark.parametrize(
    ("head", "is_ours"),
    [
        (b'{\n\t"start":\t{\n\t\t"connected":\t[],\n\t\t"version":\t"iperf 3.12"', True),
        (b'Warning: new\n{"start": {"version": "iperf 3.5"', True),
        (b'{"event":"interval","data":{}}', True),
        (b'{"planned_start_utc_s": 1.0}', False),
        (
            b'Connecting to host h, port 1\n[  5] local\nServer JSON output:\n{"intervals": []}',
            False,
        ),
        (b'"version": "iperf 3.12"', False),
        (b"", False),
    ],
)
def test_only_json_with_iperf3s_keys_is_claimed(head: bytes, is_ours: bool) -> None:
    assert sniff(head) is is_ours


def survive(data: bytes) -> None:
    read_or_refuse(parse, data, PATH)


def test_cut_at_any_byte_it_is_read_in_part_or_refused() -> None:
    lines = (DATA / "3.21+-stream-tcp.client.json").read_bytes().splitlines(keepends=True)
    for data in truncations(lines[0] + lines[1]):
        survive(data)


def test_damaged_at_random_it_is_read_in_part_or_refused() -> None:
    for name in ("3.12-udp-loss.client.json", "3.7-bidir-p2.client.json"):
        for data in mutations((DATA / name).read_bytes(), 300, seed=20261122):
            survive(data)


def test_values_of_any_type_in_any_place_are_read_or_refused() -> None:
    chance = random.Random(20261122)
    strays = [None, True, -1, 1e308, 10**400, "x", "", [], [[]], {}, {"a": 1}, [{"streams": [1]}]]

    def stray(value: Any) -> Any:
        if chance.random() < 0.02:
            return chance.choice(strays)
        if isinstance(value, dict):
            return {key: stray(item) for key, item in value.items()}
        return [stray(item) for item in value] if isinstance(value, list) else value

    for name in ("3.12-udp-loss.client.json", "3.12-get-server-output.client.json"):
        whole = raw(name)
        for _ in range(200):
            survive(json.dumps(stray(whole)).encode())


def test_only_the_end_that_received_knows_what_came_out_of_order() -> None:
    server, client = read("3.12-udp-late.server.json"), read("3.12-udp-late.client.json")
    assert server.frame["out_of_order"].dropna().tolist() == [25]
    assert server.frame.loc[server.frame["kind"] == "summary", "out_of_order"].notna().all()
    assert "out_of_order" not in client.frame  # it prints 0, whatever came


def test_the_mss_is_the_clients_and_a_servers_0_is_none() -> None:
    assert set(read("3.12-tcp.client.json").frame["mss_bytes"]) == {32768}
    assert "mss_bytes" not in read("3.12-reverse.server.json").frame
    assert "mss_bytes" not in read("3.12-udp-loss.client.json").frame


def test_the_servers_text_gives_the_receivers_intervals_of_the_same_stream() -> None:
    document = raw("3.12-get-server-output.client.json")
    port = document["start"]["connected"][0]["local_port"]
    del document["server_output_json"]
    document["server_output_text"] = (
        f"Accepted connection from 127.0.0.1, port {port + 1}\n"
        f"[  7] local 127.0.0.1 port 5201 connected to 127.0.0.1 port {port}\n"
        "[ ID] Interval           Transfer     Bitrate\n"
        "[  7]   0.00-1.00   sec  4.50 MBytes  37.7 Mbits/sec\n"
        "[  7]   1.00-2.00   sec  5.00 MBytes  41.9 Mbits/sec\n"
        "- - - - - - - - - - - - - - - - - - - - - - - - -\n"
        "[ ID] Interval           Transfer     Bitrate\n"
        "[  7]   0.00-2.00   sec  9.50 MBytes  39.8 Mbits/sec                  receiver\n"
    )
    reading = parse(json.dumps(document).encode(), Path("text.json"))
    check(reading.frame, "traffic")
    own = reading.frame[reading.frame["side"] == "receiver"]
    assert own["kind"].tolist() == ["interval", "interval", "summary"]
    assert own["size_bytes"].tolist()[:2] == [4.5 * 2**20, 5 * 2**20]
    # One stream under one id, else its bytes would count twice: the server's id is another.
    assert own["stream"].nunique() == own["stream_id"].nunique() == 1
    assert any("2 intervals are from the server's own output" in note for note in reading.notes)


def test_no_text_of_a_server_is_too_strange() -> None:
    for text in ("", "[  5]", "\ud800", "{", "[  5]   0.00-1.00 sec nan MBytes inf Mbits/sec"):
        document = raw("3.12-tcp.client.json") | {"server_output_text": text}
        assert len(parse(json.dumps(document).encode(), Path("t.json")).frame) > 3
