"""JSON as programs print it: what is found, repaired, left over and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.json_documents import read_documents

LOG = Path("log.json")


def test_documents_are_found_side_by_side_and_on_lines_of_their_own() -> None:
    found = read_documents(b'{"a": 1}{"a": 2} {"a": 3}\n\n{\n  "a": 4\n}\n{"a": 5}\n', LOG).found
    assert [(d.line_no, d.value["a"]) for d in found] == [(1, 1), (1, 2), (1, 3), (3, 4), (6, 5)]


def test_text_around_documents_is_counted_by_line() -> None:
    documents = read_documents(b'warning: new\n\n{"a": 1} and\nmore\n{"a": 2}\nend\n', LOG)
    assert [d.value for d in documents.found] == [{"a": 1}, {"a": 2}]
    unparsed = documents.unparsed.result()
    assert unparsed.line_nos == (1, 3, 4, 6)
    assert unparsed.samples == ("warning: new", "and", "more", "end")


def test_a_document_may_begin_in_the_middle_of_the_first_line() -> None:
    assert read_documents(b'12:00:01 {"a": 1}\n', LOG).found[0].value == {"a": 1}


def test_a_key_that_comes_twice_is_kept_under_a_name_of_its_own() -> None:
    value = read_documents(b'{"sum": 1, "x": {"sum": 2}, "sum": 3, "sum": 4}', LOG).found[0].value
    assert value == {"sum": 1, "x": {"sum": 2}, "sum#2": 3, "sum#3": 4}


def test_numbers_that_only_c_prints_are_repaired_and_counted() -> None:
    documents = read_documents(
        b'{"a": -nan, "b": nan, "c": [inf, 1], "d": 5.9e 06, "e": "-nan", "f": -nan(0x1)}\n{"a": 1}\n',
        LOG,
    )
    assert documents.found[0].value == {
        "a": None, "b": None, "c": [None, 1], "d": 5.9e6, "e": "-nan", "f": None
    }  # fmt: skip
    assert documents.repaired == 5
    assert documents.found[1].line_no == 2


def test_a_damaged_document_costs_itself_and_not_its_successor() -> None:
    documents = read_documents(b'{"a": 1}\n{"b": [1,\n  2\n{"c": 3}\n', LOG)
    assert [d.value for d in documents.found] == [{"a": 1}, {"c": 3}]
    assert isinstance(documents.damage, ParseError)
    assert documents.unparsed.result().line_nos == (2, 3)


@pytest.mark.parametrize("text", ['{"a": {"b": 1}', '{"a": "cut in a wo', '{"a": fals', '{"a": 1,'])
def test_a_lone_document_that_stops_in_the_middle_is_truncated(text: str) -> None:
    with pytest.raises(TruncatedError, match="line 2 on stops in the middle"):
        read_documents(f"\n{text}\n".encode(), LOG)


def test_a_document_cut_after_a_whole_one_is_damage_beside_data() -> None:
    documents = read_documents(b'{"a": 1}\n{"b": ', LOG)
    assert [d.value for d in documents.found] == [{"a": 1}]
    assert isinstance(documents.damage, TruncatedError)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no json\n", "object expected"),
        (b"[1, 2]\n", "object expected"),
        (b'{"a" 1}\n{"b" 2}\n', "not JSON"),
        (b'{"a":' + b"[" * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
    ],
    ids=["text", "array", "no colon", "deep", "long number"],
)
def test_what_is_no_document_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        read_documents(data, LOG)


def test_a_damaged_line_is_named_by_its_number() -> None:
    with pytest.raises(ParseError) as caught:
        read_documents(b'\n{\n  "a": 1\n  "b": 2\n}\n', LOG)
    assert (caught.value.line_no, caught.value.line) == (4, '  "b": 2')


def test_an_empty_file_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="empty"):
        read_documents(b" \n\n", LOG)
