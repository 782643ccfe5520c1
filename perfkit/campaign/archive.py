"""A run as one file to hand on: packed without its secrets, and opened without trusting it.

`export_run` leaves out the keys and whatever else is recognised as a secret, and looks through the
archive once more before it has its name. The same run gives the same bytes. `import_run` takes
regular files only, of bounded size and number, below one new folder; a run that was opened has no
keys, so no host can be reached from it, and its windows, report and comparisons can be made.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from perfkit import untrusted
from perfkit.errors import PerfkitError, RunError, UntrustedError
from perfkit.logs.run_reader import RunReader
from perfkit.runs import campaign_folder, design
from perfkit.runs.folder import Run, sha256_of
from perfkit.settings.secrets import find_secret
from perfkit.units import format_size

ABOUT = "export.json"  # what was left out; the last file of an archive
FILES_LIMIT = 1_000_000  # a campaign of 100 blocks with 100 clients has a hundred thousand
TOTAL_BYTES = 16 * 2**30
READ_BYTES = 2**20
UNPACKER_BYTES = 256 * 2**20
NEEDED = ("manifest.json", "hosts.json", "timetable.json", "journal.jsonl", "design.json")

_BLOCK = r"(?:blocks/[^/]+/)?"  # what holds for a run holds for each block of a campaign
_KEYS = re.compile(rf"{_BLOCK}keys/.*")
_DERIVED = re.compile(
    rf"{_BLOCK}tables/(?:cache|store)/.*|cells\.parquet|tables/windows-read\.json"
)
_LEFT_OUT = (
    (_KEYS, "keys of the run"),
    (re.compile(rf"{_BLOCK}hosts/[^/]+/bundle/.*"), "files made for one host, its key among them"),
    (_DERIVED, "made again from the logs"),
    (re.compile(r"(.*/)?\.(lock|ipynb_checkpoints/.*)"), "of this machine only"),
    (
        re.compile(r"(.*/)?(id_(rsa|dsa|ecdsa|ed25519)|[^/]*\.(key|pem|p12|ppk))"),
        "named like a key",
    ),
)
_PART = re.compile(r"[A-Za-z0-9._@+=,~-][A-Za-z0-9 ._@+=,:~-]{0,200}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_DAMAGE = (tarfile.TarError, lzma.LZMAError, EOFError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An archive that was made; `left_out` says why, by path below the run's folder."""

    path: Path
    files: int
    size_bytes: int
    left_out: dict[str, str]

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(name)
        lines = [f"{self.path}: {self.files} files, {format_size(self.size_bytes)}"]
        for reason, names in reasons.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"  left out, {reason}: {', '.join(names[:3])}{more}")
        return "\n".join([*lines, "no private key was found in it"])


