"""What a host is: kernel, processors, memory, versions of the tools that matter to a result."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

from perfkit.configure.remote import Remote
from perfkit.errors import CommandError

# One shell, one process for each tool. Values go through `clean`, so the text is JSON.
_SCRIPT = r"""
PATH=$PATH:/usr/sbin:/sbin
clean() { printf %s "$1" | tr -d '"\\\n\r\t'; }
version() { "$@" 2>&1 | sed -n '1s/^[^0-9]*\([0-9][0-9.]*\).*/\1/p'; }
[ -r /etc/os-release ] && . /etc/os-release
while read -r name value _; do
    [ "$name" = MemTotal: ] && memory_kib=$value && break
done </proc/meminfo
{
printf '{"kernel": "%s", "ncpu": %d, "memory_bytes": %d, "os": "%s", ' \
    "$(clean "$(uname -r)")" "$(nproc)" "$((${memory_kib:-0} * 1024))" "$(clean "$PRETTY_NAME")"
printf '"openvpn_version": "%s", "iperf_version": "%s", "python_version": "%s"}\n' \
    "$(version openvpn --version)" "$(version iperf -v)" "$(version python3 -V)"
} >facts.json && cat facts.json
"""


def collect_facts(remote: Remote) -> dict[str, Any]:
    """Ask a host what it is, in one command; also leaves the answer in its `logs/facts.json`.

    Returns:
        `kernel`, `ncpu`, `memory_bytes`, `os`, `openvpn_version`, `iperf_version`,
        `python_version`; a version is empty where the tool is not installed.

    Raises:
        CommandError: the host's answer makes no sense.
        HostError: as `Remote.run`.
    """
    logs = quote(f"{remote.host.workdir}/logs")
    result = remote.run_script(f"mkdir -p {logs} && cd {logs} || exit\n{_SCRIPT}")
    try:
        facts = json.loads(result.stdout)
    except ValueError as exc:
        raise CommandError(
            remote.host.name, f"its facts are not JSON: {exc}", "facts", 0, result.stdout
        ) from exc
    return dict(facts)
