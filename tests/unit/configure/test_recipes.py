"""Finding the recipe of a role, and what is wrong with one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from perfkit.configure.fabric_tasks import GuardedConnection, do_task
from perfkit.configure.recipes import configure, find_task
from perfkit.errors import ConfigError, HostError
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.ssh.connection import Connection
from perfkit.ssh.remote import Access, Remote, RemotePool

RESOURCES = Path(__file__).parents[3] / "resources"


def make_host(name: str) -> Host:
    role = Role.SERVER if name == "server" else Role.CLIENT
    return Host(name=name, role=role, address="192.0.2.9", host_key="")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runs.create(tmp_path / "runs", "test", {})


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
            vpn=None,
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
        ("{}['no key']", r"failed: fabfile\.py line 4: KeyError: 'no key'"),
        ("open('/no/such/file')", r"failed: fabfile\.py line 4: FileNotFoundError"),
        ("raise SystemExit('enough')", r"failed: fabfile\.py line 4: SystemExit: enough"),
        ("raise invoke.Exit('enough')", r"gave up: enough \(fabfile\.py line 4\)"),
        ("c.sftp().stat('/no/such/file')", r"setup_client at fabfile\.py line 4: .*No such file"),
        ("__import__('beside_it').fail()", r"failed: beside_it\.py line 2: ZeroDivisionError"),
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
    monkeypatch.setattr(Connection, "sftp", lambda _: Mock(**{"stat.side_effect": refused}))
    with pytest.raises(HostError, match=words):
        do_task(task, GuardedConnection(Remote(make_host("client-001"), access)))


@pytest.mark.parametrize(("missing", "installs"), [("", False), ("iperf\nping\n", True)])
def test_a_host_that_has_every_program_already_runs_no_package_manager(
    missing: str, installs: bool
) -> None:
    asked: list[str] = []

    def run(script: str, **_: object) -> Mock:
        asked.append(script)
        return Mock(stdout=missing if "command -v $tool" in script else "")

    host = Mock(user="root", config={}, run=run)
    setup = find_task(RESOURCES / "fabfile.py", "setup_common")
    getattr(setup, "body", setup)(host)
    assert any("apt-get" in script for script in asked) == installs


@pytest.mark.parametrize(("user", "as_root"), [("root", False), ("admin", True)])
def test_one_command_unpacks_the_files_of_a_host_and_starts_its_vpn(
    tmp_path: Path, user: str, as_root: bool
) -> None:
    asked: list[str] = []
    (tmp_path / "vpn").mkdir()
    (tmp_path / "vpn" / "start").write_text("#!/bin/sh\n")

    def run(script: str, **_: object) -> Mock:
        asked.append(script)
        return Mock(stdout="")

    settings = {"perfkit": {"bundle": str(tmp_path), "workdir": "/work"}}
    setup = find_task(RESOURCES / "fabfile.py", "setup_client")
    getattr(setup, "body", setup)(Mock(user=user, config=settings, run=run))
    first, second = asked
    assert "command -v $tool" in first
    assert "tar -xzf" in second
    assert "./start" in second.partition("tar -xzf")[2]
    assert ("sudo -n" in second) == as_root


def test_what_is_sent_unpacks_to_each_hosts_own_bundle_also_when_hosts_share_files(
    tmp_path: Path,
) -> None:
    setup = find_task(RESOURCES / "fabfile.py", "setup_common")
    shared = tmp_path / "shared"

    def sent_of(host: str) -> Path:
        """What a host has once it was sent its bundle."""
        bundle, place = tmp_path / host, tmp_path / f"{host}-has"
        (bundle / "tests").mkdir(parents=True, exist_ok=True)
        (bundle / "tests/ping").unlink(missing_ok=True)
        (bundle / "tests/ping").hardlink_to(shared)
        (bundle / "vpn").mkdir(exist_ok=True)
        (bundle / "vpn/key").write_text(host)
        sent: list[bytes] = []
        connection = Mock(user="root", run=lambda *_, **__: Mock(stdout=""))
        connection.config = {"perfkit": {"bundle": str(bundle), "workdir": "/work"}}
        connection.put = lambda file, _: sent.append(file.read())
        getattr(setup, "body", setup)(connection)
        place.mkdir(exist_ok=True)
        done = subprocess.run(["tar", "-xzf", "-"], input=b"".join(sent), cwd=place, check=False)
        assert done.returncode == 0
        return place

    shared.write_text("one")
    for host in ("client-001", "client-002"):
        has = sent_of(host)
        assert (has / "tests/ping").read_text() == "one"
        assert (has / "vpn/key").read_text() == host
    shared.unlink()
    shared.write_text("another")
    assert (sent_of("client-001") / "tests/ping").read_text() == "another"
