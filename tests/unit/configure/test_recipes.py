"""Bundles, templates, and finding the recipe of a role."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from unittest.mock import Mock

import pytest

from perfkit.configure.fabric_tasks import GuardedConnection, do_task
from perfkit.configure.recipes import Bundles, configure, fill_in, find_task
from perfkit.errors import ConfigError, HostError
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.ssh.connection import Link
from perfkit.ssh.remote import Access, Remote, RemotePool
from perfkit.vpn.plan import TunnelPlan

RESOURCES = Path(__file__).parents[3] / "resources"
PLAN = TunnelPlan(server_address="192.0.2.1", clients=100)


def make_host(name: str, *, can_tunnel: bool = True) -> Host:
    role = Role.SERVER if name == "server" else Role.CLIENT
    return Host(name=name, role=role, address="192.0.2.9", host_key="", can_tunnel=can_tunnel)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runs.create(tmp_path / "runs", "test", {})


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    folder = tmp_path / "resources"
    for name in ("tests/ping", "tests/ping.server", "bin/tool", "openvpn/server.conf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    (folder / "openvpn/client.conf").write_text("remote ${server_address} ${port}\n")
    (folder / "fabfile.py").write_text("from fabric import task\n")
    return folder


def tree(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_bundle_holds_tests_tools_and_the_hosts_own_keys(run: Run, resources: Path) -> None:
    folder = Bundles(run, resources, PLAN, {"bin/dool": b"#!/usr/bin/python3\n"}).make(
        make_host("client-001")
    )
    assert folder == run.host_dir("client-001") / "bundle"
    assert tree(folder) == {
        "tests/ping": 0o700,
        "tests/ping.server": 0o700,
        "bin/tool": 0o700,
        "bin/dool": 0o700,
        "openvpn/client.conf": 0o600,
        "openvpn/ca.crt": 0o600,
        "openvpn/host.crt": 0o600,
        "openvpn/host.key": 0o600,
        "openvpn/tls-crypt.key": 0o600,
    }
    assert (folder / "openvpn/client.conf").read_text() == "remote 192.0.2.1 1194\n"


def test_no_host_gets_anothers_key_or_the_authoritys(run: Run, resources: Path) -> None:
    bundles = Bundles(run, resources, PLAN, {})
    one, two = (bundles.make(make_host(name)) for name in ("client-001", "client-002"))
    keys = {(folder / "openvpn/host.key").read_text() for folder in (one, two)}
    authority = (run.keys_dir / "ca.key").read_text()
    assert len(keys) == 2
    assert authority not in {path.read_text() for path in one.rglob("*") if path.is_file()}


def test_a_second_bundle_keeps_the_key_and_takes_new_scripts(run: Run, resources: Path) -> None:
    host = make_host("client-001")
    first = Bundles(run, resources, PLAN, {}).make(host)
    key = (first / "openvpn/host.key").read_text()
    (resources / "tests/ping").write_text("# edited\n")
    (resources / "tests/new").write_text("# new\n")
    second = Bundles(run, resources, PLAN, {}).make(host)
    assert (second / "openvpn/host.key").read_text() == key
    assert (second / "tests/ping").read_text() == "# edited\n"
    assert (second / "tests/new").exists()


def test_editing_resources_later_does_not_change_what_was_recorded(
    run: Run, resources: Path
) -> None:
    folder = Bundles(run, resources, None, {}).make(make_host("client-001"))
    (resources / "tests/ping").write_text("# edited\n")
    assert (folder / "tests/ping").read_text() == "# tests/ping\n"
    assert (run.config_dir / "resources/tests/ping").read_text() == "# tests/ping\n"
    assert (run.config_dir / "resources/fabfile.py").exists()


@pytest.mark.parametrize("plan", [None, PLAN])
def test_without_a_tunnel_there_is_nothing_of_openvpn(
    run: Run, resources: Path, plan: TunnelPlan | None
) -> None:
    host = make_host("client-001", can_tunnel=plan is None)
    folder = Bundles(run, resources, plan, {}).make(host)
    assert not (folder / "openvpn").exists()


def test_the_server_takes_the_first_address_and_more_clients_than_there_are() -> None:
    plan = TunnelPlan(server_address="192.0.2.1", clients=100, network=IPv4Network("10.9.0.0/22"))
    assert plan.server_tunnel_address == IPv4Address("10.9.0.1")
    values = plan.template_values()
    assert values["network"] == "10.9.0.0"
    assert values["netmask"] == "255.255.252.0"
    assert int(values["max_clients"]) > 100


@pytest.mark.parametrize("role", Role)
def test_the_shipped_templates_name_only_what_is_known(role: Role) -> None:
    text = fill_in(RESOURCES / "openvpn" / f"{role}.conf", PLAN.template_values())
    settings = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "$" not in text
    assert "duplicate-cn" not in settings
    assert "tls-crypt tls-crypt.key" in settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port ${prot}", "did you mean 'proto'"),
        ("port ${nonsense-at-all}", "plain dollar"),
        ("cost $", "plain dollar"),
    ],
)
def test_a_wrong_placeholder_names_file_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    template = tmp_path / "server.conf"
    template.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        fill_in(template, PLAN.template_values())
    assert str(template) in str(caught.value)


def test_a_missing_template_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.conf.*No such file"):
        fill_in(tmp_path / "server.conf", {})


def test_the_shipped_fabfile_has_a_task_for_every_role() -> None:
    for name in ("setup_common", "setup_server", "setup_client"):
        assert callable(find_task(RESOURCES / "fabfile.py", name))


def test_an_unknown_task_lists_those_there_are(tmp_path: Path) -> None:
    fabfile = tmp_path / "fabfile.py"
    fabfile.write_text(
        "from fabric import task\n@task\ndef setup_clients(c): pass\n@task\ndef x(c): pass\n"
    )
    with pytest.raises(ConfigError, match="did you mean 'setup_clients'"):
        find_task(fabfile, "setup_client")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef broken(:\n", r"fabfile\.py line 2: SyntaxError"),
        ("\n\nimport no_such_module_at_all\n", r"fabfile\.py line 3: ModuleNotFoundError"),
        ("import sys\nsys.exit('bye')\n", r"fabfile\.py line 2: SystemExit: bye"),
        ("import beside_it\n", r"beside_it\.py line 2: ZeroDivisionError"),
        ("import json\njson.loads('{')\n", r"fabfile\.py line 2: JSONDecodeError"),
        (None, "not there"),
    ],
)
def test_a_fabfile_that_cannot_be_loaded_is_an_error_before_any_host_is_touched(
    run: Run, tmp_path: Path, text: str | None, words: str
) -> None:
    resources_dir = tmp_path / "broken"
    resources_dir.mkdir()
    (resources_dir / "beside_it.py").write_text("x = 0\n1 / x\n")
    if text is not None:
        (resources_dir / "fabfile.py").write_text(text)
    access = Access(key_path=run.key_path, known_hosts_path=run.known_hosts_path)
    with pytest.raises(ConfigError, match=words):
        configure(
            run,
            [make_host("client-001")],
            pool=RemotePool(access),
            threads=1,
            resources_dir=resources_dir,
            tunnel=None,
        )
    assert not run.host_dir("client-001").exists()


def test_a_fabfile_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "my_neighbour.py").write_text("WORD = 'hello'\n")
    (tmp_path / "fabfile.py").write_text(
        "from fabric import task\nfrom my_neighbour import WORD\n"
        "@task\ndef setup_client(c):\n    c.append(WORD)\n"
    )
    assert find_task(tmp_path / "fabfile.py", "setup_client").__name__ == "setup_client"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{}['no key']", r"at fault: fabfile\.py line 4: KeyError: 'no key'"),
        ("open('/no/such/file')", r"at fault: fabfile\.py line 4: FileNotFoundError"),
        ("raise SystemExit('enough')", r"at fault: fabfile\.py line 4: SystemExit: enough"),
        ("raise invoke.Exit('enough')", r"gave up: enough \(fabfile\.py line 4\)"),
        ("c.sftp().stat('/no/such/file')", r"setup_client at fabfile\.py line 4: .*No such file"),
        ("__import__('beside_it').fail()", r"at fault: beside_it\.py line 2: ZeroDivisionError"),
    ],
)
def test_an_error_in_a_task_names_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    (tmp_path / "beside_it.py").write_text("def fail():\n    1 / 0\n")
    (tmp_path / "fabfile.py").write_text(
        f"import invoke; from fabric import task\n@task\ndef setup_client(c):\n    {body}\n"
    )
    task = find_task(tmp_path / "fabfile.py", "setup_client")
    access = Access(key_path=tmp_path / "key", known_hosts_path=tmp_path / "known_hosts")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_it", raising=False)
    refused = FileNotFoundError(2, "No such file")
    monkeypatch.setattr(Link, "sftp", lambda _: Mock(**{"stat.side_effect": refused}))
    with pytest.raises(HostError, match=words):
        do_task(task, GuardedConnection(Remote(make_host("client-001"), access)))
