"""The EC2 provider: hundreds of hosts for an hour, and none for longer.

The modules beside this one hold the parts; here they are put together. Four layers prevent that
anything is left running, and each of them works alone:

1. `Fleet` and the session release what a run has, also after an error or a signal.
2. `perfkit reap` finds what carries a run's tag, from any machine with the same account.
3. Every host powers itself off at its expiry, and ends by that: `perfkit.fleet.ec2.userdata`.
4. The account refuses what has no tag, and warns of the bill: policy.json, and the README.

Nothing of this has met the real EC2 yet: it is tested against a server that imitates it. What more
hosts than a run may have would take is in the package's docstring.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from perfkit.errors import LaunchRefusedError, PerfkitError, ProviderError
from perfkit.fleet.ec2 import (
    calls,
    conf,
    describe,
    network,
    packing,
    placement,
    preflight,
    prices,
    quota,
    release,
    renewal,
    spot,
    tags,
)
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.ec2.describe import Watch
from perfkit.fleet.ec2.failures import ApiError
from perfkit.fleet.ec2.idempotent_calls import CallContext, refusal
from perfkit.fleet.ec2.launch import Launcher
from perfkit.fleet.ec2.pools import Cooldown, ZoneChoice
from perfkit.fleet.ec2.preflight import Survey
from perfkit.fleet.provider import (
    CostEstimate,
    Interruption,
    LaunchRequest,
    ListedHost,
    ReleaseReport,
    Traits,
    check_request,
    check_size,
)
from perfkit.model import Host, Role
from perfkit.retry import RetryPolicy

MAX_HOSTS = 1001
SETTLE_S = 60.0
READY_S = 600.0
BATCHES_AT_ONCE = 8


@dataclass(slots=True)
class _RunState:
    """What the batches of one run share; made by the first of them."""

    zones: ZoneChoice
    lock: threading.Lock = field(default_factory=threading.Lock)
    resources: calls.LaunchResources | None = None
    watch: Watch | None = None


class Ec2Provider:
    """Makes hosts at EC2; see the module's docstring. Needs config/ec2.conf at its first use.

    Args:
        config_dir: Where ec2.conf is.
        retry: Clock, waiting and chance; tests give others.
        settle_s: How long listings may lag behind calls.

    Attributes:
        retry: As given.
    """

    name = conf.NAME
    notice = (
        "Hosts are instances of Amazon EC2: they cost money until they are released or expire; "
        "each has its own clock and processor."
    )

    def __init__(
        self,
        config_dir: Path | None = None,
        retry: RetryPolicy | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._config_dir, self.retry = config_dir, retry or RetryPolicy()
        self._lock = threading.RLock()
        self._conf: conf.Ec2Conf | None = None
        self._regions: dict[str, Region] = {}
        self._surveyed: Survey | None = None
        self._quota = ""  # what the preflight found, in words
        self._runs: dict[str, _RunState] = {}
        self._cooldown = Cooldown(clock=self.retry.clock)
        self.traits = Traits(
            costs_money=True,
            shared_cpu=False,
            can_tunnel=True,
            max_hosts=MAX_HOSTS,
            temporary_host_keys=True,
            renewable=True,
            interruptible=True,
            settle_s=settle_s,
            ready_s=READY_S,
            batches_at_once=BATCHES_AT_ONCE,
        )

    # -- before a run --------------------------------------------------------------------------

    def preflight(self, n_hosts: int) -> None:
        """Ask EC2 what exists and what is allowed; nothing is made and nothing costs.

        Raises:
            NotSetUpError: there is no ec2.conf.
            ConfigError: what is wrong in it, or more hosts than a run can have.
            ProviderError: no credentials, no permission, no quota.
        """
        check_size(n_hosts, self.traits, "a run at EC2")
        region = self.home
        region.identity()
        release.things(region, "preflight")  # who may not list what a run has could not end it
        network.find_controller(self.conf)
        surveyed = self.survey()
        wanted = quota.wanted(surveyed.ladder, surveyed.vcpus, n_hosts)
        self._quota = quota.check(region, self.conf, wanted)
        preflight.check_permission(region, self.conf, surveyed)

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        """Reckon what a run would cost; see `perfkit.fleet.ec2.prices`."""
        chosen = self.conf
        surveyed = self._surveyed
        reckoned = prices.estimate(
            [
                prices.Group(what="server", n_hosts=1, types=chosen.types_of(Role.SERVER)),
                prices.Group(what="client machines", n_hosts=n_hosts - 1, types=chosen.types),
            ],
            region=chosen.region,
            life_s=life_s,
            max_usd=chosen.max_usd,
            max_instances=chosen.max_instances,
            vcpus=surveyed.vcpus if surveyed else {},
            disk_gb=sum(surveyed.image.disks.values()) if surveyed else prices.DISK_GB,
            one_zone=chosen.placement != "any" or 1 in (len(chosen.zones), len(chosen.subnets)),
        )
        longest_min = chosen.expires_after
        too_long = f"{life_s / 60:.0f} minutes until expiry, expires_after is {longest_min:g}"
        return replace(
            reckoned,
            lines=(
                *reckoned.lines,
                *(placement.remarks(chosen, surveyed.ladder) if surveyed else []),
                *([self._quota] if self._quota else []),
            ),
            over=(*reckoned.over, *([too_long] if life_s > 60 * longest_min else [])),
        )

    # -- a run ---------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Make the hosts of one batch; see `perfkit.fleet.provider.Provider.launch`.

        Side effects: instances that cost money, at first also a security group, a key pair and, as
        ec2.conf says, a placement group.

        Raises:
            LaunchError: none could be made, or the request is not one.
        """
        check_request(request)
        chosen, surveyed = self.conf, self.survey()
        state = self._state(request.run_id)
        resources, watch = self._resources(state, request, surveyed)
        launcher = Launcher(
            context=CallContext(region=self.home, conf=chosen, retry=self.retry),
            cooldown=self._cooldown,
        )
        batch = calls.Batch(
            request=request,
            resources=resources,
            ladder=surveyed.ladder,
            user_data=calls.user_data_for(request, chosen),
            watch=watch,
            zones=state.zones,
        )
        try:
            made = launcher.launch(batch)
        except ApiError as exc:
            raise refusal(request, exc) from exc
        key = calls.batch_key(request).public_openssh
        return [
            Host(
                name=wanted.name,
                role=wanted.role,
                address=made[wanted.name].listed(chosen.address).address,
                inside_address=made[wanted.name].private,
                host_key=key,
                user=chosen.user,
            )
            for wanted in request.hosts
            if wanted.name in made
        ]

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        """List instances by tag, in all configured regions; those that are ending are gone."""
        return [i.listed(self.conf.address) for i in self._instances(run_id) if not i.is_ending]

    def runs(self) -> Sequence[str]:
        """Ids of all runs that have anything in the configured regions."""
        there = {instance.run_id for instance in self._instances()}
        return sorted(there | {thing.run_id for r in self.regions for thing in release.things(r)})

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """End some hosts of a run, wherever they are; wait until they are gone."""
        wanted, reports = set(names), list[ReleaseReport]()
        for region in self.regions if wanted else ():
            releaser = release.Releaser(region, self.retry)
            there = describe.instances(region, run_id)
            releaser.terminate([i for i in there if i.name in wanted])
            reports.append(releaser.report())
        return ReleaseReport.joined(reports)

    def release(self, run_id: str) -> ReleaseReport:
        """End all that carries the run's tag, in all configured regions.

        Raises:
            ProviderError: one region's; by then all of them have been tried.
        """
        reports, problems = [], list[ProviderError]()
        for region in self.regions:
            releaser = release.Releaser(region, self.retry)
            try:
                releaser.release(run_id)
            except ProviderError as exc:
                problems.append(exc)
            reports.append(releaser.report())
        with self._lock:
            self._runs.pop(run_id, None)  # a later batch makes its group anew
        if problems:
            raise problems[0]
        return ReleaseReport.joined(reports)

    def residue(self, run_id: str) -> Sequence[str]:
        """Name what else carries the tag: groups, key pairs, templates, fleets, volumes, …."""
        things = [str(thing) for r in self.regions for thing in release.things(r, run_id)]
        ending = [i for i in self._instances(run_id) if i.is_ending]
        return [*things, *(f"instance {i.id} in {i.region}, {i.state}" for i in ending)]

    def expiry(self, run_id: str) -> datetime | None:
        """The last moment in the tags of what a run has."""
        hosts = [tags.expiry(i.tags) for i in self._instances(run_id) if not i.is_ending]
        things = [t.expires_utc for r in self.regions for t in release.things(r, run_id)]
        return max([*hosts, *things], default=None)

    def renew(self, run_id: str, expires_utc: datetime) -> str:
        """Move the expiry in the tags of all that a run has; returns the hosts' own script.

        Side effects: the address that we come from now may log in, if it is another one than at the
        launch; or the script would reach no host.

        Raises:
            ProviderError: the run has no host here.
        """
        there = [i for i in self._instances(run_id) if not i.is_ending]
        if not there:
            raise ProviderError(f"run {run_id} has no hosts at EC2 that could be renewed")
        script = renewal.renew(self.regions, run_id, there, expires_utc)
        with contextlib.suppress(PerfkitError):  # the logins will tell whether we are let in
            for region in self.regions:
                network.admit(region, self.conf, run_id, self.retry)
        return script

    def interruptions(self, run_id: str) -> Sequence[Interruption]:
        """Spot hosts of the run that EC2 takes back."""
        return [it for region in self.regions for it in spot.interruptions(region, run_id)]

    # -- what is looked up once ----------------------------------------------------------------

    @property
    def conf(self) -> conf.Ec2Conf:
        """config/ec2.conf.

        Raises:
            NotSetUpError, ConfigError: it is not there, or wrong.
        """
        with self._lock:
            if self._conf is None:
                self._conf = conf.load(self._config_dir)
            return self._conf

    def prefer(self, **keys: object) -> None:
        """Take these values instead of those in ec2.conf; before anything is asked for."""
        with self._lock:
            self._conf = self.conf.model_copy(update=keys)

    @property
    def home(self) -> Region:
        """The region that is launched in."""
        return self.regions[0]

    @property
    def regions(self) -> list[Region]:
        """All that are listed and reaped."""
        chosen = self.conf
        with self._lock:
            for name in chosen.regions:
                if name not in self._regions:
                    self._regions[name] = Region(chosen, name)
            return [self._regions[name] for name in chosen.regions]

    # -- for hosts that are packed onto instances: perfkit.fleet.packable ------------------------

    @property
    def packed_pool(self) -> str:
        """Their addresses."""
        return self.conf.packed_pool

    def check_packing(self, per_machine: int, memory_bytes: int) -> None:
        """Refuse what keeps instances from carrying hosts; see `packing`."""
        packing.check(self.home, self.conf, self.survey(), per_machine, memory_bytes)

    def candidates(self, n_hosts: int) -> Sequence[Host]:
        """None: they are made by the launch."""
        return ()

    def machines(self, run_id: str) -> Sequence[Host]:
        """The instances of a run that can be logged in to."""
        return list(packing.machines(self._instances(run_id), self.conf))

    def open_ways(self, run_id: str) -> Mapping[str, str]:
        """Let the instances of a run send and get for their hosts; see `packing`."""
        return packing.open_ways(self.home, self.conf, run_id, self.retry)

    def _instances(self, run_id: str | None = None) -> Iterator[describe.Instance]:
        for region in self.regions:
            yield from describe.instances(region, run_id)

    def survey(self) -> Survey:
        """Image, subnets and pools for a run, asked for once."""
        with self._lock:
            if self._surveyed is None:
                self._surveyed = preflight.survey(self.home, self.conf)
            return self._surveyed

    def _state(self, run_id: str) -> _RunState:
        with self._lock:
            zones = ZoneChoice(is_one=self.conf.placement != "any")
            return self._runs.setdefault(run_id, _RunState(zones=zones))

    def _resources(
        self, state: _RunState, request: LaunchRequest, surveyed: Survey
    ) -> tuple[calls.LaunchResources, Watch]:
        with state.lock:
            if state.resources is None or state.watch is None:
                try:
                    state.resources = self._make_resources(request, surveyed)
                except ApiError as exc:
                    raise LaunchRefusedError(f"{exc}; nothing was launched") from exc
                state.watch = Watch(
                    self.home,
                    request.run_id,
                    self.retry.clock,
                    fresh_s=describe.FRESH_S * self.retry.scale,
                )
            return state.resources, state.watch

    def _make_resources(self, request: LaunchRequest, surveyed: Survey) -> calls.LaunchResources:
        chosen, region = self.conf, self.home
        labels = tags.run_tags(
            request.run_id, chosen.owner or request.owner, request.expires_utc, chosen.tags
        )
        if surveyed.is_clustered:
            network.ensure_placement_group(region, labels, self.retry)
        return calls.LaunchResources(
            image=surveyed.image.id,
            disks=surveyed.image.disks,
            key=network.ensure_key_pair(region, chosen, labels, request.authorized_key),
            group=network.ensure_group(
                region,
                chosen,
                labels,
                vpc_id=surveyed.subnets[0].vpc,
                controller=network.find_controller(chosen),
                retry=self.retry,
            ),
            tags=labels,
        )
