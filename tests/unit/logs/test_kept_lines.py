"""Lines that Docker and the journal keep as JSON are read like the program's own output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from perfkit.logs.kept_lines import take_kept_lines
from perfkit.logs.reader import read

DATA = Path(__file__).parents[2] / "data"
CAPTURES = (
    "iperf2/server.log",
    "iperf3/text/3.12-p2.client.txt",
    "iperf3/json/3.12-tcp.client.json",
)


def docker(line: str) -> dict[str, str]:
    return {"log": f"{line}\n", "stream": "stdout", "time": "2026-01-05T10:00:00.123456789Z"}


def journal(line: str) -> dict[str, str]:
    return {"_HOSTNAME": "h", "SYSLOG_IDENTIFIER": "iperf3", "MESSAGE": line, "_PID": "12"}


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("keep", [docker, journal])
def test_what_docker_or_the_journal_keeps_is_read_as_it_was_printed(
    tmp_path: Path, name: str, keep: Callable[[str], dict[str, str]]
) -> None:
    lines = (DATA / name).read_text().splitlines()
    log = tmp_path / "kept.json"
    log.write_text("".join(f"{json.dumps(keep(line))}\n" for line in lines))
    reading, plain = read(log), read(DATA / name)
    pd.testing.assert_frame_equal(reading.frame, plain.frame)
    assert reading.unparsed.count == 0


@pytest.mark.parametrize(
    "text",
    ['{"log": "a"}\nand text\n', '{"log": 7}\n', '{"log": "a"}\n[1]\n', '{"a": 1}\n', "{", ""],
)
def test_other_files_stay_as_they_are(text: str) -> None:
    assert take_kept_lines(text.encode()) == text.encode()
