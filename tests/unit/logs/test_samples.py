"""Samples that a test's own script prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfkit.errors import ParseError
from perfkit.logs import frames, samples
from perfkit.logs.reader import read_run
from perfkit.model import TestKind
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import HEAD, rows, sampled_run

WHERE = Path("01-a.log")


def test_an_empty_value_is_a_sample_that_did_not_come() -> None:
    text = HEAD + "100.5,rtt_s,0.25,unloaded\n101.5,rtt_s,,loaded, late\n"
    reading = samples.parse(text.encode(), WHERE)
    frame = frames.check(reading.frame, "samples")
    assert frame["quantity"].tolist() == ["rtt_s", "rtt_s"]
    assert frame["value"].iloc[0] == 0.25
    assert np.isnan(frame["value"].iloc[1])
    assert frame["note"].tolist() == ["unloaded", "loaded, late"]
    assert frame["line_no"].tolist() == [2, 3]
    assert (reading.partial, reading.unparsed.count) == (False, 0)


def test_a_row_that_was_cut_is_not_read_as_a_smaller_figure() -> None:
    reading = samples.parse((HEAD + "100.5,rtt_s,0.25,\n101.5,rtt_s,0.0").encode(), WHERE)
    assert reading.frame["value"].tolist() == [0.25]
    assert reading.partial
    assert reading.unparsed.line_nos == (3,)


def test_lines_that_are_no_samples_are_named_and_remarks_are_messages() -> None:
    bad = "# server: refused\nhello\n1,RTT,1,\n1,rtt_s,-1,\n1,rtt_s,1e999,\n0,rtt_s,1,\n9e99,rtt_s,1,\n"
    reading = samples.parse((HEAD + bad).encode(), WHERE)
    assert reading.frame.empty
    frames.check(reading.frame, "samples")
    assert reading.messages == ("server: refused",)
    assert reading.unparsed.line_nos == (3, 4, 5, 6, 7, 8)


def test_a_log_of_samples_needs_its_head() -> None:
    with pytest.raises(ParseError, match="epoch,quantity,value,note expected"):
        samples.parse(b"100.5,rtt_s,0.25,\n", WHERE)


def test_samples_of_a_run_have_their_test_their_host_and_their_time_from_t0(tmp_path: Path) -> None:
    own = {
        "client-001": rows(T0_UTC_S, (6.25, "rtt_s", 0.5, "")),
        "client-002": rows(T0_UTC_S, (7.5, "rtt_s", None, "late")),
    }
    logs = read_run(sampled_run(tmp_path / "run", TestKind.LATENCY, own))
    frames.check(logs.samples, "samples")
    assert logs.samples["host"].tolist() == ["client-001", "client-002"]
    assert logs.samples["slot"].tolist() == ["01-tunnel-probe"] * 2
    assert logs.samples["t_s"].tolist() == pytest.approx([6.25, 7.5], abs=1e-3)
    assert logs.slots[0].kind is TestKind.LATENCY
    assert logs.traffic.empty
