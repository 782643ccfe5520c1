"""Clients packed onto instances: what EC2 is asked for, by moto and the shim; the machines are on paper.

What happens on machines is what happens on existing ones: tests/integration/test_packed.py, and
tests/integration/test_packed_instances.py behind the API of EC2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_shim import REGION, AwsShim, error
from ec2_cloud import Cloud, ec2_cloud
from paper_machines import FIT, Paper, key_of

from perfkit.errors import ConfigError, LaunchRefusedError, ProviderError
from perfkit.fleet.ec2 import spot
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.provider import Interruption
from perfkit.fleet.reap import release_until_quiet, survey
from perfkit.model import Host, host_names
from perfkit.testing.provider_runs import ProviderRun, with_reasons


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsShim]:
    with AwsShim() as shim:
        yield shim


@pytest.fixture
def cloud(aws: AwsShim, tmp_path: Path) -> Iterator[Cloud]:
    with ec2_cloud(tmp_path, aws=aws, types="c5.large") as empty:
        yield empty


def packed(
    cloud: Cloud, n_clients: int, per_machine: int, paper: Paper | None = None
) -> PackedProvider:
    return PackedProvider(cloud.provider(), per_machine, n_clients, paper or Paper())


def names(n_clients: int) -> list[str]:
    return [name for name, _ in host_names(n_clients)]


def machines(cloud: Cloud, run: ProviderRun) -> Sequence[Host]:
    """As EC2 lists them."""
    return cloud.provider().machines(run.run_id)


def checks(cloud: Cloud) -> list[bool]:
    """Of each instance that is there, whether it checks addresses."""
    return [it.source_dest_check for it in cloud.aws.instances() if it.state == "running"]


def test_each_machine_is_one_instance_that_forwards_and_only_the_server_has_routes(
    cloud: Cloud, tmp_path: Path
) -> None:
    paper, run = Paper(), ProviderRun(tmp_path)
    provider = packed(cloud, 5, 2, paper)
    provider.preflight(6)
    hosts = provider.launch(run.request(*names(5)))
    assert [host.name for host in hosts] == names(5)
    ids = {it.name: it.machine for it in machines(cloud, run)}
    assert {h.name: h.machine for h in hosts} == {
        "server": ids["server"],
        "client-001": ids["machine-001"],
        "client-002": ids["machine-001"],
        "client-003": ids["machine-002"],
        "client-004": ids["machine-002"],
        "client-005": ids["machine-003"],
    }
    assert [host.address for host in hosts][1:] == [
        *("100.64.0.2", "100.64.0.3", "100.64.16.2", "100.64.16.3", "100.64.32.2")
    ]
    private = {it.id: it.private_ip for it in cloud.aws.instances()}
    assert paper.ways == {
        f"100.64.{16 * n}.0/20": private[ids[f"machine-{n + 1:03d}"]] for n in range(3)
    }
    assert checks(cloud) == [False] * 4
    jump = hosts[1].jump
    assert jump is not None
    assert (jump.host_key, jump.key_file) == (key_of("machine-001").public_openssh, "")
    assert hosts[0].host_key == key_of("server").public_openssh
    assert not provider.traits.temporary_host_keys
    assert {it.split()[0] for it in paper.shown.values()} == {"ssh-ed25519"}
    assert len({*paper.shown.values()}) == 1
    ec2 = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    (group,) = ec2.describe_security_groups(
        Filters=[{"Name": "tag:perfkit:run", "Values": [run.run_id]}]
    )["SecurityGroups"]
    admitted = [it["CidrIp"] for rule in group["IpPermissions"] for it in rule["IpRanges"]]
    assert sorted(admitted) == ["100.64.0.0/12", "192.0.2.7/32"]
    assert not {"CreateRoute", "CreateRouteTable", "ReplaceRoute"} & {*cloud.aws.counts()}


def test_a_release_and_a_reap_by_the_tag_alone_leave_nothing(cloud: Cloud, tmp_path: Path) -> None:
    ec2 = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)

    def left() -> dict[str, int]:
        return {
            "instances": len(cloud.aws.alive()),
            "groups": len(ec2.describe_security_groups()["SecurityGroups"]),
            "tables": len(ec2.describe_route_tables()["RouteTables"]),
            "routes": sum(len(t["Routes"]) for t in ec2.describe_route_tables()["RouteTables"]),
            "keys": len(ec2.describe_key_pairs()["KeyPairs"]),
            "interfaces": len(ec2.describe_network_interfaces()["NetworkInterfaces"]),
            "placement groups": len(ec2.describe_placement_groups()["PlacementGroups"]),
        }

    before = left()
    provider, run = packed(cloud, 4, 2), ProviderRun(tmp_path)
    provider.launch(run.request(*names(4)))
    assert left() != before
    assert release_until_quiet(provider, run.run_id, sleep=lambda _s: None).leaked == ()
    assert left() == before
    provider.launch(run.request(*names(4), token="again"))
    plain = cloud.provider()  # as `perfkit reap` has it: nothing here knows of packed hosts
    (found,) = survey(plain)
    assert sorted(host.name for host in found.hosts) == ["machine-001", "machine-002", "server"]
    report = release_until_quiet(plain, run.run_id, sleep=lambda _s: None)
    assert report.leaked == ()
    assert left() == before


def test_a_machine_that_cannot_be_had_is_named_for_each_of_its_hosts(
    cloud: Cloud, tmp_path: Path
) -> None:
    run = ProviderRun(tmp_path)
    paper = Paper("machine-002")
    paper.answers["machine-003"] = {**FIT, "lacks": ("tini",)}
    provider = packed(cloud, 6, 2, paper)
    request, reasons = with_reasons(run.request(*names(6)))
    assert [it.name for it in provider.launch(request)] == ["server", "client-001", "client-002"]
    ids = {it.name: it.machine for it in machines(cloud, run)}
    silent = f"machine {ids['machine-002']}: no answer within 600 s"
    lacking = f"machine {ids['machine-003']}: not installed: tini; as root there: apt-get install"
    assert reasons == {
        **dict.fromkeys(["client-003", "client-004"], silent),
        **dict.fromkeys(["client-005", "client-006"], f"{lacking} -y tini"),
    }


def test_a_machine_whose_check_stays_on_carries_no_hosts_and_is_named_for_them(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.aws.fail("ModifyInstanceAttribute", error("UnauthorizedOperation"), times=3)
    provider, run = packed(cloud, 4, 2), ProviderRun(tmp_path)
    with pytest.raises(
        LaunchRefusedError, match=r"of no instance: its source/destination check.*Un"
    ):
        provider.launch(run.request(*names(4)))
    (second,) = [it.machine for it in machines(cloud, run) if it.name == "machine-002"]
    cloud.aws.denied["ModifyInstanceAttribute"] = error("UnauthorizedOperation")
    for it in cloud.aws.instances():
        it.source_dest_check = it.id == second
    request, reasons = with_reasons(run.request(*names(4), token="again"))
    assert [it.name for it in provider.launch(request)] == names(2)
    assert {*reasons} == {"client-003", "client-004"}
    assert f"machine {second}: its source/destination check" in reasons["client-004"]
    cloud.aws.denied.clear()
    cloud.aws.fail("ModifyInstanceAttribute", error("RequestLimitExceeded", 503), times=2)
    assert len(provider.launch(run.request(*names(4)[3:], token="third"))) == 2
    assert checks(cloud) == [False] * 3


def test_machines_that_have_no_room_are_missing_by_name_and_the_others_carry_theirs(
    cloud: Cloud, tmp_path: Path
) -> None:
    (subnet,) = {pool.subnet for pool in cloud.provider().survey().ladder["client"]}  # type: ignore[index]
    cloud.write_conf(types="c5.large", server_types="m5.large")
    cloud.aws.empty.add(("c5.large", subnet))
    run = ProviderRun(tmp_path)
    request, reasons = with_reasons(run.request(*names(4)))
    assert [it.name for it in packed(cloud, 4, 2).launch(request)] == ["server"]
    assert {*reasons} == {*names(4)[1:]}
    assert all(
        it.startswith("machine machine-00") and "InsufficientInstanceCapacity" in it
        for it in reasons.values()
    )


def test_a_controller_that_died_in_the_launch_finds_the_same_machines_however_many_it_sees(
    cloud: Cloud, tmp_path: Path
) -> None:
    """The call that may have been done is sent again word for word, whichever machines are missing."""
    run, calls = ProviderRun(tmp_path), list[dict[str, Any]]()
    request = run.request(*names(4))

    def record(kind: str, **fields: Any) -> None:
        if kind == "launch-call":
            calls.append(fields)
            if len(calls) == 2:  # before this one is sent, the first one is done
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(cloud, 4, 2).launch(replace(request, record=record))
    before = cloud.aws.alive()
    assert 0 < len(before) < 3
    hosts = packed(cloud, 4, 2).launch(replace(request, earlier=tuple(calls)))
    assert len(hosts) == 5
    assert {*before} < {*cloud.aws.alive()}
    assert len(cloud.aws.alive()) == 3
    assert len(packed(cloud, 4, 2).launch(replace(request, earlier=tuple(calls)))) == 5
    assert len(cloud.aws.alive()) == 3


def test_machines_that_carry_hosts_already_are_taken_up_as_they_are(
    cloud: Cloud, tmp_path: Path
) -> None:
    paper, run = Paper(), ProviderRun(tmp_path)
    request = run.request(*names(4))
    packed(cloud, 4, 2, paper).launch(request)
    paper.answers["machine-002"] = {"free_kib": ("1000",), "route": ("100.64.16.0/20",)}
    again, reasons = with_reasons(request)
    assert len(packed(cloud, 4, 2, paper).launch(again)) == 5
    assert reasons == {}


def test_a_machine_that_is_taken_back_takes_its_hosts_with_it_by_name(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notices(_region: object, _run_id: str) -> Iterator[Interruption]:
        request = cast(Any, run.request("x"))
        for host in ("machine-002", "server"):
            yield Interruption(host=host, noticed_utc=request.expires_utc, reason="spot: marked")

    run = ProviderRun(tmp_path)
    monkeypatch.setattr(spot, "interruptions", notices)
    told = [(it.host, it.reason) for it in packed(cloud, 4, 2).interruptions(run.run_id)]
    assert told == [
        ("client-003", "machine-002: spot: marked"),
        ("client-004", "machine-002: spot: marked"),
        ("server", "spot: marked"),
    ]


def test_hosts_of_a_machine_that_is_gone_are_gone_and_of_a_silent_one_may_be_there(
    cloud: Cloud, tmp_path: Path
) -> None:
    paper, run = Paper(), ProviderRun(tmp_path)
    provider = packed(cloud, 4, 2, paper)
    provider.launch(run.request(*names(4)))
    paper.is_silent = True
    assert sorted(it.name for it in provider.hosts(run.run_id)) == sorted(names(4))
    second = next(it for it in machines(cloud, run) if it.name == "machine-002")
    boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION).terminate_instances(
        InstanceIds=[second.machine]
    )
    assert sorted(it.name for it in provider.hosts(run.run_id)) == sorted(names(2))
    request, _ = with_reasons(run.request("client-003", token="again"))
    (host,) = provider.launch(request)
    assert host.machine not in ("", second.machine)


@pytest.mark.parametrize(
    ("keys", "per_machine", "why"),
    [
        ({"packed_pool": "172.16.0.0/12"}, 2, r"packed_pool.*has 172\.31\.0\.0/16.*100\.64\.0"),
        ({"packed_pool": "10.0.0.0/8"}, 2, "packed_pool.*a /12 to a /19"),
        ({"zones": "", "placement": "any"}, 2, "placement.*one subnet only.*cluster or zone"),
        ({"group": "sg-"}, 2, r"group.*does not let in.*100\.64\.0\.0/12.*authorize-security"),
        ({"types": "t3.micro"}, 200, "a t3.micro has 1074 MB of memory, which carry 112 hosts"),
    ],
)
def test_what_would_keep_instances_from_carrying_hosts_is_refused_before_the_launch(
    cloud: Cloud, keys: dict[str, str], per_machine: int, why: str
) -> None:
    if "group" in keys:
        ec2 = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
        keys = {"group": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]}
    cloud.write_conf(**{"types": "c5.large", **keys})
    with pytest.raises((ConfigError, ProviderError), match=why):
        packed(cloud, 400, per_machine).preflight(401)
    assert cloud.aws.sent("RunInstances") == []


def test_a_group_of_the_users_own_that_lets_packed_hosts_in_is_left_as_it_is(
    cloud: Cloud, tmp_path: Path
) -> None:
    ec2 = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "100.64.0.0/10"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    cloud.write_conf(types="c5.large", group=group)
    provider = packed(cloud, 4, 2)
    provider.preflight(5)
    cloud.aws.requests.clear()
    assert len(provider.launch(ProviderRun(tmp_path).request(*names(4)))) == 5
    assert cloud.aws.sent("AuthorizeSecurityGroupIngress") == []


def test_machines_are_paid_for_and_count_against_the_quota_and_hosts_do_not(cloud: Cloud) -> None:
    cloud.write_conf(types="c5.large", max_instances=21, max_usd=50)
    plain = cloud.provider()
    provider = PackedProvider(plain, 100, 2000, Paper())
    provider.preflight(2001)
    made, of_machines = provider.estimate(2001, 3600), plain.estimate(21, 3600)
    assert (made.usd_per_h, made.over) == (of_machines.usd_per_h, ())
    assert made.lines[0] == "2000 clients on 20 machines, 100 on each at most"
    assert any(line.startswith("20 client machines of c5.large") for line in made.lines)
    assert any(line.startswith("42 vCPUs") for line in made.lines)
    assert provider.estimate(2002, 3600).over == ("22 instances, max_instances is 21",)


def test_two_thousand_clients_on_twenty_instances_take_as_many_calls_as_twenty_instances(
    cloud: Cloud, tmp_path: Path
) -> None:
    """`python tests/benchmarks/bench_packed_ec2.py` prints them, with plan and cost."""
    provider, run = packed(cloud, 2000, 100), ProviderRun(tmp_path)
    provider.preflight(2001)
    cloud.aws.requests.clear()
    batches = [names(2000)[start : start + 100] for start in range(0, 2001, 100)]
    for number, batch in enumerate(batches):
        assert len(provider.launch(run.request(*batch, token=str(number)))) == len(batch)
    assert release_until_quiet(provider, run.run_id, sleep=lambda _s: None).leaked == ()
    calls = cloud.aws.counts()
    changing = {name: n for name, n in calls.items() if not name.startswith("Describe")}
    assert changing == {
        "CreatePlacementGroup": 1,
        "ImportKeyPair": 1,
        "CreateSecurityGroup": 1,
        "AuthorizeSecurityGroupIngress": 3,
        "RunInstances": 2,
        "ModifyInstanceAttribute": 21,
        "TerminateInstances": 1,
        "DeletePlacementGroup": 1,
        "DeleteKeyPair": 1,
        "DeleteSecurityGroup": 1,
    }


def test_an_instance_that_has_no_address_yet_is_still_named_by_a_release(
    cloud: Cloud, tmp_path: Path
) -> None:
    provider, run = packed(cloud, 2, 2), ProviderRun(tmp_path)
    provider.launch(run.request(*names(2)))
    (one,) = [it for it in cloud.aws.instances() if it.id == machines(cloud, run)[-1].machine]
    nic = one.nics[0]
    nic.public_ip = nic.private_ip_address = nic.private_ip_addresses[0]["PrivateIpAddress"] = None
    assert one.id not in {it.machine for it in machines(cloud, run)}
    assert any(one.id in what for what in provider.residue(run.run_id))


def test_two_subnets_in_one_zone_are_refused_and_one_a_zone_is_not(cloud: Cloud) -> None:
    ec2 = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    there = {it["AvailabilityZone"]: it for it in ec2.describe_subnets()["Subnets"]}
    first, other = there[f"{REGION}a"], there[f"{REGION}b"]
    made = ec2.create_subnet(
        VpcId=first["VpcId"], CidrBlock="172.31.240.0/24", AvailabilityZone=f"{REGION}a"
    )["Subnet"]
    both = [first["SubnetId"], made["SubnetId"]]
    cloud.write_conf(types="c5.large", zones="", subnets=", ".join(both))
    with pytest.raises(ConfigError, match=r"subnets.*one subnet only; name one a zone"):
        packed(cloud, 4, 2).preflight(5)
    cloud.write_conf(types="c5.large", zones="", subnets=f"{both[0]}, {other['SubnetId']}")
    packed(cloud, 4, 2).preflight(5)


def test_fleets_of_spot_instances_carry_hosts_as_well(cloud: Cloud, tmp_path: Path) -> None:
    cloud.write_conf(types="c5.large, c5a.large", pools="mixed", market="spot", address="private")
    paper, run = Paper(), ProviderRun(tmp_path)
    hosts = packed(cloud, 4, 2, paper).launch(run.request(*names(4)))
    assert [host.name for host in hosts] == names(4)
    assert len({host.machine for host in hosts}) == 3
    assert {it.split()[0] for it in paper.shown.values()} == {"ssh-ed25519"}
    assert checks(cloud) == [False] * 3
    assert len(cloud.aws.sent("CreateFleet")) == 2


def test_status_and_reap_count_the_hosts_on_instances_and_name_these_beside_them(
    cloud: Cloud, tmp_path: Path
) -> None:
    provider, run = packed(cloud, 5, 2), ProviderRun(tmp_path)
    provider.launch(run.request(*names(5)))
    plain = cloud.provider()
    (found,) = survey(plain)
    assert {it.name: it.n_packed for it in found.hosts} == {
        "server": None,
        "machine-001": 2,
        "machine-002": 2,
        "machine-003": 1,
    }
    assert ": 6 hosts on 4 machines at ec2, owner " in str(found)
    report = release_until_quiet(plain, run.run_id, sleep=lambda _s: None)
    assert (report.leaked, len(report.released)) == ((), 6)
    assert [it.split()[0] for it in report.besides[:3]] == [
        f"machine-00{number}" for number in (1, 2, 3)
    ]
