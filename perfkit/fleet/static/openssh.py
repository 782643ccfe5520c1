"""Machines reached with OpenSSH's own client: a script in, its output out; host keys fetched.

A provider lies below `perfkit.configure` and cannot use its connections; and what a person can
reach with `ssh` is best tried with `ssh`. Everything it may do stands in a configuration made here:
one key, one pinned host key a machine, no agent forwarding, no questions, nothing of the user's
own ssh_config. Jump hosts get the same configuration, because `ssh` hands it on to them.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from perfkit import ownership
from perfkit.errors import HostError, LostError, PerfkitError, ProviderError, UnreachableError
from perfkit.fleet.static.hostlist import KEY_TYPES, Machine
from perfkit.fleet.static.jumps import JumpHosts
from perfkit.ssh.keys import fingerprint, key_file_fault, refused_key, wrong_host_key
from perfkit.untrusted import one_line

HOST_AGENT = Path(__file__).with_name("host_agent.sh")
CONNECT_TIMEOUT_S = 10
STAYS_OPEN_S = 20  # a login serves the next question too
COMMAND_TIMEOUT_S = 45.0
AT_ONCE = 64  # more than a lab has: whoever does not answer costs a whole timeout
OUTPUT_LINES = 200  # of a host agent's answer: a host may say what it likes
OUTPUT_CHARS = 10_000
OUTPUT_BYTES = 2**20
BEGINS = "host-agent=here"  # what stands before it, the login shell has printed

_FOLDER = "perfkit-ssh-"
_COMMON = f"""\
Host *
  BatchMode yes
  StrictHostKeyChecking yes
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  IdentitiesOnly yes
  PreferredAuthentications publickey
  ForwardAgent no
  ForwardX11 no
  PermitLocalCommand no
  ControlMaster auto
  ControlPersist {STAYS_OPEN_S}
  EscapeChar none
  ConnectTimeout {CONNECT_TIMEOUT_S}
  ServerAliveInterval 5
  ServerAliveCountMax 2
  LogLevel ERROR
