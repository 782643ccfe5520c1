"""The segment picker in a real browser: mouse, keys and table; the file and the kernel agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from browser.notebook_page import NotebookPage
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

Open = Callable[..., NotebookPage]
DIRECT, TUNNEL = "01-direct-tcp", "02-tunnel-tcp"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
JUPYTERS_OWN = ("(reading 'schema')", "'filebrowser:open-path' not registered.")  # Notebook 7's
DRAWN = ".pk-picker[data-drawn]"
SIZES = """() => { const c = document.querySelector('.pk-plot canvas');
    const r = document.querySelector('.pk-picker');
    return [c.clientWidth, c.width, r.scrollWidth - r.clientWidth]; }"""
ON_PAGE = """() => Object.fromEntries([...document.querySelectorAll('.pk-window.pk-chosen')]
    .filter(w => !w.hidden)
    .map(w => [w.dataset.slot, [0, 1, 2, 3].filter(n => !w.querySelector(`.pk-grip-${n}`).hidden)
        .map(n => Number(w.querySelector(`.pk-grip-${n}`).getAttribute('aria-valuenow')))]))"""


def picker_notebook() -> nbformat.NotebookNode:
    """What 05_segments is about, in as few cells as can be."""
    sources = [
        "from pathlib import Path\n"
        "from perfkit.runs.folder import Run\n"
        "from perfkit.widgets.segment_picker import SegmentPicker",
        "picker = SegmentPicker(Run(Path(folder)), who='tester')\npicker",
    ]
    cells = [nbformat.v4.new_code_cell("folder = ''", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def edges_of(window: dict[str, Any]) -> list[float]:
    """Its borders in order of time, to the millisecond."""
    begin, end = window["outer_s"]
    return [round(edge, 3) for edge in (begin, *(window["steady_s"] or ()), end)]


@dataclass
class Bench:
    """A picker on a page, and the run that it is about."""

    notebook: NotebookPage
    run: Run

    def saved(self) -> dict[str, dict[str, Any]]:
        """What segments.json holds, by slot."""
        if not self.run.segments_path.exists():
            return {}
        return {s["slot"]: s for s in json.loads(self.run.segments_path.read_text())["segments"]}

    def in_kernel(self) -> dict[str, dict[str, Any]]:
        """What the kernel's picker holds, by slot."""
        code = "import json; print(json.dumps([w.to_dict() for w in picker.windows]))"
        return {s["slot"]: s for s in json.loads(self.notebook.python(code))}

    def when_saved(self, act: Callable[[], None]) -> dict[str, dict[str, Any]]:
        """Do something that changes the windows; what file, kernel and page hold afterwards."""
        before = self.run.segments_path.read_bytes() if self.run.segments_path.exists() else b""
        act()

        def is_other() -> bool:
            path = self.run.segments_path
            return path.exists() and path.read_bytes() != before

        self.notebook.until(is_other, "nothing was saved")
        # An act may be saved in steps, and the kernel and the page hear of each a little later.
        self.notebook.until(lambda: self.saved() == self.in_kernel(), "file and kernel differ")
        saved = self.saved()
        edges = {slot: edges_of(window) for slot, window in saved.items()}
        self.notebook.until(lambda: self.on_page() == edges, "the page does not show what is saved")
        return saved

    def on_page(self) -> dict[str, list[float]]:
        """The borders of the chosen windows, as the page has them: by slot, in order of time."""
        return dict(self.notebook.page.evaluate(ON_PAGE))

    def grip(self, slot: str, name: str) -> Locator:
        return self.notebook.page.get_by_role("slider", name=f"{slot} {name}")

    def x_of(self, t_s: float) -> float:
        """Where on the page a moment is, while the whole run is shown."""
        box = self.notebook.page.locator(".pk-layer").bounding_box()
        assert box is not None
        begin_s, end_s = json.loads(
            self.notebook.python("print([picker.line.begin_s, picker.line.end_s])")
        )
        return box["x"] + (t_s - begin_s) / (end_s - begin_s) * box["width"]

    def pull(self, from_s: float, to_s: float, *, share: float = 0.7, key: str = "") -> None:
        """Drag from one moment to another, at a height of the panels."""
        mouse, page = self.notebook.page.mouse, self.notebook.page
        box = page.locator(".pk-layer").bounding_box()
        assert box is not None
        y = box["y"] + box["height"] * share
        if key:
            page.keyboard.down(key)
        mouse.move(self.x_of(from_s), y)
        mouse.down()
        mouse.move((self.x_of(from_s) + self.x_of(to_s)) / 2, y, steps=3)
        mouse.move(self.x_of(to_s), y, steps=3)
        mouse.up()
        if key:
            page.keyboard.up(key)


