"""Browser tests: a real Jupyter server, real Chromium, and not one request that leaves localhost.

    def test_a_person_can(open_notebook):
        notebook = open_notebook(ROOT / "notebooks/05_segments.ipynb", run=str(run.root))
        notebook.run_all()
        notebook.page.get_by_role("slider", name="…").press("ArrowRight")
        assert json.loads(run.segments_path.read_text())…
        assert notebook.python("picker.windows[0].outer.start_s") == "5.0"
        notebook.screenshot("picker-dark")

`open_notebook(path, frontend="lab" | "notebook" | "voila", theme="light" | "dark", width=, height=,
scale=, **parameters)` copies the notebook (or a notebook object) to a folder of its own, injects
the parameters as papermill does, and opens it. The server lives as long as the test session, the
browser as long as this folder: Playwright holds the thread's event loop, so nothing here may
call `asyncio.run`; run papermill as a process.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from browser.island import Island
from browser.jupyter_server import JupyterServer
from browser.notebook_page import STEP_S, NotebookPage

Frontend = Literal["lab", "notebook", "voila"]
Theme = Literal["light", "dark"]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
ADDRESS = {
    "lab": "/lab/tree/{path}?reset",
    "notebook": "/notebooks/{path}",
    "voila": "/voila/render/{path}",
}
# Voila's own page asks for icons and formulas there; on the island it gets no answer, and needs none.
VOILAS_OWN = (
    "https://cdn.jsdelivr.net/npm/@fortawesome/",
    "https://cdnjs.cloudflare.com/ajax/libs/mathjax/",
)


@pytest.fixture(scope="session")
def island() -> Iterator[Island]:
    """The browser's network."""
    made = Island()
    yield made
    made.close()


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A running server."""
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"))
    try:
        server.wait_until_up()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def jupyter_url(jupyter: JupyterServer, island: Island) -> str:
    """Where the browser finds the server."""
    return f"http://127.0.0.1:{island.open_door(jupyter.socket_path)}"


@dataclass
class Requests:
    """Every address any page asked for."""

    urls: list[str] = field(default_factory=list)

    def abroad(self) -> list[str]:
        """Those that are not this machine's."""
        return [url for url in self.urls if _leaves_localhost(url)]


def _leaves_localhost(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme in {"data", "blob", "about", "file"} or url.startswith(VOILAS_OWN):
        return False
    return parts.hostname not in {"127.0.0.1", "localhost"}


@pytest.fixture(scope="session")
def requests_made() -> Iterator[Requests]:
    """The record of the whole session, and its judge."""
    made = Requests()
    yield made
    assert made.abroad() == []


@pytest.fixture(scope="package")
def chromium(
    island: Island, tmp_path_factory: pytest.TempPathFactory, needs_tools: Callable[..., None]
) -> Iterator[Browser]:
    """Debian's Chromium, without a window, on the island."""
    needs_tools("chromium")
    executable = island.executable(CHROMIUM, tmp_path_factory.mktemp("chromium"))
    expect.set_options(timeout=STEP_S * 1000)  # 5 s are little on two shared cores
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=ARGUMENTS, timeout=STEP_S * 1000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def contexts(chromium: Browser, requests_made: Requests) -> Callable[..., BrowserContext]:
    """One browser context for each look, so that pages of a module share what was loaded."""
    made: dict[tuple[Theme, float], BrowserContext] = {}

    def context(theme: Theme = "light", scale: float = 1.0) -> BrowserContext:
        if (theme, scale) not in made:
            fresh = chromium.new_context(color_scheme=theme, device_scale_factor=scale)
            fresh.on("request", lambda request: requests_made.urls.append(request.url))
            fresh.set_default_timeout(STEP_S * 1000)
            made[theme, scale] = fresh
        return made[theme, scale]

    return context


@pytest.fixture(scope="package")
def open_page(
    contexts: Callable[..., BrowserContext], requests_made: Requests
) -> Callable[..., Page]:
    """An empty page of a size; its web sockets are recorded as well."""

    def open_it(
        *, theme: Theme = "light", width: int = 1400, height: int = 1000, scale: float = 1.0
    ) -> Page:
        page = contexts(theme, scale).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.on("websocket", lambda socket: requests_made.urls.append(socket.url))
        return page

    return open_it


@pytest.fixture(scope="package")
def open_notebook(
    jupyter: JupyterServer,
    jupyter_url: str,
    open_page: Callable[..., Page],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., NotebookPage]]:
    """Open a copy of a notebook; all are closed, and their kernels ended, after the module."""
    opened: list[NotebookPage] = []
    numbers = itertools.count(1)
    screenshots = tmp_path_factory.mktemp("screenshots")

    def open_it(
        notebook: Path | nbformat.NotebookNode,
        *,
        frontend: Frontend = "lab",
        theme: Theme = "light",
        width: int = 1400,
        height: int = 1000,
        scale: float = 1.0,
        **parameters: Any,
    ) -> NotebookPage:
        folder = jupyter.root / str(next(numbers))
        folder.mkdir()
        path = _copy(notebook, folder, parameters)
        page = open_page(theme=theme, width=width, height=height, scale=scale)
        made = NotebookPage(page, path, frontend, jupyter, screenshots)
        opened.append(made)
        page.on("console", lambda message: _note_problem(made, message))
        page.on("pageerror", lambda error: made.problems.append(str(error)))
        page.goto(jupyter_url + ADDRESS[frontend].format(path=made.relative))
        if frontend == "voila":
            made.wait_until_run()
        else:
            _wait_for_kernel(made)
        return made

    yield open_it
    for made in opened:
        made.close()


def _copy(notebook: Path | nbformat.NotebookNode, folder: Path, parameters: dict[str, Any]) -> Path:
    if isinstance(notebook, Path):
        path = folder / notebook.name
        shutil.copyfile(notebook, path)
    else:
        path = folder / "notebook.ipynb"
        nbformat.write(notebook, path)
    if parameters:
        nbformat.write(parameterize_notebook(load_notebook_node(str(path)), parameters), path)
    return path


def _note_problem(notebook: NotebookPage, message: ConsoleMessage) -> None:
    if message.type == "error":
        notebook.problems.append(message.text)


def _wait_for_kernel(notebook: NotebookPage) -> None:
    """The cells are shown and a kernel is there and idle."""
    notebook.see(".jp-Notebook .jp-Cell")
    deadline = time.monotonic() + STEP_S
    while time.monotonic() < deadline:
        sessions = notebook.server.get("/api/sessions")
        states = [
            s["kernel"]["execution_state"] for s in sessions if s["path"] == notebook.relative
        ]
        if states == ["idle"]:
            return
        notebook.page.wait_for_timeout(100)
    raise AssertionError(f"{notebook.relative}: no idle kernel within {STEP_S:g} s")
