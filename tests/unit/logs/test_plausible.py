"""Figures that cannot be are left out and named, and nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from perfkit.logs.format import Reading
from perfkit.logs.iperf2 import csv as iperf2_csv
from perfkit.logs.iperf2 import text as iperf2
from perfkit.logs.iperf3 import json as iperf3_json
from perfkit.logs.iperf3 import text as iperf3_text

DATA = Path(__file__).parents[2] / "data"
PATH = Path("log")
SERVER = "Server listening on TCP port 5001\n"
CONNECTED = "[  1] local 10.9.0.1 port 5001 connected with 10.9.0.2 port 40001\n"


def interval(start_s: int, size_bytes: int, rate_bps: int | None = None, of: str = "  1") -> str:
    rate = size_bytes * 8 if rate_bps is None else rate_bps
    return f"[{of}] {start_s}.0000-{start_s + 1}.0000 sec  {size_bytes} Bytes  {rate} bits/sec\n"


def parse(*lines: str) -> Reading:
    return iperf2.parse((SERVER + CONNECTED + "".join(lines)).encode(), PATH)


def test_a_rate_that_no_link_has_is_left_out_and_its_line_is_named() -> None:
    reading = parse(interval(0, 1000), interval(1, 10**18 - 1, 10**18 - 1), interval(2, 1000))
    assert reading.frame["size_bytes"].tolist() == [1000, 1000]
    assert reading.unparsed.line_nos == (4,)
    assert "100 Tbit/s" in reading.unparsed.samples[0]
    assert any("the first is line 4" in note for note in reading.notes)


def test_the_fastest_links_are_believed() -> None:
    assert len(parse(interval(0, 10**13)).frame) == 1  # 80 Tbit/s


def test_bytes_that_do_not_give_the_printed_rate_are_left_out() -> None:
    reading = parse(
        interval(0, 10**6), interval(1, 10**6, 8 * 10**9), interval(2, 10**10, 8 * 10**6)
    )
    assert reading.frame["line_no"].tolist() == [3]
    assert reading.unparsed.line_nos == (4, 5)


def test_bytes_a_few_times_what_the_rate_says_are_noted() -> None:
    reading = parse(interval(0, 10**6), interval(1, 10**6, 10**6))
    assert len(reading.frame) == 2
    assert any(
        "bytes, interval and rate differ; the first is line 4" in note for note in reading.notes
    )


def test_an_interval_that_begins_while_the_one_before_runs_is_left_out() -> None:
    reading = parse(interval(0, 1000), interval(1, 1000), interval(1, 2000), interval(2, 1000))
    assert reading.frame["line_no"].tolist() == [3, 4, 6]
    assert "overlaps" in reading.unparsed.samples[0]


def test_no_line_of_a_capture_is_impossible() -> None:
    for parse_log, pattern in (
        (iperf2.parse, "iperf2/*.log"),
        (iperf2_csv.parse, "iperf2_csv/*.csv"),
        (iperf3_text.parse, "iperf3/text/*.txt"),
        (iperf3_json.parse, "iperf3/json/*.json"),
    ):
        for path in DATA.glob(pattern):
            notes = parse_log(path.read_bytes(), path).notes
            assert not [note for note in notes if "impossible" in note or "twice, with" in note]


TWICE: list[tuple[Callable[[bytes, Path], Reading], str]] = [
    (iperf2.parse, "iperf2/server.log"),
    (iperf2.parse, "iperf2/many-server.log"),
    (iperf2.parse, "iperf2/udp-late-server.log"),
    (iperf2.parse, "iperf2/client-1.log"),
    (iperf3_text.parse, "iperf3/text/3.12-many.server.txt"),
    (iperf3_text.parse, "iperf3/text/3.12-p2.client.txt"),
    (iperf3_text.parse, "iperf3/text/3.12-udp-loss.client.txt"),
    (iperf3_json.parse, "iperf3/json/3.12-tcp.client.json"),
    (iperf3_json.parse, "iperf3/json/3.12-many.server.json"),
]


@pytest.mark.parametrize(("parse_log", "name"), TWICE, ids=[name for _, name in TWICE])
def test_a_log_put_behind_its_own_copy_counts_each_connection_once(
    parse_log: Callable[[bytes, Path], Reading], name: str
) -> None:
    data = (DATA / name).read_bytes()
    data += b"" if data.endswith(b"\n") else b"\n"
    once = parse_log(data, PATH).frame
    for again in (data, data[: len(data) * 2 // 3]):  # the copy may be cut
        twice = parse_log(data + again, PATH)
        own, before = (
            f[f["stream"] >= 0].reset_index(drop=True).drop(columns="line_no")
            for f in (twice.frame, once)
        )
        pd.testing.assert_frame_equal(own, before)
        assert any("twice" in note for note in twice.notes) or twice.partial


def test_the_longer_of_two_copies_is_the_one_that_counts() -> None:
    data = (DATA / "iperf2/server.log").read_bytes() + b"\n"
    once = iperf2.parse(data, PATH).frame
    cut = data[: data.rfind(b"\n", 0, len(data) // 2) + 1]
    both = iperf2.parse(cut + data, PATH).frame
    own = [frame[frame["stream"] >= 0] for frame in (once, both)]
    assert own[0]["size_bytes"].sum() == own[1]["size_bytes"].sum()
    assert own[0]["stream"].nunique() == own[1]["stream"].nunique()


def test_two_tests_from_one_port_with_other_figures_are_two() -> None:
    frame = parse(interval(0, 1000), CONNECTED, interval(0, 2000)).frame
    assert frame.groupby("stream")["size_bytes"].sum().tolist() == [1000, 2000]


def test_tests_from_one_port_at_two_times_are_two_whatever_their_figures() -> None:
    at = "[  1] local 10.9.0.1 port 5001 connected with 10.9.0.2 port 4 on 2026-02-01 00:0{}:00 (UTC)\n"
    lines = "".join(at.format(minute) + interval(0, 1000) for minute in (1, 2))
    assert iperf2.parse((SERVER + lines).encode(), PATH).frame["stream"].nunique() == 2


def test_documents_without_a_cookie_that_are_the_same_count_once() -> None:
    document: dict[str, Any] = json.loads((DATA / "iperf3/json/3.12-tcp.client.json").read_bytes())
    del document["start"]["cookie"]
    text = json.dumps(document).encode() + b"\n"
    assert len(iperf3_json.parse(text * 3, PATH).frame) == len(iperf3_json.parse(text, PATH).frame)


def test_an_impossible_interval_of_a_document_is_named_by_its_time() -> None:
    document: dict[str, Any] = json.loads((DATA / "iperf3/json/3.12-tcp.client.json").read_bytes())
    document["intervals"][1]["streams"][0]["bytes"] = 999999999999999999
    reading = iperf3_json.parse(json.dumps(document).encode(), PATH)
    assert (reading.frame["size_bytes"] < 1e9).all()
    assert "1.0" in reading.unparsed.samples[0]
    assert "1e+18 byte" in reading.unparsed.samples[0]


def test_a_copy_counts_once_where_rows_come_before_their_connection_lines_too() -> None:
    late = "[  2] local 10.9.0.1 port 5001 connected with 10.9.0.3 port 40002\n"
    log = (SERVER + CONNECTED + interval(0, 1000) + interval(0, 2000, of="  2") + late).encode()
    once, twice = iperf2.parse(log, PATH).frame, iperf2.parse(log * 2, PATH).frame
    assert once["peer_address"].tolist() == ["10.9.0.2", "10.9.0.3"]
    pd.testing.assert_frame_equal(once, twice)
