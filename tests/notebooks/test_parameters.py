"""The campaign notebook, `Parameters` and the command line declare the same things."""

import ast
from pathlib import Path

import nbformat
import papermill
from click.testing import CliRunner

from perfkit import cli
from perfkit.settings import Parameters

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "campaign.ipynb"


def declared() -> dict[str, tuple[str, object, str]]:
    """Name -> annotation, default, comment, as written in the parameters cell."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    found = {}
    for node, line in zip(ast.parse(cell.source).body, cell.source.splitlines(), strict=True):
        assert isinstance(node, ast.AnnAssign)
        assert isinstance(node.target, ast.Name)
        assert node.value is not None
        comment = line.partition("#")[2].strip()
        found[node.target.id] = (
            ast.unparse(node.annotation),
            ast.literal_eval(node.value),
            comment,
        )
    return found


def test_the_notebook_declares_every_parameter_with_the_same_default_and_text() -> None:
    fields = Parameters.model_fields
    assert list(declared()) == list(fields)
    for name, (_annotation, default, comment) in declared().items():
        assert default == fields[name].default, name
        assert comment == fields[name].description, name


def test_papermill_lists_every_parameter_with_its_help() -> None:
    listed = papermill.inspect_notebook(str(NOTEBOOK))
    assert {name: entry["help"] for name, entry in listed.items()} == {
        name: comment for name, (_annotation, _default, comment) in declared().items()
    }


def test_the_command_line_has_an_option_for_every_parameter() -> None:
    text = CliRunner().invoke(cli.main, ["run", "--help"]).output
    for name in Parameters.model_fields:
        assert f"--{name.replace('_', '-')}" in text
