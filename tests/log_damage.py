"""Damaged logs: what a full disk, a killed tool, an editor or a bad copy makes of a good one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from perfkit.errors import LogError
from perfkit.logs.format import Reading
from perfkit.logs.frames import check

_SPLINTERS = (
    b"\0", b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b",", b";", b"\t", b"\n", b"\n\n",
    b'"', b":", b"-", b".", b"nan", b"inf", b"1e999", b"-1", b"9" * 25, b"\xe4", b"[", b"]", b"%",
)  # fmt: skip


def truncations(data: bytes) -> Iterator[bytes]:
    """The log cut at every byte."""
    for end in range(len(data)):
        yield data[:end]


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged versions: bytes changed, pieces put in, taken out, doubled, moved."""
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(damaged) + 1)
            piece = slice(place, place + chance.randint(1, 40))
            match chance.randrange(6):
                case 0:
                    damaged[place : place + 1] = bytes([chance.randrange(256)])
                case 1:
                    damaged[place:place] = chance.choice(_SPLINTERS)
                case 2:
                    del damaged[piece]
                case 3:
                    damaged[place:place] = damaged[piece]
                case 4:
                    damaged[place : place + 1] = chance.choice(_SPLINTERS)
                case _:
                    lines = bytes(damaged).split(b"\n")
                    chance.shuffle(lines)
                    damaged = bytearray(b"\n".join(lines))
        yield bytes(damaged)


def read_or_refuse(parse: Callable[[bytes, Path], Reading], data: bytes, path: Path) -> None:
    """What a reader may make of damage: a frame that keeps the column contract, or a LogError."""
    try:
        reading = parse(data, path)
    except LogError:
        return
    check(reading.frame, reading.kind)
