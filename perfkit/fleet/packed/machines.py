"""Machines that hosts are packed onto, over SSH: looked at, prepared, asked for hosts.

Each is logged in to as its provider's `Host` says; a user who is not root becomes root by sudo, as with
all existing machines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from shlex import join, quote
from typing import Any

from perfkit import untrusted
from perfkit.errors import HostError, PerfkitError, UntrustedError
from perfkit.fleet.packed import shipping
from perfkit.fleet.packed.logins import Logins
from perfkit.fleet.parallel import on_all
from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Host
from perfkit.ssh.commands import CommandResult
from perfkit.ssh.remote import Access, RemotePool

ANSWER_BYTES = 1_000_000
_AS_ROOT = 'if [ "$(id -u)" -eq 0 ]; then exec sh -c {0}; fi; exec sudo -n sh -c {0}'
_IS_OF = "grep -qsxF run={0} {1}/perfkit.tag"
_UNLESS_READY = f"[ -e {{1}}/packed/forward ] && {_IS_OF} && exit 0\n"
_IF_READY = "[ -e forward ] || {{ {0}exit 0; }}\n"  # else it has no hosts: it failed to get ready
_ACCESS = Access(
    key_path=Path("none"),  # each machine has its own
    known_hosts_path=None,  # and its own pin
    command_timeout_s=300.0,  # a hundred hosts on a busy machine
    may_boot=False,
)


class Machines:
    """Work on machines; connections are opened for one piece of work on all and closed after it.

    Attributes:
        logins: To machines that were launched for the run alone; None: they have keys already.
    """

    logins: Logins | None = None

    def connections(self) -> RemotePool:
        """Connections to machines for several pieces of work."""
        key = self.logins.access.key_path if self.logins else _ACCESS.key_path
        return RemotePool(replace(_ACCESS, key_path=key))

    def take_over(self, pool: RemotePool, machine: Host, run_id: str, timeout_s: float) -> Host:
        """Have a machine that was launched for the run alone let it in; see `Logins.take_over`.

        Raises:
            HostError: why it cannot be had.
        """
        assert self.logins is not None
        own = self.logins.take_over(pool, machine, timeout_s)
        workdir = quote(own.workdir)
        mark = f"mkdir -p {workdir} && echo run={run_id} >{workdir}/perfkit.tag"
        _as_root(pool, own, mark)
        return own

    def pings(self, pool: RemotePool, server: Host, address: str) -> bool:
        """Whether an address answers the server."""
        script = f"ping -n -c 5 -i 0.3 -W 3 {quote(address)} >/dev/null 2>&1 || echo silent"
        return _as_root(pool, server, script).stdout.strip() != "silent"

    def look(
        self, machines: Sequence[Host], addresses: Mapping[str, Sequence[str]], run_id: str = ""
    ) -> dict[str, Mapping[str, tuple[str, ...]] | PerfkitError]:
        """What each says about itself, by key; nothing there is changed.

        Args:
            addresses: By machine, those that it must reach.
            run_id: A machine that was made ready for this run, after a look at it, says nothing: it may
                carry hosts, whose memory and addresses are not in their own way.
        """
        text = shipping.MACHINE_SH.read_text()
        with self.connections() as pool:

            def ask(machine: Host) -> Mapping[str, tuple[str, ...]]:
                begin = _UNLESS_READY.format(run_id, quote(machine.workdir)) if run_id else ""
                script = f"{begin}set -- look {join(addresses[machine.name])}\n{text}"
                return _fields(_as_root(pool, machine, script).stdout)

            return on_all(machines, ask)

    def prepare(self, pool: RemotePool, machine: Host, run_id: str) -> None:
        """Send a machine what it takes to make hosts, and let it forward.

        Raises:
            HostError: it cannot be had; the message says why.
        """
        sent = shipping.archive(run_id, makes_hosts=True)
        script = f"{shipping.unpacking(sent)}sh ./machine.sh forward"
        _in_folder(pool, machine, run_id, script, sent)

    def route(
        self, pool: RemotePool, server: Host, run_id: str, ways: Mapping[IPv4Network, str]
    ) -> None:
        """Give the server the routes to the hosts of each machine.

        Raises:
            HostError: it refuses one, most likely because it has such a route.
        """
        words = [word for prefix, gateway in ways.items() for word in (str(prefix), gateway)]
        sent = shipping.archive(run_id, makes_hosts=False)
        script = f"{shipping.unpacking(sent)}sh ./machine.sh route {join(words)}"
        _in_folder(pool, server, run_id, script, sent)

    def launch(
        self,
        pool: RemotePool,
        machine: Host,
        request: LaunchRequest,
        hosts: Sequence[HostRequest],
        more: Mapping[str, Any],
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Have hosts made on a machine.

        Args:
            more: `subnet`, `peers` and `n_hosts`, see `on_machine`.

        Returns:
            Addresses by name, and reasons by name of those that could not be made.

        Raises:
            HostError: it could not be asked, or its answer makes no sense.
        """
        asked = {
            "token": request.token,
            "run_id": request.run_id,
            "owner": request.owner,
            "expires_s": request.expires_utc.timestamp(),
            "authorized_key": request.authorized_key,
            "hosts": [
                {
                    "name": host.name,
                    "role": host.role.value,
                    "host_key": host.host_key,
                    "host_key_private": host.host_key_private,
                }
                for host in hosts
            ],
            **more,
        }
        # Forwarding again: a machine that was switched off meanwhile has forgotten it.
        script = f"sh ./machine.sh forward || exit 1\n{_module(['launch'])}"
        said = self._ask(pool, machine, request.run_id, script, json.dumps(asked).encode())
        try:
            made = _checked(said, {host.name for host in hosts}, IPv4Network(more["subnet"]))
        except ValueError as exc:
            raise HostError(machine.machine, f"what it answered makes no sense: {exc}") from exc
        failed = said["failed"].items()
        return made, {str(name): untrusted.one_line(str(why)) for name, why in failed}

    def list_hosts(self, machines: Sequence[Host], run_id: str) -> dict[str, Any]:
        """Addresses by name of the hosts on each machine, or what went wrong there."""
        script = _IF_READY.format("echo '{}'; ") + _module(["list", run_id])
        with self.connections() as pool:
            return on_all(machines, lambda m: self._ask(pool, m, run_id, script))

    def end_hosts(
        self, machines: Sequence[Host], run_id: str, names: Sequence[str]
    ) -> dict[str, Mapping[str, tuple[str, ...]] | PerfkitError]:
        """End hosts by name on whichever machine they are: `cleaned` and `left` of each machine."""
        with self.connections() as pool:

            def end(machine: Host) -> Mapping[str, tuple[str, ...]]:
                script = _IF_READY.format("") + _module(["end", run_id, *names])
                done = _in_folder(pool, machine, run_id, script, check=False)
                said = _fields(done.stdout)
                if done.exit_status != 0 and "left" not in said:
                    raise _failed(machine, done)
                return said

            return on_all(machines, end)

    def _ask(
        self,
        pool: RemotePool,
        machine: Host,
        run_id: str,
        script: str,
        stdin: bytes = b"",
    ) -> dict[str, Any]:
        done = _in_folder(pool, machine, run_id, script, stdin)
        try:
            said = untrusted.parse_json(done.stdout.encode(), limit_bytes=ANSWER_BYTES)
        except UntrustedError as exc:
            raise HostError(machine.machine, f"what it answered is no JSON: {exc}") from exc
        if not isinstance(said, dict):
            raise HostError(machine.machine, "what it answered is no object of JSON")
        return said


