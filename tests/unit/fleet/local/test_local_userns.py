"""User namespaces that cannot be had are said before a launch, and what they forbid once there."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine_stage import in_own_mounts

from perfkit.errors import LaunchError, ProviderError
from perfkit.fleet.local import confinement, namespaces, userns
from perfkit.fleet.local.provider import LocalProvider


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(userns, "LIMIT", tmp_path / "limit")
    monkeypatch.setattr(namespaces, "privileged", lambda *words: list(words))
    monkeypatch.setattr(namespaces.linux, "effective_capabilities", lambda: -1)
    return tmp_path / "limit"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("0", r"are switched off \(.* is 0\); sysctl -w user.max_user_namespaces=\d+, or set isol"),
        (
            "2",
            r"3 hosts need as many user namespaces, .* is 2; sysctl -w user.max_user_namespaces=",
        ),
        (None, r"this kernel has no user namespaces \(CONFIG_USER_NS\); .*isolation=loopback"),
    ],
)
def test_too_few_user_namespaces_are_refused_before_a_launch_with_the_remedy(
    limit: Path, setting: str | None, said: str
) -> None:
    if setting is not None:
        limit.write_text(f"{setting}\n")
    with pytest.raises(ProviderError, match=said):
        LocalProvider("namespaces").preflight(3)


def test_hosts_are_on_loopback_where_user_namespaces_are_switched_off(limit: Path) -> None:
    limit.write_text("0\n")
    provider = LocalProvider("auto")
    assert provider.isolation == "loopback"
    assert "user namespaces are switched off" in provider.notice


@pytest.mark.root
def test_the_kernels_refusal_is_explained() -> None:
    def work() -> str:
        owner = userns.Owner()
        owner.enter_owned()
        owner.become_root_inside()
        try:
            userns.Owner()  # a host's own limit is 0
        except LaunchError as exc:
            return str(exc)
        return "made"

    said = in_own_mounts(work)
    assert "allows no more; raise it: sysctl -w user.max_user_namespaces=" in str(said)


def refuses(program: list[tuple[int, int, int, int]], architecture: int, number: int) -> bool:
    """Run a filter program as the kernel does: seccomp(2), linux/filter.h."""
    value, place = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:
            value = {0: number, 4: architecture}[operand]
        elif code == 0x15:
            place += if_true if value == operand else if_false
        elif code == 0x35:
            place += if_true if value >= operand else if_false
        else:
            assert code == 0x06
            return operand != 0x7FFF0000


X86_64, I386, AARCH64, MIPS = 0xC000003E, 0x40000003, 0xC00000B7, 0x00000008


@pytest.mark.parametrize(
    ("machine", "architecture", "refused", "allowed"),
    [
        ("x86_64", X86_64, (103, 248, 249, 250, 0x40000000, 0x400000FA), (0, 1, 102, 104, 247, 251, 435)),
        ("x86_64", I386, (103, 286, 287, 288), (0, 1, 102, 248, 285, 289)),
        ("x86_64", AARCH64, (0, 1, 217), ()),
        ("aarch64", AARCH64, (116, 217, 218, 219), (0, 63, 115, 216, 220, 435)),
        ("aarch64", MIPS, (0, 63), ()),
    ],
)  # fmt: skip
def test_calls_for_keys_and_the_kernels_log_are_refused_in_every_set_of_calls(
    machine: str, architecture: int, refused: tuple[int, ...], allowed: tuple[int, ...]
) -> None:
    program = confinement.filter_program(confinement.REFUSED[machine])
    assert all(refuses(program, architecture, number) for number in refused)
    assert not any(refuses(program, architecture, number) for number in allowed)
