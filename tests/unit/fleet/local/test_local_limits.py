"""More hosts than this machine carries are refused with the limit, its figure and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from perfkit.errors import ProviderError
from perfkit.fleet.local import limits

ROOMY = {
    "kernel.pid_max": 4_194_304,
    "kernel.threads-max": 200_000,
    "fs.file-max": 2_000_000,
    **{f"user.max_{kind}_namespaces": 90_000 for kind in limits.NAMESPACES},
}


def machine(folder: Path, **changed: int) -> Path:
    """A /proc with 300 tasks and these limits."""
    for name, most in {**ROOMY, **changed}.items():
        path = folder / "sys" / name.replace(".", "/", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{most}\n")
    (folder / "loadavg").write_text("0.10 0.20 0.30 1/300 4242\n")
    (folder / "sys/fs/file-nr").write_text("1000\t0\t2000000\n")
    return folder


def refusals(found: Iterable[limits.Limit], n_hosts: int) -> list[str]:
    """Of the machine; what this process may open depends on who runs the tests."""
    return [
        said
        for limit in found
        if limit.name != "RLIMIT_NOFILE" and (said := limit.refusal(n_hosts))
    ]


def test_a_roomy_machine_refuses_nothing(tmp_path: Path) -> None:
    assert refusals(limits.machine_limits(machine(tmp_path)), 4_001) == []


@pytest.mark.parametrize(
    ("name", "most", "each", "used"),
    [
        ("kernel.pid_max", 32_768, limits.PROCESSES_PER_HOST, 300),
        ("kernel.threads-max", 20_000, limits.PROCESSES_PER_HOST, 300),
        ("fs.file-max", 200_000, limits.FILES_PER_HOST, 1_000),
        ("user.max_net_namespaces", 3_000, 1, 0),
        ("user.max_pid_namespaces", 1_024, 1, 0),
    ],
)
def test_a_limit_that_is_too_low_is_named_with_what_fits_and_the_command_that_raises_it(
    name: str, most: int, each: int, used: int, tmp_path: Path
) -> None:
    (said,) = refusals(limits.machine_limits(machine(tmp_path, **{name: most})), 4_001)
    assert f"4001 local hosts need about {4_001 * each} " in said
    assert f"{name} is {most} and {used} are in use" in said
    (fitting,) = (int(it) for it in re.findall(r"at most (\d+) hosts", said))
    assert said.endswith(f"sysctl -w {name}={used + 4_001 * each}")
    # What is proposed works, both ways.
    assert refusals(limits.machine_limits(machine(tmp_path, **{name: most})), fitting) == []
    assert refusals(limits.machine_limits(machine(tmp_path, **{name: most})), fitting + 1) == [
        said.replace("4001 ", f"{fitting + 1} ")
        .replace(str(4_001 * each), str((fitting + 1) * each))
        .replace(str(used + 4_001 * each), str(used + (fitting + 1) * each))
    ]
    raised = machine(tmp_path, **{name: used + 4_001 * each})
    assert refusals(limits.machine_limits(raised), 4_001) == []


@pytest.mark.parametrize(("line", "controller"), [("0::/user/me", ""), ("8:pids:/user/me", "pids")])
def test_the_process_limit_of_a_control_group_counts_whichever_group_above_has_it(
    line: str, controller: str, tmp_path: Path
) -> None:
    groups = tmp_path / "cgroup"
    group = groups / controller / "user/me"
    group.mkdir(parents=True)
    for folder, most in ((group, "max"), (group.parent, "5000")):
        (folder / "pids.max").write_text(f"{most}\n")
        (folder / "pids.current").write_text("40\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    (limit,) = limits.cgroup_limits(tmp_path, groups)
    assert limit.refusal(100) == ""
    said = limit.refusal(1_000)
    assert (
        f"{group.parent / 'pids.max'} is 5000 and 40 are in use; ask for at most 354 hosts" in said
    )
    assert said.endswith(f"echo 14040 > {group.parent / 'pids.max'}")


def test_the_limit_that_allows_the_fewest_hosts_is_the_one_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = {"kernel.pid_max": 30_000, "user.max_net_namespaces": 500, "fs.file-max": 100_000}
    found = [*limits.machine_limits(machine(tmp_path, **low))]
    monkeypatch.setattr(limits, "machine_limits", lambda: found)
    monkeypatch.setattr(limits, "cgroup_limits", list)
    with pytest.raises(ProviderError, match=r"max_net_namespaces is 500.*at most 500 hosts"):
        limits.require_kernel(4_001)


def test_more_hosts_than_memory_carries_are_refused_with_the_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free_bytes = 2_500 * limits.MEMORY_PER_HOST_BYTES
    monkeypatch.setattr("perfkit.fleet.local.tools.available_memory_bytes", lambda: free_bytes)
    limits.require_memory(2_500)
    said = rf"4000 local hosts need about \d+ MB of memory, {free_bytes // 10**6} MB are free; ask for at most 2500"
    with pytest.raises(ProviderError, match=said):
        limits.require_memory(4_000)
