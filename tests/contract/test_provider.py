"""What every provider must do: one suite, which ships with perfkit, for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ec2_cloud import ec2_cloud
from existing_hosts import existing_hosts

pytest.register_assert_rewrite("perfkit.testing.provider_contract")

from perfkit.testing.provider_contract import ProviderContract  # noqa: E402 -- rewritten first


@pytest.mark.root
class TestLocalInNamespaces(ProviderContract):
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"name": "local", "isolation": "namespaces"}


class TestLocalOnLoopback(ProviderContract):
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"name": "local", "isolation": "loopback"}


@pytest.fixture(scope="module")
def config_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of two servers and two clients that exist already."""
    with existing_hosts(tmp_path_factory.mktemp("lab"), n_clients=3) as lab:
        *machines, spare = [lab.section(host) for host in lab.hosts]
        lab.write_conf(*machines, spare.replace("role = client", "role = server"))
        yield lab.config_dir


@pytest.mark.root
class TestStatic(ProviderContract):
    short_life_s = 6.0

    @pytest.fixture
    def options(self, config_dir: Path) -> dict[str, Any]:
        return {"name": "static", "config_dir": str(config_dir)}


@pytest.fixture(scope="module")
def ec2_config_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an EC2 whose instances are real hosts of this machine."""
    with ec2_cloud(tmp_path_factory.mktemp("ec2"), real_hosts=True) as cloud:
        yield cloud.config_dir


@pytest.mark.root
class TestEc2(ProviderContract):
    """What is left when its hosts have ended costs nothing: a security group and a key pair."""

    costs_money = True
    leaves_residue = True
    short_life_s = 8.0

    @pytest.fixture
    def options(self, ec2_config_dir: Path) -> dict[str, Any]:
        return {"name": "ec2", "config_dir": str(ec2_config_dir)}
