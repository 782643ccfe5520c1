"""HTML from the templates beside this module: pages that open without a network, and cells.

A page has no script, loads nothing, follows the reader's light or dark theme, and fits a phone
and paper. All text is escaped, and loses terminal escapes first: it comes from hosts.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.runs.folder import write_atomic
from perfkit.untrusted import without_escapes

if TYPE_CHECKING:
    from jinja2 import Environment

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
LONG_TEXT = 36  # characters


def fill(template: str, room: str = "perfkit.report", **content: Any) -> str:
    """A template of a room's `html/` with its content in it, as `ReportTable`s and `Plot`s."""
    return _templates(room).get_template(f"{template}.html").render(content)


@cache
def _templates(room: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 -- costs 0.05 s

    made = Environment(
        loader=PackageLoader(room, "html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["long_text"] = LONG_TEXT
    return made


def write_page(path: Path, page: str) -> None:
    """Write a page; what no UTF-8 can say is a question mark."""
    write_atomic(path, page.encode("utf-8", "replace"))


def standalone(svg: str) -> str:
    """An SVG as a file of its own: on white, dark text."""
    head, _, rest = svg.partition(">")
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{head} style="background:#fff;color:#111">{rest}'
    )


def plain(text: str) -> str:
    """Text without terminal escapes and control characters."""
    return _CONTROL.sub("", without_escapes(text))
