"""The notebooks, `Parameters` and the command line declare the same things."""

import ast
from pathlib import Path

import nbformat
import papermill
import pytest
from click.testing import CliRunner
from papermill import cli as papermill_cli

from perfkit.cli import app
from perfkit.settings import parameters as settings
from perfkit.settings.parameters import Parameters

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def declared(notebook_name: str = "campaign") -> dict[str, tuple[str, object, str]]:
    """Name -> annotation, default, comment, as written in the parameters cell."""
    notebook = nbformat.read(NOTEBOOKS / f"{notebook_name}.ipynb", as_version=4)
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
    listed = papermill.inspect_notebook(str(NOTEBOOKS / "campaign.ipynb"))
    assert {name: entry["help"] for name, entry in listed.items()} == {
        name: comment for name, (_annotation, _default, comment) in declared().items()
    }


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ({"clients": "100"}, {"clients": 100}),
        ({"clients": "1,2,5,10..30:10"}, {"clients": "1,2,5,10,20,30"}),
        ({"clients": "1,2", "repetitions": "3"}, {"repetitions": 3}),
        ({"clients": "1,2", "precision": "0.05"}, {"precision": 0.05}),
        ({"clients": "1,2", "precision": "5%"}, {"precision": 0.05}),
        ({"precision": "5%", "max_repetitions": "8"}, {"max_repetitions": 8}),
        ({"variants": "base,chacha"}, {"variants": "base,chacha"}),
        ({"clients": "1,2", "budget": "60min"}, {"budget": "60min"}),
        ({"clients": "1,2", "seed": "7"}, {"seed": 7}),
    ],
)
def test_what_is_typed_behind_p_means_the_same_by_papermill_and_by_the_shell(
    typed: dict[str, str], meant: dict[str, object]
) -> None:
    # private: what papermill makes of a text behind -p is nowhere else
    by_papermill = {name: papermill_cli._resolve_type(text) for name, text in typed.items()}
    for given in (typed, by_papermill):
        kept = settings.load(given).to_dict()
        assert {name: kept[name] for name in meant} == meant


def test_the_command_line_has_an_option_for_every_parameter() -> None:
    text = CliRunner().invoke(app.main, ["run", "--help"]).output
    for name in Parameters.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_launch_declares_what_the_campaign_does_but_what_becomes_of_the_hosts() -> None:
    campaign, launch = declared(), declared("01_launch")
    assert campaign.keys() - launch.keys() == {"keep_fleet"}
    assert launch == {name: campaign[name] for name in launch}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("0*.ipynb")), ids=lambda path: path.stem)
def test_a_parameter_means_the_same_in_every_notebook(path: Path) -> None:
    campaign = declared()
    own = {"against", "baseline", "save_as"} if path.stem == "07_compare" else set()
    for name, (annotation, default, comment) in declared(path.stem).items():
        if name in own:
            continue
        assert annotation == campaign[name][0], name
        if name != "run":  # in a phase after the first: which one
            assert (default, comment) == campaign[name][1:], name


@pytest.mark.parametrize("number", range(2, 8))
def test_each_phase_after_the_first_takes_the_latest_run_unless_told(number: int) -> None:
    (path,) = NOTEBOOKS.glob(f"{number:02d}_*.ipynb")
    annotation, default, comment = declared(path.stem)["run"]
    assert (annotation, default) == ("str", "latest")
    assert comment == "the run: latest, or its id, name or folder"
