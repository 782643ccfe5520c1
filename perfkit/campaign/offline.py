"""What is made of a run's folder: windows, tables, comparisons. Files are all it takes.

The phases after the disk seam, for `perfkit.campaign.phases`, which people call: no host, no provider and no
lock is needed, so a copied folder on a laptop will do.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from perfkit.analysis import campaign_cells, segments, stats, window_rules
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import Windowed
from perfkit.campaign import baselines, run_store
from perfkit.errors import CampaignError
from perfkit.executors.mapping import DONE, Unit, Where, each
from perfkit.logs.reader import read_run
from perfkit.report import answer, answer_tables, page
from perfkit.report import compare as compare_report
from perfkit.report.answer import Answer
from perfkit.report.check import CheckReport
from perfkit.report.compare import ComparisonReport
from perfkit.report.page import Report
from perfkit.report.standard import standard_tables
from perfkit.report.tables import ReportTable
from perfkit.runs import campaign_folder, progress
from perfkit.runs.folder import Run
from perfkit.runs.latest import LATEST, open_run
from perfkit.settings.levels import parse_precision
from perfkit.settings.project import runs_folder
from perfkit.widgets.fleet_table import is_interactive

_MADE_BEFORE_A_LOOK = 100_000  # objects; Python's own is 700


def find_run(run: str = LATEST, *, runs_dir: str = "", phase: str = "segment") -> Run:
    """The folder of a run, for the phases that need files only.

    Args:
        run: Id, name, path, or `latest`: the newest that the phase can use; newer ones that it cannot
            are named, with what they lack.
        phase: `segment` needs collected logs, `report` windows too.

    Raises:
        RunError: there is no such run.
    """
    found = open_run(runs_folder(runs_dir), run, phase=phase)
    if found.passed_over:
        click.echo(found)
    return found.run


def segment(
    run: Run, *, policy: segments.Policy | None = None, executor: Where = None
) -> ReportTable:
    """Choose the window of each test that counts, and keep it in segments.json.

    A window that was chosen before stays; one whose log has changed since says so.

    Args:
        policy: `events`, `saved` or `auto`; None: the run's parameter `segments`.
        executor: Who works on a campaign's blocks, see `perfkit.executors.mapping`.

    Of a campaign: of each block that was run to its end; a window that was corrected since is taken
    into its cells.

    Returns:
        One row a test: the window, how far the clients overlapped, who chose it. Of a campaign one
        row a block and test.
    """
    if campaign_folder.is_campaign(run):
        return campaign_windows(run, policy, executor)
    known = _windows_of(run, policy)
    summary = stats.summarise(known.logs, known.windows, known.outcomes)
    tables = standard_tables(known.logs, summary)
    return next(table for table in tables if table.name == "windows")


def _windows_of(run: Run, policy: segments.Policy | None) -> Windowed:
    """Choose the windows of a run that is none of several."""
    logs = read_run(run)
    found = outcomes(logs)
    chosen = segments.current(run, logs, found, policy)
    if window_rules.apply(run):
        chosen = segments.current(run, logs, found, policy)
    return Windowed(logs, found, chosen)


def skip_first(run: Run, first_s: float, *, tests: str = "tunnel", who: str = "") -> ReportTable:
    """Skip the beginning of every test of a kind, in all blocks of a campaign or in a run.

    It is kept as a rule, see `perfkit.analysis.window_rules`; windows that a person drew stay.

    Args:
        first_s: Seconds after the last client's start; 0 takes the rule back.
        tests: `tunnel`, `direct`, `all`, or the name of a test.
        who: Who says so; empty: $JUPYTERHUB_USER, or the user's name.

    Returns:
        The windows as they are now.

    Raises:
        SegmentError: no such test, or too little would be left of a window.
    """
    window_rules.skip_first(run, first_s, tests=tests, who=who or window_rules.whoever())
    return segment(run)


def campaign_windows(
    run: Run, policy: segments.Policy | None, executor: Where = None
) -> ReportTable:
    """Choose the windows of a campaign's blocks; those that are chosen stay."""
    root = run.root.resolve()
    blocks = [Run(root / record.folder) for record in campaign_cells.finished_blocks(run)]
    units = [
        Unit(name=block.id, arguments=(block, policy), folder=block.cache_dir)
        for block in blocks
        if policy is not None or not block.segments_path.exists()
    ]
    each(_choose_windows, units, executor, form=DONE)
    window_rules.apply(run)
    return answer_tables.windows(campaign_cells.refresh(run, executor))


def _choose_windows(block: Run, policy: segments.Policy | None) -> None:
    logs = read_run(block)
    segments.current(block, logs, outcomes(logs), policy)


def segment_and_report(run: Run, *, executor: Where = None) -> Report | Answer:
    """Both, with the logs read once; see `segment` and `report`."""
    with _seldom_looking_for_garbage():
        if not campaign_folder.is_campaign(run):
            return report(run, known=_windows_of(run, None))
        segment(run, executor=executor)
        return report(run, executor=executor)


