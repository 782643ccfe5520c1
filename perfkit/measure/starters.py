"""What makes a host's tests start: its own waiting process, or its own cron.

A starter writes shell text and decides which T0 it can keep; `perfkit.measure.runner` sends the
text. Both starters end in the same `run-slot`, which waits for the exact instant, so both start
equally sharp. To add a starter, write a class with these methods and name it in `get_starter`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from perfkit.errors import ConfigError, did_you_mean
from perfkit.measure.pacing import Pacing
from perfkit.measure.plan import (
    CRONTAB_BEGIN,
    CRONTAB_END,
    Addresses,
    begin_s,
    crontab,
    order,
    order_names,
    over_s,
    programs_on,
    runs_on,
)
from perfkit.model import Host, Role, Slot
from perfkit.units import NS_PER_S

# cron reads changed tables once a minute, and a line fires a minute before its slot's minute.
CRON_LEAD_S = 90.0
ARM_MARGIN_S = 0.5  # between the last confirmation and the first program that runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """The slots and the instant they count from, the same for all hosts.

    Attributes:
        t0_utc_s: By the controller's clock.
        clock_error_s: What the clock of the host that is to go by it shows too much. Orders and
            records are by the host's clock, and so are the moments below.
        clients: Names of those that take part. Where the server runs several programs in a slot,
            these serve them in turn.
    """

    slots: Sequence[Slot]
    t0_utc_s: float
    addresses: Addresses
    pacing: Pacing = field(default_factory=Pacing)
    clock_error_s: float = 0.0
    clients: Sequence[str] = ()

    @property
    def shown_t0_s(self) -> float:
        """What the host's clock shows at T0, epoch seconds."""
        return self.t0_utc_s + self.clock_error_s

    @property
    def confirm_by_s(self) -> float:
        """Until when a host may take its orders, epoch seconds; afterwards it is left out."""
        first_s = min((begin_s(slot, Role.SERVER) for slot in self.slots), default=0.0)
        return self.shown_t0_s + first_s - ARM_MARGIN_S

    def slots_of(self, role: Role) -> list[Slot]:
        """The slots in which a host of this role has something to run."""
        return [slot for slot in self.slots if runs_on(slot, role)]

    def starts_of(self, role: Role) -> list[float]:
        """The planned start of each program in those slots, epoch seconds; servers begin earlier."""
        return [
            self.shown_t0_s + begin_s(slot, role)
            for slot in self.slots
            for _ in range(programs_on(slot, role))
        ]

    def server_of(self, host: Host, slot: Slot) -> int:
        """The number of the server's program that serves a client in a slot, from 1."""
        place = self.clients.index(host.name) if slot.servers > 1 else 0
        return place % slot.servers + 1


class Starter(Protocol):
    """How the tests on a host get started."""

    @property
    def name(self) -> str:
        """As in the timetable and in every events file."""

    def first_t0_s(self, earliest_s: float) -> float:
        """The first T0 at or after `earliest_s` that this starter can keep, epoch seconds."""

    def ready_script(self) -> str:
        """Shell text that prints one line for each thing the host lacks for this starter."""

    def arm_script(self, host: Host, timetable: Timetable) -> str:
        """Shell text that arms all of a host's slots and prints the host's time, ns.

        Past `Timetable.confirm_by_s` by the host's own clock it arms nothing: a host that stood
        still meanwhile has been given up, and must not start when it goes on.
        """

    def disarm_script(self, host: Host, *, is_over: bool = False) -> str:
        """Shell text that ends all that `arm_script` started; harmless when nothing is.

        Args:
            is_over: The records of all orders are there.
        """


@dataclass(frozen=True, slots=True)
class EpochStarter:
    """One process on each host waits for its slots, one after the other; the default."""

    name: str = "epoch"

    def first_t0_s(self, earliest_s: float) -> float:
        """The next full second, which reads well in tables."""
        return float(math.ceil(earliest_s))

    def ready_script(self) -> str:
        """Nothing beyond what run-slot itself needs."""
        return ""

    def arm_script(self, host: Host, timetable: Timetable) -> str:
        """Write the orders and start the waiter in a session of its own.

        On a server that runs several programs at a time each has a waiter.
        """
        start = [
            f"setsid bin/run-slot {orders} </dev/null >>slots/run-slot.log 2>&1 &"
            for names in in_turn(timetable.slots_of(host.role), host.role)
            for orders in [" ".join(f"slots/{name}.order" for name in names)]
        ] or [":"]
        return "\n".join([_write_orders(host, timetable, self.name), *start, "date +%s%N", ""])

    def disarm_script(self, host: Host, *, is_over: bool = False) -> str:
        """End the waiters and the tests they run; after its last record a waiter ends by itself."""
        return ":" if is_over else f"{_enter(host)}\n{_END_SLOTS}\n"


