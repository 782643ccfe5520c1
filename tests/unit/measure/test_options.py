"""How far the tests are, in words; which hosts are watched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from perfkit.measure.options import MeasureProgress, Options
from perfkit.model import Host, Role

SERVER = Host(name="server", role=Role.SERVER, address="192.0.2.1", host_key="k", machine="lab-0")


def clients(*machines: str) -> list[Host]:
    return [
        Host(
            name=f"client-{n:03d}", role=Role.CLIENT, address="192.0.2.2", host_key="k", machine=on
        )
        for n, on in enumerate(machines, 1)
    ]


@pytest.mark.parametrize(
    ("t_s", "slot", "says"),
    [
        (-3.2, None, "T0 in 3 s"),
        (4.0, "01-a", "T+4 s: 01-a, 26 s to go"),
        (14.0, None, "T+14 s: between tests, 16 s to go"),
        (30.0, None, "T+30 s: the tests are over"),
    ],
)
def test_progress_is_one_line(t_s: float, slot: str | None, says: str) -> None:
    assert str(MeasureProgress(t_s=t_s, end_s=30.0, slot=slot)) == says


@pytest.mark.parametrize(
    ("machines", "monitor", "watched"),
    [
        (["lab-1", "lab-1", "lab-2", "lab-2"], "all", {"server", "client-001", "client-003"}),
        (["lab-1", "lab-2"], "all", {"server", "client-001", "client-002"}),
        (["", ""], "all", {"server", "client-001", "client-002"}),
        (["lab-1", "lab-1"], "server", {"server"}),
    ],
)
def test_processors_of_a_machine_that_hosts_share_are_watched_once(
    machines: list[str], monitor: Literal["server", "all"], watched: set[str]
) -> None:
    options = Options(bin_dir=Path("bin"), monitor=monitor)
    assert options.watched([SERVER, *clients(*machines)]) == watched
