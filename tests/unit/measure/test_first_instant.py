"""When the tests begin: late enough for all hosts to be armed, and for what is to lie before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.measure.options import Hooks, Options
from perfkit.measure.plan import SERVER_LEAD_S, Addresses
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import EpochStarter
from perfkit.model import Host, HostResult, Role
from perfkit.runs.folder import Run
from perfkit.ssh.remote import Access, RemotePool

NOW_S = 1_000_000.0
TOOK_S = 0.25  # to make the one host ready


def first_instant_s(tmp_path: Path, idle_s: float) -> float:
    """T0 of one host that is ready, seconds after now."""
    host = Host(name="client-001", role=Role.CLIENT, address="127.0.0.1", host_key="x")
    work = Measurement(
        run=Run(tmp_path),
        hosts=[host],
        slots=(),
        pool=RemotePool(Access(key_path=tmp_path / "key", known_hosts_path=tmp_path / "hosts")),
        starter=EpochStarter(),
        addresses=Addresses(remote="127.0.0.1"),
        options=Options(bin_dir=tmp_path, idle_s=idle_s),
        hooks=Hooks(now=lambda: NOW_S),
        results={host.name: HostResult(host=host.name, ok=True, elapsed_s=TOOK_S)},
    )
    return work._choose_t0() - NOW_S  # private: T0 alone, without a host


@pytest.mark.parametrize("idle_s", [1.0, 5.0, 30.0])
def test_nothing_is_started_for_the_time_of_the_idle_control(tmp_path: Path, idle_s: float) -> None:
    t0_s = first_instant_s(tmp_path, idle_s)
    assert t0_s >= TOOK_S + max(idle_s, SERVER_LEAD_S)
    assert t0_s <= max(first_instant_s(tmp_path, 0.0), idle_s + 2.0)  # and no longer


def test_a_single_run_waits_only_for_its_hosts(tmp_path: Path) -> None:
    assert first_instant_s(tmp_path, 0.0) == 5.0
