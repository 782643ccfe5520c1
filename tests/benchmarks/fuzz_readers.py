"""Damage real logs, many times over, and hold every reader to its promise.

    python tests/benchmarks/fuzz_readers.py --inputs 1000000 --seed 1

Whatever the bytes, a reader returns data or raises a `LogError`; no input takes over 100 ms of
processor time for each kB. The originals are the captures in tests/data, cut to their first 4 kB, so
that damage lies close. Prints a row a format, with its slowest input; the exit status is 1 if a
promise was broken. An input over the bound is measured again, as other work of the machine may be
to blame: its least time counts. To look at one, take it from `mutations` by its seed and number.
The short tier of the same check, and the cut at every byte, are in tests/contract and tests/unit/logs.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from log_damage import mutations

from perfkit.errors import LogError
from perfkit.logs.format import Format, clean
from perfkit.logs.reader import sniff
from perfkit.logs.registry import get_format

DATA = Path(__file__).parents[1] / "data"
ORIGINAL_BYTES = 4000
LIMIT_S_PER_KB = 0.1
CHUNK = 2000


@dataclass(frozen=True, order=True)
class Slow:
    """The input that took longest for its size, and how to make it again."""

    s_per_kb: float = 0.0
    capture: str = ""
    seed: int = 0
    number: int = 0
    size_bytes: int = 0

    def __str__(self) -> str:
        where = f"{self.capture}, seed {self.seed}, number {self.number}"
        return f"{1000 * self.s_per_kb:.1f} ms/kB by {where}, {self.size_bytes} bytes"


@dataclass
class Score:
    """What became of the inputs made from one original."""

    format: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)
    slowest: Slow = field(default_factory=Slow)


def originals() -> list[tuple[str, Path]]:
    """Every capture that a reader recognises, with the reader's name."""
    found = []
    for path in sorted(DATA.glob("*/**/*")):
        if path.is_file():
            try:
                found.append((sniff(path), path))
            except LogError:
                continue  # READMEs, scripts
    return found


def fuzz(name: str, path: Path, count: int, seed: int) -> Score:
    """Damage one original `count` times."""
    parser, score = get_format(name), Score(name)
    damaged = mutations(path.read_bytes()[:ORIGINAL_BYTES], count, seed)
    for number, data in enumerate(damaged):
        begun = time.process_time()
        try:
            parser.parse(clean(data), path)
            score.read += 1
        except LogError:
            score.refused += 1
        except Exception as exc:  # noqa: BLE001 - what must not happen is what is looked for
            which = f"{path.name}, seed {seed}, number {number}"
            score.broken.append(f"{which}: {type(exc).__name__}: {exc}")
        s_per_kb = per_kb(time.process_time() - begun, data)
        took = Slow(s_per_kb, path.name, seed, number, len(data))
        if took.s_per_kb > LIMIT_S_PER_KB:
            took = replace(took, s_per_kb=min(took.s_per_kb, again(parser, data, path)))
        score.inputs += 1
        score.slowest = max(score.slowest, took)
    return score


def per_kb(took_s: float, data: bytes) -> float:
    """Seconds for each kB; for each input, where it is smaller."""
    return took_s / max(1.0, len(data) / 1000)


def again(parser: Format, data: bytes, path: Path) -> float:
    """The least of three more turns, in seconds for each kB."""
    turns = []
    for _ in range(3):
        begun = time.process_time()
        with contextlib.suppress(Exception):  # it was counted at the first turn
            parser.parse(clean(data), path)
        turns.append(time.process_time() - begun)
    return per_kb(min(turns), data)


def main() -> int:
    """Spread the inputs evenly over the formats, then over each format's captures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--inputs", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    by_format: dict[str, list[Path]] = {}
    for name, path in originals():
        by_format.setdefault(name, []).append(path)
    totals = {name: Score(name) for name in by_format}
    with ProcessPoolExecutor() as pool:
        tasks = []
        for name, paths in by_format.items():
            left, number = chosen.inputs // len(by_format), 0
            while left > 0:
                count = min(CHUNK, left)
                path = paths[number % len(paths)]
                tasks.append(pool.submit(fuzz, name, path, count, chosen.seed + number))
                left, number = left - count, number + 1
        for task in tasks:
            part = task.result()
            total = totals[part.format]
            total.inputs += part.inputs
            total.read += part.read
            total.refused += part.refused
            total.broken += part.broken
            total.slowest = max(total.slowest, part.slowest)
    return report(list(totals.values()))


def report(totals: list[Score]) -> int:
    """Print the table; 1 if a promise was broken."""
    print(f"{'format':20} {'inputs':>9} {'read':>9} {'refused':>9} {'broken':>7}  slowest")
    for row in totals:
        counts = f"{row.inputs:9} {row.read:9} {row.refused:9} {len(row.broken):7}"
        print(f"{row.format:20} {counts}  {row.slowest}")
    broken = [line for row in totals for line in row.broken]
    slow = [row.format for row in totals if row.slowest.s_per_kb > LIMIT_S_PER_KB]
    print(
        f"all: {sum(row.inputs for row in totals)} inputs, {len(broken)} broken, slow: {slow or 'none'}"
    )
    for line in broken[:20]:
        print(f"  {line}")
    return 1 if broken or slow else 0


if __name__ == "__main__":
    sys.exit(main())
