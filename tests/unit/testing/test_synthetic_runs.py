from __future__ import annotations

from pathlib import Path

from perfkit.logs.reader import read
from perfkit.testing.runs import make_run, read_truth

DATA = Path(__file__).parents[2] / "data"


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name / "run", clients=3, seed=5)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) > 15
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )


def test_another_seed_gives_other_figures(tmp_path: Path) -> None:
    totals = {
        read_truth(make_run(tmp_path / str(seed), clients=3, seed=seed))["slots"]["01-direct-tcp"][
            "goodput_bps"
        ]
        for seed in range(3)
    }
    assert len(totals) == 3


def test_synthetic_logs_look_like_the_tools_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    for made, real in (
        ("client-001/01-direct-tcp.log", "iperf2/client-1.log"),
        ("server/01-direct-tcp.server.log", "iperf2/server.log"),
        ("server/monitor.csv", "dool/monitor.csv"),
    ):
        ours, theirs = read(run.raw_dir / made), read(DATA / real)
        assert ours.format == theirs.format
        assert list(ours.frame.columns)[: len(theirs.frame.columns)] == list(
            theirs.frame.columns
        ) or set(ours.frame.columns) <= set(theirs.frame.columns)
        assert ours.unparsed.count == 0


def test_checksums_cover_every_log(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2)
    listed = {line.split("  ", 1)[1] for line in run.sums_path.read_text().splitlines()}
    there = {str(p.relative_to(run.raw_dir)) for p in run.raw_dir.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}
