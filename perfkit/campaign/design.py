"""The design of a campaign, made of its settings.

The types and the file are in `perfkit.runs.design`, where report and testing may read them too.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from perfkit.model import NetworkPath
from perfkit.runs.design import PRIMARY, SEARCH_VOID_RULES, VOID_RULES, Design, draw
from perfkit.settings.parameters import Settings


def plan_design(chosen: Settings, variant_changes: Mapping[str, Any] | None = None) -> Design:
    """Decide what a campaign with these settings does, for as many repetitions as it may have.

    Args:
        chosen: Fitted to the provider: a test that was left out is in no block.
        variant_changes: For each variant, what differs from `base`.
    """
    parameters, tests = chosen.parameters, tuple(test.name for test in chosen.tests)
    seed = parameters.seed or 1 + secrets.randbelow(2**32 - 1)
    through_vpn = any(test.path is NetworkPath.TUNNEL for test in chosen.tests)
    return Design(
        name=parameters.name,
        created_utc=datetime.now(UTC).isoformat(),
        seed=seed,
        clients=parameters.clients,
        variants=parameters.variant_names,
        tests=tests,
        repetitions=parameters.fixed_repetitions,
        precision=parameters.precision,
        max_repetitions=parameters.most_repetitions,
        budget_min=parameters.budget.minutes,
        budget_usd=parameters.budget.usd,
        primary=PRIMARY if through_vpn else PRIMARY[:1],
        order=draw(
            seed,
            clients=parameters.clients,
            variants=parameters.variant_names,
            tests=tests,
            repetitions=parameters.most_repetitions,
        ),
        variant_changes=dict(variant_changes or {}),
        capacity=parameters.capacity,
        void_rules=VOID_RULES if parameters.capacity is None else SEARCH_VOID_RULES,
    )
