"""The column contract: which columns a frame of each kind has, their units and what must hold.

Frames are tidy, one row a sample; the unit is the end of the column's name. `COLUMNS` is the one
place that declares them; readers build to it and `check` holds them to it.

=============  ============================================================================
`traffic`      what a traffic generator printed; times count from each stream's own start
`run-traffic`  the same, each row given its client and its place on the run's time line
`monitor`      one host's counters, one row a tick; a row covers [t - dt, t)
`process`      CPU seconds used by one process since its start, one row a second
`queues`       packets dropped by the queues of devices so far, one row a (second, device)
`limits`       packets that a cloud's limits on a network card held back so far, one row a (second,
               device, counter)
`samples`      what a test observed that is not bytes, one row an observation
`events`       when a test really started and ended on a host, one row a (slot, host)
`vpn-clients`  the VPN's clients as its server lists them, one row a client
`vpn-counters` counters of an OpenVPN client process, one row a status
`vpn-events`   what the VPN's log says about connections, one row a line
=============  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import FrameError, did_you_mean

Check = Callable[[Any], Any]  # of a series or an array; as many truths


@dataclass(frozen=True, slots=True)
class Spec:
    """One column: `name` (`*` stands for a device), type, unit, meaning, and what must hold.

    Attributes:
        dtype: `float`, `int`, `bool`, `text` (str or categorical) or `time` (aware UTC).
        check: True for every value that may be; missing values are never checked.
        required: Every frame of the kind has it; the others have it when the log says it.
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    check: Check | None = None
    required: bool = True


def _at_least_0(values: pd.Series[float]) -> pd.Series[bool]:
    return values >= 0


def _above_0(values: pd.Series[float]) -> pd.Series[bool]:
    return values > 0


def _percent(values: pd.Series[float]) -> pd.Series[bool]:
    # Counters are read one after the other, so a share may pass 100 a little: pcp printed 221.
    return (values >= -1) & (values <= 1000)


KINDS_OF_LINE = ("interval", "summary", "group-interval", "group-summary")
SIDES = ("sender", "receiver", "unknown")


def _one_of(*names: str) -> Check:
    return lambda values: values.isin(names)


_TRAFFIC = (
    Spec("stream", "int", "", "number of the stream in its log; -1 for a sum", None),
    Spec("stream_id", "text", "", "as printed: 3, *3, SUM"),
    Spec("kind", "text", "", "group-* lines repeat other lines' bytes", _one_of(*KINDS_OF_LINE)),
    Spec("side", "text", "", "who counted it", _one_of(*SIDES)),
    Spec("protocol", "text", "", "transport", _one_of("tcp", "udp")),
    Spec("local_address", "text", "", "the printing end"),
    Spec("local_port", "int", "", "0 = not printed", _at_least_0),
    Spec("peer_address", "text", "", "the other end"),
    Spec("peer_port", "int", "", "0 = not printed", _at_least_0),
    Spec("connected_utc", "time", "", "when it connected, within a second, printer's clock"),
    Spec("start_s", "float", "s", "from the stream's own start", _at_least_0),
    Spec("end_s", "float", "s", "from the stream's own start", _at_least_0),
    Spec("size_bytes", "float", "byte", "payload in [start, end)", _at_least_0),
    Spec("throughput_bps", "float", "bit/s", "as printed", _at_least_0),
    Spec("retransmits", "float", "", "TCP segments sent again", _at_least_0, required=False),
    Spec("rtt_s", "float", "s", "TCP round trip at the end", _at_least_0, required=False),
    Spec("jitter_s", "float", "s", "RFC 1889 jitter", _at_least_0, required=False),
    Spec("lost", "float", "", "datagrams missing", None, required=False),
    Spec("datagrams", "float", "", "datagrams sent", None, required=False),
    Spec("out_of_order", "float", "", "datagrams after later ones", _at_least_0, required=False),
    Spec("mss_bytes", "float", "byte", "TCP's, at the connection", _above_0, required=False),
    Spec("line_no", "int", "", "line in the log, from 1", _above_0),
)

_ON_THE_TIME_LINE = (
    Spec("slot", "text", "", "the test in the timetable"),
    Spec("host", "text", "", "the client; empty when its address is nobody's"),
    Spec("log_host", "text", "", "the host whose log this is"),
    Spec("t_start_s", "float", "s", "from T0; NaN when the stream cannot be placed"),
    Spec("t_end_s", "float", "s", "from T0"),
    Spec("t_utc", "time", "", "start, controller's clock"),
    Spec("t_bound_s", "float", "s", "the placement is right within this", _at_least_0),
)

