from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet
from prerequisites import require

from perfkit.errors import ConfigError
from perfkit.report import export
from perfkit.report.answer import compose
from perfkit.report.tables import Column, ReportTable, to_html
from perfkit.report.wiki import to_mediawiki, to_trac
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign

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


@pytest.mark.parametrize("text", ["", "plain", "a=b", "it's"])
def test_csv_text_that_is_no_formula_is_left_alone(text: str) -> None:
    _, (cell, *_) = csv.reader(io.StringIO(export.to_csv(table((text, 1.0, None)))))
    assert cell == text


def test_the_frame_of_a_table_has_its_raw_values() -> None:
    frame = table(("a", 1.0, 2)).to_frame()
    assert frame.to_dict("list") == {"host": ["a"], "goodput_bps": [1.0], "lost": [2]}


def test_the_wiki_layouts_are_those_of_the_old_tables() -> None:
    old = ReportTable(name="t", title="T", columns=COLUMNS, rows=(("a", 1e6, 2), ("b", 2e6, 0)))
    assert to_mediawiki(old).splitlines() == [
        '{| border="1" style="text-align:right;"',
        "|+ T",
        "|'''Host'''||'''Goodput (Mbit/s)'''||'''Lost'''",
        "|-",
        '| style="text-align:left;" | a || 1.00 || 2',
        "|-",
        '| style="text-align:left;" | b || 2.00 || 0',
        "|}",
    ]
    assert to_trac(old).splitlines()[2:] == [
        "||'''Host'''||'''Goodput (Mbit/s)'''||'''Lost'''||",
        "||a|| 1.00|| 2||",
        "||b|| 2.00|| 0||",
    ]


def test_in_trac_no_cell_ends_early_or_becomes_a_link() -> None:
    # Each of these was read by Trac 1.6 itself; it prints entities as they stand.
    made = to_trac(table(*((text, 1.5e6, None) for text in NASTY)))
    rows = [line for line in made.splitlines() if line.startswith("||")][1:]
    assert len(rows) == len(NASTY)
    assert all(row.endswith("|| 1.50|| n/a||") for row in rows)
    words = dict(zip(NASTY, (row[2 : -len("|| 1.50|| n/a||")] for row in rows), strict=True))
    assert words["a|b||c"] == "`a|b||c`"
    assert words["MyWikiPage"] == "`MyWikiPage`"
    assert words["`code`"] == "{{{`code`}}}"
    assert words["=1+1"] == "`=1+1`"
    assert words["#1 [2] {3} r4"] == "`#1` `[2]` `{3}` `r4`"
    assert "&" not in "".join(
        text for text in words.values() if "amp" not in text and " " not in text
    )


@pytest.mark.parametrize(
    "text",
    [
        "10.77.0.3:5001 did not answer in 12.5 s (R&D, rack 4)",
        "exit status 1: tcp connect failed: Connection refused",
        "a, b; c - d: 50 % of $5 (±2)",
        "OpenVPN 2.6.3; iperf 2.1.8; Linux 6.1.0-18-amd64",
    ],
)
def test_plain_prose_is_not_escaped_in_a_wiki(text: str) -> None:
    assert f"||{text}|| 1.50|| n/a||" in to_trac(table((text, 1.5e6, None)))
    assert f" | {text} || 1.50 || n/a" in to_mediawiki(table((text, 1.5e6, None)))


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'markdown'"):
        export.export(table(), "markdwn")


def test_writing_makes_one_file_a_format(tmp_path: Path) -> None:
    paths = export.write(table(("a", 1.0, 2)), tmp_path)
    assert [path.name for path in paths] == [
        "t.csv", "t.json", "t.xlsx", "t.md", "t.mediawiki", "t.trac", "t.tex",
    ]  # fmt: skip
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
        input=text, capture_output=True, text=True, check=True, timeout=600,
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


MARKS = [
    "''", "**", "//", "__", "~~", ",,", "^", "`", "{{{", "}}}", "{", "}", "||", "|", "|-", "\\", "\\\\",
    "[[", "]]", "<", ">", "&amp;", "&#124;", "#12", "r12", "@", "!", "MyPage", "http://x", "ticket:1:",
    "=", "---", "~~~~", ":", "*", "%", "$", "_", "a", "1", "<!--", "<nowiki>", "</td>", " ", "'", '"',
]  # fmt: skip
hostile = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
    st.lists(st.sampled_from(MARKS), min_size=1, max_size=5).map("".join),
).filter(str.strip)


