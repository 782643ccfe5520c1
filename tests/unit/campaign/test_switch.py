"""What a host is told when tunnels are switched."""

from __future__ import annotations

import subprocess
from pathlib import Path

from perfkit.campaign import switch
from perfkit.model import Host, Role
from perfkit.runs.folder import Run

HOST = Host(name="client-001", role=Role.CLIENT, address="192.0.2.1", host_key="k")


def test_a_run_of_one_variant_has_nothing_to_put_in_place_and_stops_the_vpn_once(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run")
    (run.host_dir(HOST.name) / "bundle" / "vpn").mkdir(parents=True)
    there = tmp_path / "vpn"
    there.mkdir()
    (there / "stop").write_text("#!/bin/sh\necho stopped\n")
    (there / "stop").chmod(0o755)
    # private: all else of a switch needs hosts with SSH
    text = switch._change(run, HOST, "base")
    mark = switch.mark(run, "base")(HOST).replace(f"{HOST.workdir}/vpn", str(there))

    def said(script: str) -> str:
        done = subprocess.run(
            ["sh", "-c", script], cwd=there, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout

    assert said(text) == "stopped\n"
    said(mark)  # its tunnel carries a ping
    assert said(text) == ""
