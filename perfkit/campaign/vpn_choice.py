"""The VPN that settings choose, as their variant has it; and as each variant of a campaign has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from perfkit.errors import ConfigError
from perfkit.model import NetworkPath, Role, Variant
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.vpn.base import IPV6, Changes, Vpn, get_vpn, vpn_factory


def vpn_of(chosen: Settings) -> Vpn | None:
    """The VPN of a run with these settings; None where no test goes through one.

    Raises:
        ConfigError: no such VPN, or its templates are wrong, or an option of the variant is.
    """
    variant = chosen.variant
    name = variant.vpn or chosen.parameters.vpn
    source = variants.section(variant) if variant.vpn else "parameters"
    if not any(test.path is NetworkPath.TUNNEL for test in chosen.tests):
        vpn_factory(name, source)  # a name that nobody has is said in any case
        return None
    vpn = get_vpn(name, chosen.resources_dir, source)
    inside_ip = chosen.inside_ip
    if vpn is None or not (variant.vpn_options or variant.binary or inside_ip == IPV6):
        return vpn
    if inside_ip == IPV6 and not vpn.traits.carries_ipv6:
        where = variants.section(variant) if variant.inside_ip else "parameters"
        problem = f"{vpn.traits.title} carries no IPv6 here"
        remedy = "use inside_ip = 4, or a VPN that does"
        raise ConfigError(where, "inside_ip", inside_ip, problem, remedy)
    return vpn.changed(
        Changes(
            source=variants.section(variant),
            options={Role(role): options for role, options in variant.vpn_options.items()},
            binary=variant.binary,
            inside_ip=inside_ip,
        )
    )


def vpns_of(settings: Settings, chosen: Iterable[Variant]) -> dict[str, Vpn]:
    """The VPN of each variant, by the variant's name; nothing if the run has none.

    Args:
        settings: As loaded, of no variant.

    Raises:
        ConfigError: as `vpn_of`; or the device or the logs of one are others than those of the same
            VPN without the variant.
    """
    found, usual = dict[str, Vpn](), dict[str, Vpn]()
    if vpn_of(settings) is None:
        return found
    for variant in chosen:
        vpn = vpn_of(variants.applied(settings, variant))
        assert vpn is not None  # a variant has the same tests
        name = vpn.traits.name
        plain = usual.setdefault(name, get_vpn(name, settings.resources_dir) or vpn)
        asked = vpn.traits.version_command
        if replace(plain.traits, version_command=asked) != vpn.traits:
            raise ConfigError(
                variants.section(variant),
                "resources",
                str(variant.resources),
                f"{vpn.traits.title} would have another device or other logs than without it",
                "name the same in its templates: switching and the analysis rely on them",
            )
        found[variant.name] = vpn
    return found


def all_vpns(settings: Settings) -> list[Vpn]:
    """Each VPN that hosts of the run are to have, the run's own first; of variants of one VPN, each."""
    own = vpn_of(settings)
    rest = vpns_of(settings, variants.load(settings)).values() if own else ()
    return [*([own] if own else []), *rest]