"""

_WRONG_KEY = ("HOST IDENTIFICATION HAS CHANGED", "Host key verification failed")
_SHOWN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
# What the client says, and what it means; the first that fits.
_CAUSES = (
    ("Connection refused", "connection refused"),
    ("Could not resolve hostname", "its name is not known"),
    ("timed out", "no answer in time"),
    ("Permission denied", "it lets nobody in without a key, and none is named for it"),
)

# Some login shells are no POSIX shells, so sh is asked for, in words that all of them understand.
# The text of the host agent comes in on standard input; sudo hands it through.
_ENCODED = """sh -c 'eval "$(echo {} | base64 -d)"'"""
_AS_ROOT = f"""
echo {BEGINS}
echo "shell=$SHELL"
run='text=$(cat); export text; exec sh -c "$text" perfkit-host-agent "$@"'
if [ "$(id -u)" -eq 0 ]; then exec sh -c "$run" sh "$@"; fi
command -v sudo >/dev/null || {{ echo no_root=sudo is not installed; exit 0; }}
said=$(sudo -n true 2>&1) || {{ echo "no_root=$said" | head -n 1; exit 0; }}
exec sudo -n sh -c "$run" sh "$@"
"""

Answer = Mapping[str, tuple[str, ...]]
T = TypeVar("T")


class HostAgents:
    """Runs the host agent's verbs on machines; the configuration lives as long as this object."""

    def __init__(self, places: Iterable[Machine]) -> None:
        folder, lock = _own_folder()
        self._config, self._known_hosts = folder / "config", folder / "known_hosts"
        weakref.finalize(self, _end_logins, self._config, lock)
        places = list(places)
        # A host without a pin is in no file of pins, so OpenSSH refuses it.
        pins = "".join(f"{place.name} {place.host_key}\n" for place in places if place.host_key)
        self._known_hosts.write_text(pins)
        text = f"{_COMMON}  UserKnownHostsFile {self._known_hosts}\n  ControlPath {folder}/%n\n"
        self._config.write_text("".join([text, *(_section(place) for place in places)]))
        self._jumps = JumpHosts(self._login, str(folder))
        self._jump_names = {place.jump.name for place in places if place.jump}

    def ask(self, machine: Machine, verb: str, *arguments: str) -> Answer:
        """Run one verb of `host_agent.sh`, as root or by sudo.

        Returns:
            The key=value lines it printed, by key.

        Raises:
            UnreachableError: no login; the message says why.
            LostError: no answer in time.
            HostError: neither root nor sudo, or the host agent failed.
        """
        script = f"set -- {shlex.join([verb, *arguments])}\n{_AS_ROOT}"
        command = _ENCODED.format(base64.b64encode(script.encode()).decode())
        done = self._reach(machine, [machine.name, command], HOST_AGENT.read_text())
        if done.returncode == 255:
            raise self._unreachable(machine, done.stderr)
        noise, began, said = done.stdout.rpartition(f"{BEGINS}\n")
        answer: dict[str, tuple[str, ...]] = {"noise": (noise,)} if noise and began else {}
        for line in said.splitlines()[:OUTPUT_LINES]:
            key, _, value = line.partition("=")
            answer[key] = (*answer.get(key, ()), one_line(value, OUTPUT_CHARS))
        if "no_root" in answer:
            raise HostError(machine.name, f"{no_root(answer, machine)}")
        if done.returncode != 0:
            words = one_line((done.stderr.strip() or "no word why").splitlines()[-1], 300)
            raise HostError(machine.name, f"host agent {verb}: exit {done.returncode}: {words}")
        return answer

    def fetch_key(self, machine: Machine) -> str:
        """Ask a machine for its host key, without trusting it: nobody logs in, nothing is kept.

        Raises:
            UnreachableError: it, or the jump host before it, does not answer.
        """
        with tempfile.TemporaryDirectory(prefix="perfkit-key-") as folder:
            shown = Path(folder) / "shown"
            options = {
                "UserKnownHostsFile": str(shown),
                # The client only tells the key to a file it may write. This one ends with the call.
                "StrictHostKeyChecking": "accept-new",
                "HostKeyAlgorithms": "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256",
                "PreferredAuthentications": "none",
                "ControlPath": "none",
            }
            words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
            done = self._reach(machine, [*words, machine.name, "true"], "")
            lines = shown.read_text().splitlines() if shown.exists() else []
        keys = {line.split()[1]: " ".join(line.split()[1:3]) for line in lines}
        for kind in KEY_TYPES:
            if kind in keys:
                return keys[kind]
        raise self._unreachable(machine, done.stderr)

    def _reach(
        self, machine: Machine, words: Sequence[str], text: str
    ) -> subprocess.CompletedProcess[str]:
        """Call `ssh` for a machine, once its jump host is logged in to."""
        if text and machine.key_file and (fault := key_file_fault(Path(machine.key_file))):
            raise UnreachableError(machine.name, fault)
        if fault := self._jumps.find_fault(machine):
            raise UnreachableError(machine.name, fault)
        # A host that others lie behind: two logins at once to one place would wait for each other.
        if machine.name in self._jump_names and (fault := self._jumps.find_own_fault(machine)):
            raise UnreachableError(machine.name, fault)
        try:
            return self._ssh(machine, words, text)
        except LostError as exc:
            if fault := self._jumps.find_fault(machine, again=True):
                raise LostError(machine.name, f"{exc.message}: {fault}") from exc
            raise

    def _unreachable(self, machine: Machine, stderr: str) -> UnreachableError:
        fault = self._jumps.find_fault(machine, again=True)
        if not fault and machine.host_key and _is_wrong_key(stderr) and not _SHOWN.search(stderr):
            with contextlib.suppress(HostError):  # a key of another type, which ssh does not show
                stderr += f"\n{fingerprint(self.fetch_key(machine))}"
        return UnreachableError(machine.name, fault or _cause(machine, stderr))

    def _login(self, machine: Machine, words: Sequence[str]) -> str:
        """Call `ssh` for a jump host; what went wrong, or empty."""
        try:
            done = self._ssh(machine, words, "")
        except LostError as exc:
            return exc.message
        return _cause(machine, done.stderr) if done.returncode else ""

    def _ssh(
        self, machine: Machine, words: Sequence[str], text: str
    ) -> subprocess.CompletedProcess[str]:
        # Not pipes: the login that stays open may hold on to standard error.
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
            stdin.write(text.encode())
            stdin.seek(0)
            process = subprocess.Popen(
                ["ssh", "-F", str(self._config), *words],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
                start_new_session=True,  # no terminal: there is nobody to ask
            )
            with process:
                try:
                    stdout = _bounded_output(process, machine, stderr)
                finally:
                    process.kill()
            stderr.seek(0)
            said = stderr.read(OUTPUT_CHARS).decode(errors="replace")
        return subprocess.CompletedProcess(
            process.args, process.returncode, stdout.decode(errors="replace"), said
        )


