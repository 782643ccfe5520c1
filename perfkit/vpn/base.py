"""What a VPN must say about itself, and how one is found by name.

perfkit measures a VPN from outside: it puts files on hosts, starts and stops it there by scripts, asks
whether tunnels carry traffic, and reads its logs. All that is particular to one VPN is in an object
with the members of `Vpn`; nobody else knows a device, a program, a file or a cipher of it. Third
parties register a factory under the entry-point group ``perfkit.vpns``; OpenVPN uses the same door.
`perfkit.testing.vpn_contract` is the suite for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import Host, Role
from perfkit.runs.folder import Run
from perfkit.vpn.plan import TunnelPlan

ENTRY_POINT_GROUP = "perfkit.vpns"
NONE = "none"  # the parameter's value for a run without a VPN
FOLDER = "vpn"  # of its files, below a host's bundle and below its workdir
START, STOP = "start", "stop"  # scripts in it, POSIX sh, run as root in that folder
CHECK = "check"  # a third one, run as the SSH user
SCRIPTS = frozenset({START, STOP, CHECK})
IMPLEMENTATION = "implementation"  # a file in it, see `Vpn.files`
IPV6, LEAST_MTU_OF_IPV6 = 6, 1280
VARIANTS = "variants"  # in that folder: the files in which variants differ, a folder for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that hosts need for a VPN, and the package that has it.

    Attributes:
        unless: Places of what makes it needless, such as a module of the kernel, whose release is
            `{release}`. Then no host is asked for it or gets it: the VPN's `start` says if it lacks.
        takes: What each host's running one takes of a limit that the kernel sets to all of a user's
            programs together, by the name of its sysctl.
    """

    name: str
    apt: str
    dnf: str
    unless: tuple[str, ...] = ()
    takes: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_needed_here(self) -> bool:
        """Whether hosts that have this machine's kernel and programs need it."""
        release = os.uname().release
        return not any(Path(place.format(release=release)).exists() for place in self.unless)


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnTraits:
    """What a VPN is like; recorded in the manifest, where the analysis finds it.

    Attributes:
        name: As the parameter `vpn` has it; also the folder of its templates in resources/.
        title: As people write it.
        devices: The network device on a host of each role.
        single_core: One core does the work of all its traffic, so a full core is its limit.
        logs: Files it writes on hosts, by name, below `<workdir>/logs`; the first is shown where
            a tunnel does not come up.
        pid_file: Of the process whose CPU time counts, below `<workdir>`; empty: it has none.
        version_command: Prints its version.
        secrets: Patterns below a run's folder: files nobody needs once its hosts are released.
        carries_ipv6: It can give its hosts addresses of IPv6, see `Changes.inside_ip`.
    """

    name: str
    title: str
    devices: Mapping[Role, str]
    single_core: bool
    logs: tuple[str, ...]
    pid_file: str
    version_command: tuple[str, ...]
    secrets: tuple[str, ...]
    carries_ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """Lines of a VPN's log after which waiting for its tunnel is of no use.

    Attributes:
        patterns: Extended regular expressions of `grep -E`; a line that one of them matches.
        is_final: Such a line ends the waiting at once; else only if the process has ended too.
        endings: Ends of the log's last line by which a process that has ended is known.
    """

    patterns: tuple[str, ...]
    is_final: bool
    endings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a variant changes in a VPN.

    Attributes:
        source: Where they are written, for errors.
        options: By role: the value of an option by its name, as in the VPN's own configuration;
            an empty value: it takes none.
        binary: The program to run instead of the VPN's own; empty: that one.
        inside_ip: 6: hosts get an address of the plan's `network_6` too, by which they are then
            reached in the tunnel. Only a VPN whose traits say `carries_ipv6` is asked for it.
    """

    source: str = "variant"
    options: Mapping[Role, Mapping[str, str]] = field(default_factory=dict)
    binary: str = ""
    inside_ip: int = 4


def check_mtu(changes: Changes, key: str, value: str) -> None:
    """Refuse a device that would be too narrow for IPv6, which needs 1280 bytes (RFC 8200, section 5).

    Raises:
        ConfigError: it is.
    """
    if changes.inside_ip == IPV6 and value.isdigit() and int(value) < LEAST_MTU_OF_IPV6:
        problem = f"inside_ip is 6, and IPv6 needs a device of {LEAST_MTU_OF_IPV6} bytes"
        raise ConfigError(changes.source, key, value, problem, "give more, or inside_ip = 4")


@runtime_checkable
class Vpn(Protocol):
    """One VPN. Made by a factory from the project's `resources/` folder; touches no host itself.

    The factory, a class as a rule, has the attribute `secrets` with the same patterns as the traits:
    whoever ends a run may have nothing but its folder.

    Lifecycle: `prepare` once a run, then `files` for each host; both may be called again and then
    give the same. What is secret stays in the run's `keys/` and in the bundle of its own host.
    """

    @property
    def traits(self) -> VpnTraits:
        """What it is like."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """What hosts need."""

    def changed(self, changes: Changes) -> Vpn:
        """The same VPN with other options or another binary; its traits and files' names are the same.

        In a run that compares variants, `prepare` and `files` of each are called for the same hosts,
        in any order. They share what a host is known by; all that differs is in its files. A variant
        may also be of another VPN: hosts have the files of both, and one of them runs at a time.

        Raises:
            ConfigError: an option that it does not have, or that perfkit needs as it is.
        """

    def prepare(self, run: Run, plan: TunnelPlan) -> None:
        """Make what all hosts of the run share, for example an authority; goes into `run.keys_dir`.

        Raises:
            ConfigError: a template is wrong; before any host is touched.
        """

    def files(self, host: Host, earlier: Path) -> Mapping[str, bytes]:
        """The files of one host by name, for the folder `vpn/` of its bundle.

        Three are the scripts `start`, `stop` and `check`.

        Args:
            earlier: That folder. What was written there before is used again, so that a second
                configure gives a host no second identity; files are written in the order given.

        `start` may be run while the VPN runs already, and then does nothing. It returns once the
        VPN was started, not once its tunnel is up; a status other than 0 and the last lines on
        standard error say that it could not be started. `stop` returns once it is gone; `start`
        right after it has the files that are there then in force.

        `start` may leave a file `implementation`, which then is a fact of the host: `kernel:` or
        `process:`, by which the packets are carried, and the name and version of what does it. In a
        kernel the CPU time of the traffic is no process's, so it is not known as the VPN's.

        `check <folder>` starts nothing and changes nothing. It says by its status and on standard
        error whether the VPN would take the files in that folder, and of those that are not in it,
        the ones here.
        """

    def last_words(self, role: Role) -> LastWords:
        """What its log says when it will never have a tunnel on a host of this role."""


def vpn_names() -> list[str]:
    """Every VPN that is registered."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def get_vpn(name: str, resources_dir: Path, source: str = "parameters") -> Vpn | None:
    """A VPN by name; None for `none`.

    Args:
        resources_dir: Holds a folder of its name with its templates.
        source: Where the name is written, for errors.

    Raises:
        ConfigError: no such VPN; the message names the nearest. Its templates are wrong.
    """
    factory = vpn_factory(name, source)
    return factory(resources_dir) if factory else None


