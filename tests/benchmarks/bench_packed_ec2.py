"""2,000 clients on 20 instances at EC2: the plan, the cost, and the calls of launch and release.

    python tests/benchmarks/bench_packed_ec2.py [clients] [per_machine]

EC2 is moto's behind the shim; what would be done on the machines is on paper (`paper_machines`), so the
seconds say nothing of a real launch and are not printed. The calls are perfkit's own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ec2_cloud import Cloud, ec2_cloud
from paper_machines import Paper
from project_copy import copy_project

from perfkit.campaign import estimate, limits
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import BATCH_SIZE, Fleet, LaunchPlan
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.provider import HostRequest
from perfkit.model import HostState, host_names
from perfkit.runs.journal import Journal
from perfkit.settings import parameters
from perfkit.ssh.keys import make_ssh_key


def requests(n_clients: int) -> list[HostRequest]:
    key = make_ssh_key()
    return [
        HostRequest(
            name=name,
            role=role,
            host_key=key.public_openssh,
            host_key_private=key.private_openssh,
        )
        for name, role in host_names(n_clients)
    ]


def said(calls: Counter[str]) -> str:
    counted = ", ".join(f"{n} {name}" for name, n in sorted(calls.items()))
    return f"{calls.total()} calls: {counted}"


def main(n_clients: int, per_machine: int, cloud: Cloud, folder: Path) -> None:
    chosen = parameters.load(
        {
            "provider": "ec2",
            "clients": n_clients,
            "per_machine": per_machine,
            "config_dir": str(folder / "config"),
            "expires_min": 60,
        }
    )
    print(
        f"plan of perfkit run --provider ec2 --clients {n_clients} --per-machine {per_machine}:\n"
    )
    print(estimate.estimate(chosen))
    for line in limits.of_packed_machines(chosen):
        print(line)
    provider = PackedProvider(cloud.provider(), per_machine, n_clients, Paper())
    cloud.aws.requests.clear()
    provider.preflight(n_clients + 1)
    print(f"\npreflight: {said(cloud.aws.counts())}")
    reckoned = provider.estimate(n_clients + 1, 3600)
    print("cost: " + "\n      ".join(reckoned.lines))
    journal = Journal(folder / "journal.jsonl")
    plan = LaunchPlan(
        owner="bench",
        expires_utc=datetime.now(UTC) + timedelta(hours=1),
        authorized_key=make_ssh_key().public_openssh,
        batch_size=max(BATCH_SIZE, per_machine),  # as a session has it
    )
    table = Inventory(journal)
    fleet = Fleet("bench", provider, table, journal, plan, probe=lambda *_: None)
    cloud.aws.requests.clear()
    fleet.launch(requests(n_clients))
    fleet.wait()
    assert table.counts() == {HostState.REACHABLE: n_clients + 1}, table.counts()
    instances = cloud.aws.instances()
    off = sum(not it.source_dest_check for it in instances)
    print(f"\nlaunch: {said(cloud.aws.counts())}")
    print(f"{len(instances)} instances, {off} with the source/destination check off")
    cloud.aws.requests.clear()
    report = fleet.release()
    print(f"\nrelease: {said(cloud.aws.counts())}")
    print(f"{report}\nstill there: {[*provider.residue('bench'), *cloud.aws.alive()]}")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    clients, each = numbers if len(numbers) == 2 else (2000, 100)
    with tempfile.TemporaryDirectory() as place:
        project = copy_project(Path(place), "config", "resources")
        os.environ["PERFKIT_HOME"] = str(project)
        types = {"types": "c5.large", "server_types": "c5n.xlarge"}
        with ec2_cloud(project / "config", max_usd=20, **types) as made:
            main(clients, each, made, project)
