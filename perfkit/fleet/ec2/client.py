"""The calls to AWS; the only module that imports boto3 and botocore, whose errors end here.

Two clients a region. `launcher` sends a call once: botocore would send a launch again when EC2 says
that it has no capacity (an HTTP 500), and would hide that it did; who launches decides himself,
with the same client token. `reader` repeats what is safe to repeat. Both give up in time: attempts
times read timeout is how long a call may hang, so both are small.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers
import botocore.session

from perfkit.errors import ConfigError, ProviderError, did_you_mean
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError, Failure, classify

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
LAUNCH_READ_TIMEOUT_S = 60  # a large RunInstances takes its time
READ_ATTEMPTS = 5
CONNECTIONS = 32  # threads that may call at the same time

# Nobody knows whether the request was done, except where no connection came about at all; that is
# treated the same: sending it again with its token is right in both cases.
_NO_ANSWER = (
    botocore.exceptions.HTTPClientError,  # timeouts while reading, TLS, proxies
    botocore.exceptions.ConnectionError,
    botocore.parsers.ResponseParserError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ChecksumError,
)
_NEEDS_LOGIN = (botocore.exceptions.TokenRetrievalError, botocore.exceptions.SSOError)
_NO_CREDENTIALS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.InvalidConfigError,
)
FOREIGN = (
    botocore.exceptions.ClientError,
    botocore.exceptions.BotoCoreError,
    botocore.parsers.ResponseParserError,
)


@contextlib.contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what boto3 raises in the block into ours.

    Raises:
        ApiError: EC2 refused, failed, or did not answer; its `kind` says which.
        ProviderError: there are no credentials, or the request could not be made at all.
    """
    try:
        yield
    except botocore.exceptions.ClientError as exc:
        error: Any = exc.response.get("Error", {})
        status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        code = str(error.get("Code", "Unknown"))
        raise ApiError(
            operation, code, classify(code, status), str(error.get("Message", ""))
        ) from exc
    except _NEEDS_LOGIN as exc:
        raise ProviderError(
            f"AWS: the login of this profile has expired or was never made ({exc}); run `aws sso "
            "login`, with --profile where ec2.conf names one, and try again"
        ) from exc
    except _NO_CREDENTIALS as exc:
        raise ProviderError(
            f"AWS: no credentials that work ({exc}); run `aws configure` or `aws sso login`, set "
            "AWS_PROFILE or `profile` in ec2.conf; `aws sts get-caller-identity` shows who you are"
        ) from exc
    except _NO_ANSWER as exc:
        raise ApiError(operation, type(exc).__name__, Failure.UNKNOWN, str(exc)) from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise ProviderError(f"AWS: {operation} cannot be sent: {exc}") from exc


_sessions = threading.Lock()  # a session makes one client at a time


@lru_cache(maxsize=4)
def _session(profile: str) -> boto3.session.Session:
    """One a profile: it keeps the description of EC2, which takes a quarter of a second to read."""
    return boto3.session.Session(profile_name=profile or None)


def _require_profile(conf: Ec2Conf) -> None:
    """Refuse a profile that is nowhere in AWS's own files.

    Raises:
        ConfigError: ec2.conf, or the environment, names one.
    """
    name = conf.profile or os.environ.get("AWS_PROFILE", "")
    known = botocore.session.Session().available_profiles
    if name and name not in known:
        source = "ec2.conf [ec2]" if conf.profile else "environment"
        near = did_you_mean(name, known) if known else "there is none"
        raise ConfigError(
            source,
            "profile" if conf.profile else "AWS_PROFILE",
            name,
            "no such profile in ~/.aws/config or ~/.aws/credentials",
            f"{near}; make it with `aws configure --profile {name}`",
        )


@lru_cache(maxsize=1)
def _known_regions() -> frozenset[str]:
    """Every region in which boto3 knows EC2; it takes a fifth of a second to read them."""
    session = botocore.session.Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition, allow_non_regional=False)
    )


def _require_region(key: str, name: str) -> None:
    """Refuse a region that AWS does not have; nothing is asked over the network.

    Raises:
        ConfigError: the message names the nearest one.
    """
    known = _known_regions()
    if name not in known:
        raise ConfigError(
            "ec2.conf [ec2]",
            key,
            name,
            f"no region of AWS that boto3 {boto3.__version__} knows",
            f"{did_you_mean(name, known)} For one newer than that: pip install --upgrade boto3",
        )


class Region:
    """One region's clients. Thread-safe.

    Attributes:
        calls: How often each operation was sent, attempts of botocore's own included.
    """

    def __init__(self, conf: Ec2Conf, name: str) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigError: AWS has no such region, or its files no such profile.
        """
        _require_profile(conf)
        _require_region("region" if name == conf.region else "reap_regions", name)
        self.name, self.calls = name, Counter[str]()
        self._conf, self._lock = conf, threading.Lock()
        self._clients: dict[tuple[str, bool], Any] = {}

    @property
    def reader(self) -> EC2Client:
        """For whatever is safe to repeat."""
        client: EC2Client = self._client("ec2", once=False)
        return client

    @property
    def launcher(self) -> EC2Client:
        """For RunInstances and CreateFleet: every call is sent once."""
        client: EC2Client = self._client("ec2", once=True)
        return client

    def pages(self, operation: str, result: str, **arguments: Any) -> Iterator[Any]:
        """All entries of a listing, whatever number of pages it has.

        Raises:
            ApiError: as in `translated`.
        """
        method = _snake(operation)
        with translated(operation):
            paginator = self.reader.get_paginator(method)  # type: ignore[call-overload] # by name
            for page in paginator.paginate(**arguments):
                yield from page.get(result, [])

    def identity(self) -> str:
        """Who the credentials belong to: an ARN."""
        with translated("GetCallerIdentity"):
            return str(self._client("sts", once=False).get_caller_identity()["Arn"])

    def parameter(self, name: str) -> str:
        """The value of a public SSM parameter, as those that name the newest images."""
        with translated("GetParameter"):
            answer = self._client("ssm", once=False).get_parameter(Name=name)
            return str(answer["Parameter"]["Value"])

    def quota(self, code: str) -> float:
        """One of EC2's service quotas."""
        with translated("GetServiceQuota"):
            quotas = self._client("service-quotas", once=False)
            answer = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
            return float(answer["Quota"]["Value"])

    def _client(self, service: str, *, once: bool) -> Any:
        with self._lock, _sessions:
            if (service, once) not in self._clients:
                with translated(f"client for {service}"):
                    self._clients[service, once] = self._make(service, once=once)
            return self._clients[service, once]

    def _make(self, service: str, *, once: bool) -> Any:
        client = _session(self._conf.profile).client(  # type: ignore[call-overload] # by name
            service,
            region_name=self.name,
            endpoint_url=self._conf.endpoint_url or None,
            config=botocore.config.Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=LAUNCH_READ_TIMEOUT_S if once else READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": 1 if once else READ_ATTEMPTS},
                max_pool_connections=CONNECTIONS,
                user_agent_extra="perfkit",
            ),
        )
        client.meta.events.register("before-send.*", self._count)
        return client

    def _count(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self.calls[event_name.rpartition(".")[2]] += 1


def _snake(operation: str) -> str:
    """`DescribeInstances` -> `describe_instances`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


def tag_filter(**values: Sequence[str]) -> list[dict[str, Any]]:
    """EC2's filters for tags: each keyword, with `_` for `-`, has one of these values."""
    return [
        {"Name": f"tag:perfkit:{name.replace('_', '-')}", "Values": list(wanted)}
        for name, wanted in values.items()
    ]
