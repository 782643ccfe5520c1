"""One HTTP server for all tests here; each gets an empty EC2 behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_shim import AwsShim
from ec2_cloud import Cloud, ec2_cloud


@pytest.fixture(scope="session")
def aws() -> Iterator[AwsShim]:
    with AwsShim() as shim:
        yield shim


@pytest.fixture
def cloud(aws: AwsShim, tmp_path: Path) -> Iterator[Cloud]:
    with ec2_cloud(tmp_path, aws=aws) as empty:
        yield empty
