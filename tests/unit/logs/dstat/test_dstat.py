from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.dstat import csv
from perfkit.logs.format import Reading
from perfkit.logs.frames import check

DATA = Path(__file__).parents[3] / "data" / "dool"
PING_BPS = 18756 * 8  # what tests/data/dool/README.md says was sent, give or take one packet
PACKET_BPS = 1042 * 8

HEAD = (
    '"Dstat 0.7.3 CSV output"\n"Host:","h",,,,"User:","u"\n'
    '"Cmdline:","dstat -T -c -n 1",,,,"Date:","31 Dec 2025 23:59:57 UTC"\n'
)


def read(name: str) -> Reading:
    path = DATA / name
    reading = csv.parse(path.read_bytes(), path)
    check(reading.frame, "monitor")
    return reading


def parse(text: str) -> Reading:
    reading = csv.parse(text.encode(), Path("made-up.csv"))
    check(reading.frame, "monitor")
    return reading


def test_the_row_since_boot_is_dropped_and_the_rest_has_its_interval() -> None:
    frame = read("monitor.csv").frame
    assert len(frame) == 5
    assert frame["dt_s"].tolist() == pytest.approx([1.0] * 5)
    assert frame["net_eth0_recv_bps"].tolist() == [176 * 8, 160 * 8, 90 * 8, 0, 0]
    assert frame["net_eth0_send_bps"].iloc[-1] == PING_BPS
    assert frame["cpu_busy_pct"].iloc[0] == pytest.approx(100 - 97.475)
    assert set(frame["host"]) == {"server"}


def test_columns_are_found_by_group_and_name() -> None:
    first = read("monitor.csv").frame.iloc[0]
    assert first["mem_available_bytes"] == 24093851648
    assert first["mem_cache_bytes"] == 1694244864
    assert first["net_tun0_recv_bps"] == 18932 * 8


def test_bits_and_bytes_give_the_same_rate() -> None:
    bits = read("bits.csv").frame
    assert bits["net_eth0_send_bps"].tolist() == pytest.approx([PING_BPS] * 3, abs=PACKET_BPS)
    assert bits["mem_used_bytes"].iloc[0] == 754630656


def test_a_run_that_was_appended_is_a_block_with_its_own_columns() -> None:
    reading = read("appended.csv")
    frame = reading.frame
    assert frame["block"].tolist() == [0] * 5 + [1] * 2
    assert frame.loc[frame["block"] == 1, "disk_total_write_bytes_per_s"].tolist() == [0, 156028928]
    assert frame.loc[frame["block"] == 1, "net_tun0_recv_bps"].isna().all()
    assert frame["net_eth0_send_bps"].notna().all()
    assert "2 runs of the monitor in one file" in reading.notes


def test_rates_after_missed_ticks_are_brought_to_the_real_interval() -> None:
    reading = read("missed.csv")
    frame = reading.frame
    assert frame["missed"].sum() == 1
    gap = frame[frame["missed"]].iloc[0]
    assert gap["dt_s"] == pytest.approx(3.673)
    # As printed, 67730 byte/s, it would be three and a half times what was sent.
    assert gap["net_eth0_send_bps"] == pytest.approx(PING_BPS, rel=0.06)
    assert frame["net_eth0_send_bps"].tolist() == pytest.approx([PING_BPS] * 9, rel=0.06)
    assert "2 ticks missed in 1 places; rates repaired" in reading.notes


def test_printed_times_take_year_and_zone_from_the_head() -> None:
    frame = read("printed-time.csv").frame
    assert str(frame["t_utc"].iloc[0]) == "2026-11-22 13:29:37+00:00"
    assert frame["cpu1_user_pct"].tolist() == [68, 47.475, 0]
    assert frame["cpu_busy_pct"].iloc[0] == pytest.approx(41.0)


def test_the_year_turns_between_two_rows() -> None:
    rows = "".join(
        f"{t},1,1,98,0,0\n"
        for t in ("31-12 23:59:57", "31-12 23:59:58", "31-12 23:59:59", "01-01 00:00:00")
    )
    text = HEAD + '"system","total cpu usage",,,,\n"time","usr","sys","idl","wai","stl"\n' + rows
    frame = parse(text).frame
    assert str(frame["t_utc"].iloc[-1]) == "2026-01-01 00:00:00+00:00"
    assert frame["dt_s"].tolist() == [1, 1, 1]


def test_a_zone_that_is_only_an_abbreviation_is_named() -> None:
    text = (
        HEAD.replace("UTC", "CST")
        + '"system","procs"\n"time","run"\n'
        + "01-01 00:00:01,1\n01-01 00:00:02,1\n"
    )
    assert any("'CST' is ambiguous" in note for note in parse(text).notes)


def test_heads_without_rows_are_no_data_and_no_error() -> None:
    reading = parse(HEAD + '"epoch","total cpu usage",,,,\n"epoch","usr","sys","idl","wai","stl"\n')
    assert reading.frame.empty
    assert any("no data" in note for note in reading.notes)


