"""A run with more hosts than one bridge carries: a tree of bridges, here with three hosts each."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked import in_child
from local_runs import LocalRun, answers, in_fresh_process, wait_until

from perfkit.fleet.local import linux, namespaces, network, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.model import Host

pytestmark = pytest.mark.root

PER_BRIDGE = 3
# The keeper as it is, but that its bridges are small; its tag is where it was in the command line.
KEEPER = f"""
import sys
from perfkit.fleet.local import bridges, keeper
bridges.HOSTS_PER_BRIDGE = {PER_BRIDGE}
sys.exit(keeper.main(sys.argv[1:]))
"""
NAMES = ("server", *(f"client-{number:03d}" for number in range(1, 8)))
TYPE = 0x88B5  # IEEE 802, for experiments: nobody else's frames
ALL, MANY, NOBODY = "ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", "02:00:00:00:00:77"


@dataclass(frozen=True)
class Tree:
    """A run whose hosts are on several bridges."""

    run: LocalRun
    hosts: Mapping[str, Host]
    pids: Mapping[str, int]
    keeper: int

    def mac(self, name: str) -> str:
        return network._mac(self.hosts[name].address)  # private: what the bridges are told

    def at_the_bridges(self, *command: str) -> str:
        return out("nsenter", "-t", str(self.keeper), "-n", *command)


def out(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def small_bridges(*arguments: str) -> list[str]:
    return [sys.executable, "-c", KEEPER, *arguments]


def launched(folder: Path) -> Tree:
    """In two batches, as a fleet is launched: the second comes to leaves that are there and new ones."""
    provider, run = LocalProvider("namespaces"), LocalRun(folder)
    provider._n_hosts = len(NAMES)  # private: `preflight` also probes, which is tested elsewhere
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespaces, "privileged", small_bridges)
        hosts = [
            *provider.launch(run.request(*NAMES[:4])),
            *provider.launch(run.request(*NAMES[4:], token="second")),
        ]
    tagged = tags.scan(run.run_id)
    pids = {it.fields["name"]: it.pid for it in tagged if it.kind == tags.HOST}
    (keeper,) = (it.pid for it in tagged if it.kind == tags.KEEPER)
    return Tree(run, {host.name: host for host in hosts}, pids, keeper)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    made = launched(tmp_path_factory.mktemp("bridges"))
    try:
        yield made
    finally:
        report = LocalProvider("namespaces").release(made.run.run_id)
    assert report.leaked == ()


GREETED = """
import socket, sys
for address in sys.argv[1:]:
    with socket.create_connection((address, 22), 60) as link:
        assert link.recv(4) == b"SSH-", address
