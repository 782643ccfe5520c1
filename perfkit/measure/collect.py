"""Logs of all hosts into raw/, whole, checksummed and read-only.

One command on a host takes a snapshot of its logs (some are still being written) and prints size
and SHA-256 of each file; what is not here yet is fetched and held against that. A file that is
collected is never written again, so a second call does only what is missing, also after a crash:
a file has its name once it is whole, and until then is a hidden `.<name>.part`, which the next call
goes on with and no reader takes for a log. What a host says is data from a stranger: names outside
a narrow pattern are left there, and sizes have limits.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from perfkit.errors import CollectError, HostError, RunError
from perfkit.measure.outcome import record_names
from perfkit.measure.plan import runs_on
from perfkit.model import Host, Role, Slot, StageResult
from perfkit.runs.folder import Run, sha256_of, write_atomic
from perfkit.ssh.jump_hosts import is_packed
from perfkit.ssh.remote import Remote, RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.units import format_size
from perfkit.untrusted import FILE_BYTES as FILE_LIMIT_BYTES

HOST_LIMIT_BYTES = 2**30
FILES_LIMIT = 1000  # of one host
SMALL_BYTES = 200_000  # of one host: a slow line brings them in seconds
MOST_NAMES_TOLD = 5
READ_ONLY = 0o400
SNAPSHOT = "collected"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_DIGEST = re.compile(r"([0-9a-f]{64})  \./(.*)")
_SIZE = re.compile(r"size ([0-9]{1,15}) (.*)")


def expected_files(host: Host, slots: Sequence[Slot], *, watched: bool) -> tuple[str, ...]:
    """Names a host must deliver: log and record of each slot, and the monitor's CSV."""
    names = record_names([slot for slot in slots if runs_on(slot, host.role)], host.role)
    files = [f"{name}{suffix}" for name in names for suffix in (".log", ".events.json")]
    return (*files, "monitor.csv") if watched else tuple(files)


def collect(
    run: Run,
    hosts: Sequence[Host],
    slots: Sequence[Slot],
    *,
    pool: RemotePool,
    threads: int = 16,
    monitor: str = "server",
    deadline_s: float = 300.0,
    gone: Collection[str] = (),
) -> StageResult:
    """Fetch what is missing of `<workdir>/logs/` into raw/<host>/ and write raw/SHA256SUMS.

    Args:
        hosts: All whose logs are wanted, also those that failed a test.
        monitor: `server` or `all`: which hosts ran the monitor.
        deadline_s: For one host.
        gone: Hosts that are not asked any more; what is here of them is what there will be.

    Returns:
        One result a host; one that did not deliver all it must names what is missing. What it
        did deliver is kept.

    Raises:
        CollectError: a file of raw/ is not what it was when it was collected.
        RunError: this machine cannot store them all: disk full or read-only. What is here is
            kept, and the hosts still have the rest.
    """
    started_s = time.monotonic()
    archive = _Archive.open(run)

    watched = surely_watched(hosts, monitor)

    def collect_host(host: Host) -> None:
        names = expected_files(host, slots, watched=host.name in watched)
        with archive.noting_troubles():
            _collect_host(None if host.name in gone else pool, host, archive, names)

    try:
        stage = run_on_hosts(
            "collect",
            hosts,
            collect_host,
            threads=threads,
            deadline_s=deadline_s,
            on_expired=pool.drop,
            log_path=pool.log_path,
        )
    finally:
        archive.add_controller_files()
        archive.save()
    archive.raise_troubles()
    return StageResult(
        stage="collect", results=stage.results, elapsed_s=time.monotonic() - started_s
    )


def small_logs_of(run: Run, pool: RemotePool) -> Callable[[Host], None]:
    """What fetches a host's logs ahead of `collect`, if they are small, while others still run.

    `collect` checks what is here and fetches, or names, what is not; so nothing is said here, and no
    trouble of this machine's disk is a host's failure. A host with much to fetch has its time there.
    """
    archive = _Archive(run, {})

    def fetch(host: Host) -> None:
        with contextlib.suppress(HostError, RunError, OSError):
            _fetch(pool.get(host), archive, most_bytes=SMALL_BYTES)

    return fetch


