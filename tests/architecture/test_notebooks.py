"""Notebooks are thin: sentences and calls. Logic lives in perfkit, where it is tested."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[!o]*.ipynb"))
MAX_CELL_LINES = 10
LOGIC = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Try,
    ast.For,
    ast.While,
    ast.Lambda,
)

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def parameters_cell(path: Path) -> nbformat.NotebookNode:
    (cell,) = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    return cell


def test_it_is_committed_without_outputs_and_without_traces_of_a_run(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert "papermill" not in cell.metadata
    assert "papermill" not in nbformat.read(path, as_version=4).metadata


def test_it_asks_for_the_kernel_every_environment_has(path: Path) -> None:
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


def test_it_begins_with_a_title_that_says_what_it_is_for(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_its_parameters_are_annotated_literals_with_a_comment_each(path: Path) -> None:
    cell = parameters_cell(path)
    tree = ast.parse(cell.source)
    assert len(tree.body) == len(cell.source.splitlines())
    for node, line in zip(tree.body, cell.source.splitlines(), strict=True):
        assert isinstance(node, ast.AnnAssign), line
        assert node.value is not None, line
        ast.literal_eval(node.value)
        assert line.partition("  # ")[2], line


def test_its_code_is_short_calls(path: Path) -> None:
    for cell in cells(path, "code"):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        assert len(cell.source.splitlines()) <= MAX_CELL_LINES, cell.source
        logic = [type(n).__name__ for n in ast.walk(ast.parse(cell.source)) if isinstance(n, LOGIC)]
        assert logic == [], cell.source
