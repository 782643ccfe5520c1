"""What a notebook's form offers, and what it says about the values in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perfkit.notebook.fields import check, fields_for
from perfkit.runs import folder
from perfkit.settings.parameters import Parameters
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

DEFAULTS = {name: field.default for name, field in Parameters.model_fields.items()}


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same everywhere, whoever runs the tests."""
    monkeypatch.setitem(DEFAULTS, "isolation", "loopback")


def kinds(values: dict[str, Any]) -> dict[str, str]:
    return {field.name: field.kind for field in fields_for(values, {})}


def test_what_most_people_change_comes_first_and_the_rest_on_demand() -> None:
    fields = fields_for(DEFAULTS, {})
    plain = [field.name for field in fields if not field.advanced]
    assert plain == ["provider", "clients", "repetitions", "tests", "vpn", "duration_s", "name"]
    assert {field.name for field in fields} == set(DEFAULTS)


def test_a_few_parameters_are_all_shown() -> None:
    assert not any(f.advanced for f in fields_for({"run": "latest", "runs_dir": ""}, {}))


def test_each_parameter_has_the_field_its_type_asks_for() -> None:
    found = kinds({**DEFAULTS, "duration_s": 5})  # as papermill reads -p duration_s 5
    assert found["repetitions"] == found["duration_s"] == "number"
    assert found["clients"] == found["precision"] == "text"  # 100, and also 1,2,5
    assert found["provider"] == found["starter"] == "choice"
    assert found["tests"] == "many"
    assert found["keep_fleet"] == "flag"
    assert found["name"] == "text"
    whole = {field.name for field in fields_for({**DEFAULTS, "duration_s": 5}, {}) if field.whole}
    assert whole == {"clients", "per_machine", "repetitions", "max_repetitions", "seed", "threads"}


def test_the_tests_of_tests_conf_and_the_known_providers_are_offered() -> None:
    choices = {field.name: dict(field.choices) for field in fields_for(DEFAULTS, {})}
    assert choices["tests"]["tunnel-tcp"] == "tunnel-tcp: 30 s, tunnel"
    assert choices["tests"]["idle"] == "idle: 60 s, tunnel"
    (all_of,) = (field.all_of for field in fields_for(DEFAULTS, {}) if field.name == "tests")
    assert all_of == ("direct-tcp", "tunnel-tcp")
    assert "local" in choices["provider"]
    assert list(choices["on_shortfall"]) == ["fail", "quorum", "go"]


def test_the_comment_of_the_cell_is_the_help_and_the_unit_is_in_the_label() -> None:
    comments = {"duration_s": "how long"}
    first, second = fields_for({"duration_s": 1.0, "expires_min": 1.0}, comments)
    assert (first.label, first.help) == ("Duration (s)", "how long")
    assert second.help == Parameters.model_fields["expires_min"].description
    assert second.label == "Expires (min)"


def test_what_a_run_takes_is_said_before_it_is_launched() -> None:
    verdict = check({**DEFAULTS, "clients": 3, "tests": "direct-tcp"})
    assert verdict.errors == {}
    assert verdict.summary[0] == (
        "3 clients and 1 server at local: about 39 s in all, of which the tests take 30.0 s; "
        "costs nothing; hosts end by themselves after 2 h 00 min"
    )


def test_what_a_campaign_takes_and_could_show_is_said_before_it_is_launched() -> None:
    verdict = check({**DEFAULTS, "clients": "1,2,5", "repetitions": 5, "tests": "direct-tcp"})
    assert verdict.errors == {}
    assert verdict.summary[0].startswith("5 clients and 1 server at local: hosts end by themselves")
    blocks, outlook, *_ = verdict.notices
    assert blocks.startswith("3 cells, 5 repetitions, 15 blocks: about ")
    assert "show a change of 11 % in 8 of 10 cases" in outlook or "as in " in outlook


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"precision": "5%", "repetitions": 5}, "repetitions"),
        ({"precision": "200%"}, "precision"),
        ({"clients": "1,2", "budget": "0.5min"}, "budget"),
        ({"clients": "1,2", "budget": 60}, "budget"),
        ({"clients": "1,1"}, "clients"),
    ],
)
def test_levels_that_cannot_be_are_said_at_their_field(given: dict[str, Any], field: str) -> None:
    assert list(check({**DEFAULTS, "tests": "direct-tcp", **given}).errors) == [field]


def test_variants_of_the_file_are_suggested_alone_and_beside_base(tmp_path: Path) -> None:
    (tmp_path / "variants.conf").write_text("[fast]\ncontrol = yes\n")
    (field,) = fields_for({"variants": "base", "config_dir": str(tmp_path)}, {})[:1]
    assert [value for value, _ in field.choices] == ["base", "fast", "base,fast"]


def test_a_campaign_is_described_with_its_blocks(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "c", clients=(1, 5), repetitions=2, void=(1, 2), duration_s=3, is_reduced=False
    )
    (line,) = check({"run": str(run.root)}).summary
    assert line.startswith("Campaign c: 1,5 clients at synthetic, made ")
    assert line.endswith("; 4 of 4 blocks; files only, no hosts.")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("clients", 5000, "less than or equal to 4000"),
        ("clients", "ten", "expected: number of clients, 1 to 4000"),
        ("name", "My Run", "lower-case letters"),
        ("tests", "tunel-tcp", "did you mean 'tunnel-tcp'?"),
        ("tests", "", "names no test"),
        ("provider", "lokal", "did you mean 'local'?"),
        ("config_dir", "/nowhere", "no such folder"),
        ("tests", "tunnel-tcp", "needs a tunnel"),
    ],
)
def test_a_wrong_value_is_said_at_its_field_with_what_is_allowed(
    name: str, value: object, says: str
) -> None:
    verdict = check({**DEFAULTS, name: value})
    assert list(verdict.errors) == [name]
    assert says in verdict.errors[name]


def test_every_wrong_field_says_so_at_once() -> None:
    assert set(check({**DEFAULTS, "clients": 0, "quorum": 7}).errors) == {"clients", "quorum"}


def test_hosts_that_would_end_before_the_tests_are_a_warning() -> None:
    verdict = check({**DEFAULTS, "duration_s": 600, "expires_min": 5})
    assert "The hosts would end before the tests do: raise expires_min." in verdict.summary


def test_a_run_is_described_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "20260101T000000Z-a", clients=2)
    here = {"runs_dir": str(tmp_path)}
    (line,) = check({"run": "latest", **here}).summary
    assert line == (
        f"Run {run.id}: 2 clients at synthetic, made 2026-11-22 12:19 UTC; files only, no hosts."
    )
    assert "no run 'b'" in check({"run": "b", **here}).errors["run"]
    (field, _) = fields_for({"run": "latest", **here}, {})
    assert [value for value, _ in field.choices] == ["latest", run.id]
    assert folder.list_runs(tmp_path) == [run]
