"""OpenVPN's status as people hand it on, with its header lost, and with times that disagree."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from perfkit.errors import LogError, ParseError, TruncatedError
from perfkit.logs import registry
from perfkit.logs.format import Reading, clean
from perfkit.logs.frames import check
from perfkit.logs.openvpn import statistics, status
from perfkit.logs.openvpn.paste import is_pasted
from perfkit.logs.timestamps import get_zone

DATA = Path(__file__).parents[3] / "data" / "openvpn"
STATUSES = sorted((DATA / "status").glob("*.txt"))
CAPTURES = [*STATUSES, *sorted((DATA / "statistics").glob("*.txt"))]


def parse(text: str, zone: str = "") -> Reading:
    known = get_zone(zone) if zone else None
    parser = statistics if "STATISTICS" in text else status
    reading = parser.parse(clean(text.encode()), Path("status"), zone=known)
    check(reading.frame, reading.kind)
    return reading


AROUND = {
    "root": ("root@host:~# cat /var/run/openvpn-status.log\n", "root@host:~# \n"),
    "no line feed at its end": ("root@host:~# cat status\n", "root@host:~#"),
    "user": ("alice@vpn-1:/etc/openvpn$ sudo cat server.status\n", "alice@vpn-1:/etc/openvpn$ exit\n"),
    "sudo": ("alice@vpn:~$ sudo cat s\n[sudo] password for alice: \n", "alice@vpn:~$\n"),
    "red hat": ("[root@vpn openvpn]# cat openvpn-status.log\n", "[root@vpn openvpn]#\n"),
    "environment": ("(base) bob@vpn:~$ cat s\n", "(base) bob@vpn:~$ \n"),
    "fish": ("bob@vpn ~> cat s\n", "bob@vpn ~> \n"),
    "zsh": ("vpn% cat s\n", "vpn% \n"),
    "arrow": ("\u279c  ~ cat s\n", "\u279c  ~ \n"),
    "two lines": ("\u256d\u2500root@vpn ~\n\u2570\u2500# cat s\n", "\u256d\u2500root@vpn ~\n\u2570\u2500# \n"),
    "busybox": ("/ # cat /run/s\n", "/ # \n"),
    "bash": ("bash-5.1# cat /run/s\n", "bash-5.1# exit\n"),
    "dollar": ("$ cat s\n", "$\n"),
    "no prompt": ("cat /var/log/openvpn-status.log\n", ""),
    "pfsense": ("[2.7.0-RELEASE][root@fw]/root: cat s\n", "[2.7.0-RELEASE][root@fw]/root: \n"),
    "windows": ("C:\\Users\\bob>type s.log\n", "\nC:\\Users\\bob>\n"),
    "powershell": ("PS C:\\Users\\bob> cat s.log\n", "PS C:\\Users\\bob> \n"),
    "ssh": ("$ ssh root@vpn cat s\nLast login: Mon Jan  5 10:00:00 2026\n", "Connection to vpn closed.\n"),
    "management": (
        "$ telnet localhost 7505\nTrying 127.0.0.1...\nConnected to localhost.\n"
        "Escape character is '^]'.\n>INFO:OpenVPN Management Interface Version 5\nstatus 2\n",
        "quit\nConnection closed by foreign host.\n",
    ),
    "head": ("==> /run/openvpn/server.status <==\n", "\n"),
    "markdown": ("```text\n", "```\n"),
    "blank lines": ("\n\n", "\n\n"),
}  # fmt: skip


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", AROUND)
def test_what_a_terminal_shows_around_a_status_is_understood(path: Path, name: str) -> None:
    text = path.read_text()
    before, after = AROUND[name]
    pasted = before + text + after
    if name == "no line feed at its end":
        pasted = before + text.rstrip("\n") + after
    expected, reading = parse(text), parse(pasted)
    pd.testing.assert_frame_equal(
        reading.frame.drop(columns="line_no"), expected.frame.drop(columns="line_no")
    )
    assert (reading.unparsed.count, reading.partial) == (0, False)
    assert reading.notes == expected.notes
    head = clean(pasted.encode())
    assert [n for n, f in registry.formats().items() if f.sniff(head)] == [reading.format]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_an_indented_status_is_the_same(path: Path) -> None:
    text = path.read_text()
    indented = "".join(f"    {line}" for line in text.splitlines(keepends=True))
    reading = parse("$ cat s\n" + indented)
    assert reading.frame.drop(columns="line_no").equals(parse(text).frame.drop(columns="line_no"))
    assert reading.unparsed.count == 0


def test_a_prompt_in_the_middle_ends_what_was_copied_and_no_row_is_lost() -> None:
    text = STATUSES[1].read_text()
    lines = text.splitlines(keepends=True)
    reading = parse("$ head -5 s\n" + "".join(lines[:5]) + "root@host:~# \n")
    assert (len(reading.frame), reading.unparsed.count, reading.partial) == (2, 0, True)


def test_two_statuses_with_prompts_between_are_two_snapshots() -> None:
    text = STATUSES[0].read_text()
    reading = parse("root@host:~# cat s\n" + text + "root@host:~# cat s\n" + text + "root@host:~#")
    assert reading.frame["snapshot"].value_counts().tolist() == [7, 7]
    assert (reading.unparsed.count, reading.partial) == (0, False)


@pytest.mark.parametrize(
    "line", ["CLIENT_LIST,one,192.0.2.1:19021", "anything", "2026-01-05 10:00:00 TLS: x", "1,2,3"]
)
def test_other_lines_around_a_status_are_not_understood(line: str) -> None:
    assert not is_pasted(line)
    assert parse(STATUSES[0].read_text() + line + "\n").unparsed.count == 1


def without_header(text: str, table: str) -> str:
    first = "Common Name," if table == "CLIENT_LIST" else "Virtual Address,"
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not (
            (line.startswith(("HEADER,", "HEADER\t")) and table in line) or line.startswith(first)
        )
    )


@pytest.mark.parametrize("table", ["CLIENT_LIST", "ROUTING_TABLE"])
@pytest.mark.parametrize("path", STATUSES, ids=lambda path: path.name)
def test_a_table_without_its_header_is_read_by_the_columns_of_its_release(
    path: Path, table: str
) -> None:
    text = path.read_text()
    expected, reading = parse(text), parse(without_header(text, table))
    pd.testing.assert_frame_equal(
        reading.frame.drop(columns="line_no"), expected.frame.drop(columns="line_no")
    )
    assert reading.unparsed.count == 0
    assert any(f"the header of the {table.replace('_', ' ').lower()} is missing" in note
               for note in reading.notes)  # fmt: skip


OLD_ROW = (
    "CLIENT_LIST,c1,10.9.0.2:40001,10.8.0.2,{ipv6}1000,2000,Mon Jan  5 09:00:00 2026,1767603600"
)
RELEASES = {
    "2.2": OLD_ROW.format(ipv6=""),
    "2.3": OLD_ROW.format(ipv6="") + ",UNDEF",
    "2.4": OLD_ROW.format(ipv6=",") + ",UNDEF,3,0",
    "2.5": OLD_ROW.format(ipv6=",") + ",UNDEF,3,0,AES-256-GCM",
    "with a comma in its name": OLD_ROW.format(ipv6="").replace(",c1,", ",c1, office,"),
}


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_client_without_a_header_is_read_whatever_release_wrote_it(
    release: str, separator: str
) -> None:
    row = RELEASES[release].replace(",", separator)
    if "comma" in release:
        row = row.replace(f"c1{separator} office", "c1, office")
    text = f"TITLE{separator}OpenVPN 2.4.4 x86_64\nTIME{separator}Mon Jan  5 10:00:00 2026{separator}1767607200\n"
    client = parse(f"{text}{row}\nEND\n").frame.iloc[0]
    assert client["common_name"] == ("c1, office" if "comma" in release else "c1")
    assert (client["recv_bytes"], client["send_bytes"]) == (1000, 2000)
    assert client["tunnel_address"] == "10.8.0.2"
    assert client["connected_utc"] == pd.Timestamp("2026-01-05T09:00:00Z")
    assert client["cipher"] == ("AES-256-GCM" if release == "2.5" else "")


STATUS = (
    "TITLE,OpenVPN 2.4.4 x86_64\nTIME,Mon Jan  5 10:00:00 2026,1767607200\n"
    "HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,"
    "Connected Since,Connected Since (time_t)\n"
    "CLIENT_LIST,c1,10.9.0.2:40001,10.8.0.2,1000,2000,Mon Jan  5 09:00:00 2026,1767603600\n"
    "GLOBAL_STATS,Max bcast/mcast queue length,0\nEND\n"
)


def test_a_line_of_version_1_that_is_no_row_is_no_missing_client() -> None:
    text = STATUSES[0].read_text().replace("ROUTING TABLE\n", "YO TABLE\nROUTING TABLE\n")
    reading = parse(text.replace("Updated,", "Closed,1\nUpdated,"))
    assert reading.unparsed.samples == ("Closed,1", "YO TABLE")
    assert not any("clients are missing" in note for note in reading.notes)


def test_nobody_connected_is_no_client_and_a_list_that_is_not_there_is_not_known() -> None:
    lines = STATUS.splitlines(keepends=True)
    nobody = parse("".join([*lines[:3], *lines[4:]]))
    assert (len(nobody.frame), nobody.partial) == (0, False)
    with pytest.raises(ParseError, match="the number of clients is not known"):
        parse("".join([*lines[:2], *lines[4:]]))
    with pytest.raises(TruncatedError, match="the number of clients is not known"):
        parse("".join(lines[:2]))


def test_a_client_without_a_header_that_fits_no_release_is_refused() -> None:
    lines = STATUS.splitlines(keepends=True)
    row = lines[3].replace("1000,2000", "1000")
    with pytest.raises(ParseError, match=":3: a client whose row does not fit"):
        parse("".join([*lines[:2], row, *lines[4:]]))


def test_one_snapshot_without_a_list_among_others_is_named() -> None:
    lines = STATUS.splitlines(keepends=True)
    reading = parse(STATUS + "".join([*lines[:2], *lines[4:]]))
    assert len(reading.frame) == 1
    assert "a client list is missing: the number of clients is not known" in reading.notes


def test_routes_of_clients_that_the_list_lacks_are_named() -> None:
    header = (
        "HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)\n"
    )
    route = "ROUTING_TABLE,10.8.0.3,c2,10.9.0.3:40001,Mon Jan  5 09:59:59 2026,1767607199\n"
    reading = parse(STATUS.replace("GLOBAL", header + route + "GLOBAL", 1))
    assert "1 clients have routes and are not in the client list" in reading.notes


PRINTED = "Mon Jan  5 10:00:00 2026"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("Mon Jan  5 10:00:00 3012", "3012' does not match time_t 1767607200"),
        ("Mon Jan 35 10:00:00 2026", "does not match time_t"),
        ("3012-01-05 10:00:00", "does not match time_t"),
        ("yesterday", "does not match time_t"),
        ("Mon Jan  5 10:00:00 2027", "8760 h apart, more than the offset of any time zone"),
        ("Mon Jan  6 02:00:00 2026", "16 h apart, more than the offset of any time zone"),
        ("Sun Jan  4 21:00:00 2026", "13 h apart, more than the offset of any time zone"),
        ("Mon Jan  5 10:07:00 2026", "420 s apart, which is no offset of a time zone"),
        ("Mon Jan  5 11:00:37 2026", "3637 s apart, which is no offset of a time zone"),
    ],
)
def test_a_printed_time_that_no_zone_brings_to_its_time_t_is_noted(
    printed: str, words: str
) -> None:
    reading = parse(STATUS.replace(PRINTED, printed))
    assert any(words in note and "time_t is taken" in note for note in reading.notes)
    assert reading.frame["t_utc"].tolist() == [pd.Timestamp("2026-01-05T10:00:00Z")]
    since = parse(STATUS.replace("Mon Jan  5 09:00:00 2026", printed))
    assert any("time_t is taken" in note for note in since.notes)


@pytest.mark.parametrize("shift_h", [-12, -3.5, 0, 1, 5.5, 5.75, 12.75, 14])
def test_a_printed_time_in_any_zone_is_not_noted(shift_h: float) -> None:
    times = [pd.Timestamp("2026-01-05T10:00") + pd.Timedelta(hours=shift_h)]
    times += [times[0] - pd.Timedelta(hours=1)]
    text = STATUS.replace(PRINTED, times[0].strftime("%a %b %e %H:%M:%S %Y"))
    text = text.replace("Mon Jan  5 09:00:00 2026", times[1].strftime("%Y-%m-%d %H:%M:%S"))
    assert parse(text).notes == ("Max bcast/mcast queue length: 0",)


def test_printed_times_of_two_zones_are_noted() -> None:
    reading = parse(STATUS.replace(PRINTED, "Mon Jan  5 15:00:00 2026"))
    assert any("differ by several offsets; time_t is taken" in note for note in reading.notes)


def test_a_printed_time_that_is_not_in_the_zone_that_is_given_is_noted() -> None:
    text = STATUS.replace(PRINTED, "Mon Jan  5 11:00:00 2026").replace("09:00:00", "10:00:00")
    assert parse(text, "Europe/Berlin").notes == ("Max bcast/mcast queue length: 0",)
    assert any("in the given time zone" in note for note in parse(text, "+0500").notes)
    twice = STATUS.replace(f"{PRINTED},1767607200", "2027-10-31 02:30:00,1824946200")
    twice = twice.replace("Mon Jan  5 09:00:00 2026,1767603600", "2027-10-31 02:20:00,1824942000")
    assert parse(twice, "Europe/Berlin").notes == ("Max bcast/mcast queue length: 0",)


def test_a_time_t_that_cannot_be_read_gives_way_to_the_printed_time() -> None:
    reading = parse(STATUS.replace("1767607200", "17676072000000"))
    assert reading.frame["t_utc"].tolist() == [pd.Timestamp("2026-01-05T10:00:00Z")]
    assert any("cannot be read: the printed time is taken" in note for note in reading.notes)


def test_a_status_whose_moment_cannot_be_read_says_so() -> None:
    reading = parse(STATUS.replace(f"TIME,{PRINTED},1767607200\n", ""))
    assert reading.frame["t_utc"].isna().all()
    assert any("the time of the status cannot be read" in note for note in reading.notes)


def test_many_times_that_disagree_are_one_note() -> None:
    row = "CLIENT_LIST,c1,10.9.0.2:40001,10.8.0.2,1000,2000,Mon Jan  5 09:00:00 3012,1767603600\n"
    text = STATUS.replace("GLOBAL", row * 500 + "GLOBAL", 1)
    told = [note for note in parse(text).notes if "time_t is taken" in note]
    assert len(told) == 1
    assert told[0].endswith("(499 more disagree)")


def test_a_client_status_is_pasted_too_and_refused_when_there_is_none() -> None:
    with pytest.raises(LogError):
        parse("root@host:~# cat nothing\nroot@host:~#\n")
