"""Windows for tests whose starts and ends nobody recorded: proposals, never more.

First come the traffic generator's own absolute times (`stamps`), good to a second. Where there
are none, blocks of activity in the log of the server's NIC rate (`change-points`), see
`perfkit.analysis.blocks`. Every proposal says how far to trust it, and carries a note that ends up
among the report's warnings. Nothing here is applied: a policy or a person takes a proposal, see
`perfkit.analysis.segments.current`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from perfkit.analysis import blocks, counters
from perfkit.analysis.blocks import Block, Floats, Grid, Plan
from perfkit.analysis.interfaces import rate_columns
from perfkit.errors import SegmentError
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import SHORTEST_WINDOW_S, Segment, Window

STAMPS, CHANGE_POINTS = "stamps", "change-points"
MOST_CONFIDENCE = 0.95  # a guess is never as good as a record
DOUBTFUL = 0.5  # below this the fall-back is tried as well
UNPLANNED = 0.25  # of the planned length
STEADY_SHARE = 0.85  # of the block's median rate: from there on the ramp is over
MOST_TRIM = 0.25  # of the block, at each end


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """Where one planned block is, by the log of a rate.

    Attributes:
        outer: From the first to the last sign of load.
        steady: Without the ramps.
        evidence: 0..1, by the log alone: contrast of the weaker border (its step over the noise,
            10 = 1), share of active cells, share of cells that the monitor saw, and how sharply
            it saw the borders (ticks a cell).
        fit: 0..1, by the plan: length (two ticks are free, half as long = 0.14), share of the
            planned blocks that were found, and, when some were not, whether it is where the plan
            has it: else it may be another test's.
    """

    outer: Window
    steady: Window
    evidence: float
    fit: float

    @property
    def confidence(self) -> float:
        """How far to trust it, 0..0.95."""
        return MOST_CONFIDENCE * self.evidence * self.fit


def propose(logs: RunLogs, log_hashes: Mapping[str, str] | None = None) -> list[Segment]:
    """A window for each slot of which no host has a record; in the timetable's order.

    A slot that has records is left out even if all of its clients failed: then there is nothing
    to find. So is one that left no trace.

    Args:
        log_hashes: Hash of each slot's logs with the monitor's, see `segments.hash_logs`.
    """
    recorded = set(logs.events["slot"].astype("str"))
    missing = [slot for slot in logs.slots if slot.name not in recorded]
    if not missing:
        return []
    hashes = dict(log_hashes or {})
    found = {segment.slot: segment for segment in from_stamps(logs, missing, hashes)}
    if len(found) < len(missing):
        for segment in from_monitor(logs, hashes):
            if segment.slot not in recorded:
                found.setdefault(segment.slot, segment)
    return [found[slot.name] for slot in missing if slot.name in found]


def from_stamps(
    logs: RunLogs, slots: Sequence[SlotPlan], log_hashes: Mapping[str, str]
) -> list[Segment]:
    """Windows from the connection stamps that a traffic generator wrote itself.

    A stamp is cut to whole seconds, so the steady window is drawn in by that uncertainty. Its
    confidence is the share of the run's clients that left a whole stream.
    """
    placed = logs.traffic[logs.traffic["t_start_s"].notna().to_numpy()]
    proposals = []
    for slot in slots:
        own = placed[(placed["slot"] == slot.name).to_numpy()]
        keys = ["log_host", "stream"]
        whole = own.loc[own["kind"] == "summary", keys].drop_duplicates()
        streams = own.merge(whole, on=keys).groupby(keys, observed=True)
        spans = streams.agg(
            start_s=("t_start_s", "min"),
            end_s=("t_end_s", "max"),
            bound_s=("t_bound_s", "max"),
            host=("host", "first"),
        )
        if spans.empty:
            continue
        start_s, end_s, bound_s = (spans[name] for name in ("start_s", "end_s", "bound_s"))
        ends_s = np.minimum(end_s, start_s + slot.duration_s)
        steady = Window(
            start_s=float((start_s + bound_s).max()), end_s=float((ends_s - bound_s).min())
        )
        named = spans.loc[spans["host"].astype("str") != "", "host"].nunique()
        proposals.append(
            _segment(
                slot,
                Window(start_s=float(start_s.min()), end_s=float(end_s.max())),
                steady,
                chosen_by=STAMPS,
                confidence=MOST_CONFIDENCE * min(named / max(len(logs.clients), 1), 1.0),
                log_sha256=log_hashes.get(slot.name, ""),
            )
        )
    return proposals


def from_monitor(logs: RunLogs, log_hashes: Mapping[str, str]) -> list[Segment]:
    """Windows from the rate at the server's NIC; none when there is no usable log of it."""
    slots = [slot for slot in logs.slots if slot.server is None]
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    rate_bps = nic_rate(monitor, logs.vpn_record.device)
    if not slots or rate_bps is None:
        return []
    plans = [Plan(slot.start_s, slot.duration_s) for slot in slots]
    try:
        guesses = guess(blocks.to_grid(*counters.spans(monitor), rate_bps), plans)
    except SegmentError:
        return []
    return [
        _segment(
            slot,
            found.outer,
            found.steady,
            chosen_by=CHANGE_POINTS,
            confidence=found.confidence,
            log_sha256=log_hashes.get(slot.name, ""),
        )
        for slot, found in zip(slots, guesses, strict=True)
        if found is not None
    ]