def _checked(said: Mapping[str, Any], names: set[str], subnet: IPv4Network) -> dict[str, str]:
    """Addresses by name, out of what a machine said of a launch.

    Raises:
        ValueError: hosts that nobody asked for, or addresses that are not theirs.
    """
    made = said.get("hosts")
    if not isinstance(made, dict) or not isinstance(said.get("failed"), dict):
        raise UntrustedError(f"no hosts and failed in {untrusted.one_line(str(said), 200)}")
    addresses = {str(name): str(IPv4Address(it)) for name, it in made.items()}
    if not names.issuperset(addresses):
        raise UntrustedError(f"hosts that nobody asked for: {sorted(addresses)}")
    if strange := [it for it in addresses.values() if IPv4Address(it) not in subnet]:
        raise UntrustedError(f"addresses outside {subnet}: {strange}")
    return addresses


def _module(words: Sequence[str]) -> str:
    return f"exec python3 -m perfkit.fleet.packed.on_machine {join(words)}"


def _in_folder(
    pool: RemotePool,
    machine: Host,
    run_id: str,
    script: str,
    stdin: bytes = b"",
    *,
    check: bool = True,
) -> CommandResult:
    """Run a script in the run's folder for packed hosts; what it starts is marked as the run's.

    Raises:
        HostError: it failed, or the machine is not the run's any more.
    """
    workdir = quote(machine.workdir)
    begin = (
        f"{_IS_OF.format(run_id, workdir)} || "
        f"{{ echo it does not belong to run {run_id} any more >&2; exit 1; }}\n"
        f"mkdir -p {workdir}/packed && cd {workdir}/packed || exit 1\n"
        f"export PERFKIT_WORKDIR={workdir}\n"
    )
    return _as_root(pool, machine, begin + script, stdin, check=check)


def _as_root(
    pool: RemotePool, machine: Host, script: str, stdin: bytes = b"", *, check: bool = True
) -> CommandResult:
    """Run a script as root.

    Raises:
        HostError: it failed; the last line of what it said is the reason.
    """
    login = replace(machine, name=machine.machine, workdir="")  # not all that is asked is the run's
    done = pool.get(login).feed_script(_AS_ROOT.format(quote(script)), stdin)
    if check and done.exit_status != 0:
        raise _failed(machine, done)
    return done


def _failed(machine: Host, done: CommandResult) -> HostError:
    said = (done.stderr.strip() or done.stdout.strip() or "no reason").splitlines()[-1]
    return HostError(machine.machine, f"exit {done.exit_status}: {untrusted.one_line(said, 300)}")


def _fields(text: str) -> Mapping[str, tuple[str, ...]]:
    """key=value lines, by key."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        found[key] = (*found.get(key, ()), untrusted.one_line(value, 10_000))
    return found
