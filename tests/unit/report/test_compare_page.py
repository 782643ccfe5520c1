"""The compare view: warnings first, offline, in every format, readable with 1,000 clients."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from perfkit.analysis.compare import compare
from perfkit.analysis.sides import reduce_sides, to_sides
from perfkit.campaign import phases
from perfkit.cli import app
from perfkit.errors import CampaignError
from perfkit.report import export
from perfkit.report.compare import ComparisonReport, folder_for, render
from perfkit.report.compare_verdicts import SHOWN, shown
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    sizes = {"20261101T000000Z-a": 20, "20261102T000000Z-b": 20, "20261103T000000Z-c": 250}
    made = [
        make_run(folder / name, clients=n, seed=place, failed={"client-003": "refused"})
        for place, (name, n) in enumerate(sizes.items())
    ]
    made[1].update_manifest({"controller": {"perfkit": "0.1.9"}})  # else it repeats the first
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
    assert row["ratio"] == pytest.approx(row["other"] / row["baseline"])
    assert 1e8 < row["baseline"] < 2e9
    assert np.isnan(row["p"])  # one run a side
    assert (row["verdict"], row["contrast"]) == ("not judged", "single")


@pytest.mark.parametrize("name", export.FILES)
def test_every_table_is_written_in_every_format(written: ComparisonReport, name: str) -> None:
    assert written.page is not None
    suffix = export.EXPORTERS[name].suffix
    for table in written.tables:
        assert (written.page.parent / f"{table}.{suffix}").stat().st_size > 0


def test_one_run_a_side_has_neither_verdicts_nor_p_nor_intervals(
    written: ComparisonReport, page: str
) -> None:
    headings = [column.heading for column in written.tables["compare"].columns]
    assert not {"from", "to", "p"} & set(headings)
    assert written.sentences[0].endswith("no verdict (one run a side).")
    for shown_as in (page, written.text(), written._repr_html_()):
        assert ">Verdicts<" not in shown_as
        assert "no verdict (one run" in " ".join(shown_as.split())
        assert "better" not in shown_as.replace("better or worse here", "")
    assert repr(written).endswith("not judged>")


def test_what_there_is_nothing_to_say_about_has_no_section(runs: list[Run], tmp_path: Path) -> None:
    other = make_run(tmp_path / "20261103T000000Z-few", clients=2, duration_s=5)
    made = render([[runs[0]], [other]], tmp_path / "out", now=NOW)
    assert "compare" not in made.tables
    assert made.page is not None
    assert "erdicts<" not in made.page.read_text()
    assert "no primary figure (goodput, VPN CPU) is on both sides" in made.sentences[0]
    assert {"compare-sizes", "compare-growth"} <= set(made.tables)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_campaign(
        tmp_path_factory.mktemp("campaigns") / "20261104T000000Z-ab",
        clients=(2, 3),
        repetitions=3,
        tests=("tunnel-tcp",),
        variants={"base": 1.0, "half": 0.4},
        void=(3,),
        duration_s=5,
    )


@pytest.fixture(scope="module")
def judged(campaign: Run, tmp_path_factory: pytest.TempPathFactory) -> ComparisonReport:
    return render([[campaign]], tmp_path_factory.mktemp("judged"), now=NOW)


def test_the_variants_of_a_campaign_are_sides_and_its_blocks_are_pairs(
    judged: ComparisonReport, campaign: Run
) -> None:
    assert judged.legend == f"A: {campaign.id} (base), 6 blocks; B: {campaign.id} (half), 6 blocks"
    rows = judged.tables["compare"].to_frame()
    goodput = rows[rows["figure"] == "Total goodput"]
    assert sorted(goodput["clients"]) == [2, 3]
    assert set(goodput["verdict"]) == {"worse"}
    assert set(goodput["runs"]) == {"3 | 3"}  # the void one was run again, and is in none
    figures = judged.tables["compare-figures"].to_frame()
    assert set(figures["contrast"]) == {"paired"}
    assert "variant" in set(judged.tables["compare-conditions"].to_frame()["condition"])
    sizes = judged.tables["compare-sizes"].to_frame()
    assert (len(sizes), set(sizes["runs"])) == (4, {3})  # a row a cell, not a block
    growth = judged.tables["compare-growth"].to_frame()
    assert set(growth["series"]) == {"A", "B"}  # variants are never pooled into one


def test_sentence_table_and_notebook_say_the_same_verdict(judged: ComparisonReport) -> None:
    assert judged.sentences[0].startswith("B against A: goodput of tunnel-tcp at 2 clients -")
    assert judged.page is not None
    for shown_as in (judged.page.read_text(), judged.text(10_000), judged._repr_html_()):
        assert judged.sentences[0] in shown_as
        assert "Verdicts" in shown_as
        assert "worse" in shown_as
    assert (judged.page.parent / "methods.html").is_file()


def test_a_campaign_of_several_variants_joins_no_other_runs(runs: list[Run], campaign: Run) -> None:
    with pytest.raises(CampaignError, match="a side for each of them"):
        reduce_sides([[campaign, runs[0]], [runs[1]]], {})


def test_a_run_is_held_against_the_blocks_of_a_campaign(campaign: Run, tmp_path: Path) -> None:
    alone = make_run(tmp_path / "alone", clients=2, duration_s=5, seed=7)
    one = make_campaign(tmp_path / "one", clients=(2,), repetitions=2, void=(), duration_s=5)
    found = compare(to_sides(reduce_sides([[one], [alone]], {}))).differences
    assert {d.contrast.kind for d in found} <= {"prediction", "single"}
    assert {d.clients for d in found} == {2}


def test_the_page_goes_beside_the_newest_runs_report(runs: list[Run]) -> None:
    assert folder_for([[runs[2]], [runs[0]]]) == runs[2].report_dir / f"compare-{runs[0].id}"
    three = folder_for([[run] for run in runs])
    assert three == runs[2].report_dir / f"compare-{runs[0].id}-and-1-more"


def test_the_command_compares_writes_and_prints(runs: list[Run], tmp_path: Path) -> None:
    names = [str(run.root) for run in runs[:2]]
    result = CliRunner().invoke(app.main, ["compare", *names, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "no verdict (one run a side)" in " ".join(result.output.split())
    assert (tmp_path / "out" / "compare.html").is_file()


def test_commas_and_lists_make_repetitions(runs: list[Run], tmp_path: Path) -> None:
    joined = f"{runs[0].root},{runs[1].root}"
    with pytest.raises(Exception, match="needs two runs or more"):
        phases.compare(joined, out=str(tmp_path))
    for nothing in ("", ",", []):
        with pytest.raises(CampaignError, match="a side names no run"):
            phases.compare(runs[0], nothing)
    other = make_run(tmp_path / "20261103T000000Z-few", clients=2, duration_s=5)
    made = phases.compare(joined, other, out=str(tmp_path / "out"), echo=False)
    assert [len(side.runs) for side in made.comparison.sides] == [2, 1]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("goodput_bps", 338_512_345.0, "338.5 Mbit/s"),
        ("goodput_bps", 26_407_312_345.0, "26407 Mbit/s"),
        ("jitter_median_s", 0.000123, "0.1230 ms"),
        ("jain", 0.0, "0.000"),
        ("vpn_cpu_s_per_gbit", -1e-9, "0.000000 s/Gbit"),
        ("jain", float("nan"), "n/a"),
    ],
)
def test_figures_have_four_digits(key: str, value: float, says: str) -> None:
    assert shown(SHOWN[key], value) == says
