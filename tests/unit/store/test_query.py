"""SQL over the store: what counts is in the views, and a statement reaches nothing but the store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from perfkit.cli.app import main
from perfkit.errors import StoreError
from perfkit.runs.folder import Run, write_json
from perfkit.store import parts, query
from perfkit.store.query import MORE_VIEWS, ask
from perfkit.store.schema import TABLES

HOSTILE = 'a\'; DROP TABLE tests; --\x1b[31m\n"b" \u202e'


def a_run(runs_dir: Path, number: int, *tests: dict[str, Any], **attributes: Any) -> Run:
    run = Run(runs_dir / f"20261101T{number:06d}Z-a-0")
    run.root.mkdir(parents=True)
    write_json(run.manifest_path, {"format": 1, "run": run.id, "name": "a"})
    own = {"run": run.id, "started": datetime(2026, 11, 1, tzinfo=UTC), "clients": 10, **attributes}
    parts.write(run, {"tests": [{**own, **row} for row in tests]})
    return run


def tunnel(mbps: float, **more: Any) -> dict[str, Any]:
    return {"test": "tunnel-tcp", "path": "tunnel", "goodput_bps": mbps * 1e6, **more}


def perfkit(*words: str, runs_dir: Path) -> Result:
    return CliRunner().invoke(main, ["runs", *words, "--runs-dir", str(runs_dir)])


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, one of them void; nobody changes them."""
    folder = tmp_path_factory.mktemp("runs")
    a_run(folder, 1, tunnel(100), {"test": "direct-tcp", "path": "direct"}, vpn_version="2.5.9")
    a_run(folder, 2, tunnel(200), vpn_version="2.6.14")
    a_run(folder, 3, tunnel(900), vpn_version="2.6.14", void="clock: it moved")
    return folder


def test_goodput_by_version_in_one_line(runs_dir: Path) -> None:
    found = query.query(
        "SELECT vpn_version, count(*) AS n, avg(goodput_bps) / 1e6 AS mbps FROM tunnel "
        "GROUP BY vpn_version ORDER BY 1",
        runs_dir=str(runs_dir),
    )
    assert found.to_dict("records") == [
        {"vpn_version": "2.5.9", "n": 1, "mbps": 100.0},
        {"vpn_version": "2.6.14", "n": 1, "mbps": 200.0},
    ]


def test_what_is_void_is_in_no_view_but_all_and_says_why(runs_dir: Path) -> None:
    for view in ("tests", "tunnel"):
        found = ask(f"SELECT * FROM {view} WHERE vpn_version = '2.6.14'", runs_dir).frame
        assert list(found["goodput_bps"]) == [2e8]
    found = ask("SELECT DISTINCT void FROM all_tests WHERE void <> ''", runs_dir).frame
    assert list(found["void"]) == ["clock: it moved"]
    assert len(ask("SELECT * FROM runs", runs_dir).frame) == 3


def test_a_copy_counts_only_when_the_run_that_it_was_made_of_is_not_there(tmp_path: Path) -> None:
    original = a_run(tmp_path, 1, tunnel(100))
    a_run(tmp_path, 4, tunnel(100), copy_of=original.id)
    a_run(tmp_path, 5, tunnel(300), copy_of="20200101T000000Z-gone-0")
    found = ask("SELECT goodput_bps / 1e6 AS mbps FROM tunnel ORDER BY 1", tmp_path).frame
    assert list(found["mbps"]) == [100.0, 300.0]


def test_the_mean_of_figures_that_are_not_known_is_over_those_that_are(tmp_path: Path) -> None:
    a_run(tmp_path, 1, tunnel(100), tunnel(float("nan")))
    found = ask(
        "SELECT avg(goodput_bps) AS mean, count(goodput_bps) AS n FROM tests", tmp_path
    ).frame
    assert found.to_dict("records") == [{"mean": 1e8, "n": 1}]


def test_times_are_utc_and_can_be_held_against_now(runs_dir: Path) -> None:
    found = ask(
        "SELECT started FROM tests WHERE started < now() + INTERVAL 50 YEAR", runs_dir
    ).frame
    assert str(found["started"].dt.tz) in ("UTC", "Etc/UTC")
    assert found["started"].iloc[0] == pd.Timestamp("2026-11-01", tz="UTC")


def test_every_view_answers_also_where_there_is_no_run_at_all(tmp_path: Path) -> None:
    views = [*TABLES, *(f"all_{table}" for table in TABLES), *MORE_VIEWS]
    counts = ", ".join(f'(SELECT count(*) FROM "{view}") AS "{view}"' for view in views)
    found = ask(f"SELECT {counts}", tmp_path / "none").frame
    assert found.to_dict("records") == [dict.fromkeys(views, 0)]


def test_a_view_is_found_in_capital_letters_and_in_a_part_of_a_statement(runs_dir: Path) -> None:
    for sql in (
        'SELECT * FROM "Tunnel"',
        "FROM TUNNEL",
        "WITH t AS (SELECT run FROM Tunnel) SELECT * FROM t LEFT JOIN all_hosts USING (run)",
        "DESCRIBE tunnel",
        "SUMMARIZE tunnel",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM tunnel",
    ):
        assert len(ask(sql, runs_dir).frame) > 0 or sql == "SHOW TABLES", sql