def test_old_cpu_columns_are_found_by_name() -> None:
    text = HEAD + '"epoch","total cpu usage",,,,,\n"epoch","usr","sys","idl","wai","hiq","siq"\n'
    row = parse(text + "10.5,9,9,9,9,9,9\n11.5,1,2,90,3,1.5,2.5\n").frame.iloc[0]
    assert (row["cpu_hardirq_pct"], row["cpu_softirq_pct"], row["cpu_wait_pct"]) == (1.5, 2.5, 3)
    assert row["cpu_busy_pct"] == 7


def test_a_row_of_another_width_is_named_and_the_others_count() -> None:
    text = HEAD + '"epoch","procs"\n"epoch","run"\n' + "1.5,1\n2.5,1,9\n3.5,x\n4.5,2\n"
    reading = parse(text)
    assert reading.unparsed.line_nos == (7, 8)
    assert reading.frame["other:procs/run"].tolist() == [2]


def test_one_comma_too_many_at_the_end_of_each_row_is_no_column() -> None:
    text = HEAD + '"epoch","procs"\n"epoch","run"\n' + "1.5,1,\n2.5,3,\n"
    reading = parse(text)
    assert reading.unparsed.count == 0
    assert reading.frame["other:procs/run"].tolist() == [3]


def test_a_clock_that_goes_back_drops_the_row_and_says_so() -> None:
    text = (
        HEAD
        + '"epoch","procs"\n"epoch","run"\n'
        + "".join(f"{t},1\n" for t in (1.5, 2.5, 1.7, 2.7, 3.7))
    )
    reading = parse(text)
    assert len(reading.frame) == 3
    assert any("clock went back" in note for note in reading.notes)


def test_whole_second_stamps_that_jitter_are_neither_missed_nor_dropped() -> None:
    stamps = (1, 2, 3, 3, 5, 6)
    text = (
        HEAD
        + '"epoch","net/eth0",\n"epoch","recv","send"\n'
        + "".join(f"{t},100,0\n" for t in stamps)
    )
    frame = parse(text).frame
    assert frame["net_eth0_recv_bps"].tolist() == [800] * 5
    assert not frame["missed"].any()


def test_pcp_counts_memory_and_disk_in_kibibytes() -> None:
    text = (
        '"pcp-dstat 6.2.0 CSV Output"\n"Host:","h",,,,"User:","u"\n'
        '"epoch","memory usage","dsk/sda",,"net/eth0"\n"epoch","used","read","writ","recv"\n'
        "1.5,1,1,1,1\n2.5,4,2,8,100\n"
    )
    row = parse(text).frame.iloc[0]
    assert row["mem_used_bytes"] == 4096
    assert row["disk_sda_read_bytes_per_s"] == 2048
    assert row["net_eth0_recv_bps"] == 800


def test_two_columns_of_one_name_are_both_kept() -> None:
    text = (
        HEAD
        + '"epoch","total cpu usage","total cpu usage"\n"epoch","usr","usr"\n1.5,1,2\n2.5,3,4\n'
    )
    row = parse(text).frame.iloc[0]
    assert row["cpu_user_pct"] == 3
    assert row["other:cpu_user_pct'"] == 4


def test_an_empty_file_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="never wrote"):
        parse("\n\n")


def test_a_file_without_a_line_of_names_is_damaged() -> None:
    with pytest.raises(ParseError, match="no line with column names"):
        parse("1,2,3\n")


def test_a_file_pays_for_its_damage_only_where_the_damage_is() -> None:
    head = HEAD + '"epoch","total cpu usage","most expensive"\n"epoch","usr","process"\n'
    rows = [f"{1767225600 + n}.5,{n % 50},firefox{n % 9}" for n in range(2000)]
    sound = parse(head + "\n".join(rows) + "\n").frame
    damaged = {
        5: "1767225605.5,1",
        777: "killed",
        1500: "1767227100.5,one,cron",
        1999: '1767227599.5,49,"x',
    }
    for place, line in damaged.items():
        rows[place] = line
    reading = parse(head + "\n".join(rows) + "\n")
    assert reading.unparsed.line_nos == (11, 783, 1506)
    kept = reading.frame
    assert len(kept) == 1996
    both = kept.merge(sound, on="t_utc", suffixes=("", "_sound"))
    assert (both["cpu_user_pct"] == both["cpu_user_pct_sound"]).all()


def test_a_quote_that_nothing_closes_takes_no_rows_with_it() -> None:
    head = HEAD + '"epoch","total cpu usage","most expensive"\n"epoch","usr","process"\n'
    rows = [f"{1767225600 + n}.5,{n % 50},firefox" for n in range(100)]
    rows[40], rows[60] = '1767225640.5,40,"fire', '1767225660.5,10,fox"'
    reading = parse(head + "\n".join(rows) + "\n")
    assert len(reading.frame) == 99
    assert not reading.unparsed.count
