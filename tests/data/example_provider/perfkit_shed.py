"""A provider of one's own, as small as one can be: a host is an sshd in a folder of a shed.

Everything a host has lies in `<shed>/<run>/<host>/`, its tag too. A shell waits for its sshd, which
lives until the host expires, and clears the folder away. The shed is in a folder that everybody may
write to, so it is used only if it is this user's alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from perfkit.errors import ConfigError, LaunchError
from perfkit.fleet.provider import HostRequest, LaunchRequest, ListedHost, ReleaseReport, Traits
from perfkit.model import Host, Role
from perfkit.ownership import is_private

MAX_HOSTS = 20
KEEPER = """
timeout --foreground "$2" "$1" -D -f "$3/sshd_config"
rm -rf "$3"
set -- "${3%/*}"/[!.]*
[ -e "$1" ] || rm -rf "${1%/*}"
"""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


class ShedProvider:
    """See the module's docstring; `perfkit.fleet.provider.Provider` says what each method is for."""

    name = "shed"
    notice = "Hosts are sshd processes in a shed on this machine."
    traits = Traits(
        costs_money=False,
        shared_cpu=True,
        can_tunnel=False,
        max_hosts=MAX_HOSTS,
    )

    def __init__(self, config_dir: Path | None = None) -> None:
        self._shed = Path(tempfile.gettempdir(), f"perfkit-private-shed-{os.getuid()}")
        self._sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"

    def preflight(self, n_hosts: int) -> None:
        if not 1 <= n_hosts <= MAX_HOSTS:
            raise ConfigError(
                "parameters", "clients", n_hosts, f"a shed holds {MAX_HOSTS} hosts", "ask for fewer"
            )

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        names = [host.name for host in request.hosts]
        if not names or len(set(names)) < len(names) or not all(map(_WORD.fullmatch, names)):
            raise LaunchError(f"host names must be distinct words, got {names}")
        if not _WORD.fullmatch(request.run_id):
            raise LaunchError(f"run id {request.run_id!r} is not a word")
        if request.expires_utc <= datetime.now(UTC):
            raise LaunchError("expired already")
        self._shed.mkdir(exist_ok=True, mode=0o700)
        if not is_private(self._shed):
            raise LaunchError(
                f"{self._shed} is not this user's alone: set TMPDIR to a folder of yours"
            )
        run = self._shed / request.run_id
        run.mkdir(exist_ok=True, mode=0o700)
        served = run / f".token-{request.token}"
        if not served.exists():
            served.touch()
            for wanted in request.hosts:
                if not (run / wanted.name).exists():
                    self._start(run / wanted.name, request, wanted)
        mine = {tag["name"]: tag for tag in self._tags(run) if tag["token"] == request.token}
        for name in names:
            if name not in mine:
                request.record("launch-shortfall", name=name, reason=self._why_not(run / name))
        return [
            Host(
                name=name,
                role=Role(mine[name]["role"]),
                address="127.0.0.1",
                port=mine[name]["port"],
                host_key=mine[name]["host_key"],
                user=mine[name]["user"],
                workdir=f"{run}/{name}/work",
                can_tunnel=False,
            )
            for name in names
            if name in mine
        ]

    def _why_not(self, folder: Path) -> str:
        in_use = "a host of this run has that name already"
        return in_use if folder.exists() else "it has ended since it was asked for"

    def _start(self, folder: Path, request: LaunchRequest, wanted: HostRequest) -> None:
        (folder / "work").mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd insists on it
        config = {
            "ListenAddress": f"127.0.0.1:{port}",
            "HostKey": f"{folder}/host_key",
            "AuthorizedKeysFile": f"{folder}/authorized_keys",
            "AuthenticationMethods": "publickey",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "Subsystem": "sftp internal-sftp",
            "SetEnv": f"HOME={folder}/work",  # a person's own .bashrc is no part of a host
        }
        tag = {
            "token": request.token,
            "name": wanted.name,
            "role": wanted.role.value,
            "port": port,
            "host_key": wanted.host_key,
            "owner": request.owner,
            "expires_s": request.expires_utc.timestamp(),
            "user": subprocess.check_output(["id", "-un"], text=True).strip(),
        }
        for name, text in {
            "sshd_config": "".join(f"{key} {value}\n" for key, value in config.items()),
            "host_key": wanted.host_key_private,
            "authorized_keys": f"{request.authorized_key}\n",
        }.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
        life = f"{max(0.1, tag['expires_s'] - time.time()):.3f}"
        keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "sh", self._sshd, life, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # A process has no command line while it begins.
        while keeper.poll() is None and not Path(f"/proc/{keeper.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        keeper.returncode = 0  # it outlives us: nobody waits for it
        (folder / "tag.json").write_text(json.dumps({**tag, "pid": keeper.pid}))

    def _tags(self, run: Path) -> Iterator[dict]:
        """The tags of the hosts that live."""
        if not is_private(self._shed):
            return
        for path in sorted(run.glob("*/tag.json")):
            try:
                tag = json.loads(path.read_text())
                command_line = Path(f"/proc/{tag['pid']}/cmdline").read_bytes()
            except (OSError, ValueError):
                continue  # the host has ended, or is being made, at this moment
            if str(path.parent).encode() in command_line:
                yield tag

    def runs(self) -> Sequence[str]:
        found = self._shed.glob("*") if is_private(self._shed) else ()
        return sorted(path.name for path in found if path.is_dir())

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        runs = [self._shed / run_id] if run_id else list(self._shed.glob("*"))
        return [
            ListedHost(
                run_id=run.name,
                name=tag["name"],
                role=Role(tag["role"]),
                address="127.0.0.1",
                port=tag["port"],
                expires_utc=datetime.fromtimestamp(tag["expires_s"], UTC),
                owner=tag["owner"],
                identity=str(run / tag["name"]),
            )
            for run in runs
            for tag in self._tags(run)
        ]

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        ended = []
        for name in names:
            folder = self._shed / run_id / name
            if _WORD.fullmatch(name) and folder.is_dir():
                for tag in self._tags(folder.parent):
                    if tag["name"] == name:
                        os.killpg(tag["pid"], signal.SIGKILL)
                shutil.rmtree(folder, ignore_errors=True)  # its keeper may be at it too
                ended.append(name)
        return ReleaseReport(released=tuple(ended))

    def release(self, run_id: str) -> ReleaseReport:
        run = self._shed / run_id
        if not is_private(self._shed):
            return ReleaseReport()
        report = self.terminate(run_id, [path.name for path in run.glob("[!.]*")])
        shutil.rmtree(run, ignore_errors=True)
        return report

    def residue(self, run_id: str) -> Sequence[str]:
        run = self._shed / run_id
        return [str(run)] if run.exists() and not self.hosts(run_id) else []
