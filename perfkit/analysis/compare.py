"""Runs side by side: reduced runs in; differences with intervals and verdicts, and doubts, out.

A *side* is one run, or several that repeat it; the first side is the baseline. Each figure of each
test has a direction in which it is better. It is judged where the sides can be compared and its
spread is known: `better` or `worse` when Holm's adjusted p-value over all figures judged is below
5 %, else `no evidence`; the interval beside it says how large a difference may be hidden.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from perfkit.analysis.conditions import differing
from perfkit.analysis.run_summary import Reduced, Test
from perfkit.analysis.uncertainty import Spread
from perfkit.analysis.welch import LEVEL, Estimate, Gap, estimate, gap, holm
from perfkit.errors import CampaignError
from perfkit.logs.run_logs import Finding
from perfkit.units import format_some

Verdict = Literal["better", "worse", "no evidence", "not judged", "not comparable"]

COUNTED_TOLERANCE = 0.01  # of the clients that count; more makes totals of different things
METHOD = (
    "Difference: other side minus baseline, 95 % interval by Welch's t. Standard errors: between "
    "runs where a side has two or more; within the run where it has one (batch means over the "
    "steady window and a bootstrap over its clients, added in squares). Verdict: Holm's adjusted "
    "p-value over all figures judged here below 0.05; the intervals are not adjusted"
)
ONE_RUN = (
    "one run a side: the intervals hold what changes between seconds and between clients, and "
    "nothing of what changes from one run to the next; repeat the runs before you rely on them"
)
TWO_RUNS = (
    "a side of two runs knows its spread by one degree of freedom, so the intervals are very wide; "
    "a third run of each side narrows them to a half or less"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that is compared; `better` is the direction in which it improves."""

    key: str
    better: Literal["higher", "lower"]
    needs_same_clients: bool = False  # it adds clients up