def nic_rate(monitor: pd.DataFrame, device: str = "") -> Floats | None:
    """Both directions of every NIC added, bit/s; None where no NIC was watched.

    A tunnel's device is left out: its traffic is in the NIC's. Loopback counts when it is alone.

    Args:
        device: The VPN's, where it is known.
    """
    columns = rate_columns(monitor, device)
    beside = [c for c in columns if not c.is_tunnel]
    for some in ([c for c in beside if not c.nic.startswith("lo")], beside, columns):
        if some and len(monitor):
            used = [c.name for c in some]
            return np.asarray(monitor[used].sum(axis=1, min_count=1), dtype=np.float64)
    return None


def guess(grid: Grid, plans: Sequence[Plan]) -> list[Guess | None]:
    """Find every planned block in a rate; None for one that is not there.

    Where the plan seems not to hold (tests that ran much shorter or longer than planned), lengths
    by the data are tried, and taken if they are the more credible; by the plan they are not, so
    their confidence stays low.

    Raises:
        SegmentError: the log is too short for the plan.
    """
    found = _guesses(grid, plans, blocks.find_blocks(grid, plans))
    if _mean(found) >= DOUBTFUL:
        return found
    rescaled = blocks.find_blocks(grid, blocks.plans_by_data(grid, plans))
    return max(found, _guesses(grid, plans, rescaled), key=_mean)


def _mean(guesses: Sequence[Guess | None]) -> float:
    return sum(found.evidence for found in guesses if found) / len(guesses)


def _guesses(
    grid: Grid, plans: Sequence[Plan], found: Sequence[Block | None]
) -> list[Guess | None]:
    ceiling = blocks.ceiling_around(grid, found)
    share = sum(block is not None for block in found) / len(plans)
    return [
        None
        if block is None
        else Guess(
            outer=outer_window(grid, block),
            steady=steady_window(grid, block),
            evidence=_evidence(grid, block, ceiling),
            fit=_fit(grid, block, plan, share),
        )
        for block, plan in zip(found, plans, strict=True)
    ]


def outer_window(grid: Grid, block: Block) -> Window:
    """The block's borders, within a tick: its first cells say by their rate when the load began.

    Only where the level is reached at once; in a ramp a cell's rate says nothing of that.
    """
    cells = slice(block.first, block.end)
    rate, samples = np.nan_to_num(grid.rate_bps[cells]), grid.samples[cells]
    begin = block.first + _idle_cells(rate, samples)
    end = block.end - _idle_cells(rate[::-1], samples[::-1])
    return Window(start_s=grid.moment_s(begin), end_s=grid.moment_s(end))


def _idle_cells(rate: Floats, samples: Floats) -> float:
    """How much of a block's first cells was idle, in cells.

    The first row is cut by the border. It reaches over many cells where ticks were missed, and
    into one more since ticks drift against the grid; behind it the level must be steady.
    """
    cut = 1 + round(1.0 / max(float(samples[0]), 0.1))
    if len(rate) < 2 * cut + 4:
        return 0.0
    usual, after = float(rate[cut]), float(rate[cut + 1])
    if usual > 0 and 0.8 < after / usual < 1.25:
        return float(np.clip(cut - rate[:cut].sum() / usual, 0.0, cut))
    return 1.0 if rate[0] < 0.02 * rate[1] else 0.0


