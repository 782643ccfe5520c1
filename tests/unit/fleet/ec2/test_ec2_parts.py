"""The small parts, each alone: tags, prices, user data, retry, the ladder, the policy."""

from __future__ import annotations

import ast
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import LaunchRefusedError
from perfkit.fleet import ec2
from perfkit.fleet.ec2 import prices, tags, userdata
from perfkit.fleet.ec2.conf import controller_network
from perfkit.fleet.ec2.pools import Cooldown, Pool, Subnet, ladder
from perfkit.retry import RetryPolicy
from perfkit.ssh.keys import make_ssh_key

EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
LABEL = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=50, unique=True))
def test_every_instance_of_a_call_finds_its_name_in_tags_that_aws_takes(names: list[str]) -> None:
    made = tags.call_tags("token", "client", names)
    assert [tags.host_name(made, index) for index in range(len(names))] == names
    assert tags.host_name(made, len(names)) == ""
    assert all(len(value) <= 256 for value in made.values())
    assert len(made) <= 40


@given(st.text())
def test_no_text_makes_a_tag_that_aws_refuses(text: str) -> None:
    value = tags.clean(text)
    assert len(value) <= 256
    assert not set(value) & set("<>\"'\\;,?!*#$%&(){}[]|~^`")


def test_an_expiry_that_cannot_be_read_is_long_past() -> None:
    assert tags.expiry({}) == tags.expiry({tags.EXPIRES: "soon"}) == datetime.fromtimestamp(0, UTC)
    written = tags.run_tags("r", "o", EXPIRES, {})
    assert tags.expiry(written) == EXPIRES


@pytest.mark.parametrize("wide", ["10.0.0.0/8", "192.168.0.0/23", "::/0", "::", "2001:db8::/32"])
def test_a_wide_network_may_not_log_in(wide: str) -> None:
    with pytest.raises(ValueError, match="address"):
        controller_network(wide)


def reckon(**more: object):  # type: ignore[no-untyped-def]
    return prices.estimate(
        [
            prices.Group(what="server", n_hosts=1, types=["c5n.xlarge"]),
            prices.Group(what="clients", n_hosts=20, types=["t3.micro", "c5.large"]),
        ],
        **{"region": "us-east-1", "life_s": 7200, "max_usd": 10, "max_instances": 50, **more},
    )


def test_an_estimate_counts_the_dearest_type_disks_and_addresses_for_the_whole_life() -> None:
    made = reckon()
    each = 0.005 + 10 * 0.08 / 730
    busy_t3 = 0.0104 + 2 * 0.05  # its credits cost more than it does, and than a c5.large
    assert made.usd_per_h == pytest.approx(0.216 + each + 20 * (busy_t3 + each))
    assert "20 clients of t3.micro, at full load" in made.lines[1]
    assert made.worst_usd == pytest.approx(2 * made.usd_per_h)
    assert made.over == ()
    assert "no bill" in made.lines[-1]
    assert reckon(region="sa-east-1").usd_per_h > 1.5 * made.usd_per_h


def test_an_estimate_says_what_traffic_between_zones_costs_and_counts_the_images_disks() -> None:
    assert "9 USD an hour at 1 Gbit/s" in " ".join(reckon().lines)
    assert "zone" not in " ".join(reckon(one_zone=True).lines)
    more = reckon(disk_gb=110).usd_per_h - reckon().usd_per_h
    assert more == pytest.approx(21 * 100 * 0.08 / 730)


@pytest.mark.parametrize(
    ("kind", "at_least"),  # USD an hour in us-east-1
    [("p5.48xlarge", 98.32), ("g6e.xlarge", 1.861), ("d2.xlarge", 0.69), ("x2iedn.xlarge", 0.834)],
)
def test_a_guess_is_no_lower_than_the_dear_families_are(kind: str, at_least: float) -> None:
    vcpus = {"p5.48xlarge": 192, "g6e.xlarge": 4, "d2.xlarge": 4, "x2iedn.xlarge": 4}
    groups = [prices.Group(what="clients", n_hosts=1, types=[kind])]
    made = prices.estimate(
        groups, region="us-east-1", life_s=3600, max_usd=1, max_instances=5, vcpus=vcpus
    )
    assert made.usd_per_h >= at_least


