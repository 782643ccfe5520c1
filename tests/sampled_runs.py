"""Runs whose clients print samples instead of traffic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from perfkit.model import TestKind
from perfkit.runs.folder import Run, write_json
from perfkit.testing.runs import make_run

HEAD = "epoch,quantity,value,note\n"


def sampled_run(
    folder: Path, kind: TestKind, logs: Mapping[str, str], test: str = "tunnel-probe"
) -> Run:
    """A run of one test, in which each client printed what is given, and the server nothing.

    Args:
        logs: Text of each client's log, `client-001` and so on.
    """
    run = make_run(folder, clients=len(logs), tests=(test,))
    make_sampled(run, f"01-{test}", kind, logs)
    return run


def make_sampled(run: Run, slot: str, kind: TestKind, logs: Mapping[str, str]) -> None:
    """Make a test of a run one of another kind: what each client printed is given, the server is silent."""
    (run.host_raw_dir("server") / f"{slot}.server.log").unlink()
    for host, text in logs.items():
        (run.host_raw_dir(host) / f"{slot}.log").write_text(text)
    timetable = json.loads(run.timetable_path.read_text())
    for row in timetable["slots"]:
        if row["name"] == slot:
            row |= {"kind": kind.value, "server_script": False}
    write_json(run.timetable_path, timetable)


def rows(t0_utc_s: float, *found: tuple[float, str, float | None, str]) -> str:
    """A log of samples: seconds from T0, quantity, value and note of each."""
    return HEAD + "".join(
        f"{t0_utc_s + t_s:.6f},{quantity},{'' if value is None else value},{note}\n"
        for t_s, quantity, value, note in found
    )