@pytest.fixture(scope="module", params=["lab", "notebook"])
def bench(
    open_notebook: Open, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Bench]:
    run = make_run(tmp_path_factory.mktemp("run") / "picker", clients=3, duration_s=20)
    notebook = open_notebook(picker_notebook(), frontend=request.param, folder=str(run.root))
    notebook.run_all()
    notebook.see(DRAWN)
    yield Bench(notebook, run)
    assert [text for text in notebook.problems if not text.endswith(JUPYTERS_OWN)] == []


def test_a_proposal_is_shown_and_nothing_is_saved_until_it_is_taken(bench: Bench) -> None:
    page = bench.notebook.page
    expect(page.locator(".pk-proposed")).to_have_count(2)
    assert bench.saved() == {}
    saved = bench.when_saved(page.get_by_role("button", name="Choose every proposed window").click)
    expect(page.locator(".pk-chosen")).to_have_count(2)
    assert {window["chosen_by"] for window in saved.values()} == {"tester"}
    assert all(window["chosen_utc"] and window["log_sha256"] for window in saved.values())
    bench.notebook.screenshot(f"picker-{bench.notebook.frontend}")


def test_an_edge_and_a_body_are_dragged_and_undone_and_redone(bench: Bench) -> None:
    was = bench.saved()[DIRECT]
    dragged = bench.when_saved(lambda: bench.pull(was["steady_s"][0], 9.0))[DIRECT]
    assert dragged["steady_s"][0] == pytest.approx(9.0, abs=0.51)  # at a sample
    assert dragged["steady_s"][0] % 1 == pytest.approx(0.25)  # which are at quarters
    assert (dragged["steady_s"][1], dragged["outer_s"]) == (was["steady_s"][1], was["outer_s"])
    body = bench.when_saved(lambda: bench.pull(15.0, 17.0))[DIRECT]
    shift = body["outer_s"][0] - dragged["outer_s"][0]
    assert shift == pytest.approx(2.0, abs=0.51)
    for name in ("outer_s", "steady_s"):
        assert [e - shift for e in body[name]] == pytest.approx(dragged[name], abs=0.002)
    keyboard = bench.notebook.page.keyboard
    assert bench.when_saved(lambda: keyboard.press("Control+z"))[DIRECT] == dragged
    assert bench.when_saved(lambda: keyboard.press("Control+z"))[DIRECT] == was
    assert bench.when_saved(lambda: keyboard.press("Control+Shift+z"))[DIRECT] == dragged
    undo = bench.notebook.page.get_by_role("button", name="Undo")
    assert bench.when_saved(undo.click)[DIRECT] == was


def test_an_edge_snaps_to_a_change_of_the_load_with_shift(bench: Bench) -> None:
    changes = json.loads(bench.notebook.python("print(picker.line.changes_s.tolist())"))
    was = bench.saved()[TUNNEL]
    act = lambda: bench.pull(was["steady_s"][1], was["steady_s"][1] - 0.8, key="Shift")  # noqa: E731 - one line, one act
    assert round(bench.when_saved(act)[TUNNEL]["steady_s"][1], 3) in [round(c, 3) for c in changes]


