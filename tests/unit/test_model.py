"""The dataclasses: what they derive from themselves, and how they show."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perfkit import model
from perfkit.model import HostResult, Segment, Slot, StageResult, TestSpec, Window

SPEC = TestSpec(name="direct-tcp", script=Path("direct-tcp"), server_script=None, duration_s=10)


def test_every_dataclass_is_frozen_and_takes_keywords_only() -> None:
    classes = [c for _, c in inspect.getmembers(model, dataclasses.is_dataclass)]
    assert len(classes) >= 8
    for kind in classes:
        parameters = kind.__dataclass_params__
        assert parameters.frozen, kind
        assert all(field.kw_only for field in dataclasses.fields(kind)), kind


def test_a_slot_ends_its_duration_after_its_start() -> None:
    slot = Slot(name="01-direct-tcp", test=SPEC, start_s=5.5)
    assert slot.duration_s == 10
    assert slot.end_s == 15.5


def test_a_window_the_wrong_way_round_has_negative_length() -> None:
    assert Window(start_s=4, end_s=1).length_s == -3


def test_a_stage_shows_how_many_made_it_and_names_who_did_not() -> None:
    stage = StageResult(
        stage="configure",
        results=(
            HostResult(host="server", ok=True),
            HostResult(host="client-001", ok=False, reason="PromptError: <y/N>", log=Path("c.log")),
        ),
        elapsed_s=2.34,
    )
    assert [r.host for r in stage.ok] == ["server"]
    assert [r.host for r in stage.failed] == ["client-001"]
    assert str(stage).splitlines() == [
        "configure: 1 of 2 hosts in 2.3 s",
        "  FAILED client-001: PromptError: <y/N>",
    ]
    page = stage._repr_html_()
    assert "&lt;y/N&gt;" in page
    assert "c.log" in page
    assert "<table>" not in StageResult(stage="launch")._repr_html_()


@pytest.mark.parametrize("steady", [None, Window(start_s=1, end_s=9)])
def test_a_segment_is_written_as_plain_json_values(steady: Window | None) -> None:
    segment = Segment(
        slot="01-direct-tcp",
        test="direct-tcp",
        outer=Window(start_s=0, end_s=10),
        steady=steady,
        chosen_by="events",
        chosen_utc=datetime(2030, 1, 2, tzinfo=UTC),
        notes=("two clients missing",),
    )
    written = segment.to_dict()
    assert written["outer_s"] == [0, 10]
    assert written["steady_s"] == ([1, 9] if steady else None)
    assert written["chosen_utc"] == "2030-01-02T00:00:00+00:00"
    assert written["notes"] == ["two clients missing"]
