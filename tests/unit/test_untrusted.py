"""The bounds on what a host sends, each met from both sides."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit import untrusted
from perfkit.errors import DamagedPackError, UntrustedError
from perfkit.report import document
from perfkit.untrusted import (
    EVENTS,
    FACTS,
    one_line,
    parse_int,
    parse_json,
    parse_record,
    printable,
    unpack,
)

PACKERS: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, lzma.compress, bz2.compress)


@pytest.mark.parametrize("pack", PACKERS)
def test_what_is_packed_is_unpacked_up_to_the_limit_and_not_beyond(
    pack: Callable[[bytes], bytes],
) -> None:
    assert unpack(pack(b"a\n" * 500), 1000) == b"a\n" * 500
    assert unpack(pack(b"one") + pack(b"two"), 1000) == b"onetwo"
    with pytest.raises(UntrustedError, match=r"unpack to more than .* the limit"):
        unpack(pack(b"a\n" * 501), 1000)


@pytest.mark.parametrize("pack", PACKERS)
def test_packed_data_that_is_cut_is_called_damaged(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DamagedPackError, match="cut or damaged"):
        unpack(pack(b"some text that is long enough\n" * 100)[:-12])


def test_a_bomb_of_ten_gigabytes_takes_no_more_memory_than_its_limit() -> None:
    part = io.BytesIO()
    with gzip.GzipFile(fileobj=part, mode="wb", compresslevel=9) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    bomb = part.getvalue() * 160  # members of 64 MiB each, one after the other
    limit_bytes = 8 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(UntrustedError, match="the limit"):
            unpack(bomb, limit_bytes)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * limit_bytes + len(bomb)


def test_a_file_of_too_many_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "FILE_LINES", 3)
    assert unpack(b"\n" * 3) == b"\n" * 3
    with pytest.raises(UntrustedError, match="more than 3 lines"):
        unpack(b"\n" * 4)


def test_a_file_larger_than_the_limit_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"12345")
    assert untrusted.read_file(path, 5) == b"12345"
    with pytest.raises(UntrustedError, match="larger than"):
        untrusted.read_file(path, 4)


def test_a_large_file_takes_its_own_size_in_memory_and_not_twice_that(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (5 * 2**20))
    tracemalloc.start()
    try:
        data = untrusted.read_file(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data == b"x" * (5 * 2**20)
    assert peak_bytes < 1.5 * len(data)


def test_a_file_whose_size_is_not_known_is_read_to_its_end() -> None:
    path = Path("/proc/version")
    assert path.stat().st_size == 0
    assert untrusted.read_file(path) == path.read_bytes()


JSON_ATTACKS: dict[str, tuple[str | bytes, str]] = {
    "deep arrays": ("[" * 100_000, "nested deeper"),
    "deep and closed": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper"),
    "a little too deep": ("[" * 40 + "]" * 40, "nested deeper"),
    "a number of a million digits": ('{"ncpu": ' + "9" * 10**6 + "}", "a number of 1000000 digits"),
    "a number beyond 64 bits": ('{"ncpu": 99999999999999999999}', "a number of 20 digits"),
    "a large exponent": ('{"ncpu": 1e999}', "too large"),
    "not a number": ('{"ncpu": NaN}', "NaN is not a number"),
    "infinity": ('{"ncpu": -Infinity}', "-Infinity is not a number"),
    "a key twice": ('{"os": "a", "os": "b"}', "'os' twice"),
    "a lone surrogate": (r'{"os": "\ud800"}', r"U\+D800"),
    "a lone surrogate as a key": (r'{"\udfff": 1}', r"U\+DFFF"),
    "NUL": (r'{"os": "a\u0000b"}', r"U\+0000"),
    "an escape": (r'{"os": "\u001b[2J"}', r"U\+001B"),
    "text that runs backwards": (r'{"os": "\u202e"}', r"U\+202E"),
    "another encoding": ('{"os": "x"}'.encode("utf-16"), "not JSON"),
    "no UTF-8": (b'{"os": "\xff"}', "not JSON"),
    "cut": ('{"os": "x', "not JSON"),
    "nothing": ("", "not JSON"),
    "too large": ('{"os": "' + "x" * 2**20 + '"}', "bytes of JSON, more than"),
}


@pytest.mark.parametrize("name", JSON_ATTACKS)
def test_json_beyond_a_bound_is_refused_with_the_reason(name: str) -> None:
    text, words = JSON_ATTACKS[name]
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(UntrustedError, match=words) as caught:
        parse_record(data, FACTS)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [[], {}, None, True, "1", 1.5, [[]]], ids=json.dumps)
def test_a_field_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(UntrustedError, match=r"ncpu: int expected"):
        parse_record(json.dumps({"ncpu": value}), FACTS)


@pytest.mark.parametrize("text", ["[]", "7", '"x"', "null"])
def test_a_record_is_an_object(text: str) -> None:
    with pytest.raises(UntrustedError, match="a JSON object expected"):
        parse_record(text, FACTS)


def test_a_record_as_perfkit_writes_it_passes_also_with_a_byte_order_mark() -> None:
    record = {"slot": "01-a", "start_utc_s": None, "end_utc_s": 1.5, "timed_out": False, "new": "x"}
    text = json.dumps(record)
    assert parse_record(text, EVENTS) == record
    assert parse_record(b"\xef\xbb\xbf" + text.encode(), EVENTS) == record


def test_what_perfkit_wrote_itself_may_hold_any_character_but_is_not_deep() -> None:
    own = json.dumps({"reason": "a\u001bb", "p": float("nan")})
    assert parse_json(own, ours=True)["reason"] == "a\u001bb"
    with pytest.raises(UntrustedError, match="nested deeper"):
        parse_json("[" * 100_000, ours=True)


@pytest.mark.parametrize("text", ["", "x", "1.5", "٣", "1" * 10**6, "1 2", "--1", str(2**63)])
def test_what_is_no_whole_number_of_64_bits_is_refused(text: str) -> None:
    with pytest.raises(UntrustedError):
        parse_int(text)


def test_a_whole_number_may_have_blanks_around_it() -> None:
    assert [parse_int(text) for text in ("7\n", " -7 ", str(2**63 - 1))] == [7, -7, 2**63 - 1]


def test_text_for_a_message_is_one_bounded_line_of_printable_characters() -> None:
    shown = one_line("a\x1b[31m\tb\nc\u202e\0\ud800" + "x" * 10**6, 50)
    assert shown.isprintable()
    assert len(shown) == 50
    assert shown.startswith("a b c???")


@pytest.mark.parametrize(
    "escape",
    [
        "\x1b[31m",
        "\x1b[?25l",
        "\x1b[1;31m",
        "\x1b]0;owned\x07",
        "\x1b]8;;x:y\x1b\\",
        "\x1bPq\x1b\\",
        "\x1b(B",
        "\x1bM",
    ],
)
def test_no_letters_of_a_terminal_escape_stay_in_what_is_shown(escape: str) -> None:
    assert one_line(f"a{escape}b") == "ab"
    assert printable(f"a{escape}\nb{escape}") == "a\nb"
    assert document.plain(f"a{escape}b") == "ab"


def test_an_escape_that_does_not_end_takes_no_more_than_itself_away() -> None:
    assert one_line("a\x1b]0;b") == "a0;b"
    assert one_line("a\x1b") == "a?"
    assert printable("a\x1b]0;b\nc\x07") == "a0;b\nc?"