def test_a_window_is_deleted_and_drawn_anew(bench: Bench) -> None:
    bench.grip(DIRECT, "whole window").click(position={"x": 20, "y": 5})
    assert DIRECT not in bench.when_saved(lambda: bench.notebook.page.keyboard.press("Delete"))
    expect(
        bench.notebook.page.locator(f'[data-slot="{DIRECT}"].pk-proposed .pk-outer')
    ).to_be_visible()
    drawn = bench.when_saved(lambda: bench.pull(0.3, 4.2))[DIRECT]
    assert drawn["outer_s"] == drawn["steady_s"]
    assert drawn["outer_s"] == pytest.approx([0.3, 4.2], abs=0.51)
    row = bench.notebook.page.locator("tr", has_text=DIRECT)
    for doubt in ("too short", "beside the time planned"):
        expect(row.locator(".pk-doubt").filter(has_text=doubt).first).to_be_visible()


def test_keys_alone_move_delete_take_and_leak_nowhere(bench: Bench) -> None:
    page, cells = bench.notebook.page, bench.notebook.cell_sources()
    bench.when_saved(lambda: page.get_by_role("button", name=f"Delete {DIRECT}").click())
    bench.grip(DIRECT, "outer end").focus()
    taken = bench.when_saved(lambda: page.keyboard.press("Enter"))[DIRECT]
    slider = bench.grip(DIRECT, "outer end")
    later = bench.when_saved(lambda: page.keyboard.press("ArrowRight"))[DIRECT]["outer_s"]
    assert later == pytest.approx([taken["outer_s"][0], taken["outer_s"][1] + 1])
    expect(slider).to_have_attribute("aria-valuetext", f"{later[1]:g} seconds after T0")
    bench.grip(DIRECT, "steady start").focus()

    def press_twice() -> None:
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowRight")  # would leave less than a window

    bench.when_saved(press_twice)  # the answer to the first does not wipe out the refusal
    expect(page.get_by_role("alert")).to_contain_text("would leave less than 1 s of it")
    assert bench.saved()[DIRECT]["steady_s"][0] == pytest.approx(taken["steady_s"][0] + 10)
    assert bench.saved() == bench.in_kernel()
    bench.when_saved(lambda: page.keyboard.press("Control+z"))
    slider.focus()
    earlier = bench.when_saved(lambda: page.keyboard.press("Shift+ArrowLeft"))[DIRECT]
    assert earlier["outer_s"][1] == pytest.approx(later[1] - 10)
    assert earlier["steady_s"][1] == earlier["outer_s"][1]  # pushed along
    before = bench.saved()
    page.keyboard.press("PageDown")
    expect(bench.grip(TUNNEL, "outer end")).to_be_focused()
    for key in ("b", "d", "d", "x", "a", "m", "0", "0"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert bench.notebook.cell_sources() == cells
    assert bench.saved() == before
    assert TUNNEL not in bench.when_saved(lambda: page.keyboard.press("Delete"))
    assert TUNNEL in bench.when_saved(lambda: page.keyboard.press("Control+z"))
    assert bench.notebook.cell_sources() == cells


def test_wheel_buttons_and_double_click_change_what_is_shown_and_save_nothing(
    bench: Bench,
) -> None:
    page, before = bench.notebook.page, bench.saved()
    bench.notebook.see(".pk-plot")

    def span_s() -> float:
        """How much time is drawn, by the picture's own words."""
        words = (page.locator(".pk-plot canvas").get_attribute("aria-label") or "").split()
        return float(words[words.index("to") + 1]) - float(words[words.index("from") + 1])

    def until(condition: Callable[[], bool]) -> None:
        bench.notebook.until(condition, "it is not what should be shown")

    whole_s = span_s()
    box = page.locator(".pk-layer").bounding_box()
    assert box is not None
    page.mouse.move(bench.x_of(30.0), box["y"] + 200)
    page.mouse.wheel(0, -300)
    until(lambda: span_s() < 0.7 * whole_s)
    near_s = span_s()
    page.get_by_role("button", name="Zoom out").click()
    until(lambda: span_s() > 1.5 * near_s)
    page.get_by_role("button", name="Show the selected window").click()
    until(lambda: span_s() < 0.6 * whole_s)
    page.locator(".pk-layer").dblclick(position={"x": 3, "y": 200})
    until(lambda: span_s() == whole_s)
    assert bench.saved() == before


def test_the_table_is_an_equal_path(bench: Bench) -> None:
    page, row = bench.notebook.page, bench.notebook.page.locator("tr", has_text=TUNNEL)
    box = row.get_by_label("steady start, seconds")

    def enter(text: str) -> None:
        box.fill(text)
        box.press("Enter")

    saved = bench.when_saved(lambda: enter("36.5"))[TUNNEL]
    assert saved["steady_s"][0] == 36.5
    enter("99")
    notice = page.locator(".pk-notice")
    expect(notice).to_contain_text("its end must be after its start")
    assert bench.saved()[TUNNEL] == saved
    figures = page.locator(".pk-readout")
    expect(figures).to_contain_text("Mbit/s")
    expect(figures).to_contain_text("3 of 3")


def test_another_writer_is_not_overwritten_but_shown(bench: Bench) -> None:
    page = bench.notebook.page
    page.mouse.move(2, 2)  # a pointer that comes over the picker makes it look at the file
    other = bench.saved()
    other[DIRECT] |= {"outer_s": [5.0, 25.0], "steady_s": [8.0, 20.0], "chosen_by": "somebody"}
    document = {"format": 1, "run": "picker", "segments": list(other.values())}
    bench.run.segments_path.write_text(json.dumps(document))
    bench.grip(DIRECT, "steady start").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".pk-notice")).to_contain_text("somebody")
    bench.notebook.wait_idle()
    assert bench.saved()[DIRECT]["chosen_by"] == "somebody"
    bench.notebook.screenshot(f"picker-conflict-{bench.notebook.frontend}")
    mine = page.get_by_role("button", name="Apply my change")
    assert bench.when_saved(mine.click)[DIRECT]["chosen_by"] == "tester"


