"""iperf3's text (3.0 to 3.21; client and server): bytes in, `traffic` frame out.

A server's log holds test after test, and ids come again in each. A `connected to` line opens a
stream; every later line with its id belongs to it until the id is opened again. Lines with
figures are taken apart for the whole file at once by Arrow's regular expressions; only the few
other lines are looked at singly, by `perfkit.logs.iperf3.banner`.

A line says `sender` or `receiver` in a summary, and nothing in an interval: who counted an
interval is told by its role ([TX-C]), by the columns above it, or by who was to send.
"""

from __future__ import annotations

import re
from pathlib import Path

from perfkit.errors import TruncatedError
from perfkit.logs.format import Format, Reading
from perfkit.logs.iperf3.banner import BEGIN, OTHER_LINE
from perfkit.logs.iperf3.printed import read_printed
from perfkit.logs.line_prefix import find_prefix, read_processes

_SNIFF = re.compile(
    rb"(?m)^.{0,200}?(?:iperf3: \w|iperf 3\.\d|\] local \S+ port \d+ connected to |"
    rb"Connecting to host |Server listening on \d|\] Interval +Transfer +Bitrate)"
)
_IPERF2 = re.compile(rb"Server listening on (?:TCP|UDP) port|Client connecting to \S+, (?:TCP|UDP)")
_JSON_FIRST = re.compile(rb'"event":|"(?:start|version|intervals|local_host)":')


def sniff(head: bytes) -> bool:
    """Whether the first bytes are iperf3 text; text that quotes JSON is text."""
    text = None if _IPERF2.search(head) else _SNIFF.search(head)
    json = _JSON_FIRST.search(head)
    return text is not None and (json is None or text.end() <= json.start())


def parse(data: bytes, path: Path) -> Reading:
    """Read one log.

    Returns:
        A `traffic` frame in the order of the lines. `connected_utc` is the `Time:` that -V
        prints, whole seconds, moved by what -O omitted. `partial` says the last line is cut.
        Lines with titles or stamps in front are read as `perfkit.logs.line_prefix` says.

    Raises:
        TruncatedError: the file is empty.
    """
    if not data.strip():
        raise TruncatedError(path, "the log is empty: the test never wrote to it")
    if any(find_prefix(line[0], BEGIN) for line in OTHER_LINE.finditer(data)):
        return read_processes(data, path, BEGIN, _parse_own)
    return _parse_own(data, path)


def _parse_own(data: bytes, path: Path) -> Reading:
    """Read what one process printed."""
    printed = read_printed(data)
    return Reading(
        path=path,
        format="iperf3-text",
        kind="traffic",
        frame=printed.frame,
        unparsed=printed.banners.unparsed.result(),
        notes=printed.notes,
        messages=tuple(dict.fromkeys(printed.banners.messages)),
        partial=printed.is_cut,
    )


FORMAT = Format(name="iperf3-text", kind="traffic", sniff=sniff, parse=parse)
