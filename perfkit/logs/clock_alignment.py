"""Put each stream of a traffic log on the run's time line.

A traffic generator counts from a stream's own start. When that was is bounded from two sides:

- The client's starter recorded, to the millisecond, when the test began, when it printed its last
  line, and when it ended; a stream of length L began between `start` and `last line - L`. (iperf 2
  now and then ends a second after it has printed all.) Without that moment: `end - L`.
- With `-e` iperf stamps the connection, cut to whole seconds, by the clock of the log's host. The
  stamp of an iperf 2 client is of when it began to connect; how long that took is added.
- A client that connected ahead of its slot was told from when on to send. Where its log says that it
  waited, its streams began then or later; else they began when it connected, which its log alone says.

The stream is placed in the middle of what both allow; half that width plus the bound of the
clock's offset is its uncertainty, `t_bound_s`. Where the two disagree the recorded times are
taken, and a disagreement of more than two seconds is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.logs.run_logs import Clock, Finding, SlotPlan

STAMP_RESOLUTION_S = 1.0
DISAGREEMENT_S = 2.0
WAITED_S = 0.25  # a clock may be so much off its offset for a client to have waited as it was told
DRAIN_S = 0.25  # a receiver's stream may be so much longer than what the client has printed
METHOD = (
    "streams placed between the client's recorded start and (its last output - length), "
    "narrowed by iperf's connection stamp (1 s), and by the moment that a client was told to send at"
)


def place(
    traffic: pd.DataFrame,
    events: pd.DataFrame,
    clock_of: Callable[[str], Clock],
    t0_utc_s: float,
    slots: Sequence[SlotPlan] = (),
) -> tuple[pd.DataFrame, list[Finding]]:
    """Add `t_start_s`, `t_end_s`, `t_utc` and `t_bound_s` to a traffic frame.

    Args:
        traffic: With `slot`, `host` (the client, empty when unknown) and `log_host`.
        events: Frame `events`.
        clock_of: A host's clock.
        t0_utc_s: The run's T0, epoch seconds by the controller's clock.
        slots: The run's, of which some had their clients connect before they began.

    Returns:
        The frame, NaN where a stream cannot be placed; and what must be reported.
    """
    sends_s = {slot.name: slot.start_s for slot in slots if slot.connect_s}
    keys = ["slot", "log_host", "host", "stream"]
    streams = (
        traffic.groupby(keys, observed=True, sort=False)
        .agg(length_s=("end_s", "max"), stamp=("connected_utc", "first"))
        .reset_index()
    )
    recorded = _recorded(streams, events, clock_of)
    streams = _with_stamps_of_clients(streams, sends_s)
    stamped = _stamped(streams, clock_of)
    since_t0_s = streams["slot"].astype("str").map(sends_s).to_numpy(np.float64)
    sends_utc_s = np.asarray(t0_utc_s + since_t0_s, dtype=np.float64)
    recorded = _after_waiting(recorded, stamped, sends_utc_s)
    streams["start_utc_s"], streams["t_bound_s"], distance = _combine(recorded, stamped)
    findings = _disagreements(streams, distance)
    lost = int(streams["start_utc_s"].isna().sum())
    if lost:
        findings.append(Finding("clock", f"{lost} streams have no recorded time and no stamp"))
    # Group and row order: one merge on the codes of the groups.
    code = traffic.groupby(keys, observed=True, sort=False).ngroup().to_numpy()
    start = streams["start_utc_s"].to_numpy()[code] - t0_utc_s
    placed = traffic.assign(
        t_start_s=start + traffic["start_s"].to_numpy(),
        t_end_s=start + traffic["end_s"].to_numpy(),
        t_utc=pd.to_datetime(
            start + traffic["start_s"].to_numpy() + t0_utc_s, unit="s", utc=True
        ).as_unit("ns"),
        t_bound_s=streams["t_bound_s"].to_numpy()[code],
    )
    return placed, findings


def _recorded(
    streams: pd.DataFrame, events: pd.DataFrame, clock_of: Callable[[str], Clock]
) -> pd.DataFrame:
    """Earliest and latest start that the client's record allows, controller's clock."""
    known = events[["slot", "host", "start_utc_s", "last_output_utc_s", "end_utc_s"]]
    both = streams[["slot", "host", "length_s"]].astype({"slot": "str", "host": "str"})
    both = both.merge(known, on=["slot", "host"], how="left")
    offset = _offsets(both["host"], both["start_utc_s"].to_numpy(dtype=np.float64), clock_of)
    early = both["start_utc_s"].to_numpy() - offset
    length = both["length_s"].to_numpy()
    late = both["end_utc_s"].to_numpy() - offset - length
    said = both["last_output_utc_s"].to_numpy() - offset - length
    # A test that prints nothing, or not what its stream was, says nothing about the stream.
    late = np.where(said >= early - DRAIN_S, np.fmin(said, late), late)
    bound = np.array([clock_of(host).bound_s for host in both["host"]], dtype=np.float64)
    # A record without an end still bounds the start from below.
    return pd.DataFrame({"early": early, "late": np.maximum(early, late), "bound": bound})


def _with_stamps_of_clients(streams: pd.DataFrame, sends_s: Mapping[str, float]) -> pd.DataFrame:
    """The streams with `stamp_host`, whose stamp it is: where the server has none, the client's.

    When a connection that is made ahead begins to carry data, a server's log does not say.
    """
    told = streams.assign(stamp_host=streams["log_host"].astype("str"))
    lacks = (told["stamp"].isna() & told["slot"].astype("str").isin(sends_s)).to_numpy()
    if not lacks.any():
        return told
    own = told[(told["log_host"].astype("str") == told["host"].astype("str")).to_numpy()]
    first = own.dropna(subset="stamp").drop_duplicates(["slot", "host"])
    keys = list(zip(first["slot"].astype("str"), first["host"].astype("str"), strict=True))
    stamps = dict(zip(keys, first["stamp"], strict=True))
    wanted = told.loc[lacks, ["slot", "host"]].astype("str")
    told.loc[lacks, "stamp"] = [
        stamps.get((slot, host), pd.NaT) for slot, host in wanted.itertuples(index=False)
    ]
    told.loc[lacks, "stamp_host"] = wanted["host"]
    return told


def _after_waiting(
    recorded: pd.DataFrame, stamped: pd.DataFrame, sends_utc_s: NDArray[np.float64]
) -> pd.DataFrame:
    """The recorded times, where a client waited as it was told no earlier than that moment.

    That it did say its stamp, which then is of that moment, and when its stream was over: a script
    that does not look at `$PERFKIT_SEND_AT` would have been done before.
    """
    apart_s = np.abs(stamped["early"] + STAMP_RESOLUTION_S / 2 - sends_utc_s)
    has_waited = apart_s <= STAMP_RESOLUTION_S / 2 + WAITED_S
    has_waited &= recorded["late"] >= sends_utc_s - WAITED_S
    early = np.where(has_waited, np.fmax(recorded["early"], sends_utc_s), recorded["early"])
    return recorded.assign(early=early, late=np.maximum(early, recorded["late"]))


def _stamped(streams: pd.DataFrame, clock_of: Callable[[str], Clock]) -> pd.DataFrame:
    """Earliest and latest start that the log's own stamp allows, controller's clock."""
    since_1970 = streams["stamp"] - pd.Timestamp(0, tz="UTC")
    seconds = np.array(since_1970.dt.total_seconds(), dtype=np.float64)
    offset = _offsets(streams["stamp_host"], seconds, clock_of)
    bound = np.array([clock_of(host).bound_s for host in streams["stamp_host"]], dtype=np.float64)
    early = seconds - offset
    return pd.DataFrame({"early": early, "late": early + STAMP_RESOLUTION_S, "bound": bound})


def _offsets(
    hosts: pd.Series[str], moments: NDArray[np.float64], clock_of: Callable[[str], Clock]
) -> NDArray[np.float64]:
    """Each host's clock offset at a moment of its own clock; 0 where there is no moment."""
    pairs = zip(hosts.astype("str"), moments.tolist(), strict=True)
    return np.array([clock_of(h).offset_s(m) if np.isfinite(m) else 0.0 for h, m in pairs])


