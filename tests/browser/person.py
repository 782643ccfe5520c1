"""A person at `perfkit lab`: one window, links clicked, cells run, forms filled in by typing.

with Desk(project, home, island) as desk:
    person = Person(browser.new_page(), desk, shots)
    person.arrive()
    person.run_all()
    person.follow("01_launch")
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from playwright.sync_api import Locator, Page, expect

from browser.island import Island

STARTS_WITHIN_S = 90.0


class Desk:
    """A running `perfkit lab` on a copy of the project, with a door for the browser."""

    def __init__(self, project: Path, home: Path, island: Island) -> None:
        self._socket = home / "s"  # short: a socket's path has 107 bytes
        options = ["--no-browser", f"--ServerApp.sock={self._socket}", "--IdentityProvider.token="]
        self._log = (home / "lab.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perfkit.cli.app", "lab", *options],
            env={**os.environ, "HOME": str(home), "PERFKIT_HOME": str(project)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._socket.exists():
            assert self._process.poll() is None, (home / "lab.log").read_text()
            assert time.monotonic() < deadline, "perfkit lab did not start"
            time.sleep(0.1)
        self.address = f"http://127.0.0.1:{island.open_door(self._socket)}/lab"

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


class Person:
    """Works in the notebook whose tab is in front."""

    def __init__(self, page: Page, desk: Desk, shots: Path) -> None:
        self.page, self._desk, self._shots = page, desk, shots
        shots.mkdir(parents=True, exist_ok=True)

    @property
    def panel(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def arrive(self, title: str) -> None:
        """Open the address that `perfkit lab` says."""
        self.page.goto(f"{self._desk.address}/tree/notebooks/00_start.ipynb")
        self._wait_for(title)

    def follow(self, name: str, title: str) -> None:
        """Click the last link to a notebook, as its end offers it."""
        link = self.panel.get_by_role("link", name=name, exact=True).last
        link.scroll_into_view_if_needed()
        link.click()
        self._wait_for(title)

    def _wait_for(self, title: str) -> None:
        heading = self.panel.get_by_role("heading", level=1, name=title)
        expect(heading).to_be_visible(timeout=60_000)
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)

    def menu(self, *names: str) -> None:
        """Click through the menu bar."""
        pattern = [re.compile(f"^{re.escape(name)}$") for name in names]
        self.page.locator(".lm-MenuBar-item", has_text=pattern[0]).click()
        for name in pattern[1:]:
            self.page.locator(".lm-Menu-itemLabel", has_text=name).first.click()

    def run_all(self, *, timeout_s: float = 60.0) -> None:
        """Run > Run All Cells; once more if nothing begins: the kernel was not connected yet."""
        begun = self.panel.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"\[[*\d]"))
        for _ in range(3):
            self.menu("Run", "Run All Cells")
            self.page.wait_for_timeout(3000)
            if begun.count():
                break
        self.wait_until_run(timeout_s=timeout_s)

    def run_down_to_the_form(self) -> None:
        """Click the title, then Shift+Enter, cell by cell, until a form is there."""
        self.panel.locator(".jp-MarkdownCell").first.click()
        for _ in range(4):
            self.page.keyboard.press("Shift+Enter")
        expect(self.panel.locator(".perfkit-form")).to_be_visible(timeout=60_000)

    def type_in(self, label: str, text: str) -> None:
        """Click a field, replace what is in it, and leave it with the tab key."""
        field = self.panel.get_by_label(label, exact=True)
        field.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text, delay=30)
        self.page.keyboard.press("Tab")

    def run_from(self, text: str, *, timeout_s: float) -> None:
        """Click a heading and Run > Run Selected Cell and All Below."""
        self.panel.locator(".jp-MarkdownCell", has_text=text).first.click()
        self.menu("Run", "Run Selected Cell and All Below")
        self.wait_until_run(timeout_s=timeout_s)

    def wait_until_run(self, *, timeout_s: float) -> None:
        """Every cell has its number; the first error that is shown ends the wait."""
        prompts = self.panel.locator(".jp-CodeCell .jp-InputPrompt")
        said = self.panel.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
        failed = said.filter(has_text="Traceback (most recent call last)")
        deadline = time.monotonic() + timeout_s
        while not all(re.search(r"\[\d+\]", text) for text in prompts.all_text_contents()):
            assert failed.count() == 0, failed.first.text_content()
            assert time.monotonic() < deadline, prompts.all_text_contents()
            self.page.wait_for_timeout(200)

    def screenshot(self, name: str) -> None:
        """A picture of the window as it is."""
        self.page.screenshot(path=self._shots / f"{name}.png")


def campaign(person: Person, *, clients: int, duration_s: int, name: str) -> None:
    """From the first notebook to the report, with nothing but mouse and keys.

    Raises:
        AssertionError: what a person should see is not there.
    """
    person.arrive("Start here: what is perfkit")
    person.run_all(timeout_s=120)
    person.screenshot("00_start")

    person.follow("01_launch", "Launch: where do the hosts come from?")
    person.run_down_to_the_form()
    person.type_in("Clients", str(clients))
    person.type_in("Duration (s)", str(duration_s))
    person.type_in("Name", name)
    summary = person.panel.locator(".perfkit-form .summary")
    expect(summary).to_contain_text(f"{clients} clients and 1 server at local: about")
    person.screenshot("01_launch-form")
    person.run_from("What is running already?", timeout_s=60 + clients)
    expect(person.panel).to_contain_text(f"launch: {clients + 1} of {clients + 1} hosts")
    person.screenshot("01_launch")

    overhead_s = 60 + 2 * clients
    person.follow("02_configure", "Configure: is every host ready for the tests?")
    person.run_all(timeout_s=overhead_s)
    expect(person.panel).to_contain_text(f"configure: {clients + 1} of {clients + 1} hosts")
    person.screenshot("02_configure")

    person.follow("03_measure", "Measure: what happens when all clients start at once?")
    person.run_all(timeout_s=overhead_s + 4 * duration_s)
    expect(person.panel).to_contain_text(f"measure: {clients + 1} of {clients + 1} hosts")
    person.screenshot("03_measure")

    person.follow("04_collect", "Collect: are all logs home, and may the hosts go?")
    person.run_all(timeout_s=overhead_s)
    expect(person.panel).to_contain_text(f"collect: {clients + 1} of {clients + 1} hosts")
    person.screenshot("04_collect")

    person.follow("05_segments", "Segments: which seconds of each test count?")
    person.run_all()
    person.screenshot("05_segments")

    person.follow("06_report", "Report: what was measured, and what may be said about it?")
    person.run_all()
    expect(person.panel).to_contain_text("02-tunnel-tcp")
    person.screenshot("06_report")
