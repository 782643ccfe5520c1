"""Configure hosts: make each host's bundle of files and run its role's recipe with it.

Recipes are the tasks of `resources/fabfile.py`; what they bring is `perfkit.configure.bundles`.

A host on which a recipe came to its end bears a stamp (`perfkit.configure.completion`), and the recipe
is not repeated there unless something in it has changed. One that was cut short is begun anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from perfkit.configure.bundles import Bundles
from perfkit.configure.completion import digest, has_stamp, stamp_script
from perfkit.configure.fabric_tasks import GuardedConnection, Task, do_task, load_tasks
from perfkit.configure.facts import collect_facts
from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import Host, HostResult, Role, StageResult
from perfkit.runs.folder import Run
from perfkit.ssh.remote import Remote, RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.vpn.base import CHECK, FOLDER, VARIANTS, Vpn
from perfkit.vpn.plan import TunnelPlan

RECIPES: Mapping[Role, str] = {Role.SERVER: "setup_server", Role.CLIENT: "setup_client"}

# One of `checks`: a line for each variant whose files the host's VPN would not take. Facts are asked
# for without patterns (`set -f`), so folders are listed.
TRY_VARIANTS = f"""
for variant in $(ls {FOLDER}/{VARIANTS} 2>/dev/null); do
    check={VARIANTS}/$variant/{CHECK}
    [ -f "{FOLDER}/$check" ] || check={CHECK}
    said=$(cd {FOLDER} && "./$check" "{VARIANTS}/$variant" 2>&1) && continue
    printf '%s: %s' "$variant" "$(printf '%s' "$said" | tr '\\n' ' ')"
    echo
done
"""


def configure(  # noqa: PLR0913 -- the phase with all its choices, by keyword
    run: Run,
    hosts: Iterable[Host],
    *,
    pool: RemotePool,
    threads: int,
    resources_dir: Path,
    vpn: Vpn | None,
    tunnel: TunnelPlan | None,
    variants: Mapping[str, Vpn] | None = None,
    checks: Mapping[Role, str] | None = None,
    deadline_s: float = 300.0,
    on_result: Callable[[HostResult], None] | None = None,
) -> StageResult:
    """Configure hosts as they come; those that bear the recipe's stamp are left as they are.

    Writes below the run: `config/resources/` (what was used), `hosts/<host>/bundle/`, VPN's keys.
    On each host: its workdir, packages that are missing, a running VPN.

    Args:
        hosts: Taken one at a time; may block while others are launching.
        pool: Connections; they stay open for the next phase.
        resources_dir: Holds fabfile.py, tests/, bin/ and the templates of VPNs.
        vpn, tunnel, variants: See `Bundles`; None = none.
        checks: Shell text by role that prints a line for each thing that a host lacks.
        deadline_s: Longest time for one host.

    Returns:
        One result a host; the log of each is named in it.

    Raises:
        ConfigError: the fabfile or a template is wrong; raised before any host is touched.
    """
    tasks = {role: find_task(resources_dir / "fabfile.py", name) for role, name in RECIPES.items()}
    planned = (vpn, tunnel) if vpn and tunnel else None
    bundles = Bundles(run, resources_dir, planned, {}, variants)
    version = vpn.traits.version_command if vpn else ()

    def configure_host(host: Host) -> None:
        bundle, known, remote = bundles.make(host), _has_log(pool, host), pool.get(host)
        stamp = digest([run.id, host.name, bundles.digest], [bundle / FOLDER])
        if not (known and has_stamp(remote, stamp)):
            do_recipe(remote, tasks[host.role], run.id, bundle)
            then, lacks = stamp_script(host, stamp), (checks or {}).get(host.role, "")
            collect_facts(
                remote, vpn_version=version, is_started=bool(vpn), checks=lacks, then=then
            )
            remote.connection.log.write(f"recipe {RECIPES[host.role]}: done")

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


def _has_log(pool: RemotePool, host: Host) -> bool:
    """Somebody has worked on the host before."""
    log = pool.log_path(host)
    return log is not None and log.exists()


def do_recipe(remote: Remote, task: Task, run_id: str, bundle: Path) -> None:
    """Run a role's recipe to its end."""
    host = remote.host
    connection = GuardedConnection(remote)
    connection.config["perfkit"] = {
        "workdir": host.workdir,
        "bundle": str(bundle),
        "role": str(host.role),
        "run": run_id,
        "host": host.name,
    }
    remote.connection.log.write(f"recipe {RECIPES[host.role]}: begins")
    do_task(task, connection)


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
