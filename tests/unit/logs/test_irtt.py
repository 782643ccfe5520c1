"""irtt's client: round trips by phase, and what did not come back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from perfkit.errors import ParseError
from perfkit.logs import frames, irtt
from perfkit.logs.format import Reading

DATA = Path(__file__).parents[2] / "data" / "irtt"


def read(name: str) -> Reading:
    reading = irtt.parse((DATA / name).read_bytes(), Path(name))
    frames.check(reading.frame, "samples")
    return reading


def test_the_packets_irtt_counted_as_lost_are_samples_without_a_value() -> None:
    said = re.search(rb"packets sent/received: (\d+)/(\d+) ", (DATA / "lossy.txt").read_bytes())
    assert said is not None
    sent, received = map(int, said.groups())
    rtt = read("lossy.txt").frame["value"]
    assert len(rtt) == sent
    assert rtt.isna().sum() == sent - received > 2
    assert rtt.dropna().between(1e-6, 1).all()


def test_each_phase_of_a_latency_test_has_its_note_its_times_and_the_load() -> None:
    frame = read("latency.txt").frame
    trips = frame[frame["quantity"] == "rtt_s"]
    assert list(trips["note"].unique()) == ["unloaded", "ramp", "loaded"]
    # From a second after the load's begin to a second before its end, 20 a second.
    assert (trips["note"] == "loaded").sum() == pytest.approx(40, abs=2)
    apart = trips["t_utc"].diff().dropna().dt.total_seconds().to_numpy()
    assert apart == pytest.approx(np.full(len(trips) - 1, 0.05), abs=1e-5)
    (load,) = frame.loc[frame["quantity"] == "load_bps", "value"]
    assert load > 1e6


def test_a_server_that_refuses_is_what_irtt_said_and_no_sample() -> None:
    reading = read("refused.txt")
    assert reading.frame.empty
    assert "connection refused" in reading.messages[0]


def test_a_run_that_was_killed_is_partial_and_its_round_trips_are_kept() -> None:
    reading = read("killed.txt")
    assert reading.partial
    assert reading.frame["value"].notna().sum() > 10


def test_a_packet_that_came_twice_is_one_round_trip() -> None:
    text = (
        b"[Connecting] connecting to 10.0.0.1:1\nseq=0 rtt=1.5ms rd=1ms sd=1ms ipdv=n/a\n"
        b"seq=0 rtt=9.5ms rd=1ms sd=1ms ipdv=n/a\nseq=1 rtt=1m2.5s rd=1ms sd=1ms ipdv=n/a\n"
        b"   packets sent/received: 3/2 (33.33% loss)\n"
    )
    reading = irtt.parse(text, Path("a.log"))
    assert reading.frame["value"].fillna(-1).tolist() == pytest.approx([0.0015, 62.5, -1])
    assert reading.frame["t_utc"].isna().all()
    assert reading.unparsed.count == 0


def test_text_of_another_program_is_none_of_irtts() -> None:
    with pytest.raises(ParseError, match="no output of irtt"):
        irtt.parse(b"hello\nworld\n", Path("a.log"))


def trips(*numbers: int) -> str:
    return "[Connecting] connecting to 10.0.0.1:1\n" + "".join(
        f"seq={number} rtt=1ms rd=1ms sd=1ms ipdv=n/a\n" for number in numbers
    )


@pytest.mark.parametrize(
    "text",
    [
        trips(*range(0, 5_000_000, 500_000)),
        trips(0, 500_000) + trips(0, 500_000) + trips(0, 500_000),
        "".join(f"{trips(0)} packets sent/received: 900000/1 (99%)\n" for _ in range(3)),
    ],
    ids=["in one run", "over runs", "by irtt's own counts"],
)
def test_a_log_never_makes_more_lost_packets_than_a_bound_whatever_its_numbers(text: str) -> None:
    reading = irtt.parse(text.encode(), Path("a.log"))
    assert reading.frame["value"].isna().sum() <= irtt._MOST_LOST  # private: the bound itself
    assert reading.unparsed.count > 0