@settings(max_examples=5, deadline=None)
@given(st.lists(hostile, min_size=60, max_size=60))
@pytest.mark.parametrize(
    ("format_name", "source"),
    [("markdown", "gfm"), ("mediawiki", "mediawiki"), ("latex", "latex-smart"), ("html", "html")],
)
def test_any_text_is_read_back_as_itself(format_name: str, source: str, words: list[str]) -> None:
    require(shutil.which("pandoc"), "not installed: pandoc; scripts/setup --tests installs it")
    made = table(*((word, 1e6, 1) for word in words))
    html = through_pandoc(export.export(made, format_name), source)
    assert "<a " not in html
    assert "<code" not in html
    printed = [word.replace("'", "’") for word in words] if format_name == "latex" else words
    assert [row[0] for row in cells(html)[1:]] == [" ".join(word.split()) for word in printed]


@given(st.lists(hostile, min_size=1, max_size=40))
def test_in_trac_every_word_is_plain_or_code_and_code_ends_where_the_word_does(
    words: list[str],
) -> None:
    made = to_trac(table(*((word, 1e6, 1) for word in words)))
    rows = [line for line in made.splitlines() if line.startswith("||")][1:]
    code = r"`[^`]+`|\{\{\{[^}]+\}\}\}"
    for word, row in zip(words, rows, strict=True):
        cell = row.removeprefix("||").removesuffix("|| 1.00|| 1||")
        plain = re.sub(code, lambda m: m[0].strip("`") if m[0][0] == "`" else m[0][3:-3], cell)
        assert plain == " ".join(word.split())
        left = re.sub(code, "", cell)
        assert not re.search(r"\|\||''|\[|`|,,|\^|<|@|//|__|~~|\*\*|!|#\d", left), cell


@pytest.fixture(scope="module")
def campaign_tables(
    grown_campaign: Run, tmp_path_factory: pytest.TempPathFactory
) -> list[ReportTable]:
    """Every table that a campaign has, of one size and of several, with variants and without."""
    varied = make_campaign(
        tmp_path_factory.mktemp("campaigns") / "varied",
        clients=(3,),
        variants={"base": 1.0, "a_b": 0.8},
        repetitions=2,
        duration_s=5,
    )
    answers = [compose(run) for run in (grown_campaign, varied)]
    tables = {table.name: table for answer in answers for table in answer.tables.values()}
    assert {"answer", "cells", "explored", "in-tunnel", "laws", "blocks", "cost"} <= set(tables)
    return [*answers[0].tables.values(), *answers[1].tables.values()]


def shown_cells(made: ReportTable) -> list[str]:
    """Headings and cells as people read them, in no order: LaTeX turns some tables."""
    read = [[column.label for column in made.columns], *made.shown()]
    return sorted(" ".join(cell.split()) for row in read for cell in row if cell.strip())


@pytest.mark.parametrize(
    ("format_name", "source"),
    [("markdown", "markdown-smart"), ("mediawiki", "mediawiki"), ("latex", "latex-smart")],
)
def test_every_table_of_a_campaign_is_read_back_by_another_program(
    campaign_tables: list[ReportTable],
    format_name: str,
    source: str,
    needs_tools: Callable[..., None],
) -> None:
    needs_tools("pandoc")
    written = "\n\n".join(export.export(made, format_name) for made in campaign_tables)
    tables = through_pandoc(written, source).split("<table")[1:]
    for made, table in zip(campaign_tables, tables, strict=True):
        body = cells(f"<table{table}")
        read = sorted(cell.replace("’", "'") for row in body for cell in row if cell)
        assert read == shown_cells(made), made.name


def test_every_table_of_a_campaign_is_read_back_as_data(campaign_tables: list[ReportTable]) -> None:
    for made in campaign_tables:
        kept = json.loads(export.export(made, "json"), parse_constant=pytest.fail)
        keys = [column.key for column in made.columns]
        finite = [
            [None if isinstance(v, float) and not math.isfinite(v) else v for v in row]
            for row in made.rows
        ]
        assert [[row[key] for key in keys] for row in kept["rows"]] == finite, made.name
        assert len(set(keys)) == len(keys), made.name
        head, *body = csv.reader(io.StringIO(export.to_csv(made)))
        assert (head, len(body)) == (keys, len(made.rows)), made.name
        sheet = openpyxl.load_workbook(io.BytesIO(export.encode(made, "xlsx"))).worksheets[0]
        assert [cell.value for cell in sheet[2]] == [column.label for column in made.columns]
        trac = [line for line in export.export(made, "trac").splitlines() if line.startswith("||")]
        assert len(trac) == len(made.rows) + 1, made.name


