"""One RunInstances call: what it says, and the token that makes saying it twice harmless.

The client token is a hash of all that distinguishes one wish from another. It is journalled before
the call, so a controller that was killed while waiting for the answer sends the very same call
again and gets the same instances. Type, zone and subnet are in it because EC2 keeps tokens by zone:
the same token in another zone would launch again. So is the generation, because a token whose
instances have ended is used up.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perfkit.fleet.ec2 import tags, userdata
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.describe import Watch
from perfkit.fleet.ec2.pools import Pool, ZoneChoice
from perfkit.fleet.provider import LaunchRequest
from perfkit.model import Role
from perfkit.ssh.keys import SshKey, derive_ssh_key

TAGGED_KINDS = ("instance", "volume", "network-interface")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResources:
    """What all calls of a run share.

    Attributes:
        disks: The image's, size in GB by device: each goes with its instance.
    """

    image: str
    disks: Mapping[str, int]
    group: str
    key: str
    tags: tags.Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One launch request with all that its calls need."""

    request: LaunchRequest
    resources: LaunchResources
    ladder: Mapping[Role, Sequence[Pool]]
    user_data: str
    watch: Watch
    zones: ZoneChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """So many hosts of one role from one pool."""

    batch: Batch
    role: Role
    names: tuple[str, ...]
    pool: Pool
    generation: int = 0

    @property
    def token(self) -> str:
        """The client token; see the module's text."""
        pool, group = self.pool, ["cluster"] if self.pool.cluster else []
        where = (pool.type, pool.zone, pool.subnet, *group, str(self.generation))
        digest = userdata.digest(self.batch.user_data)
        return client_token(self.batch.request, self.role, *where, digest, *self.names)

    def record(self) -> dict[str, Any]:
        """As journalled before it is sent; without the user data, which can be made again."""
        return {
            "call": self.token,
            "role": self.role.value,
            "names": list(self.names),
            "pool": asdict(self.pool),
            "generation": self.generation,
        }


def client_token(request: LaunchRequest, *distinguishing: str) -> str:
    """The hash of all that distinguishes one call of a batch from another; 64 characters."""
    words = [request.run_id, request.token, *distinguishing]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def from_record(batch: Batch, record: Mapping[str, Any]) -> Call:
    """The call that a journal remembers."""
    return Call(
        batch=batch,
        role=Role(record["role"]),
        names=tuple(record["names"]),
        pool=Pool(**record["pool"]),
        generation=int(record["generation"]),
    )


def batch_key(request: LaunchRequest) -> SshKey:
    """The temporary host key of a batch; the same after a crash, since the hosts' own keys are."""
    return derive_ssh_key(request.hosts[0].host_key_private, f"batch {request.token}")


def labels_of(batch: Batch, role: Role, names: Sequence[str] = ()) -> tags.Tags:
    """The tags of what a call for hosts of one role makes."""
    request = batch.request
    key = batch_key(request).public_openssh.strip()
    packed = request.packed if role is Role.CLIENT else None
    return {
        **batch.resources.tags,
        **tags.call_tags(request.token, role.value, names, key),
        **({tags.PACKED: f"{packed[0]} {packed[1]}"} if packed else {}),
    }


def user_data_for(request: LaunchRequest, conf: Ec2Conf) -> str:
    """The user data of a batch."""
    return userdata.render(
        authorized_key=request.authorized_key,
        host_key=batch_key(request),
        expires_utc=request.expires_utc,
        user=conf.user,
    )


def body(call: Call, conf: Ec2Conf) -> dict[str, Any]:
    """RunInstances' arguments.

    MinCount=1: some of the hosts are better than none, and which are missing is known.
    """
    resources, user_data = call.batch.resources, call.batch.user_data
    labels = labels_of(call.batch, call.role, call.names)
    return {
        **template(user_data, resources),
        "ImageId": resources.image,
        "InstanceType": call.pool.type,
        "MinCount": 1,
        "MaxCount": len(call.names),
        "ClientToken": call.token,
        "UserData": user_data,
        "NetworkInterfaces": [interface(resources, conf, call.pool.subnet)],
        **placement(call.batch.request.run_id, call.pool),
        "TagSpecifications": tags.specifications(labels, *tagged_kinds(conf)),
        **market(conf),
    }


def name_for(run_id: str) -> str:
    """Of the run's security group, key pair, placement group and launch templates."""
    return f"perfkit-{run_id}"


def placement(run_id: str, pool: Pool) -> dict[str, Any]:
    """What a launch says of the run's placement group; nothing where it is not in one."""
    return {"Placement": {"GroupName": name_for(run_id)}} if pool.cluster else {}


def market(conf: Ec2Conf) -> dict[str, Any]:
    """What RunInstances says of the market; nothing on demand."""
    return {"InstanceMarketOptions": _SPOT} if conf.market == "spot" else {}


def tagged_kinds(conf: Ec2Conf) -> tuple[str, ...]:
    """What a launch makes; EC2 refuses a tag for spot requests where there are none."""
    return (*TAGGED_KINDS, *(["spot-instances-request"] if conf.market == "spot" else []))


# One-time and terminate: a persistent request would launch again what a reap has ended.
_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
}
# Of every instance, and of what is only tried.
SAFEGUARDS: Mapping[str, Any] = {
    "InstanceInitiatedShutdownBehavior": "terminate",
    "MetadataOptions": {
        "HttpTokens": "required",  # IMDSv2
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    },
}


def template(user_data: str, resources: LaunchResources) -> dict[str, Any]:
    """What RunInstances and a launch template say alike; for the latter the text is base64.

    No instance profile: a host has no credentials that could leak.
    """
    disks = [
        {
            "DeviceName": device,
            "Ebs": {"DeleteOnTermination": True, "VolumeSize": size_gb, "VolumeType": "gp3"},
        }
        for device, size_gb in resources.disks.items()
    ]
    return {
        "KeyName": resources.key,
        "UserData": base64.b64encode(user_data.encode()).decode(),
        **SAFEGUARDS,
        "BlockDeviceMappings": disks,
    }


def interface(resources: LaunchResources, conf: Ec2Conf, subnet: str = "") -> dict[str, Any]:
    """The one network interface of a host; it goes with the host."""
    return {
        "DeviceIndex": 0,
        "Groups": [resources.group],
        "AssociatePublicIpAddress": conf.address == "public",
        "DeleteOnTermination": True,
        **({"SubnetId": subnet} if subnet else {}),
    }
