"""How fast a campaign goes from test to test, and beside it the shell loop over single runs.

    python tests/benchmarks/bench_blocks.py                root, an idle machine; about 40 minutes
    ... --clients 1,5,20 --repetitions 2 --duration-s 3    a smaller one
    ... --no-loop                                          the campaign alone, about 15 minutes

One fleet is launched and configured for all blocks. Between the end of a test and the start of the
next lie at most 12 s up to 20 clients and 25 s up to 100; the exit status is 1 if any was longer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1])]

from reliability.campaigns import make_project  # noqa: E402 -- found by the line above

from perfkit.campaign import blocks  # noqa: E402 -- as above
from perfkit.campaign.blocks import Claim  # noqa: E402 -- as above
from perfkit.runs import journal  # noqa: E402 -- as above
from perfkit.runs.folder import Run, list_runs  # noqa: E402 -- as above

pytestmark = [pytest.mark.benchmark, pytest.mark.root, pytest.mark.timeout(7200)]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Seconds between the end of a test and the start of the next.

    Attributes:
        clients: Of the larger of the two blocks; of the one, inside it.
    """

    where: str
    clients: int
    seconds: float

    @property
    def limit_s(self) -> float:
        """The most that it may be."""
        return 12.0 if self.clients <= 20 else 25.0


def gaps(run: Run) -> Iterator[Gap]:
    """Each pause of a campaign, inside blocks and between those that follow each other."""
    before: tuple[Claim, float] | None = None
    for claim in blocks.replay(journal.read(run.journal_path).events).claims:
        block = Run(run.root / claim.folder)
        if claim.end == "failed":
            before = None
            continue
        timetable = block.load_json(block.timetable_path)
        slots = timetable["slots"]
        ends = [slot["start_s"] + slot["duration_s"] for slot in slots]
        for end_s, following in zip(ends, slots[1:], strict=False):
            yield Gap(where="inside", clients=claim.clients, seconds=following["start_s"] - end_s)
        t0_s = float(timetable["t0_utc_s"])
        if before is not None:
            most = max(claim.clients, before[0].clients)
            yield Gap(where="between", clients=most, seconds=t0_s + slots[0]["start_s"] - before[1])
        before = claim, t0_s + ends[-1]


def command(project: Path, **options: object) -> float:
    """Give `perfkit run`; returns its seconds."""
    flags = [
        str(x) for key, value in options.items() for x in (f"--{key.replace('_', '-')}", value)
    ]
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "perfkit.cli.app", "run", *flags],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - begun


def show(found: list[Gap]) -> None:
    """A row for each place and count: how many, the median, the longest, the limit."""
    print(f"{'where':8} {'clients':>7} {'n':>4} {'median s':>9} {'most s':>7} {'limit s':>8}")
    for where, clients in sorted({(gap.where, gap.clients) for gap in found}):
        own = sorted(g.seconds for g in found if (g.where, g.clients) == (where, clients))
        limit_s = Gap(where=where, clients=clients, seconds=0.0).limit_s
        middle = own[len(own) // 2]
        print(f"{where:8} {clients:7} {len(own):4} {middle:9.1f} {own[-1]:7.1f} {limit_s:8.0f}")


def measure(clients: str, repetitions: int, duration_s: float, *, with_loop: bool) -> list[Gap]:
    """Run the campaign, and the loop; print what they took."""
    with tempfile.TemporaryDirectory(prefix="bench-blocks-") as place:
        project = make_project(Path(place))
        chosen = {"duration_s": duration_s, "expires_min": 240}
        took_s = command(project, clients=clients, repetitions=repetitions, name="one", **chosen)
        (run,) = list_runs(project / "runs")
        found = list(gaps(run))
        show(found)
        print(f"campaign: {took_s / 60:.1f} minutes, one launch", flush=True)
        if with_loop:
            counts = [count for _ in range(repetitions) for count in clients.split(",")]
            loop_s = sum(command(project, clients=count, name="loop", **chosen) for count in counts)
            print(f"shell loop: {loop_s / 60:.1f} minutes, {len(counts)} launches, no answer")
    return found


def test_the_pauses_of_a_campaign_are_short() -> None:
    found = measure("1,5,20", 2, 3.0, with_loop=False)
    assert [gap for gap in found if gap.seconds > gap.limit_s] == []


def main() -> int:
    """Print the tables; 1 if a pause was too long."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", default="1,2,5,10,20,50,100", help="a list")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--no-loop", action="store_true", help="the campaign alone")
    given = parser.parse_args()
    found = measure(given.clients, given.repetitions, given.duration_s, with_loop=not given.no_loop)
    return int(any(gap.seconds > gap.limit_s for gap in found))


if __name__ == "__main__":
    sys.exit(main())
