"""iperf3's JSON (-J and --json-stream, 3.0 to 3.21; client and server): `traffic` frame out.

A file may hold several tests: a server appends a document a test, some builds print a test twice,
and scripts wrap documents into their own. Each test is one `start`, its `intervals` and its
`end`, whether they come as one document or as one event a line.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfkit.errors import LogError, ParseError
from perfkit.logs.format import Format, Reading
from perfkit.logs.iperf3.figures import Figures
from perfkit.logs.iperf3.records import as_object, number, objects
from perfkit.logs.iperf3.sums import fill_streams
from perfkit.logs.json_documents import Document, Documents, read_documents
from perfkit.logs.line_prefix import read_processes
from perfkit.logs.plausible import leave_impossible
from perfkit.logs.traffic import CONTRADICTION, PROTOCOLS, describe_streams

_DEEPEST_WRAPPER = 12
# What wrappers call a failure, and how they say that there was one.
_FAILURES = ("error", "errors", "stderr", "exception", "traceback")
_FAILED = ("error", "fail", "failed", "failure", "timeout", "timed out", "unreachable")
_EXIT_STATUS = ("rc", "returncode", "return_code", "exit_code", "exit_status")
_REASONS = ("message", "msg", "reason", "output", "stdout")
_QUOTED = re.compile(r"\s*\{\s*\"(?:start|event|error|title)\"\s*:")
# What stands before the first quote or brace of a line is no JSON where it says something.
_BEGIN = re.compile(rb'^[^"{}]*?(?<![,\[])(?P<own>["{}])')
_PREFIXED = re.compile(rb'(?m)^[^"{}\n]{0,200}?[^\W_][^"{}\n]{0,200}?(?<![,\[])(?:\{\s*$|\{\s*")')
_SIGNATURE = re.compile(
    rb'version\\?":\s*\\?"iperf 3|"event":\s*"(?:start|interval|end|error|server_output)|'
    rb'"(?:sum_sent|sum_received|intervals|local_host|bits_per_second)\\?":'
)
# Text output that quotes JSON is text: what comes first decides.
_TEXT_FIRST = re.compile(rb"(?m)^.{0,40}(?:Connecting to host |Server listening on \d|\[ ID\])")


@dataclass(slots=True)
class _Tests:
    """The tests of a file, and what was seen on the way to them."""

    found: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # line, test
    strange: list[Document] = field(default_factory=list)
    cookies: dict[str, int] = field(default_factory=dict)
    wrapped: int = 0
    repeated: int = 0
    messages: list[str] = field(default_factory=list)


def sniff(head: bytes) -> bool:
    """Whether the first bytes hold JSON with iperf3's own keys."""
    signature = _SIGNATURE.search(head)
    if signature is None or b"{" not in head[: signature.start()]:
        return False
    text = _TEXT_FIRST.search(head)
    return text is None or text.start() > signature.start()


def parse(data: bytes, path: Path) -> Reading:
    """Read one file.

    Returns:
        A `traffic` frame in the order of the documents; `line_no` is where a row's document or
        event begins. `connected_utc` is the test's start, whole seconds, moved by what -O
        omitted. A test that failed has no rows, and its error is among the messages.

    Raises:
        TruncatedError: the file is empty, or its only document stops in the middle.
        ParseError: it is not JSON, not iperf3's, or of a protocol other than TCP and UDP.
    """
    if _PREFIXED.search(data):
        data = data.replace(b"#011", b"\t")  # so syslog writes a tab
        return read_processes(data, path, _BEGIN, _parse_own)
    return _parse_own(data, path)


def _parse_own(data: bytes, path: Path) -> Reading:
    """Read what one process printed."""
    documents = read_documents(data, path)
    tests = _find_tests(documents.found)
    if not tests.found:
        document = documents.found[0]
        keys = ", ".join(sorted(document.value)[:8])
        reason = f"; it says {tests.messages[0]!r}" if tests.messages else ""
        raise ParseError(
            path, document.line_no, keys, f"JSON without an iperf3 document{reason}; its keys"
        )
    for document in tests.strange:
        documents.unparsed.add(document.line_no, f"no iperf3 document: {', '.join(document.value)}")
    figures, notes = Figures(), list[str]()
    for line_no, test in tests.found:
        protocol = as_object(as_object(test.get("start")).get("test_start")).get("protocol", "TCP")
        if str(protocol).lower() not in PROTOCOLS:
            raise ParseError(path, line_no, str(protocol), "protocol: TCP or UDP expected")
        filled, said = fill_streams(test)
        notes += said
        if not figures.add(filled, line_no) and not _errors(test):
            documents.unparsed.add(line_no, f"no figures in a document of: {', '.join(test)}")
    for line_no in figures.odd_lines:
        documents.unparsed.add(line_no, "an interval that ends before it starts")
    frame, impossible = leave_impossible(figures.frame(), documents.unparsed)
    notes = [
        *_notes(tests, documents, figures),
        *dict.fromkeys(notes),
        *impossible,
        *describe_streams(frame),
    ]
    return Reading(
        path=path,
        format="iperf3-json",
        kind="traffic",
        frame=frame,
        unparsed=documents.unparsed.result(),
        notes=tuple(notes),
        messages=tuple(dict.fromkeys(tests.messages)),
        partial=documents.damage is not None,
    )


FORMAT = Format(name="iperf3-json", kind="traffic", sniff=sniff, parse=parse)


