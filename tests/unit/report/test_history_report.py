from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis.answers import frame
from perfkit.report.history import compose
from perfkit.runs import campaign_folder, design
from perfkit.runs.design import Design
from perfkit.runs.folder import Run, write_json

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def campaign(runs: Path, number: int, mbps: float, clients: tuple[int, ...] = (10,)) -> Run:
    """A campaign's cells alone: two repetitions of a tunnel test at each count."""
    created = FIRST + timedelta(days=number)
    run = Run(runs / f"{created:%Y%m%dT%H%M%SZ}-c{number}-abc123")
    run.root.mkdir(parents=True)
    order = design.draw(
        1, clients=clients, variants=("base",), tests=("tunnel-tcp",), repetitions=2
    )
    design.save(
        Design(
            name=f"c{number}", created_utc=created.isoformat(), seed=1, clients=clients,
            variants=("base",), tests=("tunnel-tcp",), repetitions=2, precision=None,
            max_repetitions=2, order=order,
        ),
        run,
    )  # fmt: skip
    chance = np.random.default_rng(number)
    rows = [
        {
            "block": block, "repetition": block, "clients": n, "variant": "base",
            "test": "tunnel-tcp", "path": "tunnel", "position": 1,
            "goodput_bps": mbps * 1e6 * float(chance.lognormal(0, 0.01)), "vpn_cpu_s_per_gbit": 3.0,
        }
        for block in (1, 2)
        for n in clients
    ]  # fmt: skip
    frame.save(frame.cells_frame(rows), campaign_folder.cells_path(run))
    parameters = {"provider": "synthetic", "clients": ",".join(map(str, clients))}
    write_json(run.manifest_path, {"format": 1, "parameters": parameters})
    return run


def test_a_change_over_campaigns_is_named_with_its_size_and_the_campaign(tmp_path: Path) -> None:
    rates = [300.0] * 6 + [240.0] * 6
    runs = [campaign(tmp_path, number, rate) for number, rate in enumerate(rates)]
    report = compose(runs[-1], tmp_path)
    (sentence,) = report.sentences
    said = re.fullmatch(
        r"goodput of tunnel-tcp at 10 clients changed by (-\d+\.\d) % with (\S+) \(p 0\.0\d\d\)\.",
        sentence,
    )
    assert said is not None
    assert float(said[1]) == pytest.approx(-20, abs=1.5)
    assert said[2] == runs[6].id
    assert [plot.name for plot in report.plots] == [
        "history-goodput-bps",
        "history-vpn-cpu-s-per-gbit",
    ]
    assert report.table.to_frame()["since"].tolist() == [runs[6].id, "no change"]
    assert sentence in report.text(300)


def test_without_a_change_it_says_so_and_few_campaigns_say_from_when_on(tmp_path: Path) -> None:
    runs = [campaign(tmp_path, number, 300.0) for number in range(7)]
    assert compose(runs[0], tmp_path).sentences == ["No change of 5% or more in 7 campaigns."]
    alone = campaign(tmp_path / "other", 1, 300.0)
    assert compose(alone, tmp_path / "other").sentences == [
        "1 campaign alike: changes are looked for from 6 on."
    ]


def test_campaigns_of_other_sizes_are_not_alike_and_damaged_ones_are_named(tmp_path: Path) -> None:
    runs = [campaign(tmp_path, number, 300.0) for number in range(3)]
    campaign(tmp_path, 5, 90.0, clients=(10, 20))
    campaign_folder.cells_path(runs[0]).write_text("nothing")
    report = compose(runs[2], tmp_path)
    assert report.campaigns == 2
    assert [line.partition(" is left out")[0] for line in report.left_out] == [runs[0].id]


def test_a_single_run_has_no_history(tmp_path: Path) -> None:
    run = campaign(tmp_path, 1, 300.0)
    campaign_folder.design_path(run).unlink()
    with pytest.raises(Exception, match="is a single run, no campaign"):
        compose(run, tmp_path)
