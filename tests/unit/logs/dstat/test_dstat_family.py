"""dstat 0.8.0, pcp-dstat 6.0.3, older forms made from them, spreadsheets' forms, and screens."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from log_damage import mutations, truncations

from perfkit.errors import LogError, ParseError
from perfkit.logs import reader
from perfkit.logs.dstat import csv as dstat
from perfkit.logs.format import Reading, clean
from perfkit.logs.frames import check
from perfkit.logs.timestamps import get_zone

DATA = Path(__file__).parents[3] / "data" / "dstat"
SENT_BPS = 1_069_000 * 8  # what tests/data/dstat/README.md says, give or take two packets
APPENDED = (DATA / "dstat-appended.csv").read_text()

HEAD = (
    '"Dstat 0.7.3 CSV output"\n"Host:","h",,,,"User:","u"\n'
    '"Cmdline:","dstat -t -n 1",,,,"Date:","31 Dec 2024 23:59:57 UTC"\n'
)


def parse(text: str | bytes, *, zone: str = "", year: int = 0) -> Reading:
    data = text if isinstance(text, bytes) else text.encode()
    known = get_zone(zone) if zone else None
    reading = dstat.parse(clean(data), Path("made-up.csv"), zone=known, year=year)
    check(reading.frame, "monitor")
    return reading


def read(name: str) -> Reading:
    reading = reader.read(DATA / name)
    assert reading.format == "dstat"
    check(reading.frame, "monitor")
    return reading


def timed(times: list[str], head: str = HEAD) -> str:
    rows = "".join(f"{t},100,0\n" for t in times)
    return f'{head}"system","net/eth0",\n"time","recv","send"\n{rows}'


def test_dstat_080_twice_in_one_file_gives_each_run_its_own_columns() -> None:
    reading = read("dstat-appended.csv")
    frame = reading.frame
    assert frame["block"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["net_lo_recv_bps"].tolist() == pytest.approx([SENT_BPS] * 6, rel=0.01)
    assert frame.loc[frame["block"] == 0, "mem_used_bytes"].iloc[0] == 1737629696
    assert frame.loc[frame["block"] == 1, "cpu1_system_pct"].tolist() == [66.337, 45.263, 35.354]
    assert frame.loc[frame["block"] == 1, "dt_s"].tolist() == pytest.approx([1.001, 0.999, 1.001])
    assert reading.unparsed.count == 0


def test_a_column_of_text_is_left_out_and_named_and_the_others_are_read() -> None:
    notes = read("dstat-appended.csv").notes
    assert "most expensive/cpu process is text, and left out" in notes


def test_a_file_that_has_its_head_only_is_no_data() -> None:
    reading = read("dstat-header-only.csv")
    assert reading.frame.empty
    assert reading.notes == (
        "no data: the monitor wrote only its first row, which averages since boot",
    )


def test_pcp_counts_disks_and_memory_in_kib_and_the_network_in_bytes() -> None:
    frame = read("pcp.csv").frame
    assert frame["net_lo_recv_bps"].tolist() == pytest.approx([SENT_BPS] * 5, rel=0.01)
    assert frame["mem_used_bytes"].iloc[0] == 847024 * 1024
    assert frame["disk_total_read_bytes_per_s"].iloc[0] == pytest.approx(1815.596 * 1024)
    assert frame["cpu_idle_pct"].iloc[-1] == 46.996


def test_a_pcp_banner_over_dstats_own_titles_is_dstats_in_bytes() -> None:
    text = APPENDED.split("\n\n\n")[0].replace("Dstat 0.8.0", "pcp-dstat 5.0.3") + "\n"
    assert parse(text).frame.equals(parse(text.replace("pcp-dstat 5.0.3", "Dstat 0.8.0")).frame)


def test_the_short_first_row_of_pcp_starts_the_first_interval() -> None:
    reading = read("pcp.csv")
    assert str(reading.frame["t_utc"].iloc[0]) == "2026-11-22 13:35:51+00:00"
    assert reading.frame["dt_s"].tolist() == [1.0] * 5


def test_one_empty_cell_for_a_group_that_pcp_had_no_figures_for_shifts_no_other() -> None:
    reading = read("pcp-absent.csv")
    frame = reading.frame
    assert reading.unparsed.count == 0
    assert frame["net_total_recv_bps"].isna().all()
    assert frame["other:total/used"].isna().all()
    assert frame["other:paging/in"].tolist() == [0, 0, 0]
    assert frame["disk_total_write_bytes_per_s"].iloc[0] == pytest.approx(3.999 * 1024)


def with_missed_ticks(text: str, places: dict[int, str]) -> str:
    """Rows of a pcp capture left out as by missed ticks, and what pcp-dstat says behind the next."""
    lines = text.splitlines()
    return "\n".join(line + places.get(n, "") for n, line in enumerate(lines)) + "\n"


@pytest.mark.parametrize("name", ["pcp.csv", "pcp-absent.csv"])
@pytest.mark.parametrize(
    "said", [',"missed 2 ticks"', ',"missed 1 tick"', ",missed 2 ticks", ',"missed 12 ticks",']
)
def test_what_pcp_says_of_missed_ticks_behind_a_row_changes_no_figure(name: str, said: str) -> None:
    text = (DATA / name).read_text()
    reading = parse(with_missed_ticks(text, {7: said, 8: said, 9: said}))
    assert reading.unparsed.count == 0
    assert reading.frame.equals(parse(text).frame)


def test_the_row_after_missed_ticks_of_pcp_is_over_its_real_interval() -> None:
    lines = (DATA / "pcp.csv").read_text().splitlines(keepends=True)
    after = lines[9].replace("\n", ',"missed 2 ticks"\n')
    reading = parse("".join([*lines[:8], after, *lines[10:]]))
    assert reading.unparsed.count == 0
    assert reading.frame["dt_s"].tolist() == [1, 2, 1, 1]
    assert reading.frame["missed"].tolist() == [False, True, False, False]
    assert reading.frame["net_lo_recv_bps"].tolist() == pytest.approx([SENT_BPS] * 4, rel=0.01)
    assert "1 ticks missed in 1 places; rates are the tool's own" in reading.notes


def test_missed_ticks_of_a_tick_without_figures_stand_in_front_of_the_next_row() -> None:
    text = (DATA / "pcp.csv").read_text()
    lines = text.splitlines(keepends=True)
    told = "".join([*lines[:9], ',"missed 3 ticks"', *lines[9:]])
    assert parse(told).frame.equals(parse(text).frame)
    alone = "".join([*lines[:9], '"missed 3 ticks"\n', *lines[9:]])
    assert parse(alone).frame.equals(parse(text).frame)
    assert parse(told).unparsed.count == parse(alone).unparsed.count == 0


def test_a_row_that_fits_its_groups_in_two_ways_is_not_understood() -> None:
    text = (
        '"pcp-dstat 6.0.3 CSV Output"\n"Host:","h"\n"epoch","a",,"b",\n'
        '"epoch","x","y","z","w"\n1,1,1,1,1\n2,5,,6\n3,1,1,1,1\n'
    )
    assert parse(text).unparsed.line_nos == (6,)


def test_rows_with_more_cells_than_names_are_refused_with_both_counts() -> None:
    text = HEAD + '"memory usage",,,\n"used","free","buff","cach"\n' + "1,2,3,4,5,6,7\n" * 3
    with pytest.raises(ParseError, match=r":6: 7 cells but 4 column names"):
        parse(text)


def test_names_that_begin_with_a_figure_are_names_and_quoted_text_in_rows_is_no_head() -> None:
    text = (
        '"pcp-dstat 6.0.3 CSV Output"\n"Host:","h"\n"top","epoch","load avg"\n'
        '"cmd","epoch","1m"\n"a",1,1\n"b",2,7\n"b",3,9\n'
    )
    assert parse(text).frame["other:load avg/1m"].tolist() == [7, 9]


def test_columns_that_change_while_it_runs_cost_no_row() -> None:
    head = HEAD.replace("-t", "-T")
    rows = '"epoch","procs"\n"epoch","run"\n1.5,1\n2.5,2\n3.5,3\n'
    changed = '"epoch","procs",\n"epoch","run","blk"\n4.5,4,1\n5.5,5,1\n'
    reading = parse(head + rows + changed)
    assert reading.frame["other:procs/run"].tolist() == [2, 3, 4, 5]
    assert reading.frame["dt_s"].tolist() == [1, 1, 1, 1]
    assert "the columns changed 1 times during a run" in reading.notes


def test_a_head_without_host_after_a_gap_is_taken_for_a_new_start() -> None:
    head = HEAD.replace("-t", "-T")
    rows = '"epoch","procs"\n"epoch","run"\n1.5,1\n2.5,2\n'
    reading = parse(head + rows + rows.replace("1.5", "901.5").replace("2.5", "902.5"))
    assert reading.frame["other:procs/run"].tolist() == [2, 2]


def test_dstat_070_has_a_blank_line_and_calls_its_time_date_time() -> None:
    text = APPENDED.split("\n\n")[0].replace("0.8.0", "0.7.0").replace('"time"', '"date/time"')
    text = text.replace('"system","total', '\n"system","total') + "\n"
    reading = parse(text)
    assert reading.unparsed.count == 0
    assert len(reading.frame) == 3
    assert str(reading.frame["t_utc"].iloc[0]) == "2026-11-22 13:37:17+00:00"


def test_a_file_that_begins_with_blank_lines_and_no_banner_is_known() -> None:
    text = "\n\n" + APPENDED.split("\n\n\n")[1]
    assert dstat.sniff(text.encode())
    assert len(parse(text).frame) == 3


def resaved(text: str, separator: str, decimal: str) -> str:
    """As a spreadsheet would save it: no quotes, every line as wide as the widest."""
    lines = list(csv.reader(io.StringIO(text)))
    width = max(map(len, lines))
    saved = io.StringIO()
    writer = csv.writer(saved, delimiter=separator, lineterminator="\r\n")
    for cells in lines:
        figures = [
            cell.replace(".", decimal) if cell.replace(".", "", 1).isdigit() else cell
            for cell in cells
        ]
        writer.writerow([*figures, *[""] * (width - len(cells))])
    return "\ufeff" + saved.getvalue()


@pytest.mark.parametrize(
    ("separator", "decimal"), [(";", ","), (";", "."), (",", "."), ("\t", ",")]
)
def test_a_file_saved_again_by_a_spreadsheet_reads_the_same(separator: str, decimal: str) -> None:
    text = resaved(APPENDED, separator, decimal)
    assert dstat.sniff(clean(text.encode()))
    reading = parse(text)
    assert reading.frame.equals(parse(APPENDED).frame)
    assert reading.unparsed.count == 0
    assert any("spreadsheet" in note for note in reading.notes)


def test_a_spreadsheets_own_dates_are_read() -> None:
    text = resaved(APPENDED.split("\n\n\n")[0] + "\n", ";", ",")
    dated = text.replace("22-11 13", "22.11.2026 13")
    assert str(parse(dated).frame["t_utc"].iloc[0]) == "2026-11-22 13:37:17+00:00"


def test_stamps_without_their_seconds_are_said_to_be_lost() -> None:
    reading = parse(timed(["22-11 13:37:00"] * 5))
    assert reading.frame["t_utc"].isna().all()
    assert len(reading.frame) == 4
    assert any("removed the seconds" in note for note in reading.notes)

    minutes = parse(timed(["22.11.2026 13:37"] * 5))
    assert minutes.frame["t_utc"].isna().all()
    assert any("changed by a spreadsheet" in note for note in minutes.notes)


@pytest.mark.parametrize("name", ["dstat-screen.txt", "dool-screen.txt"])
def test_screen_output_is_refused_and_what_to_do_is_said(name: str) -> None:
    with pytest.raises(ParseError, match="screen output, rounded; run the monitor with --output"):
        reader.read(DATA / name)


def test_the_year_turns_in_a_leap_year_too() -> None:
    frame = parse(timed(["31-12 23:59:57", "31-12 23:59:59", "01-01 00:00:01"])).frame
    assert [str(t) for t in frame["t_utc"]] == [
        "2024-12-31 23:59:59+00:00",
        "2025-01-01 00:00:01+00:00",
    ]


def test_a_zone_that_is_given_is_taken_before_the_heads() -> None:
    text = timed(["05-08 14:46:20", "05-08 14:46:21"], HEAD.replace("UTC", "CST"))
    reading = parse(text, zone="Asia/Shanghai")
    assert str(reading.frame["t_utc"].iloc[0]) == "2024-08-05 06:46:21+00:00"
    assert reading.notes == ()
    assert str(parse(text, zone="-0600").frame["t_utc"].iloc[0]) == "2024-08-05 20:46:21+00:00"


def test_an_hour_that_comes_twice_is_told_apart_by_the_step_back() -> None:
    times = ["27-10 02:59:58", "27-10 02:59:59", "27-10 02:00:00", "27-10 02:00:01"]
    reading = parse(timed(times), zone="Europe/Berlin")
    assert reading.frame["dt_s"].tolist() == [1, 1, 1]
    assert str(reading.frame["t_utc"].iloc[-1]) == "2024-10-27 01:00:01+00:00"


def test_a_year_that_is_given_stands_in_for_the_missing_date() -> None:
    head = '"Host:","h"\n'
    text = timed(["05-08 14:46:20", "05-08 14:46:21"], head)
    assert parse(text).frame["t_utc"].isna().all()
    frame = parse(text, year=2011, zone="UTC").frame
    assert str(frame["t_utc"].iloc[0]) == "2011-08-05 14:46:21+00:00"


def test_the_zone_is_asked_for_by_name_and_an_unknown_one_is_refused_with_examples() -> None:
    path = DATA / "pcp.csv"
    assert (
        str(reader.read(path, zone="+0200").frame["t_utc"].iloc[0]) == "2026-11-22 11:35:51+00:00"
    )
    with pytest.raises(LogError, match="no time zone is called 'Mars'; use a name such as"):
        reader.read(path, zone="Mars")


def test_a_row_without_a_stamp_is_no_missed_tick() -> None:
    text = HEAD + '"epoch","net/eth0",\n"epoch","recv","send"\n'
    reading = parse(text + "1.5,1,1\n2.5,100,1\n,100,1\n4.5,100,1\n5.5,100,1\n6.5,100,1\n")
    assert reading.frame["dt_s"].tolist() == [1, 1, 1, 1]
    assert reading.frame["net_eth0_recv_bps"].tolist() == [800] * 4
    assert not reading.frame["missed"].any()
    assert "1 rows dropped: no stamp" in reading.notes


def test_a_last_line_without_its_end_is_not_trusted() -> None:
    whole = parse(APPENDED).frame
    reading = parse(APPENDED[:-3])
    assert reading.partial
    assert reading.frame.equals(whole.head(5))
    assert reading.unparsed.count == 1


def test_a_cell_of_ten_megabytes_is_not_understood() -> None:
    reading = parse(APPENDED + "x" * 10_000_000 + "\n")
    assert len(reading.frame) == 6
    assert reading.unparsed.count == 1
    assert len(parse(APPENDED + '"' + "x" * 10_000_000 + '"\n').frame) == 6


@pytest.mark.parametrize("name", ["pcp-absent.csv", "dstat-header-only.csv"])
def test_a_file_cut_at_any_byte_gives_the_rows_before_the_cut_or_a_log_error(name: str) -> None:
    data = (DATA / name).read_bytes()
    rows = dstat.parse(data, Path(name)).frame["t_utc"].tolist()
    for damaged in truncations(data):
        try:
            reading = dstat.parse(damaged, Path(name))
        except LogError:
            continue
        assert reading.frame["t_utc"].tolist() == rows[: len(reading.frame)]


@pytest.mark.parametrize("name", ["dstat-appended.csv", "pcp-absent.csv", "again"])
def test_damage_gives_a_checked_frame_or_a_log_error(name: str) -> None:
    again = resaved(APPENDED, ";", ",").encode()
    data = again if name == "again" else (DATA / name).read_bytes()
    for damaged in mutations(data, 200, seed=5):
        try:
            reading = dstat.parse(clean(damaged), Path(name))
        except LogError:
            continue
        check(reading.frame, "monitor")
