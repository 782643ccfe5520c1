"""The 2011 tables: right, and as the old scripts printed them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perfkit.analysis.legacy import compat as legacy_compat
from perfkit.analysis.legacy.tables import Table, TableFormat, legacy_table
from perfkit.errors import LogError

DATA = Path(__file__).parents[3] / "data" / "legacy"
FORMATS: tuple[TableFormat, ...] = ("csv", "mediawiki", "trac")
SUMMARY = "[  3]  0.0-10.0 sec    134 MBytes    112 Mbits/sec\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "logs" / "udp"
    made.mkdir(parents=True)
    return made


def csv_row(folder: Path, table: Table, *, compat: bool) -> list[str]:
    """The one row of a table."""
    text = legacy_table(folder, table=table, format="csv", compat=compat).text
    head, row = text.splitlines()
    assert head.startswith("Test;Subtest;")
    return row.split(";")


@pytest.mark.parametrize("table", ["iperf", "dstat"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_compat_prints_what_the_old_scripts_wrote_byte_for_byte(
    table: Table, format_name: TableFormat
) -> None:
    result = legacy_table(DATA / "tcp", table=table, format=format_name, compat=True)
    assert result.text == (DATA / "printed" / f"analysis-{table}.{format_name}").read_text()
    assert result.differences == []


def test_every_client_that_moved_data_is_counted_once_whatever_its_unit() -> None:
    text = legacy_table(DATA / "tcp", table="iperf", format="csv").text
    rows = [line.split(";") for line in text.splitlines()]
    assert rows[0][3:] == [
        "Clients",
        "Total transfer (MiB)",
        "Total bandwidth (Mbit/s)",
        "Average bandwidth (Mbit/s)",
    ]
    assert [row[1:4] for row in rows[1:]] == [["60s", "average", "1"], ["120s", "average", "8"]]
    assert float(rows[1][4]) == pytest.approx(6.11 * 1024)
    # From the logs by hand: the last line of each single stream, each stream of -P, the report.
    streams = {
        name: [
            float(n) for n in re.findall(pattern, (DATA / "tcp" / f"iperf-120s-{name}").read_text())
        ]
        for name, pattern in {
            "client-1": r"0\.0000-4\S+ sec +(\S+) MBytes",
            "client-2": r"0\.0000-4\S+ sec +(\S+) MBytes",
            "client-4": r"\[  \d\] 0\.0000-4\S+ sec +(\S+) MBytes",
            "client-5": r"0\.0000-4\S+ sec +(\S+) MBytes",
            "client-6": r"(\S+) MBytes .* ms",
            "client-8": r"0\.0000-4\S+ sec +(\S+) MBytes",
            "client-9": r"\[ *\d+\] 0\.0000-\S+ sec +(\S+) MBytes",
        }.items()
    }
    assert [len(found) for found in streams.values()] == [1, 1, 3, 1, 1, 1, 101]
    kbytes = re.search(r"(\S+) KBytes", (DATA / "tcp" / "iperf-120s-client-3").read_text())
    assert kbytes
    by_hand = sum(map(sum, streams.values())) + float(kbytes[1]) / 1024
    assert float(rows[2][4]) == pytest.approx(by_hand, abs=0.01)


def test_each_difference_from_the_old_row_has_its_reason_and_its_count() -> None:
    differences = legacy_table(DATA / "tcp", table="iperf", format="csv").differences
    assert differences == [
        "bandwidth is in Mbit/s: the old heading said MB/s over the same figures",
        "transfer is in MiB, 2^20 bytes: the old heading said MB",
        "the old scripts knew 120s only, and left out 60s",
        "60s: summaries in GBytes, not seen: 1",
        "60s: by the old arithmetic: Clients nothing, transfer nothing, bandwidth nothing, "
        "average -nan",
        "120s: iperf-120s-client-7: no data flowed (tcp connect failed: Connection refused)",
        "120s: bandwidths in Gbits/sec, added as if Mbits/sec: 1",
        "120s: summaries in KBytes, not seen: 1",
        "120s: [SUM] lines, counted as clients: 2",
        "120s: lines of shifted fields ([128], [SUM], 0.0- 2.8), counted as clients that moved 0: 4",
        "120s: interval and second-report lines, counted as clients: 5",
        "120s: the old row: Clients 116, transfer 1195.75, bandwidth 1239.16, average 10.6824",
    ]


def test_samples_of_2_6_and_6_percent_are_4_67_and_were_37_33(folder: Path) -> None:
    (folder / "dstat-120s.csv").write_text(
        "26-10 12:00:01,10,20,1,1,98,0,0,0\n"
        "26-10 12:00:02,10,20,4,2,94,0,0,0\n"
        "26-10 12:00:03,10,20,4,2,94,0,0,0\n"
    )
    assert csv_row(folder, "dstat", compat=True)[2:] == ["3", "2.66667", "1.33333", "37.3333", "0"]
    assert csv_row(folder, "dstat", compat=False)[2:] == ["3", "3.00", "1.67", "4.67", "0.00"]
    differences = legacy_table(folder, table="dstat", format="csv").differences
    assert "120s: the first line, parted at blanks, counted as 100 % CPU" in differences


def test_kbytes_mbytes_gbytes_and_three_digit_ids_are_all_clients(folder: Path) -> None:
    lines = {
        "a": SUMMARY,
        "b": SUMMARY.replace("134 MBytes    112 Mbits", "512 KBytes    420 Kbits"),
        "c": SUMMARY.replace("134 MBytes    112 Mbits", "  2 GBytes   1.72 Gbits"),
        "d": SUMMARY.replace("[  3]", "[128]"),
        "e": SUMMARY.replace("0.0-10.0", "0.0- 2.8"),
    }
    for name, line in lines.items():
        (folder / f"iperf-120s-{name}").write_text(line)
    assert csv_row(folder, "iperf", compat=True)[3:] == ["3", "134", "112", "37.3333"]
    assert csv_row(folder, "iperf", compat=False)[3:] == [
        "5",
        f"{134 * 3 + 0.5 + 2048:.2f}",
        f"{112 * 3 + 0.42 + 1720:.2f}",
        f"{(112 * 3 + 0.42 + 1720) / 5:.2f}",
    ]


def test_summaries_of_several_clients_put_into_one_log_are_several_clients(folder: Path) -> None:
    (folder / "iperf-120s").write_text(SUMMARY * 2 + SUMMARY.replace("[  3]", "[ 12]"))
    assert csv_row(folder, "iperf", compat=False)[3:5] == ["3", "402.00"]


def test_a_servers_log_counts_its_peers(folder: Path) -> None:
    connects = "".join(
        f"[ {n}] local 10.0.0.1 port 5001 connected with 10.0.0.{n} port 40000\n" for n in (4, 5)
    )
    results = "".join(SUMMARY.replace("[  3]", f"[  {n}]") for n in (4, 5))
    head = "Server listening on TCP port 5001\n"
    (folder / "iperf-120s").write_text(head + connects + results)
    assert csv_row(folder, "iperf", compat=False)[3] == "2"

    sums = SUMMARY.replace("[  3]", "[SUM]")
    (folder / "iperf-120s").write_text(head + connects + results + sums)
    assert csv_row(folder, "iperf", compat=False)[3:5] == ["2", "268.00"]


def test_a_client_without_its_last_line_counts_by_its_intervals_and_is_named(folder: Path) -> None:
    (folder / "iperf-10s-x").write_text(
        "Client connecting to 10.0.0.1, TCP port 5001\n"
        "[  3] local 10.0.0.2 port 40000 connected with 10.0.0.1 port 5001\n"
        "[  3]  0.0- 1.0 sec  10 MBytes  83.9 Mbits/sec\n"
        "[  3]  1.0- 2.0 sec  30 MBytes  252 Mbits/sec\n"
    )
    row = csv_row(folder, "iperf", compat=False)
    assert row[1:5] == ["10s", "average", "1", "40.00"]
    assert float(row[5]) == pytest.approx(40 * 2**20 * 8 / 2 / 1e6, abs=0.01)
    differences = legacy_table(folder, table="iperf", format="csv").differences
    assert any("made from intervals: 1" in difference for difference in differences)


def test_a_log_that_is_no_traffic_is_named_and_not_counted(folder: Path) -> None:
    (folder / "iperf-120s-good").write_text(SUMMARY)
    (folder / "iperf-120s-dstat").write_text(
        '"Dstat 0.7.2 CSV output"\n"epoch","procs"\n"epoch","run"\n'
    )
    (folder / "iperf-120s-words").write_text("nothing of the kind\n")
    (folder / "iperf-120s-empty").write_text("")
    result = legacy_table(folder, table="iperf", format="csv")
    assert result.text.splitlines()[1].split(";")[3] == "1"
    assert sum("not counted" in difference for difference in result.differences) == 3


def test_subtests_are_found_by_the_names_of_the_logs_and_sorted_by_number(folder: Path) -> None:
    for name in ("iperf-60s.log-host-1", "iperf-9s-host", "iperf-long-run-a", "iperf-x"):
        (folder / name).write_text(SUMMARY)
    (folder / "dstat-long-run.csv").write_text("26-10 12:00:01,10,20,1,1,98,0,0,0\n")
    text = legacy_table(folder, table="iperf", format="csv").text
    assert [line.split(";")[1] for line in text.splitlines()[1:]] == ["9s", "60s", "long-run", "x"]


def test_a_whole_file_loses_its_row_since_boot_and_its_columns_are_found_by_name() -> None:
    result = legacy_table(DATA / "tcp", table="dstat", format="csv")
    whole = next(line for line in result.text.splitlines() if line.startswith("tcp;60s"))
    rows = (DATA / "tcp" / "dstat-60s.csv").read_text().splitlines()[7:]
    idle = [float(row.split(",")[5]) for row in rows]
    assert whole.split(";")[2] == "11"
    assert whole.split(";")[5] == f"{100 - sum(idle) / len(idle):.2f}"
    assert "60s: lines of heads, counted as samples of 100 % CPU: 6" in result.differences


def test_columns_that_were_not_where_the_old_script_looked_are_named(folder: Path) -> None:
    (folder / "dstat-10s.csv").write_text(
        '"Dstat 0.7.3 CSV output"\n"Host:","h"\n"epoch","total cpu usage",,,,\n'
        '"epoch","usr","sys","idl","wai","stl"\n1.5,1,1,1,1,1\n2.5,10,20,60,10,0\n'
    )
    assert csv_row(folder, "dstat", compat=False)[3:] == ["10.00", "20.00", "40.00", "10.00"]
    differences = legacy_table(folder, table="dstat", format="csv").differences
    assert "10s: usr, sys, idl and wai were taken from idl, wai, stl" in differences


def test_rows_cut_with_a_spreadsheet_in_another_language_are_read(folder: Path) -> None:
    (folder / "dstat-120s.csv").write_text(
        "time;recv;send;usr;sys;idl;wai\n26-10 12:00:01;1;2;1,5;2,5;96;0\n"
        "26-10 12:00:03;1;2;3,5;2,5;94;0\n"
    )
    assert csv_row(folder, "dstat", compat=False)[2:] == ["4", "2.50", "2.50", "5.00", "0.00"]


def test_a_file_without_a_sample_is_a_row_without_figures(folder: Path) -> None:
    (folder / "dstat-120s.csv").write_text("\n")
    assert csv_row(folder, "dstat", compat=False)[2:] == ["0", "n/a", "n/a", "n/a", "n/a"]
    assert csv_row(folder, "dstat", compat=True)[2:] == ["1", "0", "0", "100", "0"]


def test_where_nothing_could_be_opened_the_old_scripts_printed_head_and_foot(folder: Path) -> None:
    text = legacy_table(folder, table="iperf", format="mediawiki", compat=True).text
    assert text.splitlines()[0] == '{| border="1" style="text-align:center;"'
    assert text.splitlines()[2:] == ["|-", "|}"]
    (folder / "iperf-120s-dir").mkdir()
    assert legacy_table(folder, table="iperf", format="csv", compat=True).text.count("\n") == 1


def test_an_empty_log_divided_nothing_by_nothing(folder: Path) -> None:
    (folder / "iperf-120s-a").write_text("")
    (folder / "dstat-120s.csv").write_text("")
    assert csv_row(folder, "iperf", compat=True)[3:] == ["", "", "", "-nan"]
    assert csv_row(folder, "dstat", compat=True)[2:] == ["0", "-nan", "-nan", "-nan", "-nan"]


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"134", 134),
        (b".5", 0.5),
        (b"12abc", 12),
        (b"1e3", 1000),
        (b"1e", 1),
        (b"0x1A", 26),
        (b"0x", 0),
        (b"MBytes", 0),
        (b'"99"', 0),
        (b"1_0", 1),
        (b"-inf", -float("inf")),
        (b"", 0),
    ],
)
def test_fields_are_numbers_as_far_as_mawk_reads_them(field: bytes, number: float) -> None:
    assert legacy_compat.read_number(field) == number


@pytest.mark.parametrize(
    ("figure", "printed"),
    [
        (1342.0, "1342"),
        (2147483647.0, "2147483647"),
        (2147483648.0, "2.14748e+09"),
        (37.0 + 1 / 3, "37.3333"),
        (1e-7, "1e-07"),
        (-0.0, "0"),
        (float("inf"), "inf"),
        (-float("nan"), "-nan"),
    ],
)
def test_numbers_are_printed_as_mawk_prints_them(figure: float, printed: str) -> None:
    assert legacy_compat.print_number(figure) == printed


def test_a_name_that_a_target_takes_for_its_own_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "=a|b;c"
    folder.mkdir()
    (folder / "iperf-120s-a").write_text(SUMMARY)
    rows = {f: legacy_table(folder, table="iperf", format=f).text for f in FORMATS}
    assert '"\'=a|b;c";120s' in rows["csv"]
    assert "|=a{{!}}b;c||120s" in rows["mediawiki"]
    assert "||=a!|b;c||120s" in rows["trac"]


def test_a_folder_that_is_not_there_or_holds_no_logs_is_refused(folder: Path) -> None:
    with pytest.raises(LogError, match="no iperf-<subtest>"):
        legacy_table(folder, table="iperf", format="csv")
    with pytest.raises(LogError, match="no such folder"):
        legacy_table(folder / "none", table="iperf", format="csv")
