"""S5: what a run opens at EC2 is what it needs, and what it sends there holds no secret.

Fleets of every kind are launched and released, and one more, of real hosts, goes as far as its VPN, so
that all keys of a run exist. Then every request that was sent is looked through: the rules of the
security group, what each instance may do and is tagged with, and whether any secret is in it, also in
base64. The one private key that may be there is the temporary host key in a batch's user data.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from random import Random
from unittest.mock import patch

from aws_shim import Request
from canary import CANARIES
from ec2_cloud import CONTROLLER, ec2_cloud
from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.campaign.session import Session
from perfkit.fleet.ec2 import client, tags
from perfkit.ssh.keys import make_ssh_key
from perfkit.testing.provider_runs import ProviderRun

from .experiment import Experiment, Outcome

SECRETS_OF_THE_ENVIRONMENT = {**CANARIES, "AWS_SESSION_TOKEN": "FwoCANARYsessionTOKENcanary0006"}
# What may be asked for besides listings, and the kinds of things that are tagged as they are made.
MAKING = {
    "CreateFleet": ("fleet", "instance"),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    "RunInstances": ("instance", "volume", "network-interface"),
}
CHANGING = {"AuthorizeSecurityGroupIngress", "CreateTags", "TerminateInstances", "DeleteFleets"}
CHANGING |= {f"Delete{kind}" for kind in ("KeyPair", "LaunchTemplate", "SecurityGroup", "Volume")}
CHANGING |= {"CancelSpotInstanceRequests", "DeleteNetworkInterface"}
OWN_TAGS = {tags.MANAGED, tags.RUN, tags.OWNER, tags.EXPIRES}
SHORTEST = 16  # characters in which a text or a secret is told from chance
PRIVATE_KEY = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY")
LAUNCH = {
    "MetadataOptions.HttpTokens": "required",
    "MetadataOptions.HttpPutResponseHopLimit": "1",
    "InstanceInitiatedShutdownBehavior": "terminate",
}
# A dry run makes nothing that these could be about.
REAL_LAUNCH = {
    "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
    "NetworkInterface.1.DeleteOnTermination": "true",
}


@dataclass
class Sent:
    """The requests of one fleet, and what must be true of them."""

    requests: list[Request]
    controller: str
    spot: bool
    secrets: list[str]
    groups: set[str]
    seen: Counter[str] = field(default_factory=Counter)

    def wrong(self) -> Iterator[str]:
        """Each thing that is open, missing or told, in words."""
        needles = _needles(self.secrets)
        for request in self.requests:
            texts = list(_texts(request.params.values()))
            told = [word for word in needles if any(word in text for text in texts)]
            yield from (f"{request.action}: a secret is in it" for _ in told)
            if any(world in text for world in ("0.0.0.0/0", "::/0") for text in texts):
                yield f"{request.action}: the whole world is in it"
            yield from (f"{request.action}: {what}" for what in self._about(request, texts))

    def _about(self, request: Request, texts: list[str]) -> Iterator[str]:
        action = request.action
        if not action.startswith(("Describe", "Get")) and action not in CHANGING | MAKING.keys():
            yield "is none of perfkit's requests"
        if action == "AuthorizeSecurityGroupIngress":
            yield from self._rule(request)
        if action in ("RunInstances", "CreateLaunchTemplate"):
            yield from self._launch(request, texts)
        elif any(PRIVATE_KEY.search(text) for text in texts):
            yield "a private key is in it"
        if action == "CreateTags" and {
            request.params[k] for k in request.params if ".Key" in k
        } != {tags.HOST}:
            yield "tags what should have had its tags"
        kinds = [*MAKING.get(action, ())]
        if any("InstanceMarketOptions" in key for key in request.params):
            kinds.append("spot-instances-request")
        yield from self._tags(request, kinds)

    def _rule(self, request: Request) -> Iterator[str]:
        own = {"IpProtocol": "-1", "Groups.1.GroupId": request.params["GroupId"]}
        ssh = {
            "IpProtocol": "tcp",
            "FromPort": "22",
            "ToPort": "22",
            "IpRanges.1.CidrIp": self.controller,
        }
        rule = {
            key.removeprefix("IpPermissions.1."): value
            for key, value in request.params.items()
            if key not in ("Action", "Version", "GroupId") and not key.endswith("Description")
        }
        self.seen["rules"] += 1
        if rule not in (own, ssh):
            yield f"is neither of the two rules: {rule}"

    def _launch(self, request: Request, texts: list[str]) -> Iterator[str]:
        prefix = "LaunchTemplateData." if request.action == "CreateLaunchTemplate" else ""
        params = {
            key.removeprefix(prefix): value
            for key, value in request.params.items()
            if key.startswith(prefix)
        }
        dry = "DryRun" in request.params
        yield from (
            f"{key} is {params.get(key)}, not {value}"
            for key, value in (LAUNCH if dry else {**LAUNCH, **REAL_LAUNCH}).items()
            if params.get(key) != value
        )
        if any("IamInstanceProfile" in key for key in request.params):
            yield "an instance profile is in it"
        user_data = [text for text in texts if text.startswith("#cloud-config")]
        keys = [len(PRIVATE_KEY.findall(text)) for text in user_data]
        if keys != [1] and not (dry and prefix and not user_data):
            yield f"{keys} private keys in its user data"
        if dry:
            return
        self.seen["launches"] += 1
        config = json.loads(user_data[0].partition("\n")[2])
        key = config["ssh_keys"]["ed25519_private"]  # the search is tried with what is there
        self.seen["temporary keys"] += all(
            any(word in text for text in texts) for word in _needles([key])
        )
        groups = {v for k, v in params.items() if "SecurityGroup" in k}
        if groups - self.groups or not groups:
            yield f"is in the groups {groups}"
        if prefix:
            # Those of instances are in the CreateFleet that uses it: EC2 takes them once.
            kinds = {*MAKING["RunInstances"], *(["spot-instances-request"] if self.spot else [])}
            kinds -= set(MAKING["CreateFleet"])
            yield from self._tags(replace(request, params=params), sorted(kinds))

    def _tags(self, request: Request, kinds: Iterable[str]) -> Iterator[str]:
        for kind in kinds:
            self.seen["things"] += 1
            if missing := OWN_TAGS - request.tags(kind).keys():
                yield f"a {kind} is made without {', '.join(sorted(missing))}"


def run(n: int, seed: int) -> Outcome:
    chance, seen, wrong = Random(seed), Counter[str](), Counter[str]()
    with patch.dict(os.environ), tempfile.TemporaryDirectory(prefix="exposure-") as name:
        folder = Path(name)
        # private: the cache of a process, as if another one began
        client._session.cache_clear()  # it would keep the credentials of before
        sent = [_launched(folder, chance) for _ in range(n)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            sent.append(_configured(folder / "campaign"))
        # private: the cache of a process, as if another one began
        client._session.cache_clear()
    for one in sent:
        wrong.update(one.wrong())
        seen += one.seen
        seen["requests"] += len(one.requests)
        seen["secrets"] += len(one.secrets)
    return Outcome(
        result=f"{n} fleets and a campaign, {seen['requests']} requests: {wrong.total()} wrong "
        f"{dict(wrong)}; {seen['rules']} rules, {seen['launches']} launches, {seen['things']} kinds "
        f"of things tagged; {seen['secrets']} secrets looked for, and as a trial the temporary key, "
        f"found in {seen['temporary keys']} user data",
        ok=not wrong and seen["temporary keys"] == seen["launches"] >= n,
    )


def _launched(folder: Path, chance: Random) -> Sent:
    """A fleet of some kind is made in two batches, and released."""
    spot = chance.random() < 0.5
    address = f"198.51.{chance.randrange(256)}.{chance.randrange(256)}"
    network = ip_network(f"{address}/{chance.randint(24, 32)}", strict=False)
    chosen = {
        "market": "spot" if spot else "on-demand",
        "pools": chance.choice(("ladder", "mixed")),
        "types": "t3.micro, t3.small",
        "controller": network,
        "address": "private",
        "user": chance.choice(("root", "admin")),
    }
    with ec2_cloud(folder, **chosen) as cloud:
        os.environ.update(SECRETS_OF_THE_ENVIRONMENT)
        run = ProviderRun(folder)
        clients = [f"client-{k:03d}" for k in range(1, chance.randint(2, 12))]
        requests = [run.request("server", token="one"), run.request(*clients, token="two")]
        provider = cloud.provider()
        provider.preflight(len(clients) + 1)
        for request in requests:
            provider.launch(request)
        groups = _groups(cloud.aws.requests)
        provider.release(run.run_id)
        secrets = [run.key_path.read_text(), *SECRETS_OF_THE_ENVIRONMENT.values()]
        secrets += [host.host_key_private for request in requests for host in request.hosts]
        return Sent([*cloud.aws.requests], str(network), spot, secrets, groups)


def _configured(folder: Path) -> Sent:
    """A campaign of real hosts, up to its tunnels: by then every key of a run exists."""
    copy_project(folder, "config", "resources")
    with ec2_cloud(folder / "config", real_hosts=True) as cloud:
        os.environ.update(SECRETS_OF_THE_ENVIRONMENT, PERFKIT_HOME=str(folder))
        with phases.start(provider="ec2", clients=1, duration_s=1, name="exposed") as session:
            try:
                phases.launch(session, wait=True)
                phases.configure(session)
                secrets = _secrets_of(session)
            finally:
                phases.release(session)
        secrets += SECRETS_OF_THE_ENVIRONMENT.values()
        return Sent([*cloud.aws.requests], CONTROLLER, False, secrets, _groups(cloud.aws.requests))


def _secrets_of(session: Session) -> list[str]:
    """The run's key, the keys that its hosts show, and those of its VPN and its members."""
    kept = [session.run.keys_dir / name for name in ("id_ed25519", "ca.key", "tls-crypt.key")]
    members = [*session.run.root.glob("hosts/*/bundle/vpn/*.key")]
    hosts = [host.name for host in session.inventory.hosts()]
    assert len(hosts) == 2
    assert len(members) >= len(hosts)
    shown = [session.host_key(name).private_openssh for name in hosts]
    return [path.read_text() for path in (*kept, *members)] + shown


