"""Every file that a host sends, with every attack on it: segment and report go on without it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from perfkit import untrusted
from perfkit.analysis import segments, stats
from perfkit.analysis.outcomes import outcomes
from perfkit.campaign import offline
from perfkit.logs.reader import read_run
from perfkit.report.page import render
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

SLOT = "01-direct-tcp"
# One hostile client each, so that one run meets an attack on all of them.
OF_CLIENTS = {
    "client-002": f"{SLOT}.log",
    "client-003": f"{SLOT}.events.json",
    "client-004": "facts.json",
    "client-005": "openvpn.log",
    "client-006": "openvpn-status.log",
}
OF_SERVER = ("monitor.csv", "procstat.csv", "facts.json", "openvpn.log", "openvpn-status.log")
COUNTERS = (*OF_CLIENTS.items(), *(("server", name) for name in OF_SERVER))
GROUPS = {"beside the server's log": COUNTERS, "server's log": (("server", f"{SLOT}.server.log"),)}
HONEST = ["client-001", "client-007"]
MIB = 2**20


def is_json(data: bytes) -> bool:
    return data.lstrip().startswith(b"{")


def every_key_twice(data: bytes) -> bytes:
    return data.rstrip().rstrip(b"}") + b", " + data.lstrip(b"{ \n") if is_json(data) else b""


def in_each_value(value: str) -> Callable[[bytes], bytes]:
    """An attack that puts a JSON value behind every colon; other files get it as a line."""

    def attack(data: bytes) -> bytes:
        if not is_json(data):
            return data + value.encode() + b"\n"
        pairs = (f"{json.dumps(key)}: {value}" for key in json.loads(data))
        return f"{{{', '.join(pairs)}}}".encode()

    return attack


@cache
def bomb(pack: Callable[[bytes], bytes], piece: bytes) -> bytes:
    """4 MiB of a piece, packed; once, since packing them takes long."""
    return pack(piece * (4 * MIB // len(piece)))


ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "a gzip bomb": lambda _: bomb(gzip.compress, b"\0"),
    "an xz bomb": lambda _: bomb(lzma.compress, b"\n"),
    "a bzip2 bomb": lambda _: bomb(bz2.compress, b"1,2,3,4\n"),
    "a bomb behind the head": lambda data: gzip.compress(data + b"\n" * 4 * MIB),
    "cut gzip": lambda data: gzip.compress(data)[:-9],
    "deep arrays": lambda _: b"[" * 100_000,
    "deep objects": lambda data: data[:30] + b'{"a":' * 100_000,
    "deep values": in_each_value("[" * 5000 + "]" * 5000),
    "numbers of a million digits": in_each_value("9" * 10**6),
    "an infinite exponent": in_each_value("1e999"),
    "no numbers": in_each_value("NaN"),
    "infinity": in_each_value("-Infinity"),
    "lone surrogates": in_each_value(r'"\ud800"'),
    "escapes": in_each_value(r'"\u001b]0;x\u0007\u0000"'),
    "lists": in_each_value("[]"),
    "objects": in_each_value('{"a": 1}'),
    "texts": in_each_value('"x"'),
    "true": in_each_value("true"),
    "every key twice": every_key_twice,
    "bytes that are no text": lambda data: b"\xff\xfe\xed\xa0\x80" + data + b"\xed\xa0\x80\n",
    "NULs and terminal escapes": lambda data: data.replace(b"\n", b"\0\x1b[2J\x1b]0;\x07\n"),
    "a line of 3 MiB": lambda data: data + b"[  3] " * (MIB // 2) + b"\n",
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "nothing": lambda _: b"",
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(
        tmp_path_factory.mktemp("honest") / "run", clients=7, tests=["direct-tcp"], duration_s=4
    )
    for number in range(1, 8):
        shutil.copy(
            run.host_raw_dir("server") / "facts.json", run.host_raw_dir(f"client-{number:03d}")
        )
    return run


def figures_of(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """Each client's figures, and where something was found."""
    logs = read_run(run, cached=False)
    found = outcomes(logs)
    summary = stats.summarise(logs, segments.current(run, logs, found, "events"), found)
    return summary.clients.set_index("host"), [f"{it.where} {it.text}" for it in logs.findings]


