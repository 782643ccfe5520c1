"""Hosts without any privilege: one sshd per host on 127.0.0.1, as the current user.

A host is a shell that starts the sshd and sleeps until the host's expiry; its command line is the
tag, which names the host's folder too. Its processes are found and ended by
`perfkit.fleet.local.loopback_processes`, its folder by `perfkit.fleet.local.loopback_folders`.

These hosts share the user's files and the machine's network: there are no tunnels, and nothing
protects the user from the tests.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import SystemRandom
from textwrap import dedent

import perfkit
from perfkit import ownership, untrusted
from perfkit.errors import ConfigError, LaunchError, ProviderError
from perfkit.fleet.local import loopback_folders, loopback_processes, tags, tools
from perfkit.fleet.local.loopback_folders import TOKENS
from perfkit.fleet.local.loopback_processes import ENVIRONMENT_NAME, Process
from perfkit.fleet.provider import HostRequest, LaunchRequest, ReleaseReport
from perfkit.model import Host

ADDRESS = "127.0.0.1"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
START_TIMEOUT_S = 120.0  # ended before by an sshd that has ended
PORTS = range(20_000, 32_000)  # Linux hands out 32,768 and up
PORT_ATTEMPTS = 5  # somebody else may take a port between the choice and the sshd

# $0 is the tag. At its expiry the host is ended by a process of its own; should perfkit be gone by
# then, at least the sshd ends.
_HOLDER = """
"$1" -D -e -f "$2/sshd_config" 2>>"$2/sshd.log" &
sleep "$3"
cd "$4" && "$5" -m perfkit.fleet.local.loopback "$6" "$7"
grep -qsF "$2/sshd_config" "/proc/$!/cmdline" && kill "$!"
"""


def runs() -> list[str]:
    """Ids of the runs that have a folder or a process."""
    return sorted(loopback_folders.runs() | loopback_processes.runs())


def residue(run_id: str) -> list[str]:
    """The run's folders, and processes of hosts that show no tag any more; for people to read."""
    folders = [f"folder {folder}" for folder in loopback_folders.find(run_id)]
    listed = _tagged(run_id)
    return folders + [
        f"{name}: process {process.pid}"
        for name, processes in loopback_processes.find(run_id, _ports(run_id)).items()
        if name not in listed
        for process in processes
    ]


def check_ports(ports: Iterable[int]) -> None:
    """Refuse ports that another program of this machine listens on.

    Raises:
        ConfigError: one is taken.
    """
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise ConfigError(
                    "tests.conf",
                    "port",
                    port,
                    f"loopback hosts cannot listen there: {exc.strerror}",
                    f"end what listens there (ss -ltnp 'sport = {port}'), or set another port",
                ) from exc


def launch(request: LaunchRequest) -> list[Host]:
    """Start the batch's sshds; a token that was served before starts nothing.

    Raises:
        LaunchError: not one answers.
    """
    sshd = tools.find("sshd")
    try:
        run = loopback_folders.find_or_make(request.run_id)
        (run / TOKENS).mkdir(mode=0o700, exist_ok=True)
        served = run / TOKENS / sha256(request.token.encode()).hexdigest()
        served.touch(exist_ok=False)
    except FileExistsError:
        hosts, reasons = _alive(request, served)
        return _told(request, hosts, reasons)
    except (ProviderError, OSError) as exc:
        raise LaunchError(f"run {request.run_id}: {exc}") from exc
    hosts, reasons = _start_all(request, run, sshd)
    with suppress(OSError):  # for whoever asks again; the hosts are there without
        served.write_text(json.dumps(reasons))
    if not hosts:
        said = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise LaunchError(f"run {request.run_id}: no host on {ADDRESS}: {said}")
    return _told(request, hosts, reasons)


def _told(request: LaunchRequest, hosts: list[Host], reasons: Mapping[str, str]) -> list[Host]:
    for name, why in reasons.items():
        request.record("launch-shortfall", name=name, reason=why)
    return hosts


