"""IPv6 inside the tunnel and outside it: refused before launch where the hosts cannot have it."""

from __future__ import annotations

from pathlib import Path

from perfkit.errors import ConfigError
from perfkit.fleet.provider import Provider
from perfkit.model import NetworkPath, Variant
from perfkit.settings import variants
from perfkit.settings.parameters import Settings

_ADDRESSES = Path("/proc/net/if_inet6")  # there where the kernel has IPv6


def is_used(settings: Settings) -> bool:
    """Whether a variant's traffic goes by IPv6 outside the tunnel."""
    return any(variants.applied(settings, it).outside_ip == 6 for it in variants.load(settings))


def require(settings: Settings, provider: Provider) -> None:
    """Refuse a version of IP that this run cannot use.

    What addresses the hosts of others have is known when they are launched; then one that lacks what
    is asked for fails with that as its reason.

    Args:
        settings: Fitted to the provider, of no variant.

    Raises:
        ConfigError: with what to write in its place.
    """
    found = variants.load(settings)
    through = any(test.path is NetworkPath.TUNNEL for test in settings.tests)
    for variant in found:
        chosen = variants.applied(settings, variant)
        if chosen.inside_ip == 6 and not through:
            problem = "no test of this run goes through a tunnel"
            remedy = "choose one that does (tests = tunnel-tcp), or leave inside_ip out"
            raise _refused(settings, variant, "inside_ip", 6, problem, remedy)
        if chosen.outside_ip is not None:
            _require_outside(settings, provider, variant, chosen)


def _require_outside(
    settings: Settings, provider: Provider, variant: Variant, chosen: Settings
) -> None:
    wanted = chosen.outside_ip
    assert wanted is not None
    for test in chosen.tests:
        if test.server is not None and (":" in test.server) is not (wanted == 6):
            problem = f"test {test.name} goes to {test.server}, whatever is written here"
            remedy = "leave that test out, or give its server an address of that version"
            raise _refused(settings, variant, "outside_ip", wanted, problem, remedy)
    if wanted != 6 or provider.traits.can_ipv6:
        if wanted == 6 and not _ADDRESSES.exists():
            problem = "the kernel of this machine has no IPv6"
            raise _refused(settings, variant, "outside_ip", 6, problem, "leave outside_ip out")
        return
    levels = {variants.applied(settings, it).outside_ip for it in variants.load(settings)}
    if provider.name == "local":
        problem = "these hosts share the machine's loopback, and have no address of their own"
    elif provider.name == "ec2":
        problem = "instances are given addresses of IPv4 only"
    elif levels != {6}:
        problem = f"hosts of provider {provider.name} have one address for the tests' traffic"
    else:
        return
    remedy = "use local hosts in namespaces (provider = local, as root), or leave outside_ip out"
    if provider.name == "static":
        remedy = "give each host an address of IPv6 in its file (traffic_address), and outside_ip = 6 alone"
    raise _refused(settings, variant, "outside_ip", 6, problem, remedy)


def _refused(
    settings: Settings, variant: Variant, key: str, value: int, problem: str, remedy: str
) -> ConfigError:
    """Where it stands: in the variant, unless the parameter has several levels or the only one."""
    is_own = getattr(variant, key) is not None and len(getattr(settings.parameters, key)) < 2
    where = variants.section(variant) if is_own else "parameters"
    return ConfigError(where, key, value, problem, remedy)
