"""Any log file, or a whole run's, to frames: the door to this package.

`sniff` names a file's format, `read` reads one file, `read_run` reads all logs of a run and puts
every sample on the run's time line.
"""

from __future__ import annotations

from pathlib import Path

from perfkit.errors import LogError
from perfkit.logs.format import Reading
from perfkit.logs.registry import get_format, load, recognise
from perfkit.logs.runlogs import RunLogs
from perfkit.logs.runreader import RunReader
from perfkit.logs.stamps import get_zone
from perfkit.runs import Run


def sniff(path: Path) -> str:
    """The name of a file's format.

    Raises:
        UnknownFormatError: no reader recognises it; the message names those there are.
        TruncatedError: it is empty, or its compression stops in the middle.
        LogError: it cannot be opened.
    """
    return recognise(load(path), path).name


def read(
    path: Path,
    format: str | None = None,  # noqa: A002 - what a caller calls it
    *,
    zone: str = "",
) -> Reading:
    """Read a log of any known format.

    Args:
        format: The format's name when it is known; None = recognise it.
        zone: The zone of times that were printed without one, `Europe/Helsinki` or `+0200`.

    Raises:
        UnknownFormatError, TruncatedError, ParseError, LogError: and nothing else.
    """
    data = load(path)
    chosen = get_format(format) if format else recognise(data, path)
    if not zone:
        return chosen.parse(data, path)
    if chosen.parse_local is None:
        raise LogError(path, f"{chosen.name} has no times that lack their zone; leave zone out")
    try:
        known = get_zone(zone)
    except ValueError as exc:
        raise LogError(path, str(exc)) from exc
    return chosen.parse_local(data, path, known)


def read_run(run: Run) -> RunLogs:
    """Read all logs of a run; needs no host and no network, and writes nothing.

    A log that is missing or damaged is a finding, not an error: the others still count.

    Raises:
        RunError: the run has no hosts or no timetable, so it measured nothing.
    """
    return RunReader(run).read()
