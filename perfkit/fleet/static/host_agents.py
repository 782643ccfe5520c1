"""The host agent's verbs on machines, over the connections of `perfkit.ssh`.

What a run's own connections use is used here too: the machine's key, its pinned host key, its jump
host; so a host that is taken can be configured. Logins stay open for a little while, since one
question is seldom alone, and end when nobody has asked for that long.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from perfkit.errors import HostError, UnreachableError
from perfkit.fleet.static.hostlist import Machine
from perfkit.ssh.keys import key_file_fault
from perfkit.ssh.remote import Access, RemotePool
from perfkit.untrusted import one_line

HOST_AGENT = Path(__file__).with_name("host_agent.sh")
STAYS_OPEN_S = 20.0
OUTPUT_CHARS = 10_000
OUTPUT_LINES = 200  # of a host agent's answer: a host may say what it likes
BEGINS = "host-agent=here"  # what stands before it, the login shell has printed

_ACCESS = Access(
    key_path=Path("none"),  # each machine has its own
    known_hosts_path=None,  # and its own pin
    connect_timeout_s=10.0,
    command_timeout_s=45.0,
    patience_s=10.0,
    may_boot=False,
    host_key_remedy="compare on its console, then perfkit trust {name}",
)
# The text of the host agent comes in on standard input; sudo hands it through.
_AS_ROOT = f"""
echo {BEGINS}
echo "shell=$SHELL"
run='text=$(cat); export text; exec sh -c "$text" perfkit-host-agent "$@"'
if [ "$(id -u)" -eq 0 ]; then exec sh -c "$run" sh "$@"; fi
command -v sudo >/dev/null || {{ echo no_root=sudo is not installed; exit 0; }}
said=$(sudo -n true 2>&1) || {{ echo "no_root=$(echo "$said" | tail -n 1)"; exit 0; }}
exec sudo -n sh -c "$run" sh "$@"
"""

Answer = Mapping[str, tuple[str, ...]]


class HostAgents:
    """Runs the host agent's verbs on machines. Thread-safe; what it opens ends by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: RemotePool | None = None
        self._users = 0
        self._closing = threading.Timer(0, self._close)

    def ask(self, machine: Machine, verb: str, *arguments: str, files: bool = False) -> Answer:
        """Run one verb of `host_agent.sh`, as root or by sudo.

        Args:
            files: Also see whether files can be put there.

        Returns:
            The key=value lines it printed, by key.

        Raises:
            UnreachableError: no login; the message says why.
            LostError, CommandTimeoutError: no answer in time.
            TransferError: with `files`, there is no SFTP.
            HostError: neither root nor sudo, or the host agent failed.
        """
        for place in (machine.jump, machine):
            if place is not None and (fault := login_fault(place)):
                behind = "" if place is machine else f"its jump host {place.name}: "
                raise UnreachableError(machine.name, behind + fault)
        # No workdir: whatever has one in its environment is ended by `clean`.
        host = machine.to_host(machine.name, workdir="")
        with self._connections() as pool:
            remote = pool.get(host)
            script = f"set -- {shlex.join([verb, *arguments])}\n{_AS_ROOT}"
            done = remote.feed_script(script, HOST_AGENT.read_bytes())
            if files:
                remote.require_files()
        noise, began, said = done.stdout.rpartition(f"{BEGINS}\n")
        answer: dict[str, tuple[str, ...]] = {"noise": (noise,)} if noise and began else {}
        for line in said.splitlines()[:OUTPUT_LINES]:
            key, _, value = line.partition("=")
            answer[key] = (*answer.get(key, ()), one_line(value, OUTPUT_CHARS))
        if "no_root" in answer:
            raise HostError(machine.name, no_root(answer, machine))
        if done.exit_status != 0:
            words = (done.stderr.strip() or done.stdout.strip() or "no reason").splitlines()[-1]
            problem = f"host agent {verb}: exit {done.exit_status}: {one_line(words, 300)}"
            raise HostError(machine.name, problem)
        return answer

    def fetch_host_key(self, machine: Machine) -> str:
        """Ask a machine for its host key, without trusting it: nobody logs in, nothing is kept.

        Raises:
            UnreachableError: it, or the jump host before it, does not answer.
        """
        if machine.jump is not None and (fault := login_fault(machine.jump)):
            raise UnreachableError(machine.name, f"its jump host {machine.jump.name}: {fault}")
        place = machine.to_host(machine.name) if machine.role else machine.to_jump()
        with self._connections() as pool:
            return pool.fetch_host_key(place)

    @contextlib.contextmanager
    def _connections(self) -> Iterator[RemotePool]:
        """The open connections; they end when nobody has used them for `STAYS_OPEN_S`."""
        with self._lock:
            self._closing.cancel()
            self._users += 1
            self._pool = pool = self._pool or RemotePool(_ACCESS)
        try:
            yield pool
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._closing = threading.Timer(STAYS_OPEN_S, self._close)
                    self._closing.daemon = True
                    self._closing.start()

    def _close(self) -> None:
        with self._lock:
            pool, self._pool = (self._pool, None) if not self._users else (None, self._pool)
        if pool is not None:
            pool.close()


def login_fault(place: Machine) -> str:
    """Why a machine cannot be logged in to, as far as this side knows; empty: nothing is known."""
    if not place.host_key:
        return f"its host key is not known: perfkit trust {place.name}"
    if not place.key_file:
        return "no key to log in with: set key_file, here or in ssh.conf"
    return key_file_fault(Path(place.key_file))


def no_root(answer: Answer, machine: Machine) -> str:
    """Why perfkit cannot be root there, and the remedy."""
    return (
        f"user {machine.user} cannot become root: {answer['no_root'][0]}; log in as root, or add "
        f"'{machine.user} ALL=(ALL) NOPASSWD: ALL' with visudo on the host"
    )