print("all")
"""


def test_every_host_reaches_every_other_across_the_bridges(tree: Tree) -> None:
    bridges = tree.at_the_bridges("ip", "-o", "link", "show", "type", "bridge").splitlines()
    assert len(bridges) == 1 + 3  # the root, and leaves with 2, 3 and 2 clients
    # With the MAC of a port it would forget all whenever one with a lower one comes.
    assert "02:70:6b:00:00:00" in tree.at_the_bridges("ip", "link", "show", "dev", "perfkit")
    known = tree.at_the_bridges("ip", "neigh", "show", "dev", "perfkit", "nud", "permanent")
    assert {line.split()[0] for line in known.splitlines()} == {
        host.address for host in tree.hosts.values()
    }
    addresses = [host.address for host in tree.hosts.values()]
    for host in tree.hosts.values():
        assert wait_until(lambda host=host: answers(host), 60), host  # type: ignore[misc]
    for name in ("server", "client-001", "client-005", "client-007"):
        inside = ("nsenter", "-t", str(tree.pids[name]), "-n", sys.executable, "-c", GREETED)
        assert out(*inside, *addresses) == "all\n", name


def frames_heard(
    pids: Mapping[str, int],
    sender: str,
    sent: Sequence[tuple[str, str, str]],
    macs: Mapping[str, str],
) -> dict[str, list[str]]:
    """What arrives at each other host of frames (to, from, text), up to a last one sent to each."""
    links = {}
    for name, pid in pids.items():
        with Path(f"/proc/{pid}/ns/net").open() as namespace:
            linux.enter(namespace.fileno(), linux.CLONE_NEWNET)
        links[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE))
        links[name].bind(("eth0", TYPE))
        links[name].settimeout(60)
    lasts = [(mac, macs[sender], "last") for name, mac in macs.items() if name != sender]
    for to, source, text in (*sent, *lasts):
        ends = (bytes.fromhex(mac.replace(":", "")) for mac in (to, source))
        links[sender].send(
            b"".join(ends) + TYPE.to_bytes(2, "big") + text.encode().ljust(46, b"\0")
        )
    heard: dict[str, list[str]] = {name: [] for name in pids if name != sender}
    for name, texts in heard.items():
        while texts[-1:] != ["last"]:
            texts.append(links[name].recv(2048)[14:].rstrip(b"\0").decode())
    return heard


@pytest.mark.parametrize("sender", ["client-002", "client-006", "server"])
def test_no_frame_reaches_a_host_that_it_is_not_for(tree: Tree, sender: str) -> None:
    """Neither one for all, nor for many, nor for an address that nobody has."""
    macs = {name: tree.mac(name) for name in tree.hosts}
    sent = [(to, macs[sender], f"for {to}") for to in (ALL, MANY, NOBODY)]
    heard = in_child(lambda: frames_heard(tree.pids, sender, sent, macs))
    assert heard == {name: ["last"] for name in NAMES if name != sender}


def test_a_host_cannot_draw_the_frames_of_another_to_itself(tree: Tree) -> None:
    """By sending as if it were that one; bridges that learn would believe it."""
    macs = {name: tree.mac(name) for name in tree.hosts}
    as_another = [(macs["server"], macs["client-007"], "I am client-007")]
    heard = in_child(lambda: frames_heard(tree.pids, "client-001", as_another, macs))
    assert isinstance(heard, dict)
    assert heard["server"] == ["I am client-007", "last"]
    to_it = [(macs["client-007"], macs["server"], "for client-007")]
    heard = in_child(lambda: frames_heard(tree.pids, "server", to_it, macs))
    assert heard == {
        name: ["for client-007", "last"] if name == "client-007" else ["last"]
        for name in NAMES
        if name != "server"
    }


LISTENER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])):
    print("in")
"""


def test_the_gate_to_the_machine_is_shut_to_hosts_of_every_bridge(tree: Tree) -> None:
    uplink = out("ip", "-o", "-4", "addr", "show", "dev", tags.uplink_name(tree.run.run_id))
    controller = uplink.split()[3].partition("/")[0]
    with socket.create_server(("", 0), backlog=16) as service:
        port = str(service.getsockname()[1])
        assert out(sys.executable, "-c", LISTENER, controller, port, "60") == "in\n"
        for name in ("server", "client-001", "client-007"):
            words = shlex.join([sys.executable, "-c", LISTENER, controller, port, "1"])
            done = subprocess.run(
                ["nsenter", "-t", str(tree.pids[name]), "-n", "sh", "-c", words],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert "TimeoutError" in done.stderr, (name, done)


RELEASE = """
import sys
from perfkit.fleet.local.provider import LocalProvider
provider = LocalProvider("namespaces")
report = provider.release(sys.argv[1])
print(len(report.released), report.leaked, list(provider.residue(sys.argv[1])))
"""


def test_a_fresh_process_that_knows_the_tag_alone_takes_all_bridges_down(tmp_path: Path) -> None:
    made = launched(tmp_path)
    theirs = os.readlink(f"/proc/{made.keeper}/ns/net")  # noqa: PTH115  it is no path
    assert "down3" in made.at_the_bridges("ip", "-o", "link", "show")
    inside = inside_of(theirs, tags.pids())
    assert made.keeper in inside
    assert in_fresh_process(RELEASE, made.run.run_id) == f"{len(NAMES)} () []\n"
    # Only those that were inside before: the kernel gives a namespace's number away again.
    assert inside_of(theirs, inside) == []


def inside_of(namespace: str, pids: Iterable[int]) -> list[int]:
    """Those of the processes that are in a network namespace."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # one that has ended
            if os.readlink(f"/proc/{pid}/ns/net") == namespace:  # noqa: PTH115  it is no path
                found.append(pid)
    return found