_CPU = {
    "user": "programs",
    "system": "the kernel",
    "idle": "nothing",
    "wait": "waiting for disks",
    "steal": "taken by the hypervisor",
    "hardirq": "interrupts",
    "softirq": "the network stack's share of interrupts",
    "busy": "100 - idle - wait",
}

_MONITOR = (
    Spec("host", "text", "", "whose counters; empty when the log does not say"),
    Spec("block", "int", "", "the run of the monitor in its file, from 0", _at_least_0),
    Spec("t_utc", "time", "", "end of the interval"),
    Spec("dt_s", "float", "s", "length of the interval", _above_0),
    Spec("missed", "bool", "", "ticks were missed; rates are repaired over the real interval"),
    *(
        Spec(f"cpu_{name}_pct", "float", "%", f"all cores: {what}", _percent, required=False)
        for name, what in _CPU.items()
    ),
    Spec("cpu[0-9]*_*_pct", "float", "%", "one core", _percent, required=False),
    Spec("mem_*_bytes", "float", "byte", "memory at the tick", _at_least_0, required=False),
    Spec("net_*_recv_bps", "float", "bit/s", "into the interface", _at_least_0, required=False),
    Spec("net_*_send_bps", "float", "bit/s", "out of the interface", _at_least_0, required=False),
    Spec("disk_*_bytes_per_s", "float", "byte/s", "to or from disk", _at_least_0, required=False),
    Spec("other:*", "float", "as printed", "a column perfkit has no name for", required=False),
    Spec("t_s", "float", "s", "end of the interval from T0", required=False),
)

_PROCESS = (
    Spec("host", "text", "", "where it runs"),
    Spec("t_utc", "time", "", "moment of the sample"),
    Spec("pid", "int", "", "process id; another one after a restart", _above_0),
    Spec("cpu_s", "float", "s", "CPU time since the process's start", _at_least_0),
    Spec("rss_bytes", "float", "byte", "memory it holds", _at_least_0),
    Spec(
        "pss_bytes", "float", "byte", "the same, shared pages in part", _at_least_0, required=False
    ),
    Spec("t_s", "float", "s", "from T0", required=False),
)

_QUEUES = (
    Spec("host", "text", "", "where they are"),
    Spec("t_utc", "time", "", "moment of the sample"),
    Spec("device", "text", "", "the interface that they belong to"),
    Spec("drops", "int", "packets", "dropped since the device's start", _at_least_0),
    Spec("t_s", "float", "s", "from T0", required=False),
)

_LIMITS = (
    Spec("host", "text", "", "whose network card it is"),
    Spec("t_utc", "time", "", "moment of the sample"),
    Spec("device", "text", "", "the interface"),
    Spec("counter", "text", "", "the driver's name for it: bw_in_allowance_exceeded, …"),
    Spec("count", "int", "packets", "queued or dropped since the device's start", _at_least_0),
    Spec("t_s", "float", "s", "from T0", required=False),
)

_SAMPLES = (
    Spec("t_utc", "time", "", "moment of the observation; NaT = not printed"),
    Spec("quantity", "text", "", "what was observed, its unit at the end: rtt_s, request_s"),
    Spec("value", "float", "", "in the quantity's unit; NaN = it did not come", _at_least_0),
    Spec("note", "text", "", "the phase it belongs to, or why it did not come"),
    Spec("line_no", "int", "", "line in the log, from 1", _above_0),
    Spec("slot", "text", "", "the test in the timetable; in a run only", required=False),
    Spec("host", "text", "", "the host whose log this is; in a run only", required=False),
    Spec("t_s", "float", "s", "from T0; in a run only", required=False),
)

_EVENTS = (
    Spec("slot", "text", "", "the test in the timetable"),
    Spec("host", "text", "", "where it ran"),
    Spec("starter", "text", "", "epoch or cron"),
    Spec("planned_start_utc_s", "float", "s", "epoch, host's clock"),
    Spec("planned_end_utc_s", "float", "s", "epoch, host's clock"),
    Spec("start_utc_s", "float", "s", "epoch, host's clock; NaN = it never started"),
    Spec("last_output_utc_s", "float", "s", "its log's last line, host's clock; NaN = not known"),
    Spec("end_utc_s", "float", "s", "epoch, host's clock; NaN = it never ended"),
    Spec("exit_status", "float", "", "NaN = none was recorded"),
    Spec("timed_out", "bool", "", "ended at its time limit"),
)

