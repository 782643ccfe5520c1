"""What is done to every host before the tests. A standard Fabric file: edit it.

perfkit runs `setup_server` on the server and `setup_client` on every client, many at a time. The
same tasks by hand::

    export PERFKIT_BUNDLE=runs/<run>/hosts/client-001/bundle
    fab -r resources -H root@192.0.2.7 setup-client

A bundle is the folder of files made for one host: tests, tools, its OpenVPN configuration and
keys. Without one, tools and folders are set up and the tunnel is left out.

Nothing may wait for an answer: say -y, --batch and the like. A task may run again at any time.
"""

import io
import os
import tarfile
from pathlib import Path
from shlex import quote

from fabric import Connection, task

# command: its package on Debian and Ubuntu, and on Fedora and Amazon Linux
TOOLS = {
    "iperf": ("iperf", "iperf"),
    "ip": ("iproute2", "iproute"),
    "ping": ("iputils-ping", "iputils"),
    "crontab": ("cron", "cronie"),
    "python3": ("python3", "python3"),
    "openvpn": ("openvpn", "openvpn"),
}
# apt-daily of a machine that was just booted holds apt's locks for a while. `apt-get update` has no
# option that waits for its own, nor has the lock of the download folder.
INSTALL = r"""
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
until_s=$(($(date +%s) + 240))
waiting_apt() {
    until said=$(apt-get "$@" 2>&1 </dev/null); do
        case $said in
            *'Could not get lock'* | *'Unable to lock'* | *'Unable to acquire'*) ;;
            *) printf '%s\n' "$said" >&2; return 1 ;;
        esac
        if [ "$(date +%s)" -ge $until_s ]; then
            printf '%s\n' "$said" "apt was at work here for 4 minutes: what holds its lock?" >&2
            return 1
        fi
        echo 'apt is at work here already: waiting for its lock'
        sleep 2
    done
    printf '%s\n' "$said"
}
# $apt and $dnf are lists of packages, set before this text.
if command -v apt-get; then
    waiting_apt update &&
        waiting_apt install -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold $apt
else dnf install -y $dnf
fi
"""
FOLDERS = ("bin", "logs", "openvpn", "tests")


@task
def setup_server(c: Connection) -> None:
    """Make a host the server of the run."""
    setup_common(c)
    start_openvpn(c, "server.conf")


@task
def setup_client(c: Connection) -> None:
    """Make a host a client of the run."""
    setup_common(c)
    start_openvpn(c, "client.conf")


@task
def setup_common(c: Connection) -> None:
    """Tools, folders, and the host's own files."""
    missing = prepare(c)
    if missing:
        install(c, missing)
    if bundle(c):
        push(c, bundle(c))
    else:
        c.run("echo 'no PERFKIT_BUNDLE: no files are copied and no tunnel is started'")


def prepare(c: Connection) -> list[str]:
    """Make the folders; return the tools that are not there."""
    tools = [tool for tool in TOOLS if tool != "openvpn" or wants_tunnel(c)]
    folders = " ".join(quote(f"{workdir(c)}/{name}") for name in FOLDERS)
    script = f"""
        mkdir -p {folders} 2>/dev/null || sudo -n install -d -o "$(id -un)" {folders}
        PATH=$PATH:/usr/sbin:/sbin
        for tool in {" ".join(tools)}; do command -v $tool >/dev/null || echo $tool; done
    """
    return c.run(script, hide=True).stdout.split()


def install(c: Connection, tools: list[str]) -> None:
    """Install what is missing with the host's own package manager."""
    apt = " ".join(TOOLS[tool][0] for tool in tools)
    dnf = " ".join(TOOLS[tool][1] for tool in tools)
    as_root(c, f"apt={quote(apt)} dnf={quote(dnf)}\n{INSTALL}", timeout=600)


def push(c: Connection, folder: Path) -> None:
    """Copy a folder's content into the host's workdir: one file, one command."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    name = f"{workdir(c)}/.bundle.tgz"
    c.put(archive, name)
    c.run(f"cd {quote(workdir(c))} && tar -xzf {name} --no-same-owner && rm {name}", hide=True)


def start_openvpn(c: Connection, conf: str) -> None:
    """Start OpenVPN in the background, unless it runs already."""
    if not wants_tunnel(c):
        return
    script = f"""
        cd {quote(workdir(c))}/openvpn
        pid=$(cat openvpn.pid 2>/dev/null) && grep -qs openvpn /proc/$pid/comm && exit 0
        touch ../logs/openvpn.log ../logs/openvpn-status.log  # ours to read, whoever writes them
        rm -f openvpn.pid  # what is written there from now on is about this start
        PATH=$PATH:/usr/sbin:/sbin
        said=$(openvpn --cd "$PWD" --config {conf} --daemon 2>&1) && exit 0
        {{ tail -n 20 ../logs/openvpn.log; echo "$said"; }} | grep -v 'Use --help' | tail -n 5 >&2
        exit 1
    """
    as_root(c, script)


def as_root(c: Connection, script: str, **options: object) -> None:
    """Run a script as root; who is root already needs no sudo."""
    if c.user == "root":
        c.run(script, hide=True, **options)
    else:
        c.sudo(f"sh -c {quote(script)}", hide=True, **options)


def workdir(c: Connection) -> str:
    """The folder on the host that is ours."""
    return c.config.get("perfkit", {}).get("workdir", "/var/lib/perfkit")


def bundle(c: Connection) -> Path | None:
    """The folder here with the files for this host: from perfkit, or from the environment."""
    folder = c.config.get("perfkit", {}).get("bundle") or os.environ.get("PERFKIT_BUNDLE")
    return Path(folder) if folder else None


def wants_tunnel(c: Connection) -> bool:
    """The bundle holds an OpenVPN configuration."""
    folder = bundle(c)
    return folder is not None and (folder / "openvpn").is_dir()
