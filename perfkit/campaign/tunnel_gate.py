"""The run's VPN: whether it has one, and the gate before traffic.

Without a test that goes through a tunnel none is made. With one, a host counts as configured only
once its tunnel carries a ping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from perfkit.campaign.session import Session
from perfkit.campaign.shortfall import on_result
from perfkit.model import Host, HostState, StageResult
from perfkit.settings import variants
from perfkit.vpn import health
from perfkit.vpn.base import Vpn
from perfkit.vpn.plan import TunnelPlan, peer_address


def tunnel_of(session: Session) -> TunnelPlan | None:
    """The plan of the run's VPN, if it has one; waits until the server has an address."""
    if session.vpn is None:
        return None
    server = session.inventory.wait_for_host("server")
    in_variants = {
        it.name: server.reached_by(variants.applied(session.settings, it).outside_ip)
        for it in variants.load(session.settings)
    }
    return TunnelPlan(
        server_address=server.traffic_address,
        clients=session.settings.parameters.most_clients,
        addresses={name: host.traffic_address for name, host in in_variants.items() if host},
    )


def with_tunnels(
    session: Session,
    setup: StageResult,
    vpn: Vpn,
    tunnel: TunnelPlan,
    then: Callable[[Host], str] | None = None,
) -> StageResult:
    """The result of `setup` once every tunnel was asked; moves each host accordingly.

    Args:
        then: Shell text that a host runs when its tunnel carries a ping.

    Returns:
        A client whose tunnel does not work says what it lacks: address, route or ping.
    """
    started = monotonic()
    reached = {result.host for result in setup.ok}
    hosts = [h for h in session.inventory.hosts(HostState.REACHABLE) if h.name in reached]
    found = health.check_tunnels(
        hosts,
        session.pool,
        vpn=vpn,
        peer=peer_address(session.settings.inside_ip),
        threads=max(session.settings.threads, len(hosts)),
        then=then,
    )
    move, results = on_result(session, HostState.CONFIGURED), {r.host: r for r in setup.results}
    for name, tunnel_health in found.items():
        if tunnel_health.tunnel_address:
            session.inventory.set_tunnel_address(name, tunnel_health.tunnel_address)
        reason = f"tunnel: {tunnel_health.reason}" if not tunnel_health.ok else ""
        results[name] = replace(results[name], ok=tunnel_health.ok, reason=reason)
        move(results[name])
    elapsed_s = setup.elapsed_s + monotonic() - started
    return replace(setup, results=tuple(results.values()), elapsed_s=elapsed_s)
