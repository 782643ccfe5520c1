"""How a notebook's parameters reach the phases: nothing mistyped passes as a default."""

from __future__ import annotations

import pytest

from perfkit.errors import ConfigError
from perfkit.notebook import parameters
from perfkit.settings.parameters import Parameters

CELL = 'clients: int = 10  # how many\nname: str = "x"  # what it is called'


def test_only_parameters_are_taken_out_of_a_notebooks_names() -> None:
    names = {"clients": 5, "name": "demo", "tests": "a", "In": ["", CELL], "notebook": parameters}
    assert parameters.parameters(names) == {"clients": 5, "name": "demo"}


def test_a_parameter_of_another_notebook_is_refused_because_it_would_do_nothing() -> None:
    injected = "# Parameters\nquorum = 1\n"
    with pytest.raises(ConfigError, match=r"quorum.*known are: clients, name"):
        parameters.parameters({"clients": 5, "name": "x", "In": ["", CELL, injected]})


def test_what_papermill_injected_under_a_mistyped_name_is_refused_with_the_right_one() -> None:
    injected = "# Parameters\nclient = 5\n"
    with pytest.raises(ConfigError, match=r"client = '5'.*did you mean 'clients'"):
        parameters.parameters({"clients": 10, "client": 5, "In": ["", "clients = 10", injected]})


def test_parameters_papermill_injected_under_their_names_pass() -> None:
    injected = "# Parameters\nclients = 5\nname = 'x'\n"
    names = {"clients": 5, "name": "x", "In": ["", injected]}
    assert parameters.parameters(names) == {"clients": 5, "name": "x"}


def test_a_cell_of_a_person_that_assigns_other_names_is_none_of_ours() -> None:
    assert parameters.parameters({"clients": 3, "In": ["# my notes\nclient = 5"]}) == {"clients": 3}


def test_outside_a_notebook_all_names_may_be_given() -> None:
    names = {name: field.default for name, field in Parameters.model_fields.items()}
    assert parameters.parameters(names) == names


@pytest.mark.parametrize(("given", "value"), [("no", False), ("yes", True), (True, True)])
def test_a_flag_that_papermill_passed_as_text_is_a_flag(
    given: object, value: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"keep_fleet": given, "In": ["", "keep_fleet: bool = False  # leave them"]}
    assert parameters.form(names) is None  # nobody watches
    assert names["keep_fleet"] is value
    assert capsys.readouterr().out == f"keep_fleet = {value}\n"


def test_a_flag_that_is_neither_yes_nor_no_is_refused() -> None:
    names = {"keep_fleet": "maybe", "In": ["", "keep_fleet: bool = False  # leave them"]}
    with pytest.raises(ConfigError, match="keep_fleet = 'maybe'"):
        parameters.form(names)
