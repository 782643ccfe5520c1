"""A check against a baseline as people read it: the sentence, what differs, the primary figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from perfkit.analysis.answers.baselines import Check, Outcome
from perfkit.report.columns import pct, text
from perfkit.report.compare_verdicts import SHOWN, shown
from perfkit.report.document import fill, plain
from perfkit.report.tables import Column, ReportTable, in_terminal

_PRIMARY = "The 95 % interval from, to is not adjusted; p is Holm's, over these figures together."


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What `perfkit check` says.

    Attributes:
        checked: What was held against the baseline: a campaign, or runs.
        warnings: What is to be known first: conditions that differ, blocks that do not count.
    """

    check: Check
    checked: str
    baseline: str
    warnings: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Worse, same or better, or not enough data."""
        return self.check.outcome

    @property
    def sentence(self) -> str:
        """The answer."""
        return plain(f"{self.checked} against {self.baseline}: {self.check.sentence}")

    @property
    def tables(self) -> list[ReportTable]:
        """The primary figures, and the explored ones."""
        rows = [{str(k): v for k, v in row.items()} for row in self.check.rows.to_dict("records")]
        primary = [row for row in rows if row["is_primary"]]
        rest = [row for row in rows if not row["is_primary"]]
        return [
            _table("check", "Primary figures", primary, _PRIMARY),
            _table("check-explored", "Explored figures", rest, "They decide nothing."),
        ]

    def text(self, width: int = 110) -> str:
        """For a terminal."""
        return in_terminal(self.sentence, self.warnings, self.tables[:1], width)

    def __repr__(self) -> str:
        return f"<CheckReport {self.sentence}>"

    def _repr_html_(self) -> str:
        first, rest = self.tables
        return fill(
            "cell",
            sentences=[self.sentence],
            warnings=self.warnings,
            tables=[first],
            plots=[],
            closed=[rest],
        )


def _table(name: str, title: str, rows: list[dict[str, Any]], caption: str) -> ReportTable:
    columns = (
        text("test", "Test"),
        Column("clients", "Clients"),
        text("figure", "Figure"),
        text("baseline", "Baseline"),
        text("value", "Now"),
        pct("change_pct", "Change"),
        pct("low_pct", "from"),
        pct("high_pct", "to"),
        text("verdict", "Verdict"),
        Column("p_adjusted", "p", digits=4),
        text("runs", "Runs"),
    )
    records = [
        {
            **row,
            "figure": SHOWN[row["figure"]].heading,
            "baseline": shown(SHOWN[row["figure"]], row["baseline"]),
            "value": shown(SHOWN[row["figure"]], row["value"]),
            "change_pct": 100 * (row["ratio"] - 1),
            "low_pct": 100 * (row["low"] - 1),
            "high_pct": 100 * (row["high"] - 1) if math.isfinite(row["high"]) else math.nan,
            "verdict": row["text"],
            "runs": f"{row['runs_baseline']} | {row['runs']}",
        }
        for row in rows
    ]
    return ReportTable.from_records(name, title, columns, records, caption)
