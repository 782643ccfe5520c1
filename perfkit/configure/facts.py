"""What a host is: kernel, processors, memory, versions of the tools that matter to a result."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import join, quote
from typing import Any

from perfkit import untrusted
from perfkit.errors import CommandError, HostError, UntrustedError
from perfkit.ssh.remote import Remote
from perfkit.vpn.base import FOLDER, IMPLEMENTATION

# The shell does what it can by itself: every process is started on a hundred hosts at once. What
# is printed between quotes holds none itself, so the text is JSON.
_SCRIPT = r"""
set -f
PATH=$PATH:/usr/sbin:/sbin
read -r kernel </proc/sys/kernel/osrelease
while read -r name value _; do
    [ "$name" = MemTotal: ] && memory_kib=$value && break
done </proc/meminfo
[ -r /etc/os-release ] && . /etc/os-release
case $PRETTY_NAME in *[\"\\]*) PRETTY_NAME=unknown ;; esac
first_version() {
    while [ $# -gt 0 ]; do
        case $1 in [0-9]*[!0-9.]*) ;; [0-9]*) echo "$1" && return ;; esac
        shift
    done
}
version() { first_version $(command -v "$1" >/dev/null && "$@" 2>&1); }
set +f
links=
for device in /sys/class/net/*/device; do # a real card; what a virtual one says is no limit
    device=${device%/device}
    name=${device##*/} mbps=
    case $name in *[!a-zA-Z0-9._-]*) continue ;; esac
    read -r mbps 2>/dev/null <"$device/speed"
    case $mbps in '' | 0 | *[!0-9]*) ;; *) links="$links${links:+ }$name=$mbps" ;; esac
done
set -f
carrier=
[ ! -r ../CARRIER ] || read -r carrier <../CARRIER
case $carrier in *[\"\\]*) carrier= ;; esac
facts=$(printf '{"kernel": "%s", "ncpu": %d, "memory_bytes": %d, "os": "%s", ' \
    "$kernel" "$(nproc)" "$((${memory_kib:-0} * 1024))" "$PRETTY_NAME"
printf '"vpn_version": "%s", "iperf_version": "%s", "iperf3_version": "%s", ' \
    "$(VPN_VERSION)" "$(version iperf -v)" "$(version iperf3 -v)"
printf '"vpn_implementation": "%s", ' "$carrier"
printf '"python_version": "%s", "link_speeds_mbps": "%s"}' "$(version python3 -V)" "$links")
echo "$facts" >facts.json && echo "$facts"
"""


def collect_facts(
    remote: Remote,
    *,
    vpn_version: Sequence[str] = (),
    is_started: bool = False,
    checks: str = "",
    then: str = ":",
) -> dict[str, Any]:
    """Ask a host what it is, in one command; also leaves the answer in its `logs/facts.json`.

    Args:
        vpn_version: Command that prints the version of the run's VPN; empty: it has none.
        is_started: The VPN was started just now: where its `start` has said the version of its process,
            no program is started once more to say it.
        checks: Shell text, run in the workdir, that prints a line for each thing that lacks.
        then: Shell text that the same command runs afterwards, if nothing lacks.

    Returns:
        `kernel`, `ncpu`, `memory_bytes`, `os`, `vpn_version`, `iperf_version`,
        `iperf3_version`, `python_version`, `vpn_implementation` (what carries the VPN's packets, as its
        `start` has said: `process: …` or `kernel: …`); a version is empty where the tool is not installed;
        `link_speeds_mbps`: of each network card that says it, `eth0=1000 eth1=10000`.

    Raises:
        CommandError: the host's answer makes no sense.
        HostError: what the host lacks, all of it; or as `Remote.run`.
    """
    asked = f"version {join(vpn_version)}" if vpn_version else ":"
    if is_started:
        asked = (
            f"case $carrier in ('process: '*[0-9]*) first_version $carrier ;; (*) {asked} ;; esac"
        )
    carrier = f"{FOLDER}/{IMPLEMENTATION}"
    script = _SCRIPT.replace("VPN_VERSION", asked).replace("CARRIER", carrier)
    logs = quote(f"{remote.host.workdir}/logs")
    checked = f"""
cd ..
lacks=$(
{checks}
)
if [ -n "$lacks" ]; then printf '%s\\n' "$lacks" | sed 's/^/lacks /'; exit; fi
{then}"""
    result = remote.run_script(
        f"[ -d {logs} ] || mkdir -p {logs}\ncd {logs} || exit\n{script}\n{checked}"
    )
    lines = result.stdout.splitlines()
    if lacking := [line for line in lines[1:] if line.startswith("lacks ")]:
        found = "; ".join(line.removeprefix("lacks ") for line in lacking)
        raise HostError(remote.host.name, f"not ready: {untrusted.printable(found[:1000])}")
    try:
        return untrusted.parse_record(result.stdout, untrusted.FACTS)
    except UntrustedError as exc:
        answer = untrusted.printable(result.stdout[:1000])
        raise CommandError(
            remote.host.name, f"its facts are refused: {exc}", "facts", 0, answer
        ) from exc
