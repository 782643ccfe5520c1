"""The one process of a run that needs root: it makes the run's network and its hosts.

::

    python -m perfkit.fleet.local.keeper keep "perfkit-keeper run=… expires=… uid=… hosts=…" [hidden path …]
    python -m perfkit.fleet.local.keeper end RUN [host …]
    python -m perfkit.fleet.local.keeper probe
    python -m perfkit.fleet.local.keeper probe-links NEED …

Started as root, directly or by `sudo -n`. `keep` serves launch requests until the run expires, is
ended, or the process is killed; the run's network lives exactly as long as it does. `end` ends
hosts, or the whole run, by tag. `probe` tries once what a host needs, `probe-links` what links need. Keys come in over the socket
and go to the hosts' own tmpfs; nothing is written to the machine's disk.

Wire format: one JSON line in, one JSON line out, on a unix socket in a folder of root's (`claims`);
the peer must be root or the user who started the run (SO_PEERCRED).
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from perfkit.errors import PerfkitError
from perfkit.fleet.local import claims, cleanup, linux, tags
from perfkit.fleet.provider import RUN_ID_PATTERN
from perfkit.model import HostLink

MAX_REQUEST_BYTES = 16 * 1024 * 1024
REQUEST_TIMEOUT_S = 10.0
READY = "ready\n"
EXISTS = "exists\n"


class Ended(BaseException):
    """The run is being ended: SIGTERM arrived."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user who hold the other end of a unix socket: PID, uid."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    return int(pid), int(uid)


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands of the module's docstring."""
    match list(arguments):
        case ["keep", tag, *hidden]:
            return _keep(tag, [Path(path) for path in hidden])
        case ["end", run_id, *names]:
            print(json.dumps(cleanup.end_here(run_id, names or None)))
            return 0
        case ["probe"]:
            from perfkit.fleet.local.host_factory import probe  # noqa: PLC0415 -- slow to load; `end` does without

            return _tried(probe)
        case ["probe-links", *needs]:
            from perfkit.fleet.local.links import probe as probe_links  # noqa: PLC0415 -- slow to load, as the other

            return _tried(lambda: probe_links(needs))
    print(__doc__, file=sys.stderr)
    return 2


def _keep(tag: str, hidden: Sequence[Path]) -> int:
    parsed = tags.parse_tag(tag)
    if parsed is None or not RUN_ID_PATTERN.fullmatch(parsed[1]["run"]):
        print(f"not a keeper's tag: {tag}", file=sys.stderr)
        return 2
    fields = parsed[1]
    # What a shell or a lock's holder left open would be open in every host.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    try:
        listener = claims.listen(fields["run"], int(fields["uid"]))
    except (PerfkitError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    if listener is None:
        _say(EXISTS)
        return 0
    os.chdir("/")
    os.umask(0o022)  # whoever launched may have a stricter one; hosts have the usual one
    # Ignored children leave no zombies: the kernel reaps hosts and whatever they leave behind.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    try:
        keeper = Keeper(fields, hidden)
        _say(READY)
        linux.redirect_stdio()
        keeper.serve(listener)
    except Ended:
        pass
    except (PerfkitError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listener.close()
        claims.forget(fields["run"])
        cleanup.end_hosts(fields["run"])
    return 0


def _say(word: str) -> None:
    """Tell who started us, in one write: whoever has read the word may close the pipe."""
    os.write(1, word.encode())


def _end(_number: int, _frame: FrameType | None) -> None:
    raise Ended


class Keeper:
    """The run's network and the maker of its hosts; moves this process into their namespaces."""

    def __init__(self, fields: dict[str, str], hidden: Sequence[Path]) -> None:
        from perfkit.fleet.local.host_factory import HostFactory  # noqa: PLC0415 -- slow to load; `end` does without
        from perfkit.fleet.local.network import Outside  # noqa: PLC0415 -- slow to load; `end` does without

        self._uid = int(fields["uid"])
        self._expires_s = float(fields["expires"])
        outside = Outside.from_words(fields.get("subnet", ""), fields.get("peers", ""))
        self._host_factory = HostFactory(fields["run"], int(fields["hosts"]), hidden, outside)
        gc.freeze()  # hosts are forks of this process; do not touch its pages in them

    def serve(self, listener: socket.socket) -> None:
        """Answer requests, one after the other, until the run expires."""
        while (left_s := self._expires_s - time.time()) > 0:
            listener.settimeout(min(left_s, 60.0))  # the clock may be set while we wait
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(REQUEST_TIMEOUT_S)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if peer(connection)[1] not in (0, self._uid):
            return
        answer: dict[str, Any]
        try:
            with connection.makefile("rb") as lines:
                request = json.loads(lines.readline(MAX_REQUEST_BYTES))
            answer = self._answer_to(request)
        except (PerfkitError, OSError, ValueError, KeyError, TypeError) as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return  # whoever asked is gone; the hosts are found by their tags

    def _answer_to(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make hosts; or give hosts links; or tell what links have counted."""
        if "links" in request:
            wanted = {name: HostLink(**link) for name, link in request["links"].items()}
            self._host_factory.links.set(wanted)
            return {}
        if "counted" in request:
            return {"counted": self._host_factory.links.counted(request["counted"])}
        self._expires_s = max(self._expires_s, float(request["expires"]))
        return self._host_factory.launch(request)


def _tried(work: Callable[[], None]) -> int:
    """Do once what hosts or their links take; print what fails."""
    try:
        work()
    except (PerfkitError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
