"""Working in the notebooks leaves a clone as git has it: the real server, as JupyterLab saves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from headless import PROJECT
from own_ports import free_port
from project_copy import copy_project

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib's kept connection


@pytest.fixture
def clone(tmp_path: Path, needs_tools: Any) -> Path:
    """A clone of its own, with all committed."""
    needs_tools("git")
    folder = copy_project(tmp_path / "clone")
    shutil.copy(PROJECT / ".gitignore", folder)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        own = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "core.hooksPath="]
        subprocess.run(["git", *own, *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def server(clone: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """`perfkit lab` on the clone: its address, and the lines it says until the test is over."""
    command = [sys.executable, "-m", "perfkit", "lab", "--no-browser", "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        env={**os.environ, "HOME": str(tmp_path), "PERFKIT_HOME": str(clone)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    known = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if re.search(r"http://127\.0\.0\.1:", line):
                known.set()
        known.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert known.wait(200), said
        yield next(line.strip() for line in said if "http://127.0.0.1:" in line), said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(100)
        reader.join(100)
        assert process.stderr is not None
        process.stderr.close()


def call(address: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Get a notebook, or save it, as JupyterLab does."""
    base, _, token = address.partition("/lab/")
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(
        f"{base}/api/contents/{path}",
        data=data,
        method="PUT" if data else "GET",
        headers={"Authorization": f"token {token.partition('token=')[2]}"},
    )
    for _ in range(600):  # Jupyter says its address before it listens there
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return dict(json.loads(answer.read()))
        except ConnectionRefusedError:
            threading.Event().wait(0.1)
        except urllib.error.URLError as exc:
            if not isinstance(exc.reason, ConnectionRefusedError):
                raise
            threading.Event().wait(0.1)
    raise AssertionError("it does not listen")


def changed(clone: Path) -> str:
    words = ["git", "status", "--porcelain"]
    return subprocess.run(words, cwd=clone, check=True, capture_output=True, text=True).stdout


def test_saving_what_a_session_puts_into_the_notebooks_leaves_the_clone_clean(
    clone: Path, server: tuple[str, list[str]]
) -> None:
    address, said = server
    names = sorted(path.name for path in (clone / "notebooks").glob("*.ipynb"))
    assert len(names) >= 8
    for name in names:
        model = call(address, f"notebooks/{name}")
        content = model["content"]
        content["metadata"]["language_info"] = {"name": "python", "version": "3.99"}
        content["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
        for cell in content["cells"]:
            cell["metadata"]["collapsed"] = True
            if cell["cell_type"] == "code":
                cell["execution_count"] = 7
                cell["metadata"]["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
                cell["outputs"] = [nbformat.v4.new_output("stream", text="seen\n")]
        call(address, f"notebooks/{name}", {"type": "notebook", "content": content})
    assert changed(clone) == ""
    kept = nbformat.read(clone / "notebooks" / "out-05_segments.ipynb", as_version=4)
    assert "seen" in str([cell.get("outputs") for cell in kept.cells])
    # What a person writes is the person's, and a notebook of their own keeps its outputs.
    content = call(address, "notebooks/06_report.ipynb")["content"]
    content["cells"][1]["source"] += "# mine\n"
    call(address, "notebooks/06_report.ipynb", {"type": "notebook", "content": content})
    assert changed(clone) == " M notebooks/06_report.ipynb\n"
    call(address, "notebooks/mine.ipynb", {"type": "notebook", "content": dict(kept)})
    assert "seen" in (clone / "notebooks" / "mine.ipynb").read_text()
    assert [line for line in said if "Deprecation" in line] == []
