"""The harness itself: what the other browser tests rely on."""

from __future__ import annotations

import os
from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Browser, Error
from prerequisites import require

from browser.notebook_page import NotebookPage

Open = Callable[..., NotebookPage]


def small_notebook() -> nbformat.NotebookNode:
    cells = [
        nbformat.v4.new_code_cell("base = 20", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("import ipywidgets\nipywidgets.IntSlider(base + 1)"),
        nbformat.v4.new_code_cell("print('answer', 2 * base + 2)"),
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_a_notebook_runs_restarts_and_answers(open_notebook: Open, frontend: str) -> None:
    notebook = open_notebook(small_notebook(), frontend=frontend, base=20)
    notebook.run_all()
    assert "answer 42" in notebook.see(".jp-OutputArea >> text=answer").inner_text()
    notebook.see(".widget-slider")
    assert notebook.python("base + 1") == "21"
    notebook.python("base = 0")
    notebook.restart_and_run_all()
    assert notebook.python("base") == "20"

    def saved() -> list[str]:
        return [output.text for output in notebook.save().cells[-1].outputs]

    notebook.until(lambda: saved() == ["answer 42\n"], "the page has no answer to save")
    assert notebook.screenshot(f"harness-{frontend}").stat().st_size > 10_000


def test_what_a_kernel_is_asked_beside_the_page_is_answered_whole(open_notebook: Open) -> None:
    notebook = open_notebook(small_notebook())
    said = {notebook.python("print('one')\n6 * 7") for _ in range(50)}
    assert said == {"one\n42"}
    assert "ZeroDivisionError" in notebook.python("1 / 0")


def test_voila_shows_the_outputs_of_a_notebook(open_notebook: Open) -> None:
    notebook = open_notebook(small_notebook(), frontend="voila")
    assert notebook.see("text=answer 42").is_visible()


def test_nothing_beyond_localhost_can_be_reached_from_the_page(chromium: Browser) -> None:
    require(os.geteuid() == 0, "needs root: a network of the browser's own")
    page = chromium.new_page()  # not one whose requests are judged
    with pytest.raises(Error, match=r"ERR_INTERNET_DISCONNECTED|ERR_ADDRESS_UNREACHABLE"):
        page.goto("http://192.0.2.1/")
    page.close()


def test_a_cell_that_fails_ends_the_wait_with_its_traceback(open_notebook: Open) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ("1 / 0", "1")]
    notebook = open_notebook(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_all()