def _find_tests(documents: list[Document]) -> _Tests:
    """The tests in documents, events and wrappers, each once, in their order."""
    tests = _Tests()
    running: dict[str, Any] | None = None
    for document in documents:
        before = len(tests.messages)
        inside = list(_unwrap(document.value, tests.messages))
        tests.wrapped += bool(inside) and inside[0] is not document.value
        if not inside and len(tests.messages) == before:
            tests.strange.append(document)
        for one in inside:
            if _is_event(one):
                running = _add_event(tests, running, Document(document.line_no, one))
            else:
                running = None
                _add_test(tests, document.line_no, one)
    for _, test in tests.found:
        tests.messages += _errors(test)
    return tests


def _errors(test: dict[str, Any]) -> list[str]:
    """What a document says went wrong."""
    return [str(text)[:200] for key, text in test.items() if key.split("#")[0] == "error"]


def _add_event(
    tests: _Tests, running: dict[str, Any] | None, event: Document
) -> dict[str, Any] | None:
    """Put one line of --json-stream to its test; returns the test that goes on."""
    name, data = event.value["event"], event.value["data"]
    if name == "start" or running is None or (name == "interval" and _restarts(running, data)):
        running = {"start": data if name == "start" else {}, "intervals": [], "end": {}}
        _add_test(tests, event.line_no, running)
    if name == "interval":
        running["intervals"].append(data)
    elif name == "end":
        running["end"] = data
        return None
    else:
        running[name] = data
    return running


def _restarts(running: dict[str, Any], interval: object) -> bool:
    """Whether an interval is before the one that came last, as it is where a start was lost."""
    if running["start"] or not running["intervals"]:
        return False
    last, this = (
        number(as_object(as_object(record).get("sum")).get("start"))
        for record in (running["intervals"][-1], interval)
    )
    return this <= last


def _unwrap(
    value: object, messages: list[str], where: str = "", depth: int = 0
) -> Iterator[dict[str, Any]]:
    """The iperf3 documents and events in a value, which may be one itself.

    Args:
        messages: Takes what wrappers say about tests that failed, and where in the document.
    """
    if isinstance(value, dict) and (_is_test(value) or _is_event(value)):
        yield value
    elif isinstance(value, str):
        if _QUOTED.match(value):  # a program's output, kept as text
            with contextlib.suppress(LogError):
                for document in read_documents(value.encode("utf-8", "replace"), Path()).found:
                    yield from _unwrap(document.value, messages, where, depth + 1)
    elif isinstance(value, dict | list) and depth < _DEEPEST_WRAPPER:
        if isinstance(value, dict):
            messages += [f"{where or 'the wrapper'}: {text[:200]}" for text in _failures(value)]
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in children:
            place = f"{where}.{key}" if isinstance(value, dict) else f"{where}[{key}]"
            yield from _unwrap(child, messages, place.lstrip("."), depth + 1)


def _failures(wrapper: dict[str, Any]) -> Iterator[str]:
    """What a wrapper says of its test where that failed."""
    said = [wrapper[key] for key in _FAILURES if wrapper.get(key)]
    status = str(wrapper.get("status", "")).lower()
    failed = status in _FAILED or any(wrapper.get(key) is False for key in ("success", "ok"))
    failed |= any(isinstance(code := wrapper.get(key), int) and code for key in _EXIT_STATUS)
    if failed and not said:
        said = [wrapper[key] for key in _REASONS if wrapper.get(key)] or [status or "it failed"]
    for text in said:
        if isinstance(text, str) and text.strip() and not _QUOTED.match(text):
            yield text.strip()
        elif isinstance(text, dict | list) and not any(True for _ in _unwrap(text, [])):
            yield json.dumps(text)


def _is_event(value: dict[str, Any]) -> bool:
    return isinstance(value.get("event"), str) and "data" in value


def _is_test(value: dict[str, Any]) -> bool:
    """Whether an object is a test, or the bare error some builds print instead of one."""
    if isinstance(value.get("start"), dict) or isinstance(value.get("intervals"), list):
        return True
    return len(value) == 1 and isinstance(value.get("error"), str)


def _add_test(tests: _Tests, line_no: int, test: dict[str, Any]) -> None:
    """Add a test, unless it is there: 3.16 prints some twice, --json-stream-full-output all."""
    start = as_object(test.get("start"))
    cookie = start.get("cookie")
    place = tests.cookies.get(cookie) if isinstance(cookie, str) else None
    if place is not None and as_object(tests.found[place][1].get("start")) == start:
        tests.repeated += 1
        if objects(as_object(test.get("end")).get("streams")):
            tests.found[place] = line_no, test
        return
    if isinstance(cookie, str):
        tests.cookies[cookie] = len(tests.found)
    tests.found.append((line_no, test))


def _notes(tests: _Tests, documents: Documents, figures: Figures) -> list[str]:
    ran = sum(bool(as_object(test.get("start")).get("connected")) for _, test in tests.found)
    said = {
        f"a document could not be read: {documents.damage}": documents.damage is not None,
        f"{ran} tests in one file": ran > 1,
        f"{tests.repeated} tests were printed twice and are counted once": tests.repeated,
        "iperf3's documents lie in a wrapper, the rest of which is not read": tests.wrapped,
        f"{documents.repaired} numbers are not JSON (nan and the like): none, or repaired": (
            documents.repaired
        ),
        f"{figures.omitted} omitted intervals (-O) are left out; times count from their end": (
            figures.omitted
        ),
        f"{figures.repeated} intervals repeat the one before of their stream and are left out": (
            figures.repeated
        ),
        f"{figures.contradicting} summaries {CONTRADICTION}": figures.contradicting,
        f"{figures.derived} UDP receivers' bytes are those sent less those lost": figures.derived,
        f"{figures.unsure} UDP receivers' bytes are not known: 0 lost may be all lost": (
            figures.unsure
        ),
        f"{figures.texts} intervals are from the server's own output, text of three digits": (
            figures.texts
        ),
    }
    return [text for text, holds in said.items() if holds]