def export_run(run: Run, target: Path) -> Exported:
    """Pack a run into a `.tar.xz` that can be handed on.

    Raises:
        RunError: the file is there already or cannot be written; a file that no run can do
            without holds a secret; or the run is a block, which is nothing without its campaign.
    """
    if run.block is not None:
        campaign = campaign_folder.campaign_of(run).id
        raise RunError(f"{run.id}: a block is not packed alone; perfkit export {campaign} has it")
    if target.exists():
        raise RunError(f"{target}: is there already; remove it, or name another file with -o")
    chosen, left_out = _choose(run)
    made_utc = datetime.fromisoformat(str(run.manifest()["created_utc"])).timestamp()
    text = json.dumps({"run": run.id, "left_out": left_out}, indent=2).encode()
    try:
        fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        part = Path(name)
        try:
            with (
                os.fdopen(fd, "wb") as file,
                lzma.open(file, "wb") as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for path in (*chosen, ABOUT):
                    data = text if path == ABOUT else (run.root / path).read_bytes()
                    tar.addfile(_member(f"{run.id}/{path}", data, made_utc), io.BytesIO(data))
            _look_through(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise RunError(f"{target}: cannot be written ({exc.strerror})") from exc
    return Exported(
        path=target, files=len(chosen), size_bytes=target.stat().st_size, left_out=left_out
    )


def _member(name: str, data: bytes, made_utc: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o600, int(made_utc)
    return member


def _choose(run: Run) -> tuple[list[str], dict[str, str]]:
    """Paths to pack, sorted, and what is left out with the reason."""
    chosen, left_out = [], {}
    for path in sorted(_files(run.root)):
        name = path.relative_to(run.root).as_posix()
        if name == ABOUT:
            continue
        reason = next((why for form, why in _LEFT_OUT if form.fullmatch(name)), "")
        reason = reason or _fault(path)
        if reason and re.sub(f"^{_BLOCK}", "", name) in NEEDED:
            raise RunError(f"{path}: {reason}, and no run can do without this file; mend it first")
        if reason:
            left_out[name] = reason
        else:
            chosen.append(name)
    return chosen, left_out


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        yield from (Path(root) / name for name in names)
        yield from (Path(root) / name for name in folders if (Path(root) / name).is_symlink())


def _fault(path: Path) -> str:
    """Why a file cannot be handed on; empty when it can."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return "no regular file"
    if any(not _PART.fullmatch(part) for part in path.parts[-2:]):
        return "a name that is opened nowhere"
    try:
        data = untrusted.read_file(path, untrusted.FILE_BYTES)
        kind = find_secret(data) or find_secret(untrusted.unpack(data))
    except UntrustedError as exc:
        return f"cannot be looked into: {exc}"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    return f"holds what looks like {kind}" if kind else ""


def _look_through(archive: Path) -> None:
    """Read the archive as whoever gets it will.

    Raises:
        RunError: a member holds a secret.
    """
    with _refusals(archive):
        for member, file in _members(archive):
            _insist_free(member.name, file.read())


def _insist_free(name: str, data: bytes) -> None:
    if kind := find_secret(name.encode()) or find_secret(data):
        raise RunError(f"{name} holds what looks like {kind}; no archive was made")


def import_run(archive: Path, runs_dir: Path) -> Run:
    """Open an archive as a new folder below `runs_dir`; folders get mode 0700, files 0600.

    Raises:
        RunError: it is no such archive, a bomb, or damaged; it would write elsewhere; or the run is
            there already. Nothing of it is left then.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with (
            _refusals(archive),
            tempfile.TemporaryDirectory(dir=runs_dir, prefix=".import-") as folder,
        ):
            run_id = ""
            for member, file in _members(archive):
                run_id, _, name = member.name.partition("/")
                if _KEYS.fullmatch(name) or _DERIVED.fullmatch(name):
                    # What was forged there would stand for the logs.
                    raise RunError(f"{archive}: holds {name}, which perfkit export never packs")
                _write(Path(folder) / member.name, file, member.size)
            if not run_id:
                raise RunError(f"{archive}: is empty")
            for parent in (found := Run(Path(folder) / run_id)).root.rglob("*/"):
                parent.chmod(0o700)
            found.root.chmod(0o700)
            _check(found, archive)
            target = runs_dir / run_id
            if target.exists():
                raise RunError(f"{target}: is there already")
            found.root.rename(target)
    except OSError as exc:
        raise RunError(f"{archive}: cannot be opened in {runs_dir} ({exc.strerror})") from exc
    return Run(runs_dir / run_id)


def _write(path: Path, file: IO[bytes], size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as target:
        shutil.copyfileobj(file, target, READ_BYTES)
        if target.tell() != size:
            raise tarfile.ReadError(f"{path.name} ends early")


def _check(run: Run, archive: Path) -> None:
    """The folder is a run, and its logs are those that were collected.

    Raises:
        RunError: it is not.
    """
    if not (run.root / ABOUT).is_file():
        raise RunError(
            f"{archive}: not an archive of perfkit export, or cut: its last file, {ABOUT}, is missing"
        )
    about = run.load_json(run.root / ABOUT)
    left_out = about.get("left_out", {}) if isinstance(about, dict) else {}
    if campaign_folder.is_campaign(run):
        design.load(run)
    for folder in (run, *campaign_folder.block_runs(run)):
        _check_logs(folder, archive, {str(run.root / name) for name in left_out})


def _check_logs(run: Run, archive: Path, left_out: Collection[str]) -> None:
    if run.manifest().get("run") != run.id:
        raise RunError(f"{archive}: its manifest is not that of {run.id}")
    if run.timetable_path.exists():
        try:
            RunReader(run)
        except PerfkitError:
            raise
        except Exception as exc:
            raise RunError(
                f"{archive}: its hosts, timetable or clocks are not as perfkit writes them "
                f"({type(exc).__name__}: {untrusted.one_line(str(exc), 200)})"
            ) from exc
    sums = run.sums_path.read_text(encoding="utf-8") if run.sums_path.exists() else ""
    for line in sums.splitlines():
        digest, _, name = line.partition("  ")
        path = run.raw_dir / name
        if str(path) in left_out:
            continue
        if not _is_path(name) or not path.is_file() or sha256_of(path) != digest:
            raise RunError(
                f"{archive}: raw/{untrusted.one_line(name, 100)} is not what was collected"
            )


def _is_path(name: str) -> bool:
    parts = name.split("/")
    return all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The files of an archive, each with its content, as they come; folders are passed over.

    Raises:
        UntrustedError: it holds what no export does. And whatever tarfile raises.
    """
    seen: set[str] = set()
    with archive.open("rb") as packed:
        unpacked = cast("IO[bytes]", _Unpacked(packed))
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined] # it keeps all it has seen
                _refuse(member, seen)
                seen.add(member.name)
                file = tar.extractfile(member) if member.type in _FILES else None
                if file is not None:
                    with contextlib.closing(file):
                        yield member, file


@contextlib.contextmanager
def _refusals(archive: Path) -> Iterator[None]:
    """What is wrong with an archive, also where its content is read, as our error."""
    try:
        yield
    except (*_DAMAGE, UntrustedError) as exc:
        reason = untrusted.one_line(str(exc) or type(exc).__name__, 300)
        raise RunError(f"{archive}: not an archive of perfkit export: {reason}") from exc


def _refuse(member: tarfile.TarInfo, seen: set[str]) -> None:
    """What may be a file of a run; all of one run.

    Raises:
        UntrustedError: it may not.
    """
    name = untrusted.one_line(member.name, 100)
    if member.type not in (*_FILES, tarfile.DIRTYPE) or member.issparse():
        raise UntrustedError(f"{name} is a link, a device or otherwise no plain file")
    if not _is_path(member.name) or not _ID.fullmatch(member.name.partition("/")[0]):
        raise UntrustedError(f"{name!r} is no path below a run's folder")
    if member.type in _FILES and "/" not in member.name:
        raise UntrustedError(f"{name} lies in no run's folder")
    if seen and member.name.partition("/")[0] != next(iter(seen)).partition("/")[0]:
        raise UntrustedError(f"{name} is of another run")
    if member.name in seen:
        raise UntrustedError(f"{name} comes twice")
    if len(seen) >= FILES_LIMIT:
        raise UntrustedError(f"more than {FILES_LIMIT} files")
    if not 0 <= member.size <= untrusted.FILE_BYTES:
        raise UntrustedError(f"{name} is larger than {format_size(untrusted.FILE_BYTES)}")


class _Unpacked:
    """An xz file for tarfile, which reads forwards; bounded in all that a forged file asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=UNPACKER_BYTES)
        self._position, self._last, self._ahead = 0, b"", b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= READ_BYTES:
            raise UntrustedError(f"a header of {size} bytes")
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        while len(found) < size and not self._unpacker.eof:
            packed = self._file.read(READ_BYTES) if self._unpacker.needs_input else b""
            if not packed and self._unpacker.needs_input:
                raise EOFError("it ends early")
            found += self._unpacker.decompress(packed, size - len(found))
        self._position += len(found)
        self._last = found[-1:] or self._last
        if self._position > TOTAL_BYTES:
            raise UntrustedError(f"more than {format_size(TOTAL_BYTES)} unpacked")
        return found

    def seek(self, offset: int) -> None:
        if offset == self._position - 1:  # tarfile looks whether a member is whole
            self._position, self._ahead = offset, self._last
        while self._position < offset:
            if not self.read(min(READ_BYTES, offset - self._position)):
                raise EOFError("it ends early")
        if self._position != offset:
            raise UntrustedError("a member lies before one that was read")

    def tell(self) -> int:
        return self._position
