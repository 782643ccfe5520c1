"""Root in a local host does its worst, over real SSH; the machine and the run's keys stay as they were."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_runs import LocalRun

from perfkit.fleet.local import tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.model import Host

pytestmark = pytest.mark.root

# Everything a root shell could try against the machine. Prints {attempt: "done" or the error}.
ATTACKS = r"""
import ctypes, json, os, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
said = {}


def call(name, function, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, function)(*arguments)
    said[name] = "done" if result >= 0 else os.strerror(ctypes.get_errno())


def command(name, *words):
    words = ["sh", "-c", '"$@"', "sh", *words]  # a missing program is a failure like others
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said[name] = "done" if done.returncode == 0 else (done.stderr or done.stdout)[-200:] or "failed"


def write(path, text):
    try:
        with open(path, "w") as file:
            file.write(text)
        said["write " + path] = "done"
    except OSError as exc:
        said["write " + path] = os.strerror(exc.errno)


def read(path):
    try:
        with open(path, "rb") as file:
            said["read " + path] = "done" if file.read(64) else "empty"
    except OSError as exc:
        said["read " + path] = os.strerror(exc.errno)


disk = json.loads(sys.argv[1])["disk"]
for path in ("kernel/panic", "kernel/core_pattern", "kernel/hostname", "kernel/sysrq",
             "vm/swappiness", "vm/drop_caches", "fs/file-max", "kernel/modprobe"):
    write("/proc/sys/" + path, "7")
write("/proc/sysrq-trigger", "h")
write("/proc/irq/default_smp_affinity", "1")
write("/sys/power/state", "mem")
write("/sys/kernel/uevent_helper", "/tmp/x")
for path in ("/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/dev/port"):
    read(path)
