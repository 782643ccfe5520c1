"""config/variants.conf in, variants out; and settings as one variant has them.

A section is a variant; `base`, which needs none, is what stands in resources/ and tests.conf::

    [tuned]
    <vpn>.server.<option> = 1     an option of the VPN on the server; or client, or both
    <vpn>.binary = /opt/new/vpn   another program, there on every host
    vpn = other                   another VPN; options and program are then its own
    resources = tuned             a folder beside this file, laid out like resources/
    test.tunnel-tcp.duration = 20 a value of tests.conf
    rate = 200kbit                what each client offers
    link.server = 100mbit         a link, see `perfkit.settings.links`; or client, both, client-001
    inside_ip = 6                 the version of IP in the tunnel; outside_ip: beside it
    control = yes                 it may equal another variant

What can be seen in files is refused here. What only the VPN knows is `perfkit.campaign.variant_checks`'.
"""

from __future__ import annotations

import atexit
import configparser
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import BASE_VARIANT, TestSpec, Variant
from perfkit.runs import folder
from perfkit.settings import ini, links, shebang, variant_keys
from perfkit.settings.crossing import Crossed
from perfkit.settings.ip_versions import IP_KEYS, parse_ip_version
from perfkit.settings.parameters import Settings
from perfkit.settings.secrets import refuse_secrets
from perfkit.settings.tests_conf import (
    TestConf,
    check_connect_first,
    check_kind,
    refuse_unread_rate,
)

NAME = "variants"  # of the file, and of the folder of a run's copies beside it
_OF_TESTS = (
    *("duration", "port", "server", "needs", "packet_bytes", "clients_per_server", "connect_first"),
)
_RUNNABLE = ("tests", "bin")  # folders in resources/ whose files are programs
_PLAIN = ("control", "resources", "rate", "vpn", *IP_KEYS)
_ELSEWHERE = ("test", "link")  # first words of keys that are no options of a VPN
_NO_VPN = "none"
# Each factor: what of a variant it is, and how its level is read.
_FACTORS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "rate": ("rate_bps", links.parse_rate),
    "link": ("links", links.parse_links),
    "inside_ip": ("inside_ip", parse_ip_version),
    "outside_ip": ("outside_ip", parse_ip_version),
}


def load(settings: Settings) -> tuple[Variant, ...]:
    """The variants that the parameters name, in their order.

    Raises:
        ConfigError: one has no section, or something in it is wrong; with the remedy.
    """
    return tuple(_crossed(settings, it) for it in settings.parameters.crossed)


def _crossed(settings: Settings, cell: Crossed) -> Variant:
    """A variant with its levels of the factors that the parameters name.

    Raises:
        ConfigError: it has a value of its own of such a factor.
    """
    variant = _named(settings, cell.variant)
    for key, (field, parse) in _FACTORS.items():
        if len(settings.parameters.factors[key]) < 2:
            continue
        if getattr(variant, field):
            problem = f"the parameter {key} has several levels, and each variant gets each of them"
            remedy = f"remove {key} from the section, or give the parameter one level"
            raise ConfigError(section(variant), key, cell.levels[key], problem, remedy)
        variant = replace(variant, **{field: parse(cell.levels[key])})
    return replace(variant, name=cell.name)


def _named(settings: Settings, name: str) -> Variant:
    return BASE_VARIANT if name == BASE_VARIANT.name else _read(settings, name)


def with_base(settings: Settings) -> tuple[Variant, ...]:
    """The same, and `base` before them, which hosts are configured with whether it is named or not."""
    return (BASE_VARIANT, *(it for it in load(settings) if it.name != BASE_VARIANT.name))


def applied(settings: Settings, variant: Variant) -> Settings:
    """Settings as a variant has them: its tests, its resources, and itself in `variant`.

    Where it replaces files, `resources_dir` is a folder of links, which ends with this process.

    Args:
        settings: As loaded, of no variant.

    Raises:
        ConfigError: a replaced script would send before its test.
    """
    resources_dir = settings.resources_dir
    if variant.resources:  # each file there replaces one
        files = dict(_files(resources_dir)) | dict(_files(variant.resources))
        resources_dir = _linked(tuple(files.items()))
    tests = tuple(_with_parameters(_moved(test, resources_dir), variant) for test in settings.tests)
    for test in tests:
        check_connect_first(section(variant), test)
    return replace(settings, tests=tests, resources_dir=resources_dir, variant=variant)


def section(variant: Variant) -> str:
    """Where a variant stands, for errors."""
    return f"{NAME}.conf [{variant.name}]"


def all_tests(settings: Settings) -> tuple[TestSpec, ...]:
    """The tests as each variant has them, for what must be there before any of them is run."""
    return tuple(test for it in load(settings) for test in applied(settings, it).tests)


