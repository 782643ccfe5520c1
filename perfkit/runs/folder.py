"""The layout of a run folder; the only code that knows its paths.

::

    runs/<utc>-<name>-<random>/   0700; everything in it 0600
      manifest.json               resolved parameters, versions, kernel, tools on the hosts
      journal.jsonl               what happened (`perfkit.runs.journal`)
      hosts.json                  the hosts: name, role, addresses, state, reason, log
      timetable.json              T0 and the planned slots
      config/                     copies of the settings as resolved
      keys/                       run key, known_hosts, what the VPN's hosts share
      hosts/<host>/               configure.log and the files made for that host
      raw/<host>/<slot>.log       what the test script printed, on client and server
      raw/<host>/<slot>.server.log     what the test's server script printed; .server-2.log if run twice
      raw/<host>/<slot>.events.json    planned and actual start and end, exit status
      raw/<host>/monitor.csv      dool, one row a second, epoch first
      raw/<host>/procstat.csv     epoch,pid,cpu_s,rss_bytes,pss_bytes of the VPN's server process
      raw/<host>/openvpn.log      and openvpn-status.log; packets dropped: queues.csv, nic.csv
      raw/<host>/facts.json       kernel, ncpu, memory, tool versions
      raw/controller/clocks.json  clock offsets and bounds, before and after the tests
      raw/controller/links.json   links of hosts, as they were to be and as they counted
      raw/controller/interruptions.json   hosts that the provider took back, and when it said so
      raw/SHA256SUMS              of all the above; read-only once collected
      tables/*.parquet            tidy frames
      tables/cache/               frames of large logs, what workers hand over (`perfkit.executors`); may be deleted
      segments.json               the windows that count, who chose them
      report/                     index.html, tables in every format, plots

A campaign has more, among it a run folder a block, `blocks/<nnnn>/`: `perfkit.runs.campaign_folder`.

The folder's name is the run's id and the tag of all it makes. Two runs of one name may begin in the
same second, in two folders or on two machines that share a cloud account, and neither may take or
end the other's hosts: hence the random letters.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfkit import untrusted
from perfkit.errors import RunError, UntrustedError, did_you_mean

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
MANIFEST_FORMAT = 1
JSON_BYTES = 64 * 2**20  # of a file of a run: its lists grow with the fleet
_STAMP = len("20260101T120000Z")  # of an id: the second it was made in
_BLOCKS = "blocks"
_BLOCK = re.compile(r"[0-9]{1,9}")


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old or the new content, also after a crash.

    Raises:
        RunError: the disk is full or the folder read-only; what was there before is there still.
    """
    try:
        _write_beside(path, data, mode)
    except OSError as exc:
        raise RunError(
            f"{path}: cannot be written ({exc.strerror}); what was there is as it was: make room "
            "or fix the permissions, then run the same command again"
        ) from exc


