"""config/*.conf and parameters in, validated settings out.

A campaign is described by `Parameters` (what the notebook's parameters cell and the command
line's options are made of) and four INI files. A file `x.conf` wins over its committed
`x.conf.sample`. Whatever is wrong is a `ConfigError` that names file, key, value and remedy, and
is found before anything is launched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from perfkit.errors import ConfigError
from perfkit.executors.address import ExecutorName
from perfkit.model import BASE_VARIANT, SHORTEST_WINDOW_S, HostLink, TestSpec, Variant
from perfkit.runs import folder
from perfkit.runs.design import BASE, PlannedBlock
from perfkit.settings import capacity, crossing, ini, levels, links, shebang
from perfkit.settings.field_types import (
    Budget,
    Capacity,
    Counts,
    IpVersions,
    Links,
    Names,
    Precision,
    Rates,
)
from perfkit.settings.hosts_conf import CronConf, SshConf
from perfkit.settings.levels import MAX_CLIENTS
from perfkit.settings.project import project_dir, runs_folder
from perfkit.settings.tests_conf import load_tests, refuse_times, refuse_unread_rate, select_tests

REPETITIONS_OF_A_LIST = 3  # where neither repetitions nor precision is given
FEWEST_FOR_PRECISION = 5  # the spread of fewer says too little about when to stop
MAX_REPETITIONS = 100
MAX_BLOCKS = 10_000


class Parameters(ini.Section):
    """What a person chooses for one run; each field is a notebook parameter and an option."""

    clients: Counts = Field(
        10,
        validate_default=True,
        description="number of clients, 1 to 4000; several: 1,2,5 or 10..100:10",
    )
    provider: str = Field("local", description="where the hosts come from")
    per_machine: int = Field(
        0,
        ge=0,
        le=1_000,
        description="clients packed onto each machine, static or ec2; 0: none are",
    )
    tests: str = Field("all", description="tests from tests.conf, comma-separated, or all")
    vpn: str = Field("openvpn", description="VPN under test: openvpn, wireguard, or none")
    duration_s: float = Field(
        0,
        ge=0,
        le=86_400,
        description="seconds a test runs, 1 or more; 0: as tests.conf says",
    )
    name: str = Field(
        "campaign",
        pattern=rf"^{folder.NAME_PATTERN.pattern}$",
        description="name of the run: lower-case letters, digits, - and _",
    )
    variants: Names = Field(
        BASE,
        validate_default=True,
        description="variants of variants.conf, comma-separated; or base",
    )
    rate: Rates = Field(
        "",
        validate_default=True,
        description="what each client offers, 200kbit; several: 200kbit,1mbit; empty: all it can",
    )
    link: Links = Field(
        "",
        validate_default=True,
        description="link, server 100mbit, loss 1%; several: 10mbit; 1mbit; empty: none",
    )
    inside_ip: IpVersions = Field(
        "4",
        validate_default=True,
        description="version of IP in the tunnel, 4 or 6; both: 4,6",
    )
    outside_ip: IpVersions = Field(
        "",
        validate_default=True,
        description="version of IP outside it, 4 or 6; both: 4,6; empty: of the hosts' address",
    )
    capacity: Capacity = Field(
        "",
        validate_default=True,
        description="search the most that is carried at a loss of 0.5%; empty: no search",
    )
    repetitions: int = Field(
        0,
        ge=0,
        le=MAX_REPETITIONS,
        description="times each cell is measured; 0: once, in a list 3 times",
    )
    precision: Precision = Field(
        "",
        validate_default=True,
        description="repeat until intervals are +-5% (or 0.05); empty: repetitions",
    )
    max_repetitions: int = Field(
        20, ge=1, le=MAX_REPETITIONS, description="most repetitions that precision may take"
    )
    budget: Budget = Field(
        "",
        validate_default=True,
        description="most it may take, 60min or 20usd; empty: no bound",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="seed of the order that is drawn; 0: a new one"
    )
    run: str = Field("", description="go on with this run (id, name or latest); empty: a new one")
    starter: Literal["epoch", "cron"] = Field(
        "epoch", description="what starts the tests on hosts: epoch or cron"
    )
    monitor: Literal["server", "all"] = Field(
        "server", description="hosts that dool watches: server or all"
    )
    on_shortfall: Literal["fail", "quorum", "go"] = Field(
        "quorum", description="when clients fail: fail, quorum or go"
    )
    quorum: float = Field(
        0.5, ge=1 / MAX_CLIENTS, le=1, description="share of the clients that is enough"
    )
    segments: Literal["events", "auto"] = Field(
        "events",
        description="who draws windows before you in 05_segments: events or auto (guesses)",
    )
    threads: int = Field(0, ge=0, le=512, description="configurer threads; 0: as ssh.conf says")
    expires_min: float = Field(
        120, ge=1, le=10_080, description="minutes until hosts end by themselves"
    )
    isolation: Literal["auto", "namespaces", "loopback"] = Field(
        "auto", description="how local hosts are kept apart: auto, namespaces or loopback"
    )
    yes: bool = Field(
        default=False, description="launch although it is above the caps of the provider's file"
    )
    link_real_hosts: bool = Field(
        default=False, description="links also on existing hosts and EC2's, undone at release"
    )
    keep_fleet: bool = Field(default=False, description="leave the hosts running at the end")
    executor: ExecutorName = Field(
        "",
        description="who works on many blocks: tcp://host:port of Dask, processes; empty: this one",
    )
    runs_dir: str = Field("", description="where run folders go; empty: the project's runs/")
    config_dir: str = Field("", description="where *.conf is read; empty: the project's config/")

    @field_validator("duration_s")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if 0 < value < SHORTEST_WINDOW_S:
            raise ValueError(f"too short for a window, which has at least {SHORTEST_WINDOW_S:g} s")
        return value

    @property
    def most_clients(self) -> int:
        """Clients that the fleet has: the largest of the counts."""
        return max(self.clients)

    @property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """The levels of each parameter of which several are variants."""
        return {key: getattr(self, key) for key in crossing.FACTORS}

    @property
    def crossed(self) -> tuple[crossing.Crossed, ...]:
        """The variants of the run: those named, each with each level of rate, link and IP."""
        return crossing.cross(self.variants, self.factors)

    @property
    def has_levels(self) -> bool:
        """Whether one of these is a factor: then no variant is by the name that was given."""
        return any(len(levels) > 1 for levels in self.factors.values())

    @property
    def variant_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(it.name for it in self.crossed)

    @property
    def fixed_repetitions(self) -> int | None:
        """How often each cell is measured; None: as often as the precision needs."""
        if self.precision is not None:
            return None
        several = len(self.clients) > 1 or len(self.crossed) > 1
        return self.repetitions or (REPETITIONS_OF_A_LIST if several else 1)

    @property
    def most_repetitions(self) -> int:
        """How often each cell is measured at most."""
        fixed = self.fixed_repetitions
        return self.max_repetitions if fixed is None else fixed

    @property
    def is_campaign(self) -> bool:
        """More is asked for than one block of what stands in resources, which is a single run."""
        several = len(self.clients) > 1 or self.fixed_repetitions != 1
        return several or self.variant_names != (BASE,) or self.capacity is not None

    @property
    def clients_needed(self) -> int:
        """How many clients are enough, by `on_shortfall`."""
        enough = {
            "fail": self.most_clients,
            "quorum": math.ceil(round(self.quorum * self.most_clients, 6)),
            "go": 1,
        }
        return enough[self.on_shortfall]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that is decided before a host exists."""

    parameters: Parameters
    ssh: SshConf
    cron: CronConf
    tests: tuple[TestSpec, ...]
    runs_dir: Path
    config_dir: Path
    resources_dir: Path
    variant: Variant = BASE_VARIANT  # whose tests these are: `perfkit.settings.variants`

    @property
    def threads(self) -> int:
        """Configurer threads: the parameter, else ssh.conf's."""
        return self.parameters.threads or self.ssh.threads

    @property
    def links(self) -> Mapping[str, HostLink]:
        """The link of each role and host that has one: the variant's, else the parameter's.

        Several levels of the parameter are several variants, which have them.
        """
        level = self.parameters.link
        return {**(links.parse_links(level[0]) if len(level) == 1 else {}), **self.variant.links}

    @property
    def inside_ip(self) -> int:
        """The version of IP in the tunnel: the variant's, else the parameter's first."""
        return self.variant.inside_ip or int((*self.parameters.inside_ip, "4")[0])

    @property
    def outside_ip(self) -> int | None:
        """The same of what goes outside it; None: that of the hosts' addresses."""
        level = self.parameters.outside_ip
        return self.variant.outside_ip or (int(level[0]) if len(level) == 1 else None)

    def for_block(self, planned: PlannedBlock, rate_bps: float | None = None) -> Settings:
        """The settings of one block of a campaign: a single run's, with its tests as drawn.

        Its variant is kept: what that changes is applied by whoever runs the block.

        Args:
            rate_bps: What each client offers in this trial of a search; None: as the settings say.
        """
        (cell,) = (it for it in self.parameters.crossed if it.name == planned.variant)
        cell_levels = dict(cell.levels)
        if rate_bps is not None:
            cell_levels["rate"] = links.format_rate(rate_bps)
        own = {
            "clients": (planned.clients,),
            "variants": (cell.variant,),
            "capacity": None,
            **{key: (level,) if level else () for key, level in cell_levels.items()},
            "repetitions": 1,
            "precision": None,
            "max_repetitions": _default("max_repetitions"),
            "budget": levels.Budget(),
        }
        by_name = {test.name: test for test in self.tests}
        if rate_bps is not None:
            by_name = {name: replace(it, rate_bps=rate_bps) for name, it in by_name.items()}
        return replace(
            self,
            parameters=self.parameters.model_copy(update=own),
            tests=tuple(by_name[name] for name in planned.tests),
        )

    def to_dict(self) -> dict[str, Any]:
        """As kept in the manifest: every value, defaults included."""
        return {
            **self.parameters.model_dump(mode="json"),
            "threads": self.threads,
            "runs_dir": str(self.runs_dir),
            "config_dir": str(self.config_dir),
        }


