"""Every request of a run's life is one that EC2's own description allows; moto takes far more.

botocore checks names and types before it sends, but neither words nor which things a call can tag:
those are read from its description of EC2, and from the documentation where that has no field for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ListShape, OperationModel, Shape, StringShape, StructureShape
from ec2_cloud import Cloud

from perfkit.fleet.ec2.provider import Ec2Provider
from perfkit.testing.provider_runs import ProviderRun

Sent = list[tuple[str, Mapping[str, Any], OperationModel]]

# What the documentation of `TagSpecifications` of each says; for an instant fleet.
TAGGED_BY = {
    "RunInstances": {"instance", "volume", "network-interface", "spot-instances-request"},
    "CreateFleet": {"fleet", "instance", "volume", "network-interface"},
    "CreateLaunchTemplate": {"launch-template"},
    "CreatePlacementGroup": {"placement-group"},
    "CreateSecurityGroup": {"security-group"},
    "ImportKeyPair": {"key-pair"},
}
IN_A_TEMPLATE = {"instance", "volume", "network-interface", "spot-instances-request"}
TAGS_OF_A_THING, TAG_KEY, TAG_VALUE, TOKEN = 50, 128, 256, 64


def life(provider: Ec2Provider, run: ProviderRun) -> Sent:
    """All requests of a run: preflight, launch, renewal, release."""
    sent: Sent = []

    def keep(params: Mapping[str, Any], model: OperationModel, **_: object) -> None:
        sent.append((model.name, dict(params), model))

    for client in (provider.home.reader, provider.home.launcher):
        client.meta.events.register("provide-client-params.ec2", keep)
    provider.preflight(3)
    provider.launch(run.request("server", "client-001", "client-002"))
    provider.renew(run.run_id, datetime.now(UTC) + timedelta(hours=3))
    assert provider.release(run.run_id).leaked == ()
    return sent


@pytest.mark.parametrize("market", ["on-demand", "spot"])
@pytest.mark.parametrize("pools", ["ladder", "mixed"])
@pytest.mark.parametrize("types", ["t3.micro, t3.small", "c5.large, c5a.large"])
def test_a_runs_requests_keep_to_ec2s_description(
    cloud: Cloud, tmp_path: Path, market: str, pools: str, types: str
) -> None:
    more = {f"a tag {number}": "x" for number in range(20)}  # as many as ec2.conf takes
    cloud.write_conf(
        market=market,
        pools=pools,
        types=types,
        address="private",
        tags=", ".join(f"{key}={value}" for key, value in more.items()),
    )
    sent = life(cloud.provider(), ProviderRun(tmp_path))
    assert {"RunInstances" if pools == "ladder" else "CreateFleet", "CreateTags"} <= {
        name for name, _, _ in sent
    }
    for name, params, model in sent:
        assert list(_wrong(model.input_shape, params, name)) == []
        assert len(params.get("ClientToken", "")) <= TOKEN
        kinds = {spec["ResourceType"] for spec in params.get("TagSpecifications", [])}
        assert kinds <= TAGGED_BY.get(name, set())
        for spec in params.get("TagSpecifications", []):
            _assert_takeable(spec["Tags"])
        if name == "RunInstances":
            spot = params.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
            assert ("spot-instances-request" in kinds) == spot
        for spec in params.get("LaunchTemplateData", {}).get("TagSpecifications", []):
            assert spec["ResourceType"] in IN_A_TEMPLATE
            _assert_takeable(spec["Tags"])


def _assert_takeable(labels: list[Mapping[str, str]]) -> None:
    keys = [label["Key"] for label in labels]
    assert len(keys) == len(set(keys)) <= TAGS_OF_A_THING
    assert all(0 < len(key) <= TAG_KEY and not key.lower().startswith("aws:") for key in keys)
    assert all(len(label["Value"]) <= TAG_VALUE for label in labels)


def _wrong(shape: Shape | None, value: Any, path: str) -> Iterator[str]:
    """Words that are not in an enumeration, and lengths and numbers out of bounds."""
    bounds = shape.metadata if shape else {}
    size = len(value) if isinstance(value, str | list | Mapping) else value
    counts = isinstance(size, int | float) and not isinstance(size, bool)
    if counts and not bounds.get("min", size) <= size <= bounds.get("max", size):
        yield f"{path}: {size} is out of bounds"
    if isinstance(shape, StructureShape):
        for key, inner in value.items():
            yield from _wrong(shape.members[key], inner, f"{path}.{key}")
    elif isinstance(shape, ListShape):
        for inner in value:
            yield from _wrong(shape.member, inner, path)
    elif isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"{path}: {value} is no word of EC2's"
