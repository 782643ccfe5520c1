"""An image on which hosts cannot be configured is refused by its system's name, before a launch."""

from __future__ import annotations

import pytest
from ec2_cloud import Cloud

from perfkit.errors import ConfigError

AL2023 = "al2023-ami-2023.8.20250808.1-kernel-6.1-x86_64"


def refused(cloud: Cloud, **keys: str) -> str:
    """What the preflight says of an image that it does not take; nothing was tried or made."""
    cloud.write_conf(**keys)
    with pytest.raises(ConfigError) as caught:
        cloud.provider().preflight(2)
    looks = ("Describe", "Get")
    assert [r.action for r in cloud.aws.requests if not r.action.startswith(looks)] == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "said", "system"),
    [
        (AL2023, {}, "Amazon Linux 2023"),
        ("ours", {"description": "Amazon Linux 2023 AMI 2023.8 x86_64 HVM"}, "Amazon Linux 2023"),
        ("[Copied ami-0abc from us-east-1] " + AL2023, {}, "Amazon Linux 2023"),
        ("amazon-eks-node-al2023-x86_64-standard-1.31-v2025", {}, "Amazon Linux 2023"),
        ("ours", {"image_location": f"amazon/{AL2023}"}, "Amazon Linux 2023"),
        ("amzn2-ami-hvm-2.0.20250804.1-x86_64-gp2", {}, "Amazon Linux"),
        ("Deep Learning AMI (Amazon Linux 2) Version 61.0", {}, "Amazon Linux"),
        ("amzn-ami-hvm-2018.03.0.20230404-x86_64-gp2", {}, "Amazon Linux"),
        ("Windows_Server-2022-English-Full-Base-2025.08.13", {}, "Windows"),
        ("ours", {"platform": "windows"}, "Windows"),
        ("amzn-ec2-macos-14.7-20250101-arm64", {}, "macOS"),
        ("bottlerocket-aws-k8s-1.31-x86_64-v1.40.0", {}, "Bottlerocket"),
        ("suse-sles-15-sp6-v20250801-hvm-ssd-x86_64", {}, "SUSE Linux"),
        ("RHEL-9.4.0_HVM-20250101-x86_64-0-Hourly2-GP3", {}, "Red Hat Enterprise Linux"),
        ("Rocky-9-EC2-Base-9.4-20240523.0.x86_64", {}, "a rebuild of Red Hat"),
    ],
)
def test_an_image_of_a_system_without_the_packages_is_refused_by_name(
    cloud: Cloud, name: str, said: dict[str, str], system: str
) -> None:
    image = cloud.aws.add_image(name, **said)
    text = refused(cloud, image=image)
    assert f"{image} ({name}) is {system}" in text
    assert "take Debian or Ubuntu" in text


def test_what_ec2_bills_an_image_as_tells_its_system_too(cloud: Cloud) -> None:
    image = cloud.aws.add_image("ours", platform_details="SUSE Linux")
    assert "is SUSE Linux" in refused(cloud, image=image)


@pytest.mark.parametrize(
    ("parameter", "system"),
    [
        ("ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", "Amazon Linux 2023"),
        ("ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2", "Amazon Linux"),
        ("ami-windows-latest/Windows_Server-2022-English-Full-Base", "Windows"),
        ("bottlerocket/aws-ecs-2/x86_64/latest/image_id", "Bottlerocket"),
        ("suse/sles/15-sp6/x86_64/latest", "SUSE Linux"),
    ],
)
def test_a_public_parameter_of_such_a_system_is_refused_without_asking_for_it(
    cloud: Cloud, parameter: str, system: str
) -> None:
    assert f"that is {system}" in refused(cloud, image=f"ssm:/aws/service/{parameter}")


@pytest.mark.parametrize(
    "name",
    [
        "debian-12-amd64-20260101-1234",
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250801",
        "ubuntu-eks/k8s_1.31/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server",
        "wal2023-lab",
    ],
)
def test_debian_ubuntu_and_names_that_only_look_alike_are_taken(cloud: Cloud, name: str) -> None:
    image = cloud.aws.add_image(name, description=name, platform_details="Linux/UNIX")
    cloud.write_conf(image=image)
    assert cloud.provider().survey().image.name == name
