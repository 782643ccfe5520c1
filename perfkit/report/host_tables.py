"""Tables with a row for each host; where machines have names of their own, each says on which it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perfkit.analysis.stats import Summary
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.report import columns
from perfkit.report.kind_tables import GOODPUT_WORDS, goes_both_ways
from perfkit.report.tables import Column, ReportTable
from perfkit.units import format_count


def failures(logs: RunLogs, summary: Summary) -> ReportTable:
    """A row for each client that does not count in a test."""
    where = {str(h["name"]): str(h["log"]) for h in logs.hosts.to_dict("records")}
    printed = {note.log for note in logs.logs} | {f"{h}/{slot}.log" for slot, h in logs.messages}
    uncounted = summary.clients[~summary.clients["ok"]]
    rows = []
    for row in uncounted.to_dict("records"):
        log = f"{row['host']}/{row['slot']}.log"
        known = where.get(str(row["host"]), "")
        rows.append({**row, "log": f"raw/{log}" if log in printed else known})
    shown, listed = by_machine(logs, columns.FAILURES, rows)
    unread = int(uncounted["unread"].sum())
    failed = len(rows) - unread
    caption = f"{format_count(failed, 'failure')}." if failed else "No client failed."
    if unread:
        caption += f" In {unread} cases the test was done, but no reader understands its logs."
    return ReportTable.from_records("failures", "Clients that do not count", shown, listed, caption)


def by_machine(
    logs: RunLogs, shown: Sequence[Column], rows: Sequence[Mapping[Any, Any]]
) -> tuple[tuple[Column, ...], list[Mapping[Any, Any]]]:
    """Columns and rows of a table by host, with the machine that each is on where that has a name."""
    where = logs.machines
    if not where:
        return tuple(column for column in shown if column is not columns.MACHINE), [*rows]
    return tuple(shown), [{**row, "machine": where.get(str(row["host"]), "")} for row in rows]


def hosts(logs: RunLogs, summary: Summary) -> ReportTable:
    """One row a host, failed ones first, with its goodput in every test."""
    goodput: dict[str, dict[str, Any]] = {}
    for row in summary.clients.to_dict("records"):
        # Bytes of a client that failed are in no figure, so they are not shown as one.
        if row["ok"]:
            own = goodput.setdefault(str(row["host"]), {})
            for figure, words in GOODPUT_WORDS.items():
                own[f"{row['slot']}{words}"] = row.get(figure, math.nan)
    clients = summary.clients
    failed = set(clients.loc[~(clients["ok"] | clients["unread"]), "host"])
    chosen = (
        columns.text("name", "Host"),
        columns.text("role", "Role"),
        *([columns.MACHINE] if logs.machines else []),
        columns.text("address", "Address"),
        columns.text("state", "State"),
        *(columns.mbps(name, name) for slot in logs.slots for name in _goodputs(slot, summary)),
        columns.text("reason", "Reason"),
    )
    rows = [
        {**{str(k): v for k, v in host.items()}, **goodput.get(str(host["name"]), {})}
        for host in logs.hosts.to_dict("records")
    ]
    for host in rows:
        if host["state"] == "released" and host["reason"]:  # only what failed has a reason
            host["state"] = "failed (released)"
    rows.sort(key=lambda row: (row["name"] not in failed and not row["reason"], row["name"]))
    caption = f"{len(rows)} hosts; {len(failed)} failed in at least one test."
    return ReportTable.from_records("hosts", "Hosts", chosen, rows, caption)


def _goodputs(slot: SlotPlan, summary: Summary) -> list[str]:
    """A column of a test's goodput; of traffic both ways one each."""
    row = summary.tests[(summary.tests["slot"] == slot.name).to_numpy()]
    if any(map(goes_both_ways, row.to_dict("records"))):
        return [f"{slot.name}{words}" for words in GOODPUT_WORDS.values() if words]
    return [slot.name]
