"""The shipped tests of other kinds, on loopback: what they print is read, and says what happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_ports import free_port
from prerequisites import require

from perfkit.logs.format import Reading
from perfkit.logs.reader import read

SCRIPTS = Path(__file__).parents[2] / "resources" / "tests"
FAR_S = 60.0


def listens(port: int, protocol: str) -> bool:
    """Whether somebody has a port, by /proc/net."""
    tables = [Path(f"/proc/net/{protocol}{family}").read_text() for family in ("", "6")]
    state = "0A" if protocol == "tcp" else "07"
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return any(line[1].endswith(f":{port:04X}") and line[3] == state for line in lines)


def until_it_listens(server: subprocess.Popen[bytes], port: int, *protocols: str) -> None:
    deadline_s = time.monotonic() + FAR_S
    while not all(listens(port, protocol) for protocol in protocols):
        assert server.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@contextmanager
def serving(name: str, port: int, *protocols: str) -> Iterator[None]:
    """The server's script of a test, in a group of its own, until the test is over."""
    server = subprocess.Popen(
        [SCRIPTS / f"{name}.server", "127.0.0.1", "127.0.0.1"],
        env={**os.environ, "PERFKIT_PORT": str(port)},
        process_group=0,
    )
    try:
        until_it_listens(server, port, *protocols)
        yield
    finally:
        os.killpg(server.pid, 9)
        server.wait()
        while any(listens(port, protocol) for protocol in protocols):
            time.sleep(0.05)  # a child of it has not been told yet that it is over


def run(name: str, port: int, where: Path, **more: str) -> tuple[int, Reading]:
    """A client's script, its status and its log as read."""
    log = where / f"01-{name}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [SCRIPTS / name, "127.0.0.1", "127.0.0.1"],
            env={**os.environ, "PERFKIT_PORT": str(port), **more},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=FAR_S,
            check=False,
        )
    return done.returncode, read(log)


def test_udp_at_a_rate_sends_that_rate_in_packets_of_the_size_asked(tmp_path: Path) -> None:
    require(shutil.which("iperf"), "iperf is not installed")
    port = free_port()
    with serving("tunnel-pps", port, "udp"):
        status, reading = run(
            "tunnel-pps", port, tmp_path, PERFKIT_RATE_BPS="512000", PERFKIT_PACKET_BYTES="100",
            PERFKIT_DURATION_S="1",
        )  # fmt: skip
    sent = reading.frame[(reading.frame["side"] == "sender") & (reading.frame["kind"] == "summary")]
    assert (status, reading.kind) == (0, "traffic")
    assert sent["size_bytes"].iloc[0] > 0
    # What it was told to send, in its own words: a packet in 100 * 8 / 512,000 s. What came of it in
    # a second depends on who else has the processor.
    said = (tmp_path / "01-tunnel-pps.log").read_text()
    assert "Sending 100 byte datagrams, IPG target: 1562.50 us" in said


@pytest.mark.parametrize(
    ("name", "waits"), [("tunnel-tcp", True), ("direct-tcp", True), ("tunnel-tcp-down", False)]
)
def test_a_client_that_connects_first_sends_nothing_before_it_is_told_to(
    tmp_path: Path, name: str, waits: bool
) -> None:
    """One that cannot hold back its server does not connect before."""
    require(shutil.which("iperf"), "iperf is not installed")
    port, send_at_s = free_port(), float(int(time.time()) + 2)
    with serving(name, port, "tcp"):
        status, reading = run(
            name, port, tmp_path, PERFKIT_SEND_AT=f"{send_at_s:.9f}", PERFKIT_DURATION_S="1"
        )
    assert status == 0
    assert reading.frame["size_bytes"].sum() > 0
    began = reading.frame["connected_utc"].dropna().unique()
    assert [moment.timestamp() >= send_at_s for moment in began] == [True]
    assert ("Client traffic to start" in (tmp_path / f"01-{name}.log").read_text()) == waits


def test_a_latency_test_has_round_trips_without_and_with_load(tmp_path: Path) -> None:
    require(shutil.which("irtt") and shutil.which("iperf"), "irtt or iperf is not installed")
    port = free_port()
    with serving("direct-latency", port, "udp", "tcp"):  # 10 s: its loaded phase may begin 3 s late
        status, reading = run("direct-latency", port, tmp_path, PERFKIT_DURATION_S="10")
    trips = reading.frame[reading.frame["quantity"] == "rtt_s"]
    assert (status, reading.format, reading.unparsed.count) == (0, "irtt", 0)
    notes = trips["note"].astype("str").tolist()
    assert set(notes) == {"unloaded", "ramp", "loaded"}
    assert notes == sorted(notes, key=["unloaded", "ramp", "loaded"].index)
    assert (reading.frame["quantity"] == "load_bps").sum() == 1


@pytest.mark.parametrize("connects", [True, False])
def test_a_latency_test_whose_stream_is_blocked_keeps_its_round_trips(
    tmp_path: Path, *, connects: bool
) -> None:
    require(shutil.which("irtt") and shutil.which("iperf"), "irtt or iperf is not installed")
    port = free_port()
    with (
        # Takes a stream, and reads nothing of it; or none any more, and answers no SYN.
        socket.create_server(("127.0.0.1", port), backlog=0),
        contextlib.ExitStack() as full,
        subprocess.Popen(["irtt", "server", "-b", f"127.0.0.1:{port}"]) as irtt,
    ):
        for _ in range(0 if connects else 2):
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        try:
            until_it_listens(irtt, port, "udp")
            status, reading = run("direct-latency", port, tmp_path, PERFKIT_DURATION_S="6")
        finally:
            irtt.kill()
    values = reading.frame.groupby("quantity", observed=True)["value"]
    assert (status, reading.unparsed.count, values.count()["load_bps"]) == (0, 0, 1)
    assert values.count()["rtt_s"] > 0
    assert values.sum()["load_bps"] < 100e6  # what the socket's buffers took
    assert connects or values.sum()["load_bps"] == 0


def test_a_latency_test_without_a_server_fails_and_says_why(tmp_path: Path) -> None:
    require(shutil.which("irtt"), "irtt is not installed")
    status, reading = run("direct-latency", free_port(), tmp_path, PERFKIT_DURATION_S="6")
    assert status != 0
    assert "refused" in reading.messages[-1]


def test_short_connections_are_timed_one_by_one_and_those_refused_say_so(tmp_path: Path) -> None:
    port = free_port()
    with serving("direct-requests", port, "tcp"):
        status, reading = run("direct-requests", port, tmp_path, PERFKIT_DURATION_S="1")
    values = reading.frame["value"]
    assert (status, reading.format, reading.unparsed.count) == (0, "samples", 0)
    assert values.notna().any()
    assert (values.dropna() > 0).all()
    status, refused = run("direct-requests", port, tmp_path, PERFKIT_DURATION_S="1")
    assert refused.frame["value"].isna().all()
    assert refused.frame["note"].iloc[0] == "Connection refused"
