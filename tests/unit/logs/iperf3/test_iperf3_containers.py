"""iperf3's documents in whatever people keep them in give the frames they give alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from perfkit.errors import ParseError
from perfkit.logs import json_documents
from perfkit.logs.frames import check
from perfkit.logs.iperf3.json import parse, sniff

DATA = Path(__file__).parents[3] / "data" / "iperf3" / "json"
PATH = Path("log.json")
NAMES = (
    "3.12-tcp.client.json", "3.12-bidir-p2.client.json", "3.12-udp-loss.client.json",
    "3.12-get-server-output.client.json", "3.12-omit.client.json",
)  # fmt: skip


def documents() -> list[Any]:
    return [json.loads((DATA / name).read_bytes()) for name in NAMES]


def dumps(value: Any, **layout: Any) -> str:
    return json.dumps(value, **layout)


CONTAINERS: dict[str, Callable[[list[Any]], str]] = {
    "one a line": lambda docs: "\n".join(map(dumps, docs)),
    "side by side": lambda docs: "".join(map(dumps, docs)),
    "commas at the lines' ends": lambda docs: ",\n".join(map(dumps, docs)),
    "an array on one line": dumps,
    "an array, two spaces": lambda docs: dumps(docs, indent=2),
    "an array, tabs": lambda docs: dumps(docs, indent="\t"),
    "an array, no indentation": lambda docs: dumps(docs, indent=0),
    "an array, one document a line": lambda docs: "[\n" + ",\n".join(map(dumps, docs)) + "\n]\n",
    "arrays in an array": lambda docs: dumps([docs[:2], [docs[2:]]], indent=1),
    "braces that begin lines": lambda docs: (
        "[\n" + "\n,\n".join(dumps(d, indent=0) for d in docs) + "]"
    ),
    "under a key": lambda docs: dumps({"results": docs}),
    "by name": lambda docs: dumps({f"host-{n}": doc for n, doc in enumerate(docs)}, indent=4),
    "pairs": lambda docs: dumps(
        {"status": "success", "data": {"pairs": [{"source": "a", "result": doc} for doc in docs]}}
    ),
    "a wrapper a line": lambda docs: "\n".join(dumps({"host": "a", "iperf": doc}) for doc in docs),
    "deep": lambda docs: dumps({"a": [{"b": {"c": [{"d": {"e": [{"f": docs}]}}]}}]}, indent=2),
    "kept as text": lambda docs: dumps([{"rc": 0, "stdout": dumps(doc, indent=1)} for doc in docs]),
    "text around": lambda docs: "run 1\n" + "\nnext\n".join(map(dumps, docs)) + "\nend\n",
    "prefixed lines": lambda docs: "\n".join(
        f"iperf-1  | {line}" for line in dumps(docs, indent=2).splitlines()
    ),
    "tabs as syslog writes them": lambda docs: "\n".join(
        f"Jan  5 10:00:00 host iperf3[7]: {line}".replace("\t", "#011")
        for line in dumps(docs, indent="\t").splitlines()
    ),
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
def test_documents_in_any_container_give_the_frames_they_give_alone(
    wrap: Callable[[list[Any]], str],
) -> None:
    data = wrap(documents()).encode()
    reading, plain = parse(data, PATH), parse("\n".join(map(dumps, documents())).encode(), PATH)
    check(reading.frame, "traffic")
    pd.testing.assert_frame_equal(
        reading.frame.drop(columns="line_no"), plain.frame.drop(columns="line_no")
    )
    assert not reading.partial
    assert "5 tests in one file" in reading.notes
    expected = 6 if data.startswith(b"run 1") else 0
    assert reading.unparsed.count == expected
    assert sniff(data[:8192])


def test_documents_of_an_array_begin_at_their_own_lines() -> None:
    text = dumps(documents(), indent=2)
    begins = [n for n, line in enumerate(text.splitlines(), start=1) if line == "  {"]
    assert sorted(set(parse(text.encode(), PATH).frame["line_no"])) == begins


def test_an_array_that_is_cut_keeps_the_documents_before_the_cut() -> None:
    text = dumps(documents(), indent=2)
    reading = parse(text[: int(len(text) * 0.7)].encode(), PATH)
    assert reading.partial
    assert reading.frame["stream"].nunique() > 4
    assert any("stops in the middle" in note for note in reading.notes)


def test_a_damaged_document_of_an_array_costs_itself_and_not_its_successor() -> None:
    text = dumps(documents(), indent=2).replace('"connected": [', '"connected" [', 1)
    reading = parse(text.encode(), PATH)
    assert reading.partial
    assert "4 tests in one file" in reading.notes


def test_events_in_an_array_are_a_test_too() -> None:
    data = (DATA / "3.21+-stream-tcp.client.json").read_bytes()
    events = [json.loads(line) for line in data.splitlines()]
    for text in (dumps(events), dumps(events, indent=1), dumps({"log": events})):
        frame = parse(text.encode(), PATH).frame
        pd.testing.assert_frame_equal(
            frame.drop(columns="line_no"), parse(data, PATH).frame.drop(columns="line_no")
        )


@pytest.mark.parametrize("key", ["error", "stderr", "exception"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda good, bad: dumps({"data": {"pairs": [{"result": good}, bad]}}),
        lambda good, bad: dumps([good, bad], indent=2),
        lambda good, bad: f"{dumps(good)}\n{dumps(bad)}\n",
        lambda good, bad: dumps({"a": good, "b": {"tries": [bad]}}),
    ],
)
def test_what_a_wrapper_says_of_a_test_that_failed_is_a_message(
    key: str, wrap: Callable[[Any, Any], str]
) -> None:
    bad = {"source": "b", "target": "c", key: "iperf3 exited with 1: no route to host"}
    reading = parse(wrap(documents()[0], bad).encode(), PATH)
    assert len(reading.frame) == len(parse(dumps(documents()[0]).encode(), PATH).frame)
    assert len(reading.messages) == 1
    assert reading.messages[0].endswith("iperf3 exited with 1: no route to host")


@pytest.mark.parametrize(
    "bad",
    [
        {"error": {"code": 1, "message": "no route to host"}},
        {"errors": ["no route to host"]},
        {"status": "failed", "message": "no route to host"},
        {"success": False, "reason": "no route to host"},
        {"rc": 1, "stdout": "no route to host"},
        {"returncode": 1, "stderr": "no route to host", "stdout": ""},
        {
            "rc": 1,
            "stdout": '{"start": {}, "intervals": [], "end": {}, "error": "no route to host"}',
        },
        {"result": {"error": "no route to host"}},
    ],
)
def test_a_failure_is_a_message_however_its_wrapper_spells_it(bad: dict[str, Any]) -> None:
    reading = parse(dumps({"tests": [documents()[0], bad]}).encode(), PATH)
    assert any("no route to host" in message for message in reading.messages)
    assert reading.unparsed.count == 0


def test_a_wrapper_of_a_test_that_went_well_says_nothing() -> None:
    good = {"rc": 0, "status": "success", "stderr": "", "error": None, "result": documents()[0]}
    assert parse(dumps([good]).encode(), PATH).messages == ()


def test_a_file_of_failures_alone_is_refused_with_what_they_say() -> None:
    with pytest.raises(ParseError, match="no route to host"):
        parse(b'{"pairs": [{"source": "b", "error": "no route to host"}]}', PATH)


def without_streams(document: dict[str, Any], *, end: bool = True) -> dict[str, Any]:
    for interval in document["intervals"]:
        del interval["streams"]
    if end:
        del document["end"]["streams"]
    return document


@pytest.mark.parametrize(
    "name", ["3.12-tcp.client.json", "3.12-p2.client.json", "3.12-reverse.server.json"]
)
def test_where_only_sums_were_kept_they_stand_for_their_streams(name: str) -> None:
    document = json.loads((DATA / name).read_bytes())
    whole = parse(dumps(document).encode(), PATH).frame
    reading = parse(dumps(without_streams(document)).encode(), PATH)
    check(reading.frame, "traffic")
    assert any("sums stand for them" in note for note in reading.notes)
    for kind in ("interval", "summary"):
        for side in ("sender", "receiver"):
            found, expected = (
                f.loc[(f["kind"] == kind) & (f["side"] == side), "size_bytes"].sum()
                for f in (reading.frame, whole)
            )
            assert found == expected, (kind, side)


def test_both_ways_of_a_test_without_streams_are_kept_apart() -> None:
    document = json.loads((DATA / "3.12-bidir-p2.client.json").read_bytes())
    end = document["end"]
    sent, received = end["sum_sent"]["bytes"], end["sum_received_bidir_reverse"]["bytes"]
    frame = parse(dumps(without_streams(document)).encode(), PATH).frame
    summaries = frame[frame["kind"] == "summary"]
    by_stream = summaries.groupby(["stream", "side"], observed=True)["size_bytes"].sum().to_dict()
    assert by_stream[0, "sender"] == sent
    assert by_stream[frame["stream"].max(), "receiver"] == received


def test_a_sum_without_its_interval_is_left_out_and_said() -> None:
    document = without_streams(json.loads((DATA / "3.12-tcp.client.json").read_bytes()))
    document["end"] = {"sum_received": {"bits_per_second": 7.2e6}}
    reading = parse(dumps(document).encode(), PATH)
    assert set(reading.frame["kind"]) == {"interval"}
    assert any("end.sum_received" in note for note in reading.notes)


def test_a_document_that_gives_no_figures_is_not_understood() -> None:
    document = json.loads((DATA / "3.12-tcp.client.json").read_bytes())
    reading = parse(dumps({"start": document["start"], "intervals": [], "end": {}}).encode(), PATH)
    assert reading.frame.empty
    assert reading.unparsed.count == 1


@pytest.mark.parametrize("line", ['{"a":[{},\n', '{"a":{\n', '{"a":1},\n[{"b":[1,\n'])
def test_documents_that_fail_many_times_are_looked_at_a_bounded_number_of_times(line: str) -> None:
    looked = []
    # private: the work is counted where it is done, not timed
    decode = json_documents._DECODER.raw_decode

    def counted(text: str, idx: int = 0) -> tuple[Any, int]:
        try:
            value, end = decode(text, idx)
        except json.JSONDecodeError as exc:
            looked.append(exc.pos - idx)
            raise
        except RecursionError:
            looked.append(len(text) - idx)
            raise
        looked.append(end - idx)
        return value, end

    text = line * 20_000
    with pytest.MonkeyPatch.context() as patch:
        # private: the work is counted where it is done, not timed
        patch.setattr(json_documents._DECODER, "raw_decode", counted)
        with contextlib.suppress(ParseError):
            json_documents.read_documents(text.encode(), PATH)
    assert sum(looked) < 40 * len(text)
