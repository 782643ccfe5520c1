"""Tables as wiki text: MediaWiki and Trac, in the layout of the 2011 tool's tables.

Text comes from hosts we do not trust, so a cell must never become markup or a link; and it must
stay readable as source, so only what would be markup is escaped.
"""

from __future__ import annotations

import re
from itertools import pairwise

from perfkit.report.tables import Column, ReportTable, one_line

# What MediaWiki reads as markup somewhere inside a line: entities and tags; links, templates and
# tables; and characters that mean something only in pairs. pandoc takes a backslash for TeX.
_MEDIAWIKI = re.compile(
    r"""&(?=\#?\w+;) | [<>|\\] | \[(?=\[|\w+:|//) | \](?=\]) | (?<=\])\] | \{(?=[{|]) | (?<=\{)\{
      | \}(?=\}) | (?<=\})\} | '{2,} | _{2,} | ~{3,} | -{2,} | !{2,} | :(?=//) """,
    re.VERBOSE,
)


def to_mediawiki(table: ReportTable) -> str:
    """The layout of the old tables, a bold head line and one line a row, with numbers at the right.

    Most cells are numbers, so the table's own style aligns them and only text cells say otherwise.
    """
    side = "right" if any(column.kind == "number" for column in table.columns) else "left"

    def cell(column: Column, text: str) -> str:
        apart = 'style="text-align:left;" | ' if column.kind == "text" and side == "right" else ""
        return f"{apart}{_mediawiki(text)}"

    lines = [f'{{| border="1" style="text-align:{side};"', f"|+ {_mediawiki(table.title)}"]
    lines.append("|" + "||".join(f"'''{_mediawiki(c.label)}'''" for c in table.columns))
    for row in table.shown():
        cells = [cell(column, text) for column, text in zip(table.columns, row, strict=True)]
        # The blank keeps a leading minus from reading as `|-`, the next row.
        lines += ["|-", "| " + " || ".join(cells)]
    lines.append("|}")
    lines += [f"\n{_mediawiki(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join(lines) + "\n"


def _mediawiki(text: str) -> str:
    """What would be markup as numeric entities, which MediaWiki shows as the characters."""

    def entities(found: re.Match[str]) -> str:
        return "".join(f"&#{ord(char)};" for char in found[0])

    escaped = _MEDIAWIKI.sub(entities, one_line(text)) or "&#32;"
    # At the head of a line these begin a list, a term or a line of their own kind; at an end a
    # quote or a bar would join the markup beside it.
    return re.sub(r"^[*#:;=+}{!-]|^'|'$", entities, escaped)


# Trac knows no entities: `&#124;` would be printed as it stands. Its `!` before a mark works only
# where the mark is one, which depends on what follows. Code is text in every version.
_TRAC = re.compile(
    r"""[`^|\[<@!{}] | '' | \*\* | // | __ | ~~ | ,, | \\\\ | \#\w*\d | \br\d | ^=|=$
      | [A-Za-z][\w.+-]*:[\w/?!\#@"'] """,
    re.VERBOSE,
)
_TRAC_LIST = re.compile(r"^(?:[-*•]|\w+\.)$")


def to_trac(table: ReportTable) -> str:
    """Trac wiki: double bars, bold heads; a leading blank aligns numbers to the right."""

    def cell(column: Column, text: str) -> str:
        return f" {_trac(text)}" if column.kind == "number" else _trac(text)

    lines = ["||" + "||".join(f"'''{_trac(c.label)}'''" for c in table.columns) + "||"]
    lines += [
        "||" + "||".join(cell(c, text) for c, text in zip(table.columns, row, strict=True)) + "||"
        for row in table.shown()
    ]
    notes = [f"\n{_trac_line(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join([f"'''{_trac(table.title)}'''", "", *lines, *notes]) + "\n"


def _trac(text: str) -> str:
    """Words that Trac would take for markup or a link, as code; all others as they are."""
    words = (_trac_code(word) if _is_trac_markup(word) else word for word in one_line(text).split())
    return " ".join(words)


def _trac_line(text: str) -> str:
    """A line of prose: its first word may not begin a list."""
    first, blank, rest = _trac(text).partition(" ")
    return f"{_trac_code(first) if _TRAC_LIST.search(first) else first}{blank}{rest}"


def _is_trac_markup(word: str) -> bool:
    humps = sum(a.isupper() and b.islower() for a, b in pairwise(word))
    return humps > 1 or bool(_TRAC.search(word))  # CamelCase is the name of a page


def _trac_code(word: str) -> str:
    if "`" not in word:
        return f"`{word}`"
    # Code in braces may hold back-ticks but no closing braces, and the other way round.
    pieces = re.findall(r"\}+|[^}]+", word)
    return "".join(f"`{piece}`" if piece[0] == "}" else f"{{{{{{{piece}}}}}}}" for piece in pieces)
