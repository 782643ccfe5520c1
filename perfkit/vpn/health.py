"""The gate before traffic: every tunnel has its address, its route, and an answer to a ping."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from shlex import quote

from perfkit import untrusted
from perfkit.model import Host, Role
from perfkit.ssh.remote import RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.vpn.base import Vpn, VpnTraits

TICK_S = 0.2
MARGIN_S = 10.0
_LOG_LINES = 5
_LINE_LENGTH = 300
_ADDRESSES = {
    "-4": re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"),
    "-6": re.compile(r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}"),
}

_STAMP = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\w{3} \w{3} +\d+ [\d:]{8} \d{4}) +")

# Waits on the host, so that a fleet of waiting hosts costs no SSH traffic. The device is looked
# for by the shell itself; programs are started only once it is there.
_SCRIPT = r"""
PATH=$PATH:/usr/sbin:/sbin
has_device() {
    while read -r name _; do [ "$name" = DEVICE: ] && return 0; done </proc/net/dev
    return 1
}
# What ended the VPN, or will never let it connect; looked for only while it has no tunnel.
find_final() {
    lines=$(grep -E PATTERNS LOG 2>/dev/null | tail -n 5)
    final=$(printf '%s\n' "$lines" | grep -v 'OpenSSL: ' | tail -n 1) # the VPN's own says more
    final=${final:-$(printf '%s\n' "$lines" | tail -n 1)}
    [ "$final" ] && [ "$ends" = yes ] && return
    last=$(tail -n 1 LOG 2>/dev/null) # it removes its pid file on most ways out
    case $last in
        ENDINGS) ;;
        *)
            read -r pid 2>/dev/null <PID_FILE && [ "$pid" ] && ! [ -d "/proc/$pid" ] || { final=; return; }
            ;;
    esac
    final=${final:-${last:-it has ended without a word}}
}
address= route= ping= final=
ends=ENDS
tick=0
while [ $tick -lt TICKS ]; do
    if has_device; then
        address=$(ip FAMILY -o addr show dev DEVICE scope global)
        case $address in *" inet"*) address=${address#* inet* } ;; *) address= ;; esac
        address=${address%%[!0-9a-f.:]*}
        case $(ip FAMILY route get PEER 2>/dev/null) in *"dev "DEVICE* | local*) route=yes ;; esac
        if [ "$address" ] && [ "$route" ]; then
            ping -n -q -c 1 -W 1 PEER >/dev/null 2>&1 && ping=yes && break
            tick=$((tick + 5))
        fi
    fi
    if [ -z "$address" ] && [ $((tick % 5)) -eq 4 ]; then
        find_final
        [ -z "$final" ] || break
    fi
    tick=$((tick + 1))
    sleep 0.2
done
echo "address=$address"
echo "route=$route"
echo "ping=$ping"
printf 'final=%s\n' "$final"
if [ "$ping" ]; then
    THEN
else
    tail -n LINES LOG 2>/dev/null
fi
exit 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelHealth:
    """How far a host's tunnel has come.

    Attributes:
        tunnel_address: Its own address in the tunnel; None = it has none.
        reason: What is missing and the last lines of its log; empty when nothing is.
    """

    host: str
    tunnel_address: str | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Traffic may start."""
        return not self.reason


def check_tunnels(
    hosts: Iterable[Host],
    pool: RemotePool,
    *,
    vpn: Vpn,
    peer: IPv4Address | IPv6Address | str,
    timeout_s: float = 30.0,
    threads: int = 32,
    then: Callable[[Host], str] | None = None,
) -> dict[str, TunnelHealth]:
    """Wait until every host can use its tunnel, or the time is over; one command a host.

    A host whose VPN has ended, or says that it will not be let in, is not waited for.

    Args:
        hosts: Server and clients; the server pings itself.
        pool: Connections to them.
        vpn: Whose tunnels they are.
        peer: The server's address in the tunnel.
        timeout_s: How long a host waits for its tunnel.
        threads: Hosts asked at a time.
        then: Shell text that a host runs at once when its tunnel carries a ping; prints nothing.

    Returns:
        By host name, one entry for every host, also for those that could not be asked.
    """
    found: dict[str, TunnelHealth] = {}
    ticks = max(1, round(timeout_s / TICK_S))

    def check(host: Host) -> None:
        script = health_script(vpn, host, ticks, str(peer), then(host) if then else ":")
        result = pool.get(host).run_script(script, timeout_s=2 * timeout_s + MARGIN_S)
        found[host.name] = parse_health(vpn.traits, host, result.stdout, str(peer))

    stage = run_on_hosts(
        "tunnels",
        hosts,
        check,
        threads=threads,
        deadline_s=2 * timeout_s + 2 * MARGIN_S,
        on_expired=pool.drop,
    )
    for result in stage.failed:
        found[result.host] = TunnelHealth(host=result.host, reason=result.reason)
    return found


def health_script(vpn: Vpn, host: Host, ticks: int, peer: str, then: str = ":") -> str:
    """Shell text that waits for the host's tunnel and prints what `parse_health` reads."""
    words, traits = vpn.last_words(host.role), vpn.traits
    endings = " | ".join(f"*{quote(ending)}" for ending in words.endings)
    return (
        _SCRIPT.replace("ENDINGS", endings or "' '")
        .replace("DEVICE", quote(traits.devices[host.role]))
        .replace("TICKS", str(ticks))
        .replace("FAMILY", _family(peer))
        .replace("PEER", quote(peer))
        .replace("LINES", str(_LOG_LINES))
        .replace("PID_FILE", quote(f"{host.workdir}/{traits.pid_file}"))
        .replace("LOG", quote(f"{host.workdir}/logs/{traits.logs[0]}"))
        .replace("ENDS", "yes" if words.is_final else "")
        .replace("PATTERNS", quote("|".join(words.patterns)))
        .replace("THEN", then)
    )


def _family(peer: str) -> str:
    """The option by which `ip` is told the version of an address."""
    return "-6" if ":" in peer else "-4"


def parse_health(vpn: VpnTraits, host: Host, text: str, peer: str) -> TunnelHealth:
    """Read what the script printed: four answers, then the end of the VPN's log."""
    lines = [untrusted.one_line(line, _LINE_LENGTH) for line in text.splitlines()]
    answers = dict(line.partition("=")[::2] for line in lines[:4])
    address = answers.get("address") or None
    if address is not None and not _ADDRESSES[_family(peer)].fullmatch(address):
        address = None
    missing = [
        what
        for what, is_there in (
            ("no tunnel address", address is not None),
            (f"no route to {peer}", answers.get("route") == "yes"),
            (f"no answer to a ping from {peer}", answers.get("ping") == "yes"),
        )
        if not is_there
    ]
    reason = ", ".join(missing)
    log = lines[4 : 4 + _LOG_LINES]
    if missing and answers.get("final"):
        reason = f"{vpn.title}: {_STAMP.sub('', answers['final'])}"
    elif missing and log:
        reason += f"; {vpn.logs[0]} ends: " + " | ".join(log)
    elif missing:
        reason += f"; no {vpn.logs[0]} on the {Role(host.role)}: {vpn.title} was not started"
    return TunnelHealth(host=host.name, tunnel_address=address, reason=reason)
