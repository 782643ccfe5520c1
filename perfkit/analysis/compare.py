"""Runs side by side: reduced runs in; ratios with intervals and verdicts, and doubts, out.

The first side is the baseline. Each figure of each test is judged where the sides can be compared,
cell by cell: the same test with the same number of clients. The primary figures (goodput, and the
VPN's processor time per Gbit, of the tunnel tests) are judged by Holm's procedure over them alone;
all others are exploratory, see `perfkit.analysis.answers.verdicts`. One run against one is shown and
never judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perfkit.analysis import unlike
from perfkit.analysis.answers import contrasts, verdicts
from perfkit.analysis.answers.contrasts import Contrast
from perfkit.analysis.answers.verdicts import Case, Direction, Judgement
from perfkit.analysis.conditions import differing
from perfkit.analysis.run_summary import Reduced, Test
from perfkit.analysis.sides import Side
from perfkit.logs.run_logs import Finding
from perfkit.model import TestKind
from perfkit.units import format_count

LEVEL = 1 - verdicts.ALPHA
METHOD = (
    "Change: ratio of geometric means over runs, its 95 % interval by Welch's t on logarithms; of "
    "one run against several the prediction interval of theirs; of blocks of one campaign in "
    "pairs. Worse, better: the p-value of all primary figures together (Holm) is below 0.05 and the "
    "change is beyond 5 %. Same: the 90 % interval is within 5 %; same or better: it is to the bad "
    "side. The intervals shown are not adjusted"
)
ONE_RUN = (
    "one run a side: nothing says how much changes from one run to the next, so there is no verdict; "
    "repeat the runs, three of each side or more"
)
TWO_RUNS = (
    "a side of two runs knows its spread by one degree of freedom, so the intervals are very wide; "
    "a third run of each side narrows them to a half or less"
)
OF_THE_TESTS = ("measure", "collect")  # phases whose time is that of the tests, or of their logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that is compared; `better` is the direction in which it improves."""

    key: str
    better: Direction
    needs_same_clients: bool = False  # it adds clients up


