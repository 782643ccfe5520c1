"""Logs of many hosts on one time line."""

from __future__ import annotations

import numpy as np
import pandas as pd

from perfkit.logs import frames, time_line
from perfkit.logs.arrow_text import to_categories

T0_UTC_S = 1_700_000_000.0


def events_of(*seconds: float) -> pd.DataFrame:
    """Rows of a VPN's log at these seconds after T0, by the clock of the host that wrote it."""
    moments = pd.to_datetime([T0_UTC_S + second for second in seconds], unit="s", utc=True)
    zeros = np.zeros(len(seconds), dtype=np.int8)
    frame = frames.empty("vpn-events").reindex(range(len(seconds)))
    texts = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return frame.assign(
        **{str(name): to_categories(zeros, ["x"]) for name in texts},
        t_utc=pd.DatetimeIndex(moments).as_unit("ns"),
    )


def test_each_row_has_its_host_and_its_time_by_the_controllers_clock() -> None:
    clocks = {"a": 0.25, "b": -0.5, "c": 0.0}
    logs = [
        ("b", events_of(1.0, 2.0)),
        ("c", events_of()),
        ("a", events_of(3.0)),
        ("b", events_of(4.0)),
    ]
    joined = time_line.placed("vpn-events", logs, clocks.__getitem__, T0_UTC_S)
    assert joined["host"].astype("str").tolist() == ["b", "b", "a", "b"]
    assert joined["t_s"].round(6).tolist() == [1.5, 2.5, 2.75, 4.5]
    by_controller = (joined["t_utc"] - pd.Timestamp(T0_UTC_S, unit="s", tz="UTC")).dt
    assert by_controller.total_seconds().tolist() == joined["t_s"].tolist()


def test_many_small_logs_give_what_each_gives_by_itself() -> None:
    logs = [(f"client-{number:03}", events_of(float(number), number + 0.5)) for number in range(20)]

    def offset_s(name: str) -> float:
        return int(name[-3:]) / 1000

    alone = [time_line.placed("vpn-events", [log], offset_s, T0_UTC_S) for log in logs]
    pd.testing.assert_frame_equal(
        time_line.placed("vpn-events", logs, offset_s, T0_UTC_S),
        frames.concat(alone, "vpn-events"),
    )
