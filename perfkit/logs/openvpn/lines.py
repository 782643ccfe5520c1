"""A line of an OpenVPN log taken apart: what others put in front, its own stamp, and its text.

In front may stand a container's name, the stamp of `ts`, docker or a syslog, a host, and an ident:
by `--daemon NAME` it can be any. With `--verb 5` OpenVPN prints a letter for each packet, and no line
feed after them, so they stand before the next line's stamp or, without stamps, before its text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from perfkit.logs.fields import split_end_point

_LOCAL = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}"
_CTIME = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}"
_UNIX = r"[0-9]{9,10}\.[0-9]{6} [0-9a-f]{1,8}(?= )"  # --machine-readable-output
_OWN_STAMP = re.compile(
    rf"(?:(?P<local>{_LOCAL}|{_CTIME})(?: us=(?P<us>[0-9]{{1,6}}))?|"
    r"(?P<unix>[0-9]{9,10}\.[0-9]{6}) [0-9a-f]{1,8})(?: |$)"
)
_FRACTION = r"(?:[.,][0-9]{1,9})?"
_OTHERS_STAMP = re.compile(
    r"(?:<[0-9]{1,3}>(?:1 )?)?\[?(?:"
    rf"(?P<iso>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ][0-9:]{{8}}{_FRACTION}"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?)|"
    rf"[A-Z][a-z]{{2}} (?P<full>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:]{{8}}{_FRACTION})|"
    rf"(?P<ctime>{_CTIME})|"
    rf"(?P<yearless>[A-Z][a-z]{{2}} [ 0-9][0-9] [0-9:]{{8}}{_FRACTION})|"
    r"(?P<epoch>[0-9]{9,10}\.[0-9]{1,9})|"
    rf"(?P<since> *[+-]?[0-9]{{1,9}}\.[0-9]{{3,9}}|[0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}}{_FRACTION})"
    r")\]?(?: (?P<zone>UTC|GMT|CES?T|EES?T|WES?T|BST|IST|MSK|JST|KST|[ECMP][SD]T|AE[SD]T|NZ[SD]T|[+-][0-9]{2}(?::?[0-9]{2})?)(?= ))?:? +"
)
_TITLE = re.compile(r"[A-Za-z0-9][\w.-]{0,63} +\| ?")
_IDENT = re.compile(
    r"(?:\S{1,64} )?(?P<ident>[^\s\[\]:]{1,64}(?::[^\s\[\]:]{1,64})?)\[[0-9]{1,10}\]: ?|"
    r"\S{1,64} (?P<ident5424>\S{1,64}) (?:[0-9]{1,10}|-) \S{1,32} (?:-|\[[^\]]{0,200}\]) ?"
)
_IDENT_WITHOUT_PID = re.compile(r"(?P<host>\S{1,64}) (?P<ident>[^\s:\[]{1,64}): ")
_MARKS = re.compile(rf"[RrWw]+ *(?={_LOCAL}|{_CTIME}|{_UNIX})")
_MARKS_ALONE = re.compile(r"[RrWw]+\s*$")
_MARKS_AHEAD = re.compile(r"[RrWw]+")
_MARKS_BEHIND_STAMP = re.compile(r"[RrWw]{2,} +(?=\S)")
_DOUBTFUL_MARKS = 40  # of many, only the last can be letters of the text
_PARTS = 8
_OUR_IDENTS = ("openvpn", "ovpn")

ADDRESS = (
    r"(?:(?:udp|tcp)[46]?(?:-server)?:)?"
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?|\[?[0-9a-fA-F:.]{2,45}\]?(?::[0-9]{1,5})?)"
)
CLIENT = re.compile(rf"(?:(?P<name>[^\[\]]{{1,128}}?)/)?(?P<end>{ADDRESS}) (?P<text>.*)")
_OWN_WORDS = re.compile(
    r"OpenVPN 2\.\S+ \S+ \[|library versions: |TCP/UDP: |TCP/UDPv|(?:UDP|TCP)v[46] link|MULTI: |"
    r"Initialization Sequence Completed|TLS: |TLS Error|VERIFY OK|Peer Connection Initiated with|"
    r"\[[^\]]{1,128}\] Peer Connection Initiated with|"
    r"SIG[A-Z0-9]+\[.*\] received|DCO version|TUN/TAP device|PUSH: |Data Channel|"
    r"OPTIONS IMPORT|Current Parameter Settings"
)
_WORDS_OF_MANY = re.compile(r"Options error: |Note: |NOTE: |WARNING: ")  # other tools say them too


@dataclass(slots=True)
class Line:
    """The parts of a line.

    Attributes:
        own: OpenVPN's own stamp, and the microseconds beside it.
        others: The last stamp that others put in front.
        ident: Of a syslog's or journal's line.
        ahead: What others put in front, as it stands.
        has_marks: Letters for packets were taken away.
    """

    text: str
    own: re.Match[str] | None = None
    others: re.Match[str] | None = None
    ident: str = ""
    ahead: str = ""
    has_marks: bool = False


def take_apart(line: str, idents: Container[tuple[str, str]] = ()) -> Line:
    """The parts of a line.

    Args:
        idents: Hosts and idents that stand without a process's number, see `take_lines_apart`.
    """
    found, place, own_place = Line(line), 0, 0
    for _ in range(_PARTS):
        if marks := _MARKS.match(line, place) or (
            not found.own and _MARKS_ALONE.match(line, place)
        ):
            found.has_marks, place = True, marks.end()
        elif stamp := _OWN_STAMP.match(line, place):
            found.own, own_place, place = stamp, place, stamp.end()
        elif not found.own and (match := _TITLE.match(line, place)):
            place = match.end()
        elif not found.own and (match := _OTHERS_STAMP.match(line, place)):
            found.others, place = match, match.end()
        elif ident := _ident(line, place, found, idents):
            found.ident, place = ident
        else:
            break
    if found.own and found.ident:  # a syslog that stamps as OpenVPN does
        found.ahead = line[:place] if place > found.own.end() else line[:own_place]
    else:
        found.ahead = line[: own_place if found.own else place]
    if found.own and (marks := _MARKS_BEHIND_STAMP.match(line, place)):
        found.has_marks, place = True, marks.end()
    found.text = line[place:]
    return found


def _ident(
    line: str, place: int, found: Line, idents: Container[tuple[str, str]]
) -> tuple[str, int] | None:
    """The ident at a place and where it ends; it comes once, after a stamp or alone."""
    if found.ident:
        return None
    match = _IDENT.match(line, place)
    if match:
        return match["ident"] or match["ident5424"], match.end()
    bare = _IDENT_WITHOUT_PID.match(line, place) if found.others or found.own else None
    if bare and (is_openvpns(bare["ident"]) or (bare["host"], bare["ident"]) in idents):
        return bare["ident"], bare.end()
    return None


def is_openvpns(ident: str) -> bool:
    """Whether an ident names OpenVPN; any other may, by `--daemon NAME`."""
    return any(name in ident.lower() for name in _OUR_IDENTS)


def take_lines_apart(texts: Sequence[str]) -> list[Line]:
    """The parts of each line of a log; what stands in front is told by all of them."""
    lines = [take_apart(text) for text in texts]
    idents = _find_idents(lines)
    return [take_apart(text, idents) for text in texts] if idents else lines


def _find_idents(lines: Iterable[Line]) -> set[tuple[str, str]]:
    """Hosts and idents that stand in front without a process's number, by what comes after them.

    `vpn north: TLS: Initial packet` has one; `TLS Error: TLS handshake failed` has none.
    """
    found, none = set[tuple[str, str]](), set[tuple[str, str]]()
    for parts in lines:
        bare = _IDENT_WITHOUT_PID.match(parts.text) if parts.others and not parts.ident else None
        if bare:
            client = CLIENT.match(parts.text[:256])
            is_text = _OWN_WORDS.match(parts.text) or (client and client.end("end") <= bare.end())
            if is_text:
                none.add((bare["host"], bare["ident"]))
            elif says_openvpn(take_apart(parts.text[bare.end() :]).text):
                found.add((bare["host"], bare["ident"]))
    return found - none


def says_openvpn(text: str, *, or_many: bool = False) -> bool:
    """Whether a text, with or without a client in front, is one that only OpenVPN prints.

    Args:
        or_many: Words that others may use as well will do.
    """
    client = CLIENT.match(text[:256])
    text = client["text"] if client else text
    return bool(_OWN_WORDS.match(text) or (or_many and _WORDS_OF_MANY.match(text)))


def without_marks(text: str, names: Container[str], events: re.Pattern[str]) -> str:
    """A text that has no stamp, without the letters for packets in front of it.

    Where they end is known by what may follow: an address, a client's name that is known, or words
    of OpenVPN's. Otherwise they stay where they may belong to a word or to a client's name.
    """
    marks = _MARKS_AHEAD.match(text)
    if not marks or _begins(text, names, events):
        return text
    end = marks.end()
    for place in range(end, max(0, end - _DOUBTFUL_MARKS), -1):
        if place == len(text) or _begins(text[place:], names, events):
            return text[place:]
    client = CLIENT.match(text[end - 1 : end + 256])
    is_word = end < 2 or text[end].islower() or (client and split_end_point(client["end"]))
    return text if is_word else text[end:]


def _begins(text: str, names: Container[str], events: re.Pattern[str]) -> bool:
    client = CLIENT.match(text[:256])
    if client and (not client["name"] or client["name"] in names):
        return split_end_point(client["end"]) is not None
    return bool(_OWN_WORDS.match(text) or _WORDS_OF_MANY.match(text) or events.match(text))
