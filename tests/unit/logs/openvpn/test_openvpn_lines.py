"""OpenVPN's logs as others hand them on: behind titles, stamps and idents, and between packets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from perfkit.logs import registry
from perfkit.logs.format import SNIFF_BYTES, Reading, clean
from perfkit.logs.frames import check
from perfkit.logs.openvpn import log

DATA = Path(__file__).parents[3] / "data" / "openvpn" / "log"
CAPTURES = sorted(path.name for path in DATA.glob("*.log"))
STAMPED = [n for n in CAPTURES if n not in ("client-plain.log", "client-mistake.log")]
Wrap = Callable[[int, str], str]


def parse(text: str) -> Reading:
    reading = log.parse(clean(text.encode()), Path("openvpn.log"))
    check(reading.frame, "vpn-events")
    return reading


def wrapped(text: str, wrap: Wrap) -> str:
    return "".join(f"{wrap(n, line)}\n" for n, line in enumerate(text.splitlines()))


def clock(n: int) -> str:
    return f"10:{n // 60 % 60:02}:{n % 60:02}"


WRAPS: dict[str, Wrap] = {
    "compose": lambda _, line: f"vpn-1  | {line}",
    "compose, short": lambda _, line: f"vpn | {line}",
    "docker -t": lambda n, line: f"2026-01-05T{clock(n)}.123456789Z {line}",
    "compose -t": lambda n, line: f"vpn-1  | 2026-01-05T{clock(n)}.123456789Z {line}",
    "ts": lambda n, line: f"Jan 05 {clock(n)} {line}",
    "ts %F %T": lambda n, line: f"2026-01-05 {clock(n)} {line}",
    "ts [%F %T]": lambda n, line: f"[2026-01-05 {clock(n)}] {line}",
    "ts %FT%T%z": lambda n, line: f"2026-01-05T{clock(n)}+0100 {line}",
    "ts %FT%.T": lambda n, line: f"2026-01-05T{clock(n)}.123456 {line}",
    "ts %c": lambda n, line: f"Mon Jan  5 {clock(n)} 2026 {line}",
    "ts -s": lambda n, line: f"{clock(n)} {line}",
    "ts -s %.s": lambda n, line: f"{n}.123456 {line}",
    "ts %.s": lambda n, line: f"{1767607200 + n}.123456 {line}",
    "syslog": lambda n, line: f"Jan  5 {clock(n)} vpn openvpn[812]: {line}",
    "syslog, Debian": lambda n, line: f"Jan  5 {clock(n)} vpn ovpn-server[812]: {line}",
    "syslog --daemon": lambda n, line: f"Jan  5 {clock(n)} vpn north[812]: {line}",
    "syslog, no pid": lambda n, line: f"Jan  5 {clock(n)} vpn north: {line}",
    "syslog, priority": lambda n, line: f"<29>Jan  5 {clock(n)} vpn north[812]: {line}",
    "rsyslog": lambda n, line: (
        f"2026-01-05T{clock(n)}.123456+01:00 vpn.example.org tun_a[1]: {line}"
    ),
    "rfc5424": lambda n, line: f"<29>1 2026-01-05T{clock(n)}.1Z vpn north 812 - - {line}",
    "journal": lambda n, line: f"Jan 05 {clock(n)} vpn openvpn@server[812]: {line}",
    "journal iso": lambda n, line: f"2026-01-05T{clock(n)}+0100 vpn north[812]: {line}",
    "journal precise": lambda n, line: f"Jan 05 {clock(n)}.123456 vpn north[812]: {line}",
    "journal full": lambda n, line: f"Mon 2026-01-05 {clock(n)} UTC vpn north[812]: {line}",
    "journal unix": lambda n, line: f"{1767607200 + n}.123456 vpn north[812]: {line}",
    "journal monotonic": lambda n, line: f"[{n:5}.123456] vpn north[812]: {line}",
    "journal, no host": lambda n, line: f"Jan 05 {clock(n)} north[812]: {line}",
    "compose of syslog": lambda n, line: f"vpn-1  | Jan  5 {clock(n)} vpn north[8]: {line}",
}
MARKS: dict[str, Wrap] = {
    "WrWr": lambda _, line: f"WrWr{line}",
    "RwRw": lambda _, line: f"RwRw{line}",
    "now and then": lambda n, line: "rRwW" * (n % 3) + line,
    "many": lambda n, line: "WRwr" * (5000 if n == 3 else 1) + line,
    "on lines of their own": lambda n, line: f"WRwr\n{line}" if n % 2 else line,
    "behind a title": lambda _, line: f"vpn-1  | WRrw{line}",
    "behind a stamp": lambda n, line: f"Jan 05 {clock(n)} WRrw{line}",
    "behind an ident": lambda n, line: f"Jan 05 {clock(n)} vpn north[812]: WRrw{line}",
}


def assert_same(reading: Reading, expected: Reading, *, but: tuple[str, ...] = ()) -> None:
    columns = [name for name in expected.frame if name not in but]
    pd.testing.assert_frame_equal(reading.frame[columns], expected.frame[columns])
    assert reading.unparsed.count == expected.unparsed.count
    assert reading.messages == expected.messages
    assert reading.partial == expected.partial


@pytest.mark.parametrize("name", STAMPED)
@pytest.mark.parametrize("wrap", WRAPS)
def test_what_others_put_in_front_of_every_line_changes_no_event(name: str, wrap: str) -> None:
    text = (DATA / name).read_text()
    told = wrapped(text, WRAPS[wrap])
    assert_same(parse(told), parse(text))
    head = clean(told.encode())[:SNIFF_BYTES]
    assert [n for n, f in registry.formats().items() if f.sniff(head)] == ["openvpn-log"]


@pytest.mark.parametrize("name", STAMPED)
@pytest.mark.parametrize("marks", MARKS)
def test_letters_for_packets_in_front_of_a_stamp_change_no_event(name: str, marks: str) -> None:
    text = (DATA / name).read_text()
    reading = parse(wrapped(text, MARKS[marks]))
    assert_same(reading, parse(text), but=("line_no",))
    assert reading.frame["line_no"].is_monotonic_increasing


def test_a_captured_log_with_letters_for_packets_has_every_event() -> None:
    text = (DATA / "server-verb5.log").read_text()
    marked = re.findall(r"^[RrWw]+(?=2026-)", text, re.MULTILINE)
    assert len(marked) == 25
    reading = parse(text)
    assert reading.unparsed.count == 0
    assert_same(reading, parse(re.sub(r"(?m)^[RrWw]+(?=2026-)", "", text)))
    assert reading.frame["event"].tolist().count("connected") == 3
    assert "disconnect" in set(reading.frame["event"])


def bare(text: str) -> str:
    """The same log as --suppress-timestamps writes it."""
    return re.sub(
        r"(?m)^(?:[RrWw]*)(?:\S{10} \S{8} (?:us=\d+ )?|\d{10}\.\d{6} [0-9a-f]+ )", "", text
    )


@pytest.mark.parametrize("name", [n for n in CAPTURES if n != "client-mistake.log"])
@pytest.mark.parametrize("wrap", [w for w in WRAPS if w != "ts -s %.s"])
def test_lines_without_a_stamp_of_their_own_take_the_one_in_front(name: str, wrap: str) -> None:
    text = bare((DATA / name).read_text())
    reading = parse(wrapped(text, WRAPS[wrap]))
    assert_same(reading, parse(text), but=("t_utc",))
    places = reading.frame["line_no"] - 1
    if ("compose" in wrap and "-t" not in wrap) or ("syslog" in wrap and wrap != "rsyslog"):
        assert reading.frame["t_utc"].isna().all()
    elif wrap in ("docker -t", "compose -t", "rsyslog", "journal iso", "ts %FT%T%z"):
        hours = 9 if wrap in ("rsyslog", "journal iso", "ts %FT%T%z") else 10
        begun = pd.Timestamp(f"2026-01-05T{hours:02}:00:00Z")
        assert reading.frame["t_utc"].dt.floor("s").tolist() == [
            begun + pd.Timedelta(seconds=int(n)) for n in places
        ]


@pytest.mark.parametrize("name", [n for n in CAPTURES if n != "client-mistake.log"])
def test_letters_for_packets_in_front_of_a_text_change_no_event(name: str) -> None:
    text = bare((DATA / name).read_text())
    assert_same(parse(wrapped(text, lambda n, line: "WrRw" * (n % 2) + line)), parse(text))


def test_letters_at_the_end_of_a_log_that_is_still_written_are_no_cut_line() -> None:
    text = (DATA / "server-verb5.log").read_text()
    reading = parse(text + "WRwrWR")
    assert not reading.partial
    assert reading.unparsed.count == 0
    assert parse(text + "WRwr2026-11-30 03:00:47 us=1 SIGTERM[hard,] rec").partial


def test_a_clients_name_that_begins_with_these_letters_stays_whole() -> None:
    lines = [
        "10.9.0.2:40001 [rw] Peer Connection Initiated with [AF_INET]10.9.0.2:40001",
        "WrWrrw/10.9.0.2:40001 Connection reset, restarting [0]",
        "rw/10.9.0.2:40001 SIGUSR1[soft,connection-reset] received, client-instance restarting",
        "WrWrread UDPv4 [ECONNREFUSED]: Connection refused (code=111)",
    ]
    frame = parse("\n".join(lines) + "\n").frame
    assert frame["common_name"].tolist() == ["rw", "rw", "rw", ""]
    assert frame["text"].iloc[-1].startswith("read UDPv4")


def test_lines_of_other_programs_in_a_journal_are_left_out_and_counted() -> None:
    text = (DATA / "server.log").read_text()
    mixed = wrapped(
        text,
        lambda n, line: (
            f"Jan 05 {clock(n)} vpn north[812]: {line}"
            + f"\nJan 05 {clock(n)} vpn sshd[9]: Connection reset, restarting" * (n % 2)
        ),
    )
    reading = parse(mixed)
    assert_same(reading, parse(text), but=("line_no",))
    others = mixed.count("sshd[9]")
    assert f"{others} lines of other programs, left out" in reading.notes


def test_what_stands_in_front_is_named_and_packets_are_not() -> None:
    text = (DATA / "client.log").read_text()
    told = parse(wrapped(text, WRAPS["journal"])).notes
    assert "the lines have a prefix, such as 'Jan 05 10:00:00 vpn openvpn@server[812]:', " in (
        told[0].replace("is left out", "")
    )
    assert not any("have a prefix" in note for note in parse(wrapped(text, MARKS["WrWr"])).notes)


@pytest.mark.parametrize(
    "line",
    [
        "TLS Error: TLS handshake failed",
        "198.51.100.7:1194 TLS Error: TLS handshake failed",
        "c1/198.51.100.7:1194 MULTI: Learn: 10.8.0.2 -> c1/198.51.100.7:1194",
    ],
)
def test_words_of_the_text_are_no_host_and_ident(line: str) -> None:
    stamped = f"Jan 05 10:00:00 {line}\n"
    assert log.sniff(stamped.encode())
    bare_text, told = parse(line + "\n").frame, parse(stamped).frame
    assert told["text"].tolist() == bare_text["text"].tolist()
    assert told["peer_address"].tolist() == bare_text["peer_address"].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "server-1  | WARNING: did not receive ack of last datagram after 10 tries.\n",
        "Jan 05 10:00:00 host iperf[3]: Note: this is not yours\n",
        "Jan 05 10:00:00 host sshd[3]: Connection reset by 10.0.0.1 port 5\n",
        "vpn | TITLE,OpenVPN 2.5.1 x86_64-pc-linux-gnu [SSL (OpenSSL)]\n",
    ],
)
def test_other_tools_lines_behind_a_prefix_are_not_taken_for_openvpns(text: str) -> None:
    assert not log.sniff(text.encode())
