"""The store's files: types that hold, whole parts, compaction that counts nothing twice."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from perfkit.errors import FrameError, RunError, StoreError
from perfkit.report import columns, kind_tables
from perfkit.runs.folder import Run, write_json
from perfkit.store import compact as compaction
from perfkit.store import contents, parts, schema
from perfkit.store.compact import compact
from perfkit.store.query import ask
from perfkit.store.schema import ATTRIBUTES, TABLES

STARTED = datetime(2026, 11, 1, tzinfo=UTC)


def a_run(runs_dir: Path, number: int, goodput_bps: float = 1e8) -> Run:
    """A run with one test in the store."""
    run = Run(runs_dir / f"20261101T{number:06d}Z-a-0")
    run.root.mkdir(parents=True)
    write_json(run.manifest_path, {"format": 1, "run": run.id, "name": "a"})
    parts.write(run, {"tests": [a_test(run, goodput_bps)]})
    return run


def a_test(run: Run, goodput_bps: float, **more: Any) -> dict[str, Any]:
    own = {"run": run.id, "started": STARTED, "test": "tunnel-tcp", "path": "tunnel"}
    return {**own, "goodput_bps": goodput_bps, **more}


def goodputs(runs_dir: Path) -> list[float]:
    found = ask("SELECT goodput_bps FROM tests ORDER BY 1", runs_dir).frame
    return [float(value) for value in found["goodput_bps"]]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_each_table_has_the_attributes_first_and_no_column_twice() -> None:
    for declared in TABLES.values():
        names = [column.name for column in declared]
        assert names[: len(ATTRIBUTES)] == [column.name for column in ATTRIBUTES]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_and_column_is_asked_for_without_quotes(table: str, tmp_path: Path) -> None:
    names = ", ".join(column.name for column in TABLES[table])
    found = ask(f"SELECT {names} FROM {table}", tmp_path).frame
    assert list(found) == [column.name for column in TABLES[table]]
    assert len(found) == 0


def test_every_table_of_columns_py_that_a_run_has_is_in_the_store() -> None:
    kept = [tuple(schema.report_columns(table)) for table in TABLES]
    for shown in (
        columns.TESTS, columns.CLIENTS, columns.TCP, columns.UDP, columns.SENSITIVITY, columns.SERVER,
        columns.VPN, columns.VPN_CLIENTS, columns.WINDOWS, columns.LINKS, columns.PHASES,
        columns.WARNINGS, columns.FAILURES, columns.LOGS, *(t.columns for t in kind_tables.TABLES),
    ):  # fmt: skip
        assert tuple(shown) in kept


def test_a_table_without_rows_has_the_types_of_one_with_rows(tmp_path: Path) -> None:
    run = Run(tmp_path / "20261101T000000Z-a-0")
    part = parts.write(run, {})
    empty = {table: pq.read_schema(part.path(table)) for table in TABLES}
    example = {"text": "x", "int": 1, "float": 0.5, "bool": True, "time": STARTED}
    full = {
        table: {column.name: example[column.kind] for column in columns_of}
        for table, columns_of in TABLES.items()
    }
    part = parts.write(run, {table: [row, {}] for table, row in full.items()})
    for table in TABLES:
        assert pq.read_schema(part.path(table)).equals(empty[table])
        assert parts.read_table(part, table).to_pylist()[0] == full[table]


def test_nan_is_null_and_values_of_numpy_keep_their_type() -> None:
    rows = [{"goodput_bps": math.nan, "clients": np.int64(3), "vpn_single_core": np.bool_(True)}]
    (row,) = schema.to_table("tests", [*rows]).to_pylist()
    assert row["goodput_bps"] is None
    assert (row["clients"], row["vpn_single_core"], row["void"]) == (3, True, "")


@pytest.mark.parametrize("row", [{"goodputs_bps": 1.0}, {"goodput_bps": "fast"}, {"started": 3.5}])
def test_what_is_not_declared_is_refused_and_named(row: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match="tests"):
        schema.to_table("tests", [row])


def test_a_table_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cells"):
        parts.write(Run(tmp_path / "a"), {"cells": []})


def test_written_anew_a_run_is_counted_once_and_the_old_files_are_gone(tmp_path: Path) -> None:
    run = a_run(tmp_path, 1, 1e8)
    parts.write(run, {"tests": [a_test(run, 2e8)]})
    assert goodputs(tmp_path) == [2e8]
    assert len(files(parts.store_dir(run))) == len(TABLES) + 1


def test_a_reader_whose_part_is_written_anew_meanwhile_reads_the_new_one(tmp_path: Path) -> None:
    run = a_run(tmp_path, 1, 1e8)
    known = contents.survey(tmp_path)
    parts.write(run, {"tests": [a_test(run, 2e8)]})
    rows, problems = known.read("tests")
    assert rows.column("goodput_bps").to_pylist() == [2e8]
    assert problems == []


def test_killed_while_writing_a_run_has_its_tables_of_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = a_run(tmp_path, 1, 1e8)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            parts.write(run, {"tests": [a_test(run, 2e8)]})
    assert goodputs(tmp_path) == [1e8]
    parts.write(run, {"tests": [a_test(run, 3e8)]})
    assert goodputs(tmp_path) == [3e8]
    assert len(files(parts.store_dir(run))) == len(TABLES) + 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tables").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        parts.write(Run(tmp_path / "a"), {})


DAMAGES = [b"", b"PAR1", b"PAR1" + bytes(50) + b"PAR1", b"not parquet" * 100]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_the_other_runs_are_in_the_answer(
    damage: bytes, tmp_path: Path
) -> None:
    run = a_run(tmp_path, 1)
    a_run(tmp_path, 2, 2e8)
    part = parts.find_part(run)
    assert part is not None
    part.path("tests").write_bytes(damage)
    found = ask("SELECT goodput_bps FROM tests", tmp_path)
    assert list(found.frame["goodput_bps"]) == [2e8]
    assert any(str(part.path("tests")) in line and "runs index" in line for line in found.remarks)


def test_a_file_of_other_types_and_one_that_is_lost_are_named(tmp_path: Path) -> None:
    one, two = (parts.find_part(a_run(tmp_path, number)) for number in (1, 2))
    assert one is not None
    assert two is not None
    pq.write_table(pa.table({"run": ["x"], "goodput_bps": ["fast"]}), one.path("tests"))
    two.path("tests").unlink()
    found = ask("SELECT * FROM tests", tmp_path)
    assert len(found.frame) == 0
    assert "goodput_bps of tests has another type" in " ".join(found.remarks)
    assert "not there" in " ".join(found.remarks)


@pytest.mark.parametrize(
    "stamp",
    [b"", b"{", b"[]", b"{}", b'{"format": 1, "generation": "../../../etc/x"}', b"\xff" * 70_000],
)
def test_a_damaged_stamp_is_named(stamp: bytes, tmp_path: Path) -> None:
    run = a_run(tmp_path, 1)
    (parts.store_dir(run) / parts.STAMP).write_bytes(stamp)
    found = ask("SELECT * FROM tests", tmp_path)
    assert len(found.frame) == 0
    assert f"perfkit runs index {run.id}" in " ".join(found.remarks)


def test_what_a_version_with_fewer_tables_and_columns_wrote_is_read_with_null_there(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path, 1)
    a_run(tmp_path, 2, 2e8)
    part = parts.find_part(run)
    assert part is not None
    rows = parts.read_table(part, "tests").drop_columns(["jain", "cipher"])
    pq.write_table(rows, part.path("tests"))
    part.path("warnings").unlink()
    path = parts.store_dir(run) / parts.STAMP
    stamp = json.loads(path.read_text())
    write_json(path, {**stamp, "tables": [name for name in TABLES if name != "warnings"]})
    for _ in range(2):  # as they are, and compacted
        found = ask("SELECT goodput_bps, jain, cipher FROM tests ORDER BY 1", tmp_path)
        assert list(found.frame["goodput_bps"]) == [1e8, 2e8]
        assert found.frame["jain"].isna().all()
        assert list(found.frame["cipher"]) == ["", ""]
        assert (len(ask("FROM warnings", tmp_path).frame), found.remarks) == (0, ())
        assert compact(tmp_path).problems == ()


def test_many_damages_are_named_in_a_few_lines(tmp_path: Path) -> None:
    for number in range(9):
        part = parts.find_part(a_run(tmp_path, number))
        assert part is not None
        part.path("tests").write_bytes(b"PAR1")
    remarks = ask("SELECT * FROM tests", tmp_path).remarks
    assert len(remarks) == 6
    assert remarks[-1].startswith("and 4 more")


def test_a_part_of_another_format_of_the_store_is_not_read(tmp_path: Path) -> None:
    run = a_run(tmp_path, 1)
    path = parts.store_dir(run) / parts.STAMP
    write_json(path, {**json.loads(path.read_text()), "format": schema.FORMAT + 1})
    run.report_dir.mkdir()
    (run.report_dir / "index.html").touch()
    found = ask("SELECT * FROM tests", tmp_path)
    assert len(found.frame) == 0
    assert found.remarks == (f"not in the store: {run.id}; perfkit runs index takes them in",)


def test_compacted_the_answer_is_the_same_and_no_part_is_read(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, number, number * 1e8) for number in (1, 2, 3)]
    before = ask("SELECT * FROM tests ORDER BY run", tmp_path).frame
    made = compact(tmp_path)
    assert made.parts == 3
    for run in runs:
        for path in parts.store_dir(run).glob("*.parquet"):
            path.unlink()
    found = ask("SELECT * FROM tests ORDER BY run", tmp_path)
    assert found.frame.equals(before)
    assert found.remarks == ()


def test_after_compaction_new_runs_are_added_deleted_ones_vanish_and_none_is_counted_twice(
    tmp_path: Path,
) -> None:
    first, second, third = (a_run(tmp_path, number, number * 1e8) for number in (1, 2, 3))
    compact(tmp_path)
    a_run(tmp_path, 4, 4e8)
    assert goodputs(tmp_path) == [1e8, 2e8, 3e8, 4e8]
    parts.write(second, {"tests": [a_test(second, 2.5e8)]})
    assert goodputs(tmp_path) == [1e8, 2.5e8, 3e8, 4e8]
    first.root.rename(tmp_path.parent / f"gone-{os.getpid()}")
    assert goodputs(tmp_path) == [2.5e8, 3e8, 4e8]
    compact(tmp_path)
    assert goodputs(tmp_path) == [2.5e8, 3e8, 4e8]
    compact(tmp_path)
    assert goodputs(tmp_path) == [2.5e8, 3e8, 4e8]
    assert third.root.is_dir()
    assert len(files(tmp_path / contents.FOLDER)) == len(TABLES) + 1


def test_what_a_version_with_fewer_tables_compacted_is_compacted_anew_with_all(
    tmp_path: Path,
) -> None:
    a_run(tmp_path, 1, 1e8)
    compact(tmp_path)
    path = tmp_path / contents.FOLDER / contents.INDEX
    index = json.loads(path.read_text())
    write_json(path, {**index, "tables": [name for name in TABLES if name != "tests"]})
    for _ in range(2):  # as it is, and compacted by this version
        assert goodputs(tmp_path) == [1e8]
        compact(tmp_path)
    assert set(json.loads(path.read_text())["tables"]) == set(TABLES)


def test_killed_while_compacting_the_store_is_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_run(tmp_path, 1, 1e8)
    compact(tmp_path)
    a_run(tmp_path, 2, 2e8)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("write_atomic", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(compaction, name, killed)
            with pytest.raises(KeyboardInterrupt):
                compact(tmp_path)
        assert goodputs(tmp_path) == [1e8, 2e8]
    compact(tmp_path)
    assert goodputs(tmp_path) == [1e8, 2e8]
    assert len(files(tmp_path / contents.FOLDER)) == len(TABLES) + 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_compacted_file_is_named_and_the_runs_own_files_are_read(
    damage: bytes, tmp_path: Path
) -> None:
    a_run(tmp_path, 1, 1e8)
    compact(tmp_path)
    (path,) = (tmp_path / contents.FOLDER).glob("tests.*.parquet")
    path.write_bytes(damage)
    found = ask("SELECT goodput_bps FROM tests", tmp_path)
    assert list(found.frame["goodput_bps"]) == [1e8]
    assert "perfkit runs compact" in " ".join(found.remarks)
    assert compact(tmp_path).problems != ()
    assert ask("SELECT goodput_bps FROM tests", tmp_path).remarks == ()


@pytest.mark.parametrize("index", [b"", b"[]", b'{"format": 0}', b'{"format": 1}'])
def test_without_a_sound_index_the_runs_own_files_are_read(index: bytes, tmp_path: Path) -> None:
    a_run(tmp_path, 1, 1e8)
    compact(tmp_path)
    (tmp_path / contents.FOLDER / contents.INDEX).write_bytes(index)
    assert goodputs(tmp_path) == [1e8]


def test_a_run_with_a_damaged_table_stays_out_of_the_compaction_and_is_named_until_it_is_mended(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path, 1)
    a_run(tmp_path, 2, 2e8)
    part = parts.find_part(run)
    assert part is not None
    part.path("hosts").write_bytes(b"PAR1")
    made = compact(tmp_path)
    assert made.parts == 1
    assert str(part.path("hosts")) in str(made)
    assert goodputs(tmp_path) == [1e8, 2e8]
    parts.write(run, {"tests": [a_test(run, 1e8)]})
    assert compact(tmp_path).parts == 2


WRITER = """
import sys
from pathlib import Path
from perfkit.runs.folder import Run
from perfkit.store import parts
from perfkit.store.compact import compact
run = Run(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    row = {"run": run.id, "test": sys.argv[3], "goodput_bps": 1e8, "path": "tunnel"}
    parts.write(run, {name: [row] if name == "tests" else [] for name in parts.TABLES})
    compact(run.root.parent)
"""


def test_two_processes_that_write_and_compact_the_same_run_leave_one_whole_part(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path, 1)
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(run.root), "3", name])
        for name in ("one", "two")
    ]
    while any(process.poll() is None for process in started):
        found = ask("SELECT test FROM tests", tmp_path)
        assert len(found.frame) == 1
        assert found.remarks == ()
    assert [process.returncode for process in started] == [0, 0]
    assert len(files(parts.store_dir(run))) == len(TABLES) + 1
    assert len(files(tmp_path / contents.FOLDER)) == len(TABLES) + 1
