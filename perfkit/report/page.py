"""The report of a run: one page that opens without a network, and the same tables as files.

`compose` makes a `Report` from a run folder and writes nothing; `render` also writes
`report/index.html`, the tables in every format, the plots, and the tidy frames. The page has no
script, loads nothing, follows the reader's light or dark theme, and fits a phone and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.analysis import segments as windows
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import Windowed
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.model import Segment
from perfkit.report import export, methods
from perfkit.report.document import fill, plain, write_page
from perfkit.report.sentences import test_sentences, warning_lines
from perfkit.report.standard import standard_tables
from perfkit.report.tables import ReportTable, cleaned, in_terminal
from perfkit.runs.folder import Run, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from perfkit.report.plots import Plot

Phases = Sequence[tuple[str, float]]
_FIRST = "summary"  # the table that is open; the others are closed until asked for
_NAMED = 3  # tests of which the same is said
_IN_CELL = ("tests", "clients", "server")  # those that a notebook has too, closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run's report, made but not written.

    Attributes:
        outcomes: What became of each client in each test, see `perfkit.analysis.outcomes`.
        tables: Tables in the order of the page, by name.
    """

    run: Run
    logs: RunLogs
    outcomes: pd.DataFrame
    segments: tuple[Segment, ...]
    summary: Summary
    tables: dict[str, ReportTable]
    plots: tuple[Plot, ...]

    @property
    def warnings(self) -> list[str]:
        """What may change the figures, one line each; tests of which the same is said share one."""
        return warning_lines(self.summary.findings, _NAMED)

    @property
    def notes(self) -> ReportTable:
        """What else was noticed; the warnings stand above."""
        table = self.tables["warnings"]
        level = [column.key for column in table.columns].index("level")
        rows = tuple(row for row in table.rows if row[level] != "warning")
        return replace(table, title="Notes", rows=rows, caption="")

    @property
    def sentences(self) -> list[str]:
        """What each test came to."""
        return [plain(line) for line in test_sentences(self.logs, self.summary)]

    @property
    def page(self) -> Path:
        """Where its page is, or will be."""
        return self.run.report_dir / "index.html"

    def text(self, width: int = 110) -> str:
        """For a terminal, and for the end of a headless run: sentences, warnings, one table."""
        return in_terminal(self.sentences, self.warnings, [self.tables[_FIRST]], width)

    def __repr__(self) -> str:
        return f"<Report {self.run.id}: {len(self.tables)} tables, {len(self.warnings)} warnings>"

    def _repr_html_(self) -> str:
        return fill(
            "cell",
            sentences=self.sentences,
            warnings=self.warnings,
            tables=[self.tables[_FIRST]],
            plots=self.plots,
            closed=[self.tables[name] for name in _IN_CELL],
            about=self.tables[_FIRST].provenance,
        )


def compose(
    run: Run,
    *,
    phases: Phases = (),
    unfinished: str = "",
    with_plots: bool = True,
    known: Windowed | None = None,
) -> Report:
    """Read a run's logs and make its tables and plots; writes segments.json if there is none.

    Args:
        phases: (name, seconds) of each phase, for the table of phases.
        unfinished: Why logs may be missing, for the first of the warnings; empty: none should be.
        known: The run's, where somebody has read its logs already.

    Raises:
        RunError: the run measured nothing. SegmentError: its segments.json is damaged.
    """
    known = known or _read(run)
    logs, found, chosen = known.logs, known.outcomes, known.windows
    summary = summarise(logs, chosen, found)
    if unfinished:
        warning = Finding("run", f"not finished, logs may be missing: {unfinished}")
        summary = replace(summary, findings=(warning, *summary.findings))
    tables = standard_tables(logs, summary, phases)
    return Report(
        run=run,
        logs=logs,
        outcomes=found,
        segments=tuple(chosen),
        summary=summary,
        tables={table.name: cleaned(table) for table in tables},
        plots=_drawn(logs, chosen, summary) if with_plots else (),
    )


def _read(run: Run) -> Windowed:
    logs = read_run(run)
    found = outcomes(logs)
    return Windowed(logs, found, windows.current(run, logs, found))


def _drawn(logs: RunLogs, chosen: Sequence[Segment], summary: Summary) -> tuple[Plot, ...]:
    from perfkit.report.connect_plots import connect_plots  # noqa: PLC0415 -- loads matplotlib
    from perfkit.report.plots import draw_plots  # noqa: PLC0415 -- as above

    return (*draw_plots(logs, chosen, summary), *connect_plots(logs))


def render(
    run: Run,
    *,
    phases: Phases = (),
    unfinished: str = "",
    now: datetime | None = None,
    known: Windowed | None = None,
) -> Report:
    """Make a run's report and write it: `report/` and `tables/` of the run folder.

    Args:
        phases: (name, seconds) of each phase, for the table of phases.
        unfinished: Why logs may be missing, see `compose`.
        now: The moment printed on the page; the clock's if None.
        known: The run's, where somebody has read its logs already.

    Returns:
        The report; how its figures are made is in `methods.html` beside its page.
    """
    report = compose(run, phases=phases, unfinished=unfinished, known=known)
    moment = now or datetime.now(UTC)
    export.write_all(run.report_dir, report.tables.values(), report.plots)
    write_frames(report)
    methods.write(run.report_dir, run.id, report.tables.values(), moment)
    # Last: a run with this page is finished, one without it is taken up again after a crash.
    write_page(report.page, to_page(report, moment))
    return report


def write_frames(report: Report) -> None:
    """Write the tidy frames behind the report as `tables/*.parquet`."""
    frames = {
        "traffic": report.logs.traffic,
        "monitor": report.logs.monitor,
        "process": report.logs.process,
        "events": report.logs.events,
        **{f"vpn-{name}": getattr(report.logs.vpn, name) for name in ("clients", "events")},
        "tests": report.summary.tests,
        "clients": report.summary.clients,
    }
    report.run.tables_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, frame in frames.items():
        write_atomic(report.run.tables_dir / f"{name}.parquet", frame.to_parquet(index=False))


def to_page(report: Report, now: datetime) -> str:
    """The whole page as HTML text."""
    tables = report.tables
    rest = [table for name, table in tables.items() if name not in (_FIRST, "warnings")]
    made_from = f"{tables[_FIRST].provenance}; report made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return fill(
        "page",
        title=f"perfkit: {report.run.id}",
        heading=str(report.logs.manifest.get("name") or report.run.id),
        sentences=report.sentences,
        made_from=made_from,
        warnings=report.warnings,
        first=[tables[_FIRST]],
        plots=report.plots,
        rest=[*rest, *([report.notes] if report.notes.rows else [])],
        folded=set(tables),
        files=export.LINKS,
        methods=methods.PAGE,
    )