def _groups(requests: Iterable[Request]) -> set[str]:
    """The security groups that were given rules, each to itself."""
    return {r.params["GroupId"] for r in requests if r.action == "AuthorizeSecurityGroupIngress"}


def _needles(secrets: Iterable[str]) -> set[str]:
    """The lines of secrets, without those that any key of the same kind begins and ends with."""
    lines = {line.strip() for text in secrets for line in text.splitlines()}
    usual = set(make_ssh_key().private_openssh.splitlines())
    return {line for line in lines - usual if len(line) >= SHORTEST and "-----" not in line}


def _texts(values: Iterable[str]) -> list[str]:
    """Values as they are, and what they are in base64, in base64 of that, and so on."""
    found = [*values]
    for text in found:  # it grows meanwhile
        with contextlib.suppress(binascii.Error, UnicodeError):
            if len(text) >= SHORTEST:
                found.append(base64.b64decode(text, validate=True).decode())
    return found


EXPERIMENT = Experiment(
    key="S5",
    promise="what is opened at EC2 is what a run needs, and no secret is sent there",
    bound="0 rules but SSH from the controller and all within the group; IMDSv2, no instance "
    "profile, terminate on shutdown, tags at creation everywhere; 0 secrets in any request but the "
    "temporary host key",
    run=run,
    quick=3,
    full=50,
    root=True,
)
