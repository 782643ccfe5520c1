"""The tests of an open run on its hosts, and their logs brought home.

The same for a single run and for a block of a campaign; who watches, and what is journalled as a
phase, is decided by the caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from perfkit.campaign import links, shortfall
from perfkit.campaign.open_run import OpenRun
from perfkit.measure import collect as collecting
from perfkit.measure.options import Hooks, MeasureProgress, Options
from perfkit.measure.pacing import pacing_for
from perfkit.measure.plan import Addresses
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import Starter, get_starter
from perfkit.model import HostResult, HostState, StageResult
from perfkit.runs import progress


def measure(
    session: OpenRun,
    *,
    note: Callable[[str], None] = lambda _text: None,
    meanwhile: Callable[[], None] = lambda: None,
    **more: Any,
) -> StageResult:
    """Run every test, or go on with the tests of a process that died after hosts had their orders.

    Args:
        note: Told about once a second how far the tests are.
        meanwhile: Called once, when all tests are over and a quarter of the hosts have said how theirs
            went; returns at once.
        more: More `Options`.

    Raises:
        StageError: by `on_shortfall`, too many clients could not be armed; or the server.
    """
    armed = session.progress().armed
    states = (HostState.ARMED,) if armed else (HostState.CONFIGURED, HostState.ARMED)
    passes = {"arm": HostState.ARMED, "finish": HostState.DONE}
    hosts, ended = session.inventory.hosts(*states), itertools.count(1)

    def on_result(name: str, result: HostResult) -> None:
        shortfall.on_result(
            session, passes.get(name, HostState.ARMED), only_failures=name == "ready"
        )(result)
        if name == "finish" and next(ended) == (len(hosts) + 3) // 4:
            meanwhile()

    def record(kind: str, **fields: Any) -> None:
        session.journal.append(kind, **fields)

    with links.in_force(session, are_there=armed) as look:

        def on_progress(moment: MeasureProgress) -> None:
            note(str(moment))
            look(moment.t_s)

        work = Measurement(
            run=session.run,
            hosts=hosts,
            slots=session.slots,
            pool=session.pool,
            starter=starter_of(session),
            addresses=_addresses(session),
            options=_options(session, **more),
            hooks=Hooks(
                on_progress=on_progress,
                on_result=on_result,
                check=lambda result: shortfall.judge(session, result),
                on_armed=lambda t0_utc_s: record(progress.ARMED, t0_utc_s=t0_utc_s),
                on_over=collecting.small_logs_of(session.run, session.pool),
                on_disarmed=lambda: record(progress.DISARMED),
            ),
        )
        return work.resume() if armed else work.measure()


def collect(session: OpenRun) -> StageResult:
    """Bring home the logs of every host that was armed, failed ones included.

    Raises:
        CollectError, RunError: see `perfkit.measure.collect.collect`.
    """
    return collecting.collect(
        session.run,
        session.inventory.have_been(HostState.ARMED),
        session.slots,
        pool=session.pool,
        threads=session.settings.threads,
        monitor=session.settings.parameters.monitor,
        gone=session.inventory.names(HostState.RELEASED) | session.gone,
    )


def starter_of(session: OpenRun) -> Starter:
    """What starts the tests on this run's hosts."""
    chosen = session.settings
    return get_starter(chosen.parameters.starter, chosen.cron.model_dump())


def _options(session: OpenRun, **more: Any) -> Options:
    chosen, traits = session.settings, session.provider.traits
    clients = chosen.parameters.most_clients
    together = clients if traits.shared_cpu else min(clients, traits.per_machine)
    return Options(
        bin_dir=chosen.resources_dir / "bin",
        threads=chosen.threads,
        monitor=chosen.parameters.monitor,
        interfaces=_interfaces(session),
        pid_file=session.vpn.traits.pid_file if session.vpn else "",
        pacing=pacing_for(together, shared_cpu=traits.shared_cpu or together > 1),
        **more,
    )


def _addresses(session: OpenRun) -> Addresses:
    server = session.inventory.get_record("server")
    assert server.host is not None  # configured, so it was made
    return Addresses(remote=server.host.traffic_address, peer=server.tunnel_address)


def _interfaces(session: OpenRun) -> tuple[str, ...]:
    """What carries the tests: loopback hosts have no interface of their own."""
    address = _addresses(session).remote
    if address.startswith("127.") or address == "::1":
        return ("lo",)
    devices = sorted(set(session.vpn.traits.devices.values())) if session.vpn else []
    return (f"@{address}", *(f"tunnel:{device}" for device in devices))
