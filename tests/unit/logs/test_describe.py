"""A log in a few words: what it is, what it holds, what was not understood."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.cli.app import main
from perfkit.errors import LogError
from perfkit.logs.describe import describe
from perfkit.logs.format import Reading
from perfkit.logs.reader import read, read_many, read_run, sniff
from perfkit.testing.runs import make_run
from perfkit.units import format_size


def test_a_servers_log_says_how_many_clients_it_holds(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=7, seed=1)
    text = describe(run.raw_dir / "server" / "01-direct-tcp.server.log")
    assert "iperf2" in text
    assert "7 streams with 7 peers, seen as receiver" in text
    assert "bit/s" not in text  # of several streams


def test_lines_not_understood_are_counted_and_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=1, seed=1)
    log = tmp_path / "damaged.log"
    data = (run.raw_dir / "client-001" / "01-direct-tcp.log").read_text()
    log.write_text(data + "Segmentation vault\n" * 9)
    text = describe(log)
    assert "9 lines not understood" in text
    assert text.count("Segmentation vault") == 5


def test_a_file_of_no_known_format_is_refused_in_one_line_with_status_1_and_the_others_are_shown(
    tmp_path: Path,
) -> None:
    poem = tmp_path / "poem.txt"
    poem.write_text("Two roads diverged in a yellow wood\n")
    run = make_run(tmp_path / "run", clients=1, seed=1)
    log = run.raw_dir / "client-001" / "01-direct-tcp.log"
    result = CliRunner().invoke(main, ["read", str(poem), str(log)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{poem}: refused: UnknownFormatError: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout.startswith(f"{log}: iperf2, ")


def test_a_monitors_log_says_from_when_to_when(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=1, seed=1)
    assert " UTC" in describe(run.raw_dir / "server" / "monitor.csv")


def test_a_log_without_times_says_so(tmp_path: Path) -> None:
    log = tmp_path / "timeless.csv"
    head = '"Dstat 0.7.3 CSV output"\n"Host:","h",,,,"User:","u"\n"Cmdline:","dstat -c"\n'
    names = '"total cpu usage",,,,,\n"usr","sys","idl","wai","hiq","siq"\n'
    log.write_text(head + names + "1,1,98,0,0,0\n" * 3)
    assert "no row has a time" in describe(log)


DATA = Path(__file__).parents[2] / "data"
TWO_ENDS = """\
Connecting to host 192.0.2.1, port 5201
[  5] local 192.0.2.9 port 40000 connected to 192.0.2.1 port 5201
[ ID] Interval           Transfer     Bitrate         Retr  Cwnd
[  5]   0.00-2.00   sec  20.0 MBytes  83.9 Mbits/sec    0    100 KBytes
- - - - - - - - - - - - - - - - - - - - - - - - -
[ ID] Interval           Transfer     Bitrate         Retr
[  5]   0.00-2.00   sec  20.0 MBytes  83.9 Mbits/sec    0             sender
[  5]   0.00-2.00   sec  20.0 MBytes  83.9 Mbits/sec                  receiver

iperf Done.
"""


def test_a_stream_that_is_seen_by_both_its_ends_is_counted_once(tmp_path: Path) -> None:
    log = tmp_path / "client.txt"
    log.write_text(TWO_ENDS)
    assert "  20.00 MiB, longest stream 2.0 s (83.89 Mbit/s)" in describe(log)


@pytest.mark.parametrize(
    ("name", "moved_bytes"),
    [
        ("iperf3/text/3.12-p2.client.txt", 2 * 4.88 * 2**20),
        ("iperf3/json/3.12-tcp.client.json", 15_073_280),
        ("iperf2/udp-client.log", 756_015),  # the server's report
        ("iperf2/killed-client.log", 1_048_576),  # by its intervals
        ("iperf2/sumonly-client.log", 4.25 * 2**20),
    ],
)
def test_the_bytes_moved_are_those_of_the_streams(name: str, moved_bytes: float) -> None:
    assert f"\n  {format_size(moved_bytes)}, longest" in describe(DATA / name)


def test_the_two_directions_of_a_stream_are_both_counted() -> None:
    path = DATA / "iperf2/fullduplex-client.log"
    frame = read(path).frame
    both = frame[frame["kind"] == "summary"]
    assert sorted(both["stream_id"].str.startswith("*")) == [False, True]
    assert format_size(both["size_bytes"].sum()) in describe(path)


def test_sums_are_no_peer() -> None:
    assert "2 streams with 1 peers" in describe(DATA / "iperf3/text/3.12-p2.client.txt")


@pytest.mark.parametrize(
    "text", ["Server listening on TCP port 5001\n", "Server listening on 5201\n"]
)
def test_a_log_without_figures_says_that_none_were_found(tmp_path: Path, text: str) -> None:
    log = tmp_path / "server.log"
    log.write_text(text)
    assert "note: the reader found no figures in the log" in describe(log)
    [one, other] = read_many([log, log])
    assert isinstance(one, Reading)
    assert isinstance(other, Reading)
    assert one.notes == other.notes == read(log).notes


def test_whatever_reads_takes_a_path_as_text(tmp_path: Path) -> None:
    log = tmp_path / "client.txt"
    log.write_text(TWO_ENDS)
    assert sniff(str(log)) == sniff(log)
    for given in (str(log), log):
        assert read(given).path == log
        assert read(given, cache=str(tmp_path / "cache")).frame.equals(read(log).frame)
        [found] = read_many([given])
        assert isinstance(found, Reading)
        assert found.path == log
    with pytest.raises(LogError, match="cannot be opened"):
        read(str(tmp_path / "missing.log"))
    run = make_run(tmp_path / "run", clients=1, seed=1)
    assert read_run(str(run.root)).traffic.equals(read_run(run).traffic)
