"""The answers of all machines now: asked in parallel, and kept for a moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from perfkit.errors import HostError, PerfkitError
from perfkit.fleet.parallel import on_all
from perfkit.fleet.static.host_agents import Answer, HostAgents, login_fault
from perfkit.fleet.static.hostlist import Machine
from perfkit.fleet.static.tags import Tag, find_tag

FRESH_S = 1.0  # one listing asks several questions; the machines are asked once
SILENT_S = 20.0  # who did not answer is left alone for so long: each attempt costs a timeout

_log = logging.getLogger(__name__)


class Poller:
    """The machines' answers to `look`, and the members of runs that were ever seen in them."""

    def __init__(self, machines: Sequence[Machine], agents: HostAgents, workdir: str) -> None:
        self._machines = [machine for machine in machines if machine.host_key]
        self._unpinned = [machine for machine in machines if not machine.host_key]
        self._agents, self._workdir = agents, workdir
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, Answer | PerfkitError]] = {}
        self._members: dict[str, set[str]] = {}

    def answers(self) -> dict[str, Answer | PerfkitError]:
        """By machine; an error for one that does not answer."""
        with self._lock:
            due = [machine for machine in self._machines if self._is_due(machine.name)]
            found = on_all(due, lambda m: self._agents.ask(m, "look", self._workdir))
            now = time.monotonic()
            for name, answer in found.items():
                self._said[name] = (now, answer)
                if isinstance(answer, PerfkitError):
                    _log.warning("provider static: no answer from %s", answer)
                elif tag := find_tag(answer):
                    self._members.setdefault(tag.run_id, set()).update({name, *tag.members})
            return {name: answer for name, (_, answer) in self._said.items()}

    def _is_due(self, name: str) -> bool:
        asked_s, answer = self._said.get(name, (float("-inf"), {}))
        lasts_s = SILENT_S if isinstance(answer, HostError) else FRESH_S
        return time.monotonic() - asked_s > lasts_s

    def forget(self, *, silent_too: bool = False) -> None:
        """Something was changed: ask again.

        Args:
            silent_too: Also those that did not answer; else they stay silent for a while.
        """
        with self._lock:
            silent = {n: said for n, said in self._said.items() if isinstance(said[1], HostError)}
            self._said = {} if silent_too else silent

    def tags(self, run_id: str | None = None) -> dict[str, Tag]:
        """The tags on the machines, of one run or of all."""
        tags = {name: tag for name, answer in self.answers().items() if (tag := find_tag(answer))}
        return {name: tag for name, tag in tags.items() if run_id in (None, tag.run_id)}

    def silent(self) -> dict[str, str]:
        """Machines that do not answer or cannot be asked, and why."""
        silent = {machine.name: login_fault(machine) for machine in self._unpinned}
        for name, error in self.answers().items():
            if isinstance(error, PerfkitError):
                silent[name] = error.message if isinstance(error, HostError) else str(error)
        return silent

    def members(self, run_id: str) -> set[str]:
        """Machines that were ever seen to be a run's, or that a tag of it names."""
        return self._members.get(run_id, set())
