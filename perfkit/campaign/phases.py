"""One function a phase; the notebooks and the command line call these and nothing deeper.

    session = phases.start(clients=10)   in a notebook: **notebook.parameters(globals())
    phases.launch(session)       hosts, reachable over SSH
    phases.configure(session)    recipes run, tunnels up
    phases.measure(session)      the tests, started everywhere at the same instant
    phases.collect(session)      logs in runs/<id>/raw, checksummed, read-only
    phases.release(session)      hosts gone
    phases.segment(session.run)  the windows that count        (needs files only)
    phases.report(session.run)   tables, plots, index.html     (needs files only)
    phases.conclude(session, …)  an error if, by that report, too few clients did their tests
    phases.compare(run, other)   runs side by side, verdicts   (needs files only)

Each is idempotent: a second call does what is missing. Each writes its outcome to the journal.
Hosts that fail are named in what a phase returns; whether the run goes on without them is the
parameter `on_shortfall`.

A phase returns when it is done. An interrupt ends it at once; the hosts go on, and the same call
again takes up where it was. The stop button of the live view ends it and releases the hosts.

A campaign goes through the same phases: its fleet is launched and configured once, `measure` runs
its blocks and collects each (`perfkit.campaign.campaign_run`), `report` is its answer. There the
first interrupt, and the stop button, let the block under way end.

    going = phases.in_background(phases.configure, session)
    going.result()               the same beside other cells: see `perfkit.widgets.background`
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from perfkit.campaign import (
    estimate,
    measuring,
    missing_hosts,
    resume,
    shortfall,
    spot_notices,
    switch,
    tunnel_gate,
)
from perfkit.campaign import session as sessions
from perfkit.campaign.planned_slots import slots_of
from perfkit.campaign.report_loader import ReportLoader
from perfkit.campaign.session import Session
from perfkit.campaign.shortfall import conclude
from perfkit.campaign.vpn_choice import vpns_of
from perfkit.errors import RunError, StageError
from perfkit.fleet.provider import ReleaseReport
from perfkit.measure.provision import scripts_for
from perfkit.model import Host, HostResult, HostState, Role, StageResult
from perfkit.runs import design
from perfkit.runs.design import BASE
from perfkit.runs.latest import LATEST, open_run
from perfkit.settings import parameters, shebang, variants
from perfkit.settings.project import runs_folder
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.widgets.background import in_background
from perfkit.widgets.fleet_table import FleetView, is_interactive, refuse_if_in_use

if TYPE_CHECKING:
    from perfkit.campaign.offline import (
        check,
        compare,
        find_run,
        report,
        save_baseline,
        segment,
    )
    from perfkit.report.answer import Answer
    from perfkit.report.page import Report

__all__ = [
    "attach",
    "check",
    "collect",
    "compare",
    "conclude",
    "configure",
    "find_run",
    "in_background",
    "launch",
    "measure",
    "release",
    "report",
    "run_all",
    "save_baseline",
    "segment",
    "start",
]


if not TYPE_CHECKING:  # mypy would take every name for one of this module

    def __getattr__(name: str) -> Any:
        """The phases that need files only: loaded, and pandas with them, when one is first called."""
        if name in __all__:  # and not defined or imported here
            from perfkit.campaign import offline  # noqa: PLC0415 -- loads pandas and the readers

            return getattr(offline, name)
        raise AttributeError(f"module {__name__} has no attribute {name}")


def __dir__() -> list[str]:
    return __all__


def start(**chosen: Any) -> Session:
    """Check parameters, config/ and this machine; open a new run, or go on with one.

    With `run=` that run is gone on with, as it was made: parameters given beside it are not used.
    With a `name` of your own, the newest run of that name is, if its process died before it was
    finished and the settings are the same; see `perfkit.campaign.resume`. What was taken up, what
    was not used, or why not, is in what the session shows.

    Raises:
        ConfigError, ScheduleError, ProviderError, RunError: before anything is launched.
    """
    checked = parameters.load(chosen)
    if checked.parameters.run:
        found = open_run(checked.runs_dir, checked.parameters.run, phase="launch")
        remarks = [str(found)] if found.passed_over else []
        remarks += resume.not_used(found.run, checked.parameters)
        session = sessions.attach(checked.runs_dir, str(found.run.root), remarks)
    else:
        session = resume.open_session(checked)
    if not is_interactive():
        click.echo(session)
    return session


def attach(run: str = LATEST, *, runs_dir: str = "", phase: str = "") -> Session:
    """Open a run that exists, by id, name, path or `latest`, to do its next phases.

    Args:
        phase: What is to be done: `latest` is the newest run that has what it needs. Newer ones that
            do not are named. Empty: the newest.

    Raises:
        RunError: no such run, or none that will do; or another process has it open.
    """
    folder = runs_folder(runs_dir)
    found = open_run(folder, run, phase=phase)
    if found.passed_over:
        click.echo(found)
    return sessions.attach(folder, str(found.run.root))


def launch(
    session: Session, *, wait: bool | None = None, release_at_exit: bool = False
) -> StageResult:
    """Make the hosts that the run does not have yet.

    Args:
        wait: Return when all hosts are reachable; False: at once, while they are launching, so
            that `configure` takes them as they come. None: wait where hosts share this machine's
            processors, since configuring would only slow launching down.
        release_at_exit: End the hosts when this process ends.
    """
    wait = session.provider.traits.shared_cpu if wait is None else wait
    if release_at_exit:
        session.release_at_exit()
    started = monotonic()
    if not (missing_hosts.is_complete(session) and "launch" in session.progress().done):
        with _watched(session, "launch"):
            missing_hosts.launch_missing(session)
            if wait:
                session.fleet.wait()
    results = [
        HostResult(host=r.name, ok=r.state is not HostState.FAILED, reason=r.reason)
        for r in session.inventory.records()
    ]
    return shortfall.judged(
        session, StageResult(stage="launch", results=results, elapsed_s=monotonic() - started)
    )


@contextlib.contextmanager
def _watched(session: Session, phase: str) -> Iterator[FleetView]:
    """A phase with its record in the journal and its live view, which may be stopped there."""
    refuse_if_in_use(session.inventory)
    view = FleetView(
        session.inventory,
        session.journal,
        phase,
        on_stop=session.fleet.release,
        expected_s=estimate.expected_s(session, phase),
    )
    with session.phase(phase), view:
        yield view


def configure(session: Session) -> StageResult:
    """Run the recipes on every host as it becomes reachable, then check every tunnel.

    Returns:
        One result a host; a partly configured client says what it lacks: address, route or ping.

    Raises:
        StageError: by `on_shortfall`, too many clients failed; or the server did.
    """
    from perfkit.configure import recipes  # noqa: PLC0415 -- loads Fabric

    if session.inventory.records():
        missing_hosts.launch_missing(session)  # what a process that died left half launched
    coming = (HostState.REQUESTED, HostState.RUNNING, HostState.REACHABLE)
    if "configure" in session.progress().done and not session.inventory.names(*coming):
        return shortfall.judged(
            session, shortfall.as_it_was(session, HostState.CONFIGURED, "configure")
        )
    chosen, tunnel = session.settings, tunnel_gate.tunnel_of(session)
    of_campaign = variants.with_base(chosen) if chosen.parameters.is_campaign else ()
    vpns = vpns_of(chosen, of_campaign)
    slots = [*session.slots]
    for variant in of_campaign:
        slots += slots_of(variants.applied(chosen, variant))
    tries = recipes.TRY_VARIANTS if vpns else ""
    with _watched(session, "configure"):
        setup = recipes.configure(
            session.run,
            _pinned(session),
            pool=session.pool,
            threads=chosen.threads,
            resources_dir=chosen.resources_dir,
            vpn=session.vpn,
            tunnel=tunnel,
            variants=vpns,
            checks={it: shebang.host_checks(scripts_for(it, slots)) + tries for it in Role},
            deadline_s=chosen.ssh.host_deadline_s,
            on_result=shortfall.on_result(
                session, HostState.CONFIGURED, only_failures=tunnel is not None
            ),
        )
        shortfall.judge(session, shortfall.with_earlier(session, setup, HostState.CONFIGURED))
        if session.vpn is not None and tunnel is not None:
            setup = tunnel_gate.with_tunnels(
                session,
                setup,
                session.vpn,
                tunnel,
                switch.mark(session.run, BASE) if vpns else None,
            )
    return shortfall.judged(session, shortfall.with_earlier(session, setup, HostState.CONFIGURED))


def _pinned(session: Session) -> Iterator[Host]:
    """Hosts as they become reachable, each with its key pinned before anyone connects to it."""
    known = session.inventory.hosts()
    pin_hosts(session.run.known_hosts_path, known)
    pinned = set(known)
    for host in session.fleet.reachable():
        if host not in pinned:  # new, or with its own key now instead of its first one
            pin_hosts(session.run.known_hosts_path, [host])
        yield host


def measure(session: Session, *, meanwhile: Callable[[], None] = lambda: None) -> StageResult:
    """Run every test on all configured hosts, each at the exact instant the timetable says.

    Writes timetable.json and the clock offsets. A run is measured once: called again, this
    returns what it was. When the process died after all hosts had their orders, they went on
    alone: then nothing is started, and each host's own records prove what it did. When it died
    before, the tests are started anew, on all hosts.

    Of a campaign: runs the blocks that are missing, until its design, its budget or a person ends
    it. Each is collected at once, in a run folder of its own.

    Args:
        meanwhile: Begins what may be done while the last hosts of a single run end their tests, and
            returns at once.

    Raises:
        RunError: the hosts were released before.
        StageError: by `on_shortfall`, too many clients could not be armed; or the server.
    """
    if "measure" in session.progress().done:
        state = HostState.CONFIGURED if session.is_campaign else HostState.DONE
        return shortfall.as_it_was(session, state, "measure")
    if session.progress().released:
        raise RunError(
            f"run {session.run.id}: its hosts were released before its tests were run, so it cannot "
            "be gone on with; start a new run"
        )
    shortfall.judge(session, StageResult(stage="measure"))
    if session.is_campaign:
        return _measure_blocks(session)
    with _watched(session, "measure") as watch, spot_notices.watched(session):
        result = measuring.measure(session, note=watch.note, meanwhile=meanwhile)
    return shortfall.with_earlier(session, result, HostState.DONE)


def _measure_blocks(session: Session) -> StageResult:
    """All blocks of a campaign; each is collected right after it was measured."""
    refuse_if_in_use(session.inventory)
    if not session.inventory.hosts(HostState.CONFIGURED):
        raise RunError(
            f"campaign {session.run.id}: no host is configured yet: perfkit configure, or "
            "phases.configure, comes first"
        )
    from perfkit.campaign.campaign_run import CampaignRun  # noqa: PLC0415 -- loads the readers
    from perfkit.campaign.campaign_view import CampaignView  # noqa: PLC0415 -- as above

    started = monotonic()
    plan = design.load(session.run)
    with CampaignView(session, plan) as view, session.phase("measure"):
        CampaignRun(session, plan, view, lambda: configure(session)).run()
    result = shortfall.as_it_was(session, HostState.CONFIGURED, "measure")
    return replace(result, elapsed_s=monotonic() - started)


def collect(session: Session) -> StageResult:
    """Bring home the logs of every host that was armed, failed ones included.

    Writes `raw/` and its SHA256SUMS; what is there and whole is not fetched again.

    Raises:
        CollectError: a file that was collected before has been changed.
        RunError: this machine's disk is full or read-only; the hosts keep what is not here, and
            are not released when this process ends.
    """
    if session.is_campaign:
        if "measure" not in session.progress().done:
            raise RunError(
                f"campaign {session.run.id}: not all of its blocks were run, and each is collected "
                "when it was: perfkit measure, or phases.measure, goes on with them"
            )
        with session.phase("collect"):  # block by block, when each was over
            return shortfall.as_it_was(session, HostState.CONFIGURED, "collect")
    with _watched(session, "collect"):
        return measuring.collect(session)


def release(session: Session, *, keep: bool | None = None) -> ReleaseReport:
    """End the hosts.

    Args:
        keep: They stay until they expire. None: as the run's `keep_fleet` says.
    """
    stays = session.settings.parameters.keep_fleet if keep is None else keep
    if stays or not session.is_up:
        return ReleaseReport()
    with session.phase("release"):
        return session.fleet.release()


def run_all(session: Session) -> Report | Answer:
    """All phases of a run; the hosts are released also when one of them fails.

    Unless it fails because this machine cannot store the logs: then the hosts keep them until they
    expire, and the same command again, once there is room, brings them home. A campaign that cannot
    go on answers with the blocks that it has, and fails all the same.

    Raises:
        StageError: by `on_shortfall`, too few clients came through a phase or, when the report is
            written, did their tests.
        ReleaseError: the report is written, but something could not be released.
    """
    broken: StageError | None = None
    loader = ReportLoader()
    try:
        launch(session)
        configure(session)
        measure(session, meanwhile=loader.begin)
        collect(session)
    except StageError as exc:
        if not session.is_campaign:
            raise
        from perfkit.analysis.campaign_cells import finished_blocks  # noqa: PLC0415 -- loads pandas

        if not finished_blocks(session.run):
            raise
        broken = exc
    finally:
        if session.spared:
            click.echo(f"the hosts of {session.run.id} go on, they hold its logs; {session.spared}")
        elif (released := release(session)).leaked:
            click.echo(released)
    loader.wait()
    from perfkit.campaign.offline import segment_and_report  # noqa: PLC0415 -- loads pandas

    executor = session.settings.parameters.executor
    made = segment_and_report(session.run, executor=executor)
    if broken is not None:
        raise broken
    conclude(session, made)
    return made
