from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from log_damage import mutations

from perfkit.logs import registry
from perfkit.logs.dstat import csv
from perfkit.logs.format import clean
from perfkit.logs.frames import check
from perfkit.logs.reader import read

DATA = Path(__file__).parents[3] / "data" / "dool"
HEAD = (
    '"dool 1.3.8 CSV output"\n"Host:","h",,,,"User:","u"\n'
    '"Cmdline:","dool --epoch --bytes -c -n 1",,,,"Date:","31 Dec 2025 23:59:57 UTC"\n'
    '"epoch","total cpu usage",,"net/eth0",\n"epoch","usr","idl","recv","send"\n'
)
ROWS = [f"{1767225600 + n}.25,{n % 7}.125,{80 + n % 9},{n * 1000},{n}" for n in range(300)]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "monitor.csv"
    path.write_bytes(text.encode())
    return path


def plain(rows: list[str] = ROWS) -> str:
    return HEAD + "\n".join(rows) + "\n"


def test_a_plain_file_is_read_from_the_disk_as_it_is_from_memory(tmp_path: Path) -> None:
    path = written(tmp_path, plain())
    unloaded, loaded = csv.parse_file(path), csv.parse(path.read_bytes(), path)
    assert unloaded is not None
    check(unloaded.frame, "monitor")
    pd.testing.assert_frame_equal(unloaded.frame, loaded.frame)
    assert (unloaded.notes, unloaded.unparsed) == (loaded.notes, loaded.unparsed)
    assert len(unloaded.frame) == 299


def test_decimals_that_begin_late_are_kept(tmp_path: Path) -> None:
    reading = csv.parse_file(written(tmp_path, plain([*ROWS, "1767225900.25,1.5,80.5,7.5,1"])))
    assert reading is not None
    last = reading.frame.iloc[-1]
    assert (last["cpu_idle_pct"], last["net_eth0_recv_bps"]) == (80.5, 60.0)


