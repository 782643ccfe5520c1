"""Links as they were asked for, beside what they counted: of a run, and of a campaign's variants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perfkit.analysis import campaign_links, links
from perfkit.logs.run_logs import RunLogs
from perfkit.report import columns
from perfkit.report.tables import Column, ReportTable
from perfkit.runs.folder import Run

_SECONDS = "busiest_bps"


def of_run(logs: RunLogs) -> ReportTable:
    """The table of a run's links."""
    caption = "As asked for, and as counted from before the first test until after the last one."
    return _table(links.link_rows(logs), columns.LINKS, caption)


def of_campaign(run: Run) -> ReportTable:
    """The table of the links of a campaign's variants."""
    shown = [column for column in columns.LINKS if column.key != _SECONDS]
    chosen = (columns.text("variant", "Variant"), Column("blocks", "Blocks"), *shown)
    caption = "As asked for, and as counted in all blocks that count, over whole blocks."
    return _table(campaign_links.link_rows(run), chosen, caption)


def _table(
    rows: Iterable[Mapping[str, Any]], chosen: Iterable[Column], caption: str
) -> ReportTable:
    shares = {f"{name}_pct": name for name in ("loss_ratio", "loss_low", "loss_high")}
    records = [
        {**row, **{shown: 100 * row[name] for shown, name in shares.items()}} for row in rows
    ]
    return ReportTable.from_records(
        "links", "Links", tuple(chosen), records, caption, f"{links.METHOD}."
    )
