"""How fast logs are read, beside pandas' and mawk's ways with the same bytes, in the same run.

    pytest tests/benchmarks/bench_readers.py -m benchmark -s

Logs are made in the text of the real tools from a seed. Contestants take turns, so that what else
the machine does hits both; a ratio is the median over the turns. Processor time is printed beside
the clock's: on a machine with other work, whoever uses all cores pays more on the clock. That is
ours, and from 3.1 on pandas' C engine too, which then is about twice as fast as it was; so it is
measured on one thread as well.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.logs import registry
from perfkit.logs.reader import read, read_many
from perfkit.testing.logtext import (
    T0_UTC_S,
    SimulatedSlot,
    SimulatedStream,
    client_log,
    monitor_csv,
    server_log,
)

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

TURNS = 25
MB = 1_000_000
DSTAT_TARGET = 1.3  # times pandas
IPERF_TARGET_MB_PER_S, MAWK_TARGET = 60, 3
MANY_TARGET_MS = 2
MEMORY_TARGET = 5  # times the input
# The old script's three fields, of the lines that have them in this log.
MAWK = "/Bytes/ { total += $(NF - 4); rate += $(NF - 2); n++ } END { print n, total, rate }"
# Not ru_maxrss: a child begins with its parent's.
PEAK = """
import sys
from pathlib import Path
from perfkit.logs import registry
from perfkit.logs.reader import read
def peak_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
registry.formats()
idle_kb = peak_kb()
reading = read(Path(sys.argv[1]))
print(1024 * (peak_kb() - idle_kb))
"""


def say(text: str) -> None:
    """The benchmark's output is what it prints."""
    sys.stdout.write(f"{text}\n")


def seconds(work: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    work()
    return time.perf_counter() - begin_s


def processor_s(work: Callable[[], object]) -> float:
    """Seconds of all processors, those of child processes too."""
    begun = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - begun


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], turns: int = TURNS
) -> tuple[float, float, float]:
    """Medians of our seconds, their seconds, and of the ratio turn by turn."""
    ours()  # files into the page cache, modules into memory
    theirs()
    mine_s, other_s = (
        statistics.median(processor_s(work) for _ in range(3)) for work in (ours, theirs)
    )
    took = []
    for turn in range(turns):  # who comes second finds the memory that the first has given back
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        took_s = seconds(first), seconds(second)
        took.append(took_s if turn % 2 else took_s[::-1])
    say(f"\nof all processors ours takes {mine_s:.2f} s, theirs {other_s:.2f} s")
    return (
        statistics.median(mine for mine, _ in took),
        statistics.median(other for _, other in took),
        statistics.median(mine / other for mine, other in took),
    )


def slot(clients: int, duration_s: int, seed: int) -> SimulatedSlot:
    chance = np.random.default_rng(seed)
    made = SimulatedSlot("01-direct-tcp", "direct-tcp", "direct", 0.0, float(duration_s))
    for number in range(clients):
        tail_s = chance.uniform(0.001, 0.02)
        sizes = chance.integers(1, 3000, duration_s + 1) * 1024
        made.streams.append(
            SimulatedStream(
                host=f"client-{number:04d}",
                number=number,
                process_start_s=0.0,
                start_s=float(chance.uniform(0.0, 0.3)),
                edges_s=np.append(np.arange(duration_s + 1.0), duration_s + tail_s),
                size_bytes=sizes,
                process_end_s=duration_s + 1.0,
            )
        )
    return made


def write_dool(path: Path, size_bytes: int) -> int:
    """A dool CSV; returns the lines of its head."""
    chance = np.random.default_rng(1)
    head = monitor_csv([slot(1, 1, 0)], chance, 0.0, ()).split("\n1", 1)[0]
    row = "%.3f,%.3f,%.3f,%.3f,%.3f,0,%d,%d,%d,%d,%d,%d,%d,%d\n"
    written = 0
    with path.open("w") as file:
        file.write(f"{head}\n")
        while file.tell() < size_bytes:
            shares = chance.uniform(0, 25, (10_000, 4)).round(3).tolist()
            bytes_used = chance.integers(4e8, 9e9, (10_000, 4)).tolist()
            rates = chance.integers(0, 3e8, (10_000, 4)).tolist()
            for cpu, memory, net in zip(shares, bytes_used, rates, strict=True):
                file.write(row % (T0_UTC_S + written, *cpu, *memory, *net))
                written += 1
    return head.count("\n") + 1


@pytest.fixture(scope="module")
def dool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("dool") / "monitor.csv"
    return path, write_dool(path, 100 * MB)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("iperf") / "server.log"
    path.write_text(server_log(slot(1000, 370, 2), 0.0))
    return path


