"""The live view of the fleet in JupyterLab: seen, worked with by keys, stopped, interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, expect

from browser.notebook_page import NotebookPage

Open = Callable[..., NotebookPage]
TESTS = Path(__file__).parents[1]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
START = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
import slow_fleet
from slow_fleet import SlowSession
from perfkit.campaign import phases
"""


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in (START, *sources)]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def seen(notebook: NotebookPage, selector: str) -> Locator:
    """It is there; unlike `see`, without scrolling to what may be drawn anew meanwhile."""
    found = notebook.page.locator(selector).first
    found.wait_for()
    return found


def stop_by_button(notebook: NotebookPage) -> None:
    seen(notebook, ".perfkit-fleet >> text=Stop…").click()
    seen(notebook, ".perfkit-fleet >> text=Stop and release all hosts").click()


# Far from done when it is stopped, however slow the browser is.
SLOW = "session = SlowSession(Path('run'), 400, batch_s=1.5)"


def test_the_stop_button_is_heard_while_its_cell_runs_and_releases_every_host(
    open_notebook: Open,
) -> None:
    notebook = open_notebook(notebook_of(SLOW, "slow_fleet.launch(session)"))
    notebook.menu("Run", "Run All Cells")
    seen(notebook, ".perfkit-fleet .count >> text=reachable")
    stop_by_button(notebook)
    error = notebook.see("text=/StoppedError: launch: stopped by a person; released/")
    assert "released" in error.inner_text()
    assert notebook.page.locator("text=KeyboardInterrupt").count() == 0  # one line, no traceback
    assert notebook.python("session.left") == "[]"
    assert notebook.python("{str(r.state) for r in session.inventory.records()}") == "{'released'}"
    notebook.see(".perfkit-fleet summary")  # plain HTML where the widget was


def test_other_cells_run_beside_a_phase_in_the_background_and_it_can_be_stopped(
    open_notebook: Open,
) -> None:
    cells = (SLOW, "going = phases.in_background(slow_fleet.launch, session)", "print(6 * 7)")
    notebook = open_notebook(notebook_of(*cells))
    notebook.run_all()  # all three are done, and the hosts are not
    assert notebook.python("going.done") == "False"
    assert "background" in notebook.python(
        "try: slow_fleet.launch(session)\nexcept Exception as exc: print(exc)"
    )
    seen(notebook, ".perfkit-fleet .count >> text=reachable")
    stop_by_button(notebook)
    said = notebook.python("try: going.result()\nexcept Exception as exc: print(repr(exc))")
    assert "StoppedError" in said
    assert notebook.python("session.left") == "[]"


def test_an_interrupt_ends_the_cell_and_leaves_the_hosts_for_the_next_one(
    open_notebook: Open,
) -> None:
    notebook = open_notebook(notebook_of(SLOW, "slow_fleet.launch(session)"))
    notebook.menu("Run", "Run All Cells")
    seen(notebook, ".perfkit-fleet .count >> text=reachable")
    notebook.menu("Kernel", "Interrupt Kernel")
    seen(notebook, "text=KeyboardInterrupt")
    assert int(notebook.python("len(session.left)")) >= 5
    assert notebook.python("session.fleet.release().leaked; session.left") == "[]"


def test_a_thousand_hosts_are_one_grid_that_names_each_by_keys_and_escapes_what_hosts_said(
    open_notebook: Open,
) -> None:
    show = (
        "from perfkit.widgets.fleet_table import FleetView\n"
        "import threading, time\n"
        "session = SlowSession(Path('run'), {n}, failing=['client-003', 'client-007'])\n"
        "session.put_all()\n"
        "view = FleetView(session.inventory, session.journal, 'configure', expected_s=90,\n"
        "                 on_stop=session.fleet.release)\n"
        "view.__enter__()\n"
        "view._changed.set()"
    )
    for n, theme in ((9, "light"), (999, "dark")):
        notebook = open_notebook(notebook_of(show.format(n=n)), theme=theme)
        notebook.run_all()
        cells = notebook.page.locator(".perfkit-fleet .hosts span")
        seen(notebook, ".perfkit-fleet .hosts span.failed")
        expect(cells).to_have_count(n + 1)
        cells.first.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
            notebook.page.keyboard.press(key)
        words = re.compile("client-003: failed, UnreachableError: no answer, but .*<script>")
        expect(notebook.page.locator(".perfkit-fleet .readout")).to_contain_text(words)
        assert notebook.page.title() != "owned"
        link = seen(notebook, ".perfkit-fleet a >> text=configure.log")
        expect(link).to_have_attribute("href", re.compile(r"configure\.log"))
        notebook.screenshot(f"fleet-{n + 1}-{theme}")
        notebook.python("view.__exit__(None, None, None)")
        seen(notebook, ".perfkit-fleet summary")
        notebook.screenshot(f"fleet-{n + 1}-{theme}-after")


CAMPAIGN = """
import threading
from types import SimpleNamespace
from perfkit.widgets.campaign_grid import CampaignGrid
asked = threading.Event()
grid = CampaignGrid(asked.set)
row = SimpleNamespace(clients=10, variant="base", cells=["331", "void", ""], so_far="331")
grid.show("a campaign", "block 3, 10 clients base", [row])
asked.wait(200)
grid.close()
print("stopped:", asked.is_set())
"""


def test_the_stop_button_of_a_campaign_is_heard_while_its_cell_runs(open_notebook: Open) -> None:
    notebook = open_notebook(notebook_of(CAMPAIGN))
    notebook.menu("Run", "Run All Cells")
    seen(notebook, "text=block 3, 10 clients base")
    button = seen(notebook, "button >> text=Stop after this block")
    button.click()
    notebook.see("text=stopped: True")
    expect(notebook.page.locator("button >> text=/Stops? after this block/")).to_have_count(0)
    seen(notebook, "td >> text=void")  # the table stays
