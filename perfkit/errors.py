"""Every error perfkit raises on purpose.

::

    PerfkitError
    ├── ConfigError (ValueError)        a setting, a parameter or a .conf file is wrong
    ├── RunError                        a run folder is missing, foreign, locked or damaged
    │   └── JournalError                its journal is damaged before the tail
    ├── ProviderError                   making or listing hosts
    │   ├── NotSetUpError               nobody has filled in its file in config/
    │   ├── LaunchError                 hosts could not be made
    │   │   ├── LaunchRefusedError      nor can any more: permission, quota, image, network
    │   │   └── LaunchUnknownError      it is not known whether they were made
    │   └── ReleaseError                something could not be released   (.leaked)
    ├── HostError                       one host, by name                 (.host)
    │   ├── UnreachableError            no authenticated connection was ever made
    │   ├── LostError                   the connection went away: the outcome is not known
    │   ├── CommandError                a command ended with another status than 0
    │   │   └── CommandTimeoutError     it was ended at its time limit
    │   ├── PromptError                 it asked a question; nobody can answer
    │   └── TransferError               a file did not arrive whole
    ├── StageError                      too many hosts failed a phase     (.results)
    ├── StoppedError                    a person stopped a phase          (.leaked)
    ├── ScheduleError                   the timetable cannot be kept
    ├── CollectError                    logs are missing                  (.missing)
    ├── LogError                        a log file                        (.path)
    │   ├── UnknownFormatError          no reader recognises it
    │   ├── ParseError                  damaged at a known line           (.line_no .line .reason)
    │   ├── TruncatedError              it ends in the middle
    │   └── ReaderError                 its reader broke; the log may be sound
    ├── UntrustedError (ValueError)     what a host sent is beyond a bound; callers add the host
    │   └── DamagedPackError            packed data is cut or damaged
    ├── FrameError (ValueError)         a frame breaks the column contract
    ├── SegmentError (ValueError)       a window holds no data or is not a window
    ├── StoreError                      the store of runs is damaged, or a query of it is wrong
    ├── CampaignError                   runs that cannot be compared or repeated
    └── ExecutorError                   work on many runs found no worker that can do it
        └── UnitsFailedError            some of them could not be done    (.failures)

A message says what, where, what was expected and what was found, and what to do next. All
arguments go to `super().__init__`, so `str`, `repr` and `pickle` work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class PerfkitError(Exception):
    """Root of the tree; catch it to catch everything perfkit raises on purpose."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are: {', '.join(names)}"


class ConfigError(PerfkitError, ValueError):
    """A setting is wrong: which file or source, which key, which value, and the remedy."""

    def __init__(self, source: str, key: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(source, key, value, problem, remedy)
        self.source, self.key, self.value = source, key, value
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.source}: {self.key} = {self.value!r}: {self.problem}; {self.remedy}"


class RunError(PerfkitError):
    """A run folder is missing, foreign, locked by another process, or damaged."""


class JournalError(RunError):
    """The journal is damaged before its tail, so what happened is not known."""


class ProviderError(PerfkitError):
    """A provider could not do what it was asked."""


class NotSetUpError(ProviderError):
    """The provider's file in config/ is not there: it was never asked for anything."""


class LaunchError(ProviderError):
    """Hosts could not be made."""


class LaunchRefusedError(LaunchError):
    """Hosts could not be made, and asking for more is of no use: permission, quota, image."""


class LaunchUnknownError(LaunchError):
    """The provider was asked and did not answer: hosts may exist that nobody has seen."""


class ReleaseError(ProviderError):
    """Something a run made could not be released; `leaked` names it."""

    def __init__(self, message: str, leaked: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(leaked))
        self.message, self.leaked = message, tuple(leaked)

    def __str__(self) -> str:
        return f"{self.message}: still there: {', '.join(self.leaked) or 'unknown'}"


class HostError(PerfkitError):
    """Something failed on one host."""

    def __init__(self, host: str, message: str, *more: object) -> None:
        super().__init__(host, message, *more)
        self.host, self.message = host, message

    def __str__(self) -> str:
        return f"{self.host}: {self.message}"


class UnreachableError(HostError):
    """No authenticated connection to the host was ever made."""


class LostError(HostError):
    """The connection went away during a command or a transfer: its outcome is not known."""


