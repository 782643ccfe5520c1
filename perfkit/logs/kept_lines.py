r"""A program's lines as Docker and the journal store them: each line in a JSON object.

Docker's json-file has `{"log": "text\\n", "stream": …, "time": …}`, `journalctl -o json` has
`MESSAGE` among many fields. The result is the lines themselves, with the same numbers; a line of the
journal has the program's name in front, as journalctl shows it.
"""

from __future__ import annotations

import json
import re
from typing import Any

_FIRST = re.compile(rb'\s*\{(?:\s*"log"\s*:|[^\n]{0,4000}?"MESSAGE"\s*:)')


def take_kept_lines(data: bytes) -> bytes:
    """The lines that are kept in a file, or the file as it is where it is no such one."""
    if not _FIRST.match(data):
        return data
    lines = []
    for line in data.split(b"\n"):
        text = _text_of(line) if line.strip() else ""
        if text is None:
            return data
        lines.append(text.replace("\n", " ").rstrip(" "))
    return "\n".join(lines).encode("utf-8", "replace")


def _text_of(line: bytes) -> str | None:
    try:
        kept: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(kept, dict):
        return None
    if isinstance(text := kept.get("log"), str):
        return text.removesuffix("\n")
    if not isinstance(text := kept.get("MESSAGE"), str):
        return None
    ident, pid = (kept.get(name) for name in ("SYSLOG_IDENTIFIER", "_PID"))
    return f"{ident}[{pid}]: {text}" if isinstance(ident, str) else text
