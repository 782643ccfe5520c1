"""The picture over time: a panel a test and number of clients, a point a run or block."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfkit.cli.app import main
from perfkit.errors import StoreError
from perfkit.runs.folder import Run, write_json
from perfkit.store import parts
from perfkit.store.picture import LINES, PANELS, figure_over_time

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(runs_dir: Path, day: int, **more: Any) -> Run:
    started = FIRST + timedelta(days=day)
    run = Run(runs_dir / f"{started:%Y%m%dT%H%M%SZ}-a-0")
    run.root.mkdir(parents=True)
    write_json(run.manifest_path, {"format": 1, "run": run.id, "name": "a"})
    row = {
        "run": run.id, "started": started, "clients": 10, "test": "tunnel-tcp", "path": "tunnel",
        "variant": "base", "vpn_version": "2.6.14", "goodput_bps": 1e8 + day * 1e6, **more,
    }  # fmt: skip
    bar = {name: row[name] for name in ("run", "started", "clients", "variant", "test")}
    bar |= {"figure": "goodput_bps", "mean": 1.1e8, "low": 1e8, "high": 1.2e8}
    parts.write(run, {"tests": [row], "intervals": [bar]})
    return run


def test_each_pair_of_test_and_clients_has_a_panel_and_versions_are_named(tmp_path: Path) -> None:
    for day in range(4):
        a_run(tmp_path, day, clients=(5, 10)[day % 2], vpn_version=("2.5.9", "2.6.14")[day // 2])
    made = figure_over_time(runs_dir=str(tmp_path))
    for words in ("tunnel-tcp, 5 clients", "tunnel-tcp, 10 clients", "2.5.9", "Goodput (Mbit/s)"):
        assert words in made.plot.svg
    assert len(made.frame) == 4
    assert made.remarks == ()
    assert made.plot.png.startswith(b"\x89PNG")


def test_void_runs_are_not_drawn(tmp_path: Path) -> None:
    a_run(tmp_path, 0)
    a_run(tmp_path, 1, void="clock: it moved")
    assert len(figure_over_time(runs_dir=str(tmp_path)).frame) == 1


def test_a_test_without_the_figure_or_a_time_is_not_left_out_in_silence(tmp_path: Path) -> None:
    a_run(tmp_path, 0, connect_median_s=0.5)
    a_run(tmp_path, 1, connect_median_s=float("nan"), connect_failed=3.0)
    a_run(tmp_path, 2, connect_median_s=0.7, connect_failed=1.0, started=None)
    a_run(tmp_path, 3)
    made = figure_over_time("connect_median_s", runs_dir=str(tmp_path))
    assert len(made.frame) == 1
    assert made.remarks == (
        "not drawn: 1 test in which too many clients failed for connect_median_s",
        "not drawn: 1 test without a time of start",
    )
    assert figure_over_time(runs_dir=str(tmp_path)).remarks == made.remarks[1:]


def test_what_is_not_drawn_or_differs_unseen_is_said(tmp_path: Path) -> None:
    for day in range(PANELS + 2):
        a_run(tmp_path, day, clients=day + 1, cipher=("AES-256-GCM", "")[day % 2])
    made = figure_over_time(runs_dir=str(tmp_path))
    said = " ".join(made.remarks)
    assert f"{PANELS} panels are the most" in said
    assert "cipher (AES-256-GCM, not recorded)" in said
    for day in range(20, 22 + LINES):
        a_run(tmp_path, day, vpn_version=f"3.{day}")
    assert "others" in " ".join(figure_over_time(runs_dir=str(tmp_path)).remarks)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"figure": "goodput"}, "did you mean 'goodput_bps'"),
        ({"figure": "goodput_bps; DROP"}, "no figure"),
        ({"by": "version"}, "vpn_version"),
        ({"by": "goodput_bps"}, "to tell tests apart"),
        ({"path": "tunel"}, "tunnel, direct"),
        ({"where": "clients = 99"}, "no test has goodput_bps"),
        ({"where": "clients ="}, "syntax error"),
        ({"where": "1=1) UNION SELECT * FROM read_csv('/etc/passwd'"}, "read_csv|disabled|syntax"),
        ({"where": "true); DROP VIEW tests; SELECT (1"}, "one SELECT"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    choices: dict[str, str], says: str, tmp_path: Path
) -> None:
    a_run(tmp_path, 0)
    with pytest.raises(StoreError, match=says):
        figure_over_time(**choices, runs_dir=str(tmp_path))


def test_the_command_writes_a_png_or_svg(tmp_path: Path) -> None:
    a_run(tmp_path / "runs", 0)
    words = ["runs", "plot", "goodput_bps", "--by", "vpn_version"]
    where = ["--where", "started > TIMESTAMPTZ '2020-01-01'", "--runs-dir", str(tmp_path / "runs")]
    for name, head in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        result = CliRunner().invoke(main, [*words, *where, "-o", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        assert "1 point;" in result.output
        assert (tmp_path / name).read_bytes().startswith(head)
    for name in ("a.pdf", "no/a.png"):
        result = CliRunner().invoke(main, [*words, *where, "-o", str(tmp_path / name)])
        assert result.exit_code == 1