def test_an_estimate_names_every_cap_that_is_exceeded() -> None:
    over = reckon(max_usd=1, max_instances=20).over
    assert over == (
        "21 instances, max_instances is 20",
        f"{reckon().worst_usd:.2f} USD in the worst case, max_usd is 1",
    )


def test_a_type_that_is_not_in_the_table_is_guessed_and_said_to_be() -> None:
    made = prices.estimate(
        [prices.Group(what="clients", n_hosts=1, types=["x9.huge"])],
        region="us-east-1",
        life_s=3600,
        max_usd=10,
        max_instances=5,
        vcpus={"x9.huge": 64},
    )
    assert made.usd_per_h > 6
    assert "guessed" in made.lines[0]


def user_data(**more: object) -> str:
    chosen = {
        "authorized_key": "ssh-ed25519 AAAA",
        "host_key": KEY,
        "expires_utc": EXPIRES,
        "user": "root",
        **more,
    }
    return userdata.render(**chosen)  # type: ignore[arg-type]


KEY = make_ssh_key()


def test_user_data_is_the_same_to_the_byte_and_json_in_yamls_clothes() -> None:
    assert user_data() == user_data()
    head, _, body = user_data().partition("\n")
    assert head == "#cloud-config"
    assert json.loads(body)["ssh_keys"]["ed25519_private"] == KEY.private_openssh
    assert json.loads(body)["disable_root"] is False
    assert json.loads(user_data(user="admin").partition("\n")[2])["disable_root"] is True


def test_user_data_that_ec2_would_not_take_is_refused() -> None:
    with pytest.raises(LaunchRefusedError, match="16384"):
        user_data(authorized_key="x" * 16_384)


@pytest.mark.parametrize("script", [userdata.arm(EXPIRES), userdata.renewal(EXPIRES)])
def test_the_scripts_for_hosts_are_posix_shell(script: str) -> None:
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_a_host_keeps_a_moment_that_was_moved_but_takes_none_of_the_host_its_image_was_made_of(
    tmp_path: Path,
) -> None:
    (tmp_path / "systemd-run").write_text("#!/bin/sh\n")
    (tmp_path / "systemd-run").chmod(0o755)
    own = tmp_path / "etc"
    script = userdata.arm(EXPIRES).replace("/etc/perfkit", str(own))
    path = f"{tmp_path}:/usr/bin:/bin"
    expires = own / Path(userdata.EXPIRES_PATH).name

    def boot(instance: str) -> str:
        environment = {"PATH": path, "INSTANCE_ID": instance}
        subprocess.run(["sh", "-ec", script], env=environment, check=True, timeout=60)
        return expires.read_text()

    planned = f"{EXPIRES.timestamp():.0f}\n"
    assert boot("i-1") == planned
    expires.write_text("9999999999\n")  # as a renewal writes it
    assert boot("i-1") == "9999999999\n"
    assert boot("i-2") == planned


def test_patience_ends_at_its_deadline_and_its_pauses_grow() -> None:
    now = [0.0]
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        now[0] += pause_s

    retry = RetryPolicy(clock=lambda: now[0], sleep=sleep, chance=lambda: 1.0)
    assert list(retry.attempts(10, first_s=1, longest_s=4)) == [0, 1, 2, 3]
    assert pauses == [1, 2, 4]
    assert list(retry.attempts(0)) == [0]


def test_the_ladder_tries_every_zone_with_the_best_type_first() -> None:
    subnets = [Subnet(id=f"subnet-{z}", zone=z, vpc="vpc") for z in "ab"]
    offered = {("big", "a"), ("big", "b"), ("small", "b")}
    rungs = ladder(["big", "small"], subnets, offered)
    assert [(pool.type, pool.zone) for pool in rungs] == [
        ("big", "a"),
        ("big", "b"),
        ("small", "b"),
    ]


def test_an_empty_pool_rests_for_a_minute() -> None:
    now = [0.0]
    rest = Cooldown(clock=lambda: now[0])
    pools = [Pool(type="t", zone=zone, subnet=zone) for zone in "ab"]
    rest.begin(pools[0], "InsufficientInstanceCapacity")
    assert rest.awake(pools) == pools[1:]
    assert rest.reasons(pools) == [
        f"{pools[0]}: InsufficientInstanceCapacity (within the last 60 s)"
    ]
    now[0] = 59.9
    assert rest.awake(pools) == pools[1:]
    now[0] = 60.0
    assert rest.awake(pools) == pools
    assert rest.reasons(pools) == []