def _combine(
    recorded: pd.DataFrame, stamped: pd.DataFrame
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Middle, half width, and how far apart the two are (0 where they overlap)."""
    early: NDArray[Any] = np.fmax(
        recorded["early"].to_numpy(np.float64), stamped["early"].to_numpy(np.float64)
    )
    late: NDArray[Any] = np.fmin(
        recorded["late"].to_numpy(np.float64), stamped["late"].to_numpy(np.float64)
    )
    distance = np.maximum(early - late, 0.0)
    apart = (distance > 0) & np.isfinite(recorded["late"]).to_numpy()
    early = np.where(apart, recorded["early"], early)
    late = np.where(apart, recorded["late"], late)
    bound = np.where(np.isfinite(recorded["early"]), recorded["bound"], stamped["bound"])
    half = np.maximum(late - early, 0.0) / 2
    return (early + late) / 2, half + np.nan_to_num(bound), np.nan_to_num(distance)


def _disagreements(streams: pd.DataFrame, distance: NDArray[Any]) -> list[Finding]:
    far = distance > DISAGREEMENT_S
    if not far.any():
        return []
    worst = streams.iloc[int(np.argmax(distance))]
    text = (
        f"{int(far.sum())} streams: iperf's stamp and the recorded start disagree by more than "
        f"{DISAGREEMENT_S:g} s, worst {distance.max():.1f} s ({worst['host'] or 'unknown client'} "
        f"in {worst['slot']}); the recorded times are used. Check the hosts' clocks and time zones"
    )
    return [Finding("clock", text)]
