"""R8: a link that is cut in the middle of a command is `lost`, never a result.

Half of the cuts kill the session's sshd, the others break the TCP connection: reset, closed, or
silent with both ends open.
"""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import fabric
from local_sshd import LocalSshd, make_access

from perfkit.errors import LostError, PerfkitError
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, Remote

from .experiment import Experiment, Outcome
from .proxy import CLOSE, RESET, SILENCE, CuttingProxy

KILL = "sshd killed"
WAYS = (KILL, KILL, KILL, KILL, KILL, RESET, RESET, CLOSE, CLOSE, SILENCE)
SCRIPT = "echo half; sleep 0.2; echo more; sleep 60; echo whole"
SOON_S = 45.0  # a busy machine notices it late; the command itself takes longer
LIMITS = {"connect_timeout_s": 4.0, "patience_s": 20.0, "silence_s": 1.0}
BARE = 10  # cuts that bare Fabric is given, for comparison


def run(n: int, seed: int) -> Outcome:
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    chance, key = Random(seed), make_ssh_key()
    with tempfile.TemporaryDirectory(prefix="cuts-") as folder:
        sshd = LocalSshd(Path(folder), key).start()
        proxy = CuttingProxy(sshd.port)
        host = replace(sshd.host, port=proxy.port)
        access = make_access(Path(folder), key, host, sshd.host, **LIMITS)
        try:
            said = Counter(
                _cut(Remote(host, access), sshd, proxy, WAYS[number % len(WAYS)], chance)
                for number in range(n)
            )
            bare = Counter(_cut_bare(sshd, access, chance) for _ in range(min(n - 10, BARE)))
        finally:
            proxy.close()
            sshd.stop()
    told = ", ".join(f"{count} {what}" for what, count in said.most_common())
    baseline = ", ".join(f"{count} of {BARE} {what}" for what, count in bare.items())
    return Outcome(
        result=told,
        ok=said == Counter({"lost": n}),
        baseline=f"bare Fabric, warn=True: {baseline}" if bare else "",
    )


def _cut(remote: Remote, sshd: LocalSshd, proxy: CuttingProxy, way: str, chance: Random) -> str:
    proxy.arm(None)
    started = time.monotonic()
    with remote:
        delay_s = chance.uniform(0.05, 0.5)
        if way == KILL:
            deed = threading.Timer(delay_s, _kill_sessions, [sshd])
        else:
            deed = threading.Timer(delay_s, proxy.arm, [0, way])
        deed.start()
        try:
            result = remote.run_script(SCRIPT, check=False)
        except LostError:
            took_s = time.monotonic() - started
            return "lost" if took_s < SOON_S else f"lost after {took_s:.0f} s"
        except PerfkitError as exc:
            return type(exc).__name__
        finally:
            deed.join()
        return f"taken for a result with status {result.exit_status}"


def _kill_sessions(sshd: LocalSshd) -> None:
    sshd.signal(signal.SIGKILL, listener=False)


def _cut_bare(sshd: LocalSshd, access: Access, chance: Random) -> str:
    """What Fabric alone says when the session's sshd is killed."""
    connection = fabric.Connection(
        sshd.host.address,
        user=sshd.host.user,
        port=sshd.host.port,
        connect_kwargs={"key_filename": str(access.key_path), "look_for_keys": False},
    )
    deed = threading.Timer(chance.uniform(0.3, 0.6), _kill_sessions, [sshd])
    deed.start()
    try:
        result = connection.run(SCRIPT, warn=True, hide=True, in_stream=False, timeout=10)
    except Exception as exc:  # noqa: BLE001 -- whatever it is, it is what we want to know
        return f"raise {type(exc).__name__}"
    finally:
        deed.join()
        connection.close()
    return f"taken for a result with status {result.exited}"


EXPERIMENT = Experiment(
    key="R8",
    promise="a cut link is lost, never a result",
    bound=f"all lost, each within {SOON_S:g} s",
    run=run,
    quick=10,
    full=100,
)