def surely_watched(hosts: Sequence[Host], monitor: str) -> set[str]:
    """Those that must have run the monitor.

    Of hosts packed onto a machine one ran it, and that one may not be among those that are left.
    """
    servers = {host.name for host in hosts if host.role is Role.SERVER}
    own_machine = {host.name for host in hosts if not is_packed(host)}
    return servers | (own_machine if monitor == "all" else set())


def _collect_host(
    pool: RemotePool | None, host: Host, archive: _Archive, expected: Sequence[str]
) -> None:
    """Fetch what is missing of one host.

    Args:
        pool: None: the host is gone, and what is not here will never be.

    Raises:
        CollectError, HostError: not all that is expected is here, with the names.
        RunError: it cannot be stored here.
    """
    archive.adopt(host.name)
    if not archive.lacking(host.name, expected):
        return
    try:
        skipped = _fetch(pool.get(host), archive) if pool else []
    except HostError as exc:
        raise _with_parts(exc, archive.run.host_raw_dir(host.name)) from exc
    lacking = archive.lacking(host.name, expected)
    left = f"left on the host: {', '.join(skipped)}" if skipped else ""
    if lacking:
        parts = _parts(archive.run.host_raw_dir(host.name))
        where = "missing on the host" if pool else "lost with the host"
        raise CollectError("; ".join(filter(None, [left, parts, where])), lacking)
    if skipped:
        raise CollectError("left on the host", skipped)


@dataclass(slots=True)
class _Archive:
    """raw/ and its checksums; `sums` maps `<host>/<name>` to SHA-256. Thread-safe.

    Attributes:
        troubles: What kept this machine from storing a file; no host can help it.
    """

    run: Run
    sums: dict[str, str]
    troubles: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, run: Run) -> _Archive:
        """Read SHA256SUMS and check every file it names.

        Raises:
            CollectError: a file is gone or changed.
        """
        sums = {}
        if run.sums_path.exists():
            for line in run.sums_path.read_text(encoding="ascii", errors="replace").splitlines():
                digest, _, name = line.partition("  ")
                sums[name] = digest
        changed = [
            name
            for name, digest in sums.items()
            if not (run.raw_dir / name).is_file() or sha256_of(run.raw_dir / name) != digest
        ]
        if changed:
            raise CollectError(
                f"{run.raw_dir}: files have changed since they were collected (put them "
                "back from a copy, or remove their lines from SHA256SUMS to fetch them anew)",
                changed,
            )
        return cls(run, sums)

    def has(self, host: str, name: str) -> bool:
        with self.lock:
            return f"{host}/{name}" in self.sums

    def lacking(self, host: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self.has(host, name)]

    def keep(self, host: str, path: Path) -> None:
        """Make a verified file read-only and remember it."""
        path.chmod(READ_ONLY)
        sha256 = sha256_of(path)
        with self.lock:
            self.sums[f"{host}/{path.name}"] = sha256

    def adopt(self, host: str) -> None:
        """Remember files that a process verified and made read-only before it was killed."""
        folder = self.run.host_raw_dir(host)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            there = path.lstat()
            whole = stat.S_ISREG(there.st_mode) and stat.S_IMODE(there.st_mode) == READ_ONLY
            if whole and _FILE_NAME.fullmatch(path.name) and not self.has(host, path.name):
                self.keep(host, path)

    @contextlib.contextmanager
    def noting_troubles(self) -> Iterator[None]:
        try:
            yield
        except RunError as exc:
            self.troubles.append(str(exc))
            raise

    def raise_troubles(self) -> None:
        if self.troubles:
            count = len(self.troubles)
            raise RunError(f"the logs of {count} hosts are incomplete: {self.troubles[0]}")

    def add_controller_files(self) -> None:
        """The clocks are measured here, links and notices noted, so they are collected here."""
        for path in (self.run.clocks_path, self.run.links_path, self.run.interruptions_path):
            if path.is_file() and not self.has(path.parent.name, path.name):
                self.keep(path.parent.name, path)

    def save(self) -> None:
        """Write SHA256SUMS as `sha256sum -c` reads it; nothing is written when nothing is new."""
        with self.lock:
            text = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.sums.items()))
        path = self.run.sums_path
        if text and not (
            path.exists() and path.read_text(encoding="ascii", errors="replace") == text
        ):
            write_atomic(path, text.encode("ascii"), READ_ONLY)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a host says about one of its files."""

    sha256: str
    size_bytes: int


def _fetch(remote: Remote, archive: _Archive, *, most_bytes: int = HOST_LIMIT_BYTES) -> list[str]:
    """Fetch what the archive lacks of one host; returns what was left there, with the reason.

    Args:
        most_bytes: Nothing is fetched where it is more than that.
    """
    host = remote.host
    listed, skipped = parse_listing(remote.run_script(_listing_script(host)).stdout)
    lacking = {name: file for name, file in listed.items() if not archive.has(host.name, name)}
    wanted, too_much = _within_limits(lacking)
    if sum(file.size_bytes for file in wanted.values()) > most_bytes:
        return skipped
    _check_space(archive.run.raw_dir, wanted)
    for name, file in wanted.items():
        path = archive.run.host_raw_dir(host.name) / name
        source = f"{host.workdir}/{SNAPSHOT}/{name}"
        remote.get(source, path, limit_bytes=file.size_bytes, sha256=file.sha256)
        archive.keep(host.name, path)
    return _some_of([*skipped, *too_much])


def _within_limits(
    files: Mapping[str, _Listed],
) -> tuple[dict[str, _Listed], list[str]]:
    """What is fetched of what a host offers, and what is left there, with the reason."""
    wanted: dict[str, _Listed] = {}
    left = []
    left_bytes = HOST_LIMIT_BYTES
    for name, file in files.items():
        if file.size_bytes > min(FILE_LIMIT_BYTES, left_bytes):
            left.append(f"{name} (too large: {format_size(file.size_bytes)})")
        elif len(wanted) == FILES_LIMIT:
            left.append(f"{name} (more than {FILES_LIMIT} files)")
        else:
            left_bytes -= file.size_bytes
            wanted[name] = file
    return wanted, left


def _some_of(names: list[str]) -> list[str]:
    """The names, as far as a person reads them."""
    more = len(names) - MOST_NAMES_TOLD
    return [*names[:MOST_NAMES_TOLD], f"{more} more names"] if more > 0 else names


def _with_parts(error: HostError, folder: Path) -> HostError:
    """The error, with what has arrived of files that are not whole."""
    parts = _parts(folder)
    return type(error)(error.host, f"{error.message}; {parts}") if parts else error


def _parts(folder: Path) -> str:
    """What is kept of files that are not whole, called partial; empty when there is nothing."""
    parts = sorted(folder.glob(".*.part")) if folder.is_dir() else []
    sizes = (f"{p.name[1 : -len('.part')]} ({format_size(p.stat().st_size)})" for p in parts)
    return f"partial, not used: {', '.join(sizes)}" if parts else ""


def _listing_script(host: Host) -> str:
    """Copy the logs aside; print `size <bytes> <name>` and `<sha256>  ./<name>` of each copy."""
    return f"""
