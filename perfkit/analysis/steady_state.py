"""Whether a test was steady: how long it warmed up, and what speaks against its mean.

All works on goodput by the second over a steady window: of all clients together, and of each.

*Warm-up*: MSER takes the cut that makes the standard error of what is left least, at most a third
of the window. Of a series without any warm-up it would cut now and then, too; so a cut is made
only where the seconds before it differ from the rest by more than chance would explain.

*Settling*: UDP clients at a rate do not wait for each other, and all begin at the same instant. What
that burst loses is seen in the loss, and hardly in the goodput; so their first seconds are always cut.
A cut by what was lost would take loss out of the figure that is to show it. Their last second is cut
too: a receiver's last interval lasts until the sender's last word arrives, seconds after its last datagram.

*Steadiness*: a second with next to nothing, a last third that differs from the first, or clients
that fall silent. The mean of such a test is one of different states, and so has no interval.

Source: White, An effective truncation heuristic for bias reduction in simulation output,
Simulation 69 (1997) 323-334.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from perfkit.analysis.confidence import student_t
from perfkit.units import format_count, format_some

Floats = NDArray[np.float64]

MOST_CUT = 1 / 3  # of the window
SETTLING_S, ENDING_S = 3, 1  # of tests by UDP; the tools' intervals are a second
CUT_LEVEL = 0.999  # how sure a warm-up must be
STALL_SHARE = 0.1  # of the median second
BEGUN_SHARE = 0.5  # of the median second: traffic has begun
DRIFT_SHARE = 0.1  # of the mean: between the first third and the last
DRIFT_LEVEL = 0.95
SILENT_SHARE = 1 / 3  # of the window, its end, and not less than
LEAST_SILENT_S = 5
LEAST_SECONDS = 6  # of which thirds say anything
NAMED = 8


def warm_up_s(seconds: Floats) -> int:
    """How many seconds to cut off the begin of a series; 0 where there is no warm-up.

    Args:
        seconds: Goodput of each whole second of the steady window.
    """
    count = len(seconds)
    most = most_cut_s(count)
    if count < LEAST_SECONDS or most < 1:
        return 0
    # Sums over what is left when 0, 1, … seconds are cut.
    left = count - np.arange(most + 1)
    totals = seconds[::-1].cumsum()[::-1][: most + 1]
    deviations = seconds - seconds.mean()
    squares = (deviations**2)[::-1].cumsum()[::-1][: most + 1]
    about_own = squares - (totals - left * seconds.mean()) ** 2 / left
    cut = int(np.argmin(about_own / left**2))
    if cut == 0 or _stops_again(seconds, cut):
        return 0
    rest = seconds[cut:]
    apart = abs(float(seconds[:cut].mean() - rest.mean()))
    error = float(rest.std(ddof=1)) * np.sqrt(1 / cut + 1 / len(rest))
    return cut if apart > student_t(len(rest) - 1, CUT_LEVEL) * error else 0


def _stops_again(seconds: Floats, cut: int) -> bool:
    """Whether traffic had begun before the cut and stalled: that is an event, and no warm-up."""
    usual = float(np.median(seconds[cut:]))
    begun = np.flatnonzero(seconds[:cut] >= BEGUN_SHARE * usual)
    return bool(len(begun)) and bool((seconds[begun[0] : cut] < STALL_SHARE * usual).any())


def always_cut_s(protocols: Collection[str], window_s: float) -> tuple[int, int]:
    """What is cut off both ends of a window whatever it shows, by what its test sends, in whole seconds."""
    if set(protocols) != {"udp"}:
        return 0, 0
    return min(SETTLING_S, most_cut_s(window_s)), min(ENDING_S, most_cut_s(window_s))


def most_cut_s(window_s: float) -> int:
    """The most that may be cut off a window, in whole seconds."""
    return int(window_s * MOST_CUT + 1e-6)


def why_not_steady(seconds: Floats, by_client: Floats, names: Sequence[str]) -> str:
    """What speaks against taking the mean of a window for a steady rate; empty: nothing.

    Args:
        seconds: Goodput of each whole second of the steady window, of all counted clients.
        by_client: The same of each client; shape (clients, seconds).
        names: Of the clients.
    """
    if len(seconds) < LEAST_SECONDS or not seconds.any():
        return ""
    return "; ".join(
        text for text in (_stalls(seconds), _drift(seconds), _deaths(by_client, names)) if text
    )


def _stalls(seconds: Floats) -> str:
    stalled = np.flatnonzero(seconds < STALL_SHARE * np.median(seconds))
    if not len(stalled):
        return ""
    return (
        f"{format_count(len(stalled), 'second')} of {len(seconds)} carried under {STALL_SHARE:.0%} of the "
        f"median one, the first at {stalled[0]} s in the window"
    )


def _drift(seconds: Floats) -> str:
    third = len(seconds) // 3
    first, last = seconds[:third], seconds[-third:]
    change = float(last.mean() - first.mean())
    error = float(np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third))
    by_chance = student_t(2 * (third - 1), DRIFT_LEVEL) * error
    if abs(change) <= max(DRIFT_SHARE * float(seconds.mean()), by_chance):
        return ""
    if not first.any():
        return "nothing arrived in the first third of the window"
    return f"the last third carried {change / float(first.mean()):+.0%} against the first"


def _deaths(by_client: Floats, names: Sequence[str]) -> str:
    """Clients that moved something and then next to nothing to the end.

    Where a full tunnel starves its clients by turns, some are silent when the window ends by
    chance; as many others must have come back.
    """
    silent = by_client < STALL_SHARE * by_client.mean(axis=1, keepdims=True)
    count = silent.shape[1]
    run, longest = np.zeros(len(silent), dtype=int), np.zeros(len(silent), dtype=int)
    for second in range(count):
        run = np.where(silent[:, second], run + 1, 0)
        longest = np.maximum(longest, run)
    least = max(LEAST_SILENT_S, SILENT_SHARE * count)
    dead = np.flatnonzero(run >= least)  # the last run reaches to the end
    came_back = int((longest >= least).sum()) - len(dead)
    if len(dead) <= came_back:
        return ""
    return (
        f"{len(dead)} of {format_count(len(names), 'client')} moved next to nothing in the last "
        f"{run[dead].min()} s or more ({format_some([names[i] for i in dead.tolist()], NAMED)})"
    )
