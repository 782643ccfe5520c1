"""The compare view: warnings first, offline, in every format, readable with 1,000 clients."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.analysis.uncertainty import Spread
from perfkit.analysis.welch import Estimate, gap
from perfkit.campaign import phases
from perfkit.cli import app
from perfkit.errors import CampaignError
from perfkit.report import export
from perfkit.report.compare import ComparisonReport, folder_for, render
from perfkit.report.compare_tables import SHOWN, comparison_tables, shown
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    sizes = {"20261101T000000Z-a": 20, "20261102T000000Z-b": 20, "20261103T000000Z-c": 250}
    made = [
        make_run(
            folder / name,
            clients=n,
            seed=place % 2,
            duration_s=20,
            failed={"client-003": "refused"},
        )
        for place, (name, n) in enumerate(sizes.items())
    ]
    log = made[1].host_raw_dir("client-001") / "01-direct-tcp.log"
    log.write_text(log.read_text() + "\x1b[31m<script>alert(1)</script>\n")
    return made


@pytest.fixture(scope="module")
def written(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> ComparisonReport:
    times = {run.id: [("launch", 2.0)] for run in runs}
    folder = tmp_path_factory.mktemp("out")
    return render([[run] for run in runs], folder, phases=times, now=NOW)


@pytest.fixture
def page(written: ComparisonReport) -> str:
    assert written.page is not None
    return written.page.read_text()


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def test_the_page_loads_nothing_runs_nothing_and_links_to_files_that_are_there(
    page: str, written: ComparisonReport
) -> None:
    parser = _Addresses()
    parser.feed(page)
    assert written.page is not None
    assert not parser.tags & {"script", "link", "img", "iframe", "object"}
    links = {link for link in parser.links if not link.startswith("#")}
    assert len(links) > 20
    assert [link for link in links if not (written.page.parent / link).is_file()] == []


def test_warnings_come_before_every_figure(page: str) -> None:
    assert page.index("class='warn'") < page.index("<table")
    assert "one run a side" in page
    assert "1 of 20 clients failed" in page


def test_what_a_host_printed_stays_text(page: str) -> None:
    assert "<script" not in page
    assert "\x1b" not in page


def test_the_distributions_are_thinned_and_keep_both_ends(written: ComparisonReport) -> None:
    plot = next(p for p in written.plots if p.name == "compare-clients")
    assert len(plot.svg) < 120_000
    largest = max(written.comparison.runs[2].tests[0].goodput_bps) / 1e6
    assert f"to {largest:.3g} Mbit/s" in plot.alt


def test_different_sizes_get_growth_and_bottleneck_instead_of_verdicts(
    written: ComparisonReport,
) -> None:
    verdicts = written.tables["compare"].to_frame()
    assert set(verdicts["side"]) == {"B"}  # C has other clients
    assert set(written.tables["compare-sizes"].to_frame()["side"]) == {"A", "B", "C"}
    growth = written.tables["compare-growth"].to_frame()
    total = growth[(growth["test"] == "direct-tcp") & growth["figure"].str.startswith("Total")]
    assert total["reading"].item().startswith("no law: 0 sizes with 3 repetitions or more")
    assert (total["law"].item(), total["series"].item()) == ("", "A, C")  # B differs in more


def test_the_raw_table_has_both_sides_in_base_units(written: ComparisonReport) -> None:
    rows = written.tables["compare-figures"].to_frame().set_index(["where", "figure", "side"])
    row = rows.loc["direct-tcp", "goodput_bps", "B"]
    assert row["difference"] == pytest.approx(row["other"] - row["baseline"])
    assert 1e8 < row["baseline"] < 2e9
    assert row["low"] < row["difference"] < row["high"]


@pytest.mark.parametrize("name", export.FILES)
def test_every_table_is_written_in_every_format(written: ComparisonReport, name: str) -> None:
    assert written.page is not None
    suffix = export.EXPORTERS[name].suffix
    for table in written.tables:
        assert (written.page.parent / f"{table}.{suffix}").stat().st_size > 0


def test_a_change_in_percent_is_never_below_minus_a_hundred_and_says_how_it_was_reckoned(
    written: ComparisonReport,
) -> None:
    found = next(d for d in written.comparison.differences if d.verdict != "not comparable")
    base, rest = Spread(0.2, 2.0), Spread(0.8, 2.0)
    few = Estimate(value=3.0, runs=3, spread=base), Estimate(value=0.9, runs=3, spread=rest)
    small = replace(found, baseline=few[0], other=few[1], gap=gap(*few))
    assert small.gap.low < -3.0
    table, *_ = comparison_tables(replace(written.comparison, differences=(small,)))
    row = table.to_frame().iloc[0]
    assert (row["change_pct"], row["low_pct"]) == (pytest.approx(-70), -100)
    assert row["high_pct"] > 0
    assert "Fieller" in table.caption
    assert "cut at -100 %" in table.caption


def test_text_and_notebook_say_the_same_verdicts(written: ComparisonReport) -> None:
    text, shown_html = written.text(), written._repr_html_()
    for word in ("WARNING", "no evidence", "Where is the bottleneck"):
        assert word in text
    assert "no evidence" in shown_html
    assert "<svg" in shown_html
    assert "no evidence" in repr(written)


def test_the_page_goes_beside_the_newest_runs_report(runs: list[Run]) -> None:
    assert folder_for([[runs[2]], [runs[0]]]) == runs[2].report_dir / f"compare-{runs[0].id}"
    three = folder_for([[run] for run in runs])
    assert three == runs[2].report_dir / f"compare-{runs[0].id}-and-1-more"


def test_the_command_compares_writes_and_prints(runs: list[Run], tmp_path: Path) -> None:
    names = [str(run.root) for run in runs[:2]]
    result = CliRunner().invoke(app.main, ["compare", *names, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Verdicts" in result.output
    assert (tmp_path / "out" / "compare.html").is_file()


def test_commas_and_lists_make_repetitions(runs: list[Run], tmp_path: Path) -> None:
    joined = f"{runs[0].root},{runs[1].root}"
    with pytest.raises(Exception, match="needs two runs or more"):
        phases.compare(joined, out=str(tmp_path))
    for nothing in ("", ",", []):
        with pytest.raises(CampaignError, match="a side names no run"):
            phases.compare(runs[0], nothing)
    made = phases.compare(joined, runs[2], out=str(tmp_path), echo=False)
    assert [len(side.runs) for side in made.comparison.sides] == [2, 1]


@pytest.mark.parametrize(
    ("key", "value", "beside", "says"),
    [
        ("goodput_bps", 338_512_345.0, None, "338.5 Mbit/s"),
        ("goodput_bps", 26_407_312_345.0, None, "26407 Mbit/s"),
        ("goodput_bps", -1_234_567.0, 338_512_345.0, "-1.2 Mbit/s"),
        ("jitter_median_s", 0.000123, None, "0.1230 ms"),
        ("jain", 0.0, None, "0.000"),
        ("vpn_cpu_s_per_gbit", -1e-9, 3.2, "+0.000 s/Gbit"),
        ("jain", float("nan"), None, "n/a"),
    ],
)
def test_figures_have_four_digits_and_differences_the_same_decimals(
    key: str, value: float, beside: float | None, says: str
) -> None:
    assert shown(SHOWN[key], value, beside=beside) == says
