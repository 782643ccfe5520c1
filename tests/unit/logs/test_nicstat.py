"""nic.csv: what the sampler writes, and what is read of it."""

from __future__ import annotations

import os
import runpy
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import ParseError
from perfkit.logs import frames, nicstat

PROGRAM = Path(__file__).parents[3] / "resources" / "bin" / "nicstat"
ENA = (
    *("tx_timeout", "suspend", "bw_in_allowance_exceeded", "bw_out_allowance_exceeded"),
    *("pps_allowance_exceeded", "conntrack_allowance_exceeded", "conntrack_allowance_available"),
    *("linklocal_allowance_exceeded", "queue_0_tx_cnt"),
)
HEAD = b"epoch,device,counter,count\n"


def test_devices_and_counters_are_kept_apart_and_what_cannot_be_is_named() -> None:
    row = b"100.5,eth0,bw_out_allowance_exceeded,3\n"
    text = HEAD + (
        row
        + b"100.5,ens6,pps_allowance_exceeded,0\n"
        + b"nan,eth0,pps_allowance_exceeded,1\n"
        + b"101.5,eth0,pps_allowance_exceeded,-1\n"
        + b"101.5,eth0,pps_allowance_exceeded,1.5\n"
        + b"101.5,eth0,rx_bytes,1\n"
        + b"101.5,a-name-that-is-too-long,pps_allowance_exceeded,1\n"
        + b"101.5,eth0,\xff_allowance_exceeded,1\n"
        + b"101.5,eth0\n"
        + b"101.5,eth0,pps_allowance_exceeded,9007199254740993\n"
        + row.replace(b"100.5", b"101.5").replace(b",3", b",70")
    )
    reading = nicstat.FORMAT.parse(text, Path("nic.csv"))
    frames.check(reading.frame, "limits")
    assert reading.frame["device"].tolist() == ["eth0", "ens6", "eth0"]
    assert reading.frame["count"].tolist() == [3, 0, 70]
    assert reading.unparsed.line_nos == tuple(range(4, 12))
    assert reading.unparsed.count == 8
    assert not reading.partial


def test_nicstat_needs_its_head() -> None:
    with pytest.raises(ParseError, match="epoch,device,counter,count"):
        nicstat.FORMAT.parse(b"1,eth0,pps_allowance_exceeded,3\n", Path("nic.csv"))


def test_the_sampler_takes_the_counters_of_limits_from_what_a_driver_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = runpy.run_path(str(PROGRAM))

    def ask(device: str, size_bytes: int, command: int, *words: int) -> bytes:
        """An ENA card's answers, as linux/ethtool.h lays them out."""
        if device != "eth0":
            raise OSError(95, "Operation not supported")
        if command == 0x37:
            return struct.pack("=IIQII", command, 0, 1 << 1, len(ENA), 0)
        if command == 0x1B:
            assert words == (1, len(ENA))
            texts = b"".join(name.encode().ljust(32, b"\0") for name in ENA)
            return struct.pack("=III", command, *words) + texts
        assert (command, words) == (0x1D, (len(ENA),))
        return struct.pack(f"=II{len(ENA)}Q", command, len(ENA), *range(100, 100 + len(ENA)))

    monkeypatch.setitem(program["ask"].__globals__, "ask", ask)
    assert program["exceeded"]("eth0") == {
        "bw_in_allowance_exceeded": 102,
        "bw_out_allowance_exceeded": 103,
        "pps_allowance_exceeded": 104,
        "conntrack_allowance_exceeded": 105,
        "linklocal_allowance_exceeded": 107,
    }
    assert program["exceeded"]("eth1") == {}


@pytest.mark.root
def test_the_sampler_reads_the_counters_of_a_real_device(needs_tools: Any) -> None:
    """Of a veth pair: the kernel's answer, not one that was made up."""
    needs_tools("ip", "unshare")
    script = f"""
        ip link add pk0 type veth peer name pk1 && ip -br link show pk1 | cut -d@ -f1 >/dev/null
        cat /sys/class/net/pk1/ifindex
        exec {sys.executable} -c '
import runpy
program = runpy.run_path("{PROGRAM}")
print(program["statistics"]("pk0")["peer_ifindex"], program["statistics"]("lo"))
print(program["exceeded"]("pk0"), program["statistics"]("nobody"))'
    """
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", f"mount -t sysfs none /sys\n{script}"],
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    index, counters, none = done.stdout.splitlines()
    assert counters == f"{index} {{}}"
    assert none == "{} {}"


def test_a_machine_without_such_counters_gets_no_sampler() -> None:
    asked = [sys.executable, str(PROGRAM), "lo,nobody"]
    assert subprocess.run(asked, check=False, timeout=120).returncode == 1
