"""Local hosts in namespaces: what they can do, and that nothing of them stays, whatever is killed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_runs import LocalRun, answers, in_fresh_process, wait_until
from prerequisites import require

from perfkit.fleet.local import claims, network, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.reap import release_until_quiet
from perfkit.model import Host
from perfkit.testing.provider_runs import with_reasons

pytestmark = pytest.mark.root
KINDS = ("user", "net", "mnt", "pid", "uts", "ipc")
SOON_S = 30.0  # what takes milliseconds, on a starved machine

# Launches hosts named in argv and says when it has them; used to be killed or to end on its own.
LAUNCHER = """
import pickle, sys
from perfkit.fleet.local.provider import LocalProvider
request = pickle.load(open(sys.argv[1], "rb"))
print("launching", flush=True)
print(pickle.dumps(LocalProvider("namespaces").launch(request)).hex(), flush=True)
"""


@pytest.fixture
def provider() -> LocalProvider:
    return LocalProvider("namespaces")


@pytest.fixture
def run(tmp_path: Path, provider: LocalProvider) -> Iterator[LocalRun]:
    """A run that leaves nothing: no tagged process, no interface, no namespace."""
    run = LocalRun(tmp_path)
    try:
        yield run
    finally:
        machine = namespaces_of(os.getpid())
        ours = set().union(*(namespaces_of(t.pid) for t in tags.scan(run.run_id))) - machine
        inside = {pid for pid in tags.pids() if namespaces_of(pid) & ours}
        report = provider.release(run.run_id)
    assert report.leaked == ()
    assert tags.scan(run.run_id) == []
    assert not interface(run).exists()
    # Only processes that were inside before: the kernel gives a namespace's number away again.
    assert [pid for pid in inside if namespaces_of(pid) & ours] == []


def namespaces_of(pid: int) -> set[str]:
    """The kernel's names of a process's namespaces; none when it has ended."""
    return {namespace(pid, kind) for kind in KINDS} - {""}


def namespace(pid: int, kind: str) -> str:
    """The kernel's name of a process's namespace; empty when the process has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:
        return ""


def interface(run: LocalRun) -> Path:
    return Path("/sys/class/net", tags.uplink_name(run.run_id))


def one(run: LocalRun, kind: str, name: str | None = None) -> int:
    """PID of the run's keeper or of one host."""
    (pid,) = (
        t.pid for t in tags.scan(run.run_id) if t.kind == kind and t.fields.get("name") == name
    )
    return pid


def launch_elsewhere(run: LocalRun, *names: str) -> subprocess.Popen[str]:
    path = run.folder / "request"
    path.write_bytes(pickle.dumps(run.request(*names)))
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_hosts_have_what_network_tests_need(
    run: LocalRun, provider: LocalProvider, needs_tools: Callable[..., None]
) -> None:
    needs_tools("ping", "iperf", "openvpn", "tc")
    server, client = provider.launch(run.request("server", "client-001"))
    said = run.ssh(
        server,
        "iperf -s -D >/dev/null 2>&1; "
        "for i in $(seq 300); do ss -ltn | grep -q :5001 && break; sleep 0.1; done; "
        "openvpn --mktun --dev tun7; ip -br link",
    )
    assert "tun7" in said.stdout, said.stderr
    said = run.ssh(
        client,
        f"set -e; ping -c 1 -W 20 {server.address}; ip -o -4 addr show eth0; "
        "tc qdisc add dev eth0 root tbf rate 20mbit burst 32k latency 50ms; "
        f"iperf -c {server.address} -t 1 -f m; sysctl -w net.ipv4.tcp_rmem='4096 8192 16384'; "
        "test -w /dev/net/tun; date +%Z; nproc; test -w /var/tmp -a -w /dev/shm",
    )
    assert said.returncode == 0, said.stderr
    assert f"{client.address}/20" in said.stdout
    assert "UTC" in said.stdout
    assert "Mbits/sec" in said.stdout


def test_the_hosts_own_cron_runs_its_jobs(run: LocalRun, provider: LocalProvider) -> None:
    (host,) = provider.launch(run.request("client-001"))
    # @reboot jobs run when cron starts, so nobody has to wait for the next minute.
    said = run.ssh(
        host,
        "echo '@reboot echo $LOGNAME at $(hostname) > /tmp/done' | crontab - && "
        "kill $(cat /run/crond.pid) && rm -f /run/crond.reboot && "
        "for i in $(seq 300); do cron 2>/dev/null && break; sleep 0.1; done; "
        "for i in $(seq 300); do grep -q . /tmp/done && break; sleep 0.1; done 2>/dev/null; "
        "cat /tmp/done",
    )
    assert said.stdout == "root at client-001\n", said.stderr


