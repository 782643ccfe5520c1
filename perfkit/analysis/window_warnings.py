"""What speaks against a window: it is too short, without data, or on another test's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perfkit.analysis.checks import LEAST_WINDOW_S
from perfkit.analysis.segments import STALE
from perfkit.analysis.timeline import Timeline
from perfkit.logs.run_logs import SlotPlan
from perfkit.model import Segment

SLACK_S = 1.0  # a tick: the monitor's first sample begins before its stamp


def doubts(segments: Sequence[Segment], line: Timeline) -> dict[str, tuple[str, ...]]:
    """Sentences about each window, by slot; slots without any are not in it.

    Windows of two tests that overlap are told on both.
    """
    slots = {slot.name: slot for slot in line.slots}
    found: dict[str, list[str]] = {segment.slot: [] for segment in segments}
    ordered = sorted(segments, key=lambda segment: segment.outer.start_s)
    for place, segment in enumerate(ordered):
        own = found[segment.slot]
        own += _of_one(segment, line, slots)
        for other in ordered[place + 1 :]:
            if other.outer.start_s >= segment.outer.end_s:
                break
            own.append(f"overlaps the window of {other.slot}")
            found[other.slot].append(f"overlaps the window of {segment.slot}")
    return {slot: tuple(texts) for slot, texts in found.items() if texts}


def _of_one(segment: Segment, line: Timeline, slots: Mapping[str, SlotPlan]) -> list[str]:
    texts = []
    if segment.steady is None:
        texts.append("no steady window: no figures")
    elif segment.steady.length_s < LEAST_WINDOW_S:
        texts.append(
            f"the steady window is too short: {segment.steady.length_s:.1f} s, "
            f"under {LEAST_WINDOW_S:.0f} s"
        )
    tick_s = float(np.median(np.diff(line.samples_s))) if len(line.samples_s) > 2 else 0.0
    if segment.steady is not None and segment.steady.length_s < tick_s:
        texts.append(
            f"the steady window is shorter than a tick of the monitor, {tick_s:.1f} s: no NIC, no CPU"
        )
    begin_s, end_s = line.data_s or (-np.inf, np.inf)
    if segment.outer.start_s < begin_s - SLACK_S or segment.outer.end_s > end_s + SLACK_S:
        texts.append(f"reaches out of the data, which is from {begin_s:.1f} to {end_s:.1f} s")
    plan = slots.get(segment.slot)
    if plan is None:
        texts.append("the timetable has no such test")
    elif not (segment.outer.start_s < plan.end_s and plan.start_s < segment.outer.end_s):
        texts.append("lies wholly beside the time planned for the test")
    if STALE in segment.notes:
        texts.append(STALE)
    return texts
