"""R7: a command that asks somebody ends in time, is called a question, and leaves no process.

Six kinds of asking, each with other words and other ways to go on when nobody answers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import fabric
from local_sshd import LocalSshd, make_access

from perfkit.errors import PerfkitError, PromptError
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, Remote
from perfkit.testing.provider_runs import wait_until

from .experiment import Experiment, Outcome

OWN_LIMIT_S = 3.0
BOUND_S = 45.0  # a busy machine kills it late; what asks patiently would take 60 or for ever
BARE_LIMIT_S = 3.0
NOWHERE = "-F none -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null"


def commands(port: int, chance: Random) -> list[str]:
    """One of each kind."""
    ask = chance.choice(("Continue? [Y/n] ", "Overwrite /etc/x? (yes/no) ", "Your name: "))
    patient = chance.choice(("read -r x || exit 1", "while ! read -r x; do sleep 1; done"))
    conffile = "*** issue (Y/I/N/O/D/Z) [default=N] ? "
    return [
        f"printf '{ask}'; {patient}",
        "printf 'Passphrase: ' >/dev/tty; read -r x </dev/tty || exit 1",
        "passwd $(id -un)",
        f"printf '{conffile}'; read -r x || exit 1",
        chance.choice(
            (
                "echo 'sudo: a password is required' >&2; exit 1",
                "printf '[sudo] password for you: ' >&2; sleep 60",
            )
        ),
        f"ssh {NOWHERE} -p {port} 127.0.0.1 true",
    ]


def run(n: int, seed: int) -> Outcome:
    chance, key = Random(seed), make_ssh_key()
    with tempfile.TemporaryDirectory(prefix="prompts-") as folder:
        sshd = LocalSshd(Path(folder), key).start()
        access = make_access(Path(folder), key, sshd.host)
        try:
            scripts: list[str] = []
            while len(scripts) < n:
                scripts += commands(sshd.port, chance)
            said: Counter[str] = Counter()
            longest_s = 0.0
            with Remote(sshd.host, access) as remote:
                for number, script in enumerate(scripts[:n]):
                    word, took_s = _ask(remote, script, number)
                    said[word] += 1
                    longest_s = max(longest_s, took_s)
            bare = Counter(_ask_bare(sshd, access, script) for script in scripts[6:12])
        finally:
            sshd.stop()
    told = ", ".join(f"{count} {word}" for word, count in said.most_common())
    baseline = ", ".join(f"{count} of 6 {word}" for word, count in bare.most_common())
    return Outcome(
        result=f"{told}; the longest took {longest_s:.1f} s",
        ok=said == Counter({"called a question": n}) and longest_s <= BOUND_S,
        baseline=f"bare Fabric with a terminal: {baseline}" if bare else "",
    )


def _ask(remote: Remote, script: str, number: int) -> tuple[str, float]:
    mark = f": prompt-{os.getpid()}-{number}-{id(remote)}"
    started = time.monotonic()
    try:
        remote.run_script(f"{mark}\n{script}", timeout_s=OWN_LIMIT_S)
        word = "ended well"
    except PromptError:
        word = "called a question"
    except PerfkitError as exc:
        word = f"called {type(exc).__name__} ({script})"
    took_s = time.monotonic() - started
    is_gone = wait_until(lambda: not _is_running(mark), BOUND_S)  # a killed process has to be run
    return (word if is_gone else "left a process"), took_s


def _is_running(mark: str) -> bool:
    for pid in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def _ask_bare(sshd: LocalSshd, access: Access, script: str) -> str:
    """What Fabric does with a pseudo-terminal, as recipes for people often have it."""
    connection = fabric.Connection(
        sshd.host.address,
        user=sshd.host.user,
        port=sshd.host.port,
        connect_kwargs={"key_filename": str(access.key_path), "look_for_keys": False},
    )
    try:
        connection.run(
            script, warn=True, hide=True, pty=True, in_stream=False, timeout=BARE_LIMIT_S
        )
    except Exception as exc:  # noqa: BLE001 -- whatever it is, it is what we want to know
        return "hung to its limit" if "Timed" in type(exc).__name__ else type(exc).__name__
    finally:
        connection.close()
    return "ended"


EXPERIMENT = Experiment(
    key="R7",
    promise="a command that asks somebody ends in time and leaves no process",
    bound=f"all called a question, each within {BOUND_S:g} s, 0 processes left",
    run=run,
    quick=6,
    full=30,
)
