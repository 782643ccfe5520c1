"""The cells frame: what each test of each block of a campaign came to, one row a (block, test).

`COLUMNS` is the one place that declares it, with dtypes and units; `cells_frame` builds to it, so a
campaign without a block yet has the same columns and dtypes as a finished one. A cell's key is
`KEY`. Rows whose `void` is not empty stay in the frame, so that they can be shown, and count in
nothing: take `counted` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from perfkit.errors import FrameError, did_you_mean
from perfkit.runs.folder import write_atomic

Dtype = Literal["int", "float", "str", "bool"]
KEY = ("clients", "variant", "test")
NUMPY: Mapping[str, str] = {"int": "int64", "float": "float64", "str": "str", "bool": "bool"}
_EMPTY: Mapping[str, object] = {"int": 0, "float": np.nan, "str": "", "bool": False}


@dataclass(frozen=True, slots=True)
class CellColumn:
    """A column: its dtype, its unit (empty: none) and what it says.

    Attributes:
        required: Each record has it; what another lacks is NaN, 0, False or empty.
        is_figure: A figure of the test, of which a cell has an interval; NaN where unknown.
    """

    dtype: Dtype
    unit: str
    meaning: str
    required: bool = False
    is_figure: bool = False


def _key(dtype: Dtype, meaning: str) -> CellColumn:
    return CellColumn(dtype, "", meaning, required=True)


def _figure(unit: str, meaning: str) -> CellColumn:
    return CellColumn("float", unit, meaning, is_figure=True)


COLUMNS: Mapping[str, CellColumn] = {
    "block": _key("int", "number in the order run, from 1"),
    "folder": CellColumn("str", "", "the block's run folder, below the campaign's"),
    "repetition": _key("int", "which repetition of the design it belongs to, from 1"),
    "attempt": CellColumn("int", "", "which attempt at its place in the design"),
    "clients": _key("int", "clients that were armed"),
    "variant": _key("str", "name of the variant; `base` where there is only one"),
    "test": _key("str", "name of the test"),
    "path": _key("str", "`direct` or `tunnel`"),
    "kind": CellColumn("str", "", "what the test measures; empty: tcp, as all tests once did"),
    "position": _key("int", "the test's place in its block, from 1"),
    "started_s": CellColumn("float", "s", "the block's T0, since the campaign's first T0"),
    "void": CellColumn("str", "", "the rule that makes it void, and why; empty: it counts"),
    "not_steady": CellColumn("str", "", "why the test was not steady; empty: it was"),
    "warm_up_found_s": CellColumn(
        "float", "s", "the warm-up that this test shows; NaN: not looked for"
    ),
    "warm_up_s": CellColumn(
        "float", "s", "what was cut off the window before its figures were taken"
    ),
    "window_s": CellColumn("float", "s", "length of the window that the figures are over"),
    "chosen_by": CellColumn("str", "", "who chose the window; a person's is never cut"),
    "warnings": CellColumn("int", "", "warnings of the block's report that are about this test"),
    "failed_clients": CellColumn("int", "", "clients of the test that do not count"),
    "host_s": CellColumn(
        "float", "host s", "time of the block times its hosts, on each of its rows"
    ),
    "cost_usd": CellColumn("float", "USD", "cost of the block, on each of its rows; NaN: free"),
    "vpn_single_core": CellColumn("bool", "", "one core does the work of all the VPN's traffic"),
    "vpn_implementation": CellColumn(
        "str", "", "what carried the VPN's packets on the server; empty: not said"
    ),
    "shared_cpu": CellColumn("bool", "", "server and clients ran on the same processors"),
    "goodput_bps": _figure(
        "bit/s", "total goodput of the clients that count; NaN: both ways at once"
    ),
    "client_median_bps": _figure("bit/s", "median goodput of a client"),
    "jain": _figure("", "fairness over clients, 1/n to 1"),
    **{
        f"{stem}_{way}{unit and '_bps'}": _figure(unit, f"{what}, {words}")
        for way, words in (("up", "clients to server"), ("down", "server to clients"))
        for stem, unit, what in (
            ("goodput", "bit/s", "total goodput of a test both ways"),
            ("client_median", "bit/s", "median goodput of a client of a test both ways"),
            ("jain", "", "fairness over clients of a test both ways"),
        )
    },
    "vpn_cpu_s_per_gbit": _figure(
        "s/Gbit",
        "CPU seconds of the server's VPN per Gbit of goodput, of both ways where both were carried",
    ),
    "vpn_cores": _figure("cores", "CPU use of the server's VPN process"),
    "busiest_core_pct": _figure("%", "the server's core that was busiest over the window"),
    "busiest_core_tick_pct": _figure("%", "the server's busiest core of each second, mean"),
    "cpu_busy_pct": _figure("%", "all processors of the server"),
    "cpu_softirq_pct": _figure("%", "all processors of the server, in softirq"),
    "cpu_steal_pct": _figure("%", "all processors of the server, taken by the hypervisor"),
    "nic_bps": _figure(
        "bit/s", "the server's outer interface, in the direction of the test, the busier of both"
    ),
    "link_bps": _figure("bit/s", "capacity of the server's link; NaN: not known"),
    "queue_drops": _figure(
        "packets",
        "dropped by queues of the server's interfaces in the window, and by its planted link on the way to it",
    ),
    "held_back_packets": _figure(
        "packets", "queued or dropped in the window by the limits of instances; NaN: not counted"
    ),
    "server_held_back_ratio": _figure(
        "",
        "seconds of the window in which a limit of the server's instance held packets back, over all",
    ),
    "clients_cpu_pct": _figure(
        "%", "a client's busiest core of each second, mean over clients that count"
    ),
    "vs_direct": _figure("", "goodput over that of the block's out-of-tunnel test"),
    "offered_bps": _figure(
        "bit/s", "what the clients that count offered; NaN: no rate, or unknown"
    ),
    "loss_ratio": _figure(
        "", "UDP datagrams of the window lost over those sent, sums over clients"
    ),
    "pps": _figure("1/s", "UDP datagrams that arrived a second, of the clients that count"),
    "vpn_cpu_us_per_packet": _figure(
        "us", "CPU time of the server's VPN per datagram that arrived"
    ),
    "rtt_median_s": _figure("s", "round-trip time without load, over all samples of all clients"),
    "rtt_p99_s": _figure("s", "the same, 99th percentile"),
    "rtt_loaded_median_s": _figure("s", "round-trip time while each client loads by a TCP stream"),
    "rtt_loaded_p99_s": _figure("s", "the same, 99th percentile"),
    "rtt_added_s": _figure("s", "median with load less median without"),
    "rtt_lost_ratio": _figure(
        "", "round trips that did not come back over all, with load and without"
    ),
    "load_bps": _figure("bit/s", "what the TCP streams of a latency test carried together"),
    "requests_per_s": _figure(
        "1/s", "short TCP connections with an answer, all clients that count"
    ),
    "requests_failed_ratio": _figure("", "short connections that failed over all"),
    "request_median_s": _figure(
        "s", "time of a short connection, from its first packet to its end"
    ),
    "request_p99_s": _figure("s", "the same, 99th percentile"),
    "retransmits_per_gb": _figure("1/GB", "TCP retransmits per GB of goodput"),
    **{
        f"{name}_{key}": _figure(unit, f"{what} {when}")
        for name, when in (
            ("connect", "when all clients connect at once"),
            ("reconnect", "after the server's VPN was started anew"),
        )
        for key, unit, what in (
            ("median_s", "s", "median time until a client's tunnel carries a ping,"),
            ("p99_s", "s", "the same, 99 % quantile; NaN: fewer than 100 clients,"),
            ("failed", "clients", "clients that did not connect"),
            ("cpu_s", "s", "CPU of the server's VPN per client that connects,"),
        )
    },
    "connects_per_s": _figure("1/s", "clients that connect a second, all at once"),
    "reconnects_per_s": _figure("1/s", "the same after the server's VPN was started anew"),
    "vpn_rss_bytes": _figure("byte", "memory of the server's VPN process with idle clients"),
    "vpn_pss_bytes": _figure("byte", "the same, shared pages in part"),
    "vpn_rss_per_client_bytes": _figure("byte", "what it grew by since it had none, per client"),
    "idle_bps": _figure("bit/s", "traffic of an idle client beside the tunnel, median"),
}
OF_CONNECTING: Mapping[str, str] = {  # -> the clients that make it unknown
    figure: f"{stem}_failed"
    for stem in ("connect", "reconnect")
    for figure in (f"{stem}_median_s", f"{stem}_p99_s", f"{stem}s_per_s")
}
FIGURES = tuple(name for name, column in COLUMNS.items() if column.is_figure)


def cells_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the frame, sorted by block and position; the same columns and dtypes also of none.

    Args:
        records: One a (block, test), keys as in `COLUMNS`.

    Returns:
        One row a record; what a record does not have is NaN, 0, False or empty.

    Raises:
        FrameError: a column is unknown, or a required one is missing.
    """
    rows = []
    for record in records:
        for name in record:
            if name not in COLUMNS:
                raise FrameError(
                    f"cells: {name!r} is not declared; {did_you_mean(name, tuple(COLUMNS))}"
                )
        missing = [n for n, column in COLUMNS.items() if column.required and n not in record]
        if missing:
            raise FrameError(f"cells: a row of block {record.get('block')} lacks {missing}")
        rows.append([record.get(n, _EMPTY[column.dtype]) for n, column in COLUMNS.items()])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    typed = frame.astype({name: NUMPY[column.dtype] for name, column in COLUMNS.items()})
    return typed.sort_values(["block", "position"], kind="stable", ignore_index=True)


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: those that are not void."""
    return frame[(frame["void"] == "").to_numpy()].reset_index(drop=True)


def rows_of(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows that have these values, each in the column of its name."""
    chosen = np.ones(len(frame), dtype=bool)
    for name, value in wanted.items():
        chosen &= (frame[name] == value).to_numpy(dtype=bool)
    return frame[chosen]