FIGURES = (
    Figure(key="goodput_bps", better="higher", needs_same_clients=True),
    Figure(key="client_median_bps", better="higher"),
    Figure(key="jain", better="higher"),
    Figure(key="vs_direct", better="higher", needs_same_clients=True),
    Figure(key="vpn_cpu_s_per_gbit", better="lower"),
    Figure(key="retransmits_per_gb", better="lower"),
    Figure(key="udp_loss_pct", better="lower"),
    Figure(key="jitter_median_s", better="lower"),
)
PHASE = Figure(key="elapsed_s", better="lower")
_NAMED = 4  # tests in which two sides differ
OF_THE_TESTS = ("measure", "collect")  # phases whose time is that of the tests, or of their logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Runs that are repetitions of each other, under a short label."""

    label: str
    runs: tuple[Reduced, ...]

    @property
    def clients(self) -> int:
        """Of each of its runs."""
        return self.runs[0].clients

    def tests(self, key: str) -> list[Test]:
        """The test of each run that has it."""
        return [test for run in self.runs if (test := run.find_test(key)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of one test on two sides.

    Attributes:
        where: The test, or `phase launch`.
        p_holm: Adjusted for all figures that are judged in the comparison.
        reason: Why it is not judged, or not comparable; else empty.
    """

    where: str
    figure: Figure
    side: str
    baseline: Estimate
    other: Estimate
    gap: Gap
    p_holm: float = float("nan")
    verdict: Verdict = "not judged"
    reason: str = ""
    other_size: bool = False  # the sides have different numbers of clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two or more sides, held against the first.

    Attributes:
        differing: Names of the conditions that are not the same in all runs.
        findings: What a reader must know before the figures.
    """

    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]
    differing: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def runs(self) -> tuple[Reduced, ...]:
        """All runs, the baseline's first."""
        return tuple(run for side in self.sides for run in side.runs)


def to_sides(groups: Sequence[Sequence[Reduced]]) -> tuple[Side, ...]:
    """Sides A, B, … as they are given.

    Raises:
        CampaignError: fewer than two, a run twice, or a side whose runs have different clients.
    """
    seen = [run.run_id for group in groups for run in group]
    twice = sorted({run_id for run_id in seen if seen.count(run_id) > 1})
    if twice:
        raise CampaignError(f"run {twice[0]} is given twice; a run cannot be held against itself")
    figures: dict[object, str] = {}
    for run in (run for group in groups for run in group):
        same = figures.setdefault(tuple(test.goodput_bps for test in run.tests), run.run_id)
        if same != run.run_id and any(test.goodput_bps for test in run.tests):
            raise CampaignError(
                f"{run.run_id} and {same} have the same goodput of every client to the last digit: one is a "
                "copy of the other, and a run is no repetition of itself"
            )
    if len(groups) < 2 or not all(groups):
        raise CampaignError("a comparison needs two runs or more; perfkit compare RUN RUN")
    for group in groups:
        if len({run.clients for run in group}) > 1:
            counts = ", ".join(f"{run.run_id} has {run.clients}" for run in group)
            raise CampaignError(
                f"runs with different numbers of clients are no repetitions: {counts}; "
                "give them as sides of their own"
            )
    return tuple(Side(label=_label(place), runs=tuple(group)) for place, group in enumerate(groups))


def _label(place: int) -> str:
    letters = string.ascii_uppercase
    return letters[place] if place < len(letters) else f"S{place + 1}"


def group_alike(runs: Sequence[Reduced]) -> list[list[Reduced]]:
    """Runs made under the same recorded conditions belong together, in the order given.

    Where that leaves one group only, every run is a side of its own.
    """
    groups: list[list[Reduced]] = []
    for run in runs:
        like = next((g for g in groups if g[0].conditions == run.conditions), None)
        if like is None:
            groups.append([run])
        else:
            like.append(run)
    return groups if len(groups) > 1 else [[run] for run in runs]


def compare(sides: Sequence[Side]) -> Comparison:
    """Hold every side against the first."""
    baseline, *others = sides
    found = [
        difference
        for other in others
        for difference in (*_tests(baseline, other), *_phases(baseline, other))
    ]
    adjusted = holm([d.gap.p if d.verdict != "not comparable" else np.nan for d in found])
    judged = tuple(_judged(d, p) for d, p in zip(found, adjusted, strict=True))
    runs = [run for side in sides for run in side.runs]
    return Comparison(
        sides=tuple(sides),
        differences=judged,
        differing=tuple(differing(run.conditions for run in runs)),
        findings=tuple(_findings(sides, judged)),
    )


def _tests(baseline: Side, other: Side) -> Iterator[Difference]:
    for key in dict.fromkeys(test.key for run in baseline.runs for test in run.tests):
        ours, theirs = baseline.tests(key), other.tests(key)
        if not theirs:
            continue
        for figure in FIGURES:
            a, b = _estimate(ours, figure.key), _estimate(theirs, figure.key)
            if a is None or b is None:
                continue
            reason = _refusal(baseline, other, figure, ours, theirs)
            yield _difference(key, figure, (baseline, other), (a, b), reason)


def _phases(baseline: Side, other: Side) -> Iterator[Difference]:
    for name in dict.fromkeys(phase for run in baseline.runs for phase in run.phases):
        a, b = (
            estimate(
                [run.phases.get(name, np.nan) for run in side.runs], [Spread()] * len(side.runs)
            )
            for side in (baseline, other)
        )
        if a is not None and b is not None:
            reason = _other_size(baseline, other)
            if not reason and name in OF_THE_TESTS:
                reason = _other_tests(baseline, other)
            yield _difference(f"phase {name}", PHASE, (baseline, other), (a, b), reason)


def _estimate(tests: Sequence[Test], name: str) -> Estimate | None:
    return estimate(
        [test.figure(name) for test in tests], [test.spread.get(name, Spread()) for test in tests]
    )


def _difference(
    where: str,
    figure: Figure,
    sides: tuple[Side, Side],
    estimates: tuple[Estimate, Estimate],
    reason: str,
) -> Difference:
    return Difference(
        where=where,
        figure=figure,
        side=sides[1].label,
        baseline=estimates[0],
        other=estimates[1],
        gap=gap(*estimates),
        verdict="not comparable" if reason else "not judged",
        reason=reason,
        other_size=bool(_other_size(*sides)),
    )


def _refusal(
    baseline: Side, other: Side, figure: Figure, ours: Sequence[Test], theirs: Sequence[Test]
) -> str:
    """Why a figure of two sides is not of the same thing; empty when it is."""
    if reason := _other_size(baseline, other):
        return reason
    for key, words in (("path", "path"), ("side", "figures from the")):
        values = [sorted({str(t.figures.get(key)) for t in tests}) for tests in (ours, theirs)]
        if values[0] != values[1]:
            return f"{words} {', '.join(values[0])} against {', '.join(values[1])}"
    if figure.needs_same_clients:
        counts = [len(test.goodput_bps) for test in (*ours, *theirs)]
        if figure.key == "vs_direct":  # both ends of the ratio add clients up
            counts += [
                int(test.figure("direct_clients"))
                for test in (*ours, *theirs)
                if test.figure("direct_clients") > 0
            ]
        if max(counts) - min(counts) > COUNTED_TOLERANCE * max(counts):
            return (
                f"{min(counts)} to {max(counts)} clients count, so the totals are of other clients"
            )
    return ""


def _other_size(baseline: Side, other: Side) -> str:
    if baseline.clients == other.clients:
        return ""
    return f"{baseline.clients} against {other.clients} clients"


def _other_tests(baseline: Side, other: Side) -> str:
    """Why time that the tests take is not of the same work; empty when all runs had the same."""
    planned = [(side.label, _planned(run)) for side in (baseline, other) for run in side.runs]
    every = dict.fromkeys(test for _, tests in planned for test in tests)
    apart = [
        f"{test} only in {', '.join(dict.fromkeys(having))}"
        for test in every
        if len(having := [label for label, tests in planned if test in tests]) < len(planned)
    ]
    return f"the runs had other tests: {format_some(apart, _NAMED, '; ')}" if apart else ""


def _planned(run: Reduced) -> list[str]:
    """What was to be measured: each test with its path and planned length."""
    return [
        f"{name.removeprefix('test ')} ({value})"
        for name, value in run.conditions.items()
        if name.startswith("test ")
    ]


def _judged(found: Difference, p_holm: float) -> Difference:
    if found.verdict == "not comparable":
        return found
    if not np.isfinite(p_holm):
        few = "one run a side, and no spread within it is known"
        return replace(found, reason=few if found.gap.difference else "no spread was seen")
    if p_holm >= 1 - LEVEL:
        return replace(found, p_holm=p_holm, verdict="no evidence")
    rises = found.gap.difference > 0
    good = rises == (found.figure.better == "higher")
    return replace(found, p_holm=p_holm, verdict="better" if good else "worse")


def _findings(sides: Sequence[Side], differences: Sequence[Difference]) -> Iterator[Finding]:
    yield from _about_repetition(sides)
    if not differing(run.conditions for side in sides for run in side.runs):
        yield Finding("conditions", "nothing that was recorded differs between these runs", "note")
    yield from _missing_tests(sides)
    if any(side.clients != sides[0].clients for side in sides):
        sizes = ", ".join(f"{side.label} has {side.clients}" for side in sides)
        text = (
            f"the sides have different numbers of clients ({sizes}): such sides get no verdict; "
            "see how cost grows with the clients"
        )
        yield Finding("clients", text)
    refused = dict.fromkeys(
        (d.side, d.where, d.reason)
        for d in differences
        if d.verdict == "not comparable" and not d.other_size
    )
    for label, where, reason in refused:
        yield Finding(f"{where}, {sides[0].label} and {label}", f"not comparable: {reason}")
    for side in sides:
        for run in side.runs:
            for finding in run.warnings:
                place = f"side {side.label}, {run.run_id}, {finding.where}"
                yield Finding(place, finding.text, finding.level)


def _about_repetition(sides: Sequence[Side]) -> Iterator[Finding]:
    if all(len(side.runs) == 1 for side in sides):
        yield Finding("method", ONE_RUN)
    elif any(len(side.runs) == 2 for side in sides):
        yield Finding("method", TWO_RUNS)
    for side in sides:
        mixed = differing(run.conditions for run in side.runs)
        if mixed:
            text = f"its runs are taken as repetitions, but differ in: {', '.join(mixed)}"
            yield Finding(f"side {side.label}", text)


def _missing_tests(sides: Sequence[Side]) -> Iterator[Finding]:
    every = list(dict.fromkeys(_keys(run for side in sides for run in side.runs)))
    for side in sides:
        missing = [key for key in every if not side.tests(key)]
        if missing:
            yield Finding(f"side {side.label}", f"did not run: {', '.join(missing)}")


def _keys(runs: Iterable[Reduced]) -> Iterator[str]:
    return (test.key for run in runs for test in run.tests)