def changes(settings: Settings) -> dict[str, dict[str, Any]]:
    """What differs from `base` by variant's name, for manifest and design: nothing for `base`.

    Returns:
        Keys as in variants.conf; `resources` is the SHA-256 of each replaced file by its path.
    """
    return {it.name: _changes(settings.parameters.vpn, it) for it in load(settings)}


def keep(settings: Settings, config_dir: Path) -> None:
    """Copy variants to a run's config/, with the files that they replace: the run needs no others."""
    kept = configparser.ConfigParser(interpolation=None)
    for name in settings.parameters.variants:
        if name == BASE_VARIANT.name:
            continue
        variant = _read(settings, name)
        values = _changes(settings.parameters.vpn, variant)
        if variant.resources:
            values["resources"] = f"{NAME}/{variant.name}"
            for inside, path in _files(variant.resources):
                target = config_dir / NAME / variant.name / inside
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.copy(path, target)
        kept[variant.name] = values
    if kept.sections():
        with (config_dir / f"{NAME}.conf").open("w") as file:
            kept.write(file)


def _changes(run_vpn: str, variant: Variant) -> dict[str, Any]:
    vpn = variant.vpn or run_vpn
    found: dict[str, Any] = {"vpn": vpn} if variant.vpn else {}
    found |= {
        f"{vpn}.{role}.{option}": value
        for role, options in variant.vpn_options.items()
        for option, value in options.items()
    }
    if variant.binary:
        found[f"{vpn}.binary"] = variant.binary
    if variant.resources:
        found["resources"] = {
            name: folder.sha256_of(path) for name, path in _files(variant.resources)
        }
    found |= {f"test.{key}": value for key, value in variant.test_parameters.items()}
    if variant.rate_bps is not None:
        found["rate"] = links.format_rate(variant.rate_bps)
    found |= {
        f"link.{side}": links.format_link(link) or links.NONE
        for side, link in variant.links.items()
    }
    found |= {key: str(version) for key in IP_KEYS if (version := getattr(variant, key))}
    return found | ({"control": "yes"} if variant.control else {})


def _read(settings: Settings, name: str) -> Variant:
    """One variant from its section."""
    path, parser = ini.read_ini(settings.config_dir, NAME)
    where = f"{path.name} [{name}]"
    if parser.has_section(BASE_VARIANT.name):
        remedy = "remove the section: base is what stands in resources/ and tests.conf"
        raise ConfigError(path.name, "section", BASE_VARIANT.name, "it cannot be changed", remedy)
    if name not in parser:
        known = did_you_mean(name, [*parser.sections(), BASE_VARIANT.name])
        remedy = f"write a section [{name}] into {settings.config_dir / NAME}.conf; {known}"
        raise ConfigError("parameters", NAME, name, f"no such section in {path.name}", remedy)
    keys = dict(parser[name])
    refuse_secrets(keys, source=where)
    vpn = _vpn(settings.parameters.vpn, keys, where)
    variant = Variant(
        name=name,
        vpn=vpn if vpn != settings.parameters.vpn else "",
        vpn_options=_options(vpn, keys, where),
        binary=variant_keys.binary(vpn, keys, where),
        resources=_resources(settings, vpn, keys, where),
        test_parameters={
            key.removeprefix("test."): value
            for key, value in keys.items()
            if key.startswith("test.")
        },
        control=variant_keys.control(keys, where),
        rate_bps=variant_keys.parsed("rate", links.parse_rate, keys, where),
        links=variant_keys.links_by_side(keys, where),
        inside_ip=variant_keys.parsed("inside_ip", parse_ip_version, keys, where),
        outside_ip=variant_keys.parsed("outside_ip", parse_ip_version, keys, where),
    )
    _check_tests(settings, variant, where)
    return variant


def _vpn(run_vpn: str, keys: Mapping[str, str], where: str) -> str:
    """The variant's VPN: the run's, unless it names another one."""
    value = keys.get("vpn", run_vpn)
    if "vpn" in keys and _NO_VPN in (value, run_vpn):
        problem = f"the run's VPN is {run_vpn}: variants compare one VPN with another"
        remedy = "give both sides a VPN; what goes beside it is a test with path = direct"
        raise ConfigError(where, "vpn", value, problem, remedy)
    return value


def _options(vpn: str, keys: Mapping[str, str], where: str) -> dict[str, dict[str, str]]:
    """Options of the VPN by role and name."""
    found: dict[str, dict[str, str]] = {}
    for key, value in keys.items():
        first, _, rest = key.partition(".")
        if key in _PLAIN or first in _ELSEWHERE or key == f"{vpn}.binary":
            continue
        side, _, option = rest.partition(".")
        if first != vpn or side not in links.SIDES or not option:
            raise ConfigError(where, key, value, "unknown key", _remedy(vpn, key))
        for role in links.SIDES[side]:
            options = found.setdefault(role, {})
            if option in options:
                problem = f"given for the {role} by another key too"
                raise ConfigError(where, key, value, problem, "remove one of them")
            options[option] = value
    return found


