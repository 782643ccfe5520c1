"""How long the segment picker takes in a browser: first picture, zoom, drag, at two sizes of log.

    pytest tests/benchmarks/bench_picker.py -m benchmark -s

Four panels. The log is made longer in the kernel, after it was read: reading is not measured here.
Needs Chromium, and a machine that is doing nothing else.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from browser.conftest import (  # noqa: F401 - fixtures
    chromium,
    contexts,
    island,
    jupyter,
    jupyter_url,
    open_notebook,
    open_page,
    requests_made,
)
from browser.notebook_page import NotebookPage

from perfkit.testing.runs import make_run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
MEDIANS_OF = 9
STRETCH = """
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd
from perfkit.logs.reader import read_run
from perfkit.runs.folder import Run
from perfkit.widgets import segment_picker
run = Run(Path(folder))
logs = read_run(run)
rows = np.resize(np.arange(len(logs.monitor)), samples)
t_s = -2.0 + np.arange(samples)
monitor = logs.monitor.iloc[rows].reset_index(drop=True).assign(
    t_s=t_s, dt_s=1.0, net_eth0_recv_bps=1e9 * np.random.default_rng(0).random(samples))
segment_picker.read_run = lambda run: replace(logs, monitor=monitor)
"""
SHOW = "picker = segment_picker.SegmentPicker(run)\npicker"
TIMED = """async (act) => {
  const root = document.querySelector(".pk-picker");
  const before = root.dataset.drawn, begun = performance.now();
  root.querySelector(`[aria-label="${act}"]`).click();
  while (root.dataset.drawn === before) await new Promise((done) => setTimeout(done, 1));
  return performance.now() - begun;
}"""
DRAG = """() => {
  const grip = document.querySelector(".pk-selected .pk-grip-1"), box = grip.getBoundingClientRect();
  const layer = document.querySelector(".pk-layer"), took = [];
  layer.setPointerCapture = () => {};
  const at = (kind, x, target) => target.dispatchEvent(new PointerEvent(kind, {
    bubbles: true, cancelable: true, button: 0, pointerId: 1, clientX: x, clientY: box.y + 150 }));
  at("pointerdown", box.x + 4, grip);
  for (let step = 1; step <= 60; step++) {
    const begun = performance.now();
    at("pointermove", box.x + 4 + step, layer);
    layer.getBoundingClientRect();
    took.push(performance.now() - begun);
  }
  at("pointercancel", box.x, layer);
  return took;
}"""
FIRST = """() => new Promise((done) => {
  const begun = performance.now();
  new MutationObserver(() => {
    const root = document.querySelector(".pk-picker");
    if (root && !window.pickerBegun) window.pickerBegun = performance.now();
    if (root?.dataset.drawn && !window.pickerTook) window.pickerTook = performance.now() - window.pickerBegun;
  }).observe(document.body, { childList: true, subtree: true, attributes: true });
  done(begun);
})"""


def notebook_of(samples: int) -> nbformat.NotebookNode:
    sources = [f"samples = {samples}", STRETCH, SHOW]
    cells = [nbformat.v4.new_code_cell("folder = ''", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


@pytest.mark.parametrize(("samples", "slots"), [(7_200, 2), (1_000_000, 2), (7_200, 100)])
def test_first_picture_zoom_and_drag(
    open_notebook: Callable[..., NotebookPage],  # noqa: F811 - the fixture
    tmp_path: Path,
    samples: int,
    slots: int,
) -> None:
    names = ("direct-tcp", "tunnel-tcp") * (slots // 2)
    run = make_run(tmp_path / "run", clients=10, duration_s=20, tests=names)
    notebook = open_notebook(notebook_of(samples), folder=str(run.root))
    page = notebook.page
    page.evaluate(FIRST)
    notebook.run_all()
    page.wait_for_function("window.pickerTook", timeout=60_000)
    notebook.wait_idle()
    notebook.screenshot(f"bench-{samples}-{slots}")
    first_ms = page.evaluate("window.pickerTook")
    built_s = float(
        notebook.python(f"import time; b = time.time(); {SHOW.splitlines()[0]}; time.time() - b")
    )
    acts = ["Zoom in"] * 4 + ["Later", "Zoom out", "Earlier", "Zoom in", "Zoom out"]
    zoom_ms = [page.evaluate(TIMED, act) for act in acts[:MEDIANS_OF]]
    page.evaluate(TIMED, "Show the whole run (double click)")
    drag_ms = page.evaluate(DRAG)
    print(
        f"\n{samples:9,} samples, {slots:3} windows: made in {built_s:.2f} s, first picture "
        f"{first_ms:.0f} ms, zoom {statistics.median(zoom_ms):.0f} ms (max {max(zoom_ms):.0f}), "
        f"drag {statistics.median(drag_ms):.1f} ms a move (max {max(drag_ms):.1f})"
    )


def test_size_of_an_executed_notebook(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=10, duration_s=20)
    source, executed = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    for samples in (7_200, 1_000_000):
        nbformat.write(notebook_of(samples), source)
        command = [sys.executable, "-m", "papermill", "-p", "folder", str(run.root)]
        subprocess.run([*command, source, executed], check=True, capture_output=True)
        print(f"\n{samples:9,} samples: executed notebook {executed.stat().st_size / 1e6:.2f} MB")
