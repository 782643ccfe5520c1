"""A campaign that several modules of this folder show: it takes seconds to make."""

from __future__ import annotations

import pytest

from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign


@pytest.fixture(scope="session")
def grown_campaign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five sizes and three repetitions: the least of which a law is said. Who writes copies it."""
    root = tmp_path_factory.mktemp("campaigns") / "20261122T122000Z-grown-abc123"
    return make_campaign(
        root, clients=(1, 3, 8, 20, 40), repetitions=3, void=(3,), duration_s=9, name="grown"
    )