def _remedy(vpn: str, key: str) -> str:
    """How a key that nobody knows should be written."""
    first = key.partition(".")[0]
    known = [*_PLAIN, f"{vpn}.binary", f"test.<name>.{'|'.join(_OF_TESTS)}"]
    known += [f"{vpn}.{side}.<option>" for side in links.SIDES]
    known += [f"link.{side}" for side in links.SIDES]
    if vpn == _NO_VPN:
        known = [it for it in known if not it.startswith(f"{_NO_VPN}.")]
    if "." in key and first != vpn:
        return f"the variant's VPN is {vpn}, not {first}; known are: {', '.join(known)}"
    return did_you_mean(key, known) if "." not in key else f"known are: {', '.join(known)}"


def _resources(settings: Settings, vpn: str, keys: Mapping[str, str], where: str) -> Path | None:
    """The folder of replacing files, each held against the one that it replaces."""
    if "resources" not in keys:
        return None
    value, ours = keys["resources"], settings.resources_dir
    place = (settings.config_dir / value).resolve()
    if not value or not place.is_dir():
        remedy = f"make {place}, laid out like resources/, or remove the line"
        raise ConfigError(where, "resources", value, "no such folder", remedy)
    used = [*_RUNNABLE, vpn]
    files = list(_files(place))
    for name, path in files:
        known = [it for it, _ in _files(ours) if it.partition("/")[0] in used]
        if name not in known:
            problem = f"{name} replaces nothing that a variant may replace"
            raise ConfigError(where, "resources", value, problem, did_you_mean(name, known))
        if name.partition("/")[0] in _RUNNABLE:
            shebang.check(path, source=where)
    if not files:
        remedy = f"put files there, at the path that they have in {ours}"
        raise ConfigError(where, "resources", value, "the folder holds no file", remedy)
    return place


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    """Each file below a folder with its path there, but hidden ones and what Python leaves."""
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place)
        if path.is_file() and not any(it.startswith((".", "__")) for it in inside.parts):
            yield inside.as_posix(), path


def _check_tests(settings: Settings, variant: Variant, where: str) -> None:
    """See that each changed value is one of a test of this run, and that it can be."""
    tests = {test.name: test for test in settings.tests}
    for key, value in variant.test_parameters.items():
        name, _, parameter = key.partition(".")
        if name not in tests:
            remedy = did_you_mean(name, tests)
            raise ConfigError(where, f"test.{key}", value, "no test of this run", remedy)
        if parameter not in _OF_TESTS:
            remedy = did_you_mean(parameter, _OF_TESTS)
            raise ConfigError(where, f"test.{key}", value, "not to be changed here", remedy)
    for test in tests.values():
        _with_parameters(test, variant, where)
    if variant.rate_bps is not None:
        rate = links.format_rate(variant.rate_bps)
        refuse_unread_rate(applied(settings, variant).tests, rate, source=where)


def _with_parameters(test: TestSpec, variant: Variant, where: str = NAME) -> TestSpec:
    """A test with a variant's values.

    Raises:
        ConfigError: a value cannot be one of tests.conf.
    """
    own = {
        key.removeprefix(f"{test.name}."): value
        for key, value in variant.test_parameters.items()
        if key.startswith(f"{test.name}.")
    }
    if variant.rate_bps is not None:
        test = replace(test, rate_bps=variant.rate_bps)
    if not own:
        return test
    source = f"{where}: test.{test.name}"
    as_it_is = {"duration": test.duration_s, "kind": test.kind, "path": test.path}
    checked = ini.validate(TestConf, {**as_it_is, **own}, source=source)
    check_kind(source, checked)
    return replace(
        test,
        duration_s=checked.duration,
        port=checked.port if "port" in own else test.port,
        server=checked.server if "server" in own else test.server,
        needs=tuple(checked.needs.split()) if "needs" in own else test.needs,
        packet_bytes=checked.packet_bytes if "packet_bytes" in own else test.packet_bytes,
        clients_per_server=checked.clients_per_server
        if "clients_per_server" in own
        else test.clients_per_server,
        connect_first=checked.connect_first if "connect_first" in own else test.connect_first,
    )


def _moved(test: TestSpec, resources_dir: Path) -> TestSpec:
    scripts_dir, server = resources_dir / "tests", test.server_script
    return replace(
        test,
        script=scripts_dir / test.script.name,
        server_script=scripts_dir / server.name if server else None,
    )


@functools.cache
def _linked(files: tuple[tuple[str, Path], ...]) -> Path:
    """A folder of links to files by their paths in it."""
    made = tempfile.TemporaryDirectory(prefix="perfkit-resources-")
    atexit.register(made.cleanup)
    for name, path in files:
        link = Path(made.name) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return Path(made.name)