def test_recipes_written_for_other_hosts_find_sudo_and_apt(
    run: LocalRun, provider: LocalProvider
) -> None:
    (host,) = provider.launch(run.request("client-001"))
    said = run.ssh(host, "sudo -n id -u && dpkg-query -W -f '${Package}\\n' coreutils")
    assert said.stdout == "0\ncoreutils\n", said.stderr


def test_releasing_waits_for_the_keeper_it_started_so_that_no_zombie_stays(
    run: LocalRun, provider: LocalProvider
) -> None:
    provider.launch(run.request("client-001"))
    keeper = one(run, tags.KEEPER)
    assert parent(keeper) == os.getpid()
    provider.release(run.run_id)
    assert not Path(f"/proc/{keeper}").exists()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_no_test_waits_for_address_resolution(run: LocalRun, provider: LocalProvider) -> None:
    server, client = provider.launch(run.request("server", "client-001"))
    controller = str(ipaddress.ip_network(f"{server.address}/20", strict=False)[1])
    assert known_for_good(run, client) == {server.address, controller}
    assert known_for_good(run, server) == {client.address, controller}
    assert known_here(run) == {server.address, client.address}


def test_hosts_that_come_later_are_known_from_the_start_too(
    run: LocalRun, provider: LocalProvider
) -> None:
    server, client = provider.launch(run.request("server", "client-001"))
    controller = str(ipaddress.ip_network(f"{server.address}/20", strict=False)[1])
    (later,) = provider.launch(run.request("client-002", token="second"))
    assert known_for_good(run, later) == {server.address, controller}
    assert known_for_good(run, server) == {client.address, later.address, controller}
    provider.terminate(run.run_id, ["server"])
    (replaced,) = provider.launch(run.request("server", token="third"))
    assert known_for_good(run, replaced) == {client.address, later.address, controller}
    for host in (client, later):
        assert known_for_good(run, host) >= {replaced.address, controller}
    assert known_here(run) >= {client.address, later.address, replaced.address}


def known_for_good(run: LocalRun, host: Host) -> set[str]:
    """Addresses whose MAC a host never has to ask for."""
    said = run.ssh(host, "ip neigh show nud permanent")
    return {line.split()[0] for line in said.stdout.splitlines()}


def known_here(run: LocalRun) -> set[str]:
    command = ["ip", "neigh", "show", "dev", tags.uplink_name(run.run_id), "nud", "permanent"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[0] for line in said.stdout.splitlines()}


def test_names_that_other_users_hold_do_not_stop_a_launch(
    run: LocalRun, provider: LocalProvider
) -> None:
    subnets = network.POOL.subnets(new_prefix=network.SUBNET_BITS)
    names = [f"perfkit-subnet/{subnet}" for subnet in subnets]
    names.append(f"perfkit-keeper/{run.run_id}")
    with contextlib.ExitStack() as held:
        for name in names:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = held.enter_context(socket.socket(socket.AF_UNIX, kind))
                with contextlib.suppress(OSError):  # one of the kinds has it
                    sock.bind(f"\0{name}")
        assert [host.name for host in provider.launch(run.request("server"))] == ["server"]


def test_why_one_host_of_several_was_not_made_is_told_also_to_who_asks_again(
    run: LocalRun, provider: LocalProvider
) -> None:
    request = run.request("server", "client-001", "client-002")
    wrong = replace(request.hosts[1], host_key="no text: \ud800")
    request = replace(request, hosts=(request.hosts[0], wrong, request.hosts[2]))
    for _ in range(2):
        request, reasons = with_reasons(request)
        assert [host.name for host in provider.launch(request)] == ["server", "client-002"]
        assert list(reasons) == ["client-001"]
        assert "UnicodeEncodeError" in reasons["client-001"]


def test_runs_do_not_share_a_network(
    run: LocalRun, provider: LocalProvider, tmp_path: Path
) -> None:
    other = LocalRun(tmp_path)
    try:
        (mine,) = provider.launch(run.request("client-001"))
        (theirs,) = provider.launch(other.request("client-001"))
        subnets = [ipaddress.ip_network(f"{h.address}/20", strict=False) for h in (mine, theirs)]
        assert not subnets[0].overlaps(subnets[1])
        assert all(subnet.subnet_of(ipaddress.ip_network("198.18.0.0/15")) for subnet in subnets)
        said = run.ssh(mine, f"ping -c 1 -W 20 {theirs.address}")
        assert said.returncode != 0
        assert "unreachable" in (said.stdout + said.stderr)
    finally:
        provider.release(other.run_id)