def _bounded_output(process: subprocess.Popen[bytes], machine: Machine, stderr: IO[bytes]) -> bytes:
    """What the client prints until it ends; a host that says too much is not listened to.

    Raises:
        LostError: no end in time. HostError: more than `OUTPUT_BYTES`.
    """
    assert process.stdout is not None
    give_up_s = time.monotonic() + COMMAND_TIMEOUT_S
    found = b""
    while (left_s := give_up_s - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], min(left_s, 1.0))[0]:
            data = os.read(process.stdout.fileno(), OUTPUT_BYTES)
            found += data
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(left_s)
                    return found
        if len(found) + os.fstat(stderr.fileno()).st_size > OUTPUT_BYTES:
            raise HostError(machine.name, f"it printed more than {OUTPUT_BYTES} bytes")
    raise LostError(machine.name, f"no answer within {COMMAND_TIMEOUT_S:g} s")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SSH_AUTH_SOCK") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def _own_folder() -> tuple[Path, int]:
    """A new folder for one configuration, and the open descriptor that says it is in use.

    Not in the run's folder, whose path may be longer than a socket's can be. Folders of processes
    that were killed go at this opportunity: their locks went with them.

    Raises:
        ProviderError: others could put their own configuration in its place.
    """
    if fault := ownership.find_temporary_fault():
        raise ProviderError(fault)
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):  # somebody else's, just removed, or in use
            _remove_left(folder)
    made = Path(tempfile.mkdtemp(prefix=_FOLDER))
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return made, lock


def _remove_left(folder: Path) -> None:
    """Remove a folder that nobody uses.

    Raises:
        OSError: it is in use, or not ours.
    """
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        about = os.fstat(found)
        # A folder is made before it is locked, and its logins outlive a killed process a little.
        if about.st_uid == os.getuid() and time.time() - about.st_mtime > 3 * STAYS_OPEN_S:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(found)


def _end_logins(config: Path, lock: int) -> None:
    """End the connections that were kept open, and remove the configuration they belong to."""
    sockets = [path.name for path in config.parent.iterdir() if path.is_socket()]
    ended = [
        subprocess.Popen(
            ["ssh", "-F", str(config), "-O", "exit", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in sockets
    ]
    for process in ended:
        process.wait(CONNECT_TIMEOUT_S)
    shutil.rmtree(config.parent, ignore_errors=True)
    os.close(lock)


def no_root(answer: Answer, machine: Machine) -> str:
    """Why perfkit cannot be root there, and the remedy."""
    return (
        f"user {machine.user} cannot become root: {answer['no_root'][0]}; log in as root, or add "
        f"'{machine.user} ALL=(ALL) NOPASSWD: ALL' with visudo on the host"
    )


def on_all(
    machines: Sequence[Machine], work: Callable[[Machine], T]
) -> dict[str, T | PerfkitError]:
    """Do the same with many machines at once; by name, what came of it or what went wrong."""

    def guarded(machine: Machine) -> T | PerfkitError:
        try:
            return work(machine)
        except PerfkitError as exc:
            return exc

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="static") as pool:
        return dict(
            zip([machine.name for machine in machines], pool.map(guarded, machines), strict=True)
        )


def _section(place: Machine) -> str:
    options = {
        "HostName": place.address,
        "Port": str(place.port),
        "User": place.user,
        "HostKeyAlias": place.name,
        "IdentityFile": f'"{place.key_file}"' if place.key_file else "none",
        "ProxyJump": place.jump.name if place.jump else "none",
    }
    lines = [f"  {key} {value}\n" for key, value in options.items()]
    return "".join([f"Host {place.name}\n", *lines])


def _cause(machine: Machine, stderr: str) -> str:
    """What the client's last words mean; the words themselves, made harmless, go with it."""
    words = " ".join(line.strip() for line in stderr.splitlines() if line.strip("@ \r"))[-300:]
    words = "".join(letter if letter.isprintable() else "?" for letter in words)
    if _is_wrong_key(stderr):
        if not machine.host_key:
            return f"no host key is pinned: run perfkit trust {machine.name}"
        shown = _SHOWN.search(stderr)
        fault = wrong_host_key(machine.host_key, shown[0] if shown else "")
        return f"{fault}: compare on its console, then perfkit trust {machine.name}"
    if "Permission denied" in stderr and machine.key_file:
        return refused_key(Path(machine.key_file), machine.user)
    cause = next((text for sign, text in _CAUSES if sign in stderr), "no SSH session")
    said = words or "the connection ended without a word"
    return f"{cause} ({said})"


def _is_wrong_key(stderr: str) -> bool:
    return any(sign in stderr for sign in _WRONG_KEY)
