"""How the figures of one campaign developed over all campaigns like it, and when they changed.

Campaigns are alike when they have the same client counts, tests and provider; of each, its
cells.parquet is read as it was when its answer was last made. Changes are found by
`perfkit.analysis.answers.history`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from perfkit.analysis.answers import cells
from perfkit.analysis.answers import frame as frames
from perfkit.analysis.answers.campaign_answer import primary_tests
from perfkit.analysis.answers.headline import primary_figures
from perfkit.analysis.answers.history import LEAST_PART, LEAST_SIZE, ChangePoint, change_points
from perfkit.errors import PerfkitError
from perfkit.executors.mapping import Unit, Where, each, json_of
from perfkit.report.answer_words import phrase
from perfkit.report.columns import FIGURES, text
from perfkit.report.document import fill, plain
from perfkit.report.plots import BLUE, RED, STYLE, Plot, drawn, stacked
from perfkit.report.tables import Column, ReportTable, in_terminal
from perfkit.runs import campaign_folder, design, folder
from perfkit.runs.design import Design
from perfkit.runs.folder import Run
from perfkit.units import format_count

LEAST = 2 * LEAST_PART  # campaigns before a change can be found


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One figure of one cell over the campaigns.

    Attributes:
        times_s: When each campaign was made, seconds since 1970, ascending.
        values: Mean over its repetitions that count, in the figure's unit.
    """

    clients: int
    test: str
    figure: str
    runs: tuple[str, ...]
    times_s: tuple[float, ...]
    values: tuple[float, ...]
    changes: tuple[ChangePoint, ...]

    @property
    def name(self) -> str:
        """The figure in words."""
        return f"{phrase(self.figure)} of {self.test} at {format_count(self.clients, 'client')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReport:
    """The course of the primary figures, made but not written."""

    courses: tuple[Course, ...]
    campaigns: int
    left_out: tuple[str, ...]
    table: ReportTable
    plots: tuple[Plot, ...]

    @property
    def sentences(self) -> list[str]:
        """Each change, or that there is none."""
        if self.campaigns < LEAST:
            return [
                f"{format_count(self.campaigns, 'campaign')} alike: changes are looked for from "
                f"{LEAST} on."
            ]
        found = [
            f"{one.name} changed by {change.size_pct:+.1f} % with {one.runs[change.index]} "
            f"(p {change.p:.3f})."
            for one in self.courses
            for change in one.changes
        ]
        nothing = f"No change of {LEAST_SIZE:.0%} or more in {self.campaigns} campaigns."
        return [plain(line) for line in found] or [nothing]

    def text(self, width: int = 110) -> str:
        """For a terminal."""
        return in_terminal(self.sentences, self.left_out, [self.table], width)

    def __repr__(self) -> str:
        return f"<HistoryReport {self.sentences[0]}>"

    def _repr_html_(self) -> str:
        return fill(
            "cell",
            sentences=self.sentences,
            warnings=self.left_out,
            tables=[self.table],
            plots=self.plots,
        )


