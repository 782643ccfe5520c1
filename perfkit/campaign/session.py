"""A run that this process has open: its folder, journal, inventory, provider and connections.

`open_new` makes a run; `attach` opens one that exists, also after the process that made it was
killed: the inventory comes back from the journal and is held against the provider's own listing.
One process writes a run at a time; a second one is told which.
"""

from __future__ import annotations

import atexit
import contextlib
import html
import importlib.metadata
import os
import platform
import pwd
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from perfkit.campaign import (
    cost_of_answer,
    ip_versions,
    limits,
    links,
    machine_programs,
    variant_checks,
)
from perfkit.campaign.cost_of_answer import CostOfAnswer
from perfkit.campaign.design import plan_design
from perfkit.campaign.open_run import OpenRun
from perfkit.campaign.planned_slots import slots_of
from perfkit.campaign.vpn_choice import all_vpns, vpn_of, vpns_of
from perfkit.errors import ConfigError, RunError
from perfkit.fleet.calls import unresolved
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import BATCH_SIZE, Fleet, LaunchPlan
from perfkit.fleet.packed.logins import Logins
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.provider import Provider, get_provider
from perfkit.fleet.silent_hosts import unasked
from perfkit.model import HostState
from perfkit.runs import campaign_folder, design, folder, journal, progress
from perfkit.runs.folder import Run
from perfkit.runs.journal import Event
from perfkit.settings import parameters as settings
from perfkit.settings import shebang, variants
from perfkit.settings.parameters import Settings
from perfkit.ssh.first_login import FirstLogin
from perfkit.ssh.greeting import await_greeting
from perfkit.ssh.keys import SshKey, derive_ssh_key, make_ssh_key
from perfkit.ssh.remote import Access, RemotePool
from perfkit.vpn.base import destroy_secrets, record_of

_open_here: dict[Path, Session] = {}  # so that a cell may be run again

RECORDED_PACKAGES = ("perfkit", "fabric", "paramiko", "pandas", "papermill", "dool", "MLRsearch")


