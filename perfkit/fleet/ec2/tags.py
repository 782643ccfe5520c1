"""The tags on everything a run has at EC2: there from its creation, and all that a reap needs.

::

    perfkit:managed   1                   perfkit made it and may end it; without it, hands off
    perfkit:run       20260101T…-demo
    perfkit:owner     me at laptop
    perfkit:expires   1767270000          epoch seconds, UTC; `perfkit renew` moves it
    perfkit:role      server | client     instances, their volumes and interfaces
    perfkit:token     of the launch request
    perfkit:key       ssh-ed25519 AAAA…   the host key that its instances show until their first login
    perfkit:hosts     client-001 client-002 …    one call's hosts, in order
    perfkit:host      client-001          only where an order does not tell (fleets)
    perfkit:packed    100 2000            of machines: clients on each at most, and of the run

A call makes many instances and gives all of them the same tags. Which of them is which host
follows from the tag `perfkit:hosts` and the instance's launch index, both fixed at its creation:
the n-th instance is the n-th host. So nothing needs a tag afterwards, and no crash leaves an
instance without a name. A value holds 256 characters, so the names go on in perfkit:hosts-2, ….
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

PREFIX = "perfkit:"
MANAGED, RUN, OWNER, EXPIRES = (
    f"{PREFIX}{name}" for name in ("managed", "run", "owner", "expires")
)
ROLE, TOKEN, HOSTS, HOST = (f"{PREFIX}{name}" for name in ("role", "token", "hosts", "host"))
KEY, PACKED = f"{PREFIX}key", f"{PREFIX}packed"
VALUE_CHARACTERS = 256
# Letters, digits and spaces of any script, and _ . : / = + - @: AWS takes no other.
_FORBIDDEN = re.compile(r"[^\w\s.:/=+\-@]")

Tags = dict[str, str]


def run_tags(run_id: str, owner: str, expires_utc: datetime, extra: Mapping[str, str]) -> Tags:
    """What everything of a run carries."""
    return {
        **{clean(name): clean(value) for name, value in extra.items()},
        "Name": f"perfkit {run_id}",
        MANAGED: "1",
        RUN: run_id,
        OWNER: clean(owner),
        EXPIRES: f"{expires_utc.timestamp():.0f}",
    }


def call_tags(token: str, role: str, names: Sequence[str] = (), key: str = "") -> Tags:
    """What the instances of one call carry besides.

    Args:
        names: Theirs, if the call says which is which.
        key: The host key that they show at first.
    """
    lines = textwrap.wrap(" ".join(names), VALUE_CHARACTERS, break_on_hyphens=False)
    rows = {HOSTS if n == 1 else f"{HOSTS}-{n}": line for n, line in enumerate(lines, start=1)}
    return {ROLE: role, TOKEN: token, **({KEY: key} if key else {}), **rows}


def host_name(tags: Mapping[str, str], launch_index: int) -> str:
    """Which host an instance is; empty when its tags do not say."""
    if HOST in tags:
        return tags[HOST]
    rows = [HOSTS, *(f"{HOSTS}-{n}" for n in range(2, 50))]
    names = " ".join(tags[row] for row in rows if row in tags).split()
    return names[launch_index] if launch_index < len(names) else ""


def n_packed(tags: Mapping[str, str], name: str) -> int | None:
    """How many hosts are to be packed onto a machine; None: it is one host itself."""
    words, number = tags.get(PACKED, "").split(), name.rpartition("-")[2]
    if len(words) != 2 or not all(it.isdecimal() for it in (*words, number)):
        return None
    each, together = map(int, words)
    return max(0, min(each, together - (int(number) - 1) * each))


def expiry(tags: Mapping[str, str]) -> datetime:
    """The moment in the tag; the beginning of time when there is none that can be read."""
    text = tags.get(EXPIRES, "")
    return datetime.fromtimestamp(int(text) if text.isdigit() else 0, UTC)


def clean(text: str) -> str:
    """A value as AWS takes it: other characters become `_`."""
    return _FORBIDDEN.sub("_", text)[:VALUE_CHARACTERS]


def to_aws(tags: Mapping[str, str]) -> list[Any]:
    """As AWS's calls want them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def from_aws(tags: Iterable[Mapping[str, Any]] | None) -> Tags:
    """As AWS's listings give them."""
    return {str(tag["Key"]): str(tag["Value"]) for tag in tags or ()}


def specifications(tags: Mapping[str, str], *kinds: str) -> list[Any]:
    """TagSpecifications: the same tags for each kind of thing that a call makes."""
    return [{"ResourceType": kind, "Tags": to_aws(tags)} for kind in kinds]
