"""A search for capacity as a person asks for it, and what is refused before anything is launched."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project_copy import copy_project

from perfkit.campaign import variant_checks
from perfkit.campaign.design import plan_design
from perfkit.errors import ConfigError
from perfkit.model import CapacityGoal
from perfkit.runs.design import SEARCH_VOID_RULES
from perfkit.settings import capacity, parameters

CONF = """
[tunnel-udp]
kind = udp
duration = 10
path = tunnel

[tunnel-tcp]
duration = 10
path = tunnel

[direct-udp]
kind = udp
duration = 10
server = 192.0.2.1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path, "resources", "config")
    (tmp_path / "config" / "tests.conf").write_text(CONF)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("0.5%", CapacityGoal(loss_ratio=0.005)),
        ("loss=0.5%", CapacityGoal(loss_ratio=0.005)),
        ("loss 0%, width 2 %", CapacityGoal(loss_ratio=0.0, width=0.02)),
        (
            "1%, from 10mbit, to 2gbit, trials 5, exceed 20%",
            CapacityGoal(loss_ratio=0.01, from_bps=10e6, to_bps=2e9, trials=5, exceed_ratio=0.2),
        ),
    ],
)
def test_a_goal_is_words_with_their_units(text: str, goal: CapacityGoal) -> None:
    assert capacity.parse_capacity(text) == goal


@given(
    loss=st.integers(0, 2000),
    width=st.integers(50, 5000),
    exceed=st.integers(0, 50),
    trials=st.integers(1, 20),
    low=st.integers(8, 1000),
    high=st.integers(1001, 9_999_999),
)
def test_a_goal_is_read_back_as_it_was_written(
    loss: int, width: int, exceed: int, trials: int, low: int, high: int
) -> None:
    goal = CapacityGoal(
        loss_ratio=loss / 1e4, width=width / 1e4, exceed_ratio=exceed / 100, trials=trials,
        from_bps=low * 1e3, to_bps=high * 1e3,
    )  # fmt: skip
    text = capacity.format_capacity(goal)
    again = capacity.parse_capacity(text)
    assert again is not None
    assert asdict(again) == pytest.approx(asdict(goal), rel=1e-12)
    assert capacity.format_capacity(again) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss 120%", "from 0% to 20%"),
        ("0.5", "with its sign"),
        ("0.005", "with its sign"),
        ("loss 1e-3%", "with its sign"),
        ("-1%", "0.5%"),
        ("width 5%", "no loss is given"),
        ("0.5%, width 0%", "from 0.5% to 50%"),
        ("0.5%, exceed 100%", "from 0% to 50%"),
        ("0.5%, trials 0", "from 1 to 20"),
        ("0.5%, trials 2.5", "trials"),
        ("0.5%, loss 1%", "twice"),
        ("0.5%, to 100MB", "no rate"),
        ("0.5%, from 100mbit, to 50mbit", "a higher one"),
        ("0.5%, until 50mbit", "known are"),
        ("yes", "known are"),
    ],
)
def test_a_goal_that_no_search_has_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="parameters: capacity") as caught:
        parameters.load({"capacity": text})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"tests": "all"}, "about one test"),
        ({"tests": "tunnel-tcp"}, "kind tcp"),
        ({"tests": "direct-udp"}, "does not come home"),
        ({"rate": "1mbit"}, "chooses the rate"),
        ({"rate": "1mbit,2mbit"}, "chooses the rate"),
        ({"precision": "5%"}, "leave precision out"),
        ({"capacity": "1%, width 50%, from 15mbit, to 20mbit"}, "no more than its width"),
        (
            {"clients": 200, "capacity": "1%, to 1mbit, from 100kbit"},
            "with 200 clients the search goes from 1.6mbit",
        ),
    ],
)
def test_what_has_no_search_is_refused_before_launch(
    project: Path, chosen: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters.load({"capacity": "0.5%", "tests": "tunnel-udp"} | chosen)
    assert said in str(caught.value)


def test_a_test_whose_script_reads_no_rate_is_refused(project: Path) -> None:
    script = project / "resources" / "tests" / "tunnel-udp"
    script.unlink()
    script.write_text("#!/bin/sh\nexec iperf -u -c $2\n")
    script.chmod(0o755)
    with pytest.raises(ConfigError, match=r"reads \$PERFKIT_RATE_BPS"):
        parameters.load({"capacity": "0.5%", "tests": "tunnel-udp"})


def test_a_variant_with_a_rate_of_its_own_is_refused(project: Path) -> None:
    (project / "config" / "variants.conf").write_text("[slow]\nrate = 1mbit\n")
    chosen = parameters.load({"capacity": "0.5%", "tests": "tunnel-udp", "variants": "base,slow"})
    with pytest.raises(ConfigError, match=r"variants.conf \[slow\].*chooses the rate"):
        variant_checks.require(chosen, programs_are_here=False)


def test_one_search_is_a_campaign_whose_design_has_its_goal(project: Path) -> None:
    chosen = parameters.load({"capacity": "0.5%, width 2%", "tests": "tunnel-udp", "clients": 20})
    assert chosen.parameters.is_campaign
    plan = plan_design(chosen)
    assert plan.capacity == CapacityGoal(loss_ratio=0.005, width=0.02)
    assert plan.void_rules == SEARCH_VOID_RULES
    assert chosen.to_dict()["capacity"] == "loss 0.5%, width 2%"


def test_a_trial_has_the_rate_of_its_own_and_is_no_search(project: Path) -> None:
    chosen = parameters.load({"capacity": "0.5%", "tests": "tunnel-udp", "clients": 20})
    (planned,) = plan_design(chosen).order[0]
    block = chosen.for_block(planned, 1_234_567.0)
    assert [test.rate_bps for test in block.tests] == [1_234_567.0]
    assert (block.parameters.rate, block.parameters.capacity) == (("1.234567mbit",), None)
    assert not block.parameters.is_campaign