def statements() -> list[dict[str, Any]]:
    """Of the policy; every `Action` and `Resource` a list."""

    def listed(value: str | list[str]) -> list[str]:
        return [value] if isinstance(value, str) else value

    policy = json.loads((Path(ec2.__file__).parent / "policy.json").read_text())
    return [
        {**it, "Action": listed(it["Action"]), "Resource": listed(it["Resource"])}
        for it in policy["Statement"]
    ]


def test_the_policy_lets_nothing_be_ended_that_is_not_ours() -> None:
    for statement in statements():
        actions = statement["Action"]
        acts = ("Terminate", "Stop", "Delete", "Deregister", "Modify")
        ends = [action for action in actions if action.split(":")[1].startswith(acts)]
        if ends:
            assert "aws:ResourceTag/perfkit:managed" in str(statement["Condition"])
        assert not [action for action in actions if "*" in action]
        assert "iam:PassRole" not in actions


MADE = {
    "ec2:RunInstances": ("instance", "volume", "network-interface", "spot-instances-request"),
    "ec2:CreateFleet": ("fleet", "instance", "volume", "network-interface"),
    "ec2:CreateLaunchTemplate": ("launch-template",),
    "ec2:CreatePlacementGroup": ("placement-group",),
    "ec2:CreateSecurityGroup": ("security-group",),
    "ec2:ImportKeyPair": ("key-pair",),
}


@pytest.mark.parametrize("kind", ["image", "snapshot"])
def test_the_policy_lets_no_image_be_baked_without_a_tag_nor_of_a_strangers_host(kind: str) -> None:
    bakes = [it for it in statements() if "ec2:CreateImage" in it["Action"]]
    of_kind = [it for it in bakes if f"arn:aws:ec2:*::{kind}/*" in it["Resource"]]
    of_hosts = [it for it in bakes if "arn:aws:ec2:*:*:instance/*" in it["Resource"]]
    assert len(of_kind) == len(of_hosts) == 1
    assert of_kind != of_hosts
    assert "aws:RequestTag/perfkit:managed" in str(of_kind[0]["Condition"])
    assert "aws:ResourceTag/perfkit:managed" in str(of_hosts[0]["Condition"])


@pytest.mark.parametrize(
    ("action", "kind"), [(action, kind) for action, kinds in MADE.items() for kind in kinds]
)
def test_the_policy_lets_nothing_be_made_without_a_tag(action: str, kind: str) -> None:
    allowing = [
        statement
        for statement in statements()
        if action in statement["Action"] and f"arn:aws:ec2:*:*:{kind}/*" in statement["Resource"]
    ]
    assert allowing
    for statement in allowing:
        assert "aws:RequestTag/perfkit:managed" in str(statement.get("Condition"))


PREFIX_OF = {"ec2": "ec2", "sts": "sts", "ssm": "ssm", "service-quotas": "servicequotas"}
# EC2 does it in our name, when an account asks for spot hosts for the first time.
NOT_CALLED = {"iam:CreateServiceLinkedRole"}


def called() -> set[str]:
    """Every action that the package asks AWS for: methods of clients, and names of listings."""
    names = set[str]()
    for path in Path(ec2.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr.replace("_", ""))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value.lower())
    session = botocore.session.get_session()
    return {
        f"{prefix}:{operation}"
        for service, prefix in PREFIX_OF.items()
        for operation in session.get_service_model(service).operation_names
        if operation.lower() in names
    }


def test_the_policy_allows_what_is_called_and_no_more() -> None:
    allowed = {action for statement in statements() for action in statement["Action"]}
    assert allowed - NOT_CALLED == called()


def test_expiry_in_tags_is_in_whole_seconds() -> None:
    moment = EXPIRES + timedelta(milliseconds=400)
    assert tags.run_tags("r", "o", moment, {})[tags.EXPIRES] == f"{EXPIRES.timestamp():.0f}"
