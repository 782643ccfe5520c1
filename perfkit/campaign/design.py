"""The design of a campaign, made of its settings.

The types and the file are in `perfkit.runs.design`, where report and testing may read them too.
"""

from __future__ import annotations

from perfkit.runs.design import BASE, PRIMARY, VOID_RULES, Design, PlannedBlock, draw, load, save

__all__ = ["BASE", "PRIMARY", "VOID_RULES", "Design", "PlannedBlock", "draw", "load", "save"]
