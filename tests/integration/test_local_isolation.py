"""No door leads from a local host to the machine or to another host.

Every attempt is first shown to succeed where nothing keeps it from it: on a host made as hosts were
once made, without a user namespace; on the machine itself; with the gate taken away.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import platform
import random
import shlex
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_runs import LocalRun, wait_until

from perfkit.fleet.local import tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.model import Host

pytestmark = pytest.mark.root

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Made:
    """A run with one host."""

    run: LocalRun
    host: Host

    @property
    def keeper(self) -> int:
        """The keeper, whose network namespace is the bridge's."""
        (pid,) = (t.pid for t in tags.scan(self.run.run_id) if t.kind == tags.KEEPER)
        return pid

    def at_the_bridge(self, *command: str) -> str:
        return out("nsenter", "-t", str(self.keeper), "-n", *command)

    def inside(self, script: str, *arguments: str) -> dict[str, str]:
        """What a script that prints JSON says in the host."""
        words = " ".join(["/usr/bin/python3", "-", *arguments])
        done = self.run.ssh(self.host, words, stdin=script)
        assert done.stdout, done.stderr
        said: dict[str, str] = json.loads(done.stdout)
        return said


def out(*command: str, stdin: str = "") -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    try:
        (host,) = provider.launch(run.request("client-001"))
        yield Made(run, host)
    finally:
        report = provider.release(run.run_id)
    assert report.leaked == ()


