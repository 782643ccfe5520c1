"""From blocks to cells: what each figure of a cell is, how sure, and which cells need more blocks.

The block is the unit: one block gives one value of a figure, and the spread of seconds or clients
inside it is in no interval. A cell's mean is that of the logarithms of its blocks' values, its
interval Student's t on them, so it is a ratio on both sides of the mean. Figures that can be 0,
such as drops, have the plain mean and interval.

*Stopping*: a cell is precise when the half-width of its interval is at most g / (1 + g) of its
mean, looked at only when repetitions are whole: with 5 blocks, with 8 where the first 5 spread by
more than 7 %, then after each. Intervals that are looked at too early hold too little.

Source: Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013 (the unit); Chow and
Robbins, Ann. Math. Statist. 36 (1965) 457, and Law, Simulation Modeling and Analysis, section
9.4.1 (the rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import steady_state
from perfkit.analysis.answers.frame import FIGURES, KEY, NUMPY, counted, figure_values
from perfkit.analysis.answers.headline import kind_of, primary_of
from perfkit.analysis.confidence import mean_interval
from perfkit.runs.design import Design
from perfkit.units import format_count

Floats = NDArray[np.float64]
Key = tuple[int, str, str]  # clients, variant, test

FIRST_LOOK, SECOND_LOOK = 5, 8
WIDE_SPREAD = 0.07  # of the first five: then the first look is at eight
METHOD = (
    "Cells: the block is the unit; mean of the logarithms of its blocks, 95 % interval by Student's t "
    "over blocks; void blocks are left out. Precise: the half-width is at most g / (1 + g) of the mean "
    "(Chow and Robbins 1965), looked at after whole repetitions, first with 5 blocks, or 8 where the "
    "first 5 spread by more than 7 %"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAnswer:
    """A figure of a cell.

    Attributes:
        low, high: The 95 % interval; NaN: one block, or none.
        repetitions: Blocks that count and have the figure.
        void: Blocks of the cell that are void.
        half_width_share: Half of the interval over the mean.
        is_precise: As sharp as was asked for; never where nothing was asked for.
        note: What a reader must know of it.
    """

    clients: int
    variant: str
    test: str
    figure: str
    mean: float
    low: float
    high: float
    repetitions: int
    void: int
    half_width_share: float
    is_precise: bool
    note: str


def intervals(
    frame: pd.DataFrame, figures: Sequence[str] = FIGURES, *, precision: float | None = None
) -> pd.DataFrame:
    """The interval of each figure of each cell.

    Left out are figures that a cell never has, and those that are beyond what was seen in one of
    its blocks: the mean of the others would be too good.

    Args:
        frame: See `perfkit.analysis.answers.frame`.
        precision: What was asked for, a share; None: nothing.

    Returns:
        A `CellAnswer` a row, cells in the order of clients, variants and tests as first run.
    """
    rows = list(_answers(frame, figures, precision))
    types = {field.name: NUMPY[str(field.type)] for field in fields(CellAnswer)}
    made = pd.DataFrame([asdict(row) for row in rows], columns=list(types))
    return made.astype(types)


def _answers(
    frame: pd.DataFrame, figures: Sequence[str], precision: float | None
) -> Iterator[CellAnswer]:
    for (clients, variant, test), own in by_cell(frame):
        good = counted(own)
        notes = _notes(good)
        for figure in figures:
            values = _known(good, figure)
            if not len(values) or np.isinf(values).any():
                continue
            mean, low, high = interval(values)
            share = half_width_share(mean, low, high)
            yield CellAnswer(
                clients=clients,
                variant=variant,
                test=test,
                figure=figure,
                mean=mean,
                low=low,
                high=high,
                repetitions=len(values),
                void=len(own) - len(good),
                half_width_share=share,
                is_precise=precision is not None and is_sharp(values, precision),
                note=_note(notes, values, share, precision),
            )


def _known(rows: pd.DataFrame, figure: str) -> Floats:
    return np.asarray(figure_values(rows, figure).dropna(), dtype=np.float64)


def by_cell(frame: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    """The rows of each cell, in the order in which the cells were first run."""
    for _, own in frame.groupby(list(KEY), sort=False):
        first = own.iloc[0]
        yield (int(first["clients"]), str(first["variant"]), str(first["test"])), own


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean and 95 % interval of blocks' values; NaN to NaN with one value.

    Values that are all positive are taken as logarithms, else as they are.
    """
    is_ratio = bool((values > 0).all())
    found = np.array(mean_interval(np.log(values) if is_ratio else values))
    mean, low, high = (np.exp(found) if is_ratio else found).tolist()
    return mean, low, high


