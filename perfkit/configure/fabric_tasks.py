"""The Fabric connection that recipes get, and how a Fabric file's tasks are found and run.

The only importer of fabric and invoke; their errors end here, in `do_task`.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import IO, Any

import fabric
import fabric.exceptions
import fabric.runners
import invoke.exceptions
import invoke.tasks

from perfkit.errors import CommandError, ConfigError, PerfkitError, PromptError
from perfkit.ssh.commands import CommandResult, failed, find_question
from perfkit.ssh.connection import NO_SSH_CONFIG
from perfkit.ssh.foreign_errors import FOREIGN
from perfkit.ssh.remote import Remote

Task = Callable[[fabric.Connection], object]

_RECIPE_ERRORS: tuple[type[Exception], ...] = tuple(
    kind
    for module in (invoke.exceptions, fabric.exceptions)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)


class GuardedConnection(fabric.Connection):  # type: ignore[misc] # fabric ships no types
    """What recipes get: a Fabric connection whose commands go through a `Remote`.

    `run`, `sudo`, `put`, `get`, `cd`, `prefix` mean what Fabric says, with these differences:
    output is never printed but logged, there is no pty, input is at end of file, `sudo` is
    always `sudo -n` (and nothing at all for root, who may not have sudo installed), a lost
    connection raises also under `warn=True`, and nothing runs in the background.
    """

    def __init__(self, remote: Remote) -> None:
        config = fabric.Config(lazy=True, ssh_config=NO_SSH_CONFIG)  # lazy: reads no file
        host = remote.host
        super().__init__(host.address, user=host.user, port=host.port, config=config)
        self._set(remote=remote)

    @property
    def is_connected(self) -> bool:
        """The remote is open."""
        return bool(self.remote.connection.is_open)

    def open(self) -> None:
        """Open the remote, unless it is."""
        self.remote.open()

    def close(self) -> None:
        """Nothing: the pool decides how long connections live."""

    def run(self, command: str, **options: Any) -> fabric.runners.Result:
        """Run a command as `Connection.run` does, guarded.

        Raises:
            invoke.exceptions.UnexpectedExit: another status than 0, unless `warn=True`.
            PerfkitError: it asked a question, ran into its limit, or the connection was lost.
        """
        if options.get("asynchronous") or options.get("disown"):
            raise CommandError(
                self.remote.host.name,
                "a recipe may not leave commands running; start them with setsid, "
                "their streams redirected, in a command that ends",
                command,
            )
        command = self._prefix_commands(command)
        warn = bool(options.get("warn"))
        done = self.remote.run_script(
            command, timeout_s=options.get("timeout"), check=False, env=options.get("env")
        )
        result = fabric.runners.Result(
            connection=self,
            command=command,
            stdout=done.stdout,
            stderr=done.stderr,
            exited=done.exit_status,
            hide=("stdout", "stderr"),
        )
        if done.exit_status != 0 and not warn:
            if find_question(done.stdout, done.stderr) is not None:
                raise failed(done)
            raise invoke.exceptions.UnexpectedExit(result)
        return result

    def sudo(self, command: str, *, user: str | None = None, **options: Any) -> Any:
        """Run a command as root, or as `user`, without ever asking for a password."""
        options.pop("password", None)
        if user is None and self.user == "root":
            return self.run(command, **options)
        as_user = f"-H -u {quote(user)} " if user else ""
        return self.run(f"sudo -n {as_user}{command}", **options)

    def local(self, *args: Any, **options: Any) -> Any:
        """Run a command here, on the controller, as `Connection.local` does; no input either."""
        return super().local(*args, **{"hide": True, **options, "in_stream": io.StringIO()})

    def shell(self, **_: Any) -> Any:
        """Refused: an interactive shell waits on a person."""
        raise PromptError(self.remote.host.name, "a recipe wanted an interactive shell", "shell")

    def sftp(self) -> Any:
        """The remote's file channel, on which every answer has a limit."""
        return self.remote.connection.sftp()

    def get(self, *args: Any, **options: Any) -> Any:
        """Download as `Connection.get` does."""
        with self.remote.connection.files():
            return super().get(*args, **options)

    def put(self, local: str | IO[bytes], remote: str | None = None, **options: Any) -> Any:
        """Upload as `Connection.put` does; logged."""
        try:
            with self.remote.connection.files():
                result = super().put(local, remote, **options)
        except OSError as exc:
            if "size mismatch" in str(exc):  # what sftp says of a disk that took only a part
                raise OSError(f"{remote}: {exc}: is the host's disk full?") from exc
            raise
        self.remote.connection.log.write(f"put {result.remote}")
        return result


