from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet as pq

from perfkit.errors import LogError
from perfkit.logs import cache as caching
from perfkit.logs import parallel, reader, registry
from perfkit.logs.cache import Cache
from perfkit.logs.format import Reading

DATA = Path(__file__).parents[2] / "data"
LOGS = [
    path
    for folder, pattern in (("iperf2", "*.log"), ("dool", "*.csv"), ("dstat", "*.csv"))
    for path in sorted((DATA / folder).glob(pattern))
]


def assert_same(one: Reading, other: Reading) -> None:
    pd.testing.assert_frame_equal(one.frame, other.frame, check_exact=True)
    for name in ("path", "format", "kind", "unparsed", "notes", "messages", "partial"):
        assert getattr(one, name) == getattr(other, name)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", smallest_bytes=1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that is cut, with a line nobody understands and a message of the tool."""
    path = tmp_path / "a.log"
    text = (DATA / "iperf2" / "server.log").read_text()
    path.write_text(text + "frobnicator\nrecv failed: reset\n[  1] 0.0")
    return path


def entry(cache: Cache) -> Path:
    (found,) = cache.folder.iterdir()
    return found


def replace_entry(cache: Cache, content: bytes) -> None:
    """An entry with another content, under a name that says so."""
    old = entry(cache)
    parts = old.name.split(".")
    parts[2] = hashlib.sha256(content).hexdigest()
    old.unlink()
    old.with_name(".".join(parts)).write_bytes(content)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
def test_what_comes_from_the_cache_is_what_was_parsed(path: Path, cache: Cache) -> None:
    parsed = parallel.read_one(path, None, cache)
    found = cache.find(path.read_bytes(), path, parsed.format)
    assert (found is None) == parsed.frame.empty
    if found is not None:
        assert_same(found, parsed)


def test_what_was_not_understood_and_what_was_said_is_kept(log: Path, cache: Cache) -> None:
    parsed = parallel.read_one(log, None, cache)
    assert (parsed.unparsed.count, parsed.partial, len(parsed.messages)) == (2, True, 2)
    found = cache.find(log.read_bytes(), log, "iperf2")
    assert found is not None
    assert_same(found, parsed)


def test_a_log_is_parsed_once_and_found_under_another_name(
    log: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    parallel.read_one(log, None, cache)
    moved = log.rename(log.with_name("b.log"))
    monkeypatch.setattr(parallel, "get_format", lambda name: pytest.fail(f"{name} parsed again"))
    chosen = registry.get_format("iperf2")
    found = cache.find(moved.read_bytes(), moved, chosen.name)
    assert found is not None
    assert found.path == moved


def test_a_log_with_one_more_line_is_another_log(log: Path, cache: Cache) -> None:
    parallel.read_one(log, None, cache)
    log.write_text(log.read_text() + "0-1.0000 sec  8 Bytes  64 bits/sec\n")
    assert cache.find(log.read_bytes(), log, "iperf2") is None


def test_another_version_of_the_parsers_parses_again(
    log: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    parallel.read_one(log, None, cache)
    monkeypatch.setattr(caching, "parsers", lambda: "newer")
    assert cache.find(log.read_bytes(), log, "iperf2") is None
    parallel.read_one(log, None, cache)
    assert cache.find(log.read_bytes(), log, "iperf2") is not None


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not parquet" * 100, b"PAR1" + bytes(50) + b"PAR1"]
)
def test_a_foreign_file_in_its_place_is_ignored_and_written_again(
    content: bytes, log: Path, cache: Cache
) -> None:
    parsed = parallel.read_one(log, None, cache)
    replace_entry(cache, content)
    assert_same(parallel.read_one(log, None, cache), parsed)
    assert cache.find(log.read_bytes(), log, "iperf2") is not None


def test_another_programs_parquet_in_its_place_is_ignored(log: Path, cache: Cache) -> None:
    parsed = parallel.read_one(log, None, cache)
    parsed.frame.to_parquet(log.with_name("foreign"))
    replace_entry(cache, log.with_name("foreign").read_bytes())
    assert cache.find(log.read_bytes(), log, "iperf2") is None


def test_an_entry_with_any_byte_damaged_is_ignored(log: Path, cache: Cache) -> None:
    parallel.read_one(log, None, cache)
    file = entry(cache)
    raw, whole, chance = log.read_bytes(), file.read_bytes(), random.Random(7)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        assert cache.find(raw, log, "iperf2") is None


def test_a_cut_entry_is_ignored(log: Path, cache: Cache) -> None:
    parallel.read_one(log, None, cache)
    file = entry(cache)
    whole = file.read_bytes()
    for length in range(0, len(whole), 97):
        file.write_bytes(whole[:length])
        assert cache.find(log.read_bytes(), log, "iperf2") is None


@pytest.mark.parametrize("about", [b"{}", b"[]", b"7", b'{"parsers": 1}', b"{"])
def test_a_sound_entry_that_says_something_else_is_ignored(
    about: bytes, log: Path, cache: Cache
) -> None:
    parallel.read_one(log, None, cache)
    table = pq.read_table(entry(cache)).replace_schema_metadata({b"perfkit": about})
    pq.write_table(table, log.with_name("other"))
    replace_entry(cache, log.with_name("other").read_bytes())
    assert cache.find(log.read_bytes(), log, "iperf2") is None


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(
    log: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache", smallest_bytes=1)
    assert_same(parallel.read_one(log, None, cache), parallel.read_one(log, None))


def test_small_logs_are_not_kept(log: Path, tmp_path: Path) -> None:
    reader.read(log, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_single_log_is_kept_only_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    text = (DATA / "iperf2" / "client-1.log").read_text()
    log.write_text(text + text.splitlines()[-1].join(["\n"] * 20_000))
    parsed = reader.read(log)
    assert sorted(tmp_path.iterdir()) == [log]
    reader.read(log, cache=tmp_path / "cache")
    assert_same(reader.read(log, cache=tmp_path / "cache"), parsed)
    assert len(list((tmp_path / "cache").glob("*.parquet"))) == 1


def test_an_error_is_an_error_with_a_cache_too(tmp_path: Path, cache: Cache) -> None:
    empty = tmp_path / "empty.log"
    empty.write_bytes(b"")
    with pytest.raises(LogError):
        parallel.read_one(empty, "iperf2", cache)
    assert not cache.folder.exists()
