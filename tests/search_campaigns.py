"""Folders of campaigns that searched for capacity: each trial a block with logs, on a link that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from synthetic_link import DATAGRAM_BITS, SyntheticLink
from udp_runs import TEST, udp_run

from perfkit.analysis.capacity_search import TRIAL, Trial
from perfkit.campaign import blocks, trials, void_rules
from perfkit.campaign.blocks import Todo
from perfkit.logs.reader import read_run
from perfkit.model import CapacityGoal
from perfkit.runs import campaign_folder, design
from perfkit.runs.design import BASE, SEARCH_VOID_RULES, Design
from perfkit.runs.folder import Run, write_json
from perfkit.runs.journal import Journal, read
from perfkit.testing.logtext import T0_UTC_S

SECONDS = 6
GOAL = CapacityGoal(loss_ratio=0.005)


def search_campaign(
    folder: Path,
    link: Callable[[int], SyntheticLink],
    *,
    clients: Sequence[int] = (2,),
    variants: Sequence[str] = (BASE,),
    repetitions: int = 1,
    goal: CapacityGoal = GOAL,
    most_blocks: int = 1000,
    has_logs: bool = False,
) -> Run:
    """Run the searches of a campaign, and write what it leaves.

    Args:
        link: Of so many clients.
        most_blocks: After which the budget ends it.
        has_logs: Each block has a folder, and a trial is what its logs say; else what the link says.
    """
    order = design.draw(
        1, clients=clients, variants=variants, tests=[TEST], repetitions=repetitions
    )
    plan = Design(
        name="capacity", created_utc=datetime.fromtimestamp(T0_UTC_S, UTC).isoformat(), seed=1,
        clients=tuple(clients), variants=tuple(variants), tests=(TEST,), repetitions=repetitions,
        precision=None, max_repetitions=repetitions, order=order, capacity=goal,
        void_rules=SEARCH_VOID_RULES,
    )  # fmt: skip
    folder.mkdir(parents=True)
    run = Run(folder)
    design.save(plan, run)
    chosen = {"clients": ",".join(map(str, clients)), "provider": "synthetic"}
    kept = {"format": 1, "run": run.id, "name": plan.name, "created_utc": plan.created_utc}
    write_json(run.manifest_path, {**kept, "parameters": chosen, "notices": []})
    now = datetime.fromtimestamp(T0_UTC_S, UTC)
    journal = Journal(run.journal_path, now=lambda: now)
    for repetition in range(1, repetitions + 1):
        journal.append(blocks.BEGUN, repetition=repetition, clients=list(clients))
    links = {count: link(count) for count in clients}
    while todo := blocks.next_block(plan, blocks.replay(read(run.journal_path).events)):
        if todo.number > most_blocks:
            break
        now += timedelta(seconds=20)
        _run_block(run, plan, journal, todo, links[todo.planned.clients], has_logs=has_logs)
    stop = "repetitions" if todo is None else "budget"
    journal.append(blocks.ANSWER, stop=stop, why="")
    journal.close()
    return run


def _run_block(
    run: Run, plan: Design, journal: Journal, todo: Todo, link: SyntheticLink, *, has_logs: bool
) -> None:
    planned, block = todo.planned, campaign_folder.block_run(run, todo.number)
    names = [f"client-{number:03d}" for number in range(1, planned.clients + 1)]
    journal.append(
        blocks.CLAIMED, block=todo.number, repetition=planned.repetition, clients=planned.clients,
        variant=planned.variant, attempt=todo.attempt, hosts=["server", *names],
        folder=str(block.root.relative_to(run.root)), load_bps=todo.load_bps,
    )  # fmt: skip
    assert todo.load_bps is not None
    offered = link.trial(todo.load_bps)
    trial: Trial | None = offered
    void = ("offered-load", "a synthetic generator is full") if offered.limit else None
    if has_logs:
        trial, void = _by_logs(run, plan, todo, offered)
    if trial is not None:
        journal.append(TRIAL, block=todo.number, **trials.as_fields(trial))
    if void is not None:
        journal.append(blocks.VOID, block=todo.number, rule=void[0], why=void[1])
    journal.append(blocks.DONE, block=todo.number, seconds=18.0)


def _by_logs(
    run: Run, plan: Design, todo: Todo, offered: Trial
) -> tuple[Trial | None, tuple[str, str] | None]:
    """What the logs of a block say, and why it is void."""
    planned, block = todo.planned, campaign_folder.block_run(run, todo.number)
    names = [f"client-{number:03d}" for number in range(1, planned.clients + 1)]
    assert todo.rate_bps is not None
    sent = round(offered.offered_bps / planned.clients / DATAGRAM_BITS)
    lost = round(sent * offered.loss_ratio)
    block.root.parent.mkdir(exist_ok=True)
    udp_run(
        block.root,
        dict.fromkeys(names, [lost] * SECONDS),
        sent=sent,
        rate_bps=todo.rate_bps,
    )
    logs = read_run(block)
    void = void_rules.why_void(block, logs, plan.void_rules)
    attempts = blocks.tried(plan, blocks.replay(read(run.journal_path).events), planned)
    return trials.trial_of(logs, attempts, void[0] if void else ""), void
