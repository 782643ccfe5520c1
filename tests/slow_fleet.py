"""A fleet in memory that takes its time, for the live view: perfkit's own Fleet, no machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memory_provider import MemoryProvider

from perfkit.errors import UnreachableError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import Fleet, LaunchPlan
from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Host, HostState, Role
from perfkit.runs.journal import Journal
from perfkit.widgets.fleet_table import FleetView, refuse_if_in_use

ATTACK = "\x1b[31m<script>document.title = 'owned'</script>\x1b[0m"


class SlowProvider(MemoryProvider):
    """Makes a batch in `batch_s`."""

    def __init__(self, batch_s: float) -> None:
        super().__init__(max_hosts=1001)
        self.batch_s = batch_s

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        time.sleep(self.batch_s)
        return super().launch(request)


class SlowSession:
    """As much of a session as launching needs.

    Args:
        failing: Hosts that are made and never answer; their reason is an attack.
    """

    def __init__(
        self, folder: Path, clients: int, *, batch_s: float = 0.5, failing: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(folder / "journal.jsonl")
        self.inventory = Inventory(self.journal)
        self.provider = SlowProvider(batch_s)
        self.names = ["server", *(f"client-{n:03d}" for n in range(1, clients + 1))]
        self.failing = set(failing)
        self.fleet = Fleet(
            "slow",
            self.provider,
            self.inventory,
            self.journal,
            LaunchPlan(
                owner="tests",
                expires_utc=datetime.now(UTC) + timedelta(hours=1),
                authorized_key="ssh-ed25519 AAAA",
                batch_size=5,
            ),
            probe=self._probe,
        )

    def _probe(self, host: Host, _timeout_s: float) -> None:
        if host.name in self.failing:
            raise UnreachableError(host.name, f"no answer, but {ATTACK}")

    @property
    def left(self) -> list[str]:
        """What the provider still lists."""
        return [host.name for host in self.provider.hosts()]

    def log_of(self, name: str) -> Path:
        """A failed host's log, made for it."""
        log = self.folder / "hosts" / name / "configure.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"what {name} said\n")
        return log

    def put_all(self) -> None:
        """Enter all hosts at once, in all states, without launching any."""
        states = [s for s in HostState if s not in (HostState.RELEASED, HostState.FAILED)]
        for place, name in enumerate(self.names):
            self.inventory.add(name, Role.SERVER if name == "server" else Role.CLIENT)
            host = Host(name=name, role=Role.CLIENT, address="198.18.0.9", host_key="k")
            for state in states[1 : 2 + place * len(states) // len(self.names)]:
                self.inventory.move(name, state, host=host)
            if name in self.failing:
                reason = f"UnreachableError: no answer, but {ATTACK}"
                self.inventory.move(name, HostState.FAILED, reason=reason, log=self.log_of(name))


def launch(session: SlowSession) -> str:
    """The phase, as `perfkit.campaign.phases` does it."""
    refuse_if_in_use(session.inventory)
    view = FleetView(
        session.inventory,
        session.journal,
        "launch",
        on_stop=session.fleet.release,
        expected_s=len(session.names) / 5 * session.provider.batch_s,
    )
    with view:
        session.fleet.launch(
            [
                HostRequest(
                    name=name,
                    role=Role.SERVER if name == "server" else Role.CLIENT,
                    host_key="ssh-ed25519 AAAA",
                    host_key_private="",
                )
                for name in session.names
            ]
        )
        session.fleet.wait()
    return "launched"
