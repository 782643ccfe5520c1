"""R10: a journal cut at any byte, or with any bit turned, is never read wrongly.

A cut leaves the records before it; a turned bit is found, with its line, or it is in the last record,
which then counts as torn. `n` is the number of records; every byte is tried, and of every byte
one bit (all eight in the full tier).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from perfkit.errors import JournalError
from perfkit.runs import journal
from perfkit.runs.journal import Event, Journal

from .experiment import Experiment, Outcome

ALL_BITS_FROM = 20  # records; fewer is the quick tier


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    with tempfile.TemporaryDirectory(prefix="journals-") as folder:
        path = Path(folder) / "journal.jsonl"
        events = _write(path, n, chance)
        data = path.read_bytes()
        cuts = Counter(_cut(path, data[:length], events) for length in range(len(data) + 1))
        flips: Counter[str] = Counter()
        for position in range(len(data)):
            bits = range(8) if n >= ALL_BITS_FROM else [chance.randrange(8)]
            flips.update(_flip(path, data, position, bit, events) for bit in bits)
    wrong = cuts["wrong"] + flips["wrong"]
    return Outcome(
        result=f"{cuts.total()} cuts, {flips.total()} turned bits ({flips['located']} located by "
        f"line, {flips['torn']} in the last record): {wrong} wrong reads",
        ok=wrong == 0,
    )


def _write(path: Path, n: int, chance: Random) -> tuple[Event, ...]:
    book = Journal(path)
    try:
        return tuple(
            book.append(
                chance.choice(("host-state", "launch-intent", "phase-done")),
                sync=False,
                name=f"client-{chance.randrange(1000):03d}",
                reason="".join(chance.choices('aé "\\\n\t{}0', k=chance.randrange(12))),
            )
            for _ in range(n)
        )
    finally:
        book.close()


def _cut(path: Path, data: bytes, events: tuple[Event, ...]) -> str:
    path.write_bytes(data)
    whole = data.count(b"\n")
    reading = journal.read(path)
    is_torn = not data.endswith(b"\n") and data != b""
    right = reading.events == events[:whole] and (reading.damaged_at is not None) == is_torn
    return "right" if right else "wrong"


def _flip(path: Path, data: bytes, position: int, bit: int, events: tuple[Event, ...]) -> str:
    flipped = bytearray(data)
    flipped[position] ^= 1 << bit
    path.write_bytes(flipped)
    line_no = data.count(b"\n", 0, position) + 1
    try:
        reading = journal.read(path)
    except JournalError as exc:
        return "located" if f"{path}:{line_no}:" in str(exc) else "wrong"
    is_tail = line_no >= len(events) - 1  # without its line end the last but one is of it, too
    return "torn" if is_tail and reading.events == events[: line_no - 1] else "wrong"


EXPERIMENT = Experiment(
    key="R10",
    promise="a damaged journal is never read wrongly",
    bound="0 wrong reads, every damage before the end located by its line",
    run=run,
    quick=4,
    full=40,
)
