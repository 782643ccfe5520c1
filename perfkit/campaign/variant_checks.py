"""Variants tried before anything is launched: would their VPN take them, and do they differ at all?

`perfkit.settings.variants` has seen what stands in files. Here the VPN of each variant makes its files
for a server and a client that are nowhere, and looks at them with its own `check`, where hosts have
this machine's programs; elsewhere each host looks when it is configured.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from perfkit.campaign.vpn_choice import vpn_of, vpns_of
from perfkit.configure.bundles import Bundles
from perfkit.configure.completion import digest
from perfkit.errors import ConfigError
from perfkit.model import BASE_VARIANT, Host, Variant, host_names
from perfkit.runs import folder
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.untrusted import one_line
from perfkit.vpn import base
from perfkit.vpn.plan import TunnelPlan

_NOWHERE = TunnelPlan(server_address="192.0.2.1", clients=1)
_HOSTS = tuple(
    Host(name=name, role=role, address="192.0.2.9", host_key="")
    for name, role in host_names(_NOWHERE.clients)
)
_LONGEST_CHECK_S = 120.0


def require(settings: Settings, *, programs_are_here: bool) -> None:
    """Refuse variants that cannot run, or that are equal without one that says `control = yes`.

    Args:
        settings: As loaded, of no variant.
        programs_are_here: Hosts have this machine's programs, so their VPN can be asked here.

    Raises:
        ConfigError: the first that is wrong, with the remedy.
    """
    chosen = variants.with_base(settings)
    _refuse_rates(settings, chosen)
    if len(chosen) == 1:
        return
    vpns, seen = vpns_of(settings, chosen), dict[str, Variant]()
    with tempfile.TemporaryDirectory(prefix="perfkit-variants-") as place:
        run = folder.create(Path(place), "variants", {})
        bundles = _bundles(run, settings, vpns)
        for variant in chosen:
            if programs_are_here and variant.name in vpns:
                for host, bundle in bundles.items():
                    _try(variant, vpns[variant.name], host, bundle / base.FOLDER)
            if settings.parameters.has_levels and variant.name == BASE_VARIANT.name:
                continue  # hosts are configured with it, and no block has it
            same = _fingerprint(settings, variant, bundles.values())
            twin = seen.setdefault(same, variant)
            if twin is not variant and not (twin.control or variant.control):
                raise ConfigError(
                    variants.section(variant),
                    "section",
                    variant.name,
                    f"it differs from {twin.name} in nothing that this run uses",
                    "change something in it, or write control = yes to see what chance alone does",
                )


def _refuse_rates(settings: Settings, chosen: Iterable[Variant]) -> None:
    """Refuse a variant with a rate of its own where a search chooses the rate."""
    for variant in chosen:
        if settings.parameters.capacity is not None and variant.rate_bps is not None:
            problem = "the search for capacity chooses the rate of each trial"
            remedy = "remove rate from the section, or leave capacity out"
            where = variants.section(variant)
            raise ConfigError(where, "rate", f"{variant.rate_bps:.0f}bit", problem, remedy)


def _bundles(run: folder.Run, settings: Settings, vpns: Mapping[str, base.Vpn]) -> dict[Host, Path]:
    """What a server and a client would get."""
    usual = vpn_of(settings)
    six = (it for it in variants.with_base(settings) if _outside(settings, it) == 6)
    addresses = {it.name: "2001:db8::1" for it in six}
    plan = (usual, replace(_NOWHERE, addresses=addresses)) if usual else None
    made = Bundles(run, settings.resources_dir, plan, {}, dict(vpns))
    bundles = {host: made.make(host) for host in _HOSTS}
    for bundle in bundles.values():
        (bundle / "logs").mkdir()
    return bundles


def _outside(settings: Settings, variant: Variant) -> int | None:
    return variants.applied(settings, variant).outside_ip


def _try(variant: Variant, vpn: base.Vpn, host: Host, place: Path) -> None:
    """Have a VPN look at the files of a variant, on this machine."""
    own = place / base.VARIANTS / variant.name / base.CHECK
    check = own if own.exists() else place / base.CHECK
    command = [str(check), f"{base.VARIANTS}/{variant.name}"]
    try:
        done = subprocess.run(
            command, cwd=place, capture_output=True, timeout=_LONGEST_CHECK_S, check=False
        )
        status, said = done.returncode, done.stderr.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        status, said = 1, f"it did not end within {_LONGEST_CHECK_S:g} s"
    if status == 0:
        return
    options = variant.vpn_options.get(host.role, {})
    word = next((option for option in options if option in said), "")
    binary = f"{vpn.traits.name}.binary"
    key = f"{vpn.traits.name}.{host.role}.{word}" if word else binary if variant.binary else "VPN"
    raise ConfigError(
        variants.section(variant),
        key,
        options.get(word, variant.binary),
        f"{vpn.traits.title} on a {host.role} would not start: {one_line(said, 500)}",
        "give the path of a program that every host has"
        if key == binary
        else f"write the option as in the manual of {vpn.traits.title}",
    )


def _fingerprint(settings: Settings, variant: Variant, bundles: Iterable[Path]) -> str:
    """Equal for variants whose runs would be the same."""
    applied = variants.applied(settings, variant)
    words = [
        repr((it.name, it.duration_s, it.port, it.server, it.needs, it.rate_bps, it.packet_bytes))
        + (f" {it.clients_per_server} a server" if it.clients_per_server else "")
        + (" connected first" if it.connect_first else "")
        for it in applied.tests
    ]
    words.append(repr(sorted((side, repr(link)) for side, link in applied.links.items())))
    words.append(f"outside_ip {applied.outside_ip or 4}")
    scripts = [script for it in applied.tests for script in (it.script, it.server_script) if script]
    scripts += sorted((applied.resources_dir / "bin").iterdir())
    words += [f"{path.name} {folder.sha256_of(path)}" for path in scripts if path.is_file()]
    return digest(words, [it / base.FOLDER / base.VARIANTS / variant.name for it in bundles])