def load(parameters: Mapping[str, Any] | None = None) -> Settings:
    """Validate parameters and read config/.

    Raises:
        ConfigError: the first thing that is wrong, with its remedy.
    """
    chosen = ini.validate(Parameters, dict(parameters or {}), source="parameters")
    _check_together(chosen)
    project = project_dir()
    config_dir = Path(chosen.config_dir).resolve() if chosen.config_dir else project / "config"
    resources_dir = project / "resources"
    for program in sorted((resources_dir / "bin").glob("[!.]*")):
        shebang.check(program, source="resources/bin")
    if chosen.config_dir and not config_dir.is_dir():
        raise ConfigError(
            "parameters", "config_dir", chosen.config_dir, "no such folder", "give one that exists"
        )
    ssh, cron = ini.load(config_dir, "ssh", SshConf), ini.load(config_dir, "cron", CronConf)
    known = load_tests(config_dir, resources_dir)
    tests = select_tests(known, chosen.tests, chosen.duration_s)
    if chosen.rate:
        rates = ",".join(chosen.rate)
        refuse_unread_rate(tests, rates, source="parameters", is_compared=len(chosen.rate) > 1)
    if len(chosen.rate) == 1:
        rate_bps = links.parse_rate(chosen.rate[0])
        tests = tuple(replace(test, rate_bps=rate_bps) for test in tests)
    if chosen.capacity is not None:
        capacity.require_searchable(chosen.capacity, tests, clients=chosen.clients)
    if chosen.is_campaign:
        refuse_times(tests)
    return Settings(
        parameters=chosen,
        ssh=ssh,
        cron=cron,
        tests=tests,
        runs_dir=runs_folder(chosen.runs_dir),
        config_dir=config_dir,
        resources_dir=resources_dir,
    )


