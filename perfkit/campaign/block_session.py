"""One block of a campaign as an open run: a subset of the campaign's hosts, over its connections.

The block has its own folder, journal and inventory, so every tool for runs can open it. The hosts
stay the campaign's: there they remain configured, whatever became of them here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

from perfkit.campaign.blocks import Claim, Todo
from perfkit.campaign.open_run import OpenRun
from perfkit.campaign.planned_slots import slots_of
from perfkit.campaign.session import Session
from perfkit.campaign.vpn_choice import vpn_of
from perfkit.errors import RunError
from perfkit.fleet.inventory import EVENT_KIND, HostRecord, Inventory
from perfkit.model import HostState, Role
from perfkit.runs import campaign_folder, journal
from perfkit.runs.design import Design, PlannedBlock
from perfkit.runs.folder import Run, write_atomic
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.vpn.base import record_of

_OF_THE_CAMPAIGN = ("notices", "provider_traits", "controller")  # in each block's manifest


class BlockSession(OpenRun):
    """A block that this process has open; leave its `with` block to close its journal."""

    def __init__(self, campaign: Session, run: Run, chosen: Settings) -> None:
        self.run, self.settings = run, chosen
        self.slots = slots_of(chosen)
        self.provider, self.pool, self.vpn = campaign.provider, campaign.pool, vpn_of(chosen)
        self.gone = set(campaign.gone)
        self._fleet_id = campaign.run.id
        self.made_utc = _made_utc(campaign)
        events = journal.read(run.journal_path).events if run.journal_path.exists() else ()
        self.journal = journal.Journal(run.journal_path)
        self.inventory = Inventory.from_events(events, self.journal)

    def __enter__(self) -> BlockSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    @property
    def fleet_id(self) -> str:
        """The campaign's id: its hosts bear it."""
        return self._fleet_id


def _made_utc(campaign: Session) -> dict[str, datetime]:
    """When each host was asked for last."""
    events = journal.read(campaign.run.journal_path).events
    requested = [e for e in events if e.kind == EVENT_KIND and e.fields["state"] == "requested"]
    return {str(event.fields["name"]): event.t_utc for event in requested}


def draw_hosts(campaign: Session, design: Design, planned: PlannedBlock) -> list[str]:
    """The server and the clients of a block: drawn anew for each repetition and count.

    All variants of a count have the same ones in a repetition, and a host that has failed is
    replaced by the next one of the same draw.

    Returns:
        Fewer than planned where fewer are left.
    """
    usable = {host.name for host in campaign.inventory.hosts(HostState.CONFIGURED)}
    clients = sorted(r.name for r in campaign.inventory.records() if r.role is Role.CLIENT)
    chance = Random(f"{design.seed} {planned.repetition} {planned.clients}")  # noqa: S311 -- no secret
    drawn = [name for name in chance.sample(clients, len(clients)) if name in usable]
    return [*(["server"] if "server" in usable else []), *sorted(drawn[: planned.clients])]


def open_new(campaign: Session, todo: Todo, hosts: Iterable[str], changes: Any) -> BlockSession:
    """Make the folder of a block that was claimed, and open it with these hosts.

    Args:
        changes: What the block's variant differs in.

    Raises:
        RunError: the folder cannot be written.
    """
    chosen = _settings_of(campaign, todo.planned, todo.rate_bps)
    manifest, named = campaign.run.manifest(), list(hosts)

    def fill(run: Run) -> dict[str, Any]:
        for source in sorted(campaign.run.config_dir.glob("*.conf")):
            shutil.copyfile(source, run.config_dir / source.name)
        return {
            **{name: manifest[name] for name in _OF_THE_CAMPAIGN if name in manifest},
            "vpn": record_of(vpn_of(chosen)),
            "campaign": campaign.run.id,
            "block": todo.number,
            "repetition": todo.planned.repetition,
            "attempt": todo.attempt,
            **({} if todo.load_bps is None else {"load_bps": todo.load_bps}),
            "variant": todo.planned.variant,
            "variant_changes": changes,
            "idle_hosts": len(campaign.inventory.hosts(HostState.CONFIGURED)) - len(named),
            "idle_tunnels": _idle_tunnels(campaign),
        }

    run = campaign_folder.create_block(campaign.run, todo.number, chosen.to_dict(), fill=fill)
    write_atomic(run.journal_path, b"")
    block = BlockSession(campaign, run, chosen)
    for name in named:
        block.inventory.enter(_as_reached(campaign.inventory.get_record(name), chosen))
    block.write_hosts()
    return block


def _as_reached(record: HostRecord, chosen: Settings) -> HostRecord:
    """A host with the address by which a block's tests go to it."""
    host = record.host.reached_by(chosen.outside_ip) if record.host else None
    return replace(record, host=host) if host else record


def is_of_all_connected(campaign: Session) -> bool:
    """Whether a test is about all who are connected, so that only a block's own hosts may be."""
    kinds = [slot.test.kind for slot in campaign.slots]
    return campaign.vpn is not None and any(kind.is_of_all_connected for kind in kinds)


def _idle_tunnels(campaign: Session) -> str:
    if campaign.vpn is None:
        return "none"
    return "down" if is_of_all_connected(campaign) else "up"


def reopen(campaign: Session, design: Design, claim: Claim) -> BlockSession | None:
    """The block of a process that was killed; None where it had not come to have a folder."""
    run = Run(campaign.run.root / claim.folder)
    try:
        run.manifest()
    except RunError:
        return None
    chosen = _settings_of(campaign, claim.place_in(design), claim.rate_bps)
    return BlockSession(campaign, run, chosen)


def _settings_of(campaign: Session, planned: PlannedBlock, rate_bps: float | None) -> Settings:
    """A single run's; a block that lost a client is repeated, so it needs all of them."""
    (variant,) = (it for it in variants.load(campaign.settings) if it.name == planned.variant)
    chosen = variants.applied(campaign.settings, variant).for_block(planned, rate_bps)
    whole = chosen.parameters.model_copy(update={"on_shortfall": "fail"})
    return replace(chosen, parameters=whole)
