"""The form and the variables agree, whoever changed what, and also where a value is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from perfkit.widgets.form import Field, Form, Typed, Verdict

FIELDS = (
    Field(name="clients", label="Clients", help="how many", kind="number", whole=True),
    Field(name="minutes", label="Minutes", help="how long", kind="number"),
    Field(name="keep", label="Keep", help="or not", kind="flag"),
    Field(name="name", label="Name", help="what it is called"),
    Field(name="sizes", label="Sizes", help="one or several", whole=True),
)


def check(values: Mapping[str, Any]) -> Verdict:
    wrong = {"clients": "a whole number"} if not isinstance(values["clients"], int) else {}
    return Verdict(errors=wrong, summary=[f"{values['clients']} clients"])


@pytest.fixture
def variables() -> dict[str, Any]:
    return {
        "clients": 10,
        "minutes": 120.0,
        "keep": False,
        "name": "x",
        "sizes": [1, 2],
        "other": 1,
    }


@pytest.fixture
def form(variables: dict[str, Any]) -> Form:
    return Form(FIELDS, variables, check)


def type_in(form: Form, **typed: Typed) -> None:
    """What the front end does: all values, one of them new."""
    form.values = {**form.values, **typed}


def test_a_new_form_shows_the_variables_as_a_person_writes_them(form: Form) -> None:
    shown = {"clients": "10", "minutes": "120", "keep": False, "name": "x", "sizes": "1,2"}
    assert form.values == shown
    assert form.summary == ["10 clients"]


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("clients", "20", 20),
        ("minutes", "2.5", 2.5),
        ("keep", True, True),
        ("name", "y", "y"),
        ("clients", "ten", "ten"),  # wrong, and what uses it shall see that
        ("minutes", "", ""),
        ("clients", "1_0", "1_0"),
        ("clients", "010", "010"),
        ("clients", "1e1", "1e1"),
        ("minutes", "nan", "nan"),
        ("minutes", "+2.5", "+2.5"),
        ("sizes", "20", 20),
        ("sizes", "1,2,5", "1,2,5"),
        ("sizes", "10..100:10", "10..100:10"),
    ],
)
def test_what_is_typed_is_in_the_variable(
    form: Form, variables: dict[str, Any], name: str, typed: Typed, value: object
) -> None:
    type_in(form, **{name: typed})
    assert variables[name] == value
    assert type(variables[name]) is type(value)


def test_nothing_but_what_was_typed_is_written(form: Form, variables: dict[str, Any]) -> None:
    variables["minutes"] = 7.0  # by a cell that has not ended yet
    type_in(form, clients="3")
    assert variables["minutes"] == 7.0
    assert variables["other"] == 1


def test_what_is_wrong_is_said_at_its_field_and_is_gone_when_it_is_right(form: Form) -> None:
    type_in(form, clients="ten")
    assert form.errors == {"clients": "a whole number"}
    type_in(form, clients="11")
    assert form.errors == {}
    assert form.summary == ["11 clients"]


def test_the_form_follows_a_variable_that_a_cell_has_set(
    form: Form, variables: dict[str, Any]
) -> None:
    variables["clients"] = 30
    form.follow()
    assert form.values["clients"] == "30"
    assert form.summary == ["30 clients"]


def test_following_leaves_alone_what_a_person_wrote_in_another_way(
    form: Form, variables: dict[str, Any]
) -> None:
    type_in(form, clients="20", minutes="2.50")
    form.follow()
    assert (form.values["clients"], form.values["minutes"]) == ("20", "2.50")
    assert (variables["clients"], variables["minutes"]) == (20, 2.5)


def test_without_a_front_end_the_form_is_its_values_and_what_is_said_about_them(form: Form) -> None:
    type_in(form, clients="ten")
    assert repr(form).splitlines() == [
        "clients = 'ten'",
        "minutes = 120.0",
        "keep = False",
        "name = 'x'",
        "sizes = '1,2'",
        "clients: a whole number",
        "ten clients",
    ]