def test_hosts_outlive_the_process_that_launched_them(
    run: LocalRun, provider: LocalProvider
) -> None:
    launcher = launch_elsewhere(run, "server", "client-001")
    launcher.communicate(timeout=120)
    assert launcher.returncode == 0
    listed = provider.hosts(run.run_id)
    assert [host.name for host in listed] == ["server", "client-001"]
    assert wait_until(lambda: ping(listed[0].address), SOON_S)


def ping(address: str) -> bool:
    command = ["ping", "-c", "1", "-W", "5", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.6, 0.9])
def test_a_launcher_killed_at_any_moment_leaves_only_what_is_found_by_tag(
    run: LocalRun, provider: LocalProvider, delay_s: float
) -> None:
    launcher = launch_elsewhere(run, *(f"client-{number:03d}" for number in range(30)))
    assert launcher.stdout
    launcher.stdout.readline()
    time.sleep(delay_s)
    launcher.kill()
    launcher.communicate()
    # Between a fork and the program it was for, a process has the launcher's own command line.
    assert wait_until(lambda: count_commands(str(run.folder / "request")) == 0, SOON_S)
    assert provider.release(run.run_id).leaked == ()
    # A keeper that was just being started may still come up: reaping repeats until quiet.
    assert release_until_quiet(provider, run.run_id, quiet_s=1.5, poll_s=0.3).leaked == ()
    assert list(provider.hosts(run.run_id)) == []
    assert list(provider.residue(run.run_id)) == []


def test_hosts_of_a_killed_keeper_are_listed_and_released(
    run: LocalRun, provider: LocalProvider
) -> None:
    provider.launch(run.request("server", "client-001"))
    os.kill(one(run, tags.KEEPER), signal.SIGKILL)
    assert wait_until(lambda: not interface(run).exists(), SOON_S), (
        "the network goes with the keeper"
    )
    listed = in_fresh_process(
        "import sys; from perfkit.fleet.local.provider import LocalProvider\n"
        "print(*[host.name for host in LocalProvider().hosts(sys.argv[1])])",
        run.run_id,
    )
    assert listed.split() == ["server", "client-001"]
    assert provider.runs().count(run.run_id) == 1
    report = provider.release(run.run_id)
    assert (report.leaked, len(report.released)) == ((), 2)


def test_a_run_whose_keeper_was_killed_can_launch_again(
    run: LocalRun, provider: LocalProvider
) -> None:
    request = run.request("client-001")
    provider.launch(request)
    before = one(run, tags.HOST, "client-001")
    os.kill(one(run, tags.KEEPER), signal.SIGKILL)
    assert wait_until(lambda: not interface(run).exists(), SOON_S)
    (host,) = provider.launch(request)
    assert run.ssh(host, "hostname").stdout == "client-001\n"
    assert one(run, tags.HOST, "client-001") != before


def test_a_killed_host_is_gone_whole_and_the_others_stay(
    run: LocalRun, provider: LocalProvider
) -> None:
    server, client = provider.launch(run.request("server", "client-001"))
    run.ssh(client, "setsid sleep 300 >/dev/null 2>&1 </dev/null &")
    pid = one(run, tags.HOST, "client-001")
    theirs = namespace(pid, "pid")
    inside = [one for one in tags.pids() if namespace(one, "pid") == theirs]
    os.kill(pid, signal.SIGKILL)
    # Only those that were inside before, as above.
    assert wait_until(lambda: theirs not in {namespace(one, "pid") for one in inside}, SOON_S)
    assert [host.name for host in provider.hosts(run.run_id)] == ["server"]
    assert run.ssh(server, "echo alive").stdout == "alive\n"


def test_a_host_lives_on_without_its_sshd(run: LocalRun, provider: LocalProvider) -> None:
    (host,) = provider.launch(run.request("client-001"))
    run.ssh(host, "kill -9 $(cat /run/sshd.pid)")
    assert wait_until(lambda: not answers(host), SOON_S)
    assert ping(host.address)
    assert [listed.name for listed in provider.hosts(run.run_id)] == ["client-001"]


