"""The levels of a campaign as people, shells, papermill and manifests write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_project import make_small_project

from perfkit.errors import ConfigError
from perfkit.runs.design import PlannedBlock
from perfkit.settings import levels
from perfkit.settings import parameters as settings
from perfkit.settings.levels import Budget
from perfkit.settings.parameters import Parameters

counts_lists = st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_small_project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (100, (100,)),
        ("100", (100,)),
        ("1,2,5", (1, 2, 5)),
        ("1, 2 , 5", (1, 2, 5)),
        ("5,1", (5, 1)),
        ("10..100:10", tuple(range(10, 101, 10))),
        ("1..4", (1, 2, 3, 4)),
        ("1,2,10..30:10,1000", (1, 2, 10, 20, 30, 1000)),
        ([1, 2, 5], (1, 2, 5)),
        (["1,2", 5, "10..11"], (1, 2, 5, 10, 11)),
        ((7,), (7,)),
        (range(1, 4), (1, 2, 3)),
    ],
)
def test_counts_are_taken_in_every_form_they_come_in(value: object, meant: tuple[int, ...]) -> None:
    assert levels.parse_counts(value) == meant


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "a whole number"),
        ([], "names no count"),
        ("1,,2", "a whole number"),
        ("1,2,", "a whole number"),
        ("1,ten", "a whole number"),
        ("1;2", "a whole number"),
        ("1 2", "a whole number"),
        ("1,0,5", "0: input should be greater"),
        ("1,-2", "-2: input should be greater"),
        ("1,4001", "4001: input should be less"),
        ("1,2,1", "count 1 is there twice"),
        ("1..3,2", "count 2 is there twice"),
        ([1, 2.5], "a whole number"),
        ([1, True], "a whole number"),
        ("10..10", "goes nowhere"),
        ("10..1", "goes nowhere"),
        ("10..100:0", "goes nowhere"),
        ("100..10:-10", "goes nowhere"),
        ("0..10:5", "0: input should be greater"),
        ("1..100:10", "end at 91, not at 100; write 1..91:10, and ,100 behind it"),
        ("1..1000000000", "1000000000: input should be less"),
        ("1..2..3", "a whole number"),
        ("..5", "a whole number"),
        ({"n": 1}, "a whole number"),
        (None, "a whole number"),
    ],
)
def test_what_is_no_list_of_counts_is_refused_with_the_item(value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        levels.parse_counts(value)


@given(counts_lists)
def test_counts_read_back_as_they_are_kept(counts: list[int]) -> None:
    kept = json.loads(json.dumps(levels.format_counts(counts)))
    assert levels.parse_counts(kept) == tuple(counts)
    assert isinstance(kept, int) is (len(counts) == 1)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.,: -]{1,12}", fullmatch=True))
def test_any_text_is_counts_within_the_limits_or_refused(text: str) -> None:
    try:
        counts = levels.parse_counts(text)
    except ValueError:
        return
    assert counts
    assert len(set(counts)) == len(counts)
    assert all(1 <= count <= levels.MAX_CLIENTS for count in counts)


@given(st.integers(1, 900), st.integers(1, 100), st.integers(1, 50))
def test_a_range_has_both_its_ends(low: int, steps: int, step: int) -> None:
    high = low + steps * step
    if high <= levels.MAX_CLIENTS:
        counts = levels.parse_counts(f"{low}..{high}:{step}")
        assert (counts[0], counts[-1], len(counts)) == (low, high, steps + 1)


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("", None),
        (None, None),
        (0.05, 0.05),
        ("0.05", 0.05),
        ("5%", 0.05),
        ("5 %", 0.05),
        ("50%", 0.5),
    ],
)
def test_a_precision_is_a_share_or_percent(value: object, share: float | None) -> None:
    assert levels.parse_precision(value) == pytest.approx(share)


@pytest.mark.parametrize(
    "value",
    [0, 0.0, "0", "0%", "200%", 2, "2", 1, 5, -0.05, "-5%", "51%", "five", "5%%", "%", True, "nan"],
)
def test_a_precision_that_no_interval_should_have_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"write 5% or 0.05|a number is needed"):
        levels.parse_precision(value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("", Budget()),
        (None, Budget()),
        ("60min", Budget(minutes=60)),
        ("2.5 min", Budget(minutes=2.5)),
        ("20usd", Budget(usd=20)),
        ("20USD,60min", Budget(minutes=60, usd=20)),
        (Budget(usd=1), Budget(usd=1)),
    ],
)
def test_a_budget_is_minutes_or_dollars_with_the_unit(value: object, meant: Budget) -> None:
    assert levels.parse_budget(value) == meant
    assert levels.parse_budget(str(meant)) == meant


@pytest.mark.parametrize(
    "value",
    [60, "60", "60h", "0min", "-5min", "min", "60min,30min", "1_0min", "60min20usd", "..min"],
)
def test_a_budget_without_a_unit_or_an_amount_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"60min|plain digits"):
        levels.parse_budget(value)


@pytest.mark.parametrize("value", ["", "a,", "a,A", "a,a", "a b", [], 5.5])
def test_names_of_variants_are_refused_before_anything_reads_them(value: object) -> None:
    with pytest.raises(ValueError, match=r"no name|twice|names no variant"):
        levels.parse_names(value)


def test_one_count_is_an_int_in_the_manifest_and_a_list_a_text(project: Path) -> None:
    assert settings.load({"clients": "100"}).to_dict()["clients"] == 100
    kept = settings.load(
        {"clients": [1, 5], "variants": "base,new", "precision": "5%", "budget": "60min"}
    ).to_dict()
    wanted = {"clients": "1,5", "variants": "base,new", "precision": 0.05, "budget": "60min"}
    assert {name: kept[name] for name in wanted} == wanted
    again = settings.load({**json.loads(json.dumps(kept)), "config_dir": ""})
    assert again.parameters.clients == (1, 5)
    assert again.parameters.precision == 0.05


@pytest.mark.parametrize(
    ("given_", "repetitions", "is_campaign"),
    [
        ({}, 1, False),
        ({"clients": 100}, 1, False),
        ({"repetitions": 1}, 1, False),
        ({"repetitions": 2}, 2, True),
        ({"clients": "1,2"}, 3, True),
        ({"variants": "base,new"}, 3, True),
        ({"variants": "new"}, 1, True),
        ({"clients": "1,2", "repetitions": 1}, 1, True),
        ({"precision": "5%"}, None, True),
    ],
)
def test_one_count_variant_and_repetition_is_a_single_run_and_a_list_is_measured_three_times(
    given_: dict[str, object], repetitions: int | None, is_campaign: bool
) -> None:
    parameters = Parameters.model_validate(given_)
    assert parameters.fixed_repetitions == repetitions
    assert parameters.is_campaign is is_campaign
    assert parameters.most_repetitions == (repetitions or 20)


@pytest.mark.parametrize(
    ("given_", "key", "says"),
    [
        ({"precision": "5%", "repetitions": 5}, "repetitions", "give one of them"),
        ({"precision": "5%", "max_repetitions": 4}, "max_repetitions", "at least 5 repetitions"),
        ({"max_repetitions": 8}, "max_repetitions", "give precision"),
        ({"clients": "1..200", "repetitions": 51}, "clients", "more than 10000 blocks"),
        ({"precision": 0}, "precision", "write 5% or 0.05"),
        ({"precision": "200%"}, "precision", "200 % of the mean"),
        ({"clients": "1,two"}, "clients", "expected: number of clients, 1 to 4000; several"),
        ({"clients": "1,1"}, "clients", "use repetitions"),
        ({"budget": 60}, "budget", "60min, 20usd"),
        ({"variants": "a,a"}, "variants", "there twice"),
        ({"repetitions": -1}, "repetitions", "greater than or equal to 0"),
        ({"repetitions": "two"}, "repetitions", "a whole number"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
    ],
)
def test_bad_levels_are_refused_with_the_parameter_and_a_remedy(
    project: Path, given_: dict[str, object], key: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(given_)
    assert (caught.value.source, caught.value.key) == ("parameters", key)
    assert says in str(caught.value)


def test_a_manifest_of_before_there_were_campaigns_still_opens(project: Path) -> None:
    now = settings.load({"clients": 4}).to_dict()
    new = {"variants", "repetitions", "precision", "max_repetitions", "budget", "seed"}
    before = {name: value for name, value in now.items() if name not in new}
    assert settings.load({**before, "config_dir": ""}).parameters == Parameters(
        clients=4
    ).model_copy(update={"threads": now["threads"], "runs_dir": now["runs_dir"]})


def test_tests_with_a_time_of_their_own_are_refused_where_their_order_is_drawn(
    project: Path,
) -> None:
    conf = "[direct-tcp]\nduration = 10\n\n[tunnel-tcp]\nduration = 10\ntime = 1.5\n"
    (project / "config/tests.conf").write_text(conf)
    with pytest.raises(ConfigError, match=r"\[tunnel-tcp\]: time = 1.5.*drawn.*leave time out"):
        settings.load({"clients": "1,2"})
    assert len(settings.load({"clients": 2}).tests) == 2
    assert len(settings.load({"clients": "1,2", "tests": "tunnel-tcp"}).tests) == 1


def test_the_settings_of_a_block_are_those_of_a_single_run_in_the_drawn_order(
    project: Path,
) -> None:
    campaign = settings.load({"clients": "1,5", "precision": "5%", "max_repetitions": 6})
    block = campaign.for_block(
        PlannedBlock(repetition=2, clients=5, variant="base", tests=("tunnel-tcp", "direct-tcp"))
    )
    assert [test.name for test in block.tests] == ["tunnel-tcp", "direct-tcp"]
    assert block.parameters.most_clients == 5
    assert not block.parameters.is_campaign
    assert block.to_dict()["clients"] == 5
    assert settings.load(block.to_dict()).parameters.clients == (5,)
