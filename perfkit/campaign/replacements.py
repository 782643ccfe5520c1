"""Hosts of a campaign that failed in a block: asked whether they are well, else replaced.

A block without all its clients is void, so a campaign goes on with as many hosts as it was designed
for. A host that answers, and whose tunnel carries a ping, gets one more chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from perfkit.campaign import missing_hosts, renew, tunnel_gate
from perfkit.campaign.block_session import BlockSession
from perfkit.campaign.session import Session
from perfkit.errors import StageError
from perfkit.model import Host, HostState
from perfkit.vpn import health
from perfkit.vpn.base import Vpn

MOST_FAILURES = 2  # in blocks; then a host is replaced, whatever it answers
MOST_LAUNCHES = 3  # of a host of one name
CHECK_DEADLINE_S = 60.0


def judge_hosts(session: Session, block: BlockSession, failures: Counter[str]) -> None:
    """Fail those hosts of the campaign that failed in this block and are not well.

    Args:
        failures: Of each host in earlier blocks; brought up to date.
    """
    for name, reason in _taken_back(block).items():
        session.inventory.move(name, HostState.FAILED, reason=reason)
    doubted = {record.name: record.reason for record in block.inventory.records() if record.reason}
    if len(doubted) <= len(block.inventory.records()) / 2:  # else it is not the hosts
        failures.update(doubted.keys())
    hosts = [host for host in session.inventory.hosts(HostState.CONFIGURED) if host.name in doubted]
    for name, reason in _unwell(session, hosts, block.vpn).items():
        session.inventory.move(name, HostState.FAILED, reason=reason)
    for host in hosts:
        if failures[host.name] >= MOST_FAILURES:
            session.inventory.move(host.name, HostState.FAILED, reason=doubted[host.name])
    session.write_hosts()


def _taken_back(block: BlockSession) -> dict[str, str]:
    """Hosts whose provider has said that it takes them back: what they measure is void."""
    path = block.run.interruptions_path
    rows = block.run.load_json(path) if path.is_file() else []
    return {str(row["host"]): f"taken back: {row['reason']}" for row in rows}


def _unwell(session: Session, hosts: list[Host], vpn: Vpn | None) -> dict[str, str]:
    """Those that do not answer, or whose tunnel does not carry a ping, and why.

    Args:
        vpn: Whose tunnels they have now.
    """
    if not hosts:
        return {}
    tunnel = tunnel_gate.tunnel_of(session)
    if vpn is not None and tunnel is not None:
        found = health.check_tunnels(
            hosts,
            session.pool,
            vpn=vpn,
            peer=tunnel.server_tunnel_address,  # of IPv4, which every tunnel carries
            threads=session.settings.threads,
        )
        return {name: f"tunnel: {it.reason}" for name, it in found.items() if not it.ok}

    def ask(host: Host) -> None:
        session.pool.get(host).run(["true"])

    asked = session.on_hosts("check", hosts, ask, deadline_s=CHECK_DEADLINE_S)
    return {result.host: result.reason for result in asked.failed}


def require_server(session: Session) -> None:
    """Go on only with the server: all clients know its address and keys, so it is not replaced.

    Raises:
        StageError: it failed, and why.
    """
    record = session.inventory.get_record("server")
    if record.state is HostState.FAILED:
        raise StageError(f"measure: the server failed: {record.reason}", ())


def is_needed(session: Session) -> bool:
    """Whether a client has failed that may be made anew."""
    require_server(session)
    return bool(_again(session))


def _again(session: Session) -> set[str]:
    """Clients that failed, but for those that were made as often as may be."""
    failed = session.inventory.names(HostState.FAILED)
    launches = Counter(name for names in session.progress().batches.values() for name in names)
    return {name for name in failed if launches[name] < MOST_LAUNCHES}


def replace_failed(session: Session, configure: Callable[[], object]) -> None:
    """Have clients that failed made anew, under their names; those that fail again and again are left.

    Args:
        configure: Configures hosts that are reachable and are not configured yet.
    """
    again = _again(session)
    session.fleet.plan = replace(
        session.fleet.plan,
        expires_utc=renew.ends_utc(session.run),  # moved since the others were made, perhaps
        tokens=frozenset(session.progress().batches),  # else the same host twice is one request
    )
    session.provider.terminate(session.run.id, sorted(again))
    session.gone |= again
    missing_hosts.launch_missing(session)
    session.fleet.wait()
    configure()
