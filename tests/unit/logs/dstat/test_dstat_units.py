"""Units of a monitor's figures: what the version and the options say, and figures that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfkit.logs.dstat import csv
from perfkit.logs.dstat.command import asks_for_bits, tool_of
from perfkit.logs.format import Reading, clean
from perfkit.logs.frames import check

DATA = Path(__file__).parents[3] / "data"
BITS, BYTES = 8_000.0, 64_000.0  # of the 8000 that every row has, in bit/s


def parse(text: str) -> Reading:
    reading = csv.parse(clean(text.encode()), Path("monitor.csv"))
    check(reading.frame, "monitor")
    return reading


def log(
    banner: str = "dool 1.3.8",
    command: str = "dool --epoch --net 1",
    *,
    received: str = "8000",
    start: int = 1_769_904_000,
) -> str:
    head = f'"{banner} CSV output"\n' if banner else ""
    rows = "".join(f"{start + n},{received},0\n" for n in range(3))
    run = f'"Cmdline:","{command}",,,,"Date:","01 Feb 2026 00:00:00 UTC"\n' if command else ""
    return (
        f'{head}"Host:","h1",,,,"User:","u"\n{run}'
        f'"epoch","net/total",\n"epoch","recv","send"\n{rows}'
    )


def received_bps(text: str) -> float:
    frame = parse(text).frame
    assert frame["net_total_recv_bps"].nunique() == 1
    return float(frame["net_total_recv_bps"].iloc[0])


@pytest.mark.parametrize(
    ("banner", "options", "expected"),
    [
        ("dool 1.2.0", "--bits", BYTES),  # before 1.3 for the screen only
        ("dool 1.2.0", "", BYTES),
        ("dool 1.2.0", "--bytes --bits", BYTES),
        ("Dstat 1.1.0", "--bits", BYTES),  # dool 1.0 and 1.1 have dstat's banner
        ("Dstat 0.7.4", "--bits", BYTES),
        ("pcp-dstat 6.0.3", "--bits", BYTES),
        ("dool 1.3.0", "", BITS),
        ("dool 1.3.8", "--bits", BITS),
        ("dool 1.10.0", "", BITS),
        ("dool v1.3.8", "", BITS),
        ("dool 1.3.8", "--bytes", BYTES),
        ("dool 1.3.8", "--dstat", BYTES),
        ("dool 1.3.8", "--bits --bytes", BYTES),
        ("dool 1.3.8", "--bytes --bits", BITS),
        ("dool 1.3.8", "--dstat --bits", BITS),
        ("dool 1.3.8", "--bits --dstat", BYTES),
        ("dool 1.3.8", "--bytes --dstat --bits", BITS),
        ("dool 1.3.8", "--byt", BYTES),  # getopt takes what is short and no other option
        ("dool 1.3.8", "--bytes --bi", BITS),
        ("dool 1.3.8", "--ds", BYTES),
        ("dool 1.3.8", "--output --bytes", BITS),  # a file of that name
        ("dool 1.3.8", "--output=--bytes", BITS),
        ("dool 1.3.8", "--out --bytes", BITS),
        ("dool 1.3.8", "-tno --bytes", BITS),
        ("dool 1.3.8", "-tno--bytes", BITS),
        ("dool 1.3.8", "-N --bytes", BITS),
        ("dool 1.3.8", "-tnN eth0 --bytes", BYTES),
        ("dool 1.3.8", "-tncd --bytes -o m.csv", BYTES),
        ("dool 1.3.8", "--disk --bytes", BYTES),  # --diskset has a value, --disk has none
        ("dool 1.3.8", "1 --bytes", BYTES),
        ("dool 1.3.8", "-- --bytes", BITS),
    ],
)
def test_version_and_last_option_decide_whether_rates_are_in_bits(
    banner: str, options: str, expected: float
) -> None:
    tool = "dool" if banner.startswith("dool") else "dstat"
    text = log(banner, f"/usr/bin/{tool} --epoch --net {options}")
    assert received_bps(text) == expected
    assert parse(text).notes == ()


def test_captured_bits_and_bytes_stay_what_they_are_whatever_stands_between_the_options() -> None:
    text = (DATA / "dool" / "bits.csv").read_text()
    expected = parse(text).frame
    assert parse(text.replace("dool ", "dool --bytes --bits ", 1)).frame.equals(
        parse(text.replace("dool ", "dool --bits ", 1)).frame
    )
    in_bytes = parse(text.replace('"Cmdline:","dool', '"Cmdline:","dool --bits --bytes')).frame
    ratio = in_bytes["net_eth0_send_bps"] / expected["net_eth0_send_bps"]
    assert ratio.dropna().tolist() == pytest.approx([8.0] * ratio.notna().sum())


@pytest.mark.parametrize(
    ("banner", "command", "expected", "words"),
    [
        ("", "dool --epoch --net 1", BITS, "dool's version is not known"),
        ("dool", "dool --epoch --net 1", BITS, "dool's version is not known"),
        ("", "/opt/dool/__main__.py -Tn", BITS, "dool's version is not known"),
        ("dool 1.3.8", "", BITS, "the head has no command line"),
    ],
)
def test_a_unit_that_the_head_leaves_open_is_named(
    banner: str, command: str, expected: float, words: str
) -> None:
    reading = parse(log(banner, command))
    assert reading.frame["net_total_recv_bps"].tolist() == [expected] * 2
    assert any(words in note for note in reading.notes)


def test_bytes_that_were_asked_for_need_no_version() -> None:
    assert received_bps(log("", "dool --bytes -Tn")) == BYTES
    assert parse(log("", "dool --bytes -Tn")).notes == ()


def test_each_run_in_a_file_has_the_unit_of_its_own_tool_and_options() -> None:
    later = 1_769_990_000
    text = log("dool 1.3.8", "dool --bytes -Tn") + "\n\n"
    for command, expected in (
        ("dool -Tn", BITS),
        ("dstat -Tn", BYTES),
        ("/usr/bin/dool --bytes -Tn", BYTES),
    ):
        frame = parse(text + log("", command, start=later)).frame
        assert frame.loc[frame["block"] == 1, "net_total_recv_bps"].tolist() == [expected] * 2
        assert frame.loc[frame["block"] == 0, "net_total_recv_bps"].tolist() == [BYTES] * 2


def test_a_run_appended_to_an_old_dools_file_is_taken_for_the_old_one_and_that_is_named() -> None:
    text = log("dool 1.2.0", "dool -Tn") + "\n\n" + log("", "dool -Tn", start=1_769_990_000)
    reading = parse(text)
    assert set(reading.frame["net_total_recv_bps"]) == {BYTES}
    assert any("is taken for dool 1.2.0 too" in note for note in reading.notes)


def test_rates_that_cannot_be_bits_are_named_where_dool_opts_may_have_asked_for_bytes() -> None:
    whole, odd = parse(log(received="8000")), parse(log(received="1042"))
    assert whole.notes == ()
    assert any("if DOOL_OPTS asked for --bytes, rates are 8 times as high" in n for n in odd.notes)
    assert parse(log(command="dool --bits -Tn", received="1042")).notes == ()


@pytest.mark.parametrize(
    "cell", ["inf", "-inf", "Infinity", "nan", "NaN", "1e400", "1e300", "-1e99"]
)
@pytest.mark.parametrize("rows", [3, 3000])
def test_a_cell_that_is_no_figure_is_unknown_and_named(cell: str, rows: int) -> None:
    head = log(command="dool --bytes -Tny").split('"epoch"', maxsplit=1)[0]
    names = '"epoch","net/total",,"system"\n"epoch","recv","send","int"\n'
    lines = [f"{1_769_904_000 + n},8000,16,5" for n in range(rows)]
    lines[2] = f"1769904002,{cell},16,{cell}"
    reading = parse(head + names + "\n".join(lines) + "\n")
    frame = reading.frame
    assert reading.unparsed.count == 0
    assert np.isnan(frame["net_total_recv_bps"].iloc[1])
    assert np.isnan(frame["other:system/int"].iloc[1])
    assert frame["net_total_recv_bps"].notna().sum() == rows - 2
    assert not np.isinf(frame.select_dtypes("number")).to_numpy().any()
    named = [note for note in reading.notes if note.startswith("1 cells of ")]
    assert [note.split(" ")[3] for note in named] == ["net/total/recv", "system/int"]


def test_empty_cells_are_unknown_and_not_named() -> None:
    reading = parse(log(command="dool --bytes -Tn").replace("01,8000,0", "01,,0"))
    assert reading.frame["net_total_recv_bps"].isna().tolist() == [True, False]
    assert reading.notes == ()


def test_a_stamp_that_is_no_number_is_a_row_without_a_stamp() -> None:
    reading = parse(log(command="dool --bytes -Tn").replace("1769904001", "inf"))
    assert len(reading.frame) == 1
    assert "1 rows have no readable epoch" in reading.notes


def test_command_lines_are_read_as_getopt_reads_them() -> None:
    assert asks_for_bits("dool -b --b") is None
    assert asks_for_bits("") is None
    assert asks_for_bits("dool --pidfile --bits --diskset --bytes") is None
    assert [tool_of(c) for c in ("", "x", "/usr/bin/dool 1", "pcp-dstat -t", "dstat")] == [
        "",
        "",
        "dool",
        "pcp-dstat",
        "dstat",
    ]


def test_rows_none_of_which_has_a_stamp_keep_their_figures() -> None:
    text = log(command="dool --bytes -Tn")
    for stamp in ("1769904000", "1769904001", "1769904002"):
        text = text.replace(stamp, "inf")
    reading = parse(text)
    assert reading.frame["net_total_recv_bps"].tolist() == [BYTES] * 2
    assert reading.frame["t_utc"].isna().all()
    assert "3 rows have no readable epoch" in reading.notes
