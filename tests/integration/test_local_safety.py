"""Root in a local host does its worst, over real SSH; the machine and the run's keys stay as they were."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import time
import uuid
from collections.abc import Collection, Iterator
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
            file.read(64)
        said["read " + path] = "done"
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
command("modprobe", "modprobe", "dummy")
open("/tmp/module.ko", "w").write("not one")
command("insmod", "insmod", "/tmp/module.ko")
command("shutdown", "reboot", "-f")
command("own user namespace", "unshare", "-Urm", "mount", "-t", "devtmpfs", "none", "/mnt")
command("own pid namespace", "unshare", "-Urmpf", "mount", "-t", "proc", "none", "/mnt")
print(json.dumps(said))
"""

# What the tests of the other lane change on this machine meanwhile: what programs keep in a home once
# they have run, and a small disk of their own (tests/reliability/fetches.py).
OTHERS_IN_HOMES = {".cache", ".config", ".ipython", ".jupyter", ".local", ".pki"}
OTHERS_MOUNTS = "/fetches-"

DESTRUCTION = """
echo overwritten > /dev/{disk}
find / -xdev -type f -delete 2>/dev/null
rm -rf /etc /root /home /dev /srv /tmp/* /var /boot /usr/bin /usr/sbin
echo still here
"""


@dataclass(frozen=True)
class Machine:
    """What must not change; compared as a whole."""

    etc: str
    homes: dict[str, str]
    settings: dict[str, str]
    routes: list[str]
    links: list[str]
    mounts: list[str]
    devices: list[str]
    modules: set[str]  # not how often each is in use
    boot_id: str

    @classmethod
    def look(cls, uplink: str) -> Machine:
        """All but what belongs to other runs that may be going on."""
        settings = ("kernel/panic", "kernel/core_pattern", "kernel/hostname", "kernel/modprobe")
        routes = subprocess.check_output(["ip", "route", "show", "table", "all"], text=True)
        links = sorted(path.name for path in Path("/sys/class/net").iterdir())
        more = ("vm/swappiness", "fs/file-max", "net/ipv4/ip_forward", "net/core/somaxconn")
        return cls(
            etc=_fingerprint(Path("/etc")),
            homes={
                str(home): _fingerprint(home, depth=1, but=OTHERS_IN_HOMES)
                for home in (Path("/root"), Path("/home"))
            },
            settings={
                name: Path("/proc/sys", name).read_text()
                for name in settings + more
                if Path("/proc/sys", name).exists()
            },
            routes=[
                line for line in routes.splitlines() if " dev pk" not in line or uplink in line
            ],
            links=[name for name in links if not name.startswith("pk") or name == uplink],
            mounts=[
                line
                for line in Path("/proc/self/mountinfo").read_text().splitlines()
                if OTHERS_MOUNTS not in line
            ],
            devices=sorted(path.name for path in Path("/dev").iterdir()),
            modules={line.split()[0] for line in _read(Path("/proc/modules")).splitlines()},
            boot_id=_read(Path("/proc/sys/kernel/random/boot_id")),
        )


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _fingerprint(folder: Path, depth: int = 99, but: Collection[str] = ()) -> str:
    """Hash of names, modes, owners and contents down to a depth, but of some names."""
    digest = hashlib.sha256()
    found = folder.rglob("*") if depth > 1 else folder.iterdir()
    for path in sorted(path for path in found if path.name not in but):
        status = path.lstat()
        digest.update(f"{path} {status.st_mode} {status.st_uid} {status.st_gid}".encode())
        if stat.S_ISREG(status.st_mode):
            digest.update(path.read_bytes())
    return digest.hexdigest()


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
def run(tmp_path: Path, secrets: dict[str, Path]) -> Iterator[tuple[LocalRun, Host]]:
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
    assert (found.returncode, found.stdout) == (0, ""), found.stderr
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