FIGURES = (
    Figure(key="goodput_bps", better="higher", needs_same_clients=True),
    Figure(key="goodput_up_bps", better="higher", needs_same_clients=True),
    Figure(key="goodput_down_bps", better="higher", needs_same_clients=True),
    Figure(key="vpn_cpu_s_per_gbit", better="lower"),
    Figure(key="client_median_bps", better="higher"),
    Figure(key="jain", better="higher"),
    Figure(key="vs_direct", better="higher", needs_same_clients=True),
    Figure(key="retransmits_per_gb", better="lower"),
    Figure(key="udp_loss_pct", better="lower"),
    Figure(key="jitter_median_s", better="lower"),
    Figure(key="pps", better="higher", needs_same_clients=True),
    Figure(key="vpn_cpu_us_per_packet", better="lower"),
    Figure(key="rtt_median_s", better="lower"),
    Figure(key="rtt_loaded_median_s", better="lower"),
    Figure(key="rtt_loaded_p99_s", better="lower"),
    Figure(key="requests_per_s", better="higher", needs_same_clients=True),
    Figure(key="request_p99_s", better="lower"),
    Figure(key="connect_median_s", better="lower", needs_same_clients=True),
    Figure(key="reconnect_median_s", better="lower", needs_same_clients=True),
    Figure(key="vpn_rss_bytes", better="lower", needs_same_clients=True),
    Figure(key="vpn_rss_per_client_bytes", better="lower"),
)
PHASE = Figure(key="elapsed_s", better="lower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure of one side, in one cell.

    Attributes:
        value: Geometric mean over runs; arithmetic where one of them is not above 0.
        runs: How many have it.
        within: Standard error within the run, of a single one; NaN: not known. Shown, never judged.
    """

    value: float
    runs: int
    within: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of one test with so many clients, on two sides.

    Attributes:
        where: The test, or `phase launch`.
        contrast: Other over baseline.
        refusal: Why the figures are not of the same thing; then there is no verdict.
    """

    where: str
    clients: int
    figure: Figure
    is_primary: bool
    side: str
    baseline: Estimate
    other: Estimate
    contrast: Contrast
    refusal: str = ""
    judgement: Judgement = Judgement(verdict="not judged")  # noqa: RUF009 -- it is frozen

    @property
    def verdict(self) -> str:
        """The judgement's, or `not comparable`."""
        return "not comparable" if self.refusal else self.judgement.verdict

    @property
    def text(self) -> str:
        """The verdict in words, with what is missing."""
        return "not comparable" if self.refusal else self.judgement.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two or more sides, held against the first.

    Attributes:
        differences: The primary ones first.
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


def compare(sides: Sequence[Side]) -> Comparison:
    """Hold every side against the first."""
    baseline, *others = sides
    has_tunnel = any(
        test.figures.get("path") == "tunnel"
        for side in sides for run in side.runs for test in run.tests
    )  # fmt: skip
    found = [
        difference
        for other in others
        for clients in baseline.sizes
        if clients in other.sizes
        for difference in (
            *_tests(baseline, other, clients, has_tunnel=has_tunnel),
            *_phases(baseline, other, clients),
        )
    ]
    judged = _judged(sorted(found, key=lambda d: not d.is_primary))
    return Comparison(
        sides=tuple(sides),
        differences=tuple(judged),
        differing=tuple(_differing(sides)),
        findings=tuple(_findings(sides, judged)),
    )


def _differing(sides: Sequence[Side]) -> list[str]:
    """Conditions that are not the same in all runs; sizes that all sides have are none."""
    same_sizes = len({tuple(side.sizes) for side in sides}) == 1
    found = differing(run.conditions for side in sides for run in side.runs)
    return [name for name in found if not (same_sizes and name == "clients")]


def _judged(found: Sequence[Difference]) -> list[Difference]:
    """Those that can be compared are judged together."""
    ours = [one for one in found if not one.refusal]
    said = iter(
        verdicts.judge(
            [
                Case(contrast=d.contrast, better=d.figure.better, is_primary=d.is_primary)
                for d in ours
            ]
        )
    )
    return [one if one.refusal else replace(one, judgement=next(said)) for one in found]


def _tests(baseline: Side, other: Side, clients: int, *, has_tunnel: bool) -> Iterator[Difference]:
    sides = baseline.of_size(clients), other.of_size(clients)
    labels = baseline.label, other.label
    for key in dict.fromkeys(test.key for run in sides[0] for test in run.tests):
        ours, theirs = (side.tests(key, clients) for side in (baseline, other))
        if not theirs:
            continue
        refusal = unlike.find_refusal(key, *sides, labels)
        for figure in FIGURES:
            a, b = _estimate(ours, figure.key), _estimate(theirs, figure.key)
            if a is None or b is None:
                continue
            more = ""
            if figure.needs_same_clients:
                ratio = figure.key == "vs_direct"
                more = unlike.find_other_clients(ours, theirs, ratio=ratio)
            yield Difference(
                where=key,
                clients=clients,
                figure=figure,
                is_primary=verdicts.is_primary(
                    figure.key,
                    str(ours[0].figures.get("path")),
                    verdicts.PRIMARY,
                    TestKind(ours[0].figures.get("kind", TestKind.TCP)),
                    has_tunnel=has_tunnel,
                ),
                side=other.label,
                baseline=a,
                other=b,
                contrast=_contrast(sides, key, figure.key),
                refusal=refusal or more,
            )


def _contrast(sides: tuple[Sequence[Reduced], Sequence[Reduced]], key: str, name: str) -> Contrast:
    """Blocks of one campaign are pairs; before the planned end they may have been looked at."""
    values = [
        {_pair(run): test.figure(name) for run in runs if (test := run.find_test(key)) is not None}
        for runs in sides
    ]
    planned = [run.block.planned if run.block else None for run in sides[0]]
    both = len(set(values[0]) & set(values[1]))
    enough = planned[0] is not None and both >= planned[0]
    return contrasts.between(values[0], values[1], sequential=not enough)


def _pair(run: Reduced) -> str:
    return f"{run.block.campaign} {run.block.repetition}" if run.block else run.run_id


def _phases(baseline: Side, other: Side, clients: int) -> Iterator[Difference]:
    sides = baseline.of_size(clients), other.of_size(clients)
    labels = baseline.label, other.label
    for name in dict.fromkeys(phase for run in sides[0] for phase in run.phases):
        a, b = ([run.phases.get(name, np.nan) for run in runs] for runs in sides)
        if not np.isfinite(a).any() or not np.isfinite(b).any():
            continue
        tests = unlike.find_other_tests(*sides, labels) if name in OF_THE_TESTS else ""
        yield Difference(
            where=f"phase {name}",
            clients=clients,
            figure=PHASE,
            is_primary=False,
            side=other.label,
            baseline=_mean(a),
            other=_mean(b),
            contrast=contrasts.of_sides(a, b),
            refusal=tests,
        )


def _estimate(tests: Sequence[Test], name: str) -> Estimate | None:
    """None when no run has the figure."""
    having = [test for test in tests if not np.isnan(test.figure(name))]
    if not having:
        return None
    found = _mean([test.figure(name) for test in having])
    spread = having[0].spread.get(name)
    return replace(found, within=spread.error) if spread and len(having) == 1 else found


def _mean(values: Sequence[float]) -> Estimate:
    return Estimate(
        value=contrasts.geometric_mean(values), runs=sum(not np.isnan(value) for value in values)
    )


def _findings(sides: Sequence[Side], differences: Sequence[Difference]) -> Iterator[Finding]:
    yield from unlike.findings(sides)
    yield from _about_repetition(sides)
    if not differing(run.conditions for side in sides for run in side.runs):
        yield Finding("conditions", "nothing that was recorded differs between these runs", "note")
    yield from _missing_tests(sides)
    yield from _other_sizes(sides)
    refused = dict.fromkeys(
        (d.side, d.where, d.clients, d.refusal) for d in differences if d.refusal
    )
    for label, where, clients, refusal in refused:
        place = f"{where} at {format_count(clients, 'client')}, {sides[0].label} and {label}"
        yield Finding(place, f"not comparable: {refusal}")
    for side in sides:
        yield from _own_warnings(side)


def _own_warnings(side: Side) -> Iterator[Finding]:
    """Those of its runs; of the many blocks of a campaign, how many have any, and the first."""
    for run in side.runs:
        for finding in run.warnings if run.block is None else ():
            place = f"side {side.label}, {run.run_id}, {finding.where}"
            yield Finding(place, finding.text, finding.level)
    warned = [run for run in side.runs if run.block and run.warnings]
    if warned:
        first = warned[0]
        yield Finding(
            f"side {side.label}",
            f"{len(warned)} of {format_count(len(side.runs), 'block')} have warnings of their own, as "
            f"{first.run_id}, {first.warnings[0].where}: {first.warnings[0].text}",
        )


def _other_sizes(sides: Sequence[Side]) -> Iterator[Finding]:
    sizes = [", ".join(map(str, side.sizes)) for side in sides]
    if len(set(sizes)) > 1:
        shown = ", ".join(f"{s.label} has {size}" for s, size in zip(sides, sizes, strict=True))
        text = (
            f"the sides have different numbers of clients ({shown}): only what both have is "
            "judged; see how figures grow with the clients"
        )
        yield Finding("clients", text)


def _about_repetition(sides: Sequence[Side]) -> Iterator[Finding]:
    cells = [[len(side.of_size(n)) for n in side.sizes] for side in sides]
    if all(max(counts) == 1 for counts in cells):
        yield Finding("method", ONE_RUN)
    elif any(2 in counts for counts in cells):
        yield Finding("method", TWO_RUNS)
    for side in sides:
        mixed = differing(run.conditions for run in side.runs)
        if any(run.block for run in side.runs):
            mixed = [name for name in mixed if name != "clients"]
        if mixed:
            text = f"its runs are taken as repetitions, but differ in: {', '.join(mixed)}"
            yield Finding(f"side {side.label}", text)


def _missing_tests(sides: Sequence[Side]) -> Iterator[Finding]:
    every = dict.fromkeys(test.key for side in sides for run in side.runs for test in run.tests)
    for side in sides:
        missing = [key for key in every if not side.tests(key)]
        if missing:
            yield Finding(f"side {side.label}", f"did not run: {', '.join(missing)}")
