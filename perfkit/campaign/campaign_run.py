"""The blocks of a campaign, one after the other, until the design says that it is enough.

A block is claimed in the campaign's journal, run on its hosts, collected, held against the void
rules, and reduced to its cells. Whatever moment this process dies in, the same command again goes
on from the journal: a block whose hosts had their orders is finished, one that had not come so far
is begun anew under another number.

The first interrupt lets the block under way end, and the campaign answers with what is known; a
second one ends at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from perfkit.analysis import background_load, campaign_cells
from perfkit.analysis.answers.cells import unfinished
from perfkit.analysis.capacity_search import TRIAL
from perfkit.analysis.spent import spent
from perfkit.campaign import (
    block_session,
    blocks,
    measuring,
    renew,
    replacements,
    spot_notices,
    switch,
    trials,
    void_rules,
)
from perfkit.campaign.block_session import BlockSession
from perfkit.campaign.blocks import BlockLog, Claim, Todo
from perfkit.campaign.campaign_view import CampaignView
from perfkit.campaign.cost_of_answer import why_over_budget
from perfkit.campaign.session import Session
from perfkit.errors import StageError
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.measure.disarming import stop_hosts
from perfkit.model import Host, HostState
from perfkit.runs import campaign_folder, journal
from perfkit.runs.design import BASE, Design

FRUITLESS = 2 * blocks.MOST_ATTEMPTS  # blocks in a row that do not count: it is no chance any more
CLOSING_S = 60.0  # what is done after the last block, before hosts end by themselves


@dataclass(slots=True)
class CampaignRun:
    """One call of `phases.measure` on a campaign.

    Attributes:
        configure: Configures hosts that are reachable and are not configured yet.
        failures: How often each host failed in a block, since this process began.
        in_force: The variant of all tunnels, as far as this process knows.
    """

    session: Session
    design: Design
    view: CampaignView
    configure: Callable[[], object]
    failures: Counter[str] = field(default_factory=Counter)
    in_force: str = ""

    @property
    def log(self) -> BlockLog:
        """How far the campaign has come."""
        return blocks.replay(journal.read(self.session.journal.path).events)

    def run(self) -> BlockLog:
        """Run what is missing; returns what was run in all.

        Raises:
            StageError: the server failed, or no block counts.
        """
        if (left := self.log.open) is not None:
            self._settle(left)
        while not self.log.stop:
            if (todo := blocks.next_block(self.design, self.log)) is None:
                self._begin_repetition()
            elif stop := self._why_stop():
                self._answer(*stop)
            else:
                self._run_block(todo)
                self._insist()
        return self.log

    def _begin_repetition(self) -> None:
        """The next repetition, of all that needs one; or the end."""
        number = max(self.log.repetitions, default=0) + 1
        counts = list(self.design.clients)
        if self.design.precision is not None:
            # Whether there may be another one is another question than whether one is needed.
            unbounded = replace(self.design, max_repetitions=number)
            left = unfinished(campaign_cells.refresh(self.session.run), unbounded)
            counts = [n for n in counts if any(clients == n for clients, _, _ in left)]
        if not counts:
            self._answer("precise")
        elif number > self.design.max_repetitions:
            self._answer("repetitions")
        else:
            self.session.journal.append(blocks.BEGUN, repetition=number, clients=counts)

    def _answer(self, stop: str, why: str = "") -> None:
        self.session.journal.append(blocks.ANSWER, stop=stop, why=why)
        for lost in blocks.given_up(self.design, self.log):
            place = f"{lost.clients} clients {lost.variant}, repetition {lost.repetition}"
            self.view.line(f"GIVEN UP after {blocks.MOST_ATTEMPTS} attempts: {place}: {lost.why}")
        self.view.line(f"no more blocks: {why or stop}")

    def _why_stop(self) -> tuple[str, str] | None:
        """What ends the campaign before its design does."""
        if self.view.is_stop_asked:
            return "stopped", "stopped by a person"
        next_s = self._block_s()
        spent_s = self.log.spent_s + sum(
            seconds for phase, seconds in self.session.progress().done.items() if phase != "measure"
        )
        used = spent(self.session.run)
        if why := why_over_budget(self.design, used, worked_s=spent_s, next_s=next_s):
            return "budget", why
        left_s = renew.seconds_left(self.session, next_s + CLOSING_S)
        if left_s < next_s + CLOSING_S:
            return "budget", f"the hosts end by themselves in {left_s / 60:.0f} minutes"
        return None

    def _block_s(self) -> float:
        """Seconds that one more block takes: as the ones before, or as its timetable."""
        done = [claim.seconds for claim in self.log.claims if claim.end == "done"]
        planned_s = max(slot.end_s + slot.grace_s for slot in self.session.slots)
        return max(done[-3:], default=planned_s)

    def _run_block(self, todo: Todo) -> None:
        """Claim a block and run it."""
        planned = todo.planned
        if replacements.is_needed(self.session):
            self._switch(BASE)  # a new host comes with it
            replacements.replace_failed(self.session, self.configure)
        if not block_session.is_of_all_connected(self.session):
            self._switch(planned.variant)
        hosts = block_session.draw_hosts(self.session, self.design, planned)
        if block_session.is_of_all_connected(self.session):
            self._connect_only(planned.variant, hosts)
        self.session.journal.append(
            blocks.CLAIMED,
            block=todo.number,
            repetition=planned.repetition,
            clients=planned.clients,
            variant=planned.variant,
            attempt=todo.attempt,
            load_bps=todo.load_bps,
            folder=campaign_folder.block_folder(self.session.run, todo.number),
            hosts=hosts,
        )
        self.view.begin(self.log)
        if len(hosts) <= planned.clients:
            self._fail(todo.number, f"{len(hosts) - 1} of {planned.clients} clients are left")
            return
        changes = self.design.variant_changes.get(planned.variant, {})
        with block_session.open_new(self.session, todo, hosts, changes) as block:
            self._finish(block, self.log.claims[-1])

    def _switch(self, variant: str) -> None:
        """Have all tunnels be those of a variant; a host where that fails is out.

        Raises:
            StageError: it failed on the server.
        """
        if self.in_force == variant or self.design.variants == (BASE,):
            return
        self._bring_up(variant, self.session.inventory.hosts(HostState.CONFIGURED), [])
        self.in_force = variant

    def _connect_only(self, variant: str, names: Sequence[str]) -> None:
        """Have the tunnels of these hosts be up, those of a variant, and all others down.

        Raises:
            StageError: it failed on the server.
        """
        hosts = self.session.inventory.hosts(HostState.CONFIGURED)
        self._bring_up(
            variant,
            [host for host in hosts if host.name in names],
            [host for host in hosts if host.name not in names],
        )

    def _bring_up(self, variant: str, hosts: Sequence[Host], idle: Sequence[Host]) -> None:
        self.in_force = ""  # of all tunnels; until it is known
        result = switch.switch_to(self.session, variant, hosts, idle=idle)
        for failed in result.failed:
            self.session.inventory.move(failed.host, HostState.FAILED, reason=failed.reason)
        self.session.journal.append("switched", variant=variant, seconds=result.elapsed_s)
        replacements.require_server(self.session)

    def _finish(self, block: BlockSession, claim: Claim) -> None:
        """Measure, collect and judge a block, or what is left of that."""
        done = block.progress().done
        try:
            if "measure" not in done:
                with block.phase("measure"), spot_notices.watched(block):
                    measuring.measure(
                        block,
                        note=lambda text: self.view.note(claim, text),
                        idle_s=void_rules.IDLE_S + background_load.BEFORE_S,
                        keep_logs=_kept_logs(block),
                    )
            if "collect" not in done:
                with block.phase("collect"):
                    measuring.collect(block)
        except StageError as exc:  # not all of its clients were ready, or the server was not
            self._take_back(claim)
            self._fail(claim.block, str(exc).splitlines()[0])
        else:
            self._end(block, claim)
        replacements.judge_hosts(self.session, block, self.failures)

    def _end(self, block: BlockSession, claim: Claim) -> None:
        """Say whether a collected block counts, and what it came to."""
        logs = read_run(block.run)
        busy_pct, ticks = void_rules.idle_busy_pct(logs)
        known = ticks >= background_load.LEAST_TICKS
        block.journal.append("idle-control", busy_pct=busy_pct if known else None, ticks=ticks)
        if not known:
            self.view.line(f"block {claim.block}: nobody saw if other load was there before it")
        void = void_rules.why_void(block.run, logs, self.design.void_rules)
        if claim.load_bps is not None:
            self._record_trial(claim, logs, void[0] if void else "")
        if void is not None:
            self.session.journal.append(blocks.VOID, block=claim.block, rule=void[0], why=void[1])
        self.session.journal.append(blocks.DONE, block=claim.block, seconds=_seconds(block, claim))
        self.view.show(
            self.log,
            campaign_cells.rows_of_block(self.session.run, claim.block, logs),
        )

    def _record_trial(self, claim: Claim, logs: RunLogs, rule: str) -> None:
        """Say what a search knows of a block, before that is over."""
        attempts = blocks.tried(self.design, self.log, claim.place_in(self.design))
        trial = trials.trial_of(logs, attempts, rule)
        if trial is not None:
            self.session.journal.append(TRIAL, block=claim.block, **trials.as_fields(trial))

    def _fail(self, number: int, reason: str, *, interrupted: bool = False) -> None:
        self.session.journal.append(
            blocks.FAILED, block=number, reason=reason, interrupted=interrupted
        )
        self.view.line(f"block {number} was not measured: {reason}")

    def _settle(self, claim: Claim) -> None:
        """Bring the block of a process that was killed to an end."""
        block = block_session.reopen(self.session, self.design, claim)
        if block is not None:
            with block:
                done = block.progress()
                if done.armed or "measure" in done.done:
                    self._finish(block, claim)
                    return
        self._take_back(claim)
        self._fail(
            claim.block, "its process died before all hosts had their orders", interrupted=True
        )

    def _take_back(self, claim: Claim) -> None:
        """End what a block's hosts were told to do; where that fails, the host is out.

        A host that still had its orders would begin its tests beside those of the next block.
        """
        names = set(claim.hosts)
        stopped = stop_hosts(
            [h for h in self.session.inventory.hosts(HostState.CONFIGURED) if h.name in names],
            pool=self.session.pool,
            starter=measuring.starter_of(self.session),
            threads=self.session.settings.threads,
        )
        for failed in stopped.failed:
            self.session.inventory.move(failed.host, HostState.FAILED, reason=failed.reason)

    def _insist(self) -> None:
        """Go on only while blocks count now and then.

        Raises:
            StageError: they do not; with why the last one did not.
        """
        last = [claim for claim in self.log.claims if not claim.interrupted][-FRUITLESS:]
        if len(last) == FRUITLESS and not any(claim.is_known for claim in last):
            raise StageError(
                f"measure: the last {FRUITLESS} blocks do not count: {last[-1].why}; mend that and "
                "give the same command again: it goes on with what is missing",
                (),
            )


def _kept_logs(block: BlockSession) -> tuple[str, ...]:
    """What hosts wrote before the block and is the block's as well: facts, and the VPN's own logs."""
    return ("facts.json", *(block.vpn.traits.logs if block.vpn else ()))


def _seconds(block: BlockSession, claim: Claim) -> float:
    """From the claim to now; of a block that was taken up, to the end of its tests."""
    now = datetime.now(UTC)
    t0_utc_s = float(block.run.load_json(block.run.timetable_path)["t0_utc_s"])
    over_s = t0_utc_s + max(slot.end_s + slot.grace_s for slot in block.slots)
    ended_s = min(now.timestamp(), over_s + CLOSING_S)
    return ended_s - claim.claimed_utc.timestamp()
