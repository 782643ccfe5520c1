"""<slot>.events.json, when a test really started and ended on a host: `events` frame out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit import untrusted
from perfkit.errors import ParseError, TruncatedError, UntrustedError
from perfkit.logs.format import Format, Reading

_LATEST_S = 1e12
_TEXTS = ("slot", "host", "starter")
_TIMES = (
    *("planned_start_utc_s", "planned_end_utc_s"),
    *("start_utc_s", "last_output_utc_s", "end_utc_s"),
)


def sniff(head: bytes) -> bool:
    """Whether the first bytes are an event record."""
    return head.lstrip().startswith(b"{") and b'"planned_start_utc_s"' in head


def parse(data: bytes, path: Path) -> Reading:
    """Read one file as a frame of one row.

    Raises:
        TruncatedError, ParseError: as `parse_record`.
    """
    return Reading(
        path=path, format="events", kind="events", frame=to_frame([parse_record(data, path)])
    )


FORMAT = Format(name="events", kind="events", sniff=sniff, parse=parse)


def parse_record(data: bytes, path: Path) -> dict[str, Any]:
    """One record as a row of an `events` frame; a moment that was not reached is NaN.

    Raises:
        TruncatedError: the file is empty or its JSON stops in the middle.
        ParseError: a field is missing or not what it must be.
    """
    if not data.strip():
        raise TruncatedError(path, "the file is empty: the starter was killed")
    try:
        record = untrusted.parse_record(data, untrusted.EVENTS)
    except UntrustedError as exc:
        fault, line_no = exc.__cause__, 1
        if isinstance(fault, json.JSONDecodeError):
            line_no = fault.lineno
            if fault.pos >= len(data.rstrip()) - 1 or fault.msg.startswith("Unterminated"):
                raise TruncatedError(path, f"the JSON stops in the middle: {fault}") from exc
        raise ParseError(path, line_no, _line(data, line_no), str(exc)) from exc
    row: dict[str, Any] = {name: str(record.get(name, "")) for name in _TEXTS}
    for name in (*_TIMES, "exit_status"):
        value = record.get(name)
        if value is not None and not abs(value) < _LATEST_S:
            raise ParseError(path, 1, _line(data, 1), f"{name}: no moment nor status: {value!r}")
        row[name] = math.nan if value is None else float(value)
    row["timed_out"] = bool(record.get("timed_out", False))
    return row


def to_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `parse_record` as an `events` frame."""
    frame = pd.DataFrame(list(rows), columns=[*_TEXTS, *_TIMES, "exit_status", "timed_out"])
    types = dict.fromkeys((*_TIMES, "exit_status"), "float64") | dict.fromkeys(_TEXTS, "str")
    return frame.astype({**types, "timed_out": "bool"})


def _line(data: bytes, line_no: int) -> str:
    lines = data.split(b"\n")
    return lines[min(line_no, len(lines)) - 1][:200].decode("utf-8", "replace")