def figure_values(frame: pd.DataFrame, figure: str) -> pd.Series[float]:
    """A figure of each row; NaN: it has none; infinite: beyond what was seen.

    The last is a time to connect where too many clients did not. Such a row is worse than those with a
    value: without it, the others would tell of the good blocks only.
    """
    if figure not in OF_CONNECTING:
        return frame[figure]
    return frame[figure].mask(frame[figure].isna() & (frame[OF_CONNECTING[figure]] > 0), np.inf)


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write cells.parquet; a reader sees the old file or the new one, never a part.

    Raises:
        RunError: the disk is full or the folder read-only.
    """
    write_atomic(path, to_parquet(frame))


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The frame as the bytes of cells.parquet."""
    data: bytes = frame.to_parquet(index=False)
    return data


def load(path: Path) -> pd.DataFrame:
    """Read cells.parquet; a column that it was written without is empty.

    Raises:
        FrameError: it is no Parquet file, or not one of cells.
    """
    try:
        return from_parquet(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise FrameError(
            f"{path}: not a frame of cells ({exc}); make it anew from blocks/"
        ) from exc


def from_parquet(data: bytes) -> pd.DataFrame:
    """Read what `to_parquet` made.

    Raises:
        FrameError: it is no Parquet, or no frame of cells.
    """
    try:
        return cells_frame(to_records(pd.read_parquet(BytesIO(data))))
    except (OSError, ValueError, TypeError) as exc:
        raise FrameError(f"not a frame of cells ({exc})") from exc


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary a row."""
    return [{str(name): value for name, value in r.items()} for r in frame.to_dict("records")]