@pytest.mark.parametrize(
    "text",
    [
        plain().replace("\n", "\r\n"),
        plain().replace(ROWS[250], "\0" + ROWS[250]),
        plain().replace(ROWS[250], "\x1b[0m" + ROWS[250]),
        plain().replace(ROWS[250], ROWS[250].replace(".25,", ".25,0x")),
        plain().replace(ROWS[250], ROWS[250] + ",1,2"),
        plain().replace(ROWS[250], "killed"),
        plain().replace(ROWS[250], ROWS[250].replace(",250000,", ",True,")),
        plain([f"{row.rpartition(',')[0]},{number % 2 == 0}" for number, row in enumerate(ROWS)]),
        plain().replace(ROWS[250], ROWS[250].replace(",250000,", ',"250000",')),
        plain() + plain(),
        plain()[:-4],
        plain().replace('"dool 1.3.8 CSV output"', '"pcp-dstat 6.2.0 CSV Output"') + '"a",1,1,1\n',
        "\ufeff" + plain(),
        HEAD,
        "no head at all\n",
    ],
)
@pytest.mark.parametrize("rows_in_the_head", [True, False])
def test_what_is_not_plain_is_left_to_those_who_load_it(
    text: str, rows_in_the_head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rows_in_the_head:
        # private: a small head stands for a large one
        monkeypatch.setattr("perfkit.logs.dstat.on_disk._HEAD_BYTES", 2000)
    assert csv.parse_file(written(tmp_path, text)) is None


def test_a_large_file_is_not_loaded_and_a_damaged_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # private: a small file stands for a large one
    monkeypatch.setattr(registry, "_WORTH_NOT_LOADING", 1000)
    path = written(tmp_path, plain())
    expected = csv.parse(path.read_bytes(), path)
    monkeypatch.setattr(registry, "load_raw", lambda path: pytest.fail(f"{path} was loaded"))
    for name in (None, "dstat"):
        pd.testing.assert_frame_equal(read(path, name).frame, expected.frame)
    monkeypatch.undo()
    # private: a small file stands for a large one
    monkeypatch.setattr(registry, "_WORTH_NOT_LOADING", 1000)
    damaged = written(tmp_path, plain().replace(ROWS[250], "killed"))
    reading = read(damaged)
    assert reading.unparsed.line_nos == (256,)
    assert reading.unparsed.samples == ("killed",)
    assert len(reading.frame) == 298


@pytest.mark.parametrize("path", sorted(DATA.glob("*.csv")), ids=lambda path: path.name)
def test_real_files_come_out_the_same_both_ways(path: Path) -> None:
    unloaded = csv.parse_file(path)
    if unloaded is not None:
        loaded = csv.parse(clean(path.read_bytes()), path)
        pd.testing.assert_frame_equal(unloaded.frame, loaded.frame)
        assert unloaded.notes == loaded.notes


def test_a_file_with_text_beside_its_figures_is_left_to_those_who_load_it() -> None:
    assert csv.parse_file(DATA / "printed-time.csv") is None


@pytest.mark.parametrize("printed", ["0.30000000000000004", "55.000000000000014", "3.2e-310"])
def test_a_figure_of_many_digits_is_read_to_the_last_one(printed: str, tmp_path: Path) -> None:
    row = f"1767225900.25,{printed},80.5,7.5,1"
    reading = csv.parse_file(written(tmp_path, plain([*ROWS, row])))
    assert reading is not None
    assert reading.frame["cpu_user_pct"].iloc[-1] == float(printed)


@pytest.mark.parametrize(
    "row",
    [
        f"1767225900.25,1,{2**53 + 1},{2**63 - 1},{2**63 - 513}",
        f"1767225900.25,1.5,2,{2**64 - 1},{2**63}",
        "1767225900,1,-5,-0.0,+7",
        "1767225900.25,-0.0,1e3,007, 8",
        "1767225900.25,inf,-inf,,1",
    ],
)
def test_whole_numbers_become_the_floats_that_they_are_when_the_file_is_loaded(
    row: str, tmp_path: Path
) -> None:
    path = written(tmp_path, plain([*ROWS, row]))
    unloaded, loaded = csv.parse_file(path), csv.parse(path.read_bytes(), path)
    assert unloaded is not None
    pd.testing.assert_frame_equal(unloaded.frame, loaded.frame, check_exact=True)
    assert unloaded.notes == loaded.notes
    for name in ("net_eth0_recv_bps", "net_eth0_send_bps"):
        kept, expected = (reading.frame[name].to_numpy() for reading in (unloaded, loaded))
        assert kept.tobytes() == expected.tobytes()


def test_columns_that_are_whole_in_one_part_of_a_large_file_and_not_in_others_are_read(
    tmp_path: Path,
) -> None:
    """pandas reads parts of a file of 5 MB and more at once; each column has a type in each part."""
    of_a_part = [
        "{n},0,{n},1,{n}",
        "{n},0.5,{n},,{n}",
        "{n}.0,0,{n},2.5,-{n}",
    ]
    rows = [of_a_part[n // 80_000].format(n=1767225600 + n) for n in range(240_000)]
    path = written(tmp_path, plain(rows))
    assert path.stat().st_size > 5 * 2**20
    unloaded, loaded = csv.parse_file(path), csv.parse(path.read_bytes(), path)
    assert unloaded is not None
    pd.testing.assert_frame_equal(unloaded.frame, loaded.frame, check_exact=True)
    assert unloaded.notes == loaded.notes


def test_a_word_at_the_end_of_a_large_file_leaves_it_to_those_who_load_it_without_a_warning(
    tmp_path: Path,
) -> None:
    # pandas warns where only some of its parts of 131,072 rows are text
    assert csv.parse_file(written(tmp_path, plain([*ROWS * 500, "killed"]))) is None


@pytest.mark.parametrize(
    ("share", "kept"), [(1000.0, True), (1000.1, False), (-1.0, True), (-1.1, False)]
)
def test_a_share_that_cannot_be_is_unknown_whether_too_large_or_too_small(
    share: float, kept: bool, tmp_path: Path
) -> None:
    path = written(tmp_path, plain([*ROWS, f"1767225900.25,{share},80.5,7.5,1"]))
    for reading in (csv.parse_file(path), csv.parse(path.read_bytes(), path)):
        assert reading is not None
        check(reading.frame, "monitor")
        assert (reading.frame["cpu_user_pct"].iloc[-1] == share) == kept
        assert any("1 impossible values of cpu_user_pct" in note for note in reading.notes) != kept


@pytest.mark.parametrize("row", ["1767225900.25,1.5,80.5,7.5", "1767225900.25,1.5,80.5,7.5,"])
def test_a_row_that_may_be_too_short_is_looked_at_by_those_who_load_the_file(
    row: str, tmp_path: Path
) -> None:
    path = written(tmp_path, plain([*ROWS, row]))
    assert csv.parse_file(path) is None
    loaded = csv.parse(path.read_bytes(), path)
    assert loaded.unparsed.count == (not row.endswith(","))


def test_what_is_no_figure_a_tool_can_count_is_unknown_both_ways(tmp_path: Path) -> None:
    path = written(tmp_path, plain([*ROWS, "1767225900.25,inf,,1e30,1"]))
    unloaded, loaded = csv.parse_file(path), csv.parse(path.read_bytes(), path)
    assert unloaded is not None
    pd.testing.assert_frame_equal(unloaded.frame, loaded.frame)
    assert unloaded.notes == loaded.notes
    assert sum("1 cells of" in note for note in unloaded.notes) == 2


@pytest.mark.parametrize("name", ["missed.csv", "bits.csv"])
def test_damaged_files_come_out_the_same_both_ways_or_are_left_to_those_who_load_them(
    name: str, tmp_path: Path
) -> None:
    path, unloaded = tmp_path / name, 0
    for damaged in mutations((DATA / name).read_bytes(), 150, seed=7):
        path.write_bytes(damaged)
        reading = csv.parse_file(path)
        if reading is not None:
            unloaded += 1
            pd.testing.assert_frame_equal(reading.frame, csv.parse(damaged, path).frame)
    assert unloaded > 3
