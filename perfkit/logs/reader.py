"""Any log file, or a whole run's, to frames: the door to this package.

`sniff` names a file's format, `read` reads one file, `read_many` reads many,
`read_run` reads all logs of a run and puts every sample on the run's time line.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path

from perfkit.errors import LogError
from perfkit.logs import parser_errors
from perfkit.logs.cache import Cache
from perfkit.logs.format import Reading
from perfkit.logs.parallel import read_all, read_one
from perfkit.logs.registry import get_format, load, recognise
from perfkit.logs.run_logs import RunLogs
from perfkit.logs.run_reader import RunReader
from perfkit.logs.timestamps import get_zone
from perfkit.runs.folder import Run


def sniff(path: Path | str) -> str:
    """The name of a file's format.

    Raises:
        UnknownFormatError: no reader recognises it; the message names those there are.
        TruncatedError: it is empty, or its compression stops in the middle.
        LogError: it cannot be opened.
    """
    path = Path(path)
    return recognise(load(path), path).name


def read(
    path: Path | str,
    format: str | None = None,  # noqa: A002 - what a caller calls it
    *,
    zone: str = "",
    cache: Path | str | None = None,
) -> Reading:
    """Read a log of any known format.

    Args:
        format: The format's name when it is known; None = recognise it.
        zone: The zone of times that were printed without one, `Europe/Helsinki` or `+0200`.
        cache: A folder that keeps what was parsed (`perfkit.logs.cache`); None = none does. Not
            used with a zone.

    Raises:
        UnknownFormatError, TruncatedError, ParseError, ReaderError, LogError: and nothing else.
    """
    path = Path(path)
    if not zone:
        return read_one(path, format, Cache(Path(cache)) if cache else None)
    data = load(path)
    chosen = get_format(format) if format else recognise(data, path)
    if not chosen.takes_zone:
        raise LogError(path, f"{chosen.name} has no times that lack their zone; leave zone out")
    try:
        known = get_zone(zone)
    except ValueError as exc:
        raise LogError(path, str(exc)) from exc
    return parser_errors.parse(chosen, data, path, zone=known)


def read_many(
    paths: Iterable[Path | str], executor: Executor | None = None
) -> list[Reading | LogError]:
    """Read logs of any known formats.

    Args:
        executor: Runs the work; anything with the `submit` of `concurrent.futures` will do, such
            as a Dask client's executor. None = threads for large logs, one by one for small ones;
            thousands of small ones are read faster by a `ProcessPoolExecutor`.

    Returns:
        For each path, in order, what `read` returns, or the error it raises.
    """
    return read_all([(Path(path), None) for path in paths], executor)


def read_run(
    run: Run | Path | str, executor: Executor | None = None, *, cached: bool = True
) -> RunLogs:
    """Read all logs of a run; needs no host and no network.

    A log that is missing or damaged is a finding, not an error: the others still count.

    Args:
        run: The run, or its folder.
        executor: Runs the work, as in `read_many`.
        cached: Keep the frames of large logs in the run's `tables/cache`, where it can be written
            to, and use those that are there. Nothing else is written.

    Raises:
        RunError: the run has no hosts or no timetable, so it measured nothing.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    return RunReader(run, executor, Cache(run.cache_dir) if cached else None).read()
