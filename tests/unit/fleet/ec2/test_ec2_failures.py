"""Every error of EC2 and of boto3 has one meaning here, and throttling is never lack of capacity."""

from __future__ import annotations

import inspect
import pickle
import string
from typing import Any

import botocore.exceptions
import botocore.parsers
import pytest

from perfkit.errors import PerfkitError, ProviderError
from perfkit.fleet.ec2.client import FOREIGN, translated
from perfkit.fleet.ec2.failures import ApiError, Failure, classify, classify_all


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InsufficientInstanceCapacity", 500, Failure.CAPACITY),
        ("UnfulfillableCapacity", 200, Failure.CAPACITY),
        ("SpotMaxPriceTooLow", 400, Failure.CAPACITY),
        ("Unsupported", 400, Failure.CAPACITY),
        ("InsufficientFreeAddressesInSubnet", 400, Failure.CAPACITY),
        ("InsufficientReservedInstanceCapacity", 400, Failure.CAPACITY),
        ("ResourceCountLimitExceeded", 400, Failure.QUOTA),
        ("VcpuLimitExceeded", 400, Failure.QUOTA),
        ("MaxSpotInstanceCountExceeded", 400, Failure.QUOTA),
        ("RequestLimitExceeded", 503, Failure.THROTTLED),
        ("Unavailable", 503, Failure.THROTTLED),
        ("SomethingNew", 503, Failure.THROTTLED),
        ("InternalError", 500, Failure.UNKNOWN),
        ("SomethingNew", 500, Failure.UNKNOWN),
        ("InvalidInstanceID.NotFound", 400, Failure.NOT_FOUND),
        ("InvalidAMIID.NotFound", 400, Failure.NOT_FOUND),
        ("IdempotentParameterMismatch", 400, Failure.MISMATCH),
        ("IdempotentInstanceTerminated", 400, Failure.ENDED),
        ("InvalidKeyPair.Duplicate", 400, Failure.DUPLICATE),
        ("DependencyViolation", 400, Failure.BUSY),
        ("VolumeInUse", 400, Failure.BUSY),
        ("DryRunOperation", 412, Failure.DRY_RUN),
        ("UnauthorizedOperation", 403, Failure.REFUSED),
        ("PendingVerification", 400, Failure.REFUSED),
        ("OptInRequired", 401, Failure.REFUSED),
        ("InvalidParameterValue", 400, Failure.REFUSED),
        ("SomethingNew", 400, Failure.REFUSED),
    ],
)
def test_a_code_means_one_thing(code: str, status: int, kind: Failure) -> None:
    assert classify(code, status) is kind


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (["InsufficientInstanceCapacity"] * 3, Failure.CAPACITY),
        (["InsufficientInstanceCapacity", "RequestLimitExceeded"], Failure.THROTTLED),
        (["UnauthorizedOperation", "InsufficientInstanceCapacity"], Failure.CAPACITY),
        (["InvalidGroup.NotFound", "InsufficientInstanceCapacity"], Failure.NOT_FOUND),
        (["VcpuLimitExceeded"], Failure.QUOTA),
        (["UnauthorizedOperation"], Failure.REFUSED),
        ([], Failure.REFUSED),
    ],
)
def test_the_errors_of_a_fleet_are_read_together(codes: list[str], kind: Failure) -> None:
    assert classify_all(codes) is kind


def specimen(kind: type[Exception]) -> Exception:
    """An exception of botocore, whatever its message wants."""
    if issubclass(kind, botocore.exceptions.ClientError):
        return kind({"Error": {"Code": "X", "Message": "m"}}, "op")  # type: ignore[call-arg]
    fields = [name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name]
    arguments: dict[str, Any] = dict.fromkeys((*fields, "error"), "x")
    try:
        return kind(**arguments)
    except TypeError:
        return kind("x")


EVERY = {
    kind
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(kind, FOREIGN)
} | {botocore.parsers.ResponseParserError}


@pytest.mark.parametrize(
    "kind", sorted(EVERY, key=lambda it: it.__name__), ids=lambda k: k.__name__
)
def test_every_error_of_botocore_becomes_one_of_ours(kind: type[Exception]) -> None:
    if kind is botocore.exceptions.WaiterError:
        error: Exception = kind("name", "reason", {"Error": {}})  # type: ignore[call-arg]
    else:
        error = specimen(kind)
    with pytest.raises(PerfkitError) as raised, translated("RunInstances"):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.ReadTimeoutError(endpoint_url="x"),
        botocore.exceptions.ConnectTimeoutError(endpoint_url="x", error="x"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="x"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="x", error="x"),
        botocore.parsers.ResponseParserError("cut off"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_is_an_unknown_outcome(error: Exception) -> None:
    with pytest.raises(ApiError) as raised, translated("RunInstances"):
        raise error
    assert raised.value.kind is Failure.UNKNOWN


def test_missing_credentials_say_what_to_run() -> None:
    with pytest.raises(ProviderError, match="aws configure"), translated("x"):
        raise botocore.exceptions.NoCredentialsError


def test_an_api_error_survives_a_pickle() -> None:
    error = ApiError("RunInstances", "X", Failure.QUOTA, "too many")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.kind) == (str(error), Failure.QUOTA)
