"""Calls that cost money: repeated until answered, with a journal record before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perfkit.errors import LaunchError, LaunchRefusedError, LaunchUnknownError
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.describe import Instance
from perfkit.fleet.ec2.failures import ApiError, Failure, classify
from perfkit.fleet.provider import LaunchRequest
from perfkit.retry import RetryPolicy

CALL_DEADLINE_S = 300.0  # for one call with all its repetitions
VISIBLE_WITHIN_S = 60.0
SAME_AGAIN = (Failure.THROTTLED, Failure.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What calls are made with: where, as ec2.conf says, and how patiently."""

    region: Region
    conf: Ec2Conf
    retry: RetryPolicy


@contextlib.contextmanager
def journalled(request: LaunchRequest, record: Mapping[str, Any]) -> Iterator[list[Instance]]:
    """Write a call to the journal before the block, and after it what it made.

    Yields:
        A list for what the block makes. When it is left by a `LaunchUnknownError`, or by the death
        of the process, there is no second record: nobody knows.
    """
    request.record("launch-call", **record)
    made: list[Instance] = []
    try:
        yield made
    except ApiError as exc:
        request.record("launch-call-result", call=record["call"], made=0, error=exc.code)
        raise
    request.record("launch-call-result", call=record["call"], made=len(made))


def ask(
    operation: str,
    send: Callable[[], list[Instance]],
    *,
    find: Callable[[], list[Instance]],
    retry: RetryPolicy,
) -> list[Instance]:
    """Send a call that carries its client token, until it is answered.

    Args:
        send: The call; the same one each time.
        find: Looks for what the token made, where the answer does not come.

    Raises:
        ApiError: EC2's answer is no; nothing was made.
        LaunchUnknownError: there is no answer.
    """
    problem: ApiError | None = None
    may_be_done = False
    begun_s = retry.clock()
    for _ in retry.attempts(CALL_DEADLINE_S):
        try:
            with translated(operation):
                return send()
        except ApiError as exc:
            problem = exc
            may_be_done |= exc.kind in (Failure.UNKNOWN, Failure.MISMATCH)
            if exc.kind is Failure.MISMATCH:  # it was done, by an earlier controller
                break
            young = retry.clock() - begun_s < VISIBLE_WITHIN_S * retry.scale
            if exc.kind not in SAME_AGAIN and not (young and not_visible_yet(exc.code)):
                raise
    assert problem is not None
    if not may_be_done:
        raise problem
    if found := find():
        return found
    raise LaunchUnknownError(
        f"{problem}; whether hosts were made is not known: perfkit reap finds them by their tag"
    ) from problem


def once_visible(operation: str, call: Callable[[], object], retry: RetryPolicy) -> None:
    """Repeat a call on what was made a moment ago until EC2 knows that it is there.

    Args:
        call: Does no more when it is done twice.

    Raises:
        ApiError: another answer, or it is still not there.
    """
    _repeat(operation, call, retry, Failure.NOT_FOUND)


def once_let_go(operation: str, call: Callable[[], object], retry: RetryPolicy) -> None:
    """Repeat a call that ends a thing as long as something uses it; one that is not there is ended.

    Raises:
        ApiError: another answer, or it is still in use.
    """
    _repeat(operation, call, retry, Failure.BUSY, is_done=_is_ended)


def _is_ended(exc: ApiError) -> bool:
    return exc.kind is Failure.NOT_FOUND or exc.code == "InvalidAMIID.Unavailable"


def _repeat(
    operation: str,
    call: Callable[[], object],
    retry: RetryPolicy,
    for_a_moment: Failure,
    *,
    is_done: Callable[[ApiError], bool] = lambda _exc: False,
) -> None:
    problem: ApiError | None = None
    for _ in retry.attempts(VISIBLE_WITHIN_S):
        try:
            with translated(operation):
                call()
        except ApiError as exc:
            problem = exc
            if is_done(exc):
                return
            if exc.kind not in (for_a_moment, *SAME_AGAIN):
                raise
        else:
            return
    assert problem is not None
    raise problem


def refusal(request: LaunchRequest, exc: ApiError) -> LaunchError:
    """Our error for EC2's no."""
    asked = f"{len(request.hosts)} hosts asked for"
    if exc.kind is Failure.QUOTA:
        return LaunchRefusedError(
            f"{exc} ({asked}); ask for fewer or a smaller type, or have the quota raised: "
            "https://console.aws.amazon.com/servicequotas/"
        )
    if exc.kind in (Failure.REFUSED, Failure.NOT_FOUND):
        return LaunchRefusedError(f"{exc} ({asked}); nothing more is asked for")
    return LaunchError(f"{exc} ({asked})")


def not_visible_yet(code: str) -> bool:
    """It is about what was made a moment ago; an image that is not there is not there."""
    made = (
        "InvalidGroup", "InvalidKeyPair", "InvalidLaunchTemplate", "InvalidPlacementGroup",
    )  # fmt: skip
    return classify(code) is Failure.NOT_FOUND and code.startswith(made)