def compose(run: Run, runs_dir: Path, executor: Where = None) -> HistoryReport:
    """Find the campaigns like this one in a runs folder, and the changes between them.

    Args:
        executor: Who reads the campaigns, see `perfkit.executors.mapping`.

    Raises:
        RunError: it is no campaign. ExecutorError: as `perfkit.executors.mapping.each`.
    """
    alike, left_out = _alike(run, design.load(run), runs_dir, executor)
    courses = tuple(_courses(alike))
    columns = (
        text("what", "Figure"), Column("campaigns", "Campaigns"), text("since", "Changed with"),
        Column("size_pct", "Change", "%", digits=1), Column("p", "p", digits=3),
    )  # fmt: skip
    rows = [
        {
            "what": one.name, "campaigns": len(one.values), "size_pct": change and change.size_pct,
            "since": one.runs[change.index] if change else "no change", "p": change and change.p,
        }
        for one in courses
        for change in (one.changes or (None,))
    ]  # fmt: skip
    table = ReportTable.from_records(
        "history", "Changes over campaigns", columns, rows,
        f"Looked for from {LEAST} campaigns on; changes under {LEAST_SIZE:.0%} are left out.",
        "E-divisive with a permutation test (Matteson and James 2014)",
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        plots = tuple(
            _drawn(figure, courses) for figure in dict.fromkeys(c.figure for c in courses)
        )
    return HistoryReport(
        courses=courses, campaigns=len(alike), left_out=tuple(left_out), table=table, plots=plots
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Campaign:
    """What a campaign found.

    Attributes:
        moment_s: When it was made, seconds since 1970.
        means: Of its first variant: clients, test, primary figure, and its mean over repetitions.
        why: Why it is left out; empty: it is not.
        is_like: It is of the sizes, tests and provider that are looked for.
    """

    run: str
    moment_s: float = 0.0
    means: tuple[tuple[int, str, str, float], ...] = ()
    why: str = ""
    is_like: bool = True


_CAMPAIGN = json_of(_Campaign)


def _alike(
    run: Run, plan: Design, runs_dir: Path, executor: Where
) -> tuple[list[_Campaign], list[str]]:
    """The campaigns of the same sizes, tests and provider, oldest first; and which cannot be read."""
    every = {one.id: Run(one.root.resolve()) for one in [*folder.list_runs(runs_dir), run]}
    wanted = (_provider(run), plan.clients, frozenset(plan.tests))
    units = [
        Unit(name=name, arguments=(one, wanted), folder=one.cache_dir)
        for name, one in every.items()
        if campaign_folder.is_campaign(one)
    ]
    found = each(_read_campaign, units, executor, form=_CAMPAIGN)
    left_out = [f"{one.run} is left out: {one.why}" for one in found if one.why]
    like = [one for one in found if one.is_like and not one.why]
    return sorted(like, key=lambda one: one.moment_s), left_out


def _read_campaign(run: Run, wanted: tuple[str, tuple[int, ...], frozenset[str]]) -> _Campaign:
    """The means of a campaign, if it is of the provider, sizes and tests wanted."""
    other = _Campaign(run=run.id, is_like=False)
    try:
        if _provider(run) != wanted[0]:
            return other
        own, path = design.load(run), campaign_folder.cells_path(run)
        is_like = (own.clients, frozenset(own.tests)) == wanted[1:]
        # The blocks of a search for capacity differ in what they offer.
        if not is_like or own.capacity is not None or not path.exists():
            return other
        frame = frames.load(path)
        frame = frame[(frame["variant"] == own.variants[0]).to_numpy()]
        tests = primary_tests(frame, own)
        figures = primary_figures(frame, tests, own.primary)
        means = cells.intervals(frame[frame["test"].isin(tests)], figures)
    except PerfkitError as exc:
        return _Campaign(run=run.id, why=str(exc))
    return _Campaign(
        run=run.id,
        moment_s=datetime.fromisoformat(own.created_utc).timestamp(),
        means=tuple(
            means[["clients", "test", "figure", "mean"]].itertuples(index=False, name=None)
        ),
    )


def _provider(run: Run) -> str:
    parameters: Mapping[str, Any] = run.manifest().get("parameters", {})
    return str(parameters.get("provider", ""))


def _courses(alike: Sequence[_Campaign]) -> list[Course]:
    points: dict[tuple[int, str, str], list[tuple[str, float, float]]] = {}
    for campaign in alike:
        for clients, test, figure, mean in campaign.means:
            own = points.setdefault((clients, test, figure), [])
            own.append((campaign.run, campaign.moment_s, mean))
    courses = []
    for (clients, test, figure), own in sorted(points.items()):
        runs, times_s, values = zip(*own, strict=True)
        changes = change_points(times_s, values)
        courses.append(
            Course(
                clients=clients, test=test, figure=figure, runs=runs, times_s=times_s,
                values=values, changes=changes,
            )
        )  # fmt: skip
    return courses


def _drawn(figure: str, courses: Sequence[Course]) -> Plot:
    """A panel a cell, under one another; lines are the means between changes."""
    own = [one for one in courses if one.figure == figure]
    column = FIGURES[figure]
    picture, axes = stacked(len(own), 6.6, 0.8 + 1.3 * len(own), sharex=True)
    for axis, one in zip(axes, own, strict=True):
        moments = [datetime.fromtimestamp(t, UTC) for t in one.times_s]
        values = np.array(one.values) / column.scale
        axis.plot(moments, values, "o", color=BLUE, ms=4.5, mew=0)
        ends = [0, *(change.index for change in one.changes), len(values)]
        for begin, end in pairwise(ends):
            level = float(np.exp(np.log(values[begin:end]).mean()))
            span = [moments[begin], moments[end - 1]]
            axis.plot(span, [level] * 2, color=RED, lw=1.4)
        axis.set_ylim(0, 1.15 * float(values.max()))
        axis.set_ylabel(f"N = {one.clients}\n({column.unit})", fontsize=8.5)
    return drawn(
        picture,
        name=f"history-{figure.replace('_', '-')}",
        title=f"{column.heading} over campaigns; lines: the mean between changes",
        alt="; ".join(f"{one.name}: {len(one.values)} campaigns" for one in own),
    )