def steady_window(grid: Grid, block: Block) -> Window:
    """The block without its ramps: from the first to the last two cells at its usual rate.

    At most a quarter is trimmed at each end. What happens in between, stalls included, is part of
    the test.
    """
    rate = np.nan_to_num(grid.rate_bps[block.first : block.end])
    most = int(MOST_TRIM * len(rate))
    at_level = rate >= STEADY_SHARE * float(np.median(rate))
    places = np.flatnonzero(at_level[:-1] & at_level[1:])
    if not len(places) or len(rate) < 4:
        return outer_window(grid, block)
    # A border cell is cut by the border, so it never counts as whole.
    before = int(np.clip(places[0], 1, max(most, 1)))
    after = int(np.clip(len(rate) - 2 - places[-1], 1, max(most, 1)))
    return Window(
        start_s=grid.moment_s(block.first + before), end_s=grid.moment_s(block.end - after)
    )


def _evidence(grid: Grid, block: Block, ceiling: float) -> float:
    level = grid.level
    own = level[block.first : block.end]
    seen = np.isfinite(own)
    if not seen.any():
        return 0.0
    contrast = min(_contrast(level, block.first), _contrast(level, block.end), 10.0) / 10.0
    sharp = float(min(grid.samples[block.first], grid.samples[block.end - 1], 1.0))
    return contrast * sharp * float((own[seen] > ceiling).mean()) * float(seen.mean())


def _fit(grid: Grid, block: Block, plan: Plan, share: float) -> float:
    length_s = (block.end - block.first) * grid.step_s
    misfit = max(abs(length_s - plan.duration_s) - 2 * grid.step_s, 0.0) / plan.duration_s
    fit = share * float(np.exp(-4.0 * misfit))
    if share < 1:
        fit *= float(np.exp(-abs(grid.moment_s(block.first) - plan.start_s) / plan.duration_s))
    return fit


def _contrast(level: Floats, edge: int) -> float:
    """Step between the medians of the five cells before and after an edge, over their noise."""
    sides = [level[max(edge - 5, 0) : edge], level[edge : edge + 5]]
    sides = [side[np.isfinite(side)] for side in sides]
    if any(len(side) < 2 for side in sides):
        return 0.0
    medians = [float(np.median(side)) for side in sides]
    noise = 0.05 + min(float(np.median(np.abs(s - m))) for s, m in zip(sides, medians, strict=True))
    return abs(medians[1] - medians[0]) / (noise * float(np.sqrt(2 / 5)))


def why_no_steady(window: Window) -> tuple[str, ...]:
    """Why the time in which all clients were active is no steady window; empty where it is one."""
    if window.is_long_enough:
        return ()
    if window.length_s <= 0:
        return ("its clients were never all active at once",)
    return (
        f"all its clients were active together for only {window.length_s:.2f} s, and a window has at "
        f"least {SHORTEST_WINDOW_S:g} s: no steady window, no figures",
    )


def _segment(
    slot: SlotPlan,
    outer: Window,
    steady: Window,
    *,
    chosen_by: str,
    confidence: float,
    log_sha256: str,
) -> Segment:
    basis = {
        STAMPS: "the traffic generator's own times, whole seconds",
        CHANGE_POINTS: "the rate at the server's NIC",
    }[chosen_by]
    note = (
        f"no host recorded when this test ran: its window is guessed from {basis} "
        f"({chosen_by}, confidence {confidence:.2f}); look at the plot before you use its figures"
    )
    apart = why_no_steady(steady)
    if abs(outer.length_s - slot.duration_s) > UNPLANNED * slot.duration_s:
        apart += (
            f"by the data this test lasted {outer.length_s:.0f} s and not {slot.duration_s:.0f} s as "
            "planned: it may be another one",
        )
    return Segment(
        slot=slot.name,
        test=slot.test,
        outer=outer,
        steady=steady if steady.is_long_enough else None,
        chosen_by=chosen_by,
        confidence=round(confidence, 3),
        log_sha256=log_sha256,
        chosen_utc=datetime.now(UTC),
        notes=(note, *apart),
    )