def test_restart_and_run_all_brings_the_windows_back(bench: Bench) -> None:
    before = bench.saved()
    bench.notebook.restart_and_run_all()
    bench.notebook.see(DRAWN)
    expect(bench.notebook.page.locator(".pk-chosen")).to_have_count(2)
    assert bench.saved() == before == bench.in_kernel()
    slider = bench.grip(DIRECT, "outer start")
    expect(slider).to_have_attribute("aria-valuenow", f"{before[DIRECT]['outer_s'][0]:g}")


@pytest.mark.parametrize(
    ("frontend", "theme", "width", "scale"),
    [("notebook", "dark", 700, 2.0), ("voila", "light", 1400, 1.0)],
)
def test_it_fits_its_cell_sharply_in_either_theme(
    open_notebook: Open,
    tmp_path: Path,
    frontend: str,
    theme: str,
    width: int,
    scale: float,
) -> None:
    run = make_run(tmp_path / "picker", clients=3, duration_s=20)
    notebook = open_notebook(
        picker_notebook(),
        frontend=frontend,
        theme=theme,
        width=width,
        scale=scale,
        folder=str(run.root),
    )
    if frontend != "voila":
        notebook.run_all()
    picker = notebook.see(DRAWN)
    assert ("pk-dark" in (picker.get_attribute("class") or "").split()) == (theme == "dark")

    def fits() -> bool:
        shown, backing, overflow = notebook.page.evaluate(SIZES)
        return bool(backing == pytest.approx(shown * scale, abs=scale) and overflow <= 0)

    notebook.until(fits, "the picture is not sharp, or wider than its cell")
    take = notebook.page.get_by_role("button", name="Choose every proposed window")
    take.click()
    expect(notebook.page.locator(".pk-chosen")).to_have_count(2)
    notebook.until(run.segments_path.exists, "nothing was saved")
    notebook.screenshot(f"picker-{frontend}-{theme}-{width}")