call("mknod", "mknod", b"/tmp/disk", 0o60600, os.makedev(*disk))
call("mount devtmpfs", "mount", b"none", b"/mnt", b"devtmpfs", 0, None)
call("mount proc", "mount", b"none", b"/mnt", b"proc", 0, None)
call("mount tmpfs", "mount", b"none", b"/mnt", b"tmpfs", 0, None)
call("bind mount", "mount", b"/", b"/mnt", None, 0x1000, None)
call("remount proc", "mount", b"none", b"/proc", None, 0x1020, None)
call("umount sys/net", "umount2", b"/proc/sys/net", 2)
call("pivot_root", "pivot_root", b"/", b"/mnt")
call("unshare mounts", "unshare", 0x20000)
call("setns", "setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0)
call("clock_settime", "clock_settime", 0, (ctypes.c_long * 2)(1000, 0))
call("reboot", "reboot", 0x1234567)
call("swapon", "swapon", b"/etc/passwd", 0)
call("syslog", "klogctl", 5, None, 0)
call("sethostname", "sethostname", b"other", 5)
handle = (ctypes.c_uint32 * 4)(8, 1, 2, 0)  # 8 bytes, FILEID_INO32_GEN, inode 2: the root's
call("open_by_handle_at", "open_by_handle_at", os.open("/usr", os.O_RDONLY), handle, 0)
command("date", "date", "-s", "2001-01-01")
command("modprobe", "modprobe", "sctp")
open("/tmp/module.ko", "w").write("not one")
command("insmod", "insmod", "/tmp/module.ko")
command("shutdown", "reboot", "-f")
command("own user namespace", "unshare", "-Urm", "mount", "-t", "devtmpfs", "none", "/mnt")
command("own pid namespace", "unshare", "-Urmpf", "mount", "-t", "proc", "none", "/mnt")
print(json.dumps(said))
"""

# Only what nobody else changes is compared: other tests make interfaces, mounts, devices and files
# meanwhile, and packages are installed.
STEADY_IN_ETC = (
    "debian_version",
    "fstab",
    "hostname",
    "hosts",
    "login.defs",
    "os-release",
    "profile",
)
ATTACKED_MODULE = "sctp"  # that no other test has loaded
ATTACKED_FOLDERS = ("boot", "dev", "etc", "home", "mnt", "opt", "proc", "root", "sys", "usr")

DESTRUCTION = """
echo overwritten > /dev/{disk}
find / -xdev -type f -delete 2>/dev/null
rm -rf /etc /root /home /dev /srv /tmp/* /var /boot /usr/bin /usr/sbin
echo still here
"""


@dataclass(frozen=True)
class Machine:
    """What must not change; compared as a whole."""

    etc: dict[str, str]
    settings: dict[str, str]
    routes: list[str]
    links: list[str]
    mounts: list[str]
    devices: list[str]
    has_module: bool
    boot_id: str

    @classmethod
    def look(cls, uplink: str) -> Machine:
        """What is the machine's own, and nobody's else."""
        settings = ("kernel/panic", "kernel/core_pattern", "kernel/hostname", "kernel/modprobe")
        more = ("vm/swappiness", "fs/file-max", "net/ipv4/ip_forward", "net/core/somaxconn")
        links = sorted(path.name for path in Path("/sys/class/net").iterdir() if _is_ours(path))
        links += [uplink] if Path("/sys/class/net", uplink).exists() else []
        routes = subprocess.check_output(["ip", "route", "show", "table", "all"], text=True)
        mounts = _read(Path("/proc/self/mountinfo")).splitlines()
        modules = {line.split()[0] for line in _read(Path("/proc/modules")).splitlines()}
        return cls(
            etc={
                name: _fingerprint(Path("/etc", name))
                for name in STEADY_IN_ETC
                if Path("/etc", name).exists()
            },
            settings={
                name: Path("/proc/sys", name).read_text()
                for name in settings + more
                if Path("/proc/sys", name).exists()
            },
            routes=[line for line in routes.splitlines() if _dev_of(line) in {*links, uplink}],
            links=links,
            mounts=[line for line in mounts if _is_attacked(Path(line.split()[4]))],
            devices=sorted(p.name for p in Path("/dev").iterdir() if "loop" not in p.name),
            has_module=ATTACKED_MODULE in modules,
            boot_id=_read(Path("/proc/sys/kernel/random/boot_id")),
        )


def _is_ours(link: Path) -> bool:
    """Not made by software for somebody's hosts, but the machine's: loopback, or with a device."""
    return link.name == "lo" or (link / "device").exists()


def _dev_of(route: str) -> str:
    words = route.split()
    return words[words.index("dev") + 1] if "dev" in words[:-1] else ""


def _is_attacked(mount_point: Path) -> bool:
    return len(mount_point.parts) == 1 or mount_point.parts[1] in ATTACKED_FOLDERS


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _fingerprint(path: Path) -> str:
    """Hash of a file's mode, owner and content."""
    status = path.stat()
    told = f"{status.st_mode} {status.st_uid} {status.st_gid} {status.st_ino}".encode()
    return hashlib.sha256(told + path.read_bytes()).hexdigest()


@pytest.fixture
def canaries() -> Iterator[list[Path]]:
    """Files of this test's own in the machine's folders: whoever destroys there destroys them."""
    name = f"perfkit-canary-{uuid.uuid4().hex[:10]}"
    folders = [
        path for path in map(Path, ("/etc", "/home", "/root", "/var", "/srv")) if path.exists()
    ]
    planted = [folder / name for folder in folders]
    for path in planted:
        path.write_text(name)
    told = [_fingerprint(path) for path in planted]
    try:
        yield planted
        assert [_fingerprint(path) for path in planted] == told
    finally:
        for path in planted:
            path.unlink(missing_ok=True)


@pytest.fixture
def secrets() -> Iterator[dict[str, Path]]:
    """Files a host must never see: in a home, in a hidden folder under a visible one."""
    name = f"perfkit-secret-{uuid.uuid4().hex[:10]}"
    hidden = Path("/opt") / name
    hidden.mkdir(mode=0o755)
    files = {"hidden": hidden / name, "home": Path("/root") / name}
    for path in files.values():
        path.write_text(name)
    yield files
    shutil.rmtree(hidden)
    files["home"].unlink()


@pytest.fixture
def run(
    tmp_path: Path, secrets: dict[str, Path], canaries: list[Path]
) -> Iterator[tuple[LocalRun, Host]]:
    provider = LocalProvider("namespaces", hidden=[secrets["hidden"].parent])
    run = LocalRun(tmp_path)
    uplink = tags.uplink_name(run.run_id)
    before = Machine.look(uplink)
    clock = time.time() - time.monotonic()
    try:
        (host,) = provider.launch(run.request("client-001"))
        yield run, host
    finally:
        report = provider.release(run.run_id)
    assert report.leaked == ()
    assert Machine.look(uplink) == before
    assert abs(time.time() - time.monotonic() - clock) < 1.0


def test_root_in_a_host_cannot_reach_the_machine(run: tuple[LocalRun, Host]) -> None:
    local_run, host = run
    device = os.stat("/").st_dev
    what = json.dumps({"disk": [os.major(device), os.minor(device)]})
    done = local_run.ssh(host, f"/usr/bin/python3 - '{what}'", stdin=ATTACKS)
    said: dict[str, Any] = json.loads(done.stdout)
    assert len(said) > 30, done.stderr
    assert [name for name, outcome in said.items() if outcome == "done"] == []


def test_root_in_a_host_destroys_only_its_own_files(run: tuple[LocalRun, Host]) -> None:
    local_run, host = run
    done = local_run.ssh(host, "sh", stdin=DESTRUCTION.format(disk="vda"))
    assert "still here" in done.stdout, done.stderr
    assert local_run.ssh(host, "true").returncode != 0, "its /etc should be gone"


def test_a_host_sees_no_home_no_project_no_key(
    run: tuple[LocalRun, Host], secrets: dict[str, Path]
) -> None:
    local_run, host = run
    project = Path(__file__).resolve().parents[2]
    paths = [*secrets.values(), local_run.key_path, project / "pyproject.toml", project]
    readable = local_run.ssh(host, f"ls -d {' '.join(map(str, paths))}")
    assert readable.stdout == ""
    found = local_run.ssh(
        host, f"find / -path /proc -prune -o -name '{secrets['home'].name}*' -print"
    )
    assert found.stdout == "", found.stderr
    # Other tests remove files of the machine meanwhile that the host sees.
    usual = ("Permission denied", "No such file or directory")
    refused = [line for line in found.stderr.splitlines() if not line.endswith(usual)]
    assert refused == [], "what is looked through but for what only the machine's root may read"
    homes = local_run.ssh(host, "ls -A /root /home /srv /mnt /tmp")
    assert homes.stdout.split() == ["/home:", "/mnt:", "/root:", "/srv:", "/tmp:"]


def test_a_host_has_its_own_passwords_keys_and_cron_jobs(run: tuple[LocalRun, Host]) -> None:
    local_run, host = run
    said = local_run.ssh(
        host, "cat /etc/shadow /etc/ssh/*.pub; ls -A /etc/cron.* /var/spool/cron/*"
    )
    assert said.stdout.splitlines()[:2] == ["root:*:19000:0:99999:7:::", host.host_key]
    jobs = [line for line in said.stdout.splitlines()[2:] if line and not line.endswith(":")]
    assert jobs == []
    private = local_run.ssh(host, "find /etc -perm -u=r ! -perm -o=r ! -type l")
    assert set(private.stdout.split()) <= {
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh/authorized_keys",
        "/etc/ssh/ssh_host_ed25519_key",
    }


def test_a_host_has_no_capability_over_the_machine(run: tuple[LocalRun, Host]) -> None:
    local_run, host = run
    said = local_run.ssh(host, "grep CapBnd /proc/self/status")
    bounding = int(said.stdout.split()[1], 16)
    forbidden = {
        "DAC_READ_SEARCH": 2, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_PTRACE": 19,
        "SYS_ADMIN": 21, "SYS_BOOT": 22, "SYS_RESOURCE": 24, "SYS_TIME": 25, "MKNOD": 27,
        "AUDIT_CONTROL": 30, "MAC_ADMIN": 33, "SYSLOG": 34, "PERFMON": 38, "BPF": 39,
    }  # fmt: skip
    assert [name for name, number in forbidden.items() if bounding >> number & 1] == []


def test_host_processes_are_invisible_to_each_other_and_visible_to_the_machine(
    run: tuple[LocalRun, Host],
) -> None:
    local_run, host = run
    said = local_run.ssh(host, "hostname; cat /proc/1/cmdline; ls -d /proc/[0-9]* | wc -l")
    lines = said.stdout.replace("\0", " ").split("\n")
    assert lines[0] == "client-001"
    assert lines[1].startswith(f"perfkit-host run={local_run.run_id} name=client-001 ")
    assert int(lines[1].rsplit(maxsplit=1)[-1] if len(lines) == 2 else lines[-2].split()[-1]) < 30
    assert platform.node() != "client-001"
