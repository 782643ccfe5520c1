"""config/*.conf and parameters in, validated settings out.

A campaign is described by `Parameters` (what the notebook's parameters cell and the command
line's options are made of) and four INI files. A file `x.conf` wins over its committed
`x.conf.sample`. Whatever is wrong is a `ConfigError` that names file, key, value and remedy, and
is found before anything is launched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import SHORTEST_WINDOW_S, NetworkPath, TestSpec
from perfkit.runs import folder
from perfkit.settings import ini, shebang
from perfkit.settings.project import project_dir, runs_folder

MAX_CLIENTS = 1000


def _plain_bool(value: object) -> object:
    """Papermill passes `-p keep_fleet no` as text."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_plain_bool)]


class Parameters(BaseModel):
    """What a person chooses for one run; each field is a notebook parameter and an option."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clients: int = Field(10, ge=1, le=MAX_CLIENTS, description="number of clients, 1 to 1000")
    provider: str = Field("local", description="where the hosts come from")
    tests: str = Field("all", description="tests from tests.conf, comma-separated, or all")
    vpn: str = Field("openvpn", description="VPN under test: openvpn, or none")
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
    yes: Flag = Field(
        default=False, description="launch although it is above the caps of the provider's file"
    )
    keep_fleet: Flag = Field(default=False, description="leave the hosts running at the end")
    runs_dir: str = Field("", description="where run folders go; empty: the project's runs/")
    config_dir: str = Field("", description="where *.conf is read; empty: the project's config/")

    @field_validator("duration_s")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if 0 < value < SHORTEST_WINDOW_S:
            raise ValueError(f"too short for a window, which has at least {SHORTEST_WINDOW_S:g} s")
        return value

    @property
    def clients_needed(self) -> int:
        """How many clients are enough, by `on_shortfall`."""
        enough = {
            "fail": self.clients,
            "quorum": math.ceil(round(self.quorum * self.clients, 6)),
            "go": 1,
        }
        return enough[self.on_shortfall]


class SshConf(BaseModel):
    """config/ssh.conf, section [ssh]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Field("root", validation_alias=AliasChoices("user", "username"), min_length=1)
    key_file: str = Field("", validation_alias=AliasChoices("key_file", "keyfile"))
    # No host answers in less than a tenth of a second at its worst.
    connect_timeout_s: float = Field(10, ge=0.1, le=600)
    command_timeout_s: float = Field(60, ge=0.1, le=86_400)
    host_deadline_s: float = Field(300, ge=0.1, le=86_400)
    threads: int = Field(32, ge=1, le=512)


class CronConf(BaseModel):
    """config/cron.conf, section [cron]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shell: str = Field("/bin/sh", pattern=r"^/[A-Za-z0-9/_.-]+$")
    path: str = Field(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        pattern=r"^/[A-Za-z0-9/_.:-]+$",
    )


class TestConf(BaseModel):
    """One section of config/tests.conf."""

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float | None = Field(None, ge=0, le=10_080)
    duration: float = Field(ge=SHORTEST_WINDOW_S, le=86_400)
    server: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,253}$")
    port: int = Field(5001, ge=1, le=65_535)
    needs: str = Field("", pattern=r"^[A-Za-z0-9_.+ -]*$")
    path: NetworkPath = NetworkPath.DIRECT


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

    @property
    def threads(self) -> int:
        """Configurer threads: the parameter, else ssh.conf's."""
        return self.parameters.threads or self.ssh.threads

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
    project = project_dir()
    config_dir = Path(chosen.config_dir).resolve() if chosen.config_dir else project / "config"
    resources_dir = project / "resources"
    for program in sorted((resources_dir / "bin").glob("[!.]*")):
        shebang.check(program, source="resources/bin")
    if chosen.config_dir and not config_dir.is_dir():
        raise ConfigError(
            "parameters", "config_dir", chosen.config_dir, "no such folder", "give one that exists"
        )
    return Settings(
        parameters=chosen,
        ssh=ini.load(config_dir, "ssh", SshConf),
        cron=ini.load(config_dir, "cron", CronConf),
        tests=_select(load_tests(config_dir, resources_dir), chosen),
        runs_dir=runs_folder(chosen.runs_dir),
        config_dir=config_dir,
        resources_dir=resources_dir,
    )


def load_tests(config_dir: Path, resources_dir: Path) -> tuple[TestSpec, ...]:
    """Read tests.conf, in the order of its sections.

    Raises:
        ConfigError: a bad section, or a test without an executable script.
    """
    path, parser = ini.read_ini(config_dir, "tests")
    if not parser.sections():
        raise ConfigError(
            path.name, "sections", [], "no test in it", "add a section named like a script"
        )
    return tuple(
        _test_spec(path.name, name, dict(parser[name]), resources_dir / "tests")
        for name in parser.sections()
    )


def _test_spec(source: str, name: str, keys: dict[str, str], scripts_dir: Path) -> TestSpec:
    where = f"{source} [{name}]"
    if not folder.NAME_PATTERN.fullmatch(name):
        raise ConfigError(
            where, "name", name, "not a test name", "use lower-case letters, digits, - and _"
        )
    checked = ini.validate(TestConf, keys, source=where)
    script = scripts_dir / name
    if not os.path.lexists(script):
        there = (
            [p.name for p in scripts_dir.glob("*") if not p.suffix] if scripts_dir.is_dir() else []
        )
        remedy = f"write it (chmod +x); {did_you_mean(name, there)}"
        raise ConfigError(where, "script", f"resources/tests/{name}", "not there", remedy)
    shebang.check(script, source=where)
    server_script = scripts_dir / f"{name}.server"
    if has_server := os.path.lexists(server_script):
        shebang.check(server_script, source=where)
    return TestSpec(
        name=name,
        script=script,
        server_script=server_script if has_server else None,
        duration_s=checked.duration,
        time_min=checked.time,
        server=checked.server,
        port=checked.port,
        needs=tuple(checked.needs.split()),
        path=checked.path,
    )


def _select(tests: tuple[TestSpec, ...], chosen: Parameters) -> tuple[TestSpec, ...]:
    """The tests asked for, in tests.conf's order, with the duration asked for."""
    by_name = {test.name: test for test in tests}
    wanted = [word.strip() for word in chosen.tests.split(",") if word.strip()]
    if twice := [name for name in wanted if wanted.count(name) > 1]:
        remedy = "name it once; to run it twice, copy its section and scripts under a second name"
        problem = f"{twice[0]} is named twice, and runs once"
        raise ConfigError("parameters", "tests", chosen.tests, problem, remedy)
    if wanted == ["all"]:
        wanted = list(by_name)
    for name in wanted:
        if name not in by_name:
            raise ConfigError(
                "parameters", "tests", name, "not in tests.conf", did_you_mean(name, by_name)
            )
    if not wanted:
        raise ConfigError(
            "parameters", "tests", chosen.tests, "names no test", f"known are: {', '.join(by_name)}"
        )
    selected = (test for test in tests if test.name in wanted)
    if not chosen.duration_s:
        return tuple(selected)
    return tuple(replace(test, duration_s=chosen.duration_s) for test in selected)
