"""What a worker does with one unit: its work, the outcome as a file of the run, a small record back.

The client has left an empty file under a name that nobody else knows. A worker that does not find it
sees other files than the client, and refuses. The outcome takes the place of that file in one step, so
nobody ever reads half of it, and a unit that is done twice, because its first worker died, leaves the
same file. Nothing is raised here: what went wrong is in the record.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

import perfkit
from perfkit import untrusted
from perfkit.errors import PerfkitError
from perfkit.runs.folder import write_atomic

PACKAGES = ("numpy", "pandas", "pyarrow", "scipy")  # on which figures depend
MOST_TEXT = 500_000  # bytes of an outcome that goes back in the record


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A unit as it is handed to a worker.

    Attributes:
        dump: The outcome as bytes.
        place: The file that the client has left, and that the outcome replaces; None: there is no
            run's folder, and the outcome is a short text that goes back in the record.
        versions: What the client computes with; see `versions`.
    """

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    dump: Callable[[Any], bytes]
    place: Path | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What comes back.

    Attributes:
        worker: Machine and process that did it.
        size_bytes, sha256: Of the file that was written.
        text: The outcome where there is no file.
        error: Why this unit could not be done; empty: it was.
        refused: Why this worker can do none; empty: it can.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    worker: str
    size_bytes: int = 0
    sha256: str = ""
    text: str = ""
    error: str = ""
    refused: str = ""


def carry_out(order: Order) -> str:
    """Do a unit; returns a `Record` as JSON. Writes `order.place`, and what the work itself writes."""
    worker = f"{platform.node()}, pid {os.getpid()}"
    refused = _why_unfit(order)
    if refused:
        return _text(Record(worker=worker, refused=refused))
    try:
        data = order.dump(order.work(*order.arguments))
        if order.place is None:
            return _text(_itself(worker, data))
        if not _sees(order.place):
            return _text(Record(worker=worker, error="nobody waits for it any more"))
        write_atomic(order.place, data)
    except PerfkitError as exc:
        return _text(Record(worker=worker, error=_said(exc)))
    except Exception as exc:  # noqa: BLE001 - named as this unit's, and the others go on
        return _text(Record(worker=worker, error=f"it broke on it: {_said(exc)}"))
    digest = hashlib.sha256(data).hexdigest()
    return _text(Record(worker=worker, size_bytes=len(data), sha256=digest))


def _itself(worker: str, data: bytes) -> Record:
    if len(data) > MOST_TEXT:
        return Record(worker=worker, error=f"{len(data)} bytes of outcome, more than {MOST_TEXT}")
    return Record(worker=worker, text=data.decode())


def _said(exc: Exception) -> str:
    return untrusted.printable(f"{type(exc).__name__}: {exc}")[: untrusted.MESSAGE_LENGTH]


def _text(record: Record) -> str:
    return json.dumps(asdict(record))


def _why_unfit(order: Order) -> str:
    """What the client and this worker do not have in common; empty: nothing."""
    own = versions()
    other = [
        f"{name} {own.get(name, 'none')} here and {wanted} at the client"
        for name, wanted in order.versions.items()
        if own.get(name) != wanted
    ]
    if other:
        return (
            f"it computes with other versions ({'; '.join(other)}); install the same there: "
            f"pip install 'perfkit[dask]=={order.versions['perfkit']}' "
            + " ".join(f"{it}=={order.versions[it]}" for it in PACKAGES)
        )
    if order.place is not None and not _sees(order.place):
        return (
            f"it does not see {order.place.parent}: the runs folder must be on a file system that all "
            "workers share, at the same path, and the worker may write there; mount it there, or start "
            "the workers on this machine"
        )
    return ""


def _sees(place: Path) -> bool:
    try:
        return place.is_file() and os.access(place.parent, os.W_OK)
    except OSError:
        return False


@functools.cache
def versions() -> dict[str, str]:
    """What figures depend on: perfkit and the hash of its source, Python, and some packages."""
    found = {"perfkit": perfkit.__version__, "source": _source()}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _source() -> str:
    """The first 12 digits of the SHA-256 of all modules: a version number may stay when they change."""
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    for module in sorted(folder.rglob("*.py")):
        digest.update(str(module.relative_to(folder)).encode() + module.read_bytes())
    return digest.hexdigest()[:12]