class Session(OpenRun):
    """One open run. Close it, or leave its `with` block, to let another process have it."""

    def __init__(
        self, run: Run, chosen: Settings, provider: Provider, remarks: Sequence[str] = ()
    ) -> None:
        """Open it.

        Args:
            chosen: Fitted to the provider.
            remarks: What to say about this opening, beside what the run itself says.
        """
        self.run, self.settings, self.provider = run, chosen, provider
        self.slots, self.remarks = slots_of(chosen), tuple(remarks)
        self.vpn = vpn_of(chosen)
        self.gone = set()  # found gone when the run was opened
        self._stack = contextlib.ExitStack()
        try:
            self._open()
        except BaseException:  # a notebook keeps the traceback, and would keep the lock with it
            self.close()
            raise
        _open_here[run.root] = self

    def _open(self) -> None:
        run, chosen = self.run, self.settings
        self._stack.callback(os.umask, os.umask(0o077))  # what a run makes is its owner's alone
        self._stack.enter_context(run.locked())
        self._stack.callback(_open_here.pop, run.root, None)
        self._stack.callback(atexit.unregister, self._release_if_up)
        events = journal.read(run.journal_path).events if run.journal_path.exists() else ()
        self.journal = journal.Journal(run.journal_path)
        self._stack.callback(self.journal.close)
        self.inventory = Inventory.from_events(events, self.journal)
        self.pool = RemotePool(
            Access(
                key_path=run.key_path,
                known_hosts_path=run.known_hosts_path,
                connect_timeout_s=chosen.ssh.connect_timeout_s,
                command_timeout_s=chosen.ssh.command_timeout_s,
                patience_s=2 * chosen.ssh.connect_timeout_s,
            ),
            log_dir=run.root / "hosts",
        )
        self._stack.callback(self.pool.close)
        self.fleet = self._make_fleet(events)
        self.fleet.on_released = lambda: destroy_secrets(self.run)
        if events:
            self._check_against_listing(events)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.run.id}: {len(self.inventory.records())} hosts>"

    def __str__(self) -> str:
        return "\n".join([f"run {self.run.id}", *self.notices, *self._timetable()])

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self._timetable())
        notices = "".join(f"<p>{html.escape(line)}</p>" for line in self.notices)
        return f"<p><b>{html.escape(self.run.id)}</b></p>{notices}<ul>{lines}</ul>"

    @property
    def notices(self) -> list[str]:
        """What to know about the hosts, and what was left out because of them."""
        return [*self.remarks, self.provider.notice, *self.run.manifest()["notices"]]

    @property
    def is_campaign(self) -> bool:
        """Whether the run has blocks."""
        return campaign_folder.is_campaign(self.run)

    def _timetable(self) -> list[str]:
        return [f"T+{slot.start_s:g} s to T+{slot.end_s:g} s: {slot.name}" for slot in self.slots]

    def close(self) -> None:
        """Close connections and journal and give the run free; hosts go on. Safe to call twice."""
        self._stack.close()

    def release_at_exit(self) -> None:
        """Release the fleet when this process ends, however a cell or the script failed."""
        atexit.register(self._release_if_up)

    def host_key(self, name: str) -> SshKey:
        """The key that a host of this run shows: the same one whenever it is asked for."""
        return derive_ssh_key(self.run.key_path.read_text(), f"host {self.run.id} {name}")

    def _make_fleet(self, events: Sequence[Event]) -> Fleet:
        chosen = self.settings.parameters
        created = datetime.fromisoformat(self.run.manifest()["created_utc"])
        return Fleet(
            self.run.id,
            self.provider,
            self.inventory,
            self.journal,
            LaunchPlan(
                owner=_owner(),
                expires_utc=created + timedelta(minutes=chosen.expires_min),
                authorized_key=self.run.key_path.with_suffix(".pub").read_text().strip(),
                batch_size=max(BATCH_SIZE, self.provider.traits.per_machine),
                ready_timeout_s=self.provider.traits.ready_s,
                probe_threads=max(16, self.settings.threads),
                earlier=unresolved(events),
                tokens=frozenset(progress.follow(events).batches),
                with_ipv6=self.provider.traits.can_ipv6 and ip_versions.is_used(self.settings),
                outside_ip=self.settings.outside_ip,
            ),
            **self._probe(),
        )

    def _probe(self) -> dict[str, Any]:
        """What waits for a new host: where its first key is a shared one, a login that changes it."""
        if isinstance(self.provider, PackedProvider):
            return self._packed_probe(self.provider)
        if not self.provider.traits.temporary_host_keys:
            if self.provider.traits.shared_cpu:  # perfkit made their sshd: a login would cost twice
                return {"probe": await_greeting}
            return {"probe": self.pool.admit, "stop_probes": self.pool.give_up_opening}
        first = FirstLogin(
            self.pool.access,
            host_key=self.host_key,
            log_path=self.pool.log_path,
        )
        return {"probe": first.take_over, "stop_probes": first.stop}

    def _packed_probe(self, provider: PackedProvider) -> dict[str, Any]:
        """Packed hosts have their own keys; their machines may be new, and are logged in to before them."""
        logins = Logins(
            access=self.pool.access,
            host_key=self.host_key,
            equip=machine_programs.installer(self.settings, self.run.id),
        )
        provider.log_in_by(logins)

        def stop() -> None:
            logins.stop()
            self.pool.give_up_opening()

        return {"probe": self.pool.admit, "stop_probes": stop}

    def _check_against_listing(self, events: Sequence[Event]) -> None:
        """Hosts that the journal knows and the provider does not have are gone: say so.

        Once their logs are here, that is how it should be.
        """
        settle_s = self.provider.traits.settle_s
        known = self.inventory.names(*HostState) - self.inventory.names(
            HostState.REQUESTED, HostState.FAILED, HostState.RELEASED
        )
        gone = known - self._listed() if known else set()
        launched = [event.t_utc for event in events if event.kind == "launch-result"]
        young_s = (datetime.now(UTC) - launched[-1]).total_seconds() if launched else settle_s
        if gone and young_s < settle_s:
            time.sleep(settle_s - young_s)
            gone = known - self._listed()
        state = HostState.RELEASED if "collect" in self.progress().done else HostState.FAILED
        reason = f"gone: {self.provider.name} no longer lists it"
        for name in sorted(gone):
            self.inventory.move(name, state, reason="" if state is HostState.RELEASED else reason)
        self.gone = gone

    def _listed(self) -> set[str]:
        """Hosts that the provider lists, or could not ask: those may be there."""
        silent = unasked(self.provider, self.run.id, self.inventory.hosts())
        listed = {host.name for host in self.provider.hosts(self.run.id)}
        return listed | {host.name for host in silent}

    def _release_if_up(self) -> None:
        if self.is_up and not self.spared and (report := self.fleet.release()).leaked:
            click.echo(report, err=True)  # nobody else will say it