def _write_beside(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, two spaces deep, keys in the order given."""
    write_atomic(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Below:
    """A place in every run folder, by its path below the folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, run: Run, owner: object = None) -> Path:
        """Where it is in one run."""
        return run.root / self._path


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder. Knows where things are; opens nothing, connects to nothing."""

    root: Path

    @property
    def id(self) -> str:
        """The folder's name; also the tag on everything the run makes.

        Of a block of a campaign: `<campaign's id>/<its folder's name>`.
        """
        if self.block is None:
            return self.root.name
        return f"{self.root.parent.parent.name}/{self.root.name}"

    @property
    def block(self) -> int | None:
        """The number of a block of a campaign; None for any other run."""
        name = self.root.name
        is_block = self.root.parent.name == _BLOCKS and _BLOCK.fullmatch(name)
        return int(name) if is_block else None

    manifest_path = Below("manifest.json")  # resolved parameters and versions
    journal_path = Below("journal.jsonl")  # the event log
    hosts_path = Below("hosts.json")  # the hosts as the last phase left them
    timetable_path = Below("timetable.json")  # T0 and the planned slots
    segments_path = Below("segments.json")  # the windows that count
    config_dir = Below("config")  # copies of the settings as resolved
    keys_dir = Below("keys")  # secrets of the run, 0700
    key_path = Below("keys/id_ed25519")  # the run's SSH key
    known_hosts_path = Below("keys/known_hosts")  # every host key, pinned before it is connected to
    raw_dir = Below("raw")  # collected logs, never rewritten
    sums_path = Below("raw/SHA256SUMS")  # checksums of the collected logs
    clocks_path = Below("raw/controller/clocks.json")  # clock offsets, measured by the controller
    links_path = Below("raw/controller/links.json")  # links of hosts, and what they counted
    # Hosts that the provider took back during the tests; not there when there were none.
    interruptions_path = Below("raw/controller/interruptions.json")
    tables_dir = Below("tables")  # tidy frames
    cache_dir = Below("tables/cache")  # frames of large logs, by the logs' hashes
    report_dir = Below("report")  # what is published
    blocks_dir = Below(_BLOCKS)  # of a campaign: a run folder a block

    def host_dir(self, host: str) -> Path:
        """What the controller keeps about one host."""
        return self.root / "hosts" / host

    def host_raw_dir(self, host: str) -> Path:
        """What was collected from one host."""
        return self.raw_dir / host

    def load_json(self, path: Path) -> Any:
        """Read one of the run's JSON files.

        Raises:
            RunError: it is not there or not JSON; the message says which phase writes it.
        """
        try:
            data = untrusted.read_file(path, JSON_BYTES)
            return untrusted.parse_json(data, limit_bytes=JSON_BYTES, ours=True)
        except FileNotFoundError as exc:
            raise RunError(
                f"{path}: not there; the phase that writes it has not run (perfkit status {self.id})"
            ) from exc
        except (UntrustedError, OSError) as exc:
            raise RunError(f"{path}: cannot be read ({getattr(exc, 'strerror', exc)})") from exc

    def manifest(self) -> dict[str, Any]:
        """The manifest as a dictionary.

        Raises:
            RunError: it is missing, damaged, or of a version this perfkit does not know.
        """
        manifest = self.load_json(self.manifest_path)
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != MANIFEST_FORMAT:
            raise RunError(
                f"{self.manifest_path}: format {MANIFEST_FORMAT} expected, {found} found; "
                "use the perfkit that made the run"
            )
        return dict(manifest)

    def update_manifest(self, values: Mapping[str, Any]) -> None:
        """Add to the manifest, atomically."""
        write_json(self.manifest_path, {**self.manifest(), **values})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one writer of this run.

        The kernel lets the lock go when its holder dies, so a dead process never bars a run; what
        is written in the file only names the holder: its pid and the boot it belongs to.

        Raises:
            RunError: another process is, and the message names it; or the folder is read-only.
        """
        path = self.root / ".lock"
        try:
            file = path.open("a+")
        except OSError as exc:
            raise RunError(
                f"{self.root}: cannot be written ({exc.strerror}); work on a copy you own"
            ) from exc
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                file.seek(0)
                raise RunError(
                    f"run {self.id} is open in another process ({file.read().strip()}); wait until "
                    "it is done, or end it: a notebook by Kernel > Shut Down Kernel"
                ) from exc
            with contextlib.suppress(OSError):  # a full disk takes the name, not the lock
                file.truncate(0)
                file.write(_this_process())
                file.flush()
            yield


def _this_process() -> str:
    """Who holds a lock, for whoever is refused."""
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    boot = boot_id.read_text().strip() if boot_id.exists() else "unknown"
    now = datetime.now(UTC)
    # Jupyter tells a kernel the file it works for; people know their notebooks, not their pids.
    name = Path(os.environ.get("JPY_SESSION_NAME") or sys.argv[0] or sys.executable).name
    return (
        f"pid {os.getpid()}, {name} on {platform.node()}, boot {boot}, "
        f"since {now:%Y-%m-%d %H:%M:%S} UTC"
    )


