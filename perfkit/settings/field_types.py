"""The types of parameters that a person writes as a word or as several: read, checked, and kept as text."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from perfkit.model import CapacityGoal
from perfkit.settings import capacity, levels, links
from perfkit.settings.ip_versions import parse_ip_versions

Counts = Annotated[
    tuple[int, ...], BeforeValidator(levels.parse_counts), PlainSerializer(levels.format_counts)
]
Names = Annotated[tuple[str, ...], BeforeValidator(levels.parse_names), PlainSerializer(",".join)]
Rates = Annotated[
    tuple[str, ...], BeforeValidator(links.parse_rate_levels), PlainSerializer(",".join)
]
Links = Annotated[
    tuple[str, ...], BeforeValidator(links.parse_link_levels), PlainSerializer("; ".join)
]
IpVersions = Annotated[
    tuple[str, ...], BeforeValidator(parse_ip_versions), PlainSerializer(",".join)
]
Capacity = Annotated[
    CapacityGoal | None,
    BeforeValidator(capacity.parse_capacity),
    PlainSerializer(capacity.format_capacity),
]
Precision = Annotated[
    float | None, BeforeValidator(levels.parse_precision), PlainSerializer(levels.format_precision)
]
Budget = Annotated[levels.Budget, BeforeValidator(levels.parse_budget), PlainSerializer(str)]
