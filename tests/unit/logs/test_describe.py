"""A log in a few words: what it is, what it holds, what was not understood."""

from pathlib import Path

from click.testing import CliRunner

from perfkit.cli.app import main
from perfkit.logs.describe import describe
from perfkit.testing.runs import make_run


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
    log.write_text(data + "Segmentation fault\n" * 9)
    text = describe(log)
    assert "9 lines not understood" in text
    assert text.count("Segmentation fault") == 5


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
