"""The answer of a campaign: one page that opens without a network, and the same tables as files.

`compose` makes an `Answer` from a campaign's folder, after bringing cells.parquet up to date;
`render` also writes answer.json, `report/index.html`, its page of methods, the tables in every format
and the plots. The page begins with a sentence, goes on with a picture and a table of five columns, and
folds the rest. Cell and terminal show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.analysis.answers.campaign_answer import CampaignAnswer, find_answer, to_json
from perfkit.executors.mapping import Where
from perfkit.report import answer_words, export, methods
from perfkit.report.answer_tables import answer_tables
from perfkit.report.document import fill, plain, write_page
from perfkit.report.tables import ReportTable, cleaned, in_terminal
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run, write_json

if TYPE_CHECKING:
    from perfkit.report.plots import Plot

_FIRST = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A campaign's answer, made but not written.

    Attributes:
        tables: Tables in the order of the page, by name.
        plots: The picture of the answer first.
    """

    run: Run
    found: CampaignAnswer
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    tables: dict[str, ReportTable]
    plots: tuple[Plot, ...]

    @property
    def page(self) -> Path:
        """Where its page is, or will be."""
        return self.run.report_dir / "index.html"

    def text(self, width: int = 110) -> str:
        """For a terminal, and for the end of a headless run: sentences, warnings, one table."""
        return in_terminal(self.sentences, self.warnings, [self.tables[_FIRST]], width)

    def __repr__(self) -> str:
        return f"<Answer {self.run.id}: {self.sentences[0]}>"

    def _repr_html_(self) -> str:
        table = self.tables[_FIRST]
        return fill(
            "answer_cell",
            sentences=self.sentences,
            warnings=self.warnings,
            table=table,
            plots=self.plots,
            about=table.provenance,
        )


def compose(run: Run, executor: Where = None) -> Answer:
    """Read a campaign's blocks as they are now, and make its answer.

    Writes cells.parquet where windows or blocks have changed since it was written.

    Args:
        executor: Who reduces the blocks, see `perfkit.executors.mapping`.

    Raises:
        RunError: it is no campaign, or a block cannot be read. ExecutorError: its workers failed.
    """
    from perfkit.report.answer_plots import answer_plots  # noqa: PLC0415 -- loads matplotlib

    found = find_answer(run, executor)
    return Answer(
        run=run,
        found=found,
        sentences=tuple(map(plain, answer_words.sentences(found))),
        warnings=tuple(map(plain, answer_words.warnings(found))),
        tables={table.name: cleaned(table) for table in answer_tables(found)},
        plots=tuple(answer_plots(found)),
    )


def render(run: Run, *, executor: Where = None, now: datetime | None = None) -> Answer:
    """Make a campaign's answer and write it: answer.json and `report/` of its folder.

    Args:
        executor: Who reduces the blocks.
        now: The moment printed on the page; the clock's if None.
    """
    answer, moment = compose(run, executor), now or datetime.now(UTC)
    export.write_all(run.report_dir, answer.tables.values(), answer.plots)
    methods.write(run.report_dir, run.id, answer.tables.values(), moment)
    write_json(campaign_folder.answer_path(run), to_json(answer.found, list(answer.sentences)))
    write_page(answer.page, to_page(answer, moment))
    return answer


def to_page(answer: Answer, now: datetime) -> str:
    """The whole page as HTML text."""
    rest: Sequence[ReportTable] = [t for name, t in answer.tables.items() if name != _FIRST]
    first = answer.tables[_FIRST]
    made = f"{first.provenance}; made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return fill(
        "answer",
        title=f"perfkit: {answer.run.id}",
        heading=answer.found.design.name,
        sentences=answer.sentences,
        warnings=answer.warnings,
        picture=answer.plots[0] if answer.plots else None,
        table=first,
        plots=answer.plots[1:],
        rest=rest,
        made_from=made,
        files=export.LINKS,
        methods=methods.PAGE,
    )
