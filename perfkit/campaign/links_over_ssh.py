"""Links of hosts that are not this machine's namespaces: existing ones and EC2's, over their connections.

Only where the parameter `link_real_hosts` says so: it changes the queues of the network interface that
leads to the run's other hosts. In that interface waits what the host sends, in an ifb device what it
receives; SSH passes beside both. The ifb device is the mark: its alias names the run and the
interface, so whoever finds it can put everything back. That is done after each block, when hosts are
released, and on an existing host also at its expiry and by `perfkit clean` (`host_agent.sh`).

An interface with queueing of its own is left alone. There is no loss here: network cards merge what
they receive, so that packets are not what would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from perfkit.campaign.open_run import OpenRun
from perfkit.errors import ProviderError
from perfkit.fleet import shaping
from perfkit.logs.links import Counted
from perfkit.model import Host, HostLink, HostState, Role
from perfkit.ssh.commands import as_root

MEASURED = (HostState.CONFIGURED, HostState.ARMED, HostState.DONE)  # who may have a link
IFB = "perfkit-ifb"
_SLOWEST_S = 60.0
_HEAD = """
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
fail() { echo "$*" >&2; lift; exit 1; }
lift() {
    set -- $(ip -o link show perfkit-ifb 2>/dev/null |
        sed -n 's/.* alias perfkit [^ ]* \\([^ \\]*\\) *\\([0-9]*\\).*/\\1 \\2/p')
    if [ $# -gt 0 ]; then
        tc qdisc del dev "$1" root
        tc qdisc del dev "$1" ingress
        ip link set dev "$1" gso_max_segs "${2:-65535}"
    fi 2>/dev/null
    ip link del perfkit-ifb 2>/dev/null || :
}
"""


class LinksOverSsh:
    """The links of an open run's hosts; see `perfkit.fleet.provider.LinkingProvider`."""

    def __init__(self, session: OpenRun) -> None:
        self._session = session

    def set_links(self, run_id: str, links: Mapping[str, HostLink]) -> None:
        """Give hosts links, and all others none.

        Raises:
            ProviderError: a host refuses; none has a link then.
        """
        if not links:  # also of those that have failed meanwhile
            there = self._session.inventory.have_been(HostState.CONFIGURED)
            self._on_all("unlink", dict.fromkeys(there, f"{_HEAD}lift"))
            return
        hosts = self._session.inventory.hosts(*MEASURED)
        server = next((host for host in hosts if host.role is Role.SERVER), None)
        if server is None:
            raise ProviderError("the server is lost, so no link can be put on")
        clients = [host for host in hosts if host.role is Role.CLIENT]
        scripts = {host.name: f"{_HEAD}lift" for host in hosts}
        for host in hosts:
            if host.name in links:
                peer = clients[0] if host is server else server
                scripts[host.name] = put_script(
                    run_id, host, links[host.name], peer.traffic_address
                )
        try:
            self._on_all("link", {host: scripts[host.name] for host in hosts})
        except ProviderError:
            self._on_all("unlink", dict.fromkeys(hosts, f"{_HEAD}lift"), is_last=True)
            raise

    def link_counters(
        self, run_id: str, names: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """What was counted, by host and direction; nothing of hosts that have no link.

        Raises:
            ProviderError: it cannot be read.
        """
        there = self._session.inventory.hosts(*MEASURED)
        hosts = [host for host in there if not names or host.name in names]
        said = self._on_all("count", dict.fromkeys(hosts, f"{_HEAD}tc -s -j qdisc show"))
        found = {}
        for name, text in said.items():
            try:
                counted = {
                    device: Counted.model_validate(it).model_dump(exclude_unset=True)
                    for device, it in shaping.counters(text, "").items()
                }
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
                raise ProviderError(
                    f"{name}: what its tc printed is no list of queues ({type(exc).__name__})"
                ) from exc
            to_host = counted.pop(IFB, None)
            if to_host is not None:
                found[name] = {"to_host": to_host, "from_host": next(iter(counted.values()), {})}
        return found

    def _on_all(
        self, stage: str, scripts: Mapping[Host, str], *, is_last: bool = False
    ) -> dict[str, str]:
        """What a script prints on each host, run as root.

        Args:
            is_last: What fails is not said: it failed before.
        """
        said: dict[str, str] = {}

        def work(host: Host) -> None:
            remote, text = self._session.pool.get(host), as_root(scripts[host])
            said[host.name] = remote.run_script(text, timeout_s=_SLOWEST_S).stdout

        done = self._session.on_hosts(stage, scripts, work, deadline_s=2 * _SLOWEST_S)
        if done.failed and not is_last:
            raise ProviderError("; ".join(f"{it.host}: {it.reason}" for it in done.failed))
        return said


def put_script(run_id: str, host: Host, link: HostLink, peer: str) -> str:
    """Shell text that puts a link on the interface of a host that leads to a peer.

    Args:
        peer: Address of another host of the run.
    """
    ssh = "match ip protocol 6 0xff match ip {} {} 0xffff"
    out = shaping.queue_lines("$dev", link, ssh.format("sport", "$port"))
    into = shaping.queue_lines(IFB, link, ssh.format("dport", "$port"))
    return f"""{_HEAD}
set -- ${{SSH_CONNECTION:-}}
port=${{4:-{host.port}}} # as the host itself sees it
for tool in ip tc; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: install iproute2"
done
lift
dev=$(ip -o route get {quote(peer)} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')
[ -n "$dev" ] && [ "$dev" != lo ] || fail "no interface leads to {peer}"
own=$(tc qdisc show dev "$dev" | grep -v '^qdisc [a-z_]* 0: ' | head -n 1)
[ -z "$own" ] || fail "$dev has queueing of its own ($own): take it off, or leave the link out"
said=$(ip link add {IFB} type ifb 2>&1) || fail "no ifb device: $said: modprobe ifb"
segs=$(ip -o -d link show dev "$dev" | sed -n 's/.* gso_max_segs \\([0-9]*\\).*/\\1/p') # a card may have its own
ip link set dev {IFB} alias {quote(f"perfkit {run_id} ")}"$dev $segs" || fail 'no alias'
ip link set dev {IFB} up && ip link set dev "$dev" gso_max_segs 1 || fail "$dev cannot be set"
tc qdisc add dev "$dev" handle ffff: ingress && tc -batch - <<PERFKIT-END || fail 'tc refuses: modprobe sch_htb cls_u32 act_mirred ifb; for a delay also sch_netem'
filter add dev $dev parent ffff: protocol ip prio 1 u32 {ssh.format("dport", "$port")} flowid ffff:1
filter add dev $dev parent ffff: protocol all prio 9 u32 match u32 0 0 action mirred egress redirect dev {IFB}
{chr(10).join([*out, *into])}
PERFKIT-END
"""