@pytest.fixture
def canary() -> Iterator[str]:
    """An interface of the machine, made by the test."""
    name = f"cn{uuid.uuid4().hex[:8]}"
    out("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


@pytest.fixture
def old_host(made: Made) -> Iterator[int]:
    """A process in a network namespace of its own at the run's bridge, as hosts were once made."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    try:
        pid = str(process.pid)
        made.at_the_bridge(
            *("ip", "link", "add", "old", "type", "veth", "peer", "name", "eth0", "netns", pid)
        )
        yield process.pid
    finally:
        process.communicate()


def test_root_in_a_host_cannot_act_on_interfaces_outside_it(
    made: Made, canary: str, old_host: int
) -> None:
    script = (TESTS / "netlink_doors.py").read_text()
    index = Path(f"/sys/class/net/{canary}/ifindex").read_text().strip()
    for victim in ("victim-old", "victim-new"):
        made.at_the_bridge(
            "ip", "link", "add", victim, "type", "veth", "peer", "name", victim + "p"
        )

    enter = ("nsenter", "-t", str(old_host), "-n", "/usr/bin/python3", "-")
    once = json.loads(out(*enter, canary, index, "victim-old", stdin=script))
    assert once == dict.fromkeys(once, "done")
    assert len(once) == 13
    assert "victim-old" not in made.at_the_bridge("ip", "link")
    before = names(out("ip", "-j", "link")), names(made.at_the_bridge("ip", "-j", "link"))

    now = made.inside(script, canary, index, "victim-new")
    assert now.keys() == once.keys()
    assert [what for what, outcome in now.items() if outcome == "done"] == []
    after = names(out("ip", "-j", "link")), names(made.at_the_bridge("ip", "-j", "link"))
    assert {"victim-new", "uplink", "host0"} < before[1] == after[1]
    assert canary in before[0] & after[0]


def names(said: str) -> set[str]:
    """Of the interfaces that `ip -j link` lists."""
    return {link["ifname"] for link in json.loads(said)}


def test_each_host_has_its_own_user_namespace_which_owns_its_network(tmp_path: Path) -> None:
    """Were it one for all, root in one host would have its power over the others."""
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    try:
        hosts = provider.launch(run.request("server", "client-001"))
        kinds = ("user", "net", "ipc", "uts")
        machine = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds}
        told = [
            run.ssh(
                host, "for kind in user net ipc uts; do readlink /proc/self/ns/$kind; done"
            ).stdout.split()
            for host in hosts
        ]
    finally:
        provider.release(run.run_id)
    assert [len(names) for names in told] == [4, 4]
    assert len({*told[0], *told[1], *machine}) == 12


@pytest.fixture
def private_files() -> Iterator[list[Path]]:
    """Places for private files, in folders that hosts see; the folders are there before the launch."""
    name = f"perfkit-private-{uuid.uuid4().hex[:10]}"
    folders = [Path(root, name) for root in ("/opt", "/usr/local/etc", "/etc", "/usr/share")]
    for folder in folders:
        folder.mkdir()
    try:
        yield [folder / "private" for folder in folders]
    finally:
        for folder in folders:
            shutil.rmtree(folder)


def test_root_in_a_host_reaches_nothing_of_the_machine(
    private_files: list[Path], tmp_path: Path
) -> None:
    """Files of mode 0600 from before and after the launch, processes, memory, sockets, keys, log."""
    script = (TESTS / "host_doors.py").read_text()
    name = f"perfkit-{uuid.uuid4().hex[:10]}"
    for path in private_files:
        write_private(path)
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(provider.release, run.run_id)
        (host,) = provider.launch(run.request("client-001"))
        later = [path.with_name("later") for path in private_files]
        for path in later:
            write_private(path)
        late_settings = Path("/etc", f"{name}.conf")
        late_settings.write_text("all may read it, but it came later")
        stack.callback(late_settings.unlink)
        process = stack.enter_context(subprocess.Popen(["sleep", "600"]))
        stack.callback(process.kill)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0{name}")
        listener.listen(8)
        what = {
            "files": [str(path) for path in (*private_files, *later, late_settings)],
            "pid": process.pid,
            "shm_key": make_shared_memory(stack),
            "socket": name,
            "keys": make_key(name, stack),
        }
        # The machine's PID 1 may have more rights than root has in a container.
        words = ("/usr/bin/python3", "-", json.dumps(what | {"first": process.pid}))
        outside = json.loads(out(*words, stdin=script))
        inside = Made(run, host).inside(script, shlex.quote(json.dumps(what | {"first": 1})))
    assert outside == dict.fromkeys(outside, "done")
    assert inside.keys() == outside.keys()
    assert len(inside) >= 27
    assert [what for what, outcome in inside.items() if outcome == "done"] == []


def write_private(path: Path) -> None:
    path.write_text("private")
    path.chmod(0o600)


def make_shared_memory(stack: contextlib.ExitStack) -> int:
    """Key of a System V segment of the machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = random.SystemRandom().randrange(1 << 20, 1 << 30)
    segment = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT
    assert segment >= 0
    stack.callback(libc.shmctl, segment, 0, None)  # IPC_RMID
    return key


def make_key(description: str, stack: contextlib.ExitStack) -> dict[str, object]:
    """A key in root's keyring: numbers of both; nothing where the kernel has no keys."""
    if not Path("/proc/keys").exists():
        return {}
    libc = ctypes.CDLL(None, use_errno=True)
    add_key, keyctl = {"x86_64": (248, 250)}.get(platform.machine(), (217, 219))
    get_id, unlink, of_the_user = 0, 9, -4
    key = libc.syscall(add_key, b"user", description.encode(), b"secret", 6, of_the_user)
    assert key > 0
    stack.callback(libc.syscall, keyctl, unlink, key, of_the_user)
    ring = libc.syscall(keyctl, get_id, of_the_user, 0)
    return {"description": description, "key": key, "ring": ring}


# Tries to reach a service, over and over until it is reached or the time is over.
REACH = """
import json, socket, sys, time
kind, address, port, within_s = sys.argv[1:5]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
place = socket.getaddrinfo(address, int(port), family)[0][4]
deadline_s, said = time.monotonic() + float(within_s), "no answer"
while said != "done" and time.monotonic() < deadline_s:
    with socket.socket(family, getattr(socket, kind)) as link:
        link.settimeout(2)
        try:
            if kind == "SOCK_STREAM":
                link.connect(place)
            else:
                link.sendto(b"hello", place)  # the answer may come from another address
            said = "done" if link.recv(8) == b"service" else "odd"
        except OSError as exc:
            said = str(exc)
            time.sleep(0.05)
print(json.dumps({"said": said}))
"""
SERVICE = """
import socket, sys
kind = getattr(socket, sys.argv[1])
with socket.socket(socket.AF_INET6, kind) as service:
    service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    service.bind(("::", 0))
    if kind == socket.SOCK_STREAM:
        service.listen(64)
    print(service.getsockname()[1], flush=True)
    while True:
        if kind == socket.SOCK_STREAM:
            link, _ = service.accept()
            with link:
                link.sendall(b"service")
        else:
            _, sender = service.recvfrom(64)
            service.sendto(b"service", sender)
"""


@pytest.fixture
def services() -> Iterator[dict[str, str]]:
    """Ports of a TCP and a UDP service that listens on all addresses of the machine."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
            command = [sys.executable, "-c", SERVICE, kind]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout
            ports[kind] = process.stdout.readline().strip()
        yield ports


def test_hosts_have_no_open_file_of_whoever_launched_them(tmp_path: Path) -> None:
    """A lock's file, a log that a shell opened: root in a host could read and write it."""
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    with (tmp_path / "left-open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        link = f"/proc/self/fd/{file.fileno()}"
        inherited = subprocess.run(
            ["readlink", link], capture_output=True, text=True, close_fds=False, check=True
        )
        assert inherited.stdout == f"{file.name}\n"
        try:
            (host,) = provider.launch(run.request("client-001"))
            said = run.ssh(host, "ls -l /proc/[0-9]*/fd")
            (keeper,) = (t.pid for t in tags.scan(run.run_id) if t.kind == tags.KEEPER)
            at_the_keeper = []
            for it in Path(f"/proc/{keeper}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    at_the_keeper.append(it.readlink())
        finally:
            provider.release(run.run_id)
    assert "sshd.log" in said.stdout
    assert "left-open" not in said.stdout
    assert Path(file.name) not in at_the_keeper


def test_services_of_the_machine_are_out_of_reach_of_hosts(
    made: Made, services: dict[str, str], canary: str
) -> None:
    """By the uplink's address, by another of the machine's, and by IPv6, which a host can switch on."""
    uplink = tags.uplink_name(made.run.run_id)
    controller = str(ipaddress.ip_network(f"{made.host.address}/20", strict=False)[1])
    out("ip", "addr", "add", "203.0.113.7/32", "dev", canary)
    out("ip", "link", "set", canary, "up")
    addresses = [controller, "203.0.113.7", *link_local(uplink)]
    done = made.run.ssh(
        made.host,
        f"ip route add default via {controller} && "
        "if [ -e /proc/sys/net/ipv6 ]; then sysctl -w net.ipv6.conf.eth0.disable_ipv6=0; fi",
    )
    assert done.returncode == 0, done.stderr

    def reached(within_s: float) -> dict[str, str]:
        return {
            f"{kind} {address}": made.inside(REACH, kind, address, port, str(within_s))["said"]
            for kind, port in services.items()
            for address in addresses
        }

    behind_the_gate = reached(3)
    made.at_the_bridge("tc", "qdisc", "del", "dev", "uplink", "root")
    assert set(reached(60).values()) == {"done"}
    assert "done" not in behind_the_gate.values()


def link_local(interface: str) -> list[str]:
    """The interface's own IPv6 address as a host names it; none where the machine has no IPv6."""
    said = out("ip", "-6", "-j", "addr", "show", "dev", interface, "scope", "link")
    return [
        f"{address['local']}%eth0" for link in json.loads(said) for address in link["addr_info"]
    ]


def test_what_a_host_sends_unasked_does_not_reach_the_machine(made: Made) -> None:
    """ARP, broadcasts, fragments, options, other protocols: the machine's end counts no packet."""
    uplink = tags.uplink_name(made.run.run_id)
    counter = Path(f"/sys/class/net/{uplink}/statistics/rx_packets")
    mac = Path(f"/sys/class/net/{uplink}/address").read_text().strip()
    controller = ipaddress.ip_network(f"{made.host.address}/20", strict=False)[1]
    words = [mac, str(controller), made.host.address]
    # The host's shell is an SSH session, whose own packets count: send and look from outside it.
    (pid,) = (t.pid for t in tags.scan(made.run.run_id) if t.kind == tags.HOST)
    send = ("nsenter", "-t", str(pid), "-n", "/usr/bin/python3", "-c", FRAMES, *words)
    # The launch has looked whether SSH answers: the end of that connection is the host's to send.
    open_to_host = ("ss", "-Htan", "exclude", "time-wait", "dst", made.host.address)
    assert wait_until(lambda: out(*open_to_host) == "", 60)
    before = counter.read_text()
    assert out(*send).split() == ["12"]
    assert counter.read_text() == before
    made.at_the_bridge("tc", "qdisc", "del", "dev", "uplink", "root")
    assert out(*send).split() == ["12"]
    assert int(counter.read_text()) - int(before) > 6  # a firewall between bridges drops odd ones


# Frames to the machine, as root in a host can make them; each from the host's address.
FRAMES = """
import socket, struct, sys
mac, controller, own = sys.argv[1:4]
to, source = socket.inet_aton(controller), socket.inet_aton(own)


def ip(protocol, payload, flags=0, options=b"", sender=source, to=to):
    begin = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0,
                        20 + len(options) + len(payload), 1, flags, 64, protocol, 0, sender, to)
    head, total = begin + options, 0
    for (word,) in struct.iter_unpack("!H", head):
        total += word
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", check) + head[12:] + payload


def tcp(flags):
    return struct.pack("!HHIIBBHHH", 1234, 22, 1, 1, 0x50, flags, 1024, 0, 0)


syn, ack = tcp(0x02), tcp(0x10)
elsewhere = socket.inet_aton("203.0.113.9")
frames = [
    (0x0806, struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, bytes(6), source, bytes(6), to)),
    (0x0800, ip(6, syn)),
    (0x0800, ip(6, tcp(0xC2))),  # SYN with the flags of congestion notification
    (0x0800, ip(6, syn, options=bytes([1, 1, 1, 0]))),
    (0x0800, ip(6, ack[:8], flags=0x2000)),  # the flags are in the next fragment
    (0x0800, ip(6, syn[8:], flags=1)),
    (0x0800, ip(6, ack, sender=elsewhere)),
    (0x0800, ip(6, ack, to=elsewhere)),
    (0x0800, ip(17, struct.pack("!HHHH", 1234, 53, 8, 0))),
    (0x0800, ip(1, struct.pack("!BBHHH", 8, 0, 0, 1, 1))),  # echo request
    (0x86DD, bytes([0x60]) + bytes(39)),
    (0x8100, struct.pack("!HH", 1, 0x0800) + ip(6, ack)),
]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind(("eth0", 0))
    for kind, payload in frames:
        link.send(bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000099")
                  + struct.pack("!H", kind) + payload)
print(len(frames))
"""
