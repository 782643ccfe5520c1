"""Clients packed onto instances: the API of EC2 is moto's, the machines behind it are whole and real."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aws_shim import AwsShim
from ec2_cloud import CLOUD_INIT, Cloud, cloud_config, ec2_cloud
from project_copy import copy_project
from whole_machines import Machine, whole_machines

from perfkit.campaign import phases
from perfkit.campaign.session import Session
from perfkit.fleet.packed.logins import Logins
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.reap import release_until_quiet
from perfkit.model import Host
from perfkit.ssh.remote import RemotePool
from perfkit.testing.provider_runs import ProviderRun, with_reasons

pytestmark = [pytest.mark.root, pytest.mark.slow]

# Of its own first: /usr is that of the machine that the tests run on.
OWN = "/root/own"
SSHD = f"""
sed -i 's,/etc/ssh/machine_key,/etc/ssh/ssh_host_ed25519_key,' /etc/ssh/machine.conf
echo 'SetEnv PATH={OWN}:/usr/sbin:/usr/bin:/sbin:/bin' >>/etc/ssh/machine.conf
kill -HUP "$(cat /run/sshd.pid)"
"""


@dataclass
class Instances:
    """Gives each instance that is launched one of the machines, booted by its user data."""

    aws: AwsShim
    free: list[Machine]
    by_id: dict[str, Machine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aws.on_launch, self.aws.on_end = self._launch, self._end

    def _launch(self, instances: list[Any]) -> None:
        for instance in instances:
            machine = self.by_id[instance.id] = self.free.pop(0)
            nic = instance.nics[0]
            nic.public_ip = nic.private_ip_address = machine.address
            nic.private_ip_addresses[0]["PrivateIpAddress"] = machine.address
            self._boot(machine, cloud_config(instance.user_data))

    def _boot(self, machine: Machine, config: dict[str, Any]) -> None:
        """What cloud-init does with keys and bootcmd."""
        files = {
            "/etc/ssh/ssh_host_ed25519_key": config["ssh_keys"]["ed25519_private"],
            "/etc/ssh/machine_authorized": config["ssh_authorized_keys"][0] + "\n",
            f"{OWN}/cloud-init": CLOUD_INIT,
            f"{OWN}/shutdown": "#!/bin/sh\nkill -TERM 1\n",
        }
        for path, text in files.items():
            mode = 755 if path.startswith(OWN) else 600
            machine.inside(f"mkdir -p {OWN}; cat >{path} && chmod {mode} {path}", text.encode())
        for command in config["bootcmd"]:
            machine.inside(f"PATH={OWN}:$PATH; {shlex.join(command)}")
        machine.inside(SSHD)

    def _end(self, ids: list[str]) -> None:
        for id_ in ids:
            self.by_id[id_].end()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path, "config", "resources")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cloud(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with (
        whole_machines(tmp_path_factory.mktemp("lab"), n_clients=3) as lab,
        ec2_cloud(project / "config", types="c5.large") as made,
    ):
        machines = Instances(made.aws, [*lab.machines.values()])
        yield made
        assert machines.free == []


def taken_up(cloud: Cloud, session: Session, *names: str) -> Sequence[Host]:
    """Hosts that a fresh controller has made in a run that is there."""
    provider = PackedProvider(cloud.provider(), per_machine=2, n_clients=4)
    provider.log_in_by(
        Logins(access=session.pool.access, host_key=session.host_key, equip=lambda _remote: None)
    )
    run = ProviderRun(cloud.config_dir, session.run.id)
    run.public_key = session.run.key_path.with_suffix(".pub").read_text()
    request, reasons = with_reasons(run.request(*names, token="again", life_s=900))
    hosts = provider.launch(request)
    assert reasons == {}
    return hosts


def test_clients_on_instances_reach_the_server_through_their_tunnels_and_go_with_their_machine(
    cloud: Cloud,
) -> None:
    with phases.start(
        provider="ec2", per_machine=2, clients=4, tests="tunnel-tcp", name="packed"
    ) as session:
        phases.launch(session, wait=True)
        assert {it.name: it.reason for it in session.inventory.records() if it.reason} == {}
        assert phases.configure(session).failed == ()
        hosts = {host.name: host for host in session.inventory.hosts()}
        second = hosts["client-003"].machine
        assert second == hosts["client-004"].machine != hosts["client-001"].machine
        assert hosts["client-003"].address == "100.64.16.2"
        (lost,) = [it for it in cloud.aws.instances() if it.id == second]
        lost.terminate()
        there = {host.name for host in session.provider.hosts(session.run.id)}
        assert there == {"server", "client-001", "client-002"}
        assert [it.source_dest_check for it in cloud.aws.instances()] == [False] * 3
        new = taken_up(cloud, session, "client-003", "client-004")  # as a campaign replaces them
        assert second != new[0].machine == new[1].machine != hosts["client-001"].machine
        with RemotePool(replace(session.pool.access, known_hosts_path=None)) as pool:
            pool.get(new[1]).run(["true"])
        report = release_until_quiet(cloud.provider(), session.run.id, sleep=lambda _s: None)
        assert (report.leaked, cloud.aws.alive()) == ((), [])