FORBIDDEN = [
    "SELECT * FROM '{secret}'",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM parquet_metadata('{parquet}')",
    "SELECT * FROM read_parquet('{parquet}')",
    "SELECT * FROM 'https://example.com/a.parquet'",
    "SELECT * FROM sniff_csv('{secret}')",
    "COPY tests TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{parquet}'",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/out.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "PRAGMA enable_profiling",
    "CREATE TABLE t AS SELECT * FROM tests",
    "DROP VIEW tests",
    "INSERT INTO stored_ids VALUES ('x')",
    "SELECT 1; DROP VIEW tests",
    "SELECT * FROM tests; SELECT * FROM '{secret}'",
    "SELECT * FROM known",
    "SELECT * FROM connection",
    "SELECT getenv('HOME')",
    "CALL pragma_version()",
    "",
    ";",
    "-- nothing",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_a_statement_reads_the_store_and_nothing_else_and_writes_nothing(
    sql: str, runs_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outside")
    secret = folder / "secret.txt"
    secret.write_text("secret,secret\n1,2\n")
    part = parts.find_part(Run(runs_dir / "20261101T000001Z-a-0"))
    assert part is not None
    parquet = part.path("tests")
    before = parquet.read_bytes()
    with pytest.raises(StoreError) as failed:
        ask(sql.format(secret=secret, folder=folder, parquet=parquet), runs_dir)
    assert len(str(failed.value).splitlines()) == 1
    assert list(folder.iterdir()) == [secret]
    assert parquet.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM test", "tests, intervals"),
        ("SELECT goodput FROM tests", "goodput_bps"),
        ("SELEC 1", "syntax error"),
        ("SELECT 'a'::INTEGER", "Conversion Error"),
        ("SELECT \x00 FROM tests", "perfkit runs tables"),
    ],
)
def test_a_wrong_statement_is_one_line_with_what_there_is(
    sql: str, says: str, runs_dir: Path
) -> None:
    with pytest.raises(StoreError, match=says) as failed:
        ask(sql, runs_dir)
    assert len(str(failed.value).splitlines()) == 1
    result = perfkit("query", sql.replace("\x00", "?"), runs_dir=runs_dir)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


def test_hostile_words_in_values_come_back_as_they_are_and_drive_no_terminal(
    tmp_path: Path,
) -> None:
    a_run(tmp_path, 1, tunnel(100, folder=HOSTILE), name=HOSTILE, variant=HOSTILE)
    found = ask("SELECT name, folder FROM tests", tmp_path).frame
    assert list(found.iloc[0]) == [HOSTILE, HOSTILE]
    quoted = HOSTILE.replace("'", "''")
    assert len(ask(f"SELECT * FROM tests WHERE name = '{quoted}'", tmp_path).frame) == 1
    result = perfkit("query", "SELECT name FROM tests", runs_dir=tmp_path)
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_the_command_prints_a_table_csv_or_json_or_writes_a_file(
    runs_dir: Path, tmp_path: Path
) -> None:
    sql = "SELECT vpn_version, goodput_bps, started FROM tunnel ORDER BY 1"
    assert "2 rows" in perfkit("query", sql, runs_dir=runs_dir).output
    assert perfkit("query", sql, "--csv", runs_dir=runs_dir).output.splitlines()[0] == (
        "vpn_version,goodput_bps,started"
    )
    records = json.loads(perfkit("query", sql, "--json", runs_dir=runs_dir).output)
    assert [record["goodput_bps"] for record in records] == [1e8, 2e8]
    for name in ("out.csv", "out.json", "out.parquet"):
        path = tmp_path / name
        result = perfkit("query", sql, "-o", str(path), runs_dir=runs_dir)
        assert result.output == f"{path}: 2 rows\n"
        assert path.stat().st_size > 0
    result = perfkit("query", sql, "-o", str(tmp_path / "out.doc"), runs_dir=runs_dir)
    assert (result.exit_code, ".parquet" in result.output) == (1, True)
    result = perfkit("query", sql, "-o", str(tmp_path / "no" / "out.csv"), runs_dir=runs_dir)
    assert (result.exit_code, "cannot be written" in result.output) == (1, True)
    assert perfkit("query", "SELECT * FROM hosts", runs_dir=runs_dir).output == "no rows\n"


def test_the_tables_are_listed_with_units() -> None:
    listed = CliRunner().invoke(main, ["runs", "tables"]).output
    assert all(name in listed for name in [*TABLES, *MORE_VIEWS])
    one = CliRunner().invoke(main, ["runs", "tables", "tests"]).output
    assert "goodput_bps" in one
    assert "bit/s" in one
    for view in MORE_VIEWS:
        shown = CliRunner().invoke(main, ["runs", "tables", view]).output
        assert shown.startswith(f"{view}: SELECT ")
        assert "goodput_bps" in shown
    wrong = CliRunner().invoke(main, ["runs", "tables", "test"])
    assert (wrong.exit_code, "did you mean 'tests'" in wrong.output) == (1, True)
