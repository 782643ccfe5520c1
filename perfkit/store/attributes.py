"""What every row of the store says of its run or block, read from the folder alone.

What an older version did not record stays empty; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from perfkit.errors import LogError, PerfkitError
from perfkit.logs import reader
from perfkit.logs.registry import get_format
from perfkit.runs import campaign_folder, design
from perfkit.runs.design import BASE
from perfkit.runs.folder import Run
from perfkit.runs.vpn_record import current_facts, vpn_of
from perfkit.units import format_size

_PROTO = re.compile(r"^\s*proto\s+(udp|tcp)", re.MULTILINE)


def attributes_of(run: Run, *, void: str = "") -> dict[str, Any]:
    """The attributes of a run, a campaign or a block, by the names of `schema.ATTRIBUTES`.

    Args:
        void: Why it does not count; empty: it counts.

    Raises:
        RunError: its manifest cannot be read.
    """
    manifest = run.manifest()
    whole = run if run.block is None else campaign_folder.campaign_of(run)
    server, clients = _hosts(run)
    facts = _facts(run, server)
    variant = str(manifest.get("variant") or BASE)
    controller = _mapping(_manifest_of(whole, manifest).get("controller"))
    return {
        "run": whole.id,
        "block": run.block or 0,
        "name": str(manifest.get("name", "")),
        "started": _started(run, manifest),
        "perfkit": str(controller.get("perfkit", "")),
        "vpn": _vpn(whole, manifest, variant),
        "vpn_version": str(facts.get("vpn_version") or ""),
        "cipher": _cipher(run, server),
        "transport": _transport(run, whole, server, variant),
        "clients": clients,
        "provider": str(_mapping(manifest.get("parameters")).get("provider", "")),
        "host_type": _host_type(facts),
        "variant": variant,
        "void": void,
        "copy_of": _copy_of(run, whole, manifest),
    }


def _manifest_of(whole: Run, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
    """The campaign's manifest, for what its blocks do not repeat."""
    try:
        return whole.manifest()
    except PerfkitError:
        return otherwise


def _hosts(run: Run) -> tuple[str, int | None]:
    """The server, and how many clients there were."""
    try:
        hosts = run.load_json(run.hosts_path)
        roles = [(str(host["name"]), str(host["role"])) for host in hosts]
    except (PerfkitError, LookupError, TypeError):
        return "", None
    server = next((name for name, role in roles if role == "server"), "")
    return server, sum(role == "client" for _, role in roles)


def _facts(run: Run, server: str) -> Mapping[str, Any]:
    try:
        facts = run.load_json(run.host_raw_dir(server or "server") / "facts.json")
    except PerfkitError:
        return {}
    return current_facts(_mapping(facts))


def _started(run: Run, manifest: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(run.load_json(run.timetable_path)["t0_utc_s"]), UTC)
    except (PerfkitError, LookupError, TypeError, ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.fromisoformat(str(manifest["created_utc"])).astimezone(UTC)
    except (LookupError, ValueError, OverflowError):
        return None


def _vpn(whole: Run, manifest: Mapping[str, Any], variant: str) -> str:
    by_variant = _mapping(_manifest_of(whole, manifest).get("vpn_by_variant"))
    record = by_variant.get(variant)
    return vpn_of({"vpn": record} if isinstance(record, Mapping) else manifest).name


def _cipher(run: Run, server: str) -> str:
    """The data channel's ciphers, as the status of the server's VPN names them."""
    found: set[str] = set()
    for name in vpn_of(run.manifest()).logs:
        path = run.host_raw_dir(server or "server") / name
        if not path.is_file():
            continue
        try:
            if get_format(reader.sniff(path)).kind != "vpn-clients":  # only a status has them
                continue
            rows = reader.read(path).frame
        except LogError:  # the report names it
            continue
        if "cipher" in rows:
            found |= {cipher for cipher in rows["cipher"].dropna().astype("str") if cipher}
    return ", ".join(sorted(found))


def _transport(run: Run, whole: Run, server: str, variant: str) -> str:
    """What the server was told to listen on: by the variant, else by the file made for it."""
    try:
        for key, value in _mapping(design.load(whole).variant_changes.get(variant)).items():
            if str(key).endswith((".server.proto", ".both.proto")):
                return str(value)[:3]
    except PerfkitError:  # a run by itself
        pass
    for folder in dict.fromkeys((run, whole)):
        for path in sorted(folder.host_dir(server or "server").glob("bundle/*/server.conf")):
            if found := _PROTO.search(path.read_text(encoding="utf-8", errors="replace")):
                return found[1]
    return ""


def _host_type(facts: Mapping[str, Any]) -> str:
    parts = [f"{facts['ncpu']} processors"] if facts.get("ncpu") else []
    memory = facts.get("memory_bytes")
    if isinstance(memory, int | float):  # a machine reports a little less after each boot
        parts.append(format_size(round(memory / 2**28) * 2**28))
    return ", ".join(parts)


def _copy_of(run: Run, whole: Run, manifest: Mapping[str, Any]) -> str:
    """The run that a block of an adopted campaign, or a folder copied by hand, is a copy of."""
    try:
        adopted = design.load(whole).adopted
        if run.block is not None and run.block <= len(adopted):
            return adopted[run.block - 1]
    except PerfkitError:
        pass
    made_as = str(manifest.get("run") or run.id)
    return "" if made_as == run.id else made_as


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
