"""Parsed logs kept as parquet, so that a large log is parsed once.

An entry is found by the SHA-256 of the log's bytes and the format's name. In the schema of its
parquet is what a `Reading` has besides the frame, and which parsers made it. The hash of the whole
file is part of its name. Whatever is wrong with an entry, it is ignored and written again: the log
is the truth, and a cache that fails only costs time.

It pays from about a megabyte: 32 MB of iperf 2 come from here, hash included, in about a fourth of
the time that their parser takes, 100 kB in as much. So smaller logs are not kept, nor are large ones
that are read without loading them: 100 MB of dool are parsed in half the time that it takes here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from perfkit.errors import RunError
from perfkit.logs.format import Reading, Unparsed
from perfkit.runs.folder import write_atomic

SMALLEST_BYTES = 1_000_000
_ABOUT = b"perfkit"
# Every way in which a file that is not ours, or no longer whole, can fail to be an entry.
_DAMAGE = (OSError, pa.ArrowException, ValueError, TypeError, LookupError)


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of parsed logs.

    Attributes:
        folder: Made when the first entry is written.
        smallest_bytes: Logs below this are always parsed.
    """

    folder: Path
    smallest_bytes: int = SMALLEST_BYTES

    def find(self, raw: bytes, path: Path, format_name: str) -> Reading | None:
        """The reading of a log with these bytes; None when there is none to be trusted.

        Args:
            raw: The file as it is on disk.
            path: What the reading is to name as its file.
        """
        if len(raw) < self.smallest_bytes:
            return None
        from pyarrow import parquet as pq  # noqa: PLC0415 -- slow to load

        try:
            (place,) = self._entries(raw, format_name)
            parquet = place.read_bytes()
            if place.name.split(".")[2] != _digest(parquet):
                return None
            table = pq.read_table(pa.BufferReader(parquet))
            about = dict(json.loads(table.schema.metadata[_ABOUT]))
            if about.pop("parsers") != parsers():
                return None
            unparsed = about.pop("unparsed")
            return Reading(
                path=path,
                format=format_name,
                frame=table.to_pandas(),
                unparsed=Unparsed(**{name: _tuples(value) for name, value in unparsed.items()}),
                **{name: _tuples(value) for name, value in about.items()},
            )
        except _DAMAGE:
            return None

    def keep(self, raw: bytes, reading: Reading) -> None:
        """Write an entry; a folder that cannot be written to keeps none.

        A reading without rows is not kept: an empty frame has not its types in parquet.
        """
        if len(raw) < self.smallest_bytes or reading.frame.empty:
            return
        from pyarrow import parquet as pq  # noqa: PLC0415 -- slow to load

        about = {
            "parsers": parsers(),
            "kind": reading.kind,
            "unparsed": asdict(reading.unparsed),
            "notes": reading.notes,
            "messages": reading.messages,
            "partial": reading.partial,
        }
        table = pa.Table.from_pandas(reading.frame, preserve_index=False)
        described = {**table.schema.metadata, _ABOUT: json.dumps(about).encode()}
        target = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(described), target, compression="lz4")
        name = f"{_digest(raw)}.{reading.format}.{_digest(target.getbuffer())}.parquet"
        with contextlib.suppress(RunError, OSError):
            for old in self._entries(raw, reading.format):
                old.unlink()
            write_atomic(self.folder / name, target.getvalue())

    def _entries(self, raw: bytes, format_name: str) -> list[Path]:
        return list(self.folder.glob(f"{_digest(raw)}.{format_name}.*.parquet"))


@functools.cache
def parsers() -> str:
    """The version of the parsers: a hash of their source, which nobody can forget to raise."""
    digest = hashlib.sha256()
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _digest(raw: bytes | memoryview) -> str:
    return hashlib.sha256(raw).hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
