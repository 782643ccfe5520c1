"""The phase notebooks and the form as a person has them, in JupyterLab, Notebook 7 and Voila."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from browser.notebook_page import NotebookPage
from perfkit.notebook import parameters as notebooks
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

Open = Callable[..., NotebookPage]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FORM = ".perfkit-form"


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sample(runs_dir: Path) -> Run:
    how = {"clients": 20, "duration_s": 30, "failed": {"client-007": "refused"}}
    return notebooks.sample(make_run, runs_dir=str(runs_dir), **how)


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_the_first_notebook_runs_without_a_fleet(
    open_notebook: Open, runs_dir: Path, frontend: str
) -> None:
    start = open_notebook(NOTEBOOKS / "00_start.ipynb", frontend=frontend, runs_dir=str(runs_dir))
    start.run_all()
    expect(start.see(".perfkit-table strong")).to_contain_text("eady")
    start.see(FORM)
    start.wait_idle()
    if frontend == "lab":  # Notebook 7 has complaints of its own
        assert start.problems == []
    start.screenshot(f"00_start-{frontend}")
    assert (runs_dir / "00-sample" / "report" / "index.html").is_file()


@pytest.fixture
def form_page(open_notebook: Open, tmp_path: Path) -> NotebookPage:
    """01_launch down to its form, as a person who fills it in has it."""
    launch = nbformat.read(NOTEBOOKS / "01_launch.ipynb", 4)
    launch.cells = [*launch.cells[:4], nbformat.v4.new_code_cell("clients, tests, name")]
    page = open_notebook(launch, runs_dir=str(tmp_path), isolation="loopback", tests="direct-tcp")
    page.run_all()
    page.see(FORM)
    return page


def field(page: NotebookPage, label: str) -> Locator:
    return page.page.get_by_label(label, exact=True)


def expect_value(page: NotebookPage, name: str, wanted: str) -> None:
    """What the form says arrives in the kernel by another way than our question."""
    page.until(lambda: page.python(name) == wanted, f"{name} is not {wanted}")


def test_what_is_typed_in_the_form_is_what_runs(form_page: NotebookPage) -> None:
    clients = field(form_page, "Clients")
    clients.fill("")
    clients.press_sequentially("25")
    clients.press("Tab")
    summary = form_page.page.locator(f"{FORM} .summary")
    expect(summary).to_contain_text("25 clients and 1 server at local: about")
    expect(summary).to_contain_text("costs nothing")
    expect_value(form_page, "clients", "25")

    clients.press("End")
    clients.press_sequentially(",50")
    clients.press("Tab")
    expect(summary).to_contain_text("3 repetitions (the default of a list), 6 blocks")
    expect_value(form_page, "clients", "'25,50'")
    form_page.screenshot("form-campaign", FORM)
    clients.press("End")
    for _ in ",50":
        clients.press("Backspace")
    clients.press_sequentially("x")
    error = form_page.page.locator(f"{FORM} .wrong .error")
    expect(error).to_contain_text("expected: number of clients, 1 to 4000")
    expect(clients).to_have_attribute("aria-invalid", "true")
    says = re.compile(rf"(^|\s){re.escape(str(error.get_attribute('id')))}(\s|$)")
    expect(clients).to_have_attribute("aria-describedby", says)
    expect_value(form_page, "clients", "'25x'")  # what comes next refuses it as well
    form_page.screenshot("form-wrong", FORM)

    form_page.python("clients = 7")
    run_cell(form_page, 5)
    expect(clients).to_have_value("7")  # another cell has set it: the form follows
    expect(error).to_have_count(0)
    run_cell(form_page, 1)  # the parameters cell, and
    run_cell(form_page, 2)  # what papermill injected
    expect(clients).to_have_value("10")


def run_cell(page: NotebookPage, number: int) -> None:
    """Click into a cell and press Ctrl+Enter."""
    page.page.locator(".jp-Cell").nth(number).locator(".cm-content").click()
    page.page.keyboard.press("Control+Enter")
    page.wait_idle()


def test_the_form_works_with_keys_alone_and_keeps_them_from_the_notebook(
    form_page: NotebookPage,
) -> None:
    before = form_page.cell_sources()
    page = form_page.page
    field(form_page, "Provider").focus()
    reached = []
    tests = [f"tests-{number}" for number in range(10)]
    for _ in range(3 + len(tests)):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert [name.split("-form-")[-1].partition("-")[2] for name in reached] == [
        "clients",
        "repetitions",
        *tests,
        "vpn",
    ]
    box = page.get_by_label("tunnel-tcp: 30 s, tunnel")
    box.focus()
    for key in ("b", "a", "d", "d", "x", "Space"):
        page.keyboard.press(key)
    expect(box).to_be_checked()
    expect_value(form_page, "tests", "'all'")
    expect(page.locator(f"{FORM} .error").filter(has_text="needs a tunnel")).to_have_count(0)
    more = page.locator(f"{FORM} summary")
    more.focus()
    page.keyboard.press("Enter")
    expect(field(form_page, "On shortfall")).to_be_visible()
    field(form_page, "On shortfall").select_option("go")
    expect_value(form_page, "on_shortfall", "'go'")
    assert form_page.cell_sources() == before
    form_page.screenshot("form-open", FORM)


def test_the_report_is_shown_to_those_who_only_read(open_notebook: Open, sample: Run) -> None:
    shown = open_notebook(
        NOTEBOOKS / "06_report.ipynb", frontend="voila", run=str(sample.root), runs_dir=""
    )
    expect(shown.page.locator(".perfkit-table").first).to_contain_text("Mean per client")
    assert json.loads(sample.segments_path.read_text())["segments"]
    shown.screenshot("06_report-voila")


def test_windows_are_moved_by_those_who_never_see_code(open_notebook: Open, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    shown = open_notebook(
        NOTEBOOKS / "05_segments.ipynb", frontend="voila", run=str(run.root), runs_dir=""
    )
    grip = shown.page.get_by_role("slider", name="01-direct-tcp steady start")
    grip.focus()
    expect(shown.page.locator(".perfkit-table").last).to_contain_text("02-tunnel-tcp")

    def saved() -> dict[str, Any]:
        return dict(json.loads(run.segments_path.read_text())["segments"][0])

    before = saved()
    grip.press("ArrowRight")
    shown.until(lambda: saved() != before, "nothing was saved")
    after = saved()
    assert after["steady_s"][0] == pytest.approx(before["steady_s"][0] + 1.0, abs=0.5)
    assert after["chosen_by"] != before["chosen_by"] == "events"
    shown.screenshot("05_segments-voila")
