"""What the folder of a campaign has beyond that of a run; the only code that knows these paths.

A campaign's folder is the run folder of its fleet: manifest, keys, hosts, journal. In addition

::

      design.json            what is varied and the drawn order (`perfkit.runs.design`)
      blocks/<nnnn>/         a run folder for each block, numbered in the order in which they were run
      cells.parquet          a row for each block and test: figures, warnings, why it is void
      answer.json            intervals, laws, verdicts
      report/                the answer page

A block has no key to a host: the fleet is the campaign's. Its id is `<campaign's id>/<nnnn>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import RunError
from perfkit.runs import folder
from perfkit.runs.folder import Run


def design_path(run: Run) -> Path:
    """What is varied, how often, in which order."""
    return run.root / "design.json"


def cells_path(run: Run) -> Path:
    """One row for each block and test."""
    return run.root / "cells.parquet"


def answer_path(run: Run) -> Path:
    """What the campaign found."""
    return run.root / "answer.json"


def is_campaign(run: Run) -> bool:
    """Whether a run's folder is that of a campaign."""
    return design_path(run).is_file()


def block_run(campaign: Run, number: int) -> Run:
    """The run folder of a block, whether it is there or not."""
    return Run(campaign.blocks_dir / f"{number:04d}")


def block_folder(campaign: Run, number: int) -> str:
    """Its path below the campaign's folder."""
    return str(block_run(campaign, number).root.relative_to(campaign.root))


def block_runs(campaign: Run) -> list[Run]:
    """The blocks that were begun, in the order in which they were; none of a single run.

    A folder without a manifest is one whose making was interrupted, and is left out.
    """
    there = folder.list_folders(campaign.blocks_dir)
    return sorted((run for run in there if run.block), key=lambda run: run.block or 0)


def campaign_of(block: Run) -> Run:
    """The campaign that a block belongs to."""
    return Run(block.root.parent.parent)


def require_own_hosts(run: Run) -> Run:
    """Refuse a block where hosts are meant; returns any other run.

    Raises:
        RunError: its hosts are its campaign's, which is named.
    """
    if run.block is not None:
        raise RunError(
            f"{run.id}: a block has no hosts of its own, they are those of its campaign: name "
            f"{campaign_of(run).id}"
        )
    return run


def create_block(
    campaign: Run,
    number: int,
    parameters: Mapping[str, Any],
    *,
    fill: Callable[[Run], Mapping[str, Any]] = lambda _run: {},
) -> Run:
    """Make the run folder of a block; its manifest comes last, as in `perfkit.runs.folder.create`.

    Args:
        parameters: Those of the block: `clients` is its own count.

    Raises:
        RunError: the number is taken, or the folder cannot be written.
    """
    run = block_run(campaign, number)
    try:
        run.root.mkdir(mode=0o700, parents=True)
        folder.fill_new(run, str(campaign.manifest()["name"]), parameters, fill)
    except OSError as exc:
        raise RunError(
            f"{run.root}: no folder can be made for the block ({exc.strerror}); mend the "
            "permissions or make room, then give the same command again"
        ) from exc
    return run
