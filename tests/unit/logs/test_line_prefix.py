"""The same frames under every wrapper: what others put in front of a tool's lines changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from perfkit.errors import TruncatedError
from perfkit.logs import registry
from perfkit.logs.format import SNIFF_BYTES, Format, Reading
from perfkit.logs.frames import check
from perfkit.logs.iperf2 import csv as iperf2_csv
from perfkit.logs.iperf2 import text as iperf2
from perfkit.logs.iperf3 import json as iperf3_json
from perfkit.logs.iperf3 import text as iperf3_text

DATA = Path(__file__).parents[2] / "data"
PATH = Path("log")
KINDS = (
    (iperf2.FORMAT, "iperf2/*.log"),
    (iperf2_csv.FORMAT, "iperf2_csv/*.csv"),
    (iperf3_text.FORMAT, "iperf3/text/*.txt"),
    (iperf3_json.FORMAT, "iperf3/json/*.json"),
)
CAPTURES = [
    (known, path)
    for known, pattern in KINDS
    for path in sorted(DATA.glob(pattern))
    if "-timestamps" not in path.name and "-title" not in path.name  # they have a prefix already
]

# What a line's number and moment make of its prefix.
PREFIXES: dict[str, Callable[[int], str]] = {
    "fraction and zone": lambda n: f"2026-01-05 10:00:{n % 60:02}.{n % 10}00000 +0000 ",
    "iso": lambda n: f"2026-01-05T10:{n % 60:02}:07.123456789Z ",
    "iso with offset": lambda n: f"2026-01-05T10:{n % 60:02}:07+0100 ",
    "in brackets": lambda n: f"[2026-01-05 10:{n % 60:02}:07] ",
    "jenkins": lambda n: f"[2026-01-05T10:{n % 60:02}:07.001Z] ",
    "comma": lambda n: f"2026-01-05 10:{n % 60:02}:07,{n % 1000:03} INFO runner: ",
    "level": lambda n: f"2026-01-05 10:00:07,001 - iperf - {('INFO', 'ERROR')[n % 2]} - ",
    "ts": lambda n: f"Jan {5 + n % 9:02} 10:00:{n % 60:02} ",
    "ts -s": lambda n: f"00:{n % 60:02}:00 ",
    "ts %.s": lambda n: f"{1796000000 + n}.{n % 10}25 ",
    "epoch": lambda n: f"{1796000000 + n} ",
    "seconds": lambda n: f"{n}.000123 ",
    "kernel": lambda n: f"[{n:5}.123456] ",
    "clock alone": lambda n: f"10:{n % 60:02}:01",
    "ctime": lambda n: f"Mon Jan  5 10:00:{n % 60:02} 2026 ",
    "ctime and title": lambda n: f"Mon Jan  5 10:00:{n % 60:02} 2026 a:  ",
    "slashes": lambda n: f"01/05/2026 10:00:{n % 60:02} AM ",
    "title": lambda _: "a:  ",
    "title of words": lambda _: "my long test:  ",
    "title with a number": lambda _: "run 7:  ",
    "compose": lambda _: "iperf-server-1  | ",
    "compose with stamps": lambda n: f"iperf-1  | 2026-01-05T10:{n % 60:02}:07.123456789Z ",
    "kubernetes": lambda _: "[pod/iperf-6d4cf56db6-x2x7z/iperf] ",
    "containerd": lambda n: (
        f"2026-01-05T10:{n % 60:02}:07.123456789Z std{('out', 'err')[n % 2]} F "
    ),
    "syslog": lambda n: f"Jan  5 10:00:{n % 60:02} host-1 iperf3[1234]: ",
    "syslog without pid": lambda n: f"Jan 15 10:00:{n % 60:02} host.example run-the-test: ",
    "priority": lambda n: f"<{30 + n % 2}>Jan  5 10:00:{n % 60:02} host sh[7]: ",
    "rfc 5424": lambda n: f"<30>1 2026-01-05T10:00:{n % 60:02}.000Z host iperf3 1234 - - ",
    "journal, full": lambda n: f"Mon 2026-01-05 10:00:{n % 60:02} UTC host iperf3[99]: ",
    "journal, precise": lambda n: f"Jan 05 10:00:{n % 60:02}.123456 host iperf[99]: ",
    "journal, unix": lambda n: f"{1796000000 + n}.123456 host iperf3[99]: ",
    "journal, monotonic": lambda n: f"[{n:6}.123456] host iperf3[99]: ",
    "pdsh": lambda _: "10.9.0.2: ",
    "grep": lambda _: "logs/client-1.log:",
    "parallel --tag": lambda _: "host-1\t",
    "angle": lambda _: "srv> ",
}


def wrap(data: bytes, prefix: Callable[[int], str]) -> bytes:
    lines = data.split(b"\n")
    end = lines.pop() if data.endswith(b"\n") else None
    wrapped = b"\n".join(prefix(n).encode() + line for n, line in enumerate(lines, start=1))
    return wrapped if end is None else wrapped + b"\n"


@cache
def without_prefix(known_name: str, path: Path) -> Reading:
    return registry.get_format(known_name).parse(path.read_bytes(), PATH)


def same(bare: Reading, wrapped: Reading) -> None:
    check(wrapped.frame, "traffic")
    assert wrapped.unparsed.samples == bare.unparsed.samples
    pd.testing.assert_frame_equal(bare.frame, wrapped.frame)
    assert (wrapped.unparsed.count, wrapped.partial) == (bare.unparsed.count, bare.partial)
    assert len(wrapped.messages) == len(bare.messages)
    assert set(bare.notes) <= set(wrapped.notes)
    assert len(wrapped.notes) > len(bare.notes)  # the prefix is said


@pytest.mark.parametrize(("turn", "name"), list(enumerate(PREFIXES)), ids=PREFIXES)
def test_a_prefix_on_every_line_of_any_capture_changes_no_figure(turn: int, name: str) -> None:
    prefix = PREFIXES[name]
    some = CAPTURES if name in ("title", "syslog", "fraction and zone") else CAPTURES[turn % 3 :: 3]
    for known, path in some:
        data = path.read_bytes()
        bare = without_prefix(known.name, path)
        if not len(bare.frame) or (known is iperf2_csv.FORMAT and prefix(1)[-1].isdigit()):
            continue  # a message alone tells no prefix, nor do digits before digits
        wrapped = wrap(data, prefix)
        same(bare, known.parse(wrapped, PATH))
        named = [name for name, f in registry.formats().items() if f.sniff(wrapped[:SNIFF_BYTES])]
        assert named == [known.name], path.name


def interleave(*logs: tuple[str, bytes]) -> bytes:
    """Lines of several processes in turn, each with its own prefix."""
    queues = [[f"{prefix}{line}" for line in data.decode().splitlines()] for prefix, data in logs]
    turns = (line for turn in itertools.zip_longest(*queues) for line in turn if line is not None)
    return "".join(f"{line}\n" for line in turns).encode()


@pytest.mark.parametrize("known", [known for known, _ in KINDS], ids=lambda known: known.name)
@pytest.mark.parametrize(
    "prefixes",
    [
        ("a:  ", "b:  "),
        ("iperf-1   | ", "iperf-10  | "),
        ("Jan  5 10:00:01 host iperf3[11]: ", "Jan  5 10:00:02 host iperf3[12]: "),
        ("", "b:  "),
        ("2026-01-05T10:00:00Z x ", ""),
    ],
)
def test_processes_one_among_the_other_are_read_as_if_each_had_a_file(
    known: Format, prefixes: tuple[str, str]
) -> None:
    paths = [path for other, path in CAPTURES if other is known and "client" in path.name]
    for first, second in itertools.pairwise(paths[:4]):
        alone = [known.parse(path.read_bytes(), PATH) for path in (first, second)]
        if not all(len(reading.frame) for reading in alone):
            continue
        logs = zip(prefixes, (first.read_bytes(), second.read_bytes()), strict=True)
        together = known.parse(interleave(*logs), PATH)
        check(together.frame, "traffic")
        assert together.unparsed.count == sum(reading.unparsed.count for reading in alone)
        if known is iperf2_csv.FORMAT and not all(prefixes):
            continue  # two bare processes of a file are one to this format
        streams = together.frame["stream"]
        parts = [reading.frame["stream"].max() + 1 for reading in alone]
        own = [streams < parts[0], streams >= parts[0]]
        for reading, rows in zip(alone, own, strict=True):
            expected = reading.frame[reading.frame["stream"] >= 0]
            found = together.frame[rows & (streams >= 0)]
            for column in ("kind", "side", "size_bytes", "peer_port", "start_s"):
                assert found[column].tolist() == expected[column].tolist(), column
        assert any("2 processes in one file" in note for note in together.notes)


def test_real_titles_are_read_on_lines_that_hold_no_figures_too() -> None:
    for path in sorted(DATA.glob("iperf3/text/*-title*.txt")):
        reading = iperf3_text.parse(path.read_bytes(), path)
        assert reading.unparsed.count == 0
        assert set(reading.frame.loc[reading.frame["stream"] >= 0, "peer_port"]) == {26101}
        assert {"interval", "summary"} <= set(reading.frame["kind"])


def test_lines_of_others_in_a_journal_are_counted_and_named_by_their_number() -> None:
    data = wrap((DATA / "iperf2/client-1.log").read_bytes(), PREFIXES["syslog"])
    stranger = b"Jan  5 10:00:07 host-1 systemd[1]: Started the weekly thing.\n"
    lines = data.splitlines(keepends=True)
    reading = iperf2.parse(b"".join([*lines[:3], stranger, *lines[3:]]), PATH)
    assert reading.unparsed.line_nos == (4,)
    assert reading.unparsed.samples == (stranger.decode().strip(),)
    assert len(reading.frame) == len(iperf2.parse(data, PATH).frame)


def test_a_prefix_that_numbers_its_lines_is_of_one_process() -> None:
    data = (DATA / "iperf2/server.log").read_bytes()
    reading = iperf2.parse(wrap(data, lambda n: f"line {n} of a console> "), PATH)
    assert reading.frame.equals(iperf2.parse(data, PATH).frame)


def test_words_before_a_lone_line_are_no_prefix() -> None:
    data = (DATA / "iperf2/client-1.log").read_bytes()
    reading = iperf2.parse(
        data + b"copied from [  1] 0.0000-1.0000 sec  1 Bytes  8 bits/sec\n", PATH
    )
    assert reading.unparsed.count == 1
    assert reading.frame.equals(iperf2.parse(data, PATH).frame)


def test_a_process_that_is_refused_is_named_and_the_others_are_read() -> None:
    good = (DATA / "iperf3/json/3.12-tcp.client.json").read_bytes()
    bad = good[: len(good) // 2]
    reading = iperf3_json.parse(interleave(("a | ", good), ("b | ", bad)), PATH)
    pd.testing.assert_frame_equal(
        reading.frame.drop(columns="line_no"),
        iperf3_json.parse(good, PATH).frame.drop(columns="line_no"),
    )
    assert any(note.startswith("b |: refused: ") for note in reading.notes)
    assert reading.unparsed.count == len(bad.splitlines())


def test_every_process_refused_is_a_refusal() -> None:
    bad = (DATA / "iperf3/json/3.12-tcp.client.json").read_bytes()[:900]
    with pytest.raises(TruncatedError, match="stops in the middle"):
        iperf3_json.parse(interleave(("a | ", bad), ("b | ", bad)), PATH)
