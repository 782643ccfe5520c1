"""What a test needs and may not have: it is skipped with the reason, and fails in CI."""

from __future__ import annotations

import pytest


def require(condition: object, reason: str) -> None:
    """Go on if `condition` holds; otherwise skip, which is a failure where CI is set."""
    if not condition:
        pytest.skip(reason)
