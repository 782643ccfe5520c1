"""What is done to every host before the tests. A standard Fabric file: edit it.

perfkit runs `setup_server` on the server and `setup_client` on every client, many at a time. The
same tasks by hand::

    export PERFKIT_BUNDLE=runs/<run>/hosts/client-001/bundle
    fab -r resources -H root@192.0.2.7 setup-client

A bundle is the folder of files made for one host: tests, tools, and in vpn/ the configuration and
keys of the VPN with its scripts `start` and `stop`. Without one, tools and folders are set up and the
VPN is left out.

Nothing may wait for an answer: say -y, --batch and the like. A task may run again at any time.
"""

import gzip
import io
import os
import tarfile
from pathlib import Path
from shlex import quote
from stat import S_ISREG

from fabric import Connection, task

# command: its package on Debian and Ubuntu, and on Fedora and Amazon Linux
TOOLS = {
    "iperf": ("iperf", "iperf"),
    "ip": ("iproute2", "iproute"),
    "ping": ("iputils-ping", "iputils"),
    "crontab": ("cron", "cronie"),
    "python3": ("python3", "python3"),
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
PACKED: dict[tuple[object, ...], bytes] = {}
FOLDERS = ("bin", "logs", "slots", "steps", "tests", "vpn")


@task
def setup_server(c: Connection) -> None:
    """Make a host the server of the run."""
    set_up(c, then=vpn_start(c))


@task
def setup_client(c: Connection) -> None:
    """Make a host a client of the run."""
    set_up(c, then=vpn_start(c))


@task
def setup_common(c: Connection) -> None:
    """Tools, folders, and the host's own files."""
    set_up(c)


def set_up(c: Connection, then: str = "") -> None:
    """As `setup_common`; the command that unpacks the files also does what comes then."""
    missing = prepare(c)
    if missing:
        install(c, missing)
    if bundle(c):
        push(c, bundle(c), then)
    else:
        c.run("echo 'no PERFKIT_BUNDLE: no files are copied and no tunnel is started'")


def prepare(c: Connection) -> list[str]:
    """Make the folders; return the tools that are not there."""
    folders = " ".join(quote(f"{workdir(c)}/{name}") for name in FOLDERS)
    script = f"""
        mkdir -p {folders} 2>/dev/null || sudo -n install -d -o "$(id -un)" {folders}
        PATH=$PATH:/usr/sbin:/sbin
        for tool in {" ".join(tools(c))}; do command -v $tool >/dev/null || echo $tool; done
    """
    return c.run(script, hide=True).stdout.split()


def install(c: Connection, missing: list[str]) -> None:
    """Install what is missing with the host's own package manager."""
    packages = [tools(c)[tool] for tool in missing]
    apt, dnf = (" ".join(names) for names in zip(*packages, strict=True))
    as_root(c, f"apt={quote(apt)} dnf={quote(dnf)}\n{INSTALL}", timeout=600)


def tools(c: Connection) -> dict[str, tuple[str, str]]:
    """TOOLS, and what the VPN of the bundle needs."""
    listed = bundle(c) / "vpn" / "packages" if bundle(c) else None
    if listed is None or not listed.is_file():
        return TOOLS
    lines = (line.split() for line in listed.read_text().splitlines())
    return TOOLS | {tool: (apt, dnf) for tool, apt, dnf in lines}


def push(c: Connection, folder: Path, then: str = "") -> None:
    """Copy a folder's content into the host's workdir: one file, one command, which goes on with `then`."""
    name = f"{workdir(c)}/.bundle.tgz"
    archive = b"".join(map(packed, sorted(folder.iterdir())))
    c.put(io.BytesIO(archive + gzip.compress(bytes(1024))), name)  # an archive ends with zeros
    unpack = f"cd {quote(workdir(c))} && tar -xzf {name} --no-same-owner && rm {name}"
    c.run(f"{unpack} || exit\n{then}", hide=True)


def packed(path: Path) -> bytes:
    """A folder as a piece of a .tgz; one whose files are links that hosts share is packed once."""
    files = sorted((it.name, it.stat()) for it in os.scandir(path)) if path.is_dir() else []
    is_shared = all(it.st_nlink > 1 and S_ISREG(it.st_mode) for _, it in files) and files
    key = (path.name, *((name, it.st_ino, it.st_size, it.st_mtime_ns) for name, it in files))
    if is_shared and key in PACKED:
        return PACKED[key]
    piece = io.BytesIO()
    with tarfile.open(fileobj=piece, mode="w") as tar:
        tar.add(path, arcname=path.name)
        made = gzip.compress(piece.getvalue(), 1)  # without the end that an archive has
    if is_shared:
        PACKED[key] = made
    return made


def vpn_start(c: Connection) -> str:
    """Shell text that starts the VPN in the background, unless it runs already; as root."""
    if not (bundle(c) and (bundle(c) / "vpn" / "start").is_file()):
        return ""
    start = f"cd {quote(workdir(c))}/vpn && exec ./start"
    return start if c.user == "root" else f"sudo -n sh -c {quote(start)}"


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
