"""A batch of hosts from the ladder of pools: each error meets its action, and nothing twice.

::

    no capacity          this pool rests, the next one is asked
    fewer than asked     the next pool is asked for the rest
    a host in a zone     where all are to be in one (placement), the pools of others are left out
    throttled            the same call with the same token, after a random pause
    no answer, HTTP 5xx  the same: whether it was done the token knows
    quota                stop; what was made is kept, the shortfall says what was asked for
    permission, image    the same; where nothing was made, no other batch is asked for

Every call is in the journal before it is sent (`LaunchRequest.record`). After a crash those that
may have been done are sent again first, word for word; only then is anything new asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perfkit.errors import LaunchError
from perfkit.fleet.ec2 import calls, describe, fleets, tags
from perfkit.fleet.ec2.calls import Batch, Call
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.describe import Instance
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.idempotent_calls import (
    SAME_AGAIN,
    VISIBLE_WITHIN_S,
    CallContext,
    ask,
    journalled,
    refusal,
)
from perfkit.fleet.ec2.pools import Cooldown
from perfkit.model import Role

RUNNING_DEADLINE_S = 300.0
MAX_GENERATIONS = 3
# EC2 ended the instance before it ran; whoever asked may ask again.
STILLBORN = ("Server.InsufficientInstanceCapacity", "Server.InternalError", "Server.ScheduledStop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Makes the instances of batches; remembers nothing but which pools rest."""

    context: CallContext
    cooldown: Cooldown

    def launch(self, batch: Batch) -> dict[str, Instance]:
        """Instances by host name, running, with addresses; those that this token made before too.

        Raises:
            LaunchError: none; LaunchRefusedError: nor will any other batch get one.
            LaunchUnknownError: EC2 did not say what it made.
        """
        sent_again = {i.name: i for i in self._send_again(batch)}
        for instance in sent_again.values():  # the listing may not have heard of them
            batch.zones.settle(instance.zone)
        known, taken = self._known(batch)
        found = known | sent_again
        own = dict(taken)  # why one host is not there, by its name
        short: dict[Role, str] = {}  # why a role has fewer hosts than were asked for
        for generation in range(MAX_GENERATIONS):
            fallen_short = False
            for role in Role:
                names = [h.name for h in batch.request.hosts if h.role is role]
                names = [name for name in names if name not in found and name not in taken]
                if names:
                    made, reason = self._fill(batch, role, names, generation)
                    found |= {i.name: i for i in made}
                    fallen_short |= bool(reason)
                    short |= {role: reason} if reason else {}
            found, lost, stillborn = self._wait_for(batch, found)
            taken |= lost  # nothing is launched in its place
            own |= {**lost, **stillborn}
            if fallen_short or not stillborn:
                break
        if len(found) < len(batch.request.hosts):
            own = {
                host.name: own.get(host.name) or short.get(host.role) or "EC2 gave no reason"
                for host in batch.request.hosts
                if host.name not in found
            }
            reason = _summary(batch, [*short.values(), *(f"{n}: {why}" for n, why in own.items())])
            batch.request.record("launch-shortfall", reason=reason, hosts=own)
            if not found:
                raise LaunchError(reason)
        return found

    # -- what is there already -----------------------------------------------------------------

    def _send_again(self, batch: Batch) -> list[Instance]:
        """Send the calls of a controller that was killed once more: what they made is returned."""
        made: list[Instance] = []
        for record in batch.request.earlier:
            if "pool" not in record:
                fleets.wait_until_listed(self.context, batch)
                continue
            call = calls.from_record(batch, record)
            try:
                made += self._send(call)
            except ApiError as exc:
                if exc.kind in (Failure.CAPACITY, Failure.ENDED):
                    continue  # it had not been done, or is over
                raise refusal(batch.request, exc) from exc
        return [instance for instance in made if not instance.is_ending]

    def _known(self, batch: Batch) -> tuple[dict[str, Instance], dict[str, str]]:
        """This token's hosts that are there, and the names that must not be used, with the reason."""
        ours: dict[str, Instance] = {}
        taken: dict[str, str] = {}
        for instance in batch.watch.look(self.context.retry.clock()).values():
            if not instance.is_ending:
                batch.zones.settle(instance.zone)
            is_ours = instance.tags.get(tags.TOKEN) == batch.request.token
            if is_ours and not instance.is_ending:
                ours[instance.name] = instance
            elif is_ours and instance.reason not in STILLBORN:
                taken[instance.name] = "was ended already"
            elif not is_ours and not instance.is_ending:
                taken[instance.name] = f"is there already, {instance.id}"
        names = {host.name for host in batch.request.hosts}
        return (
            {name: instance for name, instance in ours.items() if name in names},
            {name: why for name, why in taken.items() if name in names and name not in ours},
        )

    # -- asking --------------------------------------------------------------------------------

    def _fill(
        self, batch: Batch, role: Role, names: Sequence[str], generation: int
    ) -> tuple[list[Instance], str]:
        """Ask pool after pool until all are made; what was made, and why not all (or empty).

        Raises:
            LaunchRefusedError: a reason that holds for every pool, and nothing was made.
        """
        with batch.zones.turn():
            if self.context.conf.pools == "mixed":
                return fleets.fill_from_zones(self.context, batch, role, names, generation)
            return self._fill_by_ladder(batch, role, names, generation)

    def _fill_by_ladder(
        self, batch: Batch, role: Role, names: Sequence[str], generation: int
    ) -> tuple[list[Instance], str]:
        missing, made, problems = list(names), list[Instance](), list[str]()
        resting = self.cooldown.reasons(batch.ladder[role])
        for pool in self.cooldown.awake(batch.ladder[role]):
            if not missing:
                break
            if not batch.zones.allows(pool):
                continue
            call = Call(
                batch=batch, role=role, names=tuple(missing), pool=pool, generation=generation
            )
            try:
                new = self._send(call)
            except ApiError as exc:
                if exc.kind is Failure.CAPACITY:
                    # Why a type is not supported only the message says; of capacity there is no more.
                    said = exc if exc.code.startswith("Unsupported") else exc.code
                    problems.append(f"{pool}: {said}")
                    self.cooldown.begin(pool, str(said))
                    continue
                problems.append(f"{pool}: {exc}")
                if made:  # they cost: they are not thrown away for what the next pool says
                    break
                raise refusal(batch.request, exc) from exc
            made += new
            batch.zones.settle(pool.zone)
            missing = [name for name in missing if name not in {i.name for i in new}]
            if missing:
                fewer = f"{len(new)} of {len(call.names)}"
                problems.append(f"{pool}: {fewer}")
                self.cooldown.begin(pool, fewer)
        if not missing:
            return made, ""
        empty = set(batch.ladder[role]) - set(self.cooldown.awake(batch.ladder[role]))
        hint = batch.zones.hint(batch.ladder[role], empty)
        return made, f"no room for {len(missing)} ({', '.join([*problems, *resting])}){hint}"

    def _send(self, call: Call) -> list[Instance]:
        """One call, journalled before and after; repeated until there is an answer.

        Raises:
            ApiError: EC2's answer is no; nothing was made.
            LaunchUnknownError: there is no answer.
        """
        body = calls.body(call, self.context.conf)

        def run_instances() -> list[Instance]:
            answer = self.context.region.launcher.run_instances(**body)
            return [
                describe.parse(entry, self.context.region.name) for entry in answer["Instances"]
            ]

        with journalled(call.batch.request, call.record()) as outcome:
            outcome.extend(
                ask(
                    "RunInstances",
                    run_instances,
                    find=lambda: self._by_token(call),
                    retry=self.context.retry,
                )
            )
        # Their order says who is who; where EC2 gave them none, a tag each does.
        if len({instance.name for instance in outcome}) < len(outcome):
            return fleets.give_names(self.context, outcome, call.names)
        return outcome

    def _by_token(self, call: Call) -> list[Instance]:
        """What a call made, when only the listing can say; empty when that does not either."""
        region, run_id = self.context.region, call.batch.request.run_id
        found: list[Instance] = []
        with contextlib.suppress(ApiError):
            for _ in self.context.retry.attempts(VISIBLE_WITHIN_S):
                before, found = found, describe.instances(region, run_id, client_token=call.token)
                if found and len(found) == len(before):  # they show up one by one
                    break
        return found

    # -- waiting -------------------------------------------------------------------------------

    def _wait_for(
        self, batch: Batch, wanted: Mapping[str, Instance]
    ) -> tuple[dict[str, Instance], dict[str, str], dict[str, str]]:
        """Wait until all run and have an address, or have ended.

        An instance that is not listed has just been made: it is waited for, never given up; and so
        are all when EC2 is too busy to list them.

        Returns:
            Those that run; those that were not there in time or were ended for good; and those
            that are `STILLBORN`, which may be asked for again; each with what it is instead.
        """
        states: dict[str, Instance] = dict(wanted)
        since_s = self.context.retry.clock()
        for _ in self.context.retry.attempts(RUNNING_DEADLINE_S, first_s=1.0, longest_s=5.0):
            try:
                listing = batch.watch.look(since_s)
            except ApiError as exc:
                if exc.kind not in SAME_AGAIN:
                    raise
                continue
            states = {name: listing.get(i.id, i) for name, i in states.items()}
            if all(i.is_ending or _is_up(i, self.context.conf) for i in states.values()):
                break
        up = {name: i for name, i in states.items() if _is_up(i, self.context.conf)}
        rest = {name: i for name, i in states.items() if name not in up}
        said = {
            name: f"{i.id} is {i.state}, {i.reason or 'no address yet'}" for name, i in rest.items()
        }
        stillborn = {name for name, i in rest.items() if i.is_ending and i.reason in STILLBORN}
        return (
            up,
            {name: why for name, why in said.items() if name not in stillborn},
            {name: why for name, why in said.items() if name in stillborn},
        )


def _is_up(instance: Instance, conf: Ec2Conf) -> bool:
    address = instance.public if conf.address == "public" else instance.private
    return instance.state == "running" and bool(address)


def _summary(batch: Batch, reasons: Iterable[str]) -> str:
    why = "; ".join(dict.fromkeys(reasons))
    return f"run {batch.request.run_id}, {len(batch.request.hosts)} hosts asked for: {why}"
