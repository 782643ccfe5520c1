"""`perfkit lab` as a person has it: one command, a page with the notebooks, one Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from own_ports import free_port

from perfkit.cli import app
from perfkit.notebook import lab

PROJECT = Path(__file__).parents[2]
STARTS_WITHIN_S = 150.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """The command, in a home of its own: the process, the address it said, the home."""
    port = str(free_port())
    command = [sys.executable, "-m", "perfkit.cli.app", "lab", "--no-browser", "--port", port]
    process = subprocess.Popen(
        command,
        env={**os.environ, "HOME": str(tmp_path), "PERFKIT_HOME": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield process, address_said_by(process), tmp_path
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def address_said_by(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said, deadline = b"", time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if select.select([process.stderr], [], [], 0.5)[0]:
            said += os.read(process.stderr.fileno(), 65536)
        if found := re.search(rb"(http://127\.0\.0\.1:\d+/\S+)\s", said):  # the whole of it
            return found.group(1).decode()
        if process.poll() is not None:
            break
    raise AssertionError(said.decode()[-2000:])


def get(address: str, path: str) -> str:
    base, _, token = address.partition("/lab/")
    request = urllib.request.Request(
        base + path, headers={"Authorization": f"token {token.partition('token=')[2]}"}
    )
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:  # Jupyter says its address before it listens there
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError as exc:
            if not isinstance(exc.reason, ConnectionRefusedError) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib's, of a connection kept alive
def test_it_opens_the_first_notebook_with_this_environments_kernel_and_no_news(
    running: tuple[subprocess.Popen[bytes], str, Path],
) -> None:
    process, address, home = running
    assert "/lab/tree/notebooks/00_start.ipynb" in address
    assert json.loads(get(address, "/api/contents/notebooks/00_start.ipynb?content=0"))["name"]
    specs = json.loads(get(address, "/api/kernelspecs"))
    assert specs["default"] == "python3"
    assert specs["kernelspecs"]["python3"]["spec"]["argv"][0] in {"python", sys.executable}
    themes = get(address, "/lab/api/settings/@jupyterlab/apputils-extension:themes")
    assert json.loads(themes)["schema"]["properties"]["adaptive-theme"]["default"] is True
    page = get(address, "/lab")
    config = re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert config is not None
    disabled = json.loads(config.group(1))["disabledExtensions"]
    assert "@jupyterlab/apputils-extension:announcements" in str(disabled)
    assert not any((home / other).exists() for other in (".jupyter", ".local"))
    process.send_signal(signal.SIGINT)  # once
    assert process.wait(60) == 0


def test_root_is_told_to_jupyter_and_nobody_else() -> None:
    assert "--allow-root" in lab.command(PROJECT, uid=0)
    assert "--allow-root" not in lab.command(PROJECT, uid=1000)


def test_what_is_for_jupyter_passes_and_comes_last() -> None:
    options = ("--no-browser", "--port", "9000")
    assert tuple(lab.command(PROJECT, options, uid=1000)[-3:]) == options


def test_the_settings_of_other_work_are_neither_read_nor_written(tmp_path: Path) -> None:
    made = lab.environment({"PATH": "/bin", "JUPYTER_CONFIG_DIR": "/elsewhere"}, tmp_path)
    ours = [value for name, value in made.items() if name.endswith("_DIR")]
    assert len(ours) == 4
    assert all(Path(value).is_relative_to(tmp_path) for value in ours)


def test_the_tutorial_names_it() -> None:
    assert "perfkit lab" in CliRunner().invoke(app.main, ["--help"]).output
