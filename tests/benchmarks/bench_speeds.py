"""The table of speeds: each row beside its peer, in the same run, as medians and ratios.

    python tests/benchmarks/bench_speeds.py                 root, an idle machine; half an hour
    ... --rows launch,ssh --repeats 5                       some rows, more often
    ... --scale 0.1                                         small ones, to try the command

Peers take turns with perfkit, in an order that changes from turn to turn; a ratio is the median of
the ratios of the turns. A peer that is not installed is named and left out. Campaigns have no peer:
their seconds are told by phase, from their own journal, and the tests are not counted. asyncssh is
the benchmark's own: `pip install asyncssh`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

sys.path[:0] = [str(Path(__file__).parents[1])]

import bench_launch  # noqa: E402 -- found by the line above
import bench_readers  # noqa: E402 -- as above
import campaign_phases  # noqa: E402 -- as above
import measured_fleet  # noqa: E402 -- as above
import ssh_contestants  # noqa: E402 -- as above
from reliability.campaigns import make_project  # noqa: E402 -- as above

from perfkit.logs import registry  # noqa: E402 -- as above
from perfkit.logs.reader import read  # noqa: E402 -- as above

TEST_S = 5.0  # a test of a campaign; it is not counted
READER_TURNS = 5  # for each repeat: a reading takes a second where a launch takes half a minute


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: ours, the peer's, and how many times it is the peer's."""

    what: str
    ours: str
    peer: str = ""
    ratios: tuple[float, ...] = ()
    goal: str = ""

    def __str__(self) -> str:
        ratio = ""
        if self.ratios:
            ratio = f"{statistics.median(self.ratios):.2f} [{min(self.ratios):.2f}, {max(self.ratios):.2f}]"
        return f"{self.what:44} {self.ours:>14} {self.peer:>26}   {ratio:20} {self.goal}"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says."""

    repeats: int
    scale: float
    folder: Path

    def scaled(self, number: float) -> int:
        return max(2, round(number * self.scale))


def seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def launch(asked: Asked) -> Iterator[Line]:
    n_hosts = asked.scaled(1000)
    ours, theirs = [], []
    for turn in range(asked.repeats):
        for is_ours in (True, False) if turn % 2 else (False, True):
            place = asked.folder / f"launch-{turn}-{is_ours}"
            place.mkdir()
            if is_ours:
                ours.append(bench_launch.measure_perfkit(place, n_hosts))
            else:
                theirs.append(bench_launch.measure_shell(place, n_hosts))
    pairs = list(zip(ours, theirs, strict=True))
    yield Line(
        what=f"{n_hosts} local hosts reachable",
        ours=f"{statistics.median(it.reachable_s for it in ours):.1f} s",
        peer=f"shell {statistics.median(it.reachable_s for it in theirs):.1f} s",
        ratios=tuple(mine.reachable_s / other.reachable_s for mine, other in pairs),
        goal="15 s",
    )
    for what, field in (("processes (PSS)", "pss_mb"), ("MemAvailable", "available_mb")):
        mine, other = ([getattr(it, field) for it in side] for side in (ours, theirs))
        yield Line(
            what=f"memory of an idle local host, {what}",
            ours=f"{statistics.median(mine):.2f} MB",
            peer=f"shell {statistics.median(other):.2f} MB",
            ratios=tuple(a / b for a, b in zip(mine, other, strict=True)),
            goal="2 MB" if field == "pss_mb" else "",
        )


def ssh(asked: Asked) -> Iterator[Line]:
    n_hosts = asked.scaled(100)
    ways = ssh_contestants.contestants()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for fleet in measured_fleet.launch(asked.folder, "namespaces", n_hosts - 1):
        for turn in range(asked.repeats + 1):
            names = list(ways)
            random.shuffle(names)
            for name in names:
                took_s = seconds(lambda way=ways[name], fleet=fleet: way(fleet))  # type: ignore[misc]
                if turn:  # the first one loads modules, and hosts their programs
                    took[name].append(took_s)
    for peer, goal in (("bare Fabric", "1.0"), ("asyncssh", "1.25")):
        if peer not in took:
            print(f"{peer} is not installed: left out")
            continue
        pairs = zip(took["perfkit"], took[peer], strict=True)
        yield Line(
            what=f"3 files, 5 commands on {n_hosts} hosts, {ssh_contestants.AT_ONCE} at once",
            ours=f"{statistics.median(took['perfkit']):.2f} s",
            peer=f"{peer} {statistics.median(took[peer]):.2f} s",
            ratios=tuple(mine / theirs for mine, theirs in pairs),
            goal=goal,
        )


def reader(asked: Asked, path: Path, peer: str, by_peer: Callable[[], object], goal: str) -> Line:
    """A log read by perfkit and by its peer."""
    turns = READER_TURNS * asked.repeats
    ours_s, theirs_s, ratio = bench_readers.side_by_side(lambda: read(path), by_peer, turns)
    return Line(
        what=f"{path.stat().st_size / bench_readers.MB:.0f} MB {path.name}",
        ours=f"{ours_s:.3f} s",
        peer=f"{peer} {theirs_s:.3f} s",
        ratios=(ratio,),
        goal=goal,
    )


def dstat(asked: Asked) -> Iterator[Line]:
    path = asked.folder / "dstat.csv"
    head = bench_readers.write_dool(path, round(100 * bench_readers.MB * asked.scale))

    def by_pandas() -> object:
        return pd.read_csv(path, skiprows=head, header=None, engine="c")

    yield reader(asked, path, "pandas.read_csv", by_pandas, "1.0")


def iperf(asked: Asked) -> Iterator[Line]:
    path = asked.folder / "iperf2.log"
    path.write_text(bench_readers.server_log(bench_readers.slot(asked.scaled(1000), 370, 2), 0.0))
    program = ["mawk", bench_readers.MAWK, str(path)]

    def by_mawk() -> object:
        return subprocess.run(program, capture_output=True, check=True)

    yield reader(asked, path, "mawk", by_mawk, "2.0")


def campaign(asked: Asked, clients: int, goal: str) -> Iterator[Line]:
    project = make_project(asked.folder / f"project-{clients}")
    found = [campaign_phases.run_phases(project, clients, TEST_S) for _ in range(asked.repeats)]
    whole = [sum(it.values()) - it[campaign_phases.TESTS] for it in found]
    beside = [all_s - it[campaign_phases.BETWEEN] for all_s, it in zip(whole, found, strict=True)]
    what = f"campaign of {clients} clients, all but"
    yield Line(what=f"{what} the tests", ours=f"{statistics.median(whole):.1f} s", goal=goal)
    yield Line(what=f"{what} the timetable", ours=f"{statistics.median(beside):.1f} s", goal=goal)
    for phase in found[0]:
        each = sorted(it[phase] for it in found)
        yield Line(
            what=f"    {phase}",
            ours=f"{statistics.median(each):.1f} s",
            peer=f"{each[0]:.1f} to {each[-1]:.1f} s" if len(each) > 1 else "",
        )


def campaign_100(asked: Asked) -> Iterator[Line]:
    yield from campaign(asked, asked.scaled(100), "20 s")


def campaign_1000(asked: Asked) -> Iterator[Line]:
    yield from campaign(asked, asked.scaled(1000), "150 s")


ROWS: dict[str, Callable[[Asked], Iterator[Line]]] = {
    "launch": launch,
    "campaign-100": campaign_100,
    "campaign-1000": campaign_1000,
    "ssh": ssh,
    "dstat": dstat,
    "iperf": iperf,
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    given = parser.parse_args()
    chosen = given.rows.split(",")
    if unknown := set(chosen) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    registry.formats()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-speeds-") as place:
        for name in chosen:
            asked = Asked(repeats=given.repeats, scale=given.scale, folder=Path(place) / name)
            asked.folder.mkdir()
            begun_load = os.getloadavg()[0]
            for line in ROWS[name](asked):
                lines.append(line)
                print(line, flush=True)
            print(f"({name}: load average {begun_load:.1f} before, {os.getloadavg()[0]:.1f} after)")
    print(
        f"\n{os.cpu_count()} processors, Linux {platform.release()}, {given.repeats} repeats, "
        f"scale {given.scale:g}; medians, ratios with least and most"
    )
    print(f"{'what':44} {'perfkit':>14} {'peer':>26}   {'times the peer':20} goal")
    for line in lines:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
