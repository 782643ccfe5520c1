"""What clients offered, and who could not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis import offered
from perfkit.analysis.checks import nic_findings
from perfkit.campaign import void_rules
from perfkit.logs.run_logs import SlotPlan
from perfkit.model import NetworkPath, TestKind
from perfkit.runs.design import VOID_RULES


def slot(rate_bps: float | None) -> SlotPlan:
    return SlotPlan(
        name="01-a", test="a", start_s=0, duration_s=10, path=NetworkPath.DIRECT,
        kind=TestKind.UDP, rate_bps=rate_bps,
    )  # fmt: skip


def sent(protocol: str = "udp", **bps: float) -> pd.DataFrame:
    """A summary of ten seconds of each client, and of the server's report in its log."""
    rows = [
        {
            "side": side, "protocol": protocol, "kind": "summary", "host": host, "log_host": host,
            "start_s": 0.0, "end_s": 10.0, "size_bytes": rate * 10 / 8 * share,
        }
        for host, rate in bps.items()
        for side, share in (("sender", 1.0), ("receiver", 0.5))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_offered_is_what_udp_clients_sent_whatever_arrived() -> None:
    assert offered.offered_bps(slot(None), sent(a=1e6, b=3e6), ["a", "b"]) == pytest.approx(4e6)
    assert offered.offered_bps(slot(None), sent(a=1e6, b=3e6), ["a"]) == pytest.approx(1e6)


def test_what_one_client_sent_is_not_the_offer_of_two() -> None:
    assert np.isnan(offered.offered_bps(slot(1e6), sent(a=1e6), ["a", "b"]))


def test_tcp_at_a_rate_offers_that_rate_and_without_one_nothing_is_known() -> None:
    assert offered.offered_bps(slot(2e5), sent("tcp", a=1e5, b=2e5), ["a", "b"]) == 4e5
    assert np.isnan(offered.offered_bps(slot(None), sent("tcp", a=1e5), ["a"]))


def test_a_generator_that_offers_under_95_percent_of_its_rate_is_named() -> None:
    placed = sent(slow=0.94e6, fine=0.96e6)
    why = offered.why_short(slot(1e6), placed, ["slow", "fine"])
    assert why.startswith(
        "1 of 2 clients offered less than 95% of the 1.0 Mbit/s asked of each (slow "
    )
    assert "fine" not in why
    assert offered.why_short(slot(1e6), placed, ["fine"]) == ""
    assert offered.why_short(slot(None), placed, ["slow"]) == ""


def test_such_a_test_makes_its_block_void_by_a_rule_of_the_design() -> None:
    class Logs:
        slots = (slot(1e6),)
        traffic = sent(slow=0.5e6).assign(slot="01-a")

    found = pd.DataFrame({"slot": ["01-a"], "host": ["slow"], "ok": [True]})
    assert "offered-load" in VOID_RULES
    rule = void_rules._RULES["offered-load"]  # private: one rule by itself
    (why,) = rule(None, Logs(), found)  # type: ignore[arg-type] # only what the rule looks at
    assert why.startswith("01-a: 1 of 1 clients offered less")


def test_headers_of_small_datagrams_are_no_surplus_on_the_interface() -> None:
    assert nic_findings("01-a", 2.5, np.nan, 0.0, payload_bytes=64.0) == []
    assert nic_findings("01-a", 2.5, np.nan, 0.0, payload_bytes=1372.0) != []


def test_what_a_stream_without_a_length_offered_is_unknown_and_named() -> None:
    placed = sent(a=1e6, b=3e6)
    placed.loc[placed["host"] == "b", "end_s"] = 0.0
    assert np.isnan(offered.offered_bps(slot(None), placed, ["a", "b"]))
    why = offered.why_short(slot(1e6), placed, ["a", "b"])
    assert why.startswith("it is not known what 1 of 2 clients offered (b)")
    assert offered.why_short(slot(1e6), placed, ["a"]) == ""


def test_one_of_two_streams_without_a_length_leaves_the_clients_offer_unknown() -> None:
    placed = pd.concat([sent(a=1e6), sent(a=1e6).assign(end_s=0.0)], ignore_index=True)
    assert np.isnan(offered.offered_bps(slot(None), placed, ["a"]))
