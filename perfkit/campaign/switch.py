"""Switch the tunnels of hosts that are up from one variant to another: stop, start, gate.

The files of all variants were put on the hosts when they were configured, so nothing is sent. All
tunnels are stopped before the first one is started: a client that is early would else pass the gate
through the server that is about to end.

A host says itself which variant is in force, in a file that it writes when its tunnel has carried a
ping, and removes before its tunnel is stopped. So whoever was killed in the middle asks again, and only
hosts that are not there yet are switched. What a killed process had ordered may still go on there: it
is waited for, and no tunnel is started with files that it has put in place meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import join, quote
from time import monotonic

from perfkit.campaign.open_run import OpenRun
from perfkit.campaign.vpn_choice import vpns_of
from perfkit.configure.completion import digest
from perfkit.configure.facts import collect_facts
from perfkit.fleet.inventory import Inventory
from perfkit.model import Host, HostResult, Role, StageResult
from perfkit.runs.folder import Run
from perfkit.settings import variants
from perfkit.ssh.commands import as_root
from perfkit.vpn import base, health
from perfkit.vpn.plan import peer_address

# In the VPN's folder on a host.
_IN_FORCE = ".variant"  # which variant's tunnel has carried a ping
_IN_PLACE = ".in-place"  # which variant's files are there
_LOCK = ".switching"
_TOLD = ".told"  # of which program and implementation the facts are
_SLOWEST_STEP_S = 60.0


def switch_to(
    session: OpenRun,
    variant: str,
    hosts: Iterable[Host],
    *,
    idle: Iterable[Host] = (),
) -> StageResult:
    """Have the tunnels of some hosts be those of a variant; a host where they are is left alone.

    Args:
        session: Of the campaign: its run holds the bundles that the hosts were configured with.
        variant: One that they were configured with.
        hosts: The server and the clients that are to have a tunnel.
        idle: Hosts whose tunnel is to be down.

    Returns:
        One result for each of `hosts`; where there is no tunnel, the VPN's last words are the reason.
        An idle host is among them only if it cannot be brought down. Without a VPN nothing is done.
    """
    wanted, unwanted, started = list(hosts), list(idle), monotonic()
    if session.vpn is None:
        return StageResult(
            stage="switch", results=[HostResult(host=h.name, ok=True) for h in wanted]
        )
    change = {host.name: _change(session.run, host, variant) for host in wanted}
    change |= {host.name: f"rm -f {_IN_FORCE}\n./{base.STOP}" for host in unwanted}
    results = _on_all(session, "stop", [*wanted, *unwanted], lambda host: change[host.name])
    up = _still(wanted, results)
    for role in (Role.SERVER, Role.CLIENT):  # who finds no server asks again a second later
        of_role = [host for host in up if host.role is role]
        results |= _on_all(
            session, "start", of_role, lambda host: _start(session.run, host, variant)
        )
        up = _still(up, results)
    of_variants = vpns_of(session.settings, variants.with_base(session.settings))
    vpn = of_variants.get(variant, session.vpn)
    results |= _gate(session, vpn, variant, up)
    results |= _tell_version(session, vpn, _still(up, results))
    idle_ones = {host.name for host in unwanted}
    kept = [it for it in results.values() if not it.ok or it.host not in idle_ones]
    return StageResult(stage="switch", results=kept, elapsed_s=monotonic() - started)


def mark(run: Run, variant: str) -> Callable[[Host], str]:
    """Shell text by which a host says that a variant is in force on it."""

    def text(host: Host) -> str:
        path = f"{host.workdir}/{base.FOLDER}/{_IN_FORCE}"
        return f"echo {_word(run, host, variant)} >{quote(path)}"

    return text


def _mark_if_in_place(run: Run, host: Host, variant: str) -> str:
    place = quote(f"{host.workdir}/{base.FOLDER}/{_IN_PLACE}")
    return f"! {_says(place, _word(run, host, variant))} || {mark(run, variant)(host)}"


def _word(run: Run, host: Host, variant: str) -> str:
    """A variant as the host's bundle has it: when a file is edited, it is another one."""
    return f"{variant}-{digest([run.id], [_files_of(run, host)])[:32]}"


def _files_of(run: Run, host: Host) -> Path:
    return run.host_dir(host.name) / "bundle" / base.FOLDER


def _change(run: Run, host: Host, variant: str) -> str:
    """Shell text, run in the VPN's folder as root: stop it, and put the variant's files in place."""
    own = _files_of(run, host) / base.VARIANTS / variant
    files = sorted(own.iterdir()) if own.is_dir() else []  # none where there is one variant only
    names = " ".join(quote(path.name) for path in files)
    word = _word(run, host, variant)
    return f"""
if ! {_says(_IN_FORCE, word)}; then
    rm -f {_IN_FORCE} {_IN_PLACE}
    ./{base.STOP} || exit
    for file in {names}; do # each is there whole, or as it was
        cp -p {base.VARIANTS}/{quote(variant)}/"$file" .new && mv -f .new "$file" || exit
    done
fi
echo {word} >{_IN_PLACE}"""