class CommandError(HostError):
    """A remote command ended with another status than 0."""

    def __init__(
        self,
        host: str,
        message: str,
        command: str = "",
        exit_status: int | None = None,
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(host, message, command, exit_status, stdout, stderr)
        self.command, self.exit_status = command, exit_status
        self.stdout, self.stderr = stdout, stderr

    def __str__(self) -> str:
        lines = [f"{self.host}: {self.message}", f"  command: {self.command}"]
        if self.exit_status is not None:
            lines.append(f"  exit status: {self.exit_status}")
        for title, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            tail = text.rstrip().splitlines()[-10:]
            lines += [f"  {title}: {line}" for line in tail]
        return "\n".join(lines)


class CommandTimeoutError(CommandError):
    """A remote command was ended at its time limit, on both sides."""


class PromptError(HostError):
    """A remote command asked a question that nobody can answer; `last_line` is the question."""

    def __init__(self, host: str, message: str, command: str = "", last_line: str = "") -> None:
        super().__init__(host, message, command, last_line)
        self.command, self.last_line = command, last_line

    def __str__(self) -> str:
        return (
            f"{self.host}: {self.message}: {self.last_line!r} (command: {self.command}); "
            "make the command non-interactive, for example with -y or --batch"
        )


class TransferError(HostError):
    """A file did not arrive whole."""


class StageError(PerfkitError):
    """Too many hosts failed a phase for the run to go on; `results` has one entry a host."""

    def __init__(self, message: str, results: Sequence[Any] = ()) -> None:
        super().__init__(message, tuple(results))
        self.message, self.results = message, tuple(results)

    def __str__(self) -> str:
        return self.message


class StoppedError(PerfkitError):
    """A person stopped a phase and its hosts were released; `leaked` names what is still there."""

    def __init__(self, message: str, leaked: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(leaked))
        self.message, self.leaked = message, tuple(leaked)

    def __str__(self) -> str:
        return self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: a person who pressed *Stop* needs no traceback."""
        return [f"{type(self).__name__}: {self}"]


class ScheduleError(PerfkitError):
    """The timetable cannot be kept: overlapping tests, a start in the past."""


class CollectError(PerfkitError):
    """Logs are missing; `missing` names host and file."""

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(missing))
        self.message, self.missing = message, tuple(missing)

    def __str__(self) -> str:
        return f"{self.message}: {', '.join(self.missing)}"


class LogError(PerfkitError):
    """A log file cannot be used; `path` names it."""

    def __init__(self, path: Path | str, message: str, *more: object) -> None:
        super().__init__(str(path), message, *more)
        self.path, self.message = Path(path), message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class UnknownFormatError(LogError):
    """No reader recognises the file."""


class ParseError(LogError):
    """The file is damaged at a known line."""

    def __init__(self, path: Path | str, line_no: int, line: str, reason: str) -> None:
        super().__init__(path, reason, line_no, line[:200])
        self.args = (str(path), line_no, line[:200], reason)
        self.line_no, self.line, self.reason = line_no, line[:200], reason

    def __str__(self) -> str:
        return f"{self.path}:{self.line_no}: {self.reason}: {self.line!r}"


class TruncatedError(LogError):
    """The file ends in the middle."""


class ReaderError(LogError):
    """A reader raised what none may raise; that is its own fault, and the log may be sound."""


class UntrustedError(PerfkitError, ValueError):
    """What a host sent is refused: too large, too deep, or not of its form."""


class DamagedPackError(UntrustedError):
    """Packed data is cut or damaged."""


class FrameError(PerfkitError, ValueError):
    """A frame breaks the column contract of `perfkit.logs.frames`."""


class SegmentError(PerfkitError, ValueError):
    """A window holds no data, or its borders are not a window."""


class StoreError(PerfkitError):
    """The store of runs cannot be read, or a query of it is wrong."""


class CampaignError(PerfkitError):
    """Runs that cannot be repeated or compared."""


class ExecutorError(PerfkitError):
    """Work on many runs could not be given out: no workers, or none that can do it."""


class UnitsFailedError(ExecutorError):
    """Some runs, blocks or logs could not be worked on; `failures` says why, by name."""

    def __init__(self, of: str, failures: Mapping[str, str]) -> None:
        super().__init__(of, dict(failures))
        self.of, self.failures = of, dict(failures)

    def __str__(self) -> str:
        lines = [f"  {name}: {why}" for name, why in self.failures.items()]
        return "\n".join(
            [f"{len(self.failures)} of {self.of} could not be done; all others were:", *lines]
        )
