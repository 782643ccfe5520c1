"""The compare view: run folders in; tables, pictures and a page that opens without a network out.

`compose` writes nothing but a run's missing segments.json; `render` also writes `compare.html` and
every table in every format into one folder. Warnings come before any figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit import __version__
from perfkit.analysis.compare import Comparison, compare, group_alike, to_sides
from perfkit.analysis.run_summary import Reduced, reduce_run
from perfkit.report import export
from perfkit.report.compare_tables import comparison_tables
from perfkit.report.document import fill, plain, standalone
from perfkit.report.tables import ReportTable, cleaned, in_terminal
from perfkit.runs.folder import Run, write_atomic

if TYPE_CHECKING:
    from perfkit.report.plots import Plot

Phases = Mapping[str, Sequence[tuple[str, float]]]
PAGE = "compare.html"
_FIRST = ("compare", "compare-conditions", "compare-sizes", "compare-growth")
_FOLDED = ("compare-figures",)
_NAMED = 4  # sides in the page's heading


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
        """What may change the verdicts, one line each."""
        found = [f for f in self.comparison.findings if f.level == "warning"]
        return [plain(f"{finding.where}: {finding.text}") for finding in found]

    @property
    def legend(self) -> str:
        """Which runs the sides are."""
        sides = self.comparison.sides
        return "; ".join(f"{s.label}: {', '.join(r.run_id for r in s.runs)}" for s in sides)

    def text(self, width: int = 110) -> str:
        """For a terminal: warnings, what differed, verdicts."""
        tables = [self.tables[name] for name in _shown_first(self.tables)]
        return in_terminal(self.legend, self.warnings, tables, width)

    def __repr__(self) -> str:
        verdicts = [found.verdict for found in self.comparison.differences]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        return f"<ComparisonReport {self.legend}; {counts or 'nothing in common'}>"

    def _repr_html_(self) -> str:
        tables = [self.tables[name] for name in _shown_first(self.tables)]
        about, warnings = self.legend, self.warnings
        return fill("cell", heading=about, warnings=warnings, tables=tables, plots=self.plots)


def _shown_first(tables: Mapping[str, ReportTable]) -> list[str]:
    return [name for name in _FIRST if name in tables and tables[name].rows]


def compose(groups: Sequence[Sequence[Run]], *, phases: Phases | None = None) -> ComparisonReport:
    """Read the runs and hold them against each other.

    Args:
        groups: The sides, the baseline first. Sides of one run each are grouped: runs made under
            the same recorded conditions are taken as repetitions.
        phases: (name, seconds) of each phase, by run id.

    Raises:
        CampaignError: nothing to compare. RunError, SegmentError: a run cannot be read.
    """
    from perfkit.report.compare_plots import (  # noqa: PLC0415 -- loads matplotlib
        draw_comparison,
    )

    times = phases or {}
    reduced = [[reduce_run(run, phases=times.get(run.id, ())) for run in group] for group in groups]
    if all(len(group) == 1 for group in reduced):
        reduced = group_alike([run for group in reduced for run in group])
    comparison = compare(to_sides(reduced))
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
    now: datetime | None = None,
) -> ComparisonReport:
    """Compare runs, and write the page, the tables in every format, and the pictures.

    Args:
        folder: Made if it is not there; nothing is written anywhere else.
        now: The moment printed on the page; the clock's if None.
    """
    made = compose(groups, phases=phases)
    for table in made.tables.values():
        export.write(table, folder)
    for plot in made.plots:
        write_atomic(folder / f"{plot.name}.svg", standalone(plot.svg).encode())
        write_atomic(folder / f"{plot.name}.png", plot.png)
    page = folder / PAGE
    write_atomic(page, to_page(made, now or datetime.now(UTC)).encode("utf-8", "replace"))
    return ComparisonReport(
        comparison=made.comparison, tables=made.tables, plots=made.plots, page=page
    )


def to_page(made: ComparisonReport, now: datetime) -> str:
    """The whole page as HTML text."""
    tables = made.tables
    rest = [name for name in tables if name not in _FIRST]
    names = [_title(side.runs) for side in made.comparison.sides]
    title = f"{names[0]} against {', '.join(names[1:_NAMED])}"
    title += f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    about = f"{made.legend}; perfkit {__version__}"
    return fill(
        "page",
        title="perfkit: runs compared",
        heading=title,
        made_from=f"{about}; made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        warnings=made.warnings,
        first=[tables[name] for name in _FIRST[:2]],
        plots=made.plots,
        rest=[tables[name] for name in (*_FIRST[2:], *rest) if name in tables],
        folded=_FOLDED,
        files=export.LINKS,
    )


def _title(runs: Sequence[Reduced]) -> str:
    names = dict.fromkeys(run.name or run.run_id for run in runs)
    times = f" ({len(runs)} runs)" if len(runs) > 1 else ""
    return f"{', '.join(names)}{times}"
