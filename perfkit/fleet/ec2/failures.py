"""What an error of EC2 means for a launch: the table from code to action, error_codes.tsv.

::

    CAPACITY      the pool is empty now           the next pool; this one rests for a while
    QUOTA         the account's limit             stop, say what was asked and what was had
    THROTTLED     too many calls                  wait, then the same call with the same token
    UNKNOWN       no answer, or a server error    may have been done: the same token again
    NOT_FOUND     not visible (yet, or any more)  look again; never "gone" right after a launch
    MISMATCH      same token, other parameters    it was done before: find it by its token
    ENDED         the token's hosts are over      nothing to launch under this token
    DUPLICATE     the name is taken               use what is there, if it is the run's own
    BUSY          something still uses it         try again when that is gone
    DRY_RUN       it would have worked            for the preflight
    REFUSED       permission, image, parameter    stop before the second batch

Lack of capacity comes as an HTTP 500, throttling as a 503: the status decides only where the code
is not known. Throttling is never read as lack of capacity: that once took 2,000 of 3,000 nodes of
another tool out of service for ten minutes.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from enum import StrEnum

from perfkit.errors import ProviderError


class Failure(StrEnum):
    """The kinds of the module's table."""

    CAPACITY = "capacity"
    QUOTA = "quota"
    THROTTLED = "throttled"
    UNKNOWN = "unknown"
    NOT_FOUND = "not-found"
    MISMATCH = "mismatch"
    ENDED = "ended"
    DUPLICATE = "duplicate"
    BUSY = "busy"
    DRY_RUN = "dry-run"
    REFUSED = "refused"


_TABLE = importlib.resources.files("perfkit.fleet.ec2").joinpath("error_codes.tsv")
_ROWS = [
    (*line.split("\t"), "")
    for line in _TABLE.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
_KIND_OF = {code: Failure(kind) for code, kind, *_ in _ROWS if kind != "-"}
# What a person can do about an error, by its code; of no answer at all, by the transport's word.
REMEDIES = {code: remedy for code, _, remedy, *_ in _ROWS if remedy}
# A person cannot read what follows it: it is for `aws sts decode-authorization-message`.
_ENCODED = " Encoded authorization failure message:"


class ApiError(ProviderError):
    """A call that EC2 answered with an error, or did not answer.

    Attributes:
        operation: The call, `RunInstances`.
        code: EC2's word for it; the class of the transport's error where there was no answer.
        kind: What that means here.
        detail: EC2's message.
    """

    def __init__(self, operation: str, code: str, kind: Failure, detail: str) -> None:
        super().__init__(operation, code, kind, detail)
        self.operation, self.code, self.kind, self.detail = operation, code, kind, detail

    def __str__(self) -> str:
        said = f"{self.operation}: {self.code}: {self.detail.partition(_ENCODED)[0]}"
        remedy = REMEDIES.get(self.code, "")
        return f"{said}; {remedy}" if remedy else said


def classify(code: str, status: int = 400) -> Failure:
    """What an error code means; for an unknown code, what its HTTP status says."""
    if code in _KIND_OF:
        return _KIND_OF[code]
    if code.endswith((".NotFound", ".NotFoundException", "NoSuchEntity", "ParameterNotFound")):
        return Failure.NOT_FOUND
    if code.endswith((".Duplicate", "AlreadyExistsException", ".AlreadyExists")):
        return Failure.DUPLICATE
    if status == 503:
        return Failure.THROTTLED
    return Failure.UNKNOWN if status >= 500 else Failure.REFUSED


def classify_all(codes: Iterable[str]) -> Failure:
    """What the errors of one fleet request mean together, one code a pool.

    A pool that was throttled has not been asked: while there is one, it is too early to say that
    there is no capacity. What is not found no pool has; any other refusal is one pool's.
    """
    kinds = {classify(code) for code in codes}
    order = (Failure.THROTTLED, Failure.UNKNOWN, Failure.NOT_FOUND, Failure.CAPACITY, Failure.QUOTA)
    for kind in order:
        if kind in kinds:
            return kind
    return Failure.REFUSED