def end(run_id: str, names: Sequence[str] | None = None) -> ReleaseReport:
    """End hosts of a run with all that runs in them, and remove their folders.

    Whatever is left of a host is enough: its tag, one of its processes, or its folder.
    """
    folders = loopback_folders.find(run_id)  # before the tags that name them go
    report = _end_hosts(run_id, names)
    for folder in folders:
        if not report.leaked and (names is None or not loopback_folders.host_names(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    return report


def _end_hosts(run_id: str, names: Sequence[str] | None) -> ReleaseReport:
    folders, ports, tagged = loopback_folders.find(run_id), _ports(run_id), _tagged(run_id)
    known = {name for folder in folders for name in loopback_folders.host_names(folder)}
    known |= {*tagged, *loopback_processes.find(run_id, ports)}
    ending = sorted(name for name in known if names is None or name in names)
    left = loopback_processes.end(run_id, ending, ports) if ending else {}
    tagged = _tagged(run_id)
    theirs = [tagged[name] for name in ending if name in tagged and name not in left]
    leaked = [
        f"{name} (pid {process.pid}, of {ownership.user_name(process.uid)})"
        for name, processes in left.items()
        for process in processes
    ]
    leaked += [f"{it}: another user's; end it as that user or as root" for it in theirs]
    released = [name for name in ending if name not in left and name not in tagged]
    for folder in folders:
        for name in released:
            shutil.rmtree(folder / name, ignore_errors=True)
    return ReleaseReport(leaked=tuple(leaked), released=tuple(released))


def _tagged(run_id: str) -> dict[str, tags.Tagged]:
    """The run's hosts on loopback that show their tag, by name."""
    return {
        tagged.fields["name"]: tagged
        for tagged in tags.scan(run_id)
        if tagged.kind == tags.HOST and tagged.isolation == tags.LOOPBACK
    }


def _ports(run_id: str) -> dict[str, int]:
    """The port of each host, as its tag or, where there is none, its configuration says."""
    ports = {}
    for folder in loopback_folders.find(run_id):
        for name in loopback_folders.host_names(folder):
            with suppress(OSError, ValueError, StopIteration):
                lines = (folder / name / "sshd_config").read_text().splitlines()
                ports[name] = int(next(line[5:] for line in lines if line.startswith("Port ")))
    return ports | {name: int(it.fields["port"]) for name, it in _tagged(run_id).items()}


def _make_privilege_separation_folder() -> None:
    """Root's sshd insists on its empty folder, which the package makes at boot, not everywhere."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now.

    Not those the kernel hands out for outgoing connections: one of them may be taken between
    here and the sshd that is to listen on it.

    Raises:
        LaunchError: there are not so many.
    """
    chosen: list[int] = []
    for port in SystemRandom().sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind((ADDRESS, port))
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise LaunchError(f"{ADDRESS}: {count} free ports in {PORTS} asked for, {len(chosen)} found")


def _start_all(request: LaunchRequest, run: Path, sshd: str) -> tuple[list[Host], dict[str, str]]:
    """Start the hosts whose names are free; those that answer, and why each other does not."""
    in_use = set(_tagged(request.run_id))
    reasons = {
        wanted.name: "a host of this run has that name already"
        for wanted in request.hosts
        if wanted.name in in_use
    }
    missing = [wanted for wanted in request.hosts if wanted.name not in in_use]
    _end_hosts(request.run_id, [wanted.name for wanted in missing])  # what is left of dead ones
    settings = tools.sshd_lines()
    hosts: dict[str, Host] = {}
    for _ in range(PORT_ATTEMPTS):
        started, silent = _start_some(request, missing, run, sshd, settings)
        silent |= _await_answers(request.run_id, run, started)
        hosts |= {host.name: host for host in started if host.name not in silent}
        reasons |= silent
        if silent:
            _end_hosts(request.run_id, list(silent))  # and its folder
        missing = [it for it in missing if "Address already in use" in silent.get(it.name, "")]
        if not missing:
            break
    reasons = {name: why for name, why in reasons.items() if name not in hosts}
    return [hosts[it.name] for it in request.hosts if it.name in hosts], reasons


def _start_some(
    request: LaunchRequest,
    wanted: Sequence[HostRequest],
    run: Path,
    sshd: str,
    settings: Sequence[str],
) -> tuple[list[Host], dict[str, str]]:
    """Those that were started, which may not answer yet, and why each other could not be."""
    started: list[Host] = []
    reasons: dict[str, str] = {}
    try:
        _make_privilege_separation_folder()
        ports = _free_ports(len(wanted))
    except (LaunchError, OSError) as exc:
        return [], {one.name: str(exc) for one in wanted}
    for one, port in zip(wanted, ports, strict=True):
        try:
            _write_folder(run / one.name, request, one, port, settings)
            _start(run / one.name, request, one, port, sshd)
        except (OSError, ValueError) as exc:  # no room, or a key that is no text
            reasons[one.name] = f"{type(exc).__name__}: {exc}"
        else:
            started.append(_host(run / one.name, one, port))
    return started, reasons


def _start(folder: Path, request: LaunchRequest, wanted: HostRequest, port: int, sshd: str) -> None:
    expires_s = request.expires_utc.timestamp()
    tag = tags.format_tag(
        tags.HOST,
        {
            "run": request.run_id,
            "name": wanted.name,
            "role": wanted.role,
            "address": ADDRESS,
            "port": port,
            "expires": f"{expires_s:.0f}",
            "owner": request.owner,
            "isolation": tags.LOOPBACK,
            "folder": folder,
        },
    )
    life_s = str(max(1, round(expires_s - time.time())))
    owner = (request.run_id, wanted.name)
    source = str(Path(perfkit.__file__).resolve().parents[1])
    null = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _HOLDER, tag, sshd, str(folder), life_s, source, sys.executable, *owner],
        {**os.environ, ENVIRONMENT_NAME: "/".join(owner)},
        file_actions=null,
        setsid=True,
    )


