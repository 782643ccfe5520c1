"""What an open run is to the phases that measure: a session's run, or one block of a campaign.

A block has its own folder, journal and inventory; provider, connections and hosts are those of the
campaign that it belongs to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic
from types import MappingProxyType

from perfkit.errors import RunError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import Provider
from perfkit.model import Host, HostState, Slot, StageResult
from perfkit.runs import folder, progress
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal
from perfkit.runs.progress import Progress
from perfkit.settings.parameters import Settings
from perfkit.ssh.remote import RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.vpn.base import Vpn


class OpenRun:
    """A run folder with its journal open, and the hosts it may measure with.

    Attributes:
        gone: Hosts that the provider does not list any more.
        spared: Why the hosts must outlive this process: they hold what is not here.
        made_utc: When a host was asked for that has the name of an earlier one.
    """

    run: Run
    settings: Settings
    slots: Sequence[Slot]
    provider: Provider
    vpn: Vpn | None
    journal: Journal
    inventory: Inventory
    pool: RemotePool
    gone: set[str]
    spared: str = ""
    made_utc: Mapping[str, datetime] = MappingProxyType({})

    @property
    def fleet_id(self) -> str:
        """The tag of the hosts: the id of the run that launched them."""
        return self.run.id

    @property
    def is_up(self) -> bool:
        """Hosts may be there: some were asked for and not released, failed ones included."""
        return any(r.state is not HostState.RELEASED for r in self.inventory.records())

    def progress(self) -> Progress:
        """How far the run has come, from its journal."""
        return progress.read(self.run)

    def on_hosts(
        self, stage: str, hosts: Iterable[Host], work: Callable[[Host], None], *, deadline_s: float
    ) -> StageResult:
        """Do something to hosts over the run's connections; see `perfkit.ssh.workers`."""
        return run_on_hosts(
            stage,
            hosts,
            work,
            threads=self.settings.threads,
            deadline_s=deadline_s,
            on_expired=self.pool.drop,
            log_path=self.pool.log_path,
        )

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Journal that a phase began and how it ended, with its seconds."""
        self.journal.append("phase-started", phase=name)
        started = monotonic()
        try:
            yield
        except BaseException as exc:
            reason = f"{type(exc).__name__}: {exc}"
            if isinstance(exc, RunError) and name in {"measure", "collect"}:
                self.spared = reason  # it is this machine that could not go on
            self.journal.append(
                "phase-failed", phase=name, elapsed_s=monotonic() - started, reason=reason
            )
            raise
        else:
            self.spared = ""
            self.journal.append("phase-done", phase=name, elapsed_s=monotonic() - started)
        finally:
            self.write_hosts()

    def write_hosts(self) -> None:
        """Bring hosts.json up to date with the inventory; logs are named as seen from the run."""
        rows = [record.to_dict() for record in self.inventory.records()]
        for row in rows:
            row["log"] = row["log"].removeprefix(f"{self.run.root}/")
        folder.write_json(self.run.hosts_path, rows)
