"""Every way to be sick, each on a real host of one campaign; the well ones finish all the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sick_hosts import FAULTS, Fault, SickCampaign, campaign

pytestmark = [pytest.mark.root, pytest.mark.slow]

WELL = {fault.name for fault in FAULTS if not fault.says}


@pytest.fixture(scope="module")
def sick(
    needs_root: None, needs_tools: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SickCampaign]:
    needs_tools("sshd", "iperf", "nft", "tc", "setsid", "python3")
    folder = tmp_path_factory.mktemp("sick")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFKIT_HOME", str(folder))
        yield campaign(folder)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_sick_host_is_named_with_its_cause_and_each_well_one_finishes(
    sick: SickCampaign, fault: Fault
) -> None:
    reason, is_done = sick.reason(fault.name), sick.names[fault.name] in sick.done
    if fault.says:
        assert re.match(fault.says, reason)
        assert not is_done
    else:
        assert (reason, is_done) == ("", True)


def test_what_the_phases_return_says_the_same(sick: SickCampaign) -> None:
    assert sick.measured is not None
    well = {sick.names[name] for name in WELL} | {"server"}
    assert {result.host for result in sick.measured.ok} == well == sick.done
    (failed,) = [r for r in sick.measured.failed if r.host == sick.names["dies in a test"]]
    assert re.match("LostError|UnreachableError", failed.reason)


def test_the_report_counts_the_well_and_names_the_sick(sick: SickCampaign) -> None:
    assert sick.report is not None
    (test,) = sick.report.summary.tests.to_dict("records")
    assert test["clients_expected"] == len(FAULTS)
    assert test["clients_failed"] == len(FAULTS) - len(WELL)
    clients = sick.report.summary.clients.set_index("host")
    assert set(clients.index[clients["ok"]]) == {sick.names[name] for name in WELL}
    for fault in FAULTS:
        if fault.says:
            assert clients.loc[sick.names[fault.name], "reason"]


def test_what_a_client_sent_before_it_died_is_not_in_the_means(sick: SickCampaign) -> None:
    assert sick.report is not None
    traffic = sick.report.logs.traffic
    died = traffic[traffic["host"] == sick.names["dies in a test"]]
    assert died["size_bytes"].sum() > 0  # the server saw it: there was something to leave out
    (test,) = sick.report.summary.tests.to_dict("records")
    counted = sick.report.summary.clients.query("ok")["goodput_bps"]
    assert len(counted) == len(WELL)
    assert test["goodput_bps"] == pytest.approx(counted.sum())


def test_many_sick_hosts_cost_one_timeout_together_and_leave_nothing(sick: SickCampaign) -> None:
    """In the time of the slowest one all others were done: 14 sick hosts, one after the other,
    would have taken the sum."""
    assert sick.elapsed_s["configure"] < 0.5 * sum(sick.host_s.values())
    assert sick.left == []