def vpn_factory(name: str, source: str = "parameters") -> Callable[[Path], Vpn] | None:
    """What makes a VPN of that name; None for `none`.

    Raises:
        ConfigError: no such VPN; the message names the nearest.
    """
    if name == NONE:
        return None
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in points:
        known = [*points, NONE]
        raise ConfigError(source, "vpn", name, "no such VPN", did_you_mean(name, known))
    factory: Callable[[Path], Vpn] = points[name].load()
    return factory


def record_of(vpn: Vpn | None) -> dict[str, object]:
    """What the manifest says of a run's VPN."""
    if vpn is None:
        return {"name": NONE}
    traits = vpn.traits
    return {
        "name": traits.name,
        "title": traits.title,
        "devices": {str(role): device for role, device in traits.devices.items()},
        "single_core": traits.single_core,
        "logs": list(traits.logs),
    }


def destroy_secrets(run: Run) -> list[str]:
    """Remove the secrets of a run's VPN, which nobody needs once its hosts are released.

    Whichever VPN it was: the patterns of all that are registered are looked for, so that a process
    that has only the run's folder can do it. Certificates stay: they say what was used.

    Returns:
        What was removed, by path below the run's folder.
    """
    gone = []
    for name in vpn_names():
        for pattern in getattr(vpn_factory(name), "secrets", ()):
            in_variants = pattern.replace(f"/{FOLDER}/", f"/{FOLDER}/{VARIANTS}/*/")
            for path in sorted({*run.root.glob(pattern), *run.root.glob(in_variants)}):
                path.unlink(missing_ok=True)
                gone.append(str(path.relative_to(run.root)))
    return gone