def _start(run: Run, host: Host, variant: str) -> str:
    """Shell text, run in the VPN's folder as root: start it, if the files are still the variant's."""
    return f"""
{_says(_IN_PLACE, _word(run, host, variant))} ||
    {{ echo 'another process has switched it meanwhile' >&2; exit 1; }}
exec ./{base.START} 9>&-"""


def _says(file: str, word: str) -> str:
    return f'[ "$(cat {file} 2>/dev/null)" = {word} ]'


def _on_all(
    session: OpenRun, stage: str, hosts: Sequence[Host], script: Callable[[Host], str]
) -> dict[str, HostResult]:
    """Run shell text on each host, as root, in the folder of its VPN."""

    def work(host: Host) -> None:
        place = quote(f"{host.workdir}/{base.FOLDER}")
        text = f"cd {place} && exec 9>{_LOCK} && flock 9 || exit\n{script(host)}"
        session.pool.get(host).run_script(as_root(text), timeout_s=_SLOWEST_STEP_S)

    done = session.on_hosts(stage, hosts, work, deadline_s=2 * _SLOWEST_STEP_S)
    return {result.host: result for result in done.results}


def _still(hosts: Sequence[Host], results: dict[str, HostResult]) -> list[Host]:
    """The hosts to go on with; when the server is lost, none: its clients would wait for nothing."""
    lost = next((h for h in hosts if h.role is Role.SERVER and not results[h.name].ok), None)
    if lost is None:
        return [host for host in hosts if results[host.name].ok]
    reason = f"not tried: {lost.name}: {results[lost.name].reason}"
    results |= {
        host.name: replace(results[host.name], ok=False, reason=reason)
        for host in hosts
        if results[host.name].ok
    }
    return []


def _gate(
    session: OpenRun, vpn: base.Vpn, variant: str, hosts: Sequence[Host]
) -> dict[str, HostResult]:
    """Wait until each tunnel carries a ping."""
    found = health.check_tunnels(
        hosts,
        session.pool,
        vpn=vpn,
        peer=peer_address(_inside_ip(session, variant)),
        threads=max(session.settings.threads, len(hosts)),
        then=lambda host: _mark_if_in_place(session.run, host, variant),
    )
    results = {}
    for host in hosts:
        it = found[host.name]
        if it.ok and it.tunnel_address:
            _keep_address(session.inventory, host, it.tunnel_address)
        reason = f"tunnel of {variant}: {it.reason}" if not it.ok else ""
        log = session.pool.log_path(host)
        results[host.name] = HostResult(host=host.name, ok=it.ok, reason=reason, log=log)
    return results


def _inside_ip(session: OpenRun, variant: str) -> int:
    """The version of IP that a variant's tests use in the tunnel."""
    chosen = {it.name: it for it in variants.with_base(session.settings)}
    return replace(session.settings, variant=chosen[variant]).inside_ip


def _tell_version(session: OpenRun, vpn: base.Vpn, hosts: Sequence[Host]) -> dict[str, HostResult]:
    """Have hosts note the program that they run now, and what carries its packets, if it is another."""

    def work(host: Host) -> None:
        remote = session.pool.get(host)
        asked = join(vpn.traits.version_command)
        same = remote.run_script(_tells(host, asked), check=False).exit_status == 0
        if not same:
            collect_facts(remote, vpn_version=vpn.traits.version_command)
            remote.run_script(_noted(host, asked))

    done = session.on_hosts("facts", hosts, work, deadline_s=_SLOWEST_STEP_S)
    return {result.host: result for result in done.results}


def _tells(host: Host, asked: str) -> str:
    """Shell text that ends with 0 if the host's facts are of what runs there now."""
    place = quote(f"{host.workdir}/{base.FOLDER}")
    return f"cd {place} && {_running(asked)} | cmp -s - {_TOLD}"


def _noted(host: Host, asked: str) -> str:
    place = quote(f"{host.workdir}/{base.FOLDER}")
    return f"cd {place} && {_running(asked)} >{_TOLD}"


def _running(asked: str) -> str:
    return f"{{ echo {quote(asked)}; cat {base.IMPLEMENTATION} 2>/dev/null || :; }}"


def _keep_address(inventory: Inventory, host: Host, address: str) -> None:
    """Record a tunnel address that is another one than before: the server gives them as clients come."""
    if inventory.get_record(host.name).tunnel_address != address:
        inventory.set_tunnel_address(host.name, address)
