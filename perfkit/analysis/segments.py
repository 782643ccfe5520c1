"""The window of each test that counts: chosen from recorded events, kept in segments.json.

Each client's starter recorded when the test really began and ended there. From the clients that
count, the *outer* window reaches from the first start to the last end, and the *steady* window
from the last start to the first end: only there are all of them active, so only there may rates
be added. A client's end is when its planned time was over, even if its program went on until the
last data arrived: from then on it offers no load. Off the begin of a recorded window the seconds
in which the test warmed up are cut (`perfkit.analysis.steady_state`), at most a third, and the
window says how many; a window that is saved already stays as it is.

Where nothing was recorded a window can only be guessed (`perfkit.analysis.propose`), and a guess
counts when a person saved it or the run's policy, its parameter `segments`, says so:

- `events`: recorded events choose; a slot without them has no window.
- `saved`: segments.json alone decides; nothing is chosen anew.
- `auto`: recorded events choose, and guesses fill what is missing, each with a warning.

Whatever the policy, a saved window stays, and each window says who chose it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd

from perfkit.analysis import propose, steady_state
from perfkit.analysis.slot_figures import prepare
from perfkit.errors import RunError, SegmentError, did_you_mean
from perfkit.logs.run_logs import RunLogs
from perfkit.model import SHORTEST_WINDOW_S, Segment, Window
from perfkit.runs.folder import Run, sha256_of, write_json
from perfkit.units import parse_number

Policy = Literal["events", "saved", "auto"]

FORMAT = 1
MACHINES = ("events", propose.STAMPS, propose.CHANGE_POINTS)  # who may choose again
STALE = "stale: the log changed after this window was chosen"


@dataclass(frozen=True, slots=True)
class Windowed:
    """A run's logs, what became of its clients, and its windows: each takes its time, once.

    Attributes:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.
        windows: As `current` finds them.
    """

    logs: RunLogs
    outcomes: pd.DataFrame
    windows: Sequence[Segment]


def from_events(
    logs: RunLogs, outcomes: pd.DataFrame, log_hashes: Mapping[str, str] | None = None
) -> list[Segment]:
    """One segment a slot, from the recorded start and end of the clients that count.

    A slot in which no client counts, or of which no host has a record, has no segment. `steady` is
    None when its clients were never all active at once, or for less than a window takes.

    Args:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.
        log_hashes: Hash of each slot's logs, see `hash_logs`.
    """
    segments = []
    recorded = set(logs.events["slot"].astype("str"))
    for slot in logs.slots:
        counted = outcomes[(outcomes["slot"] == slot.name) & outcomes["ok"]]
        if counted.empty or slot.name not in recorded:
            continue
        starts, ends = counted["start_s"], counted["end_s"]
        steady = Window(
            start_s=float(starts.max()),
            end_s=float(np.minimum(ends, starts + slot.duration_s).min()),
        )
        segments.append(
            Segment(
                slot=slot.name,
                test=slot.test,
                outer=Window(start_s=float(starts.min()), end_s=float(ends.max())),
                steady=steady if steady.is_long_enough else None,
                chosen_by="events",
                log_sha256=(log_hashes or {}).get(slot.name, ""),
                chosen_utc=datetime.now(UTC),
                notes=propose.why_no_steady(steady),
            )
        )
    return segments


def without_warm_up(logs: RunLogs, outcomes: pd.DataFrame, segment: Segment) -> Segment:
    """A recorded window without the seconds in which its test warmed up or ended; see `steady_state`."""
    slot = next((slot for slot in logs.slots if slot.name == segment.slot), None)
    if slot is None or segment.steady is None:
        return segment
    prepared = prepare(logs, slot, outcomes[(outcomes["slot"] == slot.name).to_numpy()])
    settling_s, ending_s = steady_state.always_cut_s(
        prepared.arrived["protocol"].astype("str").unique(), segment.steady.length_s
    )
    whole = replace(segment.steady, end_s=segment.steady.end_s - ending_s)
    seconds = [prepared.by_second_bps(whole, way).sum(axis=0) for way in prepared.ways]
    warm_up_s = max(settling_s, *(steady_state.warm_up_s(of_way) for of_way in seconds))
    return cut(replace(segment, steady=whole), warm_up_s)


def cut(segment: Segment, warm_up_s: float) -> Segment:
    """The segment with so much cut off its recorded window, instead of what was."""
    assert segment.steady is not None
    start_s = segment.steady.start_s - segment.warm_up_s + warm_up_s
    steady = Window(start_s=start_s, end_s=segment.steady.end_s)
    return replace(segment, steady=steady, warm_up_s=float(warm_up_s))


def hash_logs(run: Run, slots: Sequence[str], *, with_monitor: bool = False) -> dict[str, str]:
    """One hash for all collected files of each slot: what a window was chosen on.

    Args:
        with_monitor: Also the monitors' logs, which a guess is made from.
    """
    hashes = {}
    monitors = list(run.raw_dir.glob("*/monitor.csv")) if with_monitor else []
    for slot in slots:
        digest = hashlib.sha256()
        for path in sorted([*run.raw_dir.glob(f"*/{slot}.*"), *monitors]):
            digest.update(f"{sha256_of(path)}  {path.relative_to(run.raw_dir)}\n".encode())
        hashes[slot] = digest.hexdigest()
    return hashes


def save(run: Run, segments: Sequence[Segment]) -> None:
    """Write segments.json, atomically; that a window is stale is found anew at each reading.

    Raises:
        SegmentError: a steady window is shorter than `SHORTEST_WINDOW_S`.
    """
    for segment in segments:
        if segment.steady is not None and not segment.steady.is_long_enough:
            raise SegmentError(
                f"{segment.slot}: a steady window of {segment.steady.length_s:.3f} s; "
                f"it must have at least {SHORTEST_WINDOW_S:g} s, or be None"
            )
    fresh = [replace(s, notes=tuple(n for n in s.notes if n != STALE)) for s in segments]
    write_json(
        run.segments_path,
        {"format": FORMAT, "run": run.id, "segments": [segment.to_dict() for segment in fresh]},
    )


def read(run: Run) -> list[Segment]:
    """Read segments.json; a steady window that is too short for one is None, with a note.

    Raises:
        RunError: there is none. SegmentError: it is not one of perfkit's, or a window is none.
    """
    document = run.load_json(run.segments_path)
    try:
        return [_from_dict(record) for record in document["segments"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise SegmentError(
            f"{run.segments_path}: not a list of segments ({exc!r}); "
            "remove it and choose the windows again with `perfkit segment`"
        ) from exc


def load(run: Run) -> list[Segment]:
    """Read segments.json; a window whose log has changed since carries the note `STALE`.

    Raises:
        RunError, SegmentError: as `read`.
    """
    segments = read(run)
    slots = [segment.slot for segment in segments]
    hashes = hash_logs(run, slots), hash_logs(run, slots, with_monitor=True)
    return [
        replace(segment, notes=(*segment.notes, STALE))
        if segment.log_sha256 and segment.log_sha256 not in (h[segment.slot] for h in hashes)
        else segment
        for segment in segments
    ]


def current(
    run: Run, logs: RunLogs, outcomes: pd.DataFrame, policy: Policy | None = None
) -> list[Segment]:
    """The windows that count now, and saved as such.

    A saved window stays. One that a machine chose is chosen again when its log has changed, a
    guess also when there are records now; one that a person chose stays even then, and says it is
    stale.

    Args:
        policy: What may choose a window that is not saved; None: as the run's manifest says.

    Raises:
        SegmentError: no such policy; or it is `saved`, and nothing was.
    """
    policy = policy or policy_of(run)
    try:
        saved = {segment.slot: segment for segment in load(run)}
    except RunError as exc:
        if policy == "saved":
            raise SegmentError(
                f"{run.segments_path}: not there, and segments = saved; choose the windows first"
            ) from exc
        saved = {}
    if policy == "saved":
        return list(saved.values())
    slots = [slot.name for slot in logs.slots]
    fresh = {s.slot: s for s in from_events(logs, outcomes, hash_logs(run, slots))}
    if policy == "auto":
        hashes = hash_logs(run, slots, with_monitor=True)
        fresh = {s.slot: s for s in propose.propose(logs, hashes)} | fresh
    chosen = []
    for slot in slots:
        segment = _kept_or_fresh(saved.get(slot), fresh.get(slot))
        if segment is not None and segment is fresh.get(slot) and segment.chosen_by == "events":
            segment = without_warm_up(logs, outcomes, segment)
        chosen += [segment] if segment is not None else []
    if chosen != list(saved.values()):
        save(run, chosen)
    return chosen


def policy_of(run: Run) -> Policy:
    """The run's parameter `segments`; runs older than it have `events`.

    Raises:
        SegmentError: the manifest names a policy that there is not.
    """
    named = str(run.manifest().get("parameters", {}).get("segments", "events"))
    known = get_args(Policy)
    if named not in known:
        raise SegmentError(f"{run.manifest_path}: segments = {named}; {did_you_mean(named, known)}")
    return cast("Policy", named)


def _kept_or_fresh(kept: Segment | None, fresh: Segment | None) -> Segment | None:
    if kept is None or fresh is None:
        # A recorded window goes when its clients no longer count; a taken guess stays.
        return fresh if kept is None or kept.chosen_by == "events" else kept
    outdone = fresh.chosen_by == "events" and kept.chosen_by in MACHINES[1:]
    stale = kept.chosen_by in MACHINES and STALE in kept.notes
    return fresh if outdone or stale else kept


def _from_dict(record: Mapping[str, Any]) -> Segment:
    chosen = record.get("chosen_utc")
    steady = _window(record["steady_s"]) if record.get("steady_s") is not None else None
    notes = tuple(str(note) for note in record.get("notes", ()))
    if steady is not None and not steady.is_long_enough:
        notes += (
            f"the steady window that {record['chosen_by']} chose has {steady.length_s:.3f} s and is none: a "
            f"window has at least {SHORTEST_WINDOW_S:g} s; choose it anew",
        )
        steady = None
    outer = _window(record["outer_s"])
    cut_s = parse_number(record.get("warm_up_s", 0.0), whole=False)
    if steady is None or not 0 <= cut_s <= steady.start_s - outer.start_s + 1e-6:
        cut_s = 0.0  # nothing can have been cut that was not in the test
    return Segment(
        slot=str(record["slot"]),
        test=str(record["test"]),
        outer=outer,
        steady=steady,
        chosen_by=str(record["chosen_by"]),
        confidence=float(record.get("confidence", 1.0)),
        log_sha256=str(record.get("log_sha256", "")),
        chosen_utc=datetime.fromisoformat(chosen) if chosen else None,
        notes=notes,
        warm_up_s=cut_s,
    )


def _window(borders: Sequence[float]) -> Window:
    start_s, end_s = (parse_number(border, whole=False) for border in borders)
    window = Window(start_s=start_s, end_s=end_s)
    if not window.length_s > 0:
        raise ValueError(f"[{window.start_s}, {window.end_s}) is not a window")
    return window
