"""Campaigns of variants on real hosts: each block has the tunnel, scripts and values of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import busy_machine
import pytest
from existing_hosts import existing_hosts
from project_copy import copy_project

from perfkit.analysis import segments
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.campaign import phases, void_rules
from perfkit.errors import StageError
from perfkit.logs.reader import read_run
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run

pytestmark = pytest.mark.root

PROJECT = Path(__file__).parents[2]
CONF = """
[chacha]
openvpn.both.data-ciphers = CHACHA20-POLY1305

[tuned]
resources = tuned
openvpn.server.sndbuf = 65536
test.tunnel-tcp.duration = 3
test.tunnel-tcp.port = 5009

[wg]
vpn = wireguard
"""


@pytest.fixture
def config_dir(
    tmp_path: Path, needs_tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    needs_tools("sshd", "iperf", "ip", "openvpn")
    busy_machine.bear_with_it(monkeypatch)
    monkeypatch.setattr(void_rules, "why_void", lambda *_: None)
    place = copy_project(tmp_path, "config") / "config"
    (place / "variants.conf").write_text(CONF)
    script = place / "tuned/tests/tunnel-tcp"
    script.parent.mkdir(parents=True)
    usual = (PROJECT / "resources/tests/tunnel-tcp").read_text()
    script.write_text(f"{usual}\nset -- $? && echo '# tuned' && exit $1\n")
    script.chmod(0o755)
    return place


def campaign(config_dir: Path, names: str, clients: str) -> Run:
    """A whole campaign of one repetition, up to its logs."""
    session = phases.start(
        clients=clients,
        tests="tunnel-tcp",
        duration_s=2,
        variants=names,
        repetitions=1,
        name="variants",
        runs_dir=str(config_dir.parent / "runs"),
        config_dir=str(config_dir),
    )
    try:
        phases.launch(session)
        phases.configure(session)
        shutil.rmtree(config_dir)  # a run needs no file of the user's any more
        phases.measure(session)
        return session.run
    finally:
        phases.release(session)
        session.close()


@pytest.mark.parametrize(("names", "clients"), [("chacha,tuned", "2"), ("tuned", "1,2")])
def test_each_block_has_the_tunnel_the_script_and_the_values_of_its_variant(
    config_dir: Path, names: str, clients: str
) -> None:
    run = campaign(config_dir, names, clients)
    found = campaign_folder.block_runs(run)
    assert {block.manifest()["variant"] for block in found} == {*names.split(",")}
    assert len(found) == 2
    for block in found:
        manifest = block.manifest()
        is_tuned = manifest["variant"] == "tuned"
        assert manifest["idle_hosts"] == 2 - int(manifest["parameters"]["clients"])
        client = next(block.root.glob("raw/client-*"))
        log = (client / "openvpn.log").read_text()
        assert ("cipher 'CHACHA20-POLY1305'" in log) is not is_tuned
        assert ("cipher 'AES-256-GCM'" in log) is is_tuned
        servers = (block.host_raw_dir("server") / "openvpn.log").read_text()
        assert ("->131072]" in servers) is is_tuned
        (said,) = client.glob("01-tunnel-tcp*.log")
        assert ("# tuned" in said.read_text()) is is_tuned
        assert ("TCP port 5009" in said.read_text()) is is_tuned
        (slot,) = json.loads((block.root / "timetable.json").read_text())["slots"]
        assert slot["duration_s"] == (3 if is_tuned else 2)
    changes = json.loads((run.root / "design.json").read_text())["variant_changes"]
    assert changes["tuned"]["test.tunnel-tcp.port"] == "5009"
    assert list(changes["tuned"]["resources"]) == ["tests/tunnel-tcp"]


def test_each_block_has_the_logs_the_manifest_and_the_figures_of_its_own_vpn(
    config_dir: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("wg", "wireguard-go")
    run = campaign(config_dir, "base,wg", "1")
    assert {it: of["name"] for it, of in run.manifest()["vpn_by_variant"].items()} == {
        "base": "openvpn", "wg": "wireguard",
    }  # fmt: skip
    blocks = {block.manifest()["variant"]: block for block in campaign_folder.block_runs(run)}
    for variant, title, device in (("base", "OpenVPN", "tun0"), ("wg", "WireGuard", "wg0")):
        logs = read_run(blocks[variant])
        record = logs.vpn_record
        assert (record.title, record.device) == (title, device)
        assert record.single_core is (variant == "base")
        # Two seconds that other tests share are too few to hold a ratio of counters against. What
        # is this block's own is the interface that was watched; which figures are made of it is
        # tested with logs whose truth is known.
        head = (blocks[variant].host_raw_dir("server") / "monitor.csv").read_text()
        watched = re.findall(r'"net/([^"]+)"', head)
        assert {"tun0", "wg0"} & {*watched} == {device}
        (slot,) = json.loads((blocks[variant].root / "timetable.json").read_text())["slots"]
        assert slot["peer_address"] != slot["remote_address"]
        arrived = logs.traffic.query("side == 'receiver'")
        assert set(arrived["local_address"]) == {slot["peer_address"]}
        assert not logs.process.empty
        assert [it.log for it in logs.logs if it.format in ("unread", "partial")] == []
        found = outcomes(logs)
        windows = segments.current(blocks[variant], logs, found)
        summary = summarise(logs, windows, found)
        assert summary.vpn is not None
        assert summary.vpn.clients["connected"].tolist() == [True]
        said = logs.facts["server"]["vpn_implementation"]
        assert said.startswith(
            "process: wireguard-go 0" if variant == "wg" else "process: OpenVPN 2"
        )
    assert "(hidden)" in (blocks["wg"].host_raw_dir("server") / "wireguard-peers.log").read_text()


def test_hosts_with_programs_of_their_own_name_a_wrong_option_when_they_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_tools: Callable[..., None]
) -> None:
    needs_tools("sshd", "iperf", "ip", "openvpn")
    shutil.copytree(PROJECT / "resources", tmp_path / "resources")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    with existing_hosts(tmp_path, n_clients=1):
        conf = "[wrong]\nopenvpn.server.sndbuff = 1\n"
        (tmp_path / "config/variants.conf").write_text(conf)
        session = phases.start(
            clients=1, provider="static", tests="tunnel-tcp", duration_s=2, variants="base,wrong"
        )
        try:
            phases.launch(session)
            with pytest.raises(StageError, match=r"server: .*not ready: wrong: .*sndbuff"):
                phases.configure(session)
        finally:
            phases.release(session)
            session.close()