def test_a_long_latex_table_goes_over_pages(needs_tools: Callable[..., None]) -> None:
    needs_tools("pandoc")
    made = table(*((f"host-{n}", 1e6, n) for n in range(100)))
    text = export.export(made, "latex")
    assert r"\begin{longtable}" in text
    assert r"\begin{table}" not in text
    body = cells(through_pandoc(text, "latex"))
    assert [row[2] for row in body[1:]] == [str(n) for n in range(100)]


def test_the_old_tools_semicolons_are_an_option() -> None:
    text = export.export(table(("a;b", 1.5, None)), "csv-semicolon")
    assert text.splitlines() == ["host;goodput_bps;lost", '"a;b";1.5;']


@given(hostile, st.floats())
def test_json_says_what_each_number_is_and_keeps_every_digit(text: str, number: float) -> None:
    made = json.loads(
        export.export(table((text, number, None)), "json"), parse_constant=pytest.fail
    )
    assert made["columns"][1] == {
        "key": "goodput_bps",
        "type": "number",
        "shown": {"heading": "Goodput", "unit": "Mbit/s", "scale": 1e6, "digits": 2},
    }
    known = number if math.isfinite(number) else None
    assert made["rows"] == [{"host": text, "goodput_bps": known, "lost": None}]
    assert (made["caption"], made["provenance"]) == ("Over 10 s", "Run x")


def workbook(*rows: tuple[str | float | None, ...]) -> Worksheet:
    data = export.encode(table(*rows), "xlsx")
    return openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]


def test_in_a_spreadsheet_numbers_are_numbers_in_the_unit_of_their_heading() -> None:
    sheet = workbook(("a", 12_345_678.9, 7), ("b", math.nan, None))
    assert sheet["A1"].value == "A | title"
    assert [cell.value for cell in sheet[2]] == ["Host", "Goodput (Mbit/s)", "Lost"]
    assert [cell.value for cell in sheet[3]] == ["a", 12.3456789, 7]
    assert [cell.number_format for cell in sheet[3]][1:] == ["0.00", "0"]
    assert [cell.value for cell in sheet[4]] == ["b", None, None]
    assert [sheet.cell(row, 1).value for row in (6, 7)] == ["Over 10 s", "Run x"]
    assert sheet.freeze_panes == "A3"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(hostile, st.text(min_size=1, max_size=20)), min_size=20, max_size=20))
@example(
    ["=1+1", "+1", "-1", "@x", "#N/A", "_x0041_", "\x00\x01a", "\ud800", "\uffff", "1", "TRUE"]
)
def test_in_a_spreadsheet_text_is_itself_and_never_a_formula(words: list[str]) -> None:
    sheet = workbook(*((word, 1.0, 1) for word in words))
    for word, (cell, _, _) in zip(words, sheet.iter_rows(min_row=3), strict=False):
        stored = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "", word)
        stored = re.sub("[\ud800-\udfff\ufffe\uffff]", "�", stored).replace("\r\n", "\n")
        assert unescape(cell.value or "") == stored.replace("\r", "\n")
        assert cell.data_type in ("s", "inlineStr")


def test_bytes_are_not_text() -> None:
    with pytest.raises(ConfigError, match="it is not text"):
        export.export(table(), "xlsx")


def test_a_wide_latex_table_of_few_rows_is_turned_and_long_text_is_broken() -> None:
    columns = [Column("test", "Test", kind="text"), *(Column(f"c{n}", f"C{n}") for n in range(12))]
    wide = ReportTable(
        name="wide",
        title="Wide",
        columns=tuple(columns),
        rows=(("a", *range(12)), ("b", *range(12))),
    )
    text = export.export(wide, "latex")
    assert r"\begin{tabular}{lrr}" in text
    assert "Test & a & b \\\\\n\\midrule\nC0 & 0 & 0 \\\\" in text
    columns = [Column("what", "What", kind="text"), Column("n", "N")]
    long = ReportTable(name="long", title="Long", columns=tuple(columns), rows=(("word " * 20, 1),))
    assert r"\linewidth}r}" in export.export(long, "latex")


def test_signs_that_latex_does_not_know_are_written_in_mathematics() -> None:
    made = table(("≥ 3 × ≤ …", 1e6, 1))
    assert r"\(\geq\) 3 \(\times\) \(\leq\) \ldots{}" in export.export(made, "latex")