_OF_A_HOST = (
    Spec("host", "text", "", "the host whose log this is; in a run only", required=False),
    Spec("t_s", "float", "s", "from T0; in a run only", required=False),
)

_VPN_CLIENTS = (
    Spec("snapshot", "int", "", "the status in its file, from 0", _at_least_0),
    Spec("t_utc", "time", "", "when the status was written"),
    Spec("common_name", "text", "", "UNDEF until the handshake has said it"),
    Spec("peer_address", "text", "", "the client beside the tunnel"),
    Spec("peer_port", "int", "", "0 = not printed", _at_least_0),
    Spec("tunnel_address", "text", "", "its address in the tunnel; empty = none yet"),
    Spec("tunnel_ipv6_address", "text", "", "the same for IPv6"),
    Spec("recv_bytes", "float", "byte", "from the client since it connected", _at_least_0),
    Spec("send_bytes", "float", "byte", "to the client since it connected", _at_least_0),
    Spec("connected_utc", "time", "", "when it connected; counters start again then"),
    Spec("handshake_utc", "time", "", "last agreed on keys; NaT = never", required=False),
    Spec("username", "text", "", "UNDEF = none"),
    Spec("client_id", "int", "", "-1 = not printed"),
    Spec("peer_id", "int", "", "-1 = not printed"),
    Spec("cipher", "text", "", "of the data channel"),
    Spec("line_no", "int", "", "line in the file, from 1", _above_0),
    *_OF_A_HOST,
)

_COMPRESSION = ("pre_compress", "post_compress", "pre_decompress", "post_decompress")

_VPN_COUNTERS = (
    Spec("snapshot", "int", "", "the status in its file, from 0", _at_least_0),
    Spec("t_utc", "time", "", "when the status was written"),
    Spec("tun_read_bytes", "float", "byte", "out of the tunnel device, to send", _at_least_0),
    Spec("tun_write_bytes", "float", "byte", "into the tunnel device", _at_least_0),
    Spec("link_read_bytes", "float", "byte", "from the server, encrypted", _at_least_0),
    Spec("link_write_bytes", "float", "byte", "to the server, encrypted", _at_least_0),
    Spec("auth_read_bytes", "float", "byte", "from the server, authenticated", _at_least_0),
    *(
        Spec(f"{name}_bytes", "float", "byte", "with compression only", _at_least_0, required=False)
        for name in _COMPRESSION
    ),
    Spec("line_no", "int", "", "line in the file, from 1", _above_0),
    *_OF_A_HOST,
)

_VPN_EVENTS = (
    Spec("t_utc", "time", "", "as stamped; NaT when the log has no times"),
    Spec("event", "text", "", "what happened: `perfkit.logs.openvpn.log.EVENTS`"),
    Spec("common_name", "text", "", "the client, or on a client the server; empty = not said"),
    Spec("peer_address", "text", "", "the other end; empty = not said"),
    Spec("peer_port", "int", "", "0 = not printed", _at_least_0),
    Spec("text", "text", "", "the message"),
    Spec("line_no", "int", "", "line in the log, from 1", _above_0),
    *_OF_A_HOST,
)

COLUMNS: dict[str, tuple[Spec, ...]] = {
    "traffic": _TRAFFIC,
    "run-traffic": (*_TRAFFIC, *_ON_THE_TIME_LINE),
    "monitor": _MONITOR,
    "process": _PROCESS,
    "queues": _QUEUES,
    "limits": _LIMITS,
    "samples": _SAMPLES,
    "events": _EVENTS,
    "vpn-clients": _VPN_CLIENTS,
    "vpn-counters": _VPN_COUNTERS,
    "vpn-events": _VPN_EVENTS,
}

_IS_DTYPE: dict[str, Callable[[Any], bool]] = {
    "float": pd.api.types.is_float_dtype,
    "int": pd.api.types.is_integer_dtype,
    "bool": pd.api.types.is_bool_dtype,
    "text": lambda dtype: (
        isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)
    ),
    "time": lambda dtype: isinstance(dtype, pd.DatetimeTZDtype) and str(dtype.tz) == "UTC",
}


def get_columns(kind: str) -> tuple[Spec, ...]:
    """The columns of a kind of frame.

    Raises:
        FrameError: no such kind.
    """
    try:
        return COLUMNS[kind]
    except KeyError as exc:
        raise FrameError(f"no frame is called {kind!r}; {did_you_mean(kind, COLUMNS)}") from exc


