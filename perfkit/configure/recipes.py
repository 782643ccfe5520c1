"""Configure hosts: make each host's bundle of files and run its role's recipe with it.

Recipes are the tasks of `resources/fabfile.py`. A bundle is a folder under the run,
`hosts/<host>/bundle/`, that mirrors the host's workdir::

    tests/<name>, tests/<name>.server    from resources/tests
    bin/…                                from resources/bin, and what the caller adds
    openvpn/<role>.conf                  from resources/openvpn, filled in; only with a tunnel
    openvpn/ca.crt host.crt host.key tls-crypt.key    its own, and nobody else's
    openvpn/crl.pem                      only on the server: certificates it must refuse

A host on which a recipe came to its end bears a stamp (`perfkit.configure.completion`), and the recipe
is not repeated there unless something in it has changed. One that was cut short is begun anew.
"""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from perfkit.configure.completion import digest, has_stamp, stamp_script
from perfkit.configure.fabric_tasks import GuardedConnection, Task, do_task, load_tasks
from perfkit.configure.facts import collect_facts
from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import Host, HostResult, Role, StageResult
from perfkit.runs.folder import Run
from perfkit.ssh.remote import Remote, RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.vpn.openvpn.ca import Authority
from perfkit.vpn.plan import TunnelPlan

RECIPES: Mapping[Role, str] = {Role.SERVER: "setup_server", Role.CLIENT: "setup_client"}


def configure(  # noqa: PLR0913 -- the phase with all its choices, by keyword
    run: Run,
    hosts: Iterable[Host],
    *,
    pool: RemotePool,
    threads: int,
    resources_dir: Path,
    tunnel: TunnelPlan | None,
    extra_files: Mapping[str, Path | bytes] | None = None,
    checks: Mapping[Role, str] | None = None,
    deadline_s: float | None = 300.0,
    on_result: Callable[[HostResult], None] | None = None,
) -> StageResult:
    """Configure hosts as they come; those that bear the recipe's stamp are left as they are.

    Writes under the run: `config/resources/` (what was used), `hosts/<host>/bundle/` and, with a
    tunnel, the authority in `keys/`. On each host: its workdir, packages that are missing, and
    a running OpenVPN.

    Args:
        hosts: Taken one at a time; may block while others are launching. The server may come at
            any time: clients ask for it until it is there.
        pool: Connections; they stay open for the next phase.
        resources_dir: Holds fabfile.py, tests/, bin/ and openvpn/.
        tunnel: The VPN; None = none.
        extra_files: More for every host, by path below the workdir.
        checks: Shell text by role that prints a line for each thing that a host lacks.
        deadline_s: Longest time for one host.

    Returns:
        One result a host; the log of each is named in it.

    Raises:
        ConfigError: the fabfile or a template is wrong; raised before any host is touched.
    """
    tasks = {role: find_task(resources_dir / "fabfile.py", name) for role, name in RECIPES.items()}
    bundles = Bundles(run, resources_dir, tunnel, extra_files or {})

    def configure_host(host: Host) -> None:
        bundle = bundles.make(host)
        log = pool.log_path(host)
        known = log is not None and log.exists()  # somebody has worked on it before
        stamp = digest([run.id, host.name, bundles.digest], [bundle])
        remote = pool.get(host)
        if not (known and has_stamp(remote, stamp)):
            do_recipe(
                remote, tasks[host.role], run.id, bundle, stamp, (checks or {}).get(host.role, "")
            )

    return run_on_hosts(
        "configure",
        hosts,
        configure_host,
        threads=threads,
        deadline_s=deadline_s,
        on_result=on_result,
        on_expired=pool.drop,
        log_path=pool.log_path,
    )


def do_recipe(
    remote: Remote, task: Task, run_id: str, bundle: Path, stamp: str, checks: str = ""
) -> None:
    """Run a role's recipe to its end, take down what the host is, check it, and stamp it."""
    host, say = remote.host, remote.link.transcript.write
    connection = GuardedConnection(remote)
    connection.config["perfkit"] = {
        "workdir": host.workdir,
        "bundle": str(bundle),
        "role": str(host.role),
        "run": run_id,
        "host": host.name,
    }
    say(f"recipe {RECIPES[host.role]}: begins")
    do_task(task, connection)
    collect_facts(remote, checks=checks, then=stamp_script(host, stamp))
    say(f"recipe {RECIPES[host.role]}: done")


