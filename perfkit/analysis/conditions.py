"""Under which conditions a run was made, as flat names and words, so that runs can be held apart.

Read from the run folder alone: the manifest, what the server and the clients said about
themselves, the copies of config/ and resources/ that the run took with it, and the cipher that
the VPN's own status names. Comments and addresses are no conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from perfkit.errors import PerfkitError
from perfkit.logs.run_logs import RunLogs
from perfkit.runs.design import BASE
from perfkit.runs.folder import Run, sha256_of
from perfkit.runs.vpn_record import vpn_of
from perfkit.settings import ini
from perfkit.units import format_size, format_some

NOT_RECORDED = "not recorded"
_OUTWARD = {
    "name",
    "run",
    "runs_dir",
    "config_dir",
    "keep_fleet",
    "expires_min",
    "threads",
    "link_real_hosts",
    "executor",
}
_CAMPAIGNS = {"capacity", "repetitions", "precision", "max_repetitions", "budget", "seed"}
_OUTWARD |= _CAMPAIGNS
_USUAL = (
    ("variants", BASE),
    ("inside_ip", "4"),
    ("outside_ip", ""),
    ("per_machine", 0),
)  # as all runs once were
_FACTS = (
    "kernel",
    "os",
    "ncpu",
    "vpn_version",
    "vpn_implementation",
    "iperf_version",
    "iperf3_version",
)
_SECRET = re.compile(r"pass|secret|token|key", re.IGNORECASE)
_NAMED = 3  # values named where the clients differ


def conditions(run: Run, logs: RunLogs) -> dict[str, str]:
    """Everything recorded about a run that may explain its figures, in the order of importance.

    What is not recorded has no entry. Values that look like secrets are never shown.
    """
    found = {"clients": str(len(logs.clients))}
    found |= _software(run, logs)
    found |= {
        f"parameter {name}": str(value)
        for name, value in logs.manifest.get("parameters", {}).items()
        if name not in _OUTWARD and name != "clients" and (name, value) not in _USUAL
    }
    found |= {
        f"hosts {name}": str(value)
        for name, value in logs.manifest.get("provider_traits", {}).items()
        if (name, value) != ("per_machine", 1)
    }
    for slot in logs.slots:
        found[f"test {slot.name}"] = f"{slot.path}, {slot.duration_s:g} s"
    return found | _settings(run) | _resources(run)


def differing(all_of: Iterable[Mapping[str, str]]) -> list[str]:
    """Names whose value is not the same in all runs, in their order."""
    listed = list(all_of)
    names = dict.fromkeys(name for one in listed for name in one)
    return [name for name in names if len({one.get(name, "") for one in listed}) > 1]


def _software(run: Run, logs: RunLogs) -> dict[str, str]:
    controller = logs.manifest.get("controller", {})
    found = {
        "perfkit": str(controller.get("perfkit", "")),
        "cipher": ", ".join(_ciphers(logs)),
        "controller kernel": str(controller.get("kernel", "")),
        "controller processors": str(controller.get("ncpu", "")),
    }
    server = logs.facts.get(logs.server, {})
    clients = [facts for host, facts in logs.facts.items() if host != logs.server]
    for name in _FACTS:
        words = name.removesuffix("_version")
        found[f"server {words}"] = str(server.get(name, ""))
        of_clients = {str(facts[name]) for facts in clients if facts.get(name)}
        found[f"clients {words}"] = format_some(sorted(of_clients), _NAMED)
    memory = server.get("memory_bytes")
    if isinstance(memory, int | float):  # a machine reports a little less after each boot
        found["server memory"] = format_size(round(memory / 2**28) * 2**28)
    return {name: value for name, value in found.items() if value}


def _ciphers(logs: RunLogs) -> list[str]:
    """The data channel's ciphers, as the VPN's status names them."""
    frame = logs.vpn.clients
    if "cipher" not in frame:
        return []
    return sorted({cipher for cipher in frame["cipher"].dropna().astype("str") if cipher})


def _settings(run: Run) -> dict[str, str]:
    """Each key of the run's own copies of config/*.conf."""
    found = {}
    for path in sorted(run.config_dir.glob("*.conf")):
        try:
            _, parser = ini.read_ini(run.config_dir, path.stem)
        except PerfkitError as exc:
            found[path.name] = f"unreadable: {exc}"
            continue
        for section in parser.sections():
            for key, value in parser[section].items():
                shown = "(not shown)" if _SECRET.search(key) else value
                found[f"{path.name} [{section}] {key}"] = shown
    return found


def _resources(run: Run) -> dict[str, str]:
    """The VPN's directives by name, and scripts by the beginning of their hash."""
    folder, found = run.config_dir / "resources", {}
    vpn = vpn_of(run.manifest()).name
    for path in sorted(folder.glob(f"{vpn}/*.conf")):
        for directive, words in _directives(path).items():
            found[f"{vpn} {path.name}: {directive}"] = words
    for path in sorted([*folder.glob("tests/*"), *folder.glob("bin/*"), *folder.glob("*.py")]):
        found[str(path.relative_to(folder))] = f"sha256 {sha256_of(path)[:8]}"
    return found


def _directives(path: Path) -> dict[str, str]:
    """Words by directive; one that is given twice has both, with a semicolon between."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = re.split(r"\s[#;]", line.strip(), maxsplit=1)[0].strip()
        if not words or words[0] in "#;":
            continue
        name, _, rest = words.partition(" ")
        found[name] = f"{found[name]}; {rest.strip()}" if name in found else rest.strip() or "on"
    return found