def find_column(kind: str, name: str) -> Spec | None:
    """The declaration of a column, by its name or by its pattern (`net_*_recv_bps`)."""
    columns = get_columns(kind)
    exact = next((column for column in columns if column.name == name), None)
    return exact or next((c for c in columns if fnmatchcase(name, c.name)), None)


def check(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Hold a frame to the contract of its kind; returns the same frame.

    Raises:
        FrameError: a column is missing, undeclared, of another type, or breaks its rule; the
            message names the column, what was expected, what was found and the first row.
    """
    missing = [c.name for c in get_columns(kind) if c.required and c.name not in frame.columns]
    if missing:
        raise FrameError(f"{kind} frame: columns missing: {', '.join(missing)}")
    for name in frame.columns:
        column = find_column(kind, str(name))
        if column is None:
            known = [c.name for c in get_columns(kind)]
            raise FrameError(
                f"{kind} frame: column {name!r} is not declared; {did_you_mean(str(name), known)}"
            )
        _check_column(frame[name], column, kind)
    return frame


def forget_impossible(frame: pd.DataFrame, kind: str) -> dict[str, int]:
    """Set numbers that break their column's rule to NaN, in place; returns how many, by column.

    For figures of a damaged or misbehaving tool: a share of 10^30 percent is no share.
    """
    forgotten = {}
    for name in frame.columns:
        column = find_column(kind, str(name))
        if column is None or column.check is None or column.dtype != "float" or frame.empty:
            continue
        values = frame[name].to_numpy()
        # Every rule for figures is a range, and NaN is in none.
        largest = np.inf if column.check(np.inf) else values.max()
        if column.check(np.array([values.min(), largest])).all():
            continue
        bad = ~(column.check(values) | np.isnan(values))
        if bad.any():
            frame.loc[bad, name] = np.nan
            forgotten[str(name)] = int(bad.sum())
    return forgotten


def _check_column(values: pd.Series[float], column: Spec, kind: str) -> None:
    if not _IS_DTYPE[column.dtype](values.dtype):
        raise FrameError(
            f"{kind} frame: column {values.name!r}: {column.dtype} expected, {values.dtype} found"
        )
    if column.check is None or values.empty:
        return
    bad = values.notna() & ~column.check(values)
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise FrameError(
            f"{kind} frame: column {values.name!r} ({column.meaning}): {int(bad.sum())} values "
            f"break its rule, the first in row {row}: {values.iloc[row]!r}"
        )


def concat(frames: Sequence[pd.DataFrame], kind: str) -> pd.DataFrame:
    """Frames of one kind under each other; absent optional columns are NaN.

    Thousands of small frames are joined column by column, and categories are merged once:
    `pandas.concat` would turn them into text and take a hundred times as long.
    """
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return empty(kind)
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    return pd.DataFrame({name: _joined(frames, name) for name in names})


def empty(kind: str) -> pd.DataFrame:
    """A frame of a kind with its required columns and no rows."""
    types = {"float": "float64", "int": "int64", "bool": "bool", "text": "category"}
    return pd.DataFrame(
        {
            column.name: pd.Series(dtype=types.get(column.dtype, "datetime64[ns, UTC]"))
            for column in get_columns(kind)
            if column.required
        }
    )


def _joined(frames: Sequence[pd.DataFrame], name: str) -> Any:
    parts = [
        frame[name] if name in frame else pd.Series(np.full(len(frame), np.nan)) for frame in frames
    ]
    if not isinstance(parts[0].dtype, pd.CategoricalDtype):
        return pd.concat(parts, ignore_index=True) if len(parts) < 8 else _stacked(parts)
    places: dict[str, int] = {}
    codes = []
    known: dict[int, NDArray[np.int64]] = {}  # by the categories, which many logs share
    for part in (part.array for part in parts):
        own = known.get(id(part.categories))
        if own is None:
            new = [places.setdefault(text, len(places)) for text in part.categories]
            own = known[id(part.categories)] = np.array([*new, -1])
        codes.append(own[part.codes])
    return pd.Categorical.from_codes(np.concatenate(codes), categories=pd.Index(list(places)))


def _stacked(parts: Sequence[pd.Series[Any]]) -> Any:
    if isinstance(parts[0].dtype, pd.DatetimeTZDtype):
        moments = np.concatenate([part.to_numpy(dtype="datetime64[ns]") for part in parts])
        return pd.DatetimeIndex(moments, tz="UTC")
    return np.concatenate([part.to_numpy() for part in parts])
