"""The columns of a monitor's CSV: from its groups, names and units to perfkit's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfkit.logs.dstat.command import asks_for_bits
from perfkit.logs.dstat.heads import EPOCH, TIMES, CsvBlock
from perfkit.logs.dstat.rows import Table
from perfkit.units import BINARY_PREFIXES, BITS_PER_BYTE

_CPU = {
    "usr": "user", "sys": "system", "idl": "idle", "wai": "wait",
    "stl": "steal", "hiq": "hardirq", "siq": "softirq",
}  # fmt: skip
_MEMORY = {"buff": "buffers", "buf": "buffers", "cach": "cache", "avai": "available"}
_DISK = {"read": "read", "writ": "write"}
_ROWS_LOOKED_AT = 1000
_PRINTED_TO = 0.001  # three decimals

Keys = list[tuple[str, str]]


def note_cells(table: Table, keys: Keys, block: CsvBlock) -> list[str]:
    """Name the columns left out, the cells that are no figures, and a unit that is a guess."""
    notes = [
        f"{group}/{name} is text, and left out"
        for group, name in (keys[place] for place in sorted(table.texts))
    ]
    notes += [
        f"{count} cells of {'/'.join(keys[place])} are not figures (inf, nan, or more than a "
        "counter can hold) and are taken as unknown"
        for place, count in sorted(table.unknown.items())
        if keys[place][1] != EPOCH  # a row without one is named as such
    ]
    if block.guess and len(table) and any(_is_byte_rate(*key) for key in keys):
        notes.append(block.guess)
    return notes


def note_unit(table: Table, keys: Keys, block: CsvBlock, dt_s: NDArray[np.float64]) -> list[str]:
    """Name byte rates that cannot be in bits, though dool counts in bits by itself.

    What it counts are whole bytes, so each figure times the step is a multiple of 8 bits. Where it
    is not, `DOOL_OPTS` may have asked for bytes: the head does not say what that holds.
    """
    if not block.in_bits or asks_for_bits(block.command) is not None:
        return []
    known = dt_s[dt_s > 0]
    if not len(known):
        return []
    step_s = max(round(float(np.median(known))), 1)
    for place, (group, name) in enumerate(keys):
        if place in table.texts or not _is_byte_rate(group, name):
            continue
        figures = table.columns[place][1:_ROWS_LOOKED_AT]
        counted = figures[figures < 2.0**50] * step_s / BITS_PER_BYTE
        if (np.abs(counted - np.rint(counted)) > _PRINTED_TO * step_s).any():
            return [
                f"{group}/{name} is taken as bits, but holds figures that are not whole bytes: if "
                "DOOL_OPTS asked for --bytes, rates are 8 times as high"
            ]
    return []


def _is_byte_rate(group: str, name: str) -> bool:
    return _column_name(group, name).startswith(("net_", "disk_"))


def named_columns(
    table: Table,
    keys: Keys,
    block: CsvBlock,
    repair: NDArray[np.float64],
    first: int,
) -> dict[str, Any]:
    """The columns of a block by perfkit's names, in its units; the table's arrays are used up.

    Args:
        repair: Factor of each row's rates.
        first: The first row that counts.
    """
    columns: dict[str, Any] = {}
    byte = 1 / BITS_PER_BYTE if block.in_bits else 1.0
    kilo = float(BINARY_PREFIXES["K"]) if block.in_kib else 1.0
    repair = repair[:1] if repair.strides == (0,) else repair  # the same for all rows
    repairs = [repair] if (repair != 1.0).any() else []
    for place, ((group, name), values) in enumerate(zip(keys, table.columns, strict=True)):
        if name in TIMES or name == EPOCH or place in table.texts:
            continue
        column = _column_name(group, name)
        while column in columns:  # a device listed twice
            column = f"other:{column}'" if not column.startswith("other:") else f"{column}'"
        figures = values[first:]
        if column.startswith("net_"):
            _scale(figures, byte * BITS_PER_BYTE, *repairs)
        elif column.startswith("disk_"):
            _scale(figures, byte * kilo, *repairs)
        elif column.startswith("mem_"):
            _scale(figures, kilo)
        columns[column] = figures
    if "cpu_idle_pct" in columns:
        busy = 100.0 - columns["cpu_idle_pct"]
        busy -= columns.get("cpu_wait_pct", 0.0)
        columns["cpu_busy_pct"] = np.maximum(busy, 0.0, out=busy)
    return columns


def _scale(figures: NDArray[np.float64], *factors: float | NDArray[np.float64]) -> None:
    """Multiply in place: to write into new memory takes longer than to multiply."""
    for factor in factors:
        if not isinstance(factor, float) or factor != 1.0:
            figures *= factor


def _column_name(group: str, name: str) -> str:
    kind, _, device = group.partition("/")
    core = re.fullmatch(r"cpu(\d{1,5}) usage", group)
    if group in ("total cpu usage", "total usage") and name in _CPU:
        return f"cpu_{_CPU[name]}_pct"
    if core and name in _CPU:
        return f"cpu{core[1]}_{_CPU[name]}_pct"
    if group == "memory usage":
        return f"mem_{_MEMORY.get(name, name)}_bytes"
    if kind == "net" and name in ("recv", "send"):
        return f"net_{device}_{name}_bps"
    if kind == "dsk" and name in _DISK:
        return f"disk_{device}_{_DISK[name]}_bytes_per_s"
    return f"other:{group}/{name}"