def find_task(fabfile: Path, name: str) -> Task:
    """Load a Fabric file and return one of its tasks.

    Raises:
        ConfigError: it cannot be loaded, or has no such task; the message lists those it has.
    """
    tasks = load_tasks(fabfile)
    if name not in tasks:
        raise ConfigError(
            str(fabfile), "task", name, "the file has no such task", did_you_mean(name, tasks)
        )
    return tasks[name]


class Bundles:
    """Makes the bundle of each host; shared files are copied once and linked into each.

    Attributes:
        digest: Of the shared files.

    Raises:
        ConfigError: a template names something that is not known.
    """

    def __init__(
        self,
        run: Run,
        resources_dir: Path,
        tunnel: TunnelPlan | None,
        extra_files: Mapping[str, Path | bytes],
    ) -> None:
        self._run = run
        self._shared = run.config_dir / "resources"
        self._openvpn: dict[Role, str] = {}
        self._authority: Authority | None = None
        _copy_shared(resources_dir, self._shared, extra_files)
        self.digest = digest([], [self._shared])  # the recipes' own file among them
        if tunnel is not None:
            self._authority = Authority(run.keys_dir, days=tunnel.certificate_days)
            for role in Role:
                template = resources_dir / "openvpn" / f"{role}.conf"
                self._openvpn[role] = fill_in(template, tunnel.template_values())

    def make(self, host: Host) -> Path:
        """Make, or bring up to date, the bundle of one host; returns its folder."""
        folder = self._run.host_dir(host.name) / "bundle"
        for source in sorted(self._shared.glob("*/*")):
            if source.parent.name != "openvpn":
                _link(source, folder / source.parent.name / source.name)
        if self._authority is not None and host.can_tunnel:
            self._add_tunnel(host, folder / "openvpn")
        return folder

    def _add_tunnel(self, host: Host, folder: Path) -> None:
        assert self._authority is not None
        _write(folder / f"{host.role}.conf", self._openvpn[host.role].encode(), 0o600)
        if host.role is Role.SERVER:
            _write(folder / "crl.pem", self._authority.crl.encode(), 0o600)
        if (folder / "host.crt").exists():  # written last: there = complete
            return
        credentials = self._authority.issue(host.name, host.role)
        for name, text in (
            ("ca.crt", self._authority.certificate),
            ("tls-crypt.key", self._authority.tls_crypt_key),
            ("host.key", credentials.key),
            ("host.crt", credentials.certificate),
        ):
            _write(folder / name, text.encode(), 0o600)


def fill_in(template: Path, values: Mapping[str, str]) -> str:
    """A template's text with its ${names} replaced.

    Raises:
        ConfigError: not there, or it names something else; the message lists the known names.
    """
    try:
        return string.Template(template.read_text()).substitute(values)
    except OSError as exc:
        raise ConfigError(
            str(template), "template", template.name, exc.strerror or "", "restore it"
        ) from exc
    except KeyError as exc:
        name = str(exc.args[0])
        raise ConfigError(
            str(template), "placeholder", f"${{{name}}}", "not known", did_you_mean(name, values)
        ) from exc
    except ValueError as exc:
        raise ConfigError(
            str(template), "placeholder", str(exc), "not a ${name}", "write $$ for a plain dollar"
        ) from exc


def _copy_shared(
    resources_dir: Path, target: Path, extra_files: Mapping[str, Path | bytes]
) -> None:
    """Copy what all hosts get to the run, which thereby records it; stale files are removed."""
    shutil.rmtree(target, ignore_errors=True)
    sources: dict[str, Path | bytes] = {
        f"{folder}/{path.name}": path
        for folder in ("tests", "bin", "openvpn")
        for path in sorted((resources_dir / folder).glob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    sources["fabfile.py"] = resources_dir / "fabfile.py"
    for name, source in {**sources, **extra_files}.items():
        data = source if isinstance(source, bytes) else source.read_bytes()
        executable = name.startswith(("tests/", "bin/"))
        _write(target / name, data, 0o700 if executable else 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a new file. Not flushed to the disk: a bundle can be made again."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # not every file system has links
        shutil.copy(source, target)
