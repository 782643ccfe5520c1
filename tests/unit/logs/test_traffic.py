from __future__ import annotations

import numpy as np
import pytest

from perfkit.logs.traffic import last_row_before


@pytest.mark.parametrize("ids", [[3, 4, 7], [3, 4, 3, 7, 4], [-1, 3], [3, 2_000_000_000]])
def test_a_line_has_the_last_row_of_its_id_that_stands_before_it(ids: list[int]) -> None:
    line_no = np.arange(len(ids)) * 10 + 5
    lines = np.tile(np.arange(1, 60, 2), 4)
    of = np.repeat([-1, 3, 4, 7], len(lines) // 4)
    places = [
        max((n for n, id_ in enumerate(ids) if id_ == its and line_no[n] < line), default=-1)
        for line, its in zip(lines.tolist(), of.tolist(), strict=True)
    ]
    assert last_row_before(lines, of, line_no, ids).tolist() == places
    assert {-1, 0} <= set(places)