def _write_folder(
    folder: Path, request: LaunchRequest, wanted: HostRequest, port: int, settings: Sequence[str]
) -> None:
    folder.mkdir(mode=0o700)
    (folder / "work").mkdir(mode=0o700)
    # sshd asks that nobody else may write to any folder on the way, be it sticky: not so in /tmp.
    strict = "yes" if ownership.is_closed(folder) else "no"
    keys = str(folder / "authorized_keys").replace("%", "%%")
    # A home of its own: the user's shell profile may do slow things at every SSH command.
    config = dedent(f"""\
        ListenAddress {ADDRESS}
        Port {port}
        HostKey "{folder}/host_key"
        AuthorizedKeysFile "{keys}"
        StrictModes {strict}
        PidFile none
        SetEnv {ENVIRONMENT_NAME}={request.run_id}/{wanted.name} "HOME={folder}/work"
        """)
    files = {
        "host_key": wanted.host_key_private.rstrip("\n") + "\n",
        "authorized_keys": f"{request.authorized_key}\n",
        "sshd_config": config + "".join(f"{line}\n" for line in settings),
    }
    for name, text in files.items():
        with open(os.open(folder / name, _NEW_FILE, 0o600), "w") as file:  # noqa: PTH123  not a path
            file.write(text)


def _alive(request: LaunchRequest, served: Path) -> tuple[list[Host], dict[str, str]]:
    """Those of a request that was served before that run, by their tags; why each other does not."""
    tagged = _tagged(request.run_id)
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):  # empty: whoever served it was killed on the way
        known = dict(untrusted.parse_json(untrusted.read_file(served, untrusted.RECORD_BYTES)))
    hosts, reasons = [], {}
    for wanted in request.hosts:
        fields = it.fields if (it := tagged.get(wanted.name)) else {}
        if wanted.name not in known and "folder" in fields:
            hosts.append(_host(Path(fields["folder"]), wanted, int(fields["port"])))
        else:
            reasons[wanted.name] = known.get(wanted.name, "it was asked for before and has ended")
    return hosts, reasons


def _host(folder: Path, wanted: HostRequest, port: int) -> Host:
    return Host(
        name=wanted.name,
        role=wanted.role,
        address=ADDRESS,
        host_key=wanted.host_key,
        port=port,
        user=pwd.getpwuid(os.getuid()).pw_name,
        workdir=str(folder / "work"),
        can_tunnel=False,
    )


def _await_answers(run_id: str, run: Path, started: Sequence[Host]) -> dict[str, str]:
    """Wait until each host's sshd greets or has ended; why each of the others is silent, by name."""
    pending = {host.name: host for host in started}
    silent: dict[str, str] = {}
    suspects: set[str] = set()
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while pending and time.monotonic() < deadline_s:
        found = loopback_processes.find(run_id, {})
        pending = {
            name: host for name, host in pending.items() if not _greets(host, found.get(name, []))
        }
        ended = {name for name in pending if _lost_its_sshd(found.get(name, []))}
        for name in ended & suspects:  # seen twice: a scan of /proc is no instant
            silent[name] = _last_words(run / name)
            del pending[name]
        suspects = ended
        time.sleep(0.02 if pending else 0)
    waited = f"no answer within {START_TIMEOUT_S:g} s"
    return silent | {name: f"{waited}; {_last_words(run / name)}" for name in pending}


def _greets(host: Host, processes: Sequence[Process]) -> bool:
    """Whether the host's own sshd answers; whoever else has taken the port does not count."""
    if not loopback_processes.listen_on(processes, host.port):
        return False
    with suppress(OSError), socket.create_connection((host.address, host.port), 5) as link:
        link.settimeout(5)
        return link.recv(4) == b"SSH-"
    return False


def _lost_its_sshd(processes: Sequence[Process]) -> bool:
    """Whether a host is past starting its sshd, since it sleeps, and has none."""
    return len(processes) == 2 and any(process.program == "sleep" for process in processes)


def _last_words(folder: Path) -> str:
    log = folder / "sshd.log"
    said = log.read_text(errors="replace").strip() if log.exists() else ""
    return f"its sshd said: {said[-500:]}" if said else "its sshd ended and logged nothing"


if __name__ == "__main__":
    # The end of a host's life.
    end(sys.argv[1], [sys.argv[2]])
