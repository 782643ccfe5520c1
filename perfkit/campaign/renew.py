"""Moving the end of a run that is under way: `perfkit renew`.

Hosts of a cloud end by themselves at an absolute moment, whoever is still alive. A campaign that
takes longer than was thought has that moment moved: in the tags of all that the run has, and in the
timer of each host. Nothing is written to the run's folder, so the process that has the run open
goes on undisturbed. A campaign moves it by itself, before a block that would not end in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from perfkit.campaign import session as sessions
from perfkit.campaign.cost_of_answer import price
from perfkit.campaign.session import Session
from perfkit.errors import ConfigError, ProviderError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import Provider, RenewableProvider
from perfkit.model import Host, StageResult
from perfkit.runs import journal
from perfkit.runs.campaign_folder import require_own_hosts
from perfkit.runs.folder import Run
from perfkit.runs.latest import open_run
from perfkit.settings.project import runs_folder
from perfkit.ssh.commands import as_root
from perfkit.ssh.remote import Access, RemotePool
from perfkit.ssh.workers import run_on_hosts

HOST_DEADLINE_S = 60.0
RENEWED = "renewed"  # in the journal of a run that was open


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The new moment, and on which hosts the timer was moved; the others end at the old one."""

    run_id: str
    expires_utc: datetime
    hosts: StageResult

    def __str__(self) -> str:
        return (
            f"{self.run_id}: hosts end by themselves at {self.expires_utc:%Y-%m-%d %H:%M:%S} UTC\n"
            f"{self.hosts}"
        )


def renew(run: str = "latest", *, minutes: float, yes: bool = False, runs_dir: str = "") -> Renewed:
    """Let the hosts of a run live for so many minutes from now.

    Args:
        run: Id, name, path, or `latest`; it may be open in another process.
        yes: Also above the caps of the provider's file.

    Raises:
        RunError: no such run.
        ConfigError: above the caps, or no time at all.
        ProviderError: its hosts' end cannot be moved, or it has none.
    """
    if minutes <= 0:
        raise ConfigError(
            "renew", "minutes", minutes, "no time at all", "perfkit reap --yes ends hosts at once"
        )
    folder = runs_folder(runs_dir)
    found = require_own_hosts(open_run(folder, run, phase="release").run)
    chosen = sessions.settings_of(found)
    provider = sessions.provider_for(chosen)
    if not provider.traits.renewable:
        raise ProviderError(
            f"run {found.id}: the end of hosts of provider {provider.name} cannot be moved; give "
            "the next run a longer expires_min"
        )
    hosts = Inventory.from_events(journal.read(found.journal_path).events).hosts()
    expires = datetime.now(UTC) + timedelta(minutes=minutes)
    if not yes:
        _require_within_caps(provider, found, len(hosts), expires)
    script = cast(RenewableProvider, provider).renew(found.id, expires)
    access = Access(
        key_path=found.key_path,
        known_hosts_path=found.known_hosts_path,
        connect_timeout_s=chosen.ssh.connect_timeout_s,
        command_timeout_s=chosen.ssh.command_timeout_s,
    )
    with RemotePool(access) as pool:
        moved = _move_timers(hosts, script, pool=pool, threads=chosen.threads)
    return Renewed(run_id=found.id, expires_utc=expires, hosts=moved)


def seconds_left(session: Session, needed_s: float) -> float:
    """Seconds until the hosts of an open run end by themselves.

    Where that is less than what is needed, and their end can be moved, it is moved to `expires_min`
    from now, and journalled; not above the caps, unless `yes` was said at launch.
    """
    run, now, life = session.run, datetime.now(UTC), session.settings.parameters.expires_min
    end = ends_utc(run)
    if not session.provider.traits.renewable:
        return (end - now).total_seconds()
    provider, hosts = cast("RenewableProvider", session.provider), session.inventory.hosts()
    try:
        end = provider.expiry(run.id) or end  # a person may have moved it: perfkit renew
        if (end - now).total_seconds() < needed_s:
            later = now + max(timedelta(minutes=life), timedelta(seconds=needed_s))
            if not session.settings.parameters.yes:
                _require_within_caps(session.provider, run, len(hosts), later)
            script = provider.renew(run.id, later)
            threads = session.settings.threads
            moved = _move_timers(hosts, script, pool=session.pool, threads=threads)
            failed = {result.host: result.reason for result in moved.failed}
            session.journal.append(RENEWED, expires_utc=later.isoformat(), failed=failed)
            end = later
    except (ConfigError, ProviderError) as exc:
        session.journal.append("not-renewed", reason=str(exc))
    return (end - now).total_seconds()


def ends_utc(run: Run) -> datetime:
    """When a run's hosts end by themselves, as far as its folder tells."""
    manifest = run.manifest()
    created = datetime.fromisoformat(manifest["created_utc"])
    end = created + timedelta(minutes=manifest["parameters"]["expires_min"])
    events = journal.read(run.journal_path).events if run.journal_path.exists() else ()
    moved = [event.fields["expires_utc"] for event in events if event.kind == RENEWED]
    return max([end, *map(datetime.fromisoformat, moved)])


def _move_timers(
    hosts: Sequence[Host], script: str, *, pool: RemotePool, threads: int
) -> StageResult:
    """Run on each host, as root, what moves its own timer."""

    def move_timer(host: Host) -> None:
        pool.get(host).run_script(as_root(script))

    return run_on_hosts(
        "renew",
        hosts,
        move_timer,
        threads=threads,
        deadline_s=HOST_DEADLINE_S,
        on_expired=pool.drop,
    )


def _require_within_caps(provider: Provider, run: Run, n_hosts: int, expires: datetime) -> None:
    created = datetime.fromisoformat(run.manifest()["created_utc"])
    life_s = (expires - created).total_seconds()
    reckoned = price(provider, max(1, n_hosts), life_s)
    if reckoned.over:
        raise ConfigError(
            "renew",
            "minutes",
            round(life_s / 60),
            f"above the caps of {provider.name}.conf: {'; '.join(reckoned.over)}",
            "ask for less, raise the caps, or add --yes",
        )
