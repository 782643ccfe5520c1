"""What stands around a status that a person copied from a terminal: prompts, commands, greetings."""

from __future__ import annotations

import re

_PROMPT = re.compile(
    r"(?:\([^()]{1,60}\) ?)?(?:"
    r"\[?[\w.-]{1,64}@[\w.-]{1,64}[^$#%>\n]{0,200}?[$#%>](?:\s|$)|"  # root@host:~# [root@host ~]#
    r"(?:\[[^\]\n]{1,80}\]){1,2}[^\s$#%>:]{0,80} ?[$#%>:](?:\s|$)|"  # [2.7.0-RELEASE][root@fw]/root:
    r"[\w.~/-]{0,64} ?[$#%](?:\s|$)|"  # bash-5.1# ~ $ / # $
    r"(?:PS )?[A-Za-z]:\\[^>\n]{0,200}>|"  # C:\Users>
    r"[\w.~/-]{1,64}[>#](?:\s|$)|"
    r"\S{0,80}\s?[\u276f\u279c\u03bb\u00bb](?:\s|$)|[\u256d\u2570]"
    r")"
)
_COMMAND = re.compile(
    r"(?:sudo|docker|podman|kubectl|ssh|cat|head|tail|less|more|watch|type|telnet|nc|ncat|socat)\s.*"
)
_TOLD = re.compile(
    r">.*|status(?: [123])?|quit|exit|logout|Trying .*|Connected to .*|Escape character is .*|"
    r"Connection (?:closed|to) .*|\[sudo\] .*|ENTER PASSWORD:.*|(?i:password): ?.*|SUCCESS: .*|"
    r"Last login: .*|==> .* <==|Every [0-9.]+s: .*|:{8,}|-{3,}|```\w*|~~~\w*"
)


def is_pasted(line: str) -> bool:
    """Whether a line is a shell's or the management interface's, and none of a status."""
    line = line.strip()
    return not line or any(
        shape.fullmatch(line) if shape is not _PROMPT else shape.match(line)
        for shape in (_TOLD, _PROMPT, _COMMAND)
    )


def is_end(line: str) -> bool:
    """Whether a line ends a status; where its line feed was lost, a prompt stands behind it."""
    text = line.strip()
    return text == "END" or (text.startswith("END") and bool(_PROMPT.match(text[3:].strip())))


def begins_with(head: bytes, title: re.Pattern[str]) -> bool:
    """Whether the first line that is not pasted begins as `title` says."""
    for line in head.decode("utf-8", "replace").split("\n"):
        if not is_pasted(line):
            return bool(title.match(line.lstrip(" ")))
    return False


def without_indent(text: str, title: re.Pattern[str]) -> str:
    """A text that was pasted with spaces in front of each line, without them."""
    indents = (
        len(line) - len(line.lstrip(" "))
        for line in text.split("\n")
        if title.match(line.lstrip(" "))
    )
    indent = " " * next(indents, 0)
    if not indent:
        return text
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))
