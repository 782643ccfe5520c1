from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import ConfigError
from perfkit.report import export
from perfkit.report.tables import Column, ReportTable, to_html

COLUMNS = (
    Column("host", "Host", kind="text"),
    Column("goodput_bps", "Goodput", "Mbit/s", digits=2, scale=1e6),
    Column("lost", "Lost", digits=0),
)
NASTY = [
    "a|b||c", "<b>bold</b>", "''it''", "[[Main Page]]", "{{template}}", "`code`", "__NOTOC__", "~~~~",
    "#1 [2] {3} r4", "MyWikiPage", "x_1*2*", "&amp; & $5 ^2 %", "back\\slash", "-5", "- x", "two\nlines",
    "=1+1", "!bang", "a,,b,,", "é±µ", "|-", "}",
]  # fmt: skip


def table(*rows: tuple[str | float | None, ...]) -> ReportTable:
    return ReportTable(
        name="t",
        title="A | title",
        columns=COLUMNS,
        rows=rows,
        caption="Over 10 s",
        provenance="Run x",
    )


def nasty() -> ReportTable:
    return table(*((text, 1.5e6, None) for text in NASTY))


def test_a_figure_is_rounded_once_when_it_is_shown() -> None:
    shown = list(table(("a", 12_345_678.9, 3.0)).shown())
    assert shown == [["a", "12.35", "3"]]


def test_what_is_not_known_says_so() -> None:
    assert list(table(("a", math.nan, None)).shown()) == [["a", "n/a", "n/a"]]


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        table(("a", 1.0))


def test_csv_keeps_raw_values_under_names_with_units() -> None:
    rows = list(csv.reader(io.StringIO(export.to_csv(table(("a", 12_345_678.9, None))))))
    assert rows == [["host", "goodput_bps", "lost"], ["a", "12345678.9", ""]]


@given(st.text(min_size=1, max_size=30), st.floats(allow_nan=False, allow_infinity=False))
def test_csv_text_never_starts_a_formula_and_numbers_stay_numbers(text: str, number: float) -> None:
    _, (cell, figure, _) = csv.reader(io.StringIO(export.to_csv(table((text, number, None)))))
    assert cell.lstrip()[:1] not in ("=", "+", "-", "@")
    assert float(figure) == number


def test_the_frame_of_a_table_has_its_raw_values() -> None:
    frame = table(("a", 1.0, 2)).to_frame()
    assert frame.to_dict("list") == {"host": ["a"], "goodput_bps": [1.0], "lost": [2]}


def test_the_wiki_layouts_are_those_of_the_old_tables() -> None:
    old = ReportTable(name="t", title="T", columns=COLUMNS, rows=(("a", 1e6, 2), ("b", 2e6, 0)))
    assert export.to_mediawiki(old).splitlines() == [
        '{| border="1" style="text-align:center;"',
        "|+ T",
        "|'''Host'''||'''Goodput (Mbit/s)'''||'''Lost'''",
        "|-",
        "| a || 1.00 || 2",
        "|-",
        "| b || 2.00 || 0",
        "|}",
    ]
    assert export.to_trac(old).splitlines()[2:] == [
        "||'''Host'''||'''Goodput (Mbit/s)'''||'''Lost'''||",
        "||a|| 1.00|| 2||",
        "||b|| 2.00|| 0||",
    ]


def test_in_trac_no_cell_ends_early_or_becomes_a_link() -> None:
    lines = export.to_trac(nasty()).splitlines()
    rows = [line for line in lines if line.startswith("||")][1:]
    assert len(rows) == len(NASTY)
    assert all(row.count("||") == 4 for row in rows)
    text = "\n".join(rows)
    assert "!MyWikiPage" in text
    assert "!r4" in text
    assert not {"{3}", "[2]", "#1 ", "`", ",,", "''"} & {
        mark for mark in ("{3}", "[2]", "#1 ", "`", ",,", "''") if mark in text
    }


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'markdown'"):
        export.export(table(), "markdwn")


def test_writing_makes_one_file_a_format(tmp_path: Path) -> None:
    paths = export.write(table(("a", 1.0, 2)), tmp_path)
    assert [path.name for path in paths] == ["t.csv", "t.md", "t.mediawiki", "t.trac", "t.tex"]
    assert all(path.stat().st_size > 20 for path in paths)


def test_html_escapes_all_text_and_aligns_numbers_right() -> None:
    text = to_html(table(("<script>alert(1)</script>", 1.0, 2)))
    assert "<script>" not in text
    assert '<td class="n">' in text
    assert text.count('<th scope="col"') == 3


def test_a_wide_table_stands_on_its_side_in_a_narrow_terminal() -> None:
    wide = table(("first-name-of-a-host", 1e6, 2))
    assert wide.to_text(200).splitlines()[1].split() == ["Host", "Goodput", "(Mbit/s)", "Lost"]
    turned = wide.to_text(40).splitlines()
    assert turned[2].split() == ["Goodput", "(Mbit/s)", "1.00"]
    assert max(map(len, turned)) <= 46


class _Cells(HTMLParser):
    """The text of the body cells of the first table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def cells(html: str) -> list[list[str]]:
    parser = _Cells()
    parser.feed(html)
    return [[" ".join(cell.split()) for cell in row] for row in parser.rows]


def through_pandoc(text: str, source: str) -> str:
    done = subprocess.run(
        ["pandoc", "--wrap=none", "-f", source, "-t", "html"],
        input=text, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("format_name", "source"),
    [
        ("markdown", "markdown-smart"),
        ("markdown", "gfm"),
        ("mediawiki", "mediawiki"),
        ("latex", "latex-smart"),
        ("html", "html"),
    ],
)
def test_another_program_reads_back_what_was_written(
    format_name: str, source: str, needs_tools: Callable[..., None]
) -> None:
    needs_tools("pandoc")
    body = cells(through_pandoc(export.export(nasty(), format_name), source))
    # TeX prints an apostrophe as it is typeset.
    printed = [text.replace("'", "’") for text in NASTY] if source == "latex-smart" else NASTY
    expected = [[" ".join(text.split()), "1.50", "n/a"] for text in printed]
    assert body[1:] == expected
    assert "Goodput" in body[0][1]


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
        min_size=30,
        max_size=30,
    )
)
@pytest.mark.parametrize(
    ("format_name", "source"), [("markdown", "gfm"), ("mediawiki", "mediawiki")]
)
def test_any_text_is_read_back_as_itself(format_name: str, source: str, words: list[str]) -> None:
    if shutil.which("pandoc") is None:
        pytest.skip("pandoc is not installed; the test before fails for it in CI")
    made = table(*((f"x {word} y", 1e6, 1) for word in words))
    body = cells(through_pandoc(export.export(made, format_name), source))
    assert [row[0] for row in body[1:]] == [f"x {word} y" for word in words]


def test_a_table_is_json_clean() -> None:
    assert json.loads(table(("a", 1.0, 2)).to_frame().to_json(orient="records")) == [
        {"host": "a", "goodput_bps": 1.0, "lost": 2}
    ]
