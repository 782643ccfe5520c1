"""Links of hosts: a rate, loss and delay between a host and the others of its run; in the keeper.

A host is joined to the run's bridge by a veth, whose ends are `eth0` in the host and its *port* in the
keeper's network namespace. What leaves an end waits in its queue, what arrives at it may be lost there::

    host -> [eth0: rate, delay] -> [port: loss] -> bridge -> [port: rate, delay] -> [eth0: loss] -> host

A packet that were dropped where it is sent would be known to its sender at once, so loss is at the end
that receives. Both ends send single packets while a host has a link, never batches that are one
packet to a queue and to a rule of loss. What a host and the controller say to each other passes beside
it.

All of it is in the namespaces of the host and of the keeper, and ends with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from perfkit.errors import LaunchError
from perfkit.fleet.local import linux, network, tags, tools
from perfkit.fleet.shaping import (
    DELAY,
    LOSS,
    RATE,
    REMEDIES,
    TABLE,
    counters,
    loss_lines,
    queue_lines,
    single_packets,
)
from perfkit.model import HostLink


class HostLinks:
    """The links that hosts of a run have now."""

    def __init__(self, run_id: str, switch: network.Switch) -> None:
        self._run_id, self._switch = run_id, switch
        self._there: dict[str, HostLink] = {}

    def set(self, wanted: Mapping[str, HostLink]) -> None:
        """Give these hosts these links and every other host none; counters begin at 0.

        Raises:
            LaunchError: a host is not there, or the kernel or a program refuses.
        """
        hosts = self._hosts() if wanted or self._there else {}
        if missing := sorted(wanted.keys() - hosts.keys()):
            raise LaunchError(f"links of {self._run_id}: no such host: {', '.join(missing)}")
        controller = self._switch.controller
        with _children_told():
            self._lift(hosts)
            self._there = dict(wanted)
            for name, link in wanted.items():
                with tags.pinned(hosts[name]) as pidfd, self._switch.inside(pidfd):
                    put_on("eth0", link, f"match ip dst {controller}/32", f"saddr {controller}")
                port = self._switch.port(hosts[name].fields["address"])
                put_on(port, link, f"match ip src {controller}/32", f"daddr {controller}")

    def _lift(self, hosts: Mapping[str, tags.Tagged]) -> None:
        """Take off what hosts have; one that has ended has nothing any more."""
        ports = [
            self._switch.port(hosts[name].fields["address"])
            for name in self._there
            if name in hosts
        ]
        for name in self._there:
            with (
                contextlib.suppress(KeyError, ProcessLookupError),
                tags.pinned(hosts[name]) as pidfd,
                self._switch.inside(pidfd),
            ):
                take_off(["eth0"])
        take_off(ports)

    def counted(self, names: Collection[str] = ()) -> dict[str, dict[str, dict[str, Any]]]:
        """What the links have counted by host and direction, `from_host` and `to_host`.

        Args:
            names: Only of these hosts; empty: of all.

        Raises:
            LaunchError: a program refuses. ProcessLookupError: a host with a link has ended.
        """
        found: dict[str, dict[str, dict[str, Any]]] = {}
        if not self._there:
            return found
        hosts = self._hosts()
        with _children_told():
            at_ports = counters(*read_counters())
            for name in self._there:
                if name not in hosts or (names and name not in names):
                    continue
                with tags.pinned(hosts[name]) as pidfd, self._switch.inside(pidfd):
                    inside = counters(*read_counters()).get("eth0", {})
                outside = at_ports.get(self._switch.port(hosts[name].fields["address"]), {})
                found[name] = {
                    "from_host": {**_of_queue(inside), **_of_loss(outside)},
                    "to_host": {**_of_queue(outside), **_of_loss(inside)},
                }
        return found

    def _hosts(self) -> dict[str, tags.Tagged]:
        there = (it for it in tags.scan(self._run_id) if it.kind == tags.HOST)
        return {it.fields["name"]: it for it in there}


_LOSSES = ("lost_packets", "passed_packets")


def _of_loss(counted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in counted.items() if name in _LOSSES}


def _of_queue(counted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in counted.items() if name not in _LOSSES}


def put_on(device: str, link: HostLink, sent: str, received: str) -> None:
    """Put one end of a link in force, in the network namespace that this process is in."""
    _run("ip", "-batch", "-", lines=[single_packets(device, only=True)])
    if queue := queue_lines(device, link, sent):
        _run("tc", "-batch", "-", lines=queue)
    if loss := loss_lines(device, link, received):
        _run("nft", "-f", "-", lines=loss)


def take_off(devices: list[str]) -> None:
    """Take off what `put_on` has put there; what somebody has taken off is not there."""
    if not devices:
        return
    queues = [f"qdisc del dev {it} root" for it in devices]
    _run("tc", "-force", "-batch", "-", lines=queues, may_fail=True)
    if tools.missing(("nft",)) == []:
        _run("nft", "delete", "table", *TABLE.split(), may_fail=True)
    # A host may have renamed its device: the others' links come off all the same.
    batches = [single_packets(it, only=False) for it in devices]
    _run("ip", "-force", "-batch", "-", lines=batches, may_fail=True)


def read_counters() -> tuple[str, str]:
    """What `counters` takes, of the network namespace that this process is in."""
    rules = ""
    if tools.missing(("nft",)) == []:
        rules = _run("nft", "-j", "list", "table", *TABLE.split(), may_fail=True)
    return _run("tc", "-s", "-j", "qdisc", "show"), rules


def _run(
    program: str, *arguments: str, lines: list[str] | None = None, may_fail: bool = False
) -> str:
    """What a program prints, told these lines.

    Raises:
        LaunchError: it is not installed, or it refuses.
    """
    done = subprocess.run(
        [tools.find(program), *arguments],
        input="".join(f"{line}\n" for line in lines or ()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not may_fail:
        raise LaunchError(f"{program}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return "" if done.returncode else done.stdout


@contextlib.contextmanager
def _children_told() -> Iterator[None]:
    """Meanwhile, learn how children end, which the keeper else lets the kernel reap."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
        with contextlib.suppress(ChildProcessError):  # hosts that ended meanwhile
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def probe(needs: list[str]) -> None:
    """Try once what links take, in a network namespace of this process, which ends soon.

    Raises:
        LaunchError: what does not work, why, and the remedy.
    """
    linux.unshare(linux.CLONE_NEWNET)
    _run("ip", "-batch", "-", lines=["link add port0 type veth peer name eth0"])
    nobody = "192.0.2.1"
    parts = {
        RATE: HostLink(rate_bps=1e6),
        LOSS: HostLink(loss_ratio=0.01),
        DELAY: HostLink(rate_bps=1e6, delay_s=0.01),
    }
    for need in needs:
        try:
            put_on("eth0", parts[need], f"match ip dst {nobody}/32", f"saddr {nobody}")
            take_off(["eth0"])
        except LaunchError as exc:
            raise LaunchError(f"{need}: {str(exc).splitlines()[0]}; {REMEDIES[need]}") from exc
