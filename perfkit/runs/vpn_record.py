"""What a run folder says of its VPN, also one made before it said so.

Runs made by perfkit 0.1 knew OpenVPN alone: their manifest has no `vpn`, the device was tun0, and
`facts.json` called the version `openvpn_version`. This is the one place that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnRecord:
    """The VPN of a run, as the analysis needs it.

    Attributes:
        title: As people write it; empty: the run had none.
        device: The network device on its server; empty: none.
        single_core: One core does the work of all its traffic.
        logs: Names of its logs on hosts.
    """

    name: str = "none"
    title: str = ""
    device: str = ""
    single_core: bool = False
    logs: tuple[str, ...] = ()


_BEFORE_0_2 = VpnRecord(
    name="openvpn",
    title="OpenVPN",
    device="tun0",
    single_core=True,
    logs=("openvpn.log", "openvpn-status.log"),
)


def vpn_of(manifest: Mapping[str, Any]) -> VpnRecord:
    """The VPN that a manifest names."""
    record = manifest.get("vpn")
    if not isinstance(record, Mapping):
        return _BEFORE_0_2
    devices = record.get("devices")
    return VpnRecord(
        name=str(record.get("name", "none")),
        title=str(record.get("title", "")),
        device=str(devices.get("server", "")) if isinstance(devices, Mapping) else "",
        single_core=bool(record.get("single_core")),
        logs=tuple(str(name) for name in record.get("logs", ())),
    )


def current_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A host's facts under today's names."""
    return {"vpn_version" if key == "openvpn_version" else key: v for key, v in facts.items()}
