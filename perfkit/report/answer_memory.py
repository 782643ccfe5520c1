"""What one more idle client costs the server's VPN in memory: a sentence and a table of the answer."""

from __future__ import annotations

from dataclasses import asdict

from perfkit.analysis.answers import memory_slope
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.answers.memory_slope import MemorySlope
from perfkit.report.columns import MEGA, pct, text
from perfkit.report.tables import Column, ReportTable
from perfkit.units import format_some

_KILO = 1e3
_COLUMNS = (
    text("test", "Test"),
    text("variant", "Variant"),
    text("counts", "Clients"),
    Column("blocks", "Blocks"),
    Column("per_client_bytes", "Per client", "kB", digits=1, scale=_KILO),
    Column("low_bytes", "95 % from", "kB", digits=1, scale=_KILO),
    Column("high_bytes", "to", "kB", digits=1, scale=_KILO),
    Column("without_bytes", "Line at no client", "MB", digits=2, scale=MEGA),
    pct("off_pct", "Off the line"),
)


def memory_sentences(found: CampaignAnswer) -> list[str]:
    """One for each variant and test with a slope."""
    several = len(found.memory) > 1 or len(found.design.variants) > 1
    return [_said(one, several=several) for one in found.memory]


def _said(one: MemorySlope, *, several: bool) -> str:
    who = f"{one.test}, {one.variant}: one" if several else "One"
    low, high = one.low_bytes / _KILO, one.high_bytes / _KILO
    return (
        f"{who} more idle client costs the server's VPN {one.per_client_bytes / _KILO:.1f} kB of memory "
        f"[{low:.1f}, {high:.1f}]."
    )


def memory_table(found: CampaignAnswer) -> ReportTable:
    """The slopes."""
    rows = [
        {
            **asdict(one),
            "counts": format_some([str(size) for size in one.sizes], 12),
            "off_pct": 100 * one.off_share,
        }
        for one in found.memory
    ]
    caption = "The slope over the number of clients; of the process, not of the kernel."
    return ReportTable.from_records(
        "memory", "Memory per client", _COLUMNS, rows, caption, f"{memory_slope.METHOD}."
    )