def _check_together(chosen: Parameters) -> None:
    """Refuse values that are right by themselves and not beside each other.

    Raises:
        ConfigError: the first one, with what to leave out or to give.
    """
    if chosen.precision is not None and chosen.repetitions:
        raise ConfigError(
            "parameters",
            "repetitions",
            chosen.repetitions,
            "precision is given too, and decides how many there are",
            "give one of them; max_repetitions bounds what precision may take",
        )
    if chosen.precision is not None and chosen.max_repetitions < FEWEST_FOR_PRECISION:
        raise ConfigError(
            "parameters",
            "max_repetitions",
            chosen.max_repetitions,
            f"a precision needs at least {FEWEST_FOR_PRECISION} repetitions to be judged",
            f"give {FEWEST_FOR_PRECISION} or more, or repetitions in place of precision",
        )
    if chosen.precision is None and chosen.max_repetitions != _default("max_repetitions"):
        raise ConfigError(
            "parameters",
            "max_repetitions",
            chosen.max_repetitions,
            "bounds what a precision takes, and none is given",
            "give precision (5%), or repetitions in place of max_repetitions",
        )
    if chosen.capacity is not None:
        capacity.refuse_beside(rates=chosen.rate, precision=chosen.precision)
    crossing.check_names(chosen.crossed)
    cells = len(chosen.clients) * len(chosen.crossed)
    if cells * chosen.most_repetitions > MAX_BLOCKS:
        raise ConfigError(
            "parameters",
            "clients",
            levels.format_counts(chosen.clients),
            f"{cells} cells, {chosen.most_repetitions} times, are more than {MAX_BLOCKS} blocks",
            "give fewer counts, variants, levels or repetitions",
        )


def _default(name: str) -> object:
    return Parameters.model_fields[name].default
