"""Every error: one root, a message that can be read, and the same message after a pickle."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from perfkit import errors
from perfkit.errors import PerfkitError

SPECIMENS: list[PerfkitError] = [
    PerfkitError("it went wrong"),
    errors.ConfigError("tests.conf", "[a] time", "soon", "not a number", "write minutes from T0"),
    errors.RunError("runs/x: not there"),
    errors.JournalError("journal.jsonl:3: damaged"),
    errors.ProviderError("no"),
    errors.NotSetUpError("config/ec2.conf is not there"),
    errors.LaunchError("0 of 5 hosts"),
    errors.LaunchRefusedError("quota: 32 vCPUs, 100 asked for"),
    errors.LaunchUnknownError("no answer for 300 s"),
    errors.ReleaseError("release of run x", ["bridge pk0", "pid 12"]),
    errors.HostError("client-001", "no"),
    errors.UnreachableError("client-001", "no answer within 10 s"),
    errors.LostError("client-001", "connection lost"),
    errors.CommandError("client-001", "ended with 3", "ip route", 3, "out", "err"),
    errors.CommandTimeoutError("client-001", "ended at 60 s", "sleep 100", None, "", ""),
    errors.PromptError("client-001", "asked a question", "apt install x", "Continue? [y/N]"),
    errors.TransferError("client-001", "5 of 10 bytes"),
    errors.StageError("configure: 2 of 10 hosts failed", [("client-001", "no")]),
    errors.StoppedError("configure: stopped by a person; released 11 hosts", ["bridge pk0"]),
    errors.ScheduleError("tests overlap"),
    errors.CollectError("2 files are missing", ["client-001/01-direct-tcp.log"]),
    errors.LogError("a.log", "empty"),
    errors.UnknownFormatError(Path("a.log"), "no reader knows it"),
    errors.ParseError(
        path="a.log", line_no=17, line="x" * 500, reason="9 fields expected, 7 found"
    ),
    errors.TruncatedError("a.log", "ends within a line"),
    errors.ReaderError("a.log", "the reader of x (mine) failed on it: KeyError: 'y'"),
    errors.UntrustedError("JSON nested deeper than 32"),
    errors.DamagedPackError("compressed data is cut"),
    errors.FrameError("t_s is missing"),
    errors.SegmentError("no sample in [3, 4)"),
    errors.StoreError("tests.parquet: damaged"),
    errors.CampaignError("different clients"),
    errors.ExecutorError("no worker"),
    errors.UnitsFailedError("3 units", {"runs/x": "SegmentError: damaged"}),
]


def test_every_class_of_the_tree_has_a_specimen_here() -> None:
    classes = {
        c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, PerfkitError)
    }
    assert {type(e) for e in SPECIMENS} == classes


def test_the_tree_drawn_in_the_docstring_names_every_class() -> None:
    assert [
        type(e).__name__ for e in SPECIMENS if type(e).__name__ not in (errors.__doc__ or "")
    ] == []


@pytest.mark.parametrize("error", SPECIMENS, ids=lambda e: type(e).__name__)
def test_an_error_is_the_same_after_a_pickle(error: PerfkitError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert repr(copy) == repr(error)
    assert vars(copy) == vars(error)


def test_wrong_settings_are_value_errors_too() -> None:
    for kind in (errors.ConfigError, errors.FrameError, errors.SegmentError):
        assert issubclass(kind, ValueError)


def test_a_command_error_shows_command_status_and_the_last_ten_lines_of_each_stream() -> None:
    stdout = "\n".join(f"out {n}" for n in range(30))
    stderr = "\n".join(f"err {n}" for n in range(30))
    text = str(errors.CommandError("client-001", "it failed", "openvpn --x", 3, stdout, stderr))
    assert "client-001: it failed" in text
    assert "openvpn --x" in text
    assert "exit status: 3" in text
    assert "out 20\n" in text
    assert "out 19\n" not in text
    assert "err 29" in text


def test_a_release_error_names_what_is_still_there() -> None:
    assert "bridge pk0, pid 12" in str(errors.ReleaseError("release", ["bridge pk0", "pid 12"]))


def test_an_unknown_name_gets_the_nearest_known_one_or_all_of_them() -> None:
    assert errors.did_you_mean("client", ["clients", "provider"]) == "did you mean 'clients'?"
    assert errors.did_you_mean("zzz", ["clients", "provider"]) == "known are: clients, provider"