def create(
    runs_dir: Path,
    name: str,
    parameters: Mapping[str, Any],
    *,
    fill: Callable[[Run], Mapping[str, Any]] = lambda _run: {},
) -> Run:
    """Make a new run folder; its manifest comes last, so a folder with one is complete.

    Args:
        fill: Puts into the folder what a run begins with; returns more for the manifest.

    Raises:
        RunError: `runs_dir` cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        run = Run(_fresh_folder(runs_dir, f"{stamp}-{name}"))
        fill_new(run, name, parameters, fill)
    except OSError as exc:
        raise RunError(
            f"{runs_dir}: no run folder can be made there ({exc.strerror}); "
            "fix its permissions or set runs_dir"
        ) from exc
    return run


def fill_new(
    run: Run, name: str, parameters: Mapping[str, Any], fill: Callable[[Run], Mapping[str, Any]]
) -> None:
    """Put into the new folder of a run or block what it begins with; its manifest comes last.

    Raises:
        OSError: it cannot be written.
    """
    for folder in (run.keys_dir, run.config_dir, run.raw_dir):
        folder.mkdir(mode=0o700)
    created, more = datetime.now(UTC), fill(run)
    write_json(
        run.manifest_path,
        {
            "format": MANIFEST_FORMAT,
            "run": run.id,
            "name": name,
            "created_utc": created.isoformat(),
            "parameters": dict(parameters),
            **more,
        },
    )


def _fresh_folder(runs_dir: Path, stem: str) -> Path:
    while True:
        root = runs_dir / f"{stem}-{secrets.token_hex(3)}"
        with contextlib.suppress(FileExistsError):
            root.mkdir(mode=0o700)
            return root


def list_runs(runs_dir: Path) -> list[Run]:
    """All runs that this user may look into, oldest first; a campaign is one, its blocks are none.

    Raises:
        RunError: the folder itself may not be looked into.
    """
    found = list_folders(runs_dir)
    sharing = Counter(run.id[:_STAMP] for run in found)

    def age(run: Run) -> tuple[str, str, str]:
        second = run.id[:_STAMP]  # manifests are read only where it does not tell
        return second, _created(run) if sharing[second] > 1 else "", run.id

    return sorted(found, key=age)


def list_folders(parent: Path) -> list[Run]:
    """The run folders in a folder that this user may look into, in no order.

    Raises:
        RunError: the folder itself may not be looked into.
    """
    try:
        folders = list(parent.iterdir()) if parent.is_dir() else []
    except OSError as exc:
        raise RunError(
            f"{parent}: cannot be read ({exc.strerror}); fix its permissions or set runs_dir"
        ) from exc
    return [Run(path) for path in folders if _is_run(path)]


def _created(run: Run) -> str:
    """When it was made, to the microsecond; empty where the manifest is damaged."""
    try:
        return str(run.manifest().get("created_utc", ""))
    except RunError:
        return ""


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "manifest.json").is_file()
    except OSError:  # another user's: runs are their owners' alone
        return False


def open_run(runs_dir: Path, run: str) -> Run:
    """Open a run by id, by name (the newest of that name), by path, or `latest`.

    A block of a campaign is `<campaign>/<number>`, with the campaign given in any of these ways.

    Raises:
        RunError: no such run; the message names the nearest one.
    """
    path = Path(run)
    if _is_run(path):
        return Run(path.resolve())
    campaign, _, number = run.rpartition("/")
    if campaign and _BLOCK.fullmatch(number):
        return _open_block(open_run(runs_dir, campaign), int(number))
    known = list_runs(runs_dir)
    if run == "latest" and known:
        return known[-1]
    for candidate in reversed(known):
        if run in (candidate.id, _name_of(candidate)):
            return candidate
    if known:
        hint = did_you_mean(run, {word for r in known for word in (r.id, _name_of(r)) if word})
    else:
        hint = "there are no runs yet" if runs_dir.is_dir() else "there is no such folder"
    raise RunError(f"{runs_dir}: no run {run!r}; {hint}")


def _open_block(campaign: Run, number: int) -> Run:
    there = {run.block: run for run in list_folders(campaign.blocks_dir) if run.block is not None}
    if number in there:
        return there[number]
    known = f"1 to {max(there)}" if there else "none yet"
    raise RunError(f"{campaign.blocks_dir}: no block {number}; there are: {known}")


def _name_of(run: Run) -> str | None:
    try:
        return str(run.manifest().get("name"))
    except RunError:  # one damaged run must not hide the others; it is still found by its id
        return None
