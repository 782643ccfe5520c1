"""The VPN that settings choose, as their variant has it; and as each variant of a campaign has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from perfkit.errors import ConfigError
from perfkit.model import NetworkPath, Role, Variant
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.vpn.base import Changes, Vpn, get_vpn, vpn_factory


def vpn_of(chosen: Settings) -> Vpn | None:
    """The VPN of a run with these settings; None where no test goes through one.

    Raises:
        ConfigError: no such VPN, or its templates are wrong, or an option of the variant is.
    """
    if not any(test.path is NetworkPath.TUNNEL for test in chosen.tests):
        vpn_factory(chosen.parameters.vpn)  # a name that nobody has is said in any case
        return None
    vpn, variant = get_vpn(chosen.parameters.vpn, chosen.resources_dir), chosen.variant
    if vpn is None or not (variant.vpn_options or variant.binary):
        return vpn
    return vpn.changed(
        Changes(
            source=variants.section(variant),
            options={Role(role): options for role, options in variant.vpn_options.items()},
            binary=variant.binary,
        )
    )


def vpns_of(settings: Settings, chosen: Iterable[Variant]) -> dict[str, Vpn]:
    """The run's VPN as each variant has it, by the variant's name; nothing if the run has none.

    Args:
        settings: As loaded, of no variant.

    Raises:
        ConfigError: as `vpn_of`; or the device or the logs of one are others.
    """
    found, usual = dict[str, Vpn](), vpn_of(settings)
    for variant in chosen if usual else ():
        vpn = vpn_of(variants.applied(settings, variant))
        assert usual is not None
        assert vpn is not None  # a variant has the same tests
        asked = vpn.traits.version_command
        if replace(usual.traits, version_command=asked) != vpn.traits:
            raise ConfigError(
                variants.section(variant),
                "resources",
                str(variant.resources),
                f"{vpn.traits.title} would have another device or other logs than without it",
                "name the same in its templates: switching and the analysis rely on them",
            )
        found[variant.name] = vpn
    return found
