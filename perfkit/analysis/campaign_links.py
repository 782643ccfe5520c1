"""Links of a campaign's variants, over all of its blocks that count."""

from __future__ import annotations

import contextlib
from typing import Any

from perfkit.analysis import campaign_cells
from perfkit.analysis.links import WAYS, row_of
from perfkit.errors import LogError
from perfkit.logs.links import LinkRecord, read_links
from perfkit.model import Role
from perfkit.runs.folder import Run


def link_rows(run: Run) -> list[dict[str, Any]]:
    """One row a (variant, role, link, direction) over all blocks of a campaign that count.

    Returns:
        As `perfkit.analysis.links.link_rows`, without `busiest_bps` and with `variant` and `blocks`; blocks whose links were
        not read are not among them.
    """
    alike: dict[tuple[str, bool, str], list[tuple[str, LinkRecord]]] = {}
    blocks: dict[tuple[str, bool, str], set[int]] = {}
    for block in campaign_cells.finished_blocks(run):
        path = Run(run.root / block.folder).links_path
        if block.void or not path.is_file():
            continue
        with contextlib.suppress(LogError):  # the block's own report says it
            for name, record in read_links(path).hosts.items():
                key = (block.variant, name == Role.SERVER, record.link)
                alike.setdefault(key, []).append((name, record))
                blocks.setdefault(key, set()).add(block.block)
    return [
        {"variant": key[0], "blocks": len(blocks[key]), **row_of(group, direction)}
        for key, group in alike.items()
        for direction in WAYS
    ]
