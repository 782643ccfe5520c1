from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.report.page import Report, compose, render
from perfkit.report.plots import draw_plots
from perfkit.report.tables import CAPTION_CHARS
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
PHASES = [("launch", 3.2), ("measure", 40.0)]
ATTACK = "\x1b[31m<script>alert(1)</script>\x1b[0m"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Report:
    run = make_run(
        tmp_path_factory.mktemp("runs") / "run",
        clients=50,
        failed={"client-002": "refused", "client-003": "absent"},
    )
    hosts = json.loads(run.hosts_path.read_text())
    hosts[3]["reason"] = ATTACK
    hosts[3]["state"] = "released"  # as a failed host ends
    run.hosts_path.write_text(json.dumps(hosts))
    log = run.host_raw_dir("client-001") / "01-direct-tcp.log"
    log.write_text(log.read_text() + "<img src=x onerror=alert(2)> what\n")
    return render(run, phases=PHASES, now=NOW)


@pytest.fixture
def page(written: Report) -> str:
    return (written.run.report_dir / "index.html").read_text()


class _Tags(HTMLParser):
    """Every tag that is open, checked to close in order; and every attribute."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def parsed(page: str) -> Iterator[_Tags]:
    parser = _Tags()
    parser.feed(page)
    yield parser
    assert parser.open == []


def test_the_page_loads_nothing_and_runs_nothing(page: str, parsed: _Tags) -> None:
    assert not parsed.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    targets = {v for n, v in parsed.attributes if n in ("href", "src", "xlink:href") and v}
    assert targets
    assert not [target for target in targets if ":" in target or target.startswith("//")]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_text_from_hosts_and_logs_is_escaped_and_without_terminal_codes(page: str) -> None:
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;img src=x onerror" in page


def test_every_file_the_page_points_to_is_there(written: Report, parsed: _Tags) -> None:
    files = {v for n, v in parsed.attributes if n == "href" and v and not v.startswith("#")}
    assert files
    assert not [f for f in files if not (written.run.report_dir / f).is_file()]


def test_warnings_come_before_every_figure(page: str, written: Report) -> None:
    assert page.index("class='warn'") < page.index("<table")
    assert any("2 of 50 clients failed" in line for line in written.warnings)


def test_every_plot_says_what_it_shows(page: str, written: Report) -> None:
    assert [plot.name for plot in written.plots] == ["server-over-time", "per-client"]
    assert page.count("role='img'") == 2
    assert all(len(plot.alt) > 40 for plot in written.plots)
    assert "01-direct-tcp: 48 clients, median" in page


def test_plots_are_well_formed_and_take_the_pages_colours(written: Report) -> None:
    for plot in written.plots:
        root = ET.fromstring(plot.svg)
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert "currentColor" in plot.svg
        standalone = (written.run.report_dir / f"{plot.name}.svg").read_text()
        assert ET.fromstring(standalone.encode()).tag.endswith("svg")
        png = (written.run.report_dir / f"{plot.name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_page(written: Report, page: str) -> None:
    again = render(written.run, phases=PHASES, now=NOW)
    assert (again.run.report_dir / "index.html").read_text() == page


def test_the_page_of_methods_says_how_the_figures_are_made(written: Report) -> None:
    said = (written.run.report_dir / "methods.html").read_text()
    for words in ("receiver-side bytes", "Student&#39;s t; none where", "Quantiles interpolate"):
        assert words in said
    assert "href='methods.html'" in (written.run.report_dir / "index.html").read_text()


def test_captions_have_two_lines_at_most(written: Report) -> None:
    long = {t.name: t.caption for t in written.tables.values() if len(t.caption) > CAPTION_CHARS}
    assert not long
    assert all(len(plot.title) <= CAPTION_CHARS for plot in written.plots)


def test_the_page_begins_with_a_sentence_a_test_and_has_no_text_twice(
    written: Report, page: str
) -> None:
    first, second = written.sentences
    assert first.startswith("01-direct-tcp: 48 of 50 clients carried 8")
    assert "within the run, 0.48 of 01-direct-tcp" in second
    assert "OpenVPN on the server used 1.35 cores" in second
    assert page.index("<p class='said'>") < page.index("class='warn'") < page.index("<table")
    texts = [
        *re.findall(r"<p[^>]*>([^<]{30,})", page),
        *re.findall(r"<li>([^<]{30,})", page),
        *re.findall(r"<figcaption>([^<]{30,})", page),
    ]
    assert len(texts) > 8
    assert sorted(texts) == sorted(set(texts))


def test_five_columns_come_first_and_every_figure_is_folded(written: Report, page: str) -> None:
    table = written.tables["summary"]
    labels = [column.label for column in table.columns]
    assert labels == ["Test", "Clients", "Total goodput (Mbit/s)", "± (Mbit/s)", "VPN CPU (s/Gbit)"]
    assert table.rows[0][1] == "48 of 50"
    open_tables = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert open_tables.count("<table") == 1
    assert page.count("<table") > 8


@pytest.mark.parametrize("name", ["tests", "clients", "server", "sensitivity", "windows", "hosts"])
def test_every_table_of_figures_says_hosts_windows_clock_bound_and_run(
    written: Report, name: str
) -> None:
    table = written.tables[name]
    assert "50 clients and 1 server; steady windows of " in table.provenance
    assert "each clock's offset known within 0.60 ms" in table.provenance
    assert table.provenance.startswith("Run run; perfkit")


def test_counts_of_whole_streams_are_not_said_to_be_of_the_windows(written: Report) -> None:
    caption = written.tables["tcp"].caption
    assert caption == "By the senders, over whole streams, also outside the steady windows."


def test_the_caption_names_the_test_that_a_ratio_is_over_where_its_name_does_not(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=3, tests=("direct-tcp", "tunnel-tcp", "tunnel-p2"))
    caption = compose(run, with_plots=False).tables["tests"].caption
    assert "of its name or kind (03-tunnel-p2 over 01-direct-tcp)." in caption


def test_a_ratio_over_other_clients_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3, failed={"client-002": "killed"})
    caption = compose(run, with_plots=False).tables["tests"].caption
    assert "(02-tunnel-tcp over 01-direct-tcp (2 clients over 3))." in caption


def test_on_hosts_of_their_own_cpu_is_not_called_the_machines(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3, shared_cpu=False)
    tables = compose(run, with_plots=False).tables
    assert "whole machine" not in tables["summary"].caption
    assert "whole machine" not in tables["server"].caption


def test_the_phases_are_a_table_with_their_sum(written: Report) -> None:
    table = written.tables["phases"]
    assert table.rows == (("launch", 3.2), ("measure", 40.0))
    assert "43.2 s" in table.caption


def test_failed_clients_are_listed_with_reason_and_log(written: Report) -> None:
    rows = written.tables["failures"].to_frame()
    absent = rows[rows["host"] == "client-003"]
    assert absent["reason"].tolist() == ["<script>alert(1)</script>"] * 2
    assert set(absent["log"]) == {"hosts/client-003/configure.log"}


def test_a_client_that_failed_a_test_is_listed_with_what_that_test_printed(
    written: Report,
) -> None:
    rows = written.tables["failures"].to_frame()
    refused = rows[rows["host"] == "client-002"]["log"].tolist()
    assert refused == [f"raw/client-002/0{n}-tcp.log" for n in ("1-direct", "2-tunnel")]
    assert all((written.run.root / log).is_file() for log in refused)


def test_a_failed_client_has_no_goodput_in_the_table_of_hosts(written: Report) -> None:
    hosts = written.tables["hosts"].to_frame().set_index("name")
    assert hosts.index[:2].tolist() == ["client-002", "client-003"]
    assert hosts.loc["client-002", "01-direct-tcp"] is None or pd.isna(
        hosts.loc["client-002", "01-direct-tcp"]
    )


def test_a_host_that_had_failed_when_it_was_released_is_shown_as_failed(written: Report) -> None:
    states = written.tables["hosts"].to_frame().set_index("name")["state"]
    assert states["client-003"] == "failed (released)"
    assert set(states.drop("client-003")) == {"released"}


def test_a_terminal_gets_warnings_and_the_tables_within_its_width(written: Report) -> None:
    text = written.text(100)
    assert text.startswith("01-direct-tcp: 48 of 50 clients carried")
    assert "\nWARNING 01-direct-tcp, 02-tunnel-tcp: 2 of 50 clients failed" in text
    assert "Total goodput (Mbit/s)" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_tidy_frames_are_written_beside_the_report(written: Report) -> None:
    names = {path.stem for path in written.run.tables_dir.glob("*.parquet")}
    vpn = {"vpn-clients", "vpn-events"}
    assert names == {"traffic", "monitor", "process", "events", "tests", "clients"} | vpn
    traffic = pd.read_parquet(written.run.tables_dir / "traffic.parquet")
    assert len(traffic) == len(written.logs.traffic)


def test_a_notebook_shows_warnings_and_tables(written: Report) -> None:
    shown = written._repr_html_()
    assert shown.count("<table>") == 4
    assert shown.index("01-direct-tcp: 48 of 50") < shown.index("△") < shown.index("<table>")
    assert "<script>" not in shown
    assert repr(written).startswith("<Report run: 12 tables")


def test_without_a_monitor_there_is_a_report_without_its_plot(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    for name in ("monitor.csv", "procstat.csv", "facts.json"):
        (run.host_raw_dir("server") / name).unlink()
    report = render(run, now=NOW)
    assert [plot.name for plot in report.plots] == ["per-client"]
    assert "n/a" in report.tables["server"].to_text()


def test_when_nobody_counts_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2)
    for path in run.raw_dir.glob("client*/*"):
        path.unlink()
    (run.host_raw_dir("server") / "01-direct-tcp.server.log").unlink()
    (run.host_raw_dir("server") / "02-tunnel-tcp.server.log").unlink()
    report = render(run, now=NOW)
    assert any("no client counts" in line for line in report.warnings)
    assert (run.report_dir / "index.html").is_file()


def test_a_test_without_a_steady_window_is_left_out_of_the_distribution(tmp_path: Path) -> None:
    report = compose(make_run(tmp_path / "run", clients=2, duration_s=3), with_plots=False)
    first, second = report.segments
    for segments, tests in (
        ([replace(first, steady=None), second], [second.slot]),
        ([replace(first, steady=None), replace(second, steady=None)], []),
    ):
        plots = draw_plots(
            report.logs, segments, summarise(report.logs, segments, outcomes(report.logs))
        )
        drawn = [plot.alt for plot in plots if plot.name == "per-client"]
        assert [slot for alt in drawn for slot in (first.slot, second.slot) if slot in alt] == tests


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        (2, "whiskers smallest to largest, line the median"),
        (5, "box p25 to p75, whiskers smallest to largest, line the median"),
        (20, "box p25 to p75, whiskers p5 to p95, line the median"),
    ],
)
def test_tails_are_shown_and_named_only_where_there_are_clients_enough(
    tmp_path: Path, clients: int, says: str
) -> None:
    report = compose(make_run(tmp_path / "run", clients=clients, duration_s=3))
    (title,) = [plot.title for plot in report.plots if plot.name == "per-client"]
    assert says in title
    table = report.tables["clients"]
    assert "p5 and p95 from 20 clients on, p25 and p75 from 4" in table.method
    row = table.to_frame().iloc[0]
    assert pd.isna(row["client_p5_bps"]) == (clients < 20)
    assert pd.isna(row["client_p75_bps"]) == (clients < 4)
    assert row["client_min_bps"] <= row["client_median_bps"] <= row["client_max_bps"]


def test_a_thousand_clients_are_a_distribution_not_a_thousand_marks(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=300, tests=("direct-tcp",), duration_s=3)
    report = compose(run, with_plots=False)
    plot = draw_plots(report.logs, report.segments, report.summary)[-1]
    assert plot.svg.count("<use") < 60


def test_drawing_needs_no_display_and_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib as m; before = m.rcParams.copy()\n"
        "from pathlib import Path; from perfkit.runs.folder import Run; from perfkit.report.page import compose\n"
        f"compose(Run(Path({str(make_run(tmp_path / 'run', clients=2).root)!r})))\n"
        "assert dict.__eq__(before, m.rcParams); assert 'matplotlib.pyplot' not in sys.modules\n"
        "bad = {'perfkit.fleet', 'perfkit.configure', 'perfkit.measure', 'boto3', 'fabric'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_copied_run_folder_is_enough(tmp_path: Path) -> None:
    run = make_run(tmp_path / "here" / "run", clients=2)
    (tmp_path / "there").mkdir()
    moved = Run(run.root.rename(tmp_path / "there" / "run"))
    assert render(moved, now=NOW).tables["tests"].rows[0][0] == "01-direct-tcp"
