"""config/ec2.conf: where hosts are made, of what, and how much they may cost.

No secret belongs there: credentials come from AWS's own chain (environment, `~/.aws`, SSO, the
role of the machine perfkit runs on), a profile is chosen by its name.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from perfkit.errors import ConfigError, NotSetUpError
from perfkit.fleet.packable import check_pool
from perfkit.model import Role
from perfkit.settings import ini

NAME = "ec2"
SECRET_KEYS = re.compile(r"(secret|password|token|access_?key|key_?id|^key$)", re.IGNORECASE)
ACCESS_KEY = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}")
OWN_TAGS = "perfkit:"
TAG_NAME, TAG_VALUE = 128, 256  # characters
IP_VERSION, WIDEST = 4, 24  # bits
WIDEST_POOL = 12  # bits: of 256 machines; the names of more do not fit into the tags of a call
REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"


def _words(value: object) -> object:
    """`a, b c` in the file is a list."""
    words = tuple(value.replace(",", " ").split()) if isinstance(value, str) else value
    if isinstance(words, tuple) and (twice := [word for word in words if words.count(word) > 1]):
        raise ValueError(f"{twice[0]} is named twice")
    return words


def _pairs(value: object) -> object:
    """`team=net, project=vpn` in the file is a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if any(not is_pair or not key.strip() for key, is_pair, _ in pairs):
        raise ValueError("not name=value, name=value")
    names = [key.strip() for key, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is named twice")
    return {key.strip(): text.strip() for key, _, text in pairs}


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class Ec2Conf(BaseModel):
    """config/ec2.conf, section [ec2]; the sample says what each key is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str = Field(pattern=REGION, description="a region's name, as eu-central-1")
    reap_regions: Words = Field((), description="regions' names, separated by commas")
    profile: str = Field("", description="the name of a profile in ~/.aws; empty: AWS's default")
    image: str = Field(
        pattern=r"^(ami-[0-9a-f]{8,17}|ssm:/\S+|name:\S+)$",
        description="ami-…, ssm:/parameter/name, or name:pattern with image_owner",
    )
    image_owner: str = Field("", pattern=r"^(\d{12}|amazon|self|)$")
    types: Words = Field(("t3.small",), min_length=1, description="instance types, best first")
    server_types: Words = Field((), description="instance types of the server; empty: as types")
    zones: Words = Field((), description="availability zones of the region; empty: any")
    subnets: Words = Field((), description="subnet-…, separated by commas; empty: the default ones")
    market: Literal["on-demand", "spot"] = "on-demand"
    pools: Literal["ladder", "mixed"] = "ladder"
    placement: Literal["cluster", "zone", "any"] = "cluster"
    key: str = Field("", max_length=255, description="name of an existing key pair; empty: made")
    group: str = Field("", pattern=r"^(sg-[0-9a-f]{8,17})?$", description="sg-…; empty: made")
    controller: str = Field("", description="an address or network that may log in, as 192.0.2.7")
    address: Literal["public", "private"] = "public"
    packed_pool: Annotated[str, AfterValidator(partial(check_pool, widest=WIDEST_POOL))] = Field(
        "100.64.0.0/12", description="addresses of packed hosts"
    )
    user: str = Field("root", pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    owner: str = Field("", max_length=200, description="who answers for the hosts; empty: you")
    tags: Annotated[dict[str, str], BeforeValidator(_pairs)] = Field(
        default_factory=dict, max_length=20, description="name=value, name=value"
    )
    max_instances: int = Field(50, ge=1, le=5000)
    max_usd: float = Field(10.0, ge=0.01, le=100_000)
    expires_after: float = Field(240, ge=5, le=10_080, description="minutes, 5 to 10080")
    endpoint_url: str = Field("", pattern=r"^(https?://\S+)?$")

    @field_validator("controller")
    @classmethod
    def _narrow(cls, value: str) -> str:
        return str(controller_network(value)) if value else value

    @field_validator("tags")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        if taken := [
            name for name in value if name.lower().startswith((OWN_TAGS, "aws:")) or name == "Name"
        ]:
            raise ValueError(f"{', '.join(taken)}: perfkit's or AWS's own")
        if long := [k for k, v in value.items() if len(k) > TAG_NAME or len(v) > TAG_VALUE]:
            raise ValueError(
                f"{long[0][:40]}: AWS takes {TAG_NAME} characters in a name, {TAG_VALUE} in a value"
            )
        return value

    def types_of(self, role: Role) -> tuple[str, ...]:
        """The instance types of a role, best first."""
        return (self.server_types or self.types) if role is Role.SERVER else self.types

    @property
    def regions(self) -> tuple[str, ...]:
        """All regions that are listed and reaped, the one that is launched in first."""
        return tuple(dict.fromkeys([self.region, *self.reap_regions]))


def controller_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The addresses that may log in: one address, or a network that is not the whole world.

    Raises:
        ValueError: it is neither, or of IPv6: the addresses that hosts are logged in at are not.
    """
    network = ipaddress.ip_network(text.strip())
    if network.version != IP_VERSION:
        raise ValueError(f"{network}: hosts have addresses of IPv4 only, give yours of that kind")
    if network.prefixlen < WIDEST:
        raise ValueError(
            f"{network} has {network.num_addresses} addresses; give the one you come from, "
            f"or a network of at least /{WIDEST}"
        )
    if network.network_address.is_unspecified:
        raise ValueError(f"{network} is nobody's address")
    return network


def load(config_dir: Path | None) -> Ec2Conf:
    """Read config/ec2.conf; its sample is not enough, since hosts cost money.

    Raises:
        NotSetUpError: there is no such file.
        ConfigError: what is wrong in it, a secret above all.
    """
    path = config_dir / f"{NAME}.conf" if config_dir else None
    if config_dir is None or path is None or not path.exists():
        raise NotSetUpError(
            f"provider {NAME} is not set up: there is no {path or 'config/ec2.conf'}; copy "
            "ec2.conf.sample to it and set at least region and image"
        )
    _refuse_secrets(config_dir)
    return ini.load(config_dir, NAME, Ec2Conf)


def _refuse_secrets(config_dir: Path) -> None:
    path, parser = ini.read_ini(config_dir, NAME)
    for section in parser.sections():
        for name, value in parser[section].items():
            if _looks_secret(name, value):
                raise ConfigError(
                    f"{path.name} [{section}]",
                    name,
                    "***",
                    "credentials do not belong in this file",
                    "remove it (and have that key replaced: it was on disk), run `aws configure` "
                    "or `aws sso login`, and name the profile here: profile = …",
                )


def _looks_secret(name: str, value: str) -> bool:
    own: dict[str, Any] = dict(Ec2Conf.model_fields)
    return bool(ACCESS_KEY.search(value)) or (name not in own and bool(SECRET_KEYS.search(name)))
