"""The compare view: run folders in; tables, pictures and a page that opens without a network out.

`compose` writes nothing but a run's missing segments.json; `render` also writes `compare.html` and
every table in every format into one folder. Warnings come before any figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit import __version__
from perfkit.analysis.compare import Comparison, compare
from perfkit.analysis.sides import Side, reduce_sides, to_sides
from perfkit.executors.mapping import Where
from perfkit.report import export, methods
from perfkit.report.compare_tables import comparison_tables
from perfkit.report.compare_verdicts import sentences
from perfkit.report.document import fill, plain, write_page
from perfkit.report.sentences import warning_lines
from perfkit.report.tables import ReportTable, cleaned, in_terminal
from perfkit.runs.folder import Run
from perfkit.units import format_count

if TYPE_CHECKING:
    from perfkit.report.plots import Plot

Phases = Mapping[str, Sequence[tuple[str, float]]]
PAGE = "compare.html"
_FIRST = ("compare", "compare-conditions", "compare-sizes", "compare-growth")
_OPEN = 2  # of them; all other tables are closed until asked for
_NAMED = 4  # sides in the page's heading; places of which the same is said


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """Runs side by side, made but not written.

    Attributes:
        tables: In the order of the page, by name.
        page: Where the page was written; None: it was not.
    """

    comparison: Comparison
    tables: dict[str, ReportTable]
    plots: tuple[Plot, ...]
    page: Path | None = None

    @property
    def warnings(self) -> list[str]:
        """What may change the verdicts, one line each; places of which the same is said share one."""
        return warning_lines(self.comparison.findings, _NAMED)

    @property
    def sentences(self) -> list[str]:
        """What came out, one a side."""
        return [plain(line) for line in sentences(self.comparison)]

    @property
    def legend(self) -> str:
        """Which runs the sides are."""
        return "; ".join(f"{side.label}: {side.name}" for side in self.comparison.sides)

    def text(self, width: int = 110) -> str:
        """For a terminal: sentences, warnings, verdicts, what differed."""
        tables = [self.tables[name] for name in _shown_first(self.tables)]
        return in_terminal([*self.sentences, self.legend], self.warnings, tables, width)

    def __repr__(self) -> str:
        verdicts = [found.verdict for found in self.comparison.differences]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        return f"<ComparisonReport {self.legend}; {counts or 'nothing in common'}>"

    def _repr_html_(self) -> str:
        names = _shown_first(self.tables)
        return fill(
            "cell",
            sentences=self.sentences,
            warnings=self.warnings,
            tables=[self.tables[name] for name in names[:_OPEN]],
            plots=self.plots,
            closed=[self.tables[name] for name in names[_OPEN:]],
            about=self.legend,
        )


def _shown_first(tables: Mapping[str, ReportTable]) -> list[str]:
    return [name for name in _FIRST if name in tables and tables[name].rows]


def compose(
    groups: Sequence[Sequence[Run]], *, phases: Phases | None = None, executor: Where = None
) -> ComparisonReport:
    """Read the runs and hold them against each other.

    Args:
        groups: The sides, the baseline first. Sides of one run each are grouped: runs made under
            the same recorded conditions are taken as repetitions.
        phases: (name, seconds) of each phase, by run id.
        executor: Who reduces the runs, see `perfkit.executors.mapping`.

    Raises:
        CampaignError: nothing to compare. RunError, SegmentError: a run cannot be read.
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    from perfkit.report.compare_plots import (  # noqa: PLC0415 -- loads matplotlib
        draw_comparison,
    )

    comparison = compare(to_sides(reduce_sides(groups, phases or {}, executor)))
    tables = [cleaned(table) for table in comparison_tables(comparison)]
    return ComparisonReport(
        comparison=comparison,
        tables={table.name: table for table in tables},
        plots=tuple(draw_comparison(comparison)),
    )


def folder_for(groups: Sequence[Sequence[Run]]) -> Path:
    """Where a comparison goes unless told: beside the newest run's report, named by the others."""
    every = sorted((run for group in groups for run in group), key=lambda run: run.id)
    *others, newest = every
    more = f"-and-{len(others) - 1}-more" if len(others) > 1 else ""
    return newest.report_dir / f"compare-{others[0].id if others else newest.id}{more}"


def render(
    groups: Sequence[Sequence[Run]],
    folder: Path,
    *,
    phases: Phases | None = None,
    executor: Where = None,
    now: datetime | None = None,
) -> ComparisonReport:
    """Compare runs, and write the page, the tables in every format, and the pictures.

    Args:
        folder: Made if it is not there; nothing is written anywhere else.
        executor: Who reduces the runs.
        now: The moment printed on the page; the clock's if None.
    """
    made = compose(groups, phases=phases, executor=executor)
    moment, page = now or datetime.now(UTC), folder / PAGE
    export.write_all(folder, made.tables.values(), made.plots)
    methods.write(folder, made.legend, made.tables.values(), moment)
    write_page(page, to_page(made, moment))
    return replace(made, page=page)


def to_page(made: ComparisonReport, now: datetime) -> str:
    """The whole page as HTML text."""
    tables = made.tables
    shown = _shown_first(tables)
    rest = [name for name in tables if name not in shown[:_OPEN]]
    names = [_title(side) for side in made.comparison.sides]
    title = f"{names[0]} against {', '.join(names[1:_NAMED])}"
    title += f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    about = f"{made.legend}; perfkit {__version__}"
    return fill(
        "page",
        title="perfkit: runs compared",
        heading=title,
        sentences=made.sentences,
        made_from=f"{about}; made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        warnings=made.warnings,
        first=[tables[name] for name in shown[:_OPEN]],
        plots=made.plots,
        rest=[tables[name] for name in rest if tables[name].rows],
        folded=set(tables) - set(shown),
        files=export.LINKS,
        methods=methods.PAGE,
    )


def _title(side: Side) -> str:
    names = dict.fromkeys(
        f"{run.name}, {run.block.variant}" if run.block else run.name or run.run_id
        for run in side.runs
    )
    what = "block" if side.runs[0].block else "run"
    times = f" ({format_count(len(side.runs), what)})" if len(side.runs) > 1 else ""
    return f"{', '.join(names)}{times}"
