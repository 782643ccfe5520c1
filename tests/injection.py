"""Names and values that want to be commands, through everything that writes shell text or names.

All of perfkit quotes with `shlex`; here a real shell reads what comes of it. Each channel is given
the same values and says how many came out as something else than they went in.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from random import Random

from perfkit.errors import ScheduleError
from perfkit.fleet.local import tags as local_tags
from perfkit.fleet.static.tags import Tag, find_tag
from perfkit.measure.collect import parse_listing
from perfkit.measure.plan import Addresses, crontab, order
from perfkit.model import Host, Role, Slot, TestSpec
from perfkit.ssh.commands import detached, wrap
from perfkit.untrusted import one_line

PIECES = [
    *"abz019 \t\n\r'\"\\`$&|;<>(){}[]*?!#~%=+-.,:@/^",
    *("$(reboot)", "`id`", "; rm -rf /", "&& true", "${HOME}", "\\'", "'\"'\"'", "%n", "\\%"),
    *("../", "-rf", "--", "é", "日", "\u2028", "\x1b]0;x\x07", "\x7f", "\nPERFKIT-END\n", "EOF\n"),
]
T0 = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
BATCH = 500


def values(n: int, seed: int) -> list[str]:
    """Values of one to twelve pieces; none holds a NUL, which no argument can."""
    chance = Random(seed)
    return ["".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(n)]


def escapes(given: Sequence[str]) -> dict[str, int]:
    """By channel, how many values did not come out as they went in."""
    return {
        "arguments of a remote command": _through_shell(given),
        "scripts and variables of a remote command": sum(map(_wrapped_wrong, given)),
        "a crontab": _through_crontab(given),
        "an order": sum(map(_order_wrong, given)),
        "tags of existing hosts": sum(map(_tag_wrong, given)),
        "tags of local hosts": sum(map(_local_tag_wrong, given)),
        "names of logs": sum(map(_name_wrong, given)),
    }


def _in_a_shell(lines: Sequence[str]) -> list[str]:
    """What a real shell makes of command lines: their words, each line ended by a word `.`."""
    script = "\n".join(f"printf '%s\\0' {line} ." for line in lines)
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def _through_shell(given: Sequence[str]) -> int:
    wrong = 0
    for start in range(0, len(given), BATCH):
        batch = given[start : start + BATCH]
        words = _in_a_shell([shlex.join([value, value[::-1]]) for value in batch])
        wanted = [word for value in batch for word in (value, value[::-1], ".")]
        wrong += sum(a != b for a, b in zip(words, wanted, strict=True))
    return wrong


def _wrapped_wrong(value: str) -> bool:
    line = wrap(value, limit_s=5, env={"GIVEN": value}).removesuffix(" </dev/null; exit $?")
    words = shlex.split(line)
    begun = shlex.split(detached([value, value], value), comments=False)
    return words[-1] != value or f"GIVEN={value}" not in words or begun.count(value) < 3


def _through_crontab(given: Sequence[str]) -> int:
    """cron turns `\\%` into a percent sign, and a bare one into a newline; sh reads the rest."""
    spec = TestSpec(name="a", script=PurePosixPath("a"), server_script=None, duration_s=1)  # type: ignore[arg-type] # it is not opened
    slot = Slot(name="01-a", test=spec, start_s=0)
    paths, lines, wrong = [], [], 0
    for value in given:
        path = f"/{value}"
        try:
            text = crontab([slot], T0, shell="/bin/sh", path="/bin", workdir=path)
        except ScheduleError:
            wrong += path.isprintable()  # refused for nothing
            continue
        entries = text.splitlines()[4:-1]
        wrong += len(entries) != 1 or bool(re.search(r"(?<!\\)%", entries[0]))
        command = entries[0].split(" ", 5)[5].replace(r"\%", "%")
        paths.append(path)
        lines.append(command.removesuffix(" >/dev/null 2>&1"))
    for start in range(0, len(lines), BATCH):
        words = _in_a_shell(lines[start : start + BATCH])
        for number, path in enumerate(paths[start : start + BATCH]):
            wanted = [f"{path}/bin/run-slot", f"{path}/slots/01-a.order", "."]
            wrong += words[3 * number : 3 * number + 3] != wanted
    return wrong


def _order_wrong(value: str) -> bool:
    """An order is lines of key=value: what would be more than a plain word is refused."""
    spec = TestSpec(name="a", script=PurePosixPath("a"), server_script=None, duration_s=1)  # type: ignore[arg-type] # it is not opened
    host = Host(name=value, role=Role.CLIENT, address="192.0.2.1", host_key="")
    slot = Slot(name="01-a", test=spec, start_s=0)
    try:
        found = order(slot, host, t0_utc_s=1e9, starter="epoch", addresses=Addresses(remote=value))
    except ScheduleError:
        return False
    return not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9._:%-]*", found["host"])


def _tag_wrong(value: str) -> bool:
    tag = Tag(
        run_id="a-run", name=value, role=Role.CLIENT, token=value, owner=value, expires_utc=T0
    )
    lines = tag.to_text().split("\n")
    pairs = [line.partition("=") for line in lines]
    said = find_tag({f"tag.{key}": (text,) for key, _, text in pairs})
    plain = all(re.fullmatch(r"[\x21-\x7e]*", line) for line in lines)
    if not plain or said is None:
        return True
    shown = one_line(value)  # to people; what is compared is as it was
    return (said.token, said.owner, said.name) != (value, shown, shown)


def _local_tag_wrong(value: str) -> bool:
    text = local_tags.format_tag(local_tags.HOST, {"run": value, "owner": value})
    return "\n" in text or local_tags.parse_tag(text) != (
        local_tags.HOST,
        {"run": value, "owner": value},
    )


def _name_wrong(value: str) -> bool:
    """A name of a log is one safe word, or it is refused and shown without control characters."""
    listed, refused = parse_listing(f"{'0' * 64}  ./{value}\nsize 1 {value}\n")
    safe = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", name) for name in listed)
    return not safe or not all(text.isprintable() for text in refused)
