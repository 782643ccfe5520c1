"""R14: hosts with wrong clocks start together, or are named and do not start.

The `date` of each client is set off by a known amount, as if its clock were. All hosts really go by
this machine's one clock, so the true start is known: the recorded one without what was added to it.
One client with a right clock comes to a standstill while it is given its orders, and goes on when all
others have confirmed theirs; it must be named, and must not start after all.

The same hosts are then measured as when nobody looks at clocks: the gate open, no clock allowed for.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from unittest.mock import patch

from measured_fleet import Fleet, launch, shipped
from sick_hosts import clock_off, inside

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.fleet.local.provider import LocalProvider
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Clock
from perfkit.measure import runner
from perfkit.measure.collect import collect
from perfkit.measure.options import Hooks, Options
from perfkit.measure.pacing import grace_for, pacing_for
from perfkit.measure.plan import plan
from perfkit.measure.runner import Measurement
from perfkit.model import Host, HostResult, Role, Slot, StageResult
from perfkit.runs.folder import write_json

from .experiment import Experiment, Outcome

GATE_S = Options(bin_dir=Path()).max_clock_error_s
NO_GATE_S = 10.0
LARGEST_S = 2.0
LATE_S = 0.1  # a start may be so late by the host's own clock
ROUNDED_S = 2e-6  # seconds since the epoch, as floats and in tables
SLOT = "01-direct-tcp"
CLOCK = "its clock is"
# Orders are written with `cat`, and taken back without it.
STANDSTILL = """\
cat >/usr/local/bin/cat <<'end'
#!/bin/sh
while [ ! -e /tmp/go ]; do sleep 0.05; done
exec /bin/cat "$@"
end
chmod +x /usr/local/bin/cat
"""


@dataclass(frozen=True)
class Trial:
    """One measurement of all hosts; starts are in seconds from T0."""

    skews_s: Mapping[str, float]
    clocks: Mapping[str, Clock]
    reasons: Mapping[str, str]  # of those that failed
    started: Collection[str]  # whatever else is known of them
    recorded_s: Mapping[str, float]  # by the host's own clock
    reported_s: Mapping[str, float]  # as perfkit tells it, of the clients that count
    reported_spread_s: float

    def true_s(self, name: str) -> float:
        return self.recorded_s[name] - self.skews_s[name]

    def spread_s(self, names: Iterable[str]) -> float:
        starts_s = [self.true_s(name) for name in names]
        return max(starts_s) - min(starts_s)


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="starts-") as name,
        closing(launch(Path(name), "namespaces", n)) as made,
    ):
        fleet = next(made)
        listed = LocalProvider().hosts(fleet.run.id)
        pids = {host.name: int(host.identity.removeprefix("pid ")) for host in listed}
        clients = [host.name for host in fleet.hosts if host.role is Role.CLIENT]
        skews_s = dict(zip(clients, _skews(n, chance), strict=True))
        for client in clients:
            inside(pids[client], clock_off(skews_s[client]))
        late = min(clients, key=lambda client: abs(skews_s[client]))
        gated = _trial(fleet.in_new_run(Path(name) / "gated"), skews_s, pids, late=late)
        inside(pids[late], "rm -f /usr/local/bin/cat")
        without = _trial(fleet.in_new_run(Path(name) / "open"), skews_s, pids)
    return _judged(gated, without, late)


def _skews(n: int, chance: Random) -> list[float]:
    """Half of the clocks are right within the gate, some are just outside, the rest far off."""
    widths_s = [(0.0, GATE_S)] * (n - n // 2)
    widths_s += [(GATE_S, 2 * GATE_S)] * (n // 5)
    widths_s += [(2 * GATE_S, LARGEST_S)] * (n - len(widths_s))
    skews_s = [chance.choice((-1, 1)) * chance.uniform(*width_s) for width_s in widths_s]
    chance.shuffle(skews_s)
    return skews_s


def _trial(
    fleet: Fleet, skews_s: Mapping[str, float], pids: Mapping[str, int], *, late: str = ""
) -> Trial:
    """Measure once; without a host that is to be late, as if nobody looked at clocks."""
    slots = plan([shipped("direct-tcp", 1)], grace_s=grace_for(len(skews_s)))
    chosen = fleet.measurement(slots, fleet.hosts)
    chosen["options"] = replace(
        chosen["options"],
        threads=16,
        max_clock_error_s=GATE_S if late else NO_GATE_S,
        pacing=pacing_for(len(skews_s), shared_cpu=True),
    )

    def stop(name: str, result: HostResult) -> None:
        if (name, result.host) == ("ready", late):
            inside(pids[late], STANDSTILL)

    def go_on(_: StageResult) -> None:
        if late:
            inside(pids[late], "touch /tmp/go")

    allowed_for = nullcontext() if late else patch.object(runner, "certain_error_s", lambda _: 0.0)
    with allowed_for:
        result = Measurement(**chosen, hooks=Hooks(on_result=stop, check=go_on)).measure()
    clients = [host for host in fleet.hosts if host.role is Role.CLIENT]
    _complete(fleet, slots, result)
    marks = {host.name: _look(host, pids[host.name]) for host in clients}
    logs = read_run(fleet.run)
    found = outcomes(logs)
    (test,) = summarise(logs, [], found).tests.to_dict("records")
    counted = found[found["ok"]].set_index("host")["start_s"]
    records = {name: json.loads(text) for name, (_, text) in marks.items() if text}
    return Trial(
        skews_s=skews_s,
        clocks=logs.clocks,
        reasons={failed.host: failed.reason for failed in result.failed},
        started=[name for name, (is_started, _) in marks.items() if is_started],
        recorded_s={
            name: record["start_utc_s"] - logs.t0_utc_s
            for name, record in records.items()
            if record["start_utc_s"] is not None
        },
        reported_s={str(name): float(start_s) for name, start_s in counted.items()},
        reported_spread_s=float(test["start_spread_s"]),
    )


def _look(host: Host, pid: int) -> tuple[bool, str]:
    """Whether the test was started on a host, and its record, seen beside SSH; then both go."""
    said = inside(
        pid,
        f"cd {host.workdir} || exit; [ ! -e slots/{SLOT}.client.start ] || echo started; "
        f"/bin/cat logs/{SLOT}.events.json 2>/dev/null; "
        f"rm -f slots/*.start logs/{SLOT}.events.json",
    )
    return said.startswith("started"), said.removeprefix("started\n")


def _complete(fleet: Fleet, slots: Sequence[Slot], result: StageResult) -> None:
    """Bring the logs home and write what else a report reads."""
    well = {done.host for done in result.ok}
    collect(fleet.run, [h for h in fleet.hosts if h.name in well], slots, pool=fleet.pool)
    rows = [
        {"name": h.name, "role": h.role.value, "address": h.address, "state": "done", "reason": ""}
        for h in fleet.hosts
    ]
    reasons = {
        failed.host: {"state": "failed", "reason": failed.reason} for failed in result.failed
    }
    write_json(fleet.run.hosts_path, [row | reasons.get(row["name"], {}) for row in rows])


def _judged(gated: Trial, without: Trial, late: str) -> Outcome:
    wrong = _wrong(gated, late)
    flagged = [name for name, reason in gated.reasons.items() if CLOCK in reason]
    started = sorted(gated.recorded_s.keys() - gated.reasons.keys())
    ends_ms = [1e3 * pick(map(gated.true_s, started)) for pick in (min, max)]
    off_s = [abs(gated.reported_s[name] - gated.true_s(name)) for name in gated.reported_s]
    bounds_s = [gated.clocks[name].bound_s for name in gated.reported_s]
    theirs_s = without.recorded_s.values()
    return Outcome(
        result=f"{len(gated.skews_s)} clocks up to {max(map(abs, gated.skews_s.values())):.2f} s off: "
        f"{len(flagged)} flagged, {len(started)} started, {ends_ms[0]:+.0f} to {ends_ms[1]:+.0f} ms "
        f"from T0; {len(wrong)} wrong {wrong}"
        f"\n      true spread {1e3 * gated.spread_s(started):.0f} ms, reported "
        f"{1e3 * gated.reported_spread_s:.0f} ms; a start is reported {1e3 * max(off_s):.1f} ms "
        f"wrong at most, bound {1e3 * max(bounds_s):.1f} ms"
        f"\n      late: {late}, {gated.reasons.get(late, 'not named')[:90]}",
        ok=not wrong,
        baseline=f"clocks not looked at, {len(without.recorded_s)} of {len(without.skews_s)} start with a "
        f"true spread of {without.spread_s(without.recorded_s):.2f} s; by their own clocks it is "
        f"{1e3 * (max(theirs_s) - min(theirs_s)):.0f} ms",
    )


def _wrong(trial: Trial, late: str) -> list[str]:
    """Each promise that was not kept, with the host and the figures."""
    found = []
    for name, skew_s in trial.skews_s.items():
        reason, is_started = trial.reasons.get(name, ""), name in trial.started
        told = f"{name}, {skew_s:+.3f} s off"
        if reason and is_started:
            found.append(f"{told}: failed and started all the same: {reason[:60]}")
        if not reason and name not in trial.recorded_s:
            found.append(f"{told}: silently missing")
        if abs(skew_s) > GATE_S + 2 * trial.clocks[name].bound_s and CLOCK not in reason:
            found.append(f"{told}: not flagged")
        if abs(skew_s) <= GATE_S and bool(reason) != (name == late):
            found.append(f"{told}: {reason[:60] or 'late, and not named'}")
        allowed_s = 2 * trial.clocks[name].bound_s + LATE_S
        if name in trial.recorded_s and abs(trial.true_s(name)) > allowed_s:
            found.append(f"{told}: started {trial.true_s(name):+.3f} s from T0")
    for name, start_s in trial.reported_s.items():
        off_s = abs(start_s - trial.true_s(name))
        if off_s > trial.clocks[name].bound_s + ROUNDED_S:
            found.append(f"{name}: reported {off_s:.4f} s wrong")
    bounds_s = sorted(trial.clocks[name].bound_s for name in trial.reported_s)
    if abs(trial.reported_spread_s - trial.spread_s(trial.reported_s)) > sum(bounds_s[-2:]):
        found.append("the spread is reported wrong")
    return found


EXPERIMENT = Experiment(
    key="R14",
    promise="hosts start at the same moment, or are named and do not start",
    bound=f"all that are certainly more than {1e3 * GATE_S:.0f} ms off flagged, no other; true starts "
    f"within {1e3 * LATE_S:.0f} ms and two clock bounds of T0; the reported spread right within the clocks' "
    "bounds; 0 silently missing",
    run=run,
    quick=0,
    full=20,
    root=True,
)
