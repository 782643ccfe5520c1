"""Logs of many hosts on the run's one time line: each row with its host, each clock corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from perfkit.logs import frames
from perfkit.logs.arrow_text import to_categories

MOMENTS = ("t_utc", "handshake_utc")  # columns that go by the host's clock
Owned = tuple[str, pd.DataFrame]  # a host and the rows of one of its logs


def placed(
    kind: str, logs: Sequence[Owned], offset_s: Callable[[str], float], t0_utc_s: float
) -> pd.DataFrame:
    """The rows of all logs under each other, with `host` and `t_s`, their time from T0.

    Clocks are corrected for all rows at once: a thousand small frames would each pay for it.

    Args:
        logs: Of one kind; those without rows are left out.
        offset_s: What a host's clock shows too much.
        t0_utc_s: T0 by the controller's clock, epoch seconds.
    """
    logs = [(name, frame) for name, frame in logs if len(frame)]
    joined = frames.concat([frame for _, frame in logs], kind)
    rows = [len(frame) for _, frame in logs]
    names = list(dict.fromkeys(name for name, _ in logs))
    offsets = {name: pd.Timedelta(seconds=offset_s(name)) for name in names}
    shown = np.repeat(
        np.array([offsets[name].value for name, _ in logs], dtype="timedelta64[ns]"), rows
    )
    moments = {name: joined[name] - shown for name in MOMENTS if name in joined}
    t0_utc = pd.Timestamp(t0_utc_s, unit="s", tz="UTC")
    places = {name: place for place, name in enumerate(names)}
    return joined.assign(
        **moments,
        host=to_categories(np.repeat([places[name] for name, _ in logs], rows).astype(int), names),
        t_s=(moments["t_utc"] - t0_utc).dt.total_seconds(),
    )
