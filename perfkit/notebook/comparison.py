"""What 07_compare asks: runs and campaigns side by side, baselines kept and checked against.

Each function says in words what it was not asked, so that the notebook runs to its end with nothing
but a run. `executor` says who works on many runs, see `perfkit.executors.mapping`.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfkit.campaign import baselines, offline
from perfkit.errors import StoreError
from perfkit.report import history
from perfkit.report.check import CheckReport
from perfkit.report.compare import ComparisonReport
from perfkit.report.history import HistoryReport
from perfkit.runs import campaign_folder
from perfkit.settings.project import runs_folder
from perfkit.store import picture
from perfkit.store.picture import Pictured


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence where there is nothing else to show."""

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def compared(
    run: str, against: str, *, runs_dir: str = "", executor: str = ""
) -> ComparisonReport | Said:
    """Hold a run or campaign against another one, the baseline; several runs with commas between.

    Raises:
        CampaignError, RunError: see `perfkit.campaign.offline.compare`.
    """
    if not against:
        return Said("Not asked: set `against` to the run or campaign that came before.")
    return offline.compare(against, run, runs_dir=runs_dir, executor=executor)


def kept(run: str, save_as: str, *, runs_dir: str = "", executor: str = "") -> Said:
    """Keep a campaign, or runs that repeat each other, as a baseline.

    Raises:
        CampaignError, RunError: see `perfkit.campaign.baselines.save`.
    """
    if not save_as:
        return Said("Not asked: set `save_as` to the name under which it is kept.")
    names = offline.split_names([run])
    folder = offline.save_baseline(*names, name=save_as, runs_dir=runs_dir, executor=executor)
    return Said(f"kept in {folder}")


def checked(
    run: str, baseline: str, *, runs_dir: str = "", executor: str = ""
) -> CheckReport | Said:
    """Hold a campaign, or runs that repeat each other, against a baseline.

    Raises:
        CampaignError, RunError: see `perfkit.campaign.baselines.check`.
    """
    known = ", ".join(baselines.saved(runs_folder(runs_dir))) or "none yet"
    if not baseline:
        return Said(f"Not asked: set `baseline` to the name of one; there are: {known}.")
    names, how = offline.split_names([run]), {"runs_dir": runs_dir, "executor": executor}
    return offline.check(*names, against=baseline, echo=False, **how)


def developed(run: str, *, runs_dir: str = "", executor: str = "") -> HistoryReport | Said:
    """How the figures of a campaign developed over all campaigns like it.

    Raises:
        RunError: there is no such run.
    """
    found = offline.find_run(run, runs_dir=runs_dir)
    if not campaign_folder.is_campaign(found):
        return Said(f"{found.id} is a single run; the course of figures is that of campaigns.")
    return history.compose(found, runs_folder(runs_dir), executor)


def over_time(figure: str, *, by: str, runs_dir: str = "") -> Pictured | Said:
    """A figure of the tunnel tests of all runs in the store, see `perfkit.store.picture`."""
    try:
        return picture.figure_over_time(figure, by=by, runs_dir=runs_dir)
    except StoreError as exc:
        return Said(f"Nothing to draw: {exc}")