@pytest.fixture(scope="module", autouse=True)
def show_load() -> Iterator[None]:
    registry.formats()
    yield
    say(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")


def test_a_large_dool_file_beside_pandas(dool: tuple[Path, int]) -> None:
    path, head_lines = dool

    def by_pandas() -> object:
        return pd.read_csv(path, skiprows=head_lines, header=None, engine="c")

    def by_one_thread() -> object:
        with pd.option_context("mode.max_threads", 1):
            return by_pandas()

    size = path.stat().st_size / MB
    ratios = {}
    for name, theirs in {"on one thread": by_one_thread, "as it is": by_pandas}.items():
        ours_s, theirs_s, ratios[name] = side_by_side(lambda: read(path), theirs)
        say(
            f"\ndool, {size:.0f} MB: {ours_s:.3f} s ({size / ours_s:.0f} MB/s), pandas.read_csv {name} "
            f"{theirs_s:.3f} s, ratio {ratios[name]:.2f} (target {DSTAT_TARGET})"
        )
    assert ratios["as it is"] <= DSTAT_TARGET


def test_a_large_dool_file_with_damage(dool: tuple[Path, int], tmp_path: Path) -> None:
    path, head_lines = dool
    lines = path.read_bytes().split(b"\n")[:200_000]
    sound, damaged = tmp_path / "sound.csv", tmp_path / "damaged.csv"
    sound.write_bytes(b"\n".join(lines) + b"\n")
    for place in range(head_lines + 1, len(lines), len(lines) // 10):
        lines[place] = b"killed"
    damaged.write_bytes(b"\n".join(lines) + b"\n")
    assert read(damaged).unparsed.count == 10
    with_damage, without, ratio = side_by_side(lambda: read(damaged), lambda: read(sound))
    say(
        f"\n10 of 200,000 rows damaged {with_damage:.3f} s, none {without:.3f} s, {ratio:.1f} times"
    )


def test_a_large_iperf_server_log_beside_mawk(server: Path) -> None:
    command = ["mawk", MAWK, str(server)]
    ours, theirs, ratio = side_by_side(
        lambda: read(server),
        lambda: subprocess.run(command, capture_output=True, check=True),
    )
    size = server.stat().st_size / MB
    say(
        f"\niperf 2 server, 1,000 clients, {size:.0f} MB: {ours:.3f} s, {size / ours:.0f} MB/s "
        f"(target {IPERF_TARGET_MB_PER_S}); mawk {theirs:.3f} s, ratio {ratio:.2f} "
        f"(target {MAWK_TARGET})"
    )
    assert size / ours >= IPERF_TARGET_MB_PER_S
    assert ratio <= MAWK_TARGET


def texts_of_servers(files: int) -> Iterator[str]:
    for seed in range(files):
        yield server_log(slot(100, 10, seed), 0.0)


def texts_of_clients(files: int) -> Iterator[str]:
    for seed in range(files // 100):
        of_100 = slot(100, 10, seed)
        for stream in of_100.streams:
            yield client_log(of_100, stream, 0.0)


@pytest.mark.parametrize("make", [texts_of_servers, texts_of_clients])
def test_a_thousand_files(make: Callable[[int], Iterator[str]], tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:04d}.log" for number in range(1000)]
    for path, text in zip(paths, make(1000), strict=True):
        path.write_text(text)
    with ProcessPoolExecutor(2) as processes:
        ways: dict[str, Callable[[], object]] = {
            "one by one": lambda: [read(path) for path in paths],
            "read_many": lambda: read_many(paths),
            "read_many, 2 processes": lambda: read_many(paths, processes),
        }
        for work in ways.values():
            work()
        of_a_processor = [f"{name} {processor_s(ways[name]):.2f}" for name in list(ways)[:2]]
        turns = [{name: seconds(work) for name, work in ways.items()} for _ in range(5)]
    per_file_ms = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    size_kb = sum(path.stat().st_size for path in paths) / len(paths) / 1000
    told = ", ".join(f"{name} {ms:.2f}" for name, ms in per_file_ms.items())
    say(f"\n{make.__name__}, 1,000 of {size_kb:.0f} kB, ms a file: {told} ({MANY_TARGET_MS=})")
    say(f"ms of a processor a file: {', '.join(of_a_processor)}")
    assert per_file_ms["read_many, 2 processes"] <= MANY_TARGET_MS


def test_a_large_log_from_the_cache(server: Path, tmp_path: Path) -> None:
    read(server, cache=tmp_path)
    kept_s, parsed_s, ratio = side_by_side(
        lambda: read(server, cache=tmp_path), lambda: read(server)
    )
    say(f"\n{server.name} from the cache {kept_s:.3f} s, parsed {parsed_s:.3f} s, {ratio:.2f}")
    assert ratio < 1


def test_memory_of_reading_large_logs(dool: tuple[Path, int], server: Path) -> None:
    for path in (dool[0], server):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
        )
        ratio = int(done.stdout) / path.stat().st_size
        say(f"\n{path.name}: peak memory {ratio:.1f} times the input (target {MEMORY_TARGET})")
        assert 1 < ratio < MEMORY_TARGET
