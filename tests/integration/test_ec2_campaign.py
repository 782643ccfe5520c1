"""A campaign through the EC2 provider: the API is moto's, the hosts behind it are real."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ec2_cloud import Cloud, ec2_cloud
from project_copy import copy_project
from reliability.campaigns import (
    Campaign,
    recipes_repeated,
    shape_of,
    tables_from_raw,
    tables_of,
)

from perfkit.campaign import image_bake, phases, renew, status_reap
from perfkit.errors import ConfigError, HostError, UnreachableError
from perfkit.fleet.ec2 import tags, userdata
from perfkit.fleet.ec2.provider import Ec2Provider
from perfkit.runs.folder import list_runs
from perfkit.ssh import first_login
from perfkit.ssh.keys import derive_ssh_key, make_ssh_key
from perfkit.ssh.known_hosts import find_pin, pin_hosts
from perfkit.ssh.remote import Access
from perfkit.testing.provider_runs import ProviderRun, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

QUIET = ("--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cloud(project: Path) -> Iterator[Cloud]:
    with ec2_cloud(project / "config", real_hosts=True) as made:
        yield made


def test_the_notebook_runs_on_ec2_and_leaves_nothing(project: Path, cloud: Cloud) -> None:
    chosen = {"provider": "ec2", "clients": 2, "duration_s": 3, "name": "cloudy"}
    options = [str(x) for name, value in chosen.items() for x in ("-p", name, value)]
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "campaign.ipynb", "out.ipynb", *options, *QUIET],
        cwd=project / "notebooks",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = list_runs(project / "runs")
    with (run.report_dir / "tests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["slot"], row["clients_seen"], row["clients_failed"]) for row in rows] == [
        ("01-direct-tcp", "2", "0"),
        ("02-tunnel-tcp", "2", "0"),
    ]
    assert "estimate with prices of" in done.stdout
    assert cloud.aws.alive() == []
    assert cloud.provider().runs() == []
    secret = run.key_path.read_text() if run.key_path.exists() else ""
    temporary = {
        i for i in cloud.aws.instances() if find_pin(run.known_hosts_path, i.private_ip, 22)
    }
    assert len(temporary) == 3  # each is pinned with a key of its own, not with the batch's
    pins = [find_pin(run.known_hosts_path, i.private_ip, 22) for i in temporary]
    assert len(set(pins)) == 3
    for host in ("server", "client-001") if secret else ():
        assert derive_ssh_key(secret, f"host {run.id} {host}").public_openssh in pins


def test_a_controller_killed_while_launching_leaves_what_a_reap_ends_and_renew_refuses_no_time(
    project: Path, cloud: Cloud
) -> None:
    cloud.aws.in_flight_s = 0.5
    command = [
        sys.executable,
        "-m",
        "perfkit.cli.app",
        "run",
        "--provider",
        "ec2",
        "--clients",
        "2",
    ]
    process = subprocess.Popen([*command, "--name", "killed"], stdout=subprocess.DEVNULL)
    assert wait_until(lambda: bool(cloud.aws.sent("RunInstances")), 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = list_runs(project / "runs")
    assert wait_until(lambda: bool(cloud.aws.alive()) and not cloud.aws.busy, 60)
    assert "would end" in str(status_reap.reap([run.id]))
    assert cloud.aws.alive()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perfkit.fleet.ec2.provider.SETTLE_S", 1.5)
        patch.setattr(Ec2Provider.__init__, "__defaults__", (None, None, 1.5))
        assert status_reap.reap([run.id], yes=True).leaked == ()
    assert cloud.aws.alive() == []
    assert cloud.provider().runs() == []
    with pytest.raises(ConfigError, match="no time at all"):
        renew.renew(run.id, minutes=0)


def test_a_campaign_killed_on_its_hosts_is_taken_up_with_the_same_instances(
    project: Path, cloud: Cloud, tmp_path: Path
) -> None:
    campaign = Campaign(project, "again", provider="ec2", tests="direct-tcp")
    process = campaign.start()
    assert wait_until(lambda: len(cloud.aws.alive()) == 3, 120), campaign.log.read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = cloud.aws.alive()
    campaign.finish()
    (run,) = campaign.runs()
    assert shape_of(run) == [("01-direct-tcp", "2", "2", "0")]
    assert sorted(instance.id for instance in cloud.aws.instances()) == sorted(before)
    assert recipes_repeated(run) == 0
    assert tables_of(run) == tables_from_raw(run, tmp_path / "copy")
    assert cloud.aws.alive() == []
    assert cloud.provider().runs() == []


def test_a_fleet_above_the_caps_is_refused_unless_yes_is_said(project: Path, cloud: Cloud) -> None:
    cloud.write_conf(max_instances=2)
    with pytest.raises(ConfigError, match="3 instances, max_instances is 2"):
        phases.start(provider="ec2", clients=2)
    assert not (project / "runs").exists() or list_runs(project / "runs") == []
    with phases.start(provider="ec2", clients=2, yes=True) as session:
        assert "above a cap, as was said: 3 instances, max_instances is 2" in str(session)
    assert cloud.aws.sent("RunInstances") == []


@pytest.mark.usefixtures("project", "cloud")
def test_a_host_that_is_slow_to_show_its_own_key_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hup = 'kill -HUP "$(cat /run/sshd.pid)"'
    late = first_login.TAKE_KEY.replace(hup, f"(sleep 1; {hup}) >/dev/null 2>&1 &")
    assert late != first_login.TAKE_KEY
    monkeypatch.setattr(first_login, "TAKE_KEY", late)
    with phases.start(provider="ec2", clients=1, name="slow") as session, session.fleet:
        launched = phases.launch(session, wait=True)
    assert [result.host for result in launched.ok] == ["server", "client-001"]


def test_a_run_that_is_under_way_is_renewed_on_its_hosts_and_in_its_tags(
    project: Path, cloud: Cloud
) -> None:
    with phases.start(provider="ec2", clients=1, name="longer") as session, session.fleet:
        phases.launch(session, wait=True)
        pin_hosts(session.run.known_hosts_path, session.inventory.hosts())
        renewed = renew.renew(session.run.id, minutes=200)
        assert [result.host for result in renewed.hosts.ok] != []
        assert renewed.hosts.failed == ()
        moment = f"{renewed.expires_utc.timestamp():.0f}"
        for instance in cloud.aws.instances():
            assert cloud.hosts is not None
            assert cloud.hosts.inside(instance.id, f"cat {userdata.EXPIRES_PATH}").strip() == moment
            assert {t["key"]: t["value"] for t in instance.get_tags()}[tags.EXPIRES] == moment
    assert cloud.aws.alive() == []


def test_an_image_is_baked_of_one_host_that_forgets_whose_it_was(
    project: Path, cloud: Cloud
) -> None:
    found: list[str] = []
    own = "/etc/perfkit /var/lib/perfkit /etc/ssh/ssh_host_* /root/.ssh/authorized_keys"

    def look(instance: str) -> None:
        assert cloud.hosts is not None
        tools = "for it in iperf openvpn wg; do command -v $it; done; test ! -s /etc/machine-id"
        script = f"ls -d {own} 2>/dev/null; {tools}"
        found.extend(cloud.hosts.inside(instance, script).split())

    cloud.aws.on_image = look
    cloud.write_conf(
        market="spot", types="c5.large", pools="mixed"
    )  # a spot host cannot be stopped
    notes: list[str] = []
    made = image_bake.bake("ours", note=notes.append)
    assert [Path(word).name for word in found] == ["iperf", "openvpn", "wg"]
    assert f"\nimage = {made.image.id}\n" in str(made)
    assert (made.image.name, made.image.state) == ("ours", "available")
    assert "running the recipes of both roles" in notes
    assert [r.params["MaxCount"] for r in cloud.aws.sent("RunInstances")] == ["1"]
    provider = cloud.provider()
    assert (cloud.aws.alive(), list(provider.runs())) == ([], [])
    assert not (project / "runs").exists() or list_runs(project / "runs") == []
    cloud.write_conf(image=made.image.id)
    assert cloud.provider().survey().image.id == made.image.id


def test_a_host_whose_recipe_fails_becomes_no_image_and_is_ended(
    project: Path, cloud: Cloud
) -> None:
    fabfile = project / "resources" / "fabfile.py"
    failing = "\n\n@task\ndef setup_client(c: Connection) -> None:\n    c.run('exit 3')\n"
    fabfile.write_text(fabfile.read_text() + failing)
    with pytest.raises(HostError, match="exit 3"):
        image_bake.bake()
    assert cloud.aws.sent("CreateImage") == []
    assert (cloud.aws.alive(), list(cloud.provider().runs())) == ([], [])


def access_of(run: ProviderRun, folder: Path) -> Access:
    return Access(key_path=run.key_path, known_hosts_path=folder / "unused", connect_timeout_s=15)


def test_a_new_host_is_believed_by_its_temporary_key_once_and_by_its_own_from_then_on(
    cloud: Cloud, tmp_path: Path
) -> None:
    provider, run = cloud.provider(), ProviderRun(tmp_path)
    (host,) = provider.launch(run.request("client-001"))
    secret = make_ssh_key().private_openssh

    def first() -> first_login.FirstLogin:
        return first_login.FirstLogin(
            access_of(run, tmp_path),
            host_key=lambda name: derive_ssh_key(secret, name),
            log_path=lambda _host: None,
        )

    changed = first().take_over(host, 60)
    assert changed.host_key == derive_ssh_key(secret, "client-001").public_openssh != host.host_key
    assert run.ssh(changed, "true").returncode == 0
    run.pin([host])
    assert run.ssh(host, "true").returncode == 255
    # A controller that was killed before it could write down the change finds the host all the same.
    assert first().take_over(host, 60).host_key == changed.host_key
    stranger = first_login.FirstLogin(
        access_of(run, tmp_path),
        host_key=lambda _name: make_ssh_key(),
        log_path=lambda _host: None,
    )
    with pytest.raises(UnreachableError, match="not the pinned one"):
        stranger.take_over(host, 15)
    assert provider.release(run.run_id).leaked == ()


def test_the_dead_man_ends_a_host_alone_after_a_reboot_and_when_its_moment_was_moved(
    cloud: Cloud, tmp_path: Path
) -> None:
    assert cloud.hosts is not None
    provider, run = cloud.provider(), ProviderRun(tmp_path)
    provider.launch(run.request("client-001", "client-002", "client-003", life_s=900))
    ids = {h.name: h.identity.split()[0] for h in provider.hosts(run.run_id)}
    inside = cloud.hosts.inside
    armed = "pgrep -f '^/bin/sh /etc/perfkit/deadman'"
    assert all(inside(id_, armed).strip() for id_ in ids.values())

    def is_gone(name: str) -> bool:
        return name not in {host.name for host in provider.hosts(run.run_id)}

    # Moved into the past: what the renewal writes counts.
    inside(ids["client-001"], f"echo 1 >{userdata.EXPIRES_PATH}")
    # Rebooted after its moment: nothing is left of the loop, bootcmd runs again and ends it at once.
    boot = userdata.arm(run.request("client-002", life_s=-5).expires_utc)
    inside(ids["client-002"], f"kill $({armed}); rm {userdata.EXPIRES_PATH}; {boot}")
    # Nonsense in the file: the moment of the user data counts, and that is not yet.
    inside(ids["client-003"], f"echo soon >{userdata.EXPIRES_PATH}")
    assert wait_until(lambda: is_gone("client-001") and is_gone("client-002"), 200)  # of its 900
    assert not is_gone("client-003")
    assert provider.release(run.run_id).leaked == ()
