"""What machines that carry packed hosts are given before they make any."""

from __future__ import annotations

from perfkit.campaign.machine_programs import packages_of
from perfkit.fleet.packed.requirements import obstacles_of
from perfkit.settings import parameters


def test_machines_get_what_hosts_are_made_with_what_the_vpn_runs_and_what_tests_need() -> None:
    chosen = parameters.load({"provider": "ec2", "per_machine": 20, "tests": "tunnel-latency,idle"})
    packages = {line.split()[0]: line.split()[1] for line in packages_of(chosen).splitlines()}
    assert packages["openvpn"] == "openvpn"
    assert packages["irtt"] == "irtt"
    assert packages["ping"] == "iputils-ping"
    lacking = next(obstacles_of({"lacks": ("sshd", "cron", "tini", "ip")}, [], 20))
    wanted = lacking.partition("apt-get install -y ")[2].split()
    assert {*wanted} <= {*packages.values()}