def same(one: pd.DataFrame, other: pd.DataFrame, hosts: list[str]) -> bool:
    columns = ["ok", "goodput_bps"]
    return bool(one.loc[hosts, columns].equals(other.loc[hosts, columns]))


@pytest.fixture(scope="module")
def as_it_is(honest: Run) -> pd.DataFrame:
    return figures_of(honest)[0]


@pytest.fixture(scope="module")
def figures_without(
    honest: Run, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pd.DataFrame]:
    """The figures where the files of a group are missing, by group."""
    found = {}
    for name, group in GROUPS.items():
        copy = Run(tmp_path_factory.mktemp("without") / "run")
        shutil.copytree(honest.root, copy.root)
        for host, file in group:
            (copy.host_raw_dir(host) / file).unlink(missing_ok=True)
        found[name] = figures_of(copy)[0]
    return found


# To a log that is no JSON, most of the others are one more strange line.
ON_TEXT: tuple[str, ...] = (
    "a gzip bomb",
    "an xz bomb",
    "a bzip2 bomb",
    "a bomb behind the head",
    "cut gzip",
)
ON_TEXT += ("bytes that are no text", "NULs and terminal escapes", "a line of 3 MiB", "UTF-16")
CASES = [("beside the server's log", name) for name in ATTACKS]
CASES += [("server's log", name) for name in ON_TEXT]


@pytest.mark.parametrize(("of_whom", "name"), CASES)
def test_hostile_files_are_named_and_the_other_hosts_keep_their_figures(
    of_whom: str,
    name: str,
    honest: Run,
    as_it_is: pd.DataFrame,
    figures_without: dict[str, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(untrusted, "FILE_BYTES", MIB)
    group, without = GROUPS[of_whom], figures_without[of_whom]
    run = Run(tmp_path / "run")
    shutil.copytree(honest.root, run.root)
    for host, file in group:
        path = run.host_raw_dir(host) / file
        data = path.read_bytes() if path.exists() else b"OpenVPN STATISTICS\n"
        path.write_bytes(ATTACKS[name](data))
    clients, findings = figures_of(run)
    assert same(clients, as_it_is, HONEST) or same(clients, without, HONEST)
    for host, file in group:
        is_named = any(file in line and host in line for line in findings)
        known = () if host == "server" else (as_it_is, without)
        is_harmless = any(same(clients, figures, [host]) for figures in known)
        if file.endswith(".json") or not (host == "server" or is_harmless):
            assert is_named
    for line in findings:
        assert line.isprintable()
        assert len(line) < 3000


def test_a_report_names_all_hostile_hosts_and_counts_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "FILE_BYTES", MIB)
    run = make_run(tmp_path / "run", clients=len(ATTACKS) + 2, tests=["direct-tcp"], duration_s=4)
    facts = (run.host_raw_dir("server") / "facts.json").read_bytes()
    hostile = []
    for number, attack in enumerate(ATTACKS.values(), start=1):
        folder = run.host_raw_dir(f"client-{number:03d}")
        hostile.append(folder.name)
        (folder / "facts.json").write_bytes(attack(facts))
        for path in (folder / f"{SLOT}.events.json", folder / f"{SLOT}.log"):
            path.write_bytes(attack(path.read_bytes()))
    offline.segment(run)
    made = render(run)
    page = (run.report_dir / "index.html").read_text()
    clients = made.summary.clients.set_index("host")
    honest = sorted(set(clients.index) - set(hostile))
    assert len(honest) == 2
    assert clients.loc[honest, "ok"].all()
    assert not clients.loc[hostile, "ok"].any()
    for name in hostile:
        assert name in page
