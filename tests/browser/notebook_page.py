"""A notebook in a browser, worked with as a person does: menus, mouse, keys."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient
from playwright.sync_api import Error, Locator, Page, Response, expect

from browser.jupyter_server import JupyterServer

# Runs code as a cell does, and keeps what it printed and its last value.
_ASK = """\
from IPython.utils.capture import capture_output as _captured
with _captured(display=False) as _out:
    _done = get_ipython().run_cell({code!r})
_value = _done.error_before_exec or _done.error_in_exec or _done.result
_said = _out.stdout + ("" if _value is None else repr(_value))
"""
STEP_S = 120.0  # a cell, a start of a kernel: generous, since two cores are shared
PROMPTS = ".jp-CodeCell .jp-InputPrompt"


@dataclass
class NotebookPage:
    """An open copy of a notebook.

    Attributes:
        page: Playwright's page, for whatever is not here.
        path: The copy on disk; its folder is this test's own.
        frontend: `lab`, `notebook` or `voila`.
    """

    page: Page
    path: Path
    frontend: str
    server: JupyterServer
    screenshots: Path
    problems: list[str] = field(default_factory=list)  # what the page's console called an error

    # -- running ---------------------------------------------------------------------------------

    def run_all(self, *, timeout_s: float = STEP_S) -> None:
        """Run > Run All Cells, and wait until all have run."""
        self.menu("Run", "Run All Cells")
        self.wait_until_run(timeout_s=timeout_s)

    def restart_and_run_all(self, *, timeout_s: float = STEP_S) -> None:
        """Kernel > Restart Kernel and Run All Cells…, confirmed, and wait until all have run."""
        question = "import os; os.getpid(), get_ipython().execution_count"
        old_pid = self.python("import os; os.getpid()")
        self.menu("Kernel", "Restart Kernel and Run All Cells…")
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        deadline = time.monotonic() + timeout_s
        # By the new kernel's own count: the page shows the numbers of before until the cells run.
        while True:
            said = re.fullmatch(r"\((\d+), (\d+)\)", self.python(question, timeout_s=2))
            if said and said[1] != old_pid and int(said[2]) > self._cells_of_code():
                break  # without an answer: lost in the restart
            errors = self.errors()
            assert not errors, f"{self.path.name}: a cell failed:\n{errors[0]}"
            assert time.monotonic() < deadline, "the kernel did not restart and run"
        self.wait_until_run(timeout_s=timeout_s)

    def wait_until_run(self, *, timeout_s: float = STEP_S) -> None:
        """Wait until every cell of code has its number; fail with the first error shown.

        In Voila: until the page is shown.
        """
        if self.frontend == "voila":
            self.page.locator("#rendered_cells").wait_for(timeout=timeout_s * 1000)
            return
        wanted = self._cells_of_code()
        deadline = time.monotonic() + timeout_s
        while True:
            shown = self.page.locator(PROMPTS).all_text_contents()  # also beyond the screen
            if sum(bool(re.search(r"\[\d+\]", text)) for text in shown) >= wanted:
                return
            errors = self.errors()
            assert not errors, f"{self.path.name}: a cell failed:\n{errors[0]}"
            assert time.monotonic() < deadline, f"{self.path.name}: not run in time: {shown}"
            self.page.wait_for_timeout(100)

    def _cells_of_code(self) -> int:
        cells = [c for c in self.on_disk().cells if c.cell_type == "code"]
        return sum(bool(cell.source.strip()) for cell in cells)

    def wait_idle(self, *, timeout_s: float = STEP_S) -> None:
        """Wait until the kernel has nothing to do: no cell, no message of a widget."""
        deadline = time.monotonic() + timeout_s
        while self.server.kernel_of(self.relative)["execution_state"] != "idle":
            assert time.monotonic() < deadline, "the kernel did not come to rest"
            self.page.wait_for_timeout(50)

    def errors(self) -> list[str]:
        """Texts of the tracebacks that are shown."""
        shown = self.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
        return shown.filter(has_text="Traceback (most recent call last)").all_text_contents()

    def menu(self, *names: str) -> None:
        """Click through the menu bar, as in `menu("Kernel", "Interrupt Kernel")`."""
        self.page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{names[0]}$")).click()
        for name in names[1:]:
            label = self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}$"))
            label.first.click()

    # -- the kernel and the file -----------------------------------------------------------------

    @property
    def relative(self) -> str:
        """The copy's path as the server names it."""
        return self.path.relative_to(self.server.root).as_posix()

    def python(self, code: str, *, timeout_s: float = STEP_S) -> str:
        """Run code in the notebook's kernel beside the page: what it printed, or its last value.

        Waits for its turn behind the notebook's own cells. A lost answer (a restart) is "".

        What it printed comes with the answer itself: the channel that outputs are published on
        tells a new listener nothing of what was said before it was heard.
        """
        deadline = time.monotonic() + timeout_s
        asked = _ASK.format(code=code)
        with self._client() as client:
            while (left_s := deadline - time.monotonic()) > 0:
                try:
                    answer = client.execute(
                        asked,
                        store_history=False,
                        user_expressions={"said": "_said"},
                        reply=True,
                        timeout=left_s,
                    )["content"]
                except TimeoutError:
                    return ""
                if answer["status"] == "ok":
                    said = answer["user_expressions"]["said"]["data"]["text/plain"]
                    return str(ast.literal_eval(said)).strip()
                # Aborted: a cell of the notebook failed while this waited behind it.
        return ""

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so, with the page going on meanwhile."""
        deadline = time.monotonic() + STEP_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}; see {self.screenshot('never')}"
            self.page.wait_for_timeout(50)

    @contextlib.contextmanager
    def _client(self) -> Iterator[BlockingKernelClient]:
        client = BlockingKernelClient()
        kernel = self.server.kernel_of(self.relative)
        client.load_connection_file(str(self.server.connection_file(kernel["id"])))
        client.start_channels(hb=False)
        try:
            yield client
        finally:
            client.stop_channels()

    def cell_sources(self) -> list[str]:
        """What stands in the code cells as the page has them now, and how many cells there are.

        The hidden editor of a rendered text cell is filled and emptied as the page likes.
        """
        count = self.page.locator(".jp-Cell").count()
        return [f"{count} cells", *self.page.locator(".jp-CodeCell .cm-content").all_inner_texts()]

    def save(self) -> nbformat.NotebookNode:
        """File > Save Notebook, and the notebook as it is on disk then."""
        with self.page.expect_response(self._is_saved, timeout=STEP_S * 1000):
            self.menu("File", "Save Notebook")
        return self.on_disk()

    def _is_saved(self, answer: Response) -> bool:
        stored = answer.url.split("?")[0].endswith(f"/api/contents/{quote(self.relative)}")
        return stored and answer.request.method == "PUT" and answer.ok

    def on_disk(self) -> nbformat.NotebookNode:
        """The notebook's file, whole: the server writes it in place, also when it saves by itself."""
        deadline = time.monotonic() + STEP_S
        while True:
            try:
                return nbformat.read(self.path, 4)
            except nbformat.reader.NotJSONError:
                assert time.monotonic() < deadline, f"{self.path}: never a whole notebook"
                self.page.wait_for_timeout(50)

    # -- looking ---------------------------------------------------------------------------------

    def see(self, selector: str, *, timeout_s: float = STEP_S) -> Locator:
        """The element, once it is visible; scrolled to."""
        found = self.page.locator(selector).first
        expect(found).to_be_visible(timeout=timeout_s * 1000)
        with contextlib.suppress(Error):  # drawn anew meanwhile: it is where it will be
            found.scroll_into_view_if_needed(timeout=2000)
        return found

    def screenshot(self, name: str, selector: str | None = None) -> Path:
        """A picture of the page, or of one element, in $PERFKIT_SCREENSHOTS or a temporary folder."""
        folder = Path(os.environ.get("PERFKIT_SCREENSHOTS") or self.screenshots)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        if selector is None:
            self.page.screenshot(path=path)
        else:
            self.page.locator(selector).first.screenshot(path=path)
        return path

    def close(self) -> None:
        """Close the page and end the kernel."""
        self.page.close()
        for session in self.server.get("/api/sessions"):
            if session["path"] == self.relative:
                self.server.request("DELETE", f"/api/sessions/{session['id']}")
