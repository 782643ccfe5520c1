"""A jump host that fails: it is named, once for all hosts behind it, and used again when it is back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_sshd import LocalSshd, make_access

from perfkit.errors import HostError, LostError, UnreachableError
from perfkit.model import Host, Jump
from perfkit.ssh import jump_hosts, sockets
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, RemotePool
from perfkit.testing.provider_runs import wait_until

COUNT = 6


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[LocalSshd, LocalSshd, Access]]:
    """A host, the jump host before it, and how both are logged in to."""
    key = make_ssh_key()
    sshd, gate = (LocalSshd(tmp_path, key, name).start() for name in ("client-001", "gate"))
    yield (
        sshd,
        gate,
        make_access(tmp_path, key, sshd.host, connect_timeout_s=4.0, patience_s=8.0, silence_s=0.5),
    )
    sshd.stop()
    gate.stop()


def behind(gate: LocalSshd, sshd: LocalSshd) -> list[Host]:
    """Hosts behind the gate: one machine under many names."""
    at = gate.host
    jump = Jump(name="gate", address=at.address, port=at.port, user=at.user, host_key=at.host_key)
    return [replace(sshd.host, name=f"client-{n:03d}", jump=jump) for n in range(COUNT)]


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_jump_host_that_dies_under_a_command_is_named_as_the_cause(
    places: tuple[LocalSshd, LocalSshd, Access], fault: signal.Signals, tmp_path: Path
) -> None:
    sshd, gate, access = places
    first, second, *_ = behind(gate, sshd)
    begun = tmp_path / "begun"

    def kill_once_it_has_begun() -> None:
        wait_until(begun.exists, 60)
        gate.signal(fault)

    killer = threading.Thread(target=kill_once_it_has_begun)
    with RemotePool(access) as pool:
        pool.admit(first)
        pool.admit(second)
        killer.start()
        with pytest.raises(LostError, match=r"its jump host gate does not answer any more.*sleep"):
            pool.get(first).run_script(f": >{begun}; sleep 60")
        killer.join()
        with pytest.raises(
            HostError, match=r"its jump host gate (was not reached|does not answer)"
        ):
            pool.get(second).run(["true"])
        if fault is signal.SIGSTOP:
            gate.signal(signal.SIGCONT)
            assert wait_until(lambda: is_reached(pool, second), 30)


def is_reached(pool: RemotePool, host: Host) -> bool:
    with contextlib.suppress(UnreachableError):
        return pool.get(host).run(["echo", "in"]).stdout == "in\n"
    return False


def test_a_host_that_dies_behind_a_jump_host_is_not_blamed_on_it(
    places: tuple[LocalSshd, LocalSshd, Access],
) -> None:
    sshd, gate, access = places
    host = behind(gate, sshd)[0]
    with RemotePool(access) as pool:
        pool.admit(host)
        sshd.signal(signal.SIGSTOP)
        with pytest.raises(LostError, match=r"^client-000: connection lost"):
            pool.get(host).run_script("sleep 20")


def test_hosts_behind_a_dead_jump_host_fail_together(
    places: tuple[LocalSshd, LocalSshd, Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt of each host's own, one after the other, would cost the sum of their timeouts."""
    sshd, gate, access = places
    gate.signal(signal.SIGSTOP)
    attempts: list[tuple[str, int]] = []
    reasons: list[str] = []

    def connect(address: tuple[str, int], timeout_s: float) -> object:
        attempts.append(address)
        return sockets.open_socket(address, timeout_s)

    def reach(host: Host) -> None:
        with pytest.raises(UnreachableError) as unreached:
            pool.admit(host)
        reasons.append(unreached.value.message)

    monkeypatch.setattr(jump_hosts, "open_socket", connect)
    with RemotePool(access) as pool:
        threads = [threading.Thread(target=reach, args=[host]) for host in behind(gate, sshd)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(attempts) < COUNT
    assert len(reasons) == COUNT
    assert all("its jump host gate was not reached" in reason for reason in reasons)
