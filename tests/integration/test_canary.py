"""Secrets of the environment, of config/ and of parameters are in no file that perfkit writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from canary import CANARIES, Campaigns

from perfkit.runs.folder import list_runs

pytestmark = pytest.mark.slow


def test_no_canary_sings_and_what_a_run_writes_is_its_owners_alone(tmp_path: Path) -> None:
    campaigns = Campaigns.copied_to(tmp_path)
    status = campaigns.all()
    assert status["good"] == 0, campaigns.said("good")[-2000:]
    assert "exit status 7" in campaigns.said("failing")
    assert "looks like a secret" in campaigns.said("parameter")
    assert "'***'" in campaigns.said("config")
    assert {name: bool(code) for name, code in status.items()} == {
        "good": False,
        "failing": True,
        "parameter": True,
        "config": True,
    }
    runs = list_runs(tmp_path / "runs")
    assert len(runs) == 2  # what was refused made none
    assert (runs[0].report_dir / "index.html").is_file()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) > 60
    assert list(campaigns.songs()) == []
    assert campaigns.open_modes() == []


def test_a_canary_would_be_heard(tmp_path: Path) -> None:
    campaigns = Campaigns(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "page.html").write_text(f"<p>{CANARIES['DATABASE_PASSWORD']}</p>")
    assert len(list(campaigns.songs())) == 1
    (tmp_path / "runs" / "page.html").chmod(0o644)
    assert campaigns.open_modes() == ["page.html: 644"]
