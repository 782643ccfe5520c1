"""What every VPN must do, as two suites to inherit; needs pytest.

    pytest.register_assert_rewrite("perfkit.testing.vpn_contract")  # failures say more
    from perfkit.testing.vpn_contract import VpnContract, VpnOnHostsContract

    class TestMyVpn(VpnContract):
        option = ("mtu", "1200")

        @pytest.fixture
        def name(self) -> str:
            return "myvpn"

        @pytest.fixture
        def resources_dir(self) -> Path:
            return Path("…/resources")  # templates are in its folder myvpn/

`VpnContract` looks at what a VPN says and at the files it makes. `VpnOnHostsContract` starts and stops
it on hosts of the local provider: it needs root, OpenSSH's server and the programs of the VPN.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from shlex import join, quote
from typing import ClassVar

import pytest

from perfkit.errors import ConfigError
from perfkit.fleet.provider import get_provider
from perfkit.model import Role
from perfkit.runs import folder as runs
from perfkit.runs.vpn_record import vpn_of
from perfkit.ssh.remote import Access, RemotePool
from perfkit.testing.provider_runs import ProviderRun, finished
from perfkit.testing.vpn_runs import (
    NAMES,
    Made,
    Started,
    example_host,
    make,
    push,
    secrets_of,
    texts_below,
    with_option,
)
from perfkit.vpn import base
from perfkit.vpn.health import health_script
from perfkit.vpn.plan import TunnelPlan

_DEVICE = re.compile(r"[^\s/:%]{1,15}")  # what the kernel takes, and what no shell pattern bends
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_VERSION = re.compile(r"\d+(\.\d+)+")


_WRONG = "no-such-option"


def _variants(vpn: base.Vpn, name: str, value: str) -> dict[str, base.Vpn]:
    """Variants of a VPN, one with an option that it does not have unless it refuses that itself."""
    found = {"base": vpn, "other": with_option(vpn, name, value)}
    try:
        return {**found, "wrong": with_option(vpn, _WRONG, "1")}
    except ConfigError as exc:
        assert _WRONG in str(exc)  # noqa: PT017 -- either is right: who refuses is the VPN's choice
        return found


class VpnContract:
    """Inherit it under a name that begins with `Test`; say what `name` and `resources_dir` are.

    Attributes:
        has_secrets: It keeps strangers out by something that its hosts know.
        wrong_line: A line that makes any of its templates wrong.
        option: One that both roles may have, with a value that none of its templates has.
    """

    option: ClassVar[tuple[str, str]]
    has_secrets: ClassVar[bool] = True
    wrong_line: ClassVar[str] = "${no_such_placeholder}"

    @pytest.fixture
    def templates(self, name: str, resources_dir: Path, tmp_path: Path) -> Path:
        """A resources folder of the test's own, with nothing but the VPN's templates."""
        folder = tmp_path / "resources"
        shutil.copytree(resources_dir / name, folder / name)
        (folder / "fabfile.py").touch()
        return folder

    @pytest.fixture
    def made(self, name: str, templates: Path, tmp_path: Path) -> Made:
        run = runs.create(tmp_path / "runs", "contract", {})
        made = Made(make(name, templates), run, templates)
        bundles = made.prepare()
        made.bundles = {host: bundles.make(example_host(host)) for host in NAMES}
        return made

    def test_it_keeps_the_protocol_and_is_found_by_its_name(
        self, name: str, resources_dir: Path
    ) -> None:
        vpn = make(name, resources_dir)
        assert isinstance(vpn, base.Vpn)
        assert vpn.traits.name == name
        assert name in base.vpn_names()
        (point,) = entry_points(group=base.ENTRY_POINT_GROUP, name=name)
        assert point.load().secrets == vpn.traits.secrets, (
            "whoever has only the run asks the factory"
        )

    def test_its_traits_are_complete_and_come_back_from_a_manifest(
        self, name: str, resources_dir: Path
    ) -> None:
        vpn = make(name, resources_dir)
        traits = vpn.traits
        assert traits.title
        assert traits.logs
        assert all(_WORD.fullmatch(log) for log in traits.logs)
        assert not traits.pid_file or traits.pid_file.startswith(f"{base.FOLDER}/")
        record = vpn_of({"vpn": json.loads(json.dumps(base.record_of(vpn)))})
        assert (record.name, record.title) == (name, traits.title)
        assert record.device == traits.devices[Role.SERVER]
        assert (record.single_core, record.logs) == (traits.single_core, traits.logs)

    def test_a_host_of_each_role_has_a_device_whose_name_the_kernel_takes(
        self, name: str, resources_dir: Path
    ) -> None:
        devices = make(name, resources_dir).traits.devices
        assert set(devices) == set(Role)
        assert all(_DEVICE.fullmatch(device) for device in devices.values()), devices

    def test_what_its_programs_and_packages_are_called_can_be_typed(
        self, name: str, resources_dir: Path
    ) -> None:
        for program in make(name, resources_dir).programs:
            words = (program.name, program.apt, program.dnf)
            assert all(_WORD.fullmatch(word) for word in words), program

    def test_a_second_configure_gives_no_host_another_identity(self, name: str, made: Made) -> None:
        before = {host: texts_below(folder) for host, folder in made.bundles.items()}
        bundles = Made(make(name, made.resources_dir), made.run, made.resources_dir).prepare()
        for host, files in before.items():
            assert texts_below(bundles.make(example_host(host))) == files

    def test_every_host_has_a_secret_of_its_own_and_nobody_elses(self, made: Made) -> None:
        assert bool(secrets_of(made.vpn, made.run)) is self.has_secrets
        if not self.has_secrets:
            return
        held = {host: set(texts_below(folder).values()) for host, folder in made.bundles.items()}
        for host in NAMES:
            others = set().union(*(held[other] for other in NAMES if other != host))
            place = f"hosts/{host}/"
            secrets = secrets_of(made.vpn, made.run)
            own = {text for path, text in secrets.items() if path.startswith(place)} - others
            assert own, f"{host} holds no secret that another does not hold too"

    def test_what_only_the_run_knows_is_in_no_clients_files(self, made: Made) -> None:
        """A secret that not every host needs is the run's, an authority's key for example."""
        held = [set(texts_below(made.bundles[name]).values()) for name in NAMES]
        secrets = secrets_of(made.vpn, made.run)
        kept = {text for path, text in secrets.items() if path.startswith("keys/")}
        for text in kept - (held[0] & held[1] & held[2]):
            for name in NAMES[1:]:
                files = texts_below(made.bundles[name])
                assert not [path for path, content in files.items() if text.strip() in content]

    def test_files_are_their_owners_and_only_the_scripts_can_be_run(self, made: Made) -> None:
        for folder in made.bundles.values():
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("vpn/*")}
            assert {modes.pop(script) for script in base.SCRIPTS} == {0o700}
            assert set(modes.values()) <= {0o600}
        for path in secrets_of(made.vpn, made.run):
            assert (made.run.root / path).stat().st_mode & 0o077 == 0, path

    def test_its_secrets_can_be_destroyed_and_all_else_stays(self, made: Made) -> None:
        secrets = secrets_of(made.vpn, made.run)
        before = texts_below(made.run.root)
        assert set(base.destroy_secrets(made.run)) == set(secrets)
        left = texts_below(made.run.root)
        assert left == {path: text for path, text in before.items() if path not in secrets}
        assert not [path for path, text in left.items() if text in secrets.values()]
        assert not [path for path, text in left.items() if b"PRIVATE KEY" in text]
        assert base.destroy_secrets(made.run) == []

    def test_a_changed_option_is_in_some_of_its_files_and_all_others_are_shared(
        self, made: Made
    ) -> None:
        other = with_option(made.vpn, *self.option)
        assert other.traits == made.vpn.traits
        bundles = made.prepare(variants={"base": made.vpn, "other": other})
        for name in NAMES:
            before = texts_below(made.bundles[name])
            folder = bundles.make(example_host(name)) / base.FOLDER
            usual, changed = (texts_below(folder / base.VARIANTS / it) for it in ("base", "other"))
            assert usual.keys() == changed.keys()
            assert any(self.option[1].encode() in text for text in changed.values())
            assert all(before[f"{base.FOLDER}/{it}"] == text for it, text in usual.items())
            shutil.rmtree(folder / base.VARIANTS)
            assert texts_below(made.bundles[name]) == before

    def test_the_secrets_among_files_of_variants_are_destroyed_too(self, made: Made) -> None:
        other = with_option(made.vpn, *self.option)
        bundles = made.prepare(variants={"base": made.vpn, "other": other})
        for name in NAMES:
            bundles.make(example_host(name))
        secrets = secrets_of(made.vpn, made.run)
        base.destroy_secrets(made.run)
        kept = [text.strip() for path, text in secrets.items() if path.startswith("keys/")]
        left = texts_below(made.run.root)
        assert not [path for path, text in left.items() if any(it in text for it in kept)]

    def test_its_scripts_and_the_gates_are_posix_shell(self, made: Made) -> None:
        shell = shutil.which("dash") or "sh"
        for name, folder in made.bundles.items():
            scripts = [folder / "vpn" / script for script in sorted(base.SCRIPTS)]
            assert all(script.read_text().startswith("#!/bin/sh\n") for script in scripts)
            gate = health_script(made.vpn, example_host(name), 1, "192.0.2.1")
            for text in (*(script.read_text() for script in scripts), gate):
                done = finished([shell, "-n"], text)
                assert (done.returncode, done.stderr) == (0, "")

    def test_its_last_words_are_patterns_of_grep_and_match_not_every_line(
        self, name: str, resources_dir: Path
    ) -> None:
        for role in Role:
            words = make(name, resources_dir).last_words(role)
            for pattern in words.patterns:
                done = finished(["grep", "-E", "-e", pattern], "\n")
                assert (done.returncode, done.stderr) == (1, ""), pattern
            assert all(words.endings)

    def test_a_wrong_template_is_refused_before_any_host_is_touched(
        self, name: str, templates: Path, tmp_path: Path
    ) -> None:
        run = runs.create(tmp_path / "runs", "wrong", {})
        for template in sorted((templates / name).iterdir()):
            right = template.read_text()
            template.write_text(f"{right}{self.wrong_line}\n")
            with pytest.raises(ConfigError, match=re.escape(template.name)):
                Made(make(name, templates), run, templates).prepare()
            template.unlink()
            with pytest.raises(ConfigError, match=re.escape(template.name)):
                Made(make(name, templates), run, templates).prepare()
            template.write_text(right)
        Made(make(name, templates), run, templates).prepare()
        assert not list(run.root.glob("hosts/*"))


class VpnOnHostsContract:
    """Inherit it under a name that begins with `Test`; say what `name` and `resources_dir` are.

    Attributes:
        option: As of `VpnContract`.
    """

    option: ClassVar[tuple[str, str]]

    @pytest.fixture
    def started(self, name: str, resources_dir: Path, tmp_path: Path) -> Iterator[Started]:
        """A server and two clients of the local provider with the VPN running."""
        vpn = make(name, resources_dir)
        folder = tmp_path / "resources"
        shutil.copytree(resources_dir / name, folder / name)
        (folder / "fabfile.py").touch()
        provider, access_run = get_provider("local", isolation="namespaces"), ProviderRun(tmp_path)
        access = Access(key_path=access_run.key_path, known_hosts_path=access_run.known_hosts_path)
        made = Made(vpn, runs.create(tmp_path / "runs", "contract", {}), folder)
        try:
            hosts = {host.name: host for host in provider.launch(access_run.request(*NAMES))}
            access_run.pin(hosts.values())
            address = hosts["server"].traffic_address
            bundles = made.prepare(address, _variants(vpn, *self.option))
            with RemotePool(access, tmp_path / "logs") as pool:
                plan = TunnelPlan(server_address=address, clients=len(NAMES) - 1)
                started = Started(vpn, hosts, pool, plan)
                for host in hosts.values():
                    push(pool, host, bundles.make(host) / base.FOLDER)
                started.everywhere(base.START)
                yield started
        finally:
            provider.release(access_run.run_id)

    def test_its_tunnels_carry_a_ping_through_the_devices_that_it_names(
        self, started: Started
    ) -> None:
        assert started.reasons() == {}
        assert all(started.has_device(name) for name in NAMES)
        found = started.health()
        assert found["server"].tunnel_address == str(started.plan.server_tunnel_address)
        assert len({it.tunnel_address for it in found.values()}) == len(NAMES)
        logs = join(started.vpn.traits.logs)
        for name in NAMES:
            listed = started.sh(name, f"cd ../logs && ls -1 {logs}").stdout.split()
            assert set(listed) == set(started.vpn.traits.logs)

    def test_a_second_start_does_nothing(self, started: Started) -> None:
        assert started.reasons() == {}
        before = {name: started.processes(name) for name in NAMES}
        shown = f"cat ../{quote(started.vpn.traits.pid_file or 'vpn/start')}"
        pids = {name: started.sh(name, shown).stdout for name in NAMES}
        started.everywhere(base.START)
        assert {name: started.processes(name) for name in NAMES} == before
        assert {name: started.sh(name, shown).stdout for name in NAMES} == pids
        assert started.reasons() == {}

    def test_stop_leaves_no_process_and_no_device_and_may_be_given_twice(
        self, started: Started
    ) -> None:
        assert started.reasons() == {}
        running = {name: started.processes(name) for name in NAMES}
        of_process = {name: started.has_process(name) for name in NAMES}
        for _ in range(2):
            started.everywhere(base.STOP)
            assert not [name for name in NAMES if started.has_device(name)]
            for name in NAMES:
                left = started.processes(name)
                assert set(left) <= set(running[name])
                assert len(left) < len(running[name]) or not of_process[name], left

    def test_after_a_stop_and_a_start_it_carries_pings_again(self, started: Started) -> None:
        assert started.reasons() == {}
        started.everywhere(base.STOP)
        started.everywhere(base.START)
        assert started.reasons() == {}

    def test_files_of_a_variant_are_in_force_after_stop_and_start(self, started: Started) -> None:
        assert started.reasons() == {}
        for variant in ("other", "base"):
            started.everywhere(base.STOP)
            for name in NAMES:
                started.sh(name, f"cp -p {base.VARIANTS}/{variant}/* .")
            started.everywhere(base.START)
            assert started.reasons() == {}

    def test_a_stop_right_after_a_start_stops_it(self, started: Started) -> None:
        started.everywhere(base.STOP)
        before = {name: started.processes(name) for name in NAMES}
        for name in NAMES:
            started.sh(name, f"./{base.START} && ./{base.STOP}")
        assert {name: started.processes(name) for name in NAMES} == before

    def test_its_check_takes_right_files_refuses_wrong_ones_and_starts_nothing(
        self, started: Started
    ) -> None:
        started.everywhere(base.STOP)
        before = {name: started.processes(name) for name in NAMES}
        tried = f"for it in {base.VARIANTS}/*; do ./{base.CHECK} $it 2>&1 || echo refused $it; done"
        for name in NAMES:
            said = started.sh(name, f"mkdir {base.VARIANTS}/none\n{tried}").stdout.splitlines()
            there = started.sh(name, f"ls {base.VARIANTS}").stdout.split()
            refused = [f"refused {base.VARIANTS}/wrong"] if "wrong" in there else []
            assert [line for line in said if line.startswith("refused")] == refused, said
            assert any(_WRONG in line for line in said) is bool(refused)
            assert started.processes(name) == before[name]
            assert not started.has_device(name)

    def test_a_start_that_cannot_succeed_says_so(self, started: Started) -> None:
        started.everywhere(base.STOP)
        script = (
            f"for file in *; do case $file in {base.START}|{base.STOP}) ;; *) rm -r $file ;; esac; done\n"
            f"./{base.START} 2>&1 && echo status 0 || echo status $?"
        )
        said = started.sh("client-001", script).stdout.strip().splitlines()
        assert said[-1] != "status 0"
        assert len(said) > 1, "nothing was said on standard error"
        assert not started.has_device("client-001")

    def test_its_version_can_be_asked(self, started: Started) -> None:
        command = join(started.vpn.traits.version_command)
        said = started.sh(
            "client-001", f"PATH=$PATH:/usr/sbin:/sbin; {command} 2>&1 || true"
        ).stdout
        assert _VERSION.search(said), said

    def test_a_client_without_a_server_is_named_with_the_reason(self, started: Started) -> None:
        assert started.reasons() == {}
        started.sh("server", f"./{base.STOP}")
        found = started.health(timeout_s=3.0)
        assert [name for name, it in found.items() if it.ok] == []
        assert all(it.reason for it in found.values())