@dataclass(frozen=True, slots=True)
class CronStarter:
    """Each host's own cron starts run-slot in the minute before a slot.

    Attributes:
        shell: For the crontab's SHELL=.
        path: For its PATH=.
    """

    shell: str
    path: str
    name: str = "cron"

    def first_t0_s(self, earliest_s: float) -> float:
        """A full minute, 90 s ahead: every host must have read its table before it fires."""
        return math.ceil((earliest_s + CRON_LEAD_S) / 60) * 60.0

    def ready_script(self) -> str:
        """A cron that runs, reckons in UTC, and finds the programs of run-slot on its PATH."""
        return f"""
command -v crontab >/dev/null || echo 'no crontab command: install cron'
found=
for pid_file in /run/crond.pid /var/run/crond.pid /run/cron.pid; do
    read -r pid <"$pid_file" && grep -q cron "/proc/$pid/comm" && found=yes
done 2>/dev/null
[ -n "$found" ] || echo 'no cron daemon runs: start cron'
[ "$(env -u TZ date +%z)" = +0000 ] || echo 'its local time is not UTC, which cron goes by: \
set the time zone to UTC, or use starter=epoch'
[ -x {shlex.quote(self.shell)} ] || echo 'cron.conf: shell is not there'
for tool in timeout date sleep mv env; do
    (PATH={shlex.quote(self.path)}; command -v "$tool") >/dev/null ||
        echo "cron.conf: $tool is not found on path"
done
"""

    def arm_script(self, host: Host, timetable: Timetable) -> str:
        """Write the orders and put one line a slot at the end of the user's crontab."""
        text = crontab(
            timetable.slots_of(host.role),
            # Not as shown there: a little before the full minute would be a minute too early.
            datetime.fromtimestamp(timetable.t0_utc_s, UTC),
            shell=self.shell,
            path=self.path,
            workdir=host.workdir,
            role=host.role,
        )
        # Ours comes last: SHELL and PATH hold for the lines after them. cron compares its tables'
        # time stamps in whole seconds and overlooks a table written in the second of the one
        # before (measured right after boot); one of two writings a second apart is seen.
        return "\n".join(
            [
                _write_orders(host, timetable, self.name),
                _heredoc("slots/crontab", text),
                f"{{ {_OTHERS}; cat slots/crontab; }} >slots/crontab.new",
                "crontab slots/crontab.new",
                "sleep 1",
                "crontab slots/crontab.new",
                "date +%s%N",
                "",
            ]
        )

    def disarm_script(self, host: Host, *, is_over: bool = False) -> str:
        """Take our lines out of the crontab, leave the others, and end what has started."""
        return f"""
{_enter(host)}
{_OTHERS} >slots/crontab.new
if [ -s slots/crontab.new ]; then crontab slots/crontab.new; else crontab -r 2>/dev/null || :; fi
{"" if is_over else _END_SLOTS}
"""


# The user's crontab without our part; no output when there is none.
_OTHERS = f"{{ crontab -l 2>/dev/null || :; }} | sed '/^{CRONTAB_BEGIN}$/,/^{CRONTAB_END}$/d'"


def get_starter(name: str, cron_settings: Mapping[str, str]) -> Starter:
    """Make the starter of that name.

    Args:
        name: `epoch` or `cron`.
        cron_settings: `shell` and `path`, as in cron.conf.

    Raises:
        ConfigError: no such starter.
    """
    if name == "epoch":
        return EpochStarter()
    if name == "cron":
        return CronStarter(shell=cron_settings["shell"], path=cron_settings["path"])
    known = ("epoch", "cron")
    raise ConfigError("parameters", "starter", name, "no such starter", did_you_mean(name, known))


def in_turn(slots: Sequence[Slot], role: Role) -> list[list[str]]:
    """Names of a host's orders, by the waiter that starts them one after the other: as few as can be."""
    lists: list[list[str]] = []
    busy_until_s: list[float] = []
    for slot in slots:
        free_from_s = begin_s(slot, role) + 1e-6  # sums of seconds differ in their last digits
        for name in order_names(slot, role):
            free = (place for place, s in enumerate(busy_until_s) if s <= free_from_s)
            place = next(free, len(lists))
            if place == len(lists):
                lists.append([])
                busy_until_s.append(0.0)
            lists[place].append(name)
            busy_until_s[place] = over_s(slot, role)
    return lists


def _write_orders(host: Host, timetable: Timetable, starter: str) -> str:
    """End what an earlier attempt left, remove its outcome, write the orders; stop if it is late.

    All hosts do this at once, maybe on the same processors: the shell writes what it can by itself.
    """
    lines = ["set -eu", f"cd {shlex.quote(host.workdir)}"]
    lines.append("[ -d slots ] && [ -d logs ] || mkdir -p slots logs")
    left = ["slots/*.order", "slots/*.start", *(f"logs/{slot.name}.*" for slot in timetable.slots)]
    remove = f"rm -f {' '.join(left)}"
    # Orders first: a run-slot that is just being started, and has no .waiter yet, finds none.
    lines += [remove, "for it in slots/*.waiter; do", '[ -e "$it" ] || continue']
    lines += ["bin/run-slot stop", remove, "break", "done"]
    for slot in timetable.slots_of(host.role):
        for number, name in enumerate(order_names(slot, host.role), start=1):
            values = order(
                slot,
                host,
                t0_utc_s=timetable.shown_t0_s,
                starter=starter,
                addresses=timetable.addresses,
                pacing=timetable.pacing,
                number=number if host.role is Role.SERVER else timetable.server_of(host, slot),
            )
            words = shlex.join(f"{key}={value}" for key, value in values.items())
            lines.append(f"printf '%s\\n' {words} >slots/{name}.order")
    last_ns = round(timetable.confirm_by_s * NS_PER_S)
    lines += ["now=$(date +%s%N)", f'[ "$now" -le {last_ns} ] || {{ echo "$now"; exit 0; }}']
    return "\n".join(lines)


def _heredoc(path: str, text: str) -> str:
    return f"cat >{path} <<'PERFKIT-END'\n{text}PERFKIT-END"


def _enter(host: Host) -> str:
    return f"cd {shlex.quote(host.workdir)} 2>/dev/null && mkdir -p slots || exit 0"


_END_SLOTS = "[ ! -x bin/run-slot ] || bin/run-slot stop"