set -eu
cd {quote(host.workdir)}
rm -rf {SNAPSHOT}
mkdir {SNAPSHOT}
[ -d logs ] || exit 0
find logs -maxdepth 1 -type f ! -name '.*' ! -name '*.part' -exec cp -p -t {SNAPSHOT} -- {{}} +
cd {SNAPSHOT}
find . -type f -printf 'size %s %f\\n' -exec sha256sum -- {{}} +
"""


def parse_listing(text: str) -> tuple[Mapping[str, _Listed], list[str]]:
    """Files a host offers, and the names that are refused, printable.

    A name outside the pattern (with a slash, a leading dot, a blank, a control character) never
    becomes a path here.
    """
    digests: dict[str, str] = {}
    sizes: dict[str, int] = {}
    refused = []
    for line in text.splitlines():
        digest, size = _DIGEST.fullmatch(line), _SIZE.fullmatch(line)
        if size:
            sizes[size[2]] = int(size[1])
        elif digest and _FILE_NAME.fullmatch(digest[2]):
            digests[digest[2]] = digest[1]
        else:
            name = digest[2] if digest else line
            refused.append(f"{name[:100]!r} (not a name of a log)")
    # A size without a digest belongs to a refused name.
    listed = {
        name: _Listed(digest, sizes[name]) for name, digest in digests.items() if name in sizes
    }
    return listed, refused


def _check_space(folder: Path, wanted: Mapping[str, _Listed]) -> None:
    needed = 2 * sum(file.size_bytes for file in wanted.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{folder}: {format_size(free)} free, {format_size(needed)} wanted for safety; make "
            f"room and collect again; not fetched: {', '.join(sorted(wanted))}"
        )
