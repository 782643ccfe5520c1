"""The host agent's answers: which run holds a host, and what prevents its use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from perfkit.errors import PerfkitError
from perfkit.fleet.provider import RUN_ID_PATTERN
from perfkit.fleet.static.host_agents import OUTPUT_CHARS, Answer
from perfkit.model import Role
from perfkit.untrusted import one_line

MIN_FREE_KIB = 100_000
POSIX_SHELLS = ("sh", "ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "yash", "zsh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """Whose a host is: the text of `perfkit.tag` in perfkit's folder there.

    Attributes:
        name: The host's name in the run.
        members: Machines taken in the same launch, by their names in static.conf.
        devices: Network devices that the run's VPN makes here.
        ended: Hosts of the run that were released while this one was kept.
        n_packed: Hosts that are on it now, as it says itself; None: it is one.
        carries_hosts: It was taken to carry hosts of the run, and is none itself.
    """

    run_id: str
    name: str
    role: Role
    token: str
    owner: str
    expires_utc: datetime
    members: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    n_packed: int | None = None
    carries_hosts: bool = False

    @property
    def is_live(self) -> bool:
        """Its time is not over."""
        return self.expires_utc.timestamp() > time.time()

    def to_text(self) -> str:
        """As written to the file: key=value lines, values percent-encoded."""
        fields = {
            "run": self.run_id,
            "name": self.name,
            "role": self.role.value,
            "token": self.token,
            "owner": self.owner,
            "expires": str(int(self.expires_utc.timestamp())),
            "members": " ".join(self.members),
        }
        fields |= {"carries": "hosts"} if self.carries_hosts else {}
        lines = [*fields.items(), *(("device", device) for device in self.devices)]
        return "\n".join(f"{key}={quote(value)}" for key, value in lines)

    def says(self, machine: str) -> str:
        """For whoever wanted the machine."""
        return (
            f"{machine} is in use by run {self.run_id} of {self.owner} until "
            f"{self.expires_utc:%Y-%m-%d %H:%M:%S} UTC; perfkit clean {self.run_id} --yes frees it"
        )


def find_tag(answer: Answer | PerfkitError | None) -> Tag | None:
    """The tag in an answer; None when the host is free, or the tag makes no sense."""
    if answer is None or isinstance(answer, PerfkitError):
        return None
    found = {
        key.removeprefix("tag."): " ".join(unquote(value) for value in values)[:OUTPUT_CHARS]
        for key, values in answer.items()
        if key.startswith("tag.")
    }
    said = answer.get("packed", ("",))[0]
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        tag = Tag(
            run_id=found["run"],
            name=one_line(found["name"]),
            role=Role(found["role"]),
            token=found["token"],
            owner=one_line(found["owner"]),
            expires_utc=datetime.fromtimestamp(float(found["expires"]), UTC),
            members=tuple(found.get("members", "").split()),
            devices=tuple(found.get("device", "").split()),
            ended=tuple(found.get("ended", "").split()),
            n_packed=int(said) if said.isdecimal() and len(said) < 6 else None,
            carries_hosts=found.get("carries") == "hosts",
        )
        return tag if RUN_ID_PATTERN.fullmatch(tag.run_id) else None
    return None


def obstacles(answer: Answer, workdir: str, *, tunnel: bool) -> Iterator[str]:
    """What is in the way on one host, from its look."""
    tag = find_tag(answer)
    if tag and tag.is_live:
        yield tag.says("it")
    yield from _shell_obstacles(answer)
    if "unsafe" in answer:
        yield (
            f"{workdir}: other users of the host could change what root runs from there: "
            f"{answer['unsafe'][0]}; fix that, or set workdir to a folder like /var/lib/perfkit"
        )
    if "refused" in answer:
        yield f"it could not be tagged: {answer['refused'][0]}: free some space there, or set workdir"
    if "foreign" in answer:
        yield f"{workdir} holds files that are not perfkit's: move them, or set workdir"
    if "no_folder" in answer:
        yield f"{workdir} cannot be made: {answer['no_folder'][0]} is not a folder: set workdir"
    if "lacks" in answer:
        tools = " ".join(answer["lacks"])
        yield f"not installed: {tools} (perfkit installs nothing on hosts that it does not end)"
    if tunnel and "tun" not in answer:
        yield "no /dev/net/tun: modprobe tun there, or set tunnel = no and use direct tests only"
    for device in answer.get("nic", ()) if tunnel else ():
        yield f"device {device} exists already, made by another VPN: stop that, or set tunnel = no"
    yield from _disk_obstacles(answer, workdir)


def _disk_obstacles(answer: Answer, workdir: str) -> Iterator[str]:
    if "noexec" in answer:
        yield (
            f"{workdir} is on {answer['noexec'][0]}, which is mounted noexec, so no test can run "
            "there: set workdir to a folder on another file system"
        )
    free_kib = answer.get("free_kib", ("",))[0]
    if free_kib.isdecimal() and len(free_kib) < 16 and int(free_kib) < MIN_FREE_KIB:
        free_mb = int(free_kib) * 1024 // 1_000_000
        yield f"{free_mb} MB are free below {workdir}, 100 MB are needed"


def _shell_obstacles(answer: Answer) -> Iterator[str]:
    if noise := answer.get("noise", ("",))[0].strip():
        said = "".join(letter if letter.isprintable() else "?" for letter in noise)[:60]
        yield (
            f"its login shell prints {said!r} before every command: let it print to terminals "
            "only, for example with `[ -t 1 ] || return` at the top of .bashrc"
        )
    shell = answer.get("shell", ("",))[0].rpartition("/")[2]
    if shell and shell not in POSIX_SHELLS:
        yield (
            f"its login shell is {shell}, which is not a POSIX shell: set a user with another "
            "one, or change it there with chsh -s /bin/sh"
        )
