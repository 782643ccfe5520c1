"""The image that hosts start from: found by what ec2.conf says, and refused where hosts of it cannot work.

What is refused is known from the image's own words, before anything is launched: the recipes need
iperf 2 and the VPN's programs from the packages of the host's own distribution. Debian and Ubuntu
have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfkit.errors import ConfigError
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError
from perfkit.fleet.ec2.prices import DISK_GB

_REMEDY = (
    "take Debian or Ubuntu, as `image = name:debian-12-amd64-*` with `image_owner = 136693071363`"
)
_NO_PACKAGES = "its packages have neither iperf 2 nor OpenVPN, which the recipes install"
_EXTRA = "it has iperf 2 and OpenVPN in a repository only that has to be added first (EPEL)"
_NO_MANAGER = "the recipes install with apt, which it does not have"
# What an image is, by its words (name, description, location, parameter) or by what EC2 bills it as.
_REFUSED = tuple(
    (re.compile(pattern, re.IGNORECASE), what, why)
    for pattern, what, why in (
        (r"\bwindows(\b|_)", "Windows", "hosts must run Linux"),
        (r"\bmacos\b", "macOS", "hosts must run Linux"),
        (r"\b(al2023|amazon[ _-]?linux[ _-]?2023)", "Amazon Linux 2023", _NO_PACKAGES),
        (r"\b(amzn2?-|al2-|amazon[ _-]?linux|amazon-eks-node)", "Amazon Linux", _NO_PACKAGES),
        (r"\bbottlerocket\b", "Bottlerocket", _NO_MANAGER),
        (r"\b(suse\b|sles-|opensuse)", "SUSE Linux", _NO_MANAGER),
        (r"\b(rhel-|red hat)", "Red Hat Enterprise Linux", _EXTRA),
        (r"\b(centos|almalinux|rocky-|ol[89]\.)", "a rebuild of Red Hat Enterprise Linux", _EXTRA),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image that hosts start from; `disks` has the size in GB of each, by device."""

    id: str
    architecture: str
    disks: Mapping[str, int]
    name: str


def find_image(region: Region, conf: Ec2Conf) -> Image:
    """The image by its id, by a public SSM parameter, or the newest whose name fits a pattern.

    Raises:
        ConfigError: there is none, or hosts of it cannot be configured.
    """
    _require_usable(conf, {})  # by its parameter: that need not be asked for
    try:
        found = list(region.pages("DescribeImages", "Images", **_which_image(region, conf)))
    except ApiError as exc:
        if not exc.code.startswith(("InvalidAMIID", "ParameterNotFound")):
            raise
        found = []
    if not found:
        raise _wrong(conf.image, f"no such image in {region.name}", "images differ by region")
    newest = max(found, key=lambda entry: str(entry.get("CreationDate", "")))
    _require_usable(conf, newest)
    root = str(newest.get("RootDeviceName") or "/dev/xvda")
    disks = {
        str(disk["DeviceName"]): int(disk["Ebs"].get("VolumeSize") or DISK_GB)
        for disk in newest.get("BlockDeviceMappings", [])
        if "Ebs" in disk
    }
    return Image(
        id=str(newest["ImageId"]),
        architecture=str(newest.get("Architecture", "")),
        disks={root: DISK_GB, **disks},
        name=str(newest.get("Name", "")),
    )


def _which_image(region: Region, conf: Ec2Conf) -> dict[str, Any]:
    """What DescribeImages is asked for."""
    kind, _, rest = conf.image.partition(":")
    if kind == "ssm":
        return {"ImageIds": [region.parameter(rest)]}
    if kind != "name":
        return {"ImageIds": [conf.image]}
    if not conf.image_owner:
        raise ConfigError(
            "ec2.conf [ec2]",
            "image_owner",
            "",
            "anybody may call an image like that",
            "say whose: an account's number, amazon or self (Debian is 136693071363)",
        )
    filters = [{"Name": "name", "Values": [rest]}, {"Name": "state", "Values": ["available"]}]
    return {"Owners": [conf.image_owner], "Filters": filters}


def _require_usable(conf: Ec2Conf, entry: Mapping[str, Any]) -> None:
    """Refuse an image of a system that hosts cannot be configured on.

    Args:
        entry: Of DescribeImages; empty: only the words of ec2.conf count.

    Raises:
        ConfigError: with the system's name and what to take instead.
    """
    said = [str(entry.get(key) or "") for key in ("Name", "Description", "ImageLocation")]
    billed = str(entry.get("PlatformDetails") or "")  # Linux/UNIX, Windows, SUSE Linux, …
    platform = str(entry.get("Platform") or "")  # `windows`, or not there
    for pattern, what, why in _REFUSED:
        if any(pattern.search(words) for words in (conf.image, *said, billed, platform)):
            image = f"{entry['ImageId']} ({said[0]}) is" if entry else "that is"
            raise _wrong(conf.image, f"{image} {what}: {why}", _REMEDY)


def _wrong(value: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("ec2.conf [ec2]", "image", value, problem, remedy)
