"""What a host says about its files is data from a stranger: contained, bounded, and told."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest
from hostile_host import ATTACKS, CONTENT, LOG, RECORD, Attack, collect_from

from perfkit.measure import collect
from perfkit.ssh.commands import CAPTURE_BYTES


def test_an_honest_host_delivers(tmp_path: Path) -> None:
    found = collect_from(Attack(""), tmp_path)
    assert found.result.ok, found.result.reason
    assert found.kept == {LOG: CONTENT, RECORD: CONTENT}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_reaches_nothing_ends_in_time_and_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "FILES_LIMIT", 20)
    attack = ATTACKS[name]
    tracemalloc.start()
    found = collect_from(attack, tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.result.ok
    assert attack.words in found.result.reason
    assert found.result.reason.isprintable()
    assert len(found.result.reason) < 2000
    assert found.escaped == []
    assert set(found.kept.values()) <= {CONTENT}
    assert len(found.kept) <= 20
    assert all(re.fullmatch(r"[0-9]+(-[a-z]+)?(.events)?.(log|json)", name) for name in found.kept)
    assert found.elapsed_s < attack.deadline_s + 100
    assert found.written_bytes < 8 * CAPTURE_BYTES
    assert peak_bytes < 64 * CAPTURE_BYTES
