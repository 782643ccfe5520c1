"""What the results of a phase mean for its run: hosts moved on, and whether the run goes on.

Results come in as hosts finish; each moves its host in the inventory. When a phase is over,
`on_shortfall` decides with the clients that are left; when the report is written, with those that
did their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from perfkit.campaign.open_run import OpenRun
from perfkit.campaign.session import Session
from perfkit.errors import ReleaseError, StageError
from perfkit.model import HostResult, HostState, Role, StageResult
from perfkit.units import format_some

if TYPE_CHECKING:
    from perfkit.report.answer import Answer
    from perfkit.report.page import Report


def on_result(
    session: OpenRun, state: HostState, *, only_failures: bool = False
) -> Callable[[HostResult], None]:
    """Bring each host's result into the inventory as it arrives."""

    def move(result: HostResult) -> None:
        if not result.ok:
            session.inventory.move(
                result.host, HostState.FAILED, reason=result.reason, log=result.log
            )
        elif not only_failures:
            session.inventory.move(result.host, state)

    return move


def as_it_was(session: OpenRun, state: HostState, stage: str) -> StageResult:
    """A phase that was done before, from the inventory's memory."""
    done = {host.name for host in session.inventory.have_been(state)}
    return StageResult(
        stage=stage,
        results=tuple(
            HostResult(host=record.name, ok=record.name in done, reason=record.reason)
            for record in session.inventory.records()
        ),
    )


def with_earlier(session: OpenRun, result: StageResult, state: HostState) -> StageResult:
    """A phase's result, with the hosts that had passed it before this process began."""
    now = {host_result.host for host_result in result.results}
    before = [record for record in session.inventory.records() if record.name not in now]
    passed = {host.name for host in session.inventory.have_been(state)}
    earlier = [
        HostResult(host=r.name, ok=r.state is not HostState.FAILED, reason=r.reason)
        for r in before
        if r.name in passed
    ]
    return replace(result, results=(*earlier, *result.results)) if earlier else result


def judged(session: OpenRun, result: StageResult) -> StageResult:
    """The result, unless `judge` ends the run with it."""
    judge(session, result)
    return result


def judge(session: OpenRun, result: StageResult) -> None:
    """Go on with the hosts that are left, or not, as `on_shortfall` says.

    When all hosts had their orders, the logs are here or the hosts released, all of this was decided
    long ago: what was lost since stands in the logs, which must come home.

    Raises:
        StageError: not; with every host's result.
    """
    progress = session.progress()
    if not session.is_up or progress.armed or "collect" in progress.done:
        return
    chosen = session.settings.parameters
    failed = {r.host for r in result.failed} | session.gone
    ended = session.inventory.names(HostState.FAILED, HostState.RELEASED) | failed
    # Those that are still on their way count: a launch need not be waited for.
    clients = [r for r in session.inventory.records() if r.role is Role.CLIENT]
    left = [record for record in clients if record.name not in ended]
    server_failed = "server" in ended
    if not server_failed and len(left) >= chosen.clients_needed:
        return
    what = f"{len(left)} of {chosen.most_clients} clients are left, {chosen.clients_needed} needed"
    if server_failed:
        what = "the server failed"
        if "server" not in {host_result.host for host_result in result.failed}:
            what += f": {session.inventory.get_record('server').reason}"
    raise StageError(
        f"{result.stage}: {what} (on_shortfall = {chosen.on_shortfall})\n{result}", result.results
    )


def conclude(session: Session, report: Report | Answer) -> None:
    """End well only if enough clients did each test, and every host was released or kept.

    A campaign ends well if each cell that was planned has a block that counts.

    Comes last, when nothing is left to lose: the logs are here, the report is written. A client
    did what the report does not say it failed in: where it counts, and where its script ended well
    in a test whose logs no reader understands, such as a ping.

    Raises:
        StageError: each test that too few clients did, by `on_shortfall`; with every client's
            result in each test.
        ReleaseError: the release of the hosts left something behind.
    """
    from perfkit.report.answer import Answer  # noqa: PLC0415 -- loads pandas

    if isinstance(report, Answer):
        _refuse_missing(report)
    else:
        _refuse_short(session, report)
    if session.fleet.leaked:
        raise ReleaseError(
            f"the report is written ({report.page}), but not everything could be released; "
            f"perfkit release {session.run.id} asks again",
            session.fleet.leaked,
        )


def _refuse_missing(answer: Answer) -> None:
    missing = answer.found.missing_cells
    if missing and answer.found.stop not in ("stopped", "budget"):  # asked for by a person
        raise StageError(
            f"no block counts at {format_some(missing, 8)}; why stands in {answer.page}; the "
            "same command begins another campaign",
            (),
        )


def _refuse_short(session: Session, report: Report) -> None:
    chosen = session.settings.parameters
    results, short = [], []
    for slot in report.logs.slots:
        clients = report.summary.clients[report.summary.clients["slot"] == slot.name]
        did = clients["ok"] | clients["unread"]
        results += [
            HostResult(host=host, ok=ok, reason="" if ok else f"{slot.name}: {reason}")
            for host, ok, reason in zip(clients["host"], did, clients["reason"], strict=True)
        ]
        if did.sum() < chosen.clients_needed:
            short.append(f"{slot.name} was done by {did.sum()} of {chosen.most_clients} clients")
    if short:
        raise StageError(
            f"tests: {', '.join(short)}, {chosen.clients_needed} needed (on_shortfall = "
            f"{chosen.on_shortfall}); why stands in {report.page}",
            results,
        )
