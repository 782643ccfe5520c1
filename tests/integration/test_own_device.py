"""A user's own `dev` line in OpenVPN's templates, from the first host to the report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import busy_machine
import pytest
from existing_hosts import existing_hosts

from perfkit.logs.reader import read_run
from perfkit.runs.folder import list_runs

pytestmark = pytest.mark.root

PROJECT = Path(__file__).parents[2]
DEVICE = "myvpn0"


@pytest.fixture
def project(tmp_path: Path, needs_tools: Callable[..., None]) -> Path:
    """A project of the test's own whose tunnels have a device of another name."""
    needs_tools("sshd", "iperf", "ip", "openvpn")
    shutil.copytree(PROJECT / "resources", tmp_path / "resources")
    for path in (tmp_path / "resources/openvpn").glob("*.conf"):
        text = path.read_text()
        assert "\ndev tun0\n" in text
        path.write_text(text.replace("\ndev tun0\n", f"\ndev {DEVICE}\ndev-type tun\n"))
    return tmp_path


def perfkit_run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            busy_machine.PERFKIT,
            "run",
            "--clients",
            "1",
            "--duration-s",
            "2",
            *words,
        ],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_tunnels_device_is_the_users_in_monitor_manifest_report_and_on_existing_hosts(
    project: Path,
) -> None:
    with existing_hosts(project, n_clients=1) as lab:
        client = lab.clients[0]
        lab.inside(client, f"ip tuntap add {DEVICE} mode tun")
        refused = perfkit_run(project, "--provider", "static")
        assert refused.returncode != 0
        assert f"device {DEVICE} exists already" in refused.stdout + refused.stderr
        lab.inside(client, f"ip link del {DEVICE}")
        done = perfkit_run(project, "--provider", "static", "--name", "own")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert all(DEVICE not in lab.inside(host, "ip -o link") for host in lab.hosts)
    run = next(run for run in list_runs(project / "runs") if run.report_dir.exists())
    assert run.manifest()["vpn"]["devices"] == {"server": DEVICE, "client": DEVICE}
    monitor = (run.host_raw_dir("server") / "monitor.csv").read_text()
    assert f'"net/{DEVICE}"' in monitor
    assert "tun0" not in monitor
    logs = read_run(run)
    assert logs.vpn_record.device == DEVICE
    assert f"net_{DEVICE}_recv_bps" in logs.monitor.columns
    arrived = logs.traffic.query("slot == '02-tunnel-tcp' and side == 'receiver'")
    assert arrived["size_bytes"].sum() > 0
