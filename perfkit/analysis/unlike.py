"""How two sides are unlike before their figures are held against each other: load, tests, hosts.

Where another load kept one server busy, or the tests were others, the figures are of different
things, and no verdict is given. Where the hosts were of other types a verdict is one about hosts and
software together, and that is said first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfkit.analysis.conditions import NOT_RECORDED, differing
from perfkit.analysis.run_summary import Reduced, Test
from perfkit.analysis.sides import Side
from perfkit.logs.run_logs import Finding
from perfkit.units import format_some

COUNTED_TOLERANCE = 0.01  # of the clients that count; more makes totals of different things
HOST_TYPES = (
    "parameter provider",
    "server ncpu",
    "clients ncpu",
    "server memory",
    "ec2.conf [ec2] types",
    "ec2.conf [ec2] server_types",
)
_NAMED = 4  # tests in which two sides differ


def find_refusal(
    key: str, baseline: Sequence[Reduced], other: Sequence[Reduced], labels: tuple[str, str]
) -> str:
    """Why no figure of a test is of the same thing on two sides of one size; empty when all are.

    Args:
        labels: Of the two sides.
    """
    if load := _other_load(baseline, other, labels):
        return load
    for name, words in (("path", "path"), ("side", "figures from the")):
        tests = [[run.find_test(key) for run in runs] for runs in (baseline, other)]
        values = [sorted({str(test.figures.get(name)) for test in own if test}) for own in tests]
        if values[0] != values[1]:
            return f"{words} {', '.join(values[0])} against {', '.join(values[1])}"
    planned = [sorted({_planned(key, run) for run in runs} - {""}) for runs in (baseline, other)]
    if planned[0] != planned[1]:
        return f"another test: {' and '.join(planned[0])} against {' and '.join(planned[1])}"
    return ""


def find_other_clients(ours: Sequence[Test], theirs: Sequence[Test], *, ratio: bool) -> str:
    """Why totals of a test are of other clients; empty when they are of the same number.

    Args:
        ratio: Of in-tunnel over out-of-tunnel: both of its ends add clients up.
    """
    tests = [*ours, *theirs]
    counts = [test.clients for test in tests]
    if ratio:
        direct = [test.figure("direct_clients") for test in tests]
        counts += [int(count) for count in direct if count > 0]
    if max(counts) - min(counts) > COUNTED_TOLERANCE * max(counts):
        return f"{min(counts)} to {max(counts)} clients count, so the totals are of other clients"
    return ""


def find_other_tests(
    baseline: Sequence[Reduced], other: Sequence[Reduced], labels: tuple[str, str]
) -> str:
    """Why time that the tests take is not of the same work; empty when all runs had the same."""
    sides = zip(labels, (baseline, other), strict=True)
    planned = [(label, _all_planned(run)) for label, runs in sides for run in runs]
    every = dict.fromkeys(test for _, tests in planned for test in tests)
    apart = [
        f"{test} only in {', '.join(dict.fromkeys(having))}"
        for test in every
        if len(having := [label for label, tests in planned if test in tests]) < len(planned)
    ]
    return f"the runs had other tests: {format_some(apart, _NAMED, '; ')}" if apart else ""


def findings(sides: Sequence[Side]) -> Iterator[Finding]:
    """What is to be known of two sides before any figure."""
    for side in sides:
        for run in side.runs:
            if run.other_load:
                yield Finding(f"side {side.label}, {run.run_id}", f"other load: {run.other_load}")
    apart = [_across(sides, name) for name in HOST_TYPES]
    if any(apart):
        text = (
            f"the sides ran on hosts of other types ({'; '.join(a for a in apart if a)}): what "
            "differs may be the hosts, not what ran on them"
        )
        yield Finding("hosts", text)
    every = differing(run.conditions for side in sides for run in side.runs)
    scripts = [name for name in every if name.startswith(("tests/", "tests.conf"))]
    if any(_across(sides, name) for name in scripts):
        names = format_some(scripts, _NAMED)
        yield Finding("tests", f"the sides ran other tests under one name; what differs: {names}")


def _across(sides: Sequence[Side], name: str) -> str:
    """Values of a condition by side, where the sides differ in it; else empty."""
    values = [
        " and ".join(sorted({run.conditions.get(name, NOT_RECORDED) for run in side.runs}))
        for side in sides
    ]
    if len(set(values)) == 1:
        return ""
    shown = (f"{side.label} {value}" for side, value in zip(sides, values, strict=True))
    return f"{name.removeprefix('parameter ')}: {', '.join(shown)}"


def _other_load(
    baseline: Sequence[Reduced], other: Sequence[Reduced], labels: tuple[str, str]
) -> str:
    loaded = [sum(bool(run.other_load) for run in runs) for runs in (baseline, other)]
    if loaded == [0, 0] or loaded == [len(baseline), len(other)]:
        return ""
    shown = (
        f"{count} of {len(runs)} of {label}"
        for label, count, runs in zip(labels, loaded, (baseline, other), strict=True)
    )
    return f"another load kept the server busy in {', '.join(shown)} runs"


def _planned(key: str, run: Reduced) -> str:
    """A test's path and planned length; of a block, its slot is in the test's name."""
    test = run.find_test(key)
    if test is None:
        return ""
    return run.conditions.get(f"test {test.slot}", run.conditions.get(f"test {key}", ""))


def _all_planned(run: Reduced) -> list[str]:
    return [
        f"{name.removeprefix('test ')} ({value})"
        for name, value in run.conditions.items()
        if name.startswith("test ")
    ]