def test_a_process_put_into_a_host_from_outside_is_reported(
    run: LocalRun, provider: LocalProvider
) -> None:
    provider.launch(run.request("client-001"))
    pid = one(run, tags.HOST, "client-001")
    guest = subprocess.Popen(["nsenter", "-t", str(pid), "-n", "sleep", "60"])
    try:
        inside = namespace(pid, "net")
        assert wait_until(lambda: namespace(guest.pid, "net") == inside, SOON_S)
        report = provider.release(run.run_id)
        assert report.leaked == (f"process {guest.pid} in a namespace of the run",)
        assert str(report).startswith("STILL THERE: process")
    finally:
        guest.kill()
        guest.wait()


def test_a_host_cannot_pose_as_another_host_or_keeper(
    run: LocalRun, provider: LocalProvider
) -> None:
    (host,) = provider.launch(run.request("client-001"))
    stolen = f"stolen-{run.run_id}"
    fake = f"perfkit-host run={stolen} name=x role=client address=1.2.3.4 expires=1 owner=x"
    keeper = f"perfkit-keeper run={stolen} expires=1 uid=0"
    run.ssh(
        host,
        f"for tag in '{fake} isolation=namespaces' '{fake} isolation=loopback' '{keeper}'; do "
        "setsid sh -c 'sleep 100; true' \"$tag\" >/dev/null 2>&1 </dev/null & done",
    )
    assert wait_until(lambda: count_commands(f"run={stolen} ") == 3, SOON_S)
    assert list(provider.hosts(stolen)) == []
    assert stolen not in provider.runs()
    assert provider.release(stolen).released == ()


def count_commands(text: str) -> int:
    found = 0
    for pid in tags.pids():
        try:
            found += text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_no_private_key_is_in_a_command_line_or_an_environment(
    run: LocalRun, provider: LocalProvider
) -> None:
    request = run.request("client-001")
    provider.launch(request)
    secret = request.hosts[0].host_key_private.splitlines()[2].encode()
    for tagged in tags.scan(run.run_id):
        for name in ("cmdline", "environ"):
            assert secret not in Path(f"/proc/{tagged.pid}/{name}").read_bytes()


def test_an_unprivileged_user_with_sudo_launches_and_releases(
    run: LocalRun, needs_tools: Callable[..., None]
) -> None:
    needs_tools("sudo", "setpriv", "unshare")
    require(Path("/etc/sudoers.d").is_dir(), "sudo has no /etc/sudoers.d")
    script = run.folder / "as_nobody.sh"
    script.write_text(AS_NOBODY)
    arguments = (LAUNCH_AS_NOBODY, run.run_id, os.pathsep.join(sys.path))
    done = subprocess.run(
        ["unshare", "-m", "sh", str(script), sys.base_prefix, sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["namespaces", "65534", "2 launched", "0 leaked", "0 there"]


# In a mount namespace of its own: nobody may sudo, and may read this Python wherever it is.
AS_NOBODY = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /etc/sudoers.d
echo 'nobody ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/nobody
case $1 in /root/*)
    mkdir /etc/sudoers.d/keep && mount --bind "$1" /etc/sudoers.d/keep
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$1" && mount --bind /etc/sudoers.d/keep "$1" && umount /etc/sudoers.d/keep
esac
export PYTHONPATH="$5" HOME=/nonexistent
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$2" -c "$3" "$4"
"""

LAUNCH_AS_NOBODY = """
import os, sys
from datetime import UTC, datetime, timedelta
from local_runs import new_key
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.provider import HostRequest, LaunchRequest
provider = LocalProvider()
print(provider.isolation)
print(os.getuid())
provider.preflight(2)
hosts = []
for name in ("server", "client-001"):
    private, public = new_key()
    hosts.append(HostRequest(name=name, role="client", host_key=public, host_key_private=private))
request = LaunchRequest(
    token="t", run_id=sys.argv[1], owner="nobody", authorized_key=new_key()[1],
    expires_utc=datetime.now(UTC) + timedelta(seconds=150), hosts=tuple(hosts),
)
provider.launch(request)
print(len(provider.hosts(sys.argv[1])), "launched")
print(len(provider.release(sys.argv[1]).leaked), "leaked")
print(len(provider.hosts(sys.argv[1])) + len(provider.residue(sys.argv[1])), "there")
"""


def test_the_launching_user_is_the_only_one_besides_root_the_keeper_answers(
    run: LocalRun, provider: LocalProvider
) -> None:
    provider.launch(run.request("client-001"))
    said = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
            "s.connect(sys.argv[1]); s.sendall(b'{}\\n'); print(s.recv(9))",
            str(claims.socket_path(run.run_id)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.stdout == ""
    assert "PermissionError" in said.stderr
