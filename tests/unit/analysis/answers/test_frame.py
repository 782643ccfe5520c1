from pathlib import Path

import campaign_truth
import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.answers import frame as cells
from perfkit.errors import FrameError

ROW = {
    "block": 2,
    "repetition": 1,
    "clients": 10,
    "variant": "base",
    "test": "tunnel-tcp",
    "path": "tunnel",
    "position": 1,
}


def test_a_frame_of_no_block_has_the_columns_and_dtypes_of_a_full_one() -> None:
    empty, full = cells.cells_frame([]), cells.cells_frame([ROW])
    assert list(empty.columns) == list(cells.COLUMNS)
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_what_a_record_does_not_say_is_unknown_and_not_nought() -> None:
    row = cells.cells_frame([ROW]).iloc[0]
    assert all(np.isnan(row[figure]) for figure in cells.FIGURES)
    assert (row["void"], row["not_steady"], row["warnings"]) == ("", "", 0)


def test_rows_are_sorted_by_block_and_place() -> None:
    rows = [ROW, {**ROW, "block": 1, "position": 2}, {**ROW, "block": 1}]
    frame = cells.cells_frame(rows)
    assert frame[["block", "position"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1]]


def test_void_rows_are_kept_and_do_not_count() -> None:
    frame = cells.cells_frame([ROW, {**ROW, "block": 3, "void": "a host was lost"}])
    assert (len(frame), cells.counted(frame)["block"].tolist()) == (2, [2])


def test_a_misspelt_column_and_a_missing_one_are_refused_by_name() -> None:
    with pytest.raises(FrameError, match="goodput_bps"):
        cells.cells_frame([{**ROW, "goodput_bsp": 1.0}])
    with pytest.raises(FrameError, match="position"):
        cells.cells_frame([{name: value for name, value in ROW.items() if name != "position"}])


@pytest.mark.parametrize("rows", [0, 3])
def test_a_saved_frame_is_read_back_as_it_was(tmp_path: Path, rows: int) -> None:
    frame = cells.cells_frame([{**ROW, "block": n, "goodput_bps": 1e6 * n} for n in range(rows)])
    cells.save(frame, tmp_path / "cells.parquet")
    pd.testing.assert_frame_equal(cells.load(tmp_path / "cells.parquet"), frame)


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "cells.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(FrameError, match=r"cells\.parquet.*anew"):
        cells.load(tmp_path / "cells.parquet")


def test_the_generator_of_campaigns_speaks_of_the_declared_columns() -> None:
    truth = campaign_truth.Truth(tests={"direct-tcp": 3.0, "tunnel-tcp": 1.0})
    frame = cells.cells_frame(campaign_truth.records(truth, np.random.default_rng(1)))
    assert len(frame) == 7 * 5 * 2
    per_cell = frame.groupby(list(cells.KEY)).size()
    assert set(per_cell) == {5}