@contextlib.contextmanager
def _seldom_looking_for_garbage() -> Iterator[None]:
    """What a report is made of lives until it is made: looking for garbage takes 6 % and finds none."""
    usual = gc.get_threshold()
    gc.set_threshold(_MADE_BEFORE_A_LOOK, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def report(
    run: Run,
    *,
    echo: bool | None = None,
    executor: Where = None,
    known: Windowed | None = None,
) -> Report | Answer:
    """Write tables, plots and `report/index.html`; called again, it writes them anew.

    Of a campaign: its answer, from its blocks as they are now.

    Args:
        echo: Also print it; None: where nobody sees the returned object. A notebook that a machine
            runs shows the object, so only the page's place is printed there.
        executor: Who works on a campaign's blocks, see `perfkit.executors.mapping`.
        known: Of a single run, where its logs were read already.
    """
    made: Report | Answer
    if campaign_folder.is_campaign(run):
        made = answer.render(run, executor=executor)
    else:
        left = run_store.unfinished(run)
        made = page.render(run, phases=_phase_times(run), unfinished=left, known=known)
    if lack := run_store.keep(made):
        click.echo(lack, err=True)
    _echo(made.text(), f"report: {made.page}", echo=echo)
    return made


def _echo(text: str, place: str, *, echo: bool | None) -> None:
    """Print a report and where its page is; in a kernel the report is shown already."""
    shell = sys.modules.get("IPython.core.getipython")
    in_kernel = shell is not None and shell.get_ipython() is not None
    if echo or (echo is None and not in_kernel):
        click.echo(f"{text}\n\n{place}")
    elif echo is None and not is_interactive():
        click.echo(place)


def compare(
    *sides: str | Run | Sequence[str | Run],
    runs_dir: str = "",
    out: str = "",
    echo: bool | None = None,
    executor: Where = None,
) -> ComparisonReport:
    """Hold runs against each other, the first is the baseline; needs files only.

    Writes `compare.html`, every table and the pictures into one folder.

    Args:
        sides: Each a run (id, name, path or `Run`), or several runs of one side: a list, or names
            with commas between. One each: runs made under the same recorded conditions are
            taken as repetitions of each other. A campaign is a side for each of its variants, and
            its blocks are the repetitions.
        out: The folder; empty: `report/compare-<other>` of the newest run.
        echo: Also print it; None: where nobody sees the returned object. A notebook that a machine
            runs shows the object, so only the page's place is printed there.
        executor: Who reduces the runs, see `perfkit.executors.mapping`.

    Raises:
        CampaignError: nothing to compare, or a run given twice.
    """
    groups = [[_find(run, runs_dir) for run in _several(side)] for side in sides]
    if not all(groups):
        raise CampaignError("a side names no run; perfkit compare RUN,RUN RUN")
    folder = Path(out).resolve() if out else compare_report.folder_for(groups)
    times = {run.id: _phase_times(run) for group in groups for run in group}
    made = compare_report.render(groups, folder, phases=times, executor=executor)
    _echo(made.text(), f"comparison: {made.page}", echo=echo)
    return made


def save_baseline(
    *runs: str | Run,
    name: str,
    runs_dir: str = "",
    figures: str = "",
    margin: str = "",
    executor: Where = None,
) -> Path:
    """Keep a campaign, or runs that repeat each other, for later ones to be held against.

    Args:
        figures: The figures that decide, by column name with commas between; empty: as designed.
        margin: How much worse one must be, `10%` or `0.1`; empty: as designed.
        executor: Who reduces the runs, see `perfkit.executors.mapping`.

    Returns:
        The baseline's folder, `runs/baselines/<name>`.

    Raises:
        CampaignError: the name will not do or is taken, a figure or the margin is wrong, or a cell
            has nothing that counts.
    """
    found = [_find(run, runs_dir) for run in runs]
    try:
        share = parse_precision(margin)
    except ValueError as exc:
        raise CampaignError(f"margin {margin!r}: {exc}") from exc
    return baselines.save(
        found,
        name,
        runs_folder(runs_dir),
        primary=split_names([figures]),
        margin=share,
        executor=executor,
    )


def check(
    *runs: str | Run,
    against: str,
    runs_dir: str = "",
    echo: bool | None = None,
    executor: Where = None,
) -> CheckReport:
    """Did it regress? Hold a campaign, or runs that repeat each other, against a baseline.

    Args:
        against: The baseline's name.
        echo: Also print the answer; None: where no person sees the returned object.
        executor: Who reduces the runs, see `perfkit.executors.mapping`.

    Raises:
        CampaignError: there is no such baseline, or it is one of other tests or client counts.
    """
    found = [_find(run, runs_dir) for run in runs]
    made = baselines.check(found, against, runs_folder(runs_dir), executor)
    if echo or (echo is None and not is_interactive()):
        click.echo(made.text())
    return made


def split_names(words: Sequence[str]) -> list[str]:
    """Names of runs, with blanks or commas between."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()]


def _several(side: str | Run | Sequence[str | Run]) -> Sequence[str | Run]:
    if isinstance(side, str):
        return split_names([side])
    return [side] if isinstance(side, Run) else side


def _find(run: str | Run, runs_dir: str) -> Run:
    return run if isinstance(run, Run) else find_run(run, runs_dir=runs_dir)


def _phase_times(run: Run) -> list[tuple[str, float]]:
    """Name and seconds of each phase that was done, in their order; the last time counts."""
    return list(progress.read(run).done.items())
