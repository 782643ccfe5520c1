"""A monitor's CSV with something in front of every line, as `ts` or docker compose put it there."""

from __future__ import annotations

import re

from perfkit.logs.line_prefix import find_prefix, split_processes

_SHOWN = 60  # characters
_BEGIN = re.compile(
    rb'(?i)(?P<own>"(?:pcp-dstat|dstat|dool) [^"\n]{0,40}csv output"|"(?:host|cmdline):",")'
)


def has_prefix(head: bytes) -> bool:
    """Whether a monitor's CSV begins behind a prefix."""
    return bool(find_prefix(head.lstrip().split(b"\n", 1)[0], _BEGIN))


def split_monitors(data: bytes) -> tuple[list[bytes], list[str]]:
    """The CSV of each monitor without the prefix, and notes.

    Lines keep their numbers: where another process's line stood is an empty one.
    """
    total = data.count(b"\n") + (not data.endswith(b"\n"))
    texts, samples, others = list[bytes](), list[bytes](), 0
    for process in split_processes(data, _BEGIN):
        lines = process.data.removesuffix(b"\n").split(b"\n")
        if not process.sample or not _BEGIN.search(process.data):
            others += sum(bool(line.strip()) for line in lines)
            continue
        own = [b""] * total
        for line_no, line in zip(process.line_nos.tolist(), lines, strict=True):
            own[line_no - 1] = line
        texts.append(b"\n".join(own) + b"\n")
        samples.append(process.sample.strip())
    notes = [
        f"the lines have a prefix, such as {_text(sample)!r}, which is left out"
        for sample in samples[:1]
    ]
    if len(texts) > 1:
        notes.append(f"{len(texts)} monitors in one file, told apart by their prefix")
    if others:
        notes.append(f"{others} lines without a monitor's prefix, left out")
    return texts, notes


def _text(sample: bytes) -> str:
    return sample[:_SHOWN].decode("utf-8", "replace")
