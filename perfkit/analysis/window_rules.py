"""Windows corrected by a rule: "skip the first 3 s of every tunnel test", kept as data.

A rule stands in window-rules.json of a run or a campaign, with who said it and when, and is applied to
each block's segments.json; a block that comes later gets it as well. A window that a person drew is
never changed by a rule. A rule that is taken back gives the recorded windows back.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from perfkit.analysis import segments
from perfkit.errors import SegmentError
from perfkit.model import SHORTEST_WINDOW_S, Segment
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run, write_json
from perfkit.units import format_some

FORMAT = 1
ALL = "all"
PATHS = ("tunnel", "direct")
BY_RULE = ", by rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """What is skipped at the beginning of some tests.

    Attributes:
        tests: `tunnel`, `direct`, `all`, or the name of a test.
        first_s: Seconds after the last client's start.
    """

    tests: str
    first_s: float
    who: str
    said_utc: datetime

    @property
    def chosen_by(self) -> str:
        """Who chose the windows that it moved."""
        return f"{self.who}{BY_RULE}"

    def __str__(self) -> str:
        which = f"every {self.tests} test" if self.tests in PATHS else self.tests
        which = "every test" if self.tests == ALL else which
        return f"{self.who}: skip the first {self.first_s:g} s of {which}"


def whoever() -> str:
    """The name of who chooses windows: $JUPYTERHUB_USER, or the user's."""
    return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()


def rules_path(run: Run) -> Path:
    """Where the rules of a run or a campaign are kept."""
    return run.root / "window-rules.json"


def load(run: Run) -> list[WindowRule]:
    """The rules, one for each choice of tests.

    Raises:
        SegmentError: the file is damaged.
    """
    path = rules_path(run)
    if not path.exists():
        return []
    try:
        return [
            WindowRule(
                tests=str(kept["tests"]),
                first_s=float(kept["first_s"]),
                who=str(kept["who"]),
                said_utc=datetime.fromisoformat(kept["said_utc"]),
            )
            for kept in run.load_json(path)["rules"]
        ]
    except (KeyError, TypeError, ValueError) as exc:
        raise SegmentError(f"{path}: damaged ({exc!r}); remove it and say the rule again") from exc


def skip_first(
    run: Run, first_s: float, *, tests: str, who: str, now: datetime | None = None
) -> int:
    """Keep a rule and apply it; 0 seconds take the rule for these tests back.

    Returns:
        How many windows it moved.

    Raises:
        SegmentError: no test is called so, or it would leave a window that is too short; nothing is
            changed then.
    """
    known = {name for block in blocks_of(run) for name in _paths(block)}
    if tests not in (ALL, *PATHS, *known):
        raise SegmentError(
            f"{run.id}: no test is called {tests!r}; tunnel, direct, all, or one of "
            f"{format_some(sorted(known), 10)}"
        )
    if not 0 <= first_s < 1e6:
        raise SegmentError(f"{run.id}: skip {first_s:g} s? From 0 s on, where 0 takes it back")
    said = WindowRule(tests=tests, first_s=first_s, who=who, said_utc=now or datetime.now(UTC))
    rules = [rule for rule in load(run) if rule.tests != tests] + [said] * bool(first_s)
    changes = [(block, _moved(block, rules)) for block in blocks_of(run)]
    kept = [
        {**asdict(rule), "said_utc": rule.said_utc.isoformat(timespec="seconds")} for rule in rules
    ]
    write_json(rules_path(run), {"format": FORMAT, "rules": kept})
    return sum(_save(block, windows) for block, windows in changes)


def apply(run: Run) -> int:
    """Apply the kept rules to blocks that have come since; returns how many windows moved."""
    rules = load(run)
    if not rules:
        return 0
    return sum(_save(block, _moved(block, rules)) for block in blocks_of(run))


def blocks_of(run: Run) -> list[Run]:
    """The run folders that have windows: the blocks of a campaign, or the run itself."""
    runs = campaign_folder.block_runs(run) if campaign_folder.is_campaign(run) else [run]
    return [one for one in runs if one.segments_path.exists()]


def _save(block: Run, windows: Sequence[Segment]) -> int:
    before = segments.read(block)
    if before == list(windows):
        return 0
    segments.save(block, windows)
    now = {segment.slot: segment for segment in windows}
    return sum(now.get(segment.slot) != segment for segment in before)


def _moved(block: Run, rules: Sequence[WindowRule]) -> list[Segment]:
    """The windows of a block under the rules; the rule for one test counts before that for many."""
    paths = _paths(block)
    ordered = sorted(rules, key=lambda rule: (rule.tests not in (ALL, *PATHS), rule.tests != ALL))
    moved = []
    for segment in segments.read(block):
        own = [r for r in ordered if r.tests in (ALL, segment.test, paths.get(segment.test))]
        is_ruled = segment.chosen_by.endswith(BY_RULE)
        if segment.steady is None or not (is_ruled or segment.chosen_by == "events"):
            moved.append(segment)
        elif own:
            moved.append(_cut(block, segment, own[-1]))
        elif not is_ruled:
            moved.append(segment)
        # Else its rule is gone: left out, it is chosen anew from the records.
    return moved


def _cut(block: Run, segment: Segment, rule: WindowRule) -> Segment:
    assert segment.steady is not None
    whole_s = segment.steady.length_s + segment.warm_up_s
    if whole_s - rule.first_s < SHORTEST_WINDOW_S:
        raise SegmentError(
            f"{block.id}, {segment.slot}: nothing would be left of its window without the first "
            f"{rule.first_s:g} s; skip less"
        )
    return replace(segments.cut(segment, rule.first_s), chosen_by=rule.chosen_by)


def _paths(block: Run) -> dict[str, str]:
    slots = block.load_json(block.timetable_path)["slots"]
    return {str(slot["test"]): str(slot["path"]) for slot in slots}