def half_width_share(mean: float, low: float, high: float) -> float:
    """Half of an interval over its mean; NaN where there is none."""
    return (high - low) / 2 / abs(mean) if mean else float("nan")


def is_sharp(values: Floats, precision: float) -> bool:
    """Whether the stop rule lets a cell with these values, in the order run, stop."""
    look = FIRST_LOOK
    if len(values) >= FIRST_LOOK and _spread(values[:FIRST_LOOK]) > WIDE_SPREAD:
        look = SECOND_LOOK
    if len(values) < look:
        return False
    share = half_width_share(*interval(values))
    return bool(share <= precision / (1 + precision)) or not np.ptp(values)


def _spread(values: Floats) -> float:
    """Standard deviation as a share of the mean."""
    if (values > 0).all():
        return float(np.log(values).std(ddof=1))
    return float(values.std(ddof=1)) / abs(float(values.mean()) or np.inf)


def _notes(good: pd.DataFrame) -> list[str]:
    """What the blocks of a cell have in common that a reader of its figures must know."""
    unsteady = int((good["not_steady"] != "").sum())
    short = int((good["failed_clients"] > 0).sum())
    notes = [f"{unsteady} of {format_count(len(good), 'block')} not steady"] if unsteady else []
    return notes + ([f"{format_count(short, 'block')} with failed clients"] if short else [])


def _note(notes: list[str], values: Floats, share: float, precision: float | None) -> str:
    said = list(notes)
    if len(values) == 1:
        said.append("one block: no interval")
    elif precision is not None and not is_sharp(values, precision):
        said.append(f"precision not reached: ±{share:.1%}, asked {precision:.1%}")
    return "; ".join(said)


def unfinished(frame: pd.DataFrame, plan: Design) -> set[Key]:
    """The cells that need another repetition; ask when a repetition is whole.

    With a fixed number, those that have fewer blocks that count. With a precision, those of which a
    primary figure is not precise yet, until `max_repetitions` blocks count. A primary figure that
    no block of a cell has, such as the VPN's CPU time of a direct test, is not waited for.

    Args:
        frame: See `perfkit.analysis.answers.frame`; may be empty.
    """
    good = counted(frame).sort_values("block", kind="stable")
    known = dict(by_cell(good))
    return {
        key
        for key in product(plan.clients, plan.variants, plan.tests)
        if key not in known or not _is_finished(known[key], plan)
    }


def _is_finished(own: pd.DataFrame, plan: Design) -> bool:
    if plan.precision is None:
        return len(own) >= (plan.repetitions or plan.max_repetitions)
    if len(own) >= plan.max_repetitions:
        return True
    primary = primary_of(kind_of(own, str(own["test"].iloc[0])), plan.primary)
    asked = [values for figure in primary if len(values := _known(own, figure))]
    return len(own) >= FIRST_LOOK and all(
        np.isfinite(values).all() and is_sharp(values, plan.precision) for values in asked
    )


def median_cuts(frame: pd.DataFrame) -> dict[Key, float]:
    """The warm-up to cut off each test of a cell: the median over its blocks, in whole seconds.

    One block's own cut depends on its own noise; half of the blocks must show a warm-up before any
    of it is cut. Blocks whose window a person chose have none and are left as they are.
    """
    found = counted(frame)
    found = found[found["warm_up_found_s"].notna().to_numpy()]
    return {key: float(np.ceil(own["warm_up_found_s"].median())) for key, own in by_cell(found)}


def other_cuts(frame: pd.DataFrame, cuts: Mapping[Key, float]) -> list[str]:
    """Folders of the blocks that count and have another warm-up cut than their cells'."""
    found = []
    for row in counted(frame).to_dict("records"):
        wanted = cuts.get((row["clients"], row["variant"], row["test"]))
        if wanted is not None and np.isfinite(row["warm_up_found_s"]):
            most = steady_state.most_cut_s(row["window_s"] + row["warm_up_s"])
            if min(wanted, most) != row["warm_up_s"]:
                found.append(str(row["folder"]))
    return list(dict.fromkeys(found))
