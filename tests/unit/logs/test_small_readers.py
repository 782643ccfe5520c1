"""events.json, procstat.csv, queues.csv, the column contract and the registry."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.errors import (
    FrameError,
    LogError,
    ParseError,
    TruncatedError,
    UnknownFormatError,
)
from perfkit.logs import events, frames, nicstat, procstat, queuestat, reader, registry
from perfkit.logs.format import Reading, Unparsed, UnparsedLines, clean

EVENT = {
    "slot": "01-direct-tcp",
    "host": "client-001",
    "starter": "epoch",
    "planned_start_utc_s": 100.0,
    "planned_end_utc_s": 110.0,
    "start_utc_s": 100.012,
    "end_utc_s": None,
    "exit_status": None,
    "timed_out": True,
}
WHERE = Path("01-direct-tcp.events.json")


def test_a_moment_that_was_not_reached_is_unknown() -> None:
    frame = events.parse(json.dumps(EVENT).encode(), WHERE).frame
    frames.check(frame, "events")
    row = frame.iloc[0]
    assert row["start_utc_s"] == 100.012
    assert np.isnan(row["end_utc_s"])
    assert np.isnan(row["exit_status"])
    assert row["timed_out"]


def test_a_record_that_stops_in_the_middle_is_truncated() -> None:
    text = json.dumps(EVENT).encode()
    with pytest.raises(TruncatedError):
        events.parse(text[: text.index(b'"epoch"') + 3], WHERE)
    with pytest.raises(TruncatedError, match="killed"):
        events.parse(b"", WHERE)


@pytest.mark.parametrize(
    "text", [b"[]", b'{"start_utc_s": "noon"}', b"{} {}", b"\xff\xfe{", b"[" * 100_000]
)
def test_a_record_that_is_something_else_is_a_parse_error_or_truncated(text: bytes) -> None:
    with pytest.raises((ParseError, TruncatedError)):
        events.parse(text, WHERE)


def test_procstat_keeps_pid_and_names_what_it_does_not_understand() -> None:
    text = b"epoch,pid,cpu_s,rss_bytes\n100.5,7,1.25,4096\nnan,7,1,1\nhello\n101.5,7,-1,1\n102.5,8,0.01,4096\n"
    reading = procstat.FORMAT.parse(text, Path("procstat.csv"))
    frames.check(reading.frame, "process")
    assert reading.frame["pid"].tolist() == [7, 8]
    assert reading.frame["cpu_s"].tolist() == [1.25, 0.01]
    assert reading.unparsed.line_nos == (3, 4, 5)


def test_procstat_has_proportional_memory_where_the_kernel_tells_it() -> None:
    text = (
        b"epoch,pid,cpu_s,rss_bytes,pss_bytes\n100.5,7,1.25,4096,2048\n101.5,7,1.5,4096,\n"
        b"102.5,7,1.5,4096,x\n103.5,7,1.5,4096,nan\n104.5,7,1.5,4096\n105.5,7,1.5,4096,1,2\n"
    )
    reading = procstat.FORMAT.parse(text, Path("procstat.csv"))
    frames.check(reading.frame, "process")
    assert reading.frame["pss_bytes"].iloc[0] == 2048
    assert np.isnan(reading.frame["pss_bytes"].iloc[1])
    assert reading.unparsed.line_nos == (4, 5, 6, 7)


def test_procstat_of_earlier_versions_has_no_proportional_memory() -> None:
    text = b"epoch,pid,cpu_s,rss_bytes\n100.5,7,1.25,4096\n101.5,7,1.5,4096,1\n"
    reading = procstat.FORMAT.parse(text, Path("procstat.csv"))
    assert reading.frame["rss_bytes"].tolist() == [4096]
    assert np.isnan(reading.frame["pss_bytes"].iloc[0])
    assert reading.unparsed.line_nos == (3,)


def test_procstat_needs_its_head() -> None:
    with pytest.raises(ParseError, match="epoch,pid"):
        procstat.FORMAT.parse(b"1,2,3,4\n", Path("procstat.csv"))


def test_queuestat_keeps_devices_apart_and_names_what_it_does_not_understand() -> None:
    text = (
        b"epoch,device,drops\n100.5,eth0,3\n100.5,tun0,0\nnan,eth0,1\n101.5,eth0,-1\n101.5,,1\n"
        b"101.5,a-name-that-is-too-long,1\n101.5,eth0,1.5\n101.5,eth0\n102.5,eth0,9\n102.5,tun0,1\n"
    )
    reading = queuestat.FORMAT.parse(text, Path("queues.csv"))
    frames.check(reading.frame, "queues")
    assert reading.frame["device"].tolist() == ["eth0", "tun0", "eth0", "tun0"]
    assert reading.frame["drops"].tolist() == [3, 0, 9, 1]
    assert reading.unparsed.line_nos == (4, 5, 6, 7, 8, 9)
    with pytest.raises(ParseError, match="epoch,device"):
        queuestat.FORMAT.parse(b"1,eth0,3\n", Path("queues.csv"))


@pytest.mark.parametrize(
    ("parse", "column", "whole"),
    [
        (
            procstat.FORMAT.parse,
            "cpu_s",
            b"epoch,pid,cpu_s,rss_bytes\n100.5,7,70,4096\n101.5,7,71.25,8192\n",
        ),
        (queuestat.FORMAT.parse, "drops", b"epoch,device,drops\n100.5,eth0,70\n101.5,eth0,7012\n"),
        (
            nicstat.FORMAT.parse,
            "count",
            b"epoch,device,counter,count\n100.5,eth0,pps_allowance_exceeded,70\n"
            b"101.5,eth0,pps_allowance_exceeded,7012\n",
        ),
    ],
)
def test_half_of_a_last_line_is_no_count(
    parse: Callable[[bytes, Path], Reading], column: str, whole: bytes
) -> None:
    for cut in range(whole.index(b"\n") + 2, len(whole)):
        reading = parse(whole[:cut], Path("counts.csv"))
        assert reading.partial == (whole[cut - 1 : cut] != b"\n")
        assert set(reading.frame[column]) <= {70}
        assert reading.unparsed.count == reading.partial


def test_a_missing_column_is_named() -> None:
    with pytest.raises(FrameError, match="columns missing: rss_bytes"):
        frames.check(frames.empty("process").drop(columns="rss_bytes"), "process")


def test_an_undeclared_column_is_named_with_the_nearest_one() -> None:
    frame = frames.empty("process").assign(cpu=pd.Series(dtype="float64"))
    with pytest.raises(FrameError, match=r"'cpu' is not declared; did you mean 'cpu_s'"):
        frames.check(frame, "process")


def test_a_value_that_breaks_its_rule_is_shown_with_its_row() -> None:
    frame = procstat.FORMAT.parse(
        b"epoch,pid,cpu_s,rss_bytes\n1.5,7,1,1\n2.5,7,2,1\n", Path("p")
    ).frame
    frame.loc[1, "cpu_s"] = -4.0
    with pytest.raises(FrameError, match=r"'cpu_s'.*row 1: .*-4"):
        frames.check(frame, "process")


def test_a_column_of_another_type_is_named() -> None:
    frame = frames.empty("process").astype({"cpu_s": "int64"})
    with pytest.raises(FrameError, match="'cpu_s': float expected, int64 found"):
        frames.check(frame, "process")


def test_a_device_column_is_found_by_its_pattern() -> None:
    column = frames.find_column("monitor", "net_br-lan.7_recv_bps")
    assert column is not None
    assert column.unit == "bit/s"


def test_an_unknown_kind_of_frame_names_the_nearest() -> None:
    with pytest.raises(FrameError, match="did you mean 'traffic'"):
        frames.check(pd.DataFrame(), "trafic")


def test_frames_with_other_categories_and_columns_join_under_each_other() -> None:
    one = pd.DataFrame({"host": pd.Categorical(["a", "b"]), "x": [1.0, 2.0]})
    two = pd.DataFrame({"host": pd.Categorical(["c"]), "y": [3.0]})
    joined = frames.concat([one, two], "monitor")
    assert joined["host"].tolist() == ["a", "b", "c"]
    assert joined["x"].tolist()[:2] == [1.0, 2.0]
    assert np.isnan(joined["x"].iloc[2])
    many = frames.concat([two] * 20, "monitor")
    assert many["y"].tolist() == [3.0] * 20


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_a_compressed_log_is_read_and_a_cut_one_is_truncated(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "procstat.csv.packed"
    packed = pack(b"epoch,pid,cpu_s,rss_bytes\n100.5,7,1.25,4096\n")
    path.write_bytes(packed)
    assert len(reader.read(path).frame) == 1
    path.write_bytes(packed[:-9])
    with pytest.raises(TruncatedError, match="cut or damaged"):
        reader.read(path)


def test_a_file_of_no_known_format_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("roses are red\n")
    with pytest.raises(UnknownFormatError, match=r"'roses are red'.*dstat.*iperf2"):
        reader.sniff(path)
    path.write_bytes(b"")
    with pytest.raises(TruncatedError, match="empty"):
        reader.read(path)
    with pytest.raises(LogError, match="cannot be opened"):
        reader.read(tmp_path / "gone")


def test_a_mistyped_format_names_the_nearest() -> None:
    with pytest.raises(UnknownFormatError, match="did you mean 'iperf2'"):
        registry.get_format("iperf22")


def test_cleaning_takes_escapes_and_keeps_line_numbers() -> None:
    dirty = b"\xef\xbb\xbf\x1b[7l\x1b[0;31mred\x1b[0m\r\nsec\0ond\r\n"
    assert clean(dirty) == b"red\nsecond\n"


def test_lines_not_understood_keep_their_first_twenty() -> None:
    lines = UnparsedLines()
    for number in range(1, 101):
        lines.add(number, b"\xff" * 1000)
    result = lines.result()
    assert result.count == 100
    assert result.line_nos == tuple(range(1, 21))
    assert all(len(sample) <= 200 for sample in result.samples)
    assert str(Unparsed()) == "every line understood"
