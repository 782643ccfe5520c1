"""A reader that breaks is named, with the log and what it raised; the other logs go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from perfkit.cli.app import main
from perfkit.errors import LogError, ReaderError, UnknownFormatError
from perfkit.logs import registry
from perfkit.logs.format import Format, Reading
from perfkit.logs.reader import read, read_many, read_run
from perfkit.report.page import compose
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data"
SOUND = sorted((DATA / "iperf2").glob("*.log"))[0]


def no_such_column(*_: Any) -> Any:
    return {"speed": 1}["rate"]


def not_a_reading(*_: Any) -> Any:
    return None


def without_columns(_data: bytes, path: Path) -> Reading:
    return Reading(path=path, format="mine", kind="traffic", frame=pd.DataFrame({"rate": [1.0]}))


MINE = Format(
    name="mine",
    kind="traffic",
    sniff=lambda head: head.startswith(b"mine"),
    parse=no_such_column,
)


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[Format], None]:
    """Put a reader of somebody else first among the formats."""

    def put(mine: Format) -> None:
        formats = {mine.name: mine, **registry.formats()}
        monkeypatch.setattr(registry, "formats", lambda: formats)

    return put


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_bytes(b"mine 1 2 3\n")
    return path


@pytest.mark.parametrize(
    ("parse", "says"),
    [
        (no_such_column, "KeyError: 'rate'"),
        (not_a_reading, "TypeError: a Reading expected, NoneType found"),
        (without_columns, "FrameError: traffic frame: columns missing: "),
    ],
)
def test_a_reader_that_breaks_is_named_with_what_it_did(
    parse: Callable[..., Any], says: str, give: Callable[[Format], None], log: Path
) -> None:
    give(replace(MINE, parse=parse))
    with pytest.raises(ReaderError) as caught:
        read(log)
    assert str(caught.value).startswith(f"{log}: the reader of mine ({__name__}) failed on it")
    assert says in str(caught.value)


def test_what_a_reader_may_raise_is_left_as_it_is(
    give: Callable[[Format], None], log: Path
) -> None:
    def refuse(_data: bytes, path: Path) -> Reading:
        raise LogError(path, "made of cheese")

    give(replace(MINE, parse=refuse))
    with pytest.raises(LogError, match="cheese") as caught:
        read(log)
    assert type(caught.value) is LogError


@pytest.mark.parametrize(
    "together", [no_such_column, lambda _: [], lambda logs: [None] * len(logs)]
)
def test_a_reader_that_breaks_on_many_logs_at_once_reads_them_one_by_one(
    together: Callable[..., Any], give: Callable[[Format], None], tmp_path: Path
) -> None:
    def parse(data: bytes, path: Path) -> Reading:
        if b"cheese" in data:
            raise LogError(path, "made of cheese")
        return replace(read(SOUND), path=path)

    give(replace(MINE, parse=parse, parse_many=together))
    paths = [tmp_path / name for name in ("a.log", "b.log", "c.log")]
    for path, text in zip(paths, ("mine 1\n", "mine cheese\n", "mine 3\n"), strict=True):
        path.write_text(text)
    first, refused, last = read_many(paths)
    assert (first.path, last.path) == (paths[0], paths[2])
    assert isinstance(refused, LogError)
    assert str(refused) == f"{paths[1]}: made of cheese"


def test_the_command_names_the_reader_and_reads_the_other_logs(
    give: Callable[[Format], None], log: Path
) -> None:
    give(MINE)
    done = CliRunner().invoke(main, ["read", str(log), str(SOUND)])
    assert f"{log}: refused: ReaderError: the reader of mine" in done.output
    assert f"{SOUND}: iperf2" in done.output
    assert done.exit_code == 1


def test_a_reader_that_breaks_while_it_looks_hides_no_other_reader(
    give: Callable[[Format], None], log: Path
) -> None:
    give(replace(MINE, sniff=no_such_column))
    assert read(SOUND).format == "iperf2"
    with pytest.raises(UnknownFormatError, match=r"the reader of mine .* failed on it: KeyError"):
        read(log)


def test_a_report_names_the_reader_the_file_and_what_and_the_other_clients_count(
    give: Callable[[Format], None], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", clients=3)
    slot = read_run(run).slots[0].name
    lost = run.host_raw_dir("client-002") / f"{slot}.log"
    lost.chmod(0o600)
    lost.write_bytes(b"mine 1 2 3\n")
    give(MINE)
    report = compose(run, with_plots=False)
    (found,) = [f for f in report.logs.findings if f.where == f"client-002/{slot}.log"]
    assert "the reader of mine" in found.text
    assert "KeyError: 'rate'" in found.text
    clients = report.summary.clients[report.summary.clients["slot"] == slot]
    assert {"client-001", "client-003"} <= set(clients.loc[clients["ok"], "host"])
