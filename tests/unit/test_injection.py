"""Ten thousand names and values that want to be commands stay words."""

from __future__ import annotations

import pytest
from injection import escapes, values


@pytest.mark.parametrize("seed", range(5))
def test_no_value_becomes_a_command_or_another_value(seed: int) -> None:
    found = escapes(values(2000, seed))
    assert found == dict.fromkeys(found, 0)
    assert len(found) == 7