def load_tasks(fabfile: Path) -> dict[str, Task]:
    """Load a Fabric file and return its tasks by their Python names.

    Raises:
        ConfigError: it is not there, or Python cannot run it; the message says where it broke.
    """
    spec = importlib.util.spec_from_file_location(f"perfkit_recipes_{fabfile.stem}", fabfile)
    if spec is None or spec.loader is None or not fabfile.is_file():
        raise ConfigError(
            str(fabfile), "fabfile", fabfile.name, "not there", "restore resources/fabfile.py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(fabfile.parent))  # as `fab` does: recipes may import their neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        problem = f"{_place(exc, fabfile.absolute().parent)}: {type(exc).__name__}: {exc}"
        raise ConfigError(
            str(fabfile), "fabfile", fabfile.name, problem, "fix it; `fab -r … --list` checks it"
        ) from exc
    finally:
        sys.path.remove(str(fabfile.parent))
    return {name: it for name, it in vars(module).items() if isinstance(it, invoke.tasks.Task)}


def do_task(task: Task, connection: GuardedConnection) -> None:
    """Run a Fabric task on a host; what Fabric, invoke and the task itself raise becomes our error.

    File and line of the recipe are in the message.

    Raises:
        CommandError: a command of the task failed, the task raised `invoke.Exit`, or it is at fault.
        PerfkitError: what the guarded connection raised, as it is.
    """
    remote = connection.remote
    with remote.connection.translated(f"doing recipe {getattr(task, '__name__', task)}"):
        _call(task, connection)


def _call(task: Task, connection: GuardedConnection) -> None:
    """Run a task; what a connection raises passes, with the place as a note."""
    host, name = connection.remote.host.name, getattr(task, "__name__", str(task))
    folder = _folder_of(task)
    try:
        task(connection)
    except PerfkitError:
        raise
    except invoke.exceptions.UnexpectedExit as exc:
        raise failed(_result_of(host, exc.result), where=_place(exc, folder)) from exc
    except _RECIPE_ERRORS as exc:
        detail = str(exc) or type(exc).__name__
        raise CommandError(
            host, f"recipe {name} gave up: {detail} ({_place(exc, folder)})"
        ) from exc
    except (Exception, SystemExit) as exc:
        place = _place(exc, folder)
        if isinstance(exc, FOREIGN) and not _is_raised_in(exc, folder):
            exc.add_note(place)
            raise
        raise CommandError(
            host, f"recipe {name} failed: {place}: {type(exc).__name__}: {exc}"
        ) from exc


def _folder_of(task: Task) -> Path:
    """Where the file of a task is, or a place where no file is."""
    code = getattr(getattr(task, "body", task), "__code__", None)
    return Path(code.co_filename).parent if code else Path(os.devnull)


def _place(exc: BaseException, folder: Path) -> str:
    """File and line below a folder where an error came from: the innermost there."""
    if isinstance(exc, SyntaxError) and exc.filename and Path(exc.filename).parent == folder:
        return f"{Path(exc.filename).name} line {exc.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    if not frames:
        return "before its first line"
    return f"{Path(frames[-1].filename).relative_to(folder)} line {frames[-1].lineno}"


def _is_raised_in(exc: BaseException, folder: Path) -> bool:
    frames = traceback.extract_tb(exc.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(folder)


def _result_of(host: str, result: Any) -> CommandResult:
    return CommandResult(
        host=host,
        command=result.command,
        exit_status=result.exited,
        stdout=result.stdout,
        stderr=result.stderr,
        elapsed_s=0.0,
    )
