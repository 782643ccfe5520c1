"""What a host must have before its tests can be armed, checked and brought in one round trip.

`configure` may have put the files there already; those that are there and the same are left.
The monitor is dool, one file, carried from the controller's own installed package, so that every
host runs the version the readers were tested with.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from perfkit.errors import ConfigError, HostError
from perfkit.measure.plan import runs_on
from perfkit.model import Host, Role, Slot
from perfkit.runs.folder import sha256_of
from perfkit.ssh.remote import Remote
from perfkit.untrusted import one_line

_TOOLS = ("timeout", "setsid", "sha256sum", "find", "sed", "tr", "tail", "cut")
_MONITOR_FILES = ("monitor", "procstat", "queuestat", "nicstat")


def find_dool() -> Path:
    """The one file that is dool, in the controller's installed package.

    Raises:
        ConfigError: the package is not installed, or has another layout.
    """
    try:
        files = importlib.metadata.files("dool") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix() == "dool/__main__.py":
            return Path(str(file.locate()))
    raise ConfigError(
        "environment", "dool", None, "its program is not found", "pip install 'dool>=1.3.8'"
    )


def scripts_for(role: Role, slots: Sequence[Slot]) -> list[Path]:
    """The scripts that a host of this role runs."""
    tests = [slot.test for slot in slots if runs_on(slot, role)]
    scripts = [test.server_script if role is Role.SERVER else test.script for test in tests]
    return list(dict.fromkeys(script for script in scripts if script is not None))


def files_for(
    host: Host, slots: Sequence[Slot], bin_dir: Path, *, watched: bool
) -> Mapping[str, Path]:
    """Path below the host's work folder -> file on the controller, all of them executable."""
    files = {"bin/run-slot": bin_dir / "run-slot"}
    files.update({f"tests/{script.name}": script for script in scripts_for(host.role, slots)})
    if watched:
        files.update({f"bin/{name}": bin_dir / name for name in _MONITOR_FILES})
        files["bin/dool"] = find_dool()
    return files


def provision(
    remote: Remote,
    files: Mapping[str, Path],
    *,
    more_checks: str,
    watched: bool,
    keep_logs: Sequence[str] | None = None,
) -> None:
    """Make the host's folders, bring the files that are missing or differ, and check its tools.

    Args:
        files: As from `files_for`.
        more_checks: Shell text of the starter that prints one line for each thing that lacks.
        watched: The monitor will run there; what an earlier one left is removed.
        keep_logs: Every other log is removed, so that none is taken for one of these tests; None:
            all stay.

    Raises:
        HostError: what the host lacks, all of it.
        TransferError: a file did not arrive.
    """
    script = _check_script(remote.host, list(files), more_checks, watched=watched)
    if keep_logs is not None:
        script = f"{_removal(remote.host, keep_logs)}{script}"
    there: dict[str, str] = {}
    lacking = []
    for line in remote.run_script(script).stdout.splitlines():
        if line.startswith("lacks "):
            lacking.append(one_line(line.removeprefix("lacks "), 200))
        else:  # as sha256sum prints it
            digest, _, name = line.partition("  ")
            there[name] = digest
    if lacking:
        raise HostError(remote.host.name, f"not ready: {'; '.join(lacking)}")
    for name, source in files.items():
        if there.get(name) != sha256_of(source):
            remote.put(source, f"{remote.host.workdir}/{name}", mode=0o755)


def _removal(host: Host, keep: Sequence[str]) -> str:
    """Shell text that ends what an earlier test left running, and removes its logs."""
    others = " ".join(f"! -name {quote(name)}" for name in keep)
    return f"""
(cd {quote(host.workdir)} 2>/dev/null || exit 0
{{ [ ! -x bin/run-slot ] || bin/run-slot stop; }}
[ ! -d logs ] || find logs -mindepth 1 -maxdepth 1 -type f {others} -exec rm -f -- {{}} +)
"""


def _check_script(host: Host, names: Sequence[str], more_checks: str, *, watched: bool) -> str:
    checks = [f"command -v {tool} >/dev/null || echo '{tool} is not installed'" for tool in _TOOLS]
    checks += [
        "case $(date +%N) in '' | *[!0-9]*) echo 'date has no nanoseconds' ;; esac",
        "[ -w logs ] || echo 'its work folder cannot be written'",
    ]
    clean = ""
    if watched:
        checks.append("[ -x /usr/bin/python3 ] || echo 'the monitor needs /usr/bin/python3'")
        clean = (
            "[ ! -x bin/monitor ] || bin/monitor stop\n"
            "rm -f slots/monitor.stopped logs/monitor.* logs/procstat.csv logs/queues.csv logs/nic.csv\n"
        )
    return f"""
umask 022
cd {quote(host.workdir)} 2>/dev/null || {{ mkdir -p {quote(host.workdir)} && cd {quote(host.workdir)}; }} || exit
[ -d bin ] && [ -d tests ] && [ -d slots ] && [ -d logs ] || mkdir -p bin tests slots logs
{clean}set --
for file in {" ".join(names)}; do
    [ ! -x "$file" ] || set -- "$@" "$file"
done
[ $# -eq 0 ] || sha256sum "$@"
lacks=$(
{chr(10).join(checks)}
{more_checks}
)
[ -z "$lacks" ] || printf '%s\\n' "$lacks" | sed 's/^/lacks /'
"""