def open_new(
    chosen: Settings, remarks: Sequence[str] = (), provider: Provider | None = None
) -> Session:
    """Make a run folder for validated settings, once the provider has nothing against them.

    Args:
        remarks: What to say with it, for example which run was not taken up.
        provider: Who makes the hosts; None: the one that the settings name.

    Raises:
        ConfigError, ScheduleError, ProviderError, RunError: before anything is launched.
    """
    limits.require_life(chosen, slots_of(chosen))  # before a folder is made
    chosen, notices = limits.fitted(chosen, provider or provider_for(chosen))
    provider = provider or provider_for(chosen)  # a test that was left out needs nothing
    if provider.traits.shared_cpu:  # hosts have this machine's programs
        tests = variants.all_tests(chosen)
        scripts = [test.script for test in tests]
        scripts += [test.server_script for test in tests if test.server_script]
        shebang.require_here(scripts, search_path=chosen.cron.path)
    variant_checks.require(chosen, programs_are_here=provider.traits.shared_cpu)
    limits.require_what_can_be_packed(chosen)
    limits.require_servers(variants.all_tests(chosen), chosen.parameters.most_clients)
    notices += limits.noticed(chosen, provider, os.cpu_count() or 1)
    provider.preflight(chosen.parameters.most_clients + 1)
    links.require(chosen, provider)
    ip_versions.require(chosen, provider)
    cost = cost_of_answer.reckon(chosen, provider)
    notices += cost.lines if chosen.parameters.is_campaign else ()
    notices += _priced(chosen, provider, cost)
    limits.require_disk(chosen)
    limits.require_kernel_limits(chosen, provider)

    def fill(run: Run) -> dict[str, Any]:
        _copy_config(chosen, run)
        key = make_ssh_key()
        folder.write_atomic(run.key_path, key.private_openssh.encode())
        folder.write_atomic(run.key_path.with_suffix(".pub"), key.public_openssh.encode())
        if chosen.parameters.is_campaign:
            design.save(plan_design(chosen, variants.changes(chosen)), run)
        return {
            "notices": notices,
            "usd_per_h": cost.usd_per_h,
            "vpn": record_of(vpn_of(chosen)),
            **_vpns_recorded(chosen),
            "provider_traits": asdict(provider.traits),
            "controller": {
                "kernel": platform.release(),
                "python": platform.python_version(),
                "ncpu": os.cpu_count(),
                **{name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
            },
        }

    run = folder.create(chosen.runs_dir, chosen.parameters.name, chosen.to_dict(), fill=fill)
    if chosen.parameters.is_campaign:  # what the user edits meanwhile is for the next one
        chosen = replace(chosen, config_dir=run.config_dir)
    return Session(run, chosen, provider, remarks)


def attach(runs_dir: Path, run_id: str, remarks: Sequence[str] = ()) -> Session:
    """Open a run that exists, with the settings it was made with; the same one if it is open here.

    Raises:
        RunError: no such run, or another process has it open; the message names it.
    """
    run = folder.open_run(runs_dir, run_id)
    if run.root in _open_here:
        return _open_here[run.root]
    if not run.key_path.exists():
        raise RunError(
            f"run {run.id} holds files only, no key to any host: it is a sample or a copy; "
            "its windows and its report can be made, hosts come with a launch of your own"
        )
    chosen = settings_of(run)
    chosen, _ = limits.fitted(chosen, provider_for(chosen))  # the manifest says what was left out
    return Session(run, chosen, provider_for(chosen), remarks)


def settings_of(run: Run) -> Settings:
    """The settings a run was made with, from its manifest and its own copies of config/."""
    kept = {**run.manifest()["parameters"], "runs_dir": str(run.root.parent), "run": ""}
    return settings.load({**kept, "config_dir": str(run.config_dir)})


def provider_for(chosen: Settings) -> Provider:
    """The provider that the settings name, with the options meant for it."""
    parameters, provider = chosen.parameters, _plain_provider_for(chosen)
    if not parameters.per_machine:
        return provider
    return PackedProvider(provider, parameters.per_machine, parameters.most_clients)


def _plain_provider_for(chosen: Settings) -> Provider:
    parameters, vpns = chosen.parameters, all_vpns(chosen)
    if parameters.provider == "static":
        return get_provider("static", config_dir=chosen.config_dir, vpns=vpns)
    if parameters.provider != "local":
        return get_provider(parameters.provider, config_dir=chosen.config_dir)
    tests = variants.all_tests(chosen)
    programs = {program for test in tests for program in test.needs}
    programs |= {it.name for vpn in vpns for it in vpn.programs if it.is_needed_here}
    return get_provider(
        "local",
        isolation=parameters.isolation,
        hidden=[chosen.runs_dir],
        programs=sorted(programs),
        ports=limits.ports_of(tests, parameters.most_clients),
    )


def _vpns_recorded(chosen: Settings) -> dict[str, Any]:
    """For the manifest: the VPN of each variant, where they are different ones."""
    vpns = vpns_of(chosen, variants.load(chosen))
    if len({vpn.traits.name for vpn in vpns.values()}) < 2:
        return {}
    return {"vpn_by_variant": {name: record_of(vpn) for name, vpn in vpns.items()}}


def _priced(chosen: Settings, provider: Provider, cost: CostOfAnswer) -> list[str]:
    """What the run would cost, in words.

    Raises:
        ConfigError: more than the provider's file allows, and `yes` was not said.
    """
    parameters = chosen.parameters
    reckoned = cost_of_answer.price(provider, cost.hosts, cost.life_s)
    if reckoned.over and not parameters.yes:
        raise ConfigError(
            "parameters",
            "clients",
            parameters.most_clients,
            f"above the caps of {provider.name}.conf: {'; '.join(reckoned.over)}",
            "ask for less, raise the caps, or say yes (--yes, or -p yes yes)",
        )
    return [*reckoned.lines, *(f"above a cap, as was said: {what}" for what in reckoned.over)]


def _copy_config(chosen: Settings, run: Run) -> None:
    for name in ("tests", "cron", "ssh", chosen.parameters.provider):
        source = config_file(chosen, name)
        if source is not None:
            folder.write_atomic(run.config_dir / f"{name}.conf", source.read_bytes())
    variants.keep(chosen, run.config_dir)


def config_file(chosen: Settings, name: str) -> Path | None:
    """The file of that name in config/ that counts: `x.conf`, else its sample; None = neither."""
    places = [chosen.config_dir / f"{name}.conf{suffix}" for suffix in ("", ".sample")]
    return next((place for place in places if place.exists()), None)


def _owner() -> str:
    return f"{pwd.getpwuid(os.getuid()).pw_name}@{platform.node()}"
