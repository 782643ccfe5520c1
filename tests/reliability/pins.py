"""R9: nobody is trusted on first use; a host that is not the pinned one gets no byte of a command.

The host on the other side counts logins it was asked for and commands it was given.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hostile_host import Attack, hostile_host
from local_sshd import make_access

from perfkit.errors import HostError
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import RemotePool

from .experiment import Experiment, Outcome

LIMITS = {"connect_timeout_s": 20.0, "patience_s": 20.0}
KINDS = ("wrong pin", "no pin", "key changed in mid-run", "a new host at a used address")


def run(n: int, _seed: int) -> Outcome:
    found: Counter[str] = Counter()
    for number in range(n):
        with tempfile.TemporaryDirectory(prefix="pins-") as folder:
            _try(KINDS[number % len(KINDS)], Path(folder), found)
    strangers = sum(found[f"{kind}: tried"] for kind in KINDS[:3])
    refused = sum(found[f"{kind}: refused"] for kind in KINDS[:3])
    new, passed = found[f"{KINDS[3]}: tried"], found[f"{KINDS[3]}: passed"]
    return Outcome(
        result=f"{refused} of {strangers} strangers refused, {found['logins']} logins offered and "
        f"{found['commands']} commands sent to them; {passed} of {new} new hosts at used addresses "
        "let through once pinned",
        ok=refused == strangers and passed == new and not found["logins"] + found["commands"],
    )


def _try(kind: str, folder: Path, found: Counter[str]) -> None:
    found[f"{kind}: tried"] += 1
    other = make_ssh_key().public_openssh
    heard: Counter[str] = Counter()
    with hostile_host(folder, Attack("", listing="hello\n"), heard) as host:
        pinned = host if kind == KINDS[2] else replace(host, host_key=other)
        access = make_access(
            folder, make_ssh_key(), *([] if kind == KINDS[1] else [pinned]), **LIMITS
        )
        with RemotePool(access) as pool:
            if kind == KINDS[2]:
                pool.get(host).run_script("true", check=False)
                pool.drop(host, "its address was taken over")
                pin_hosts(access.known_hosts_path, [replace(host, host_key=other)])
                heard.clear()
            if kind == KINDS[3]:
                pin_hosts(access.known_hosts_path, [host])
            try:
                pool.get(host).run_script("true", check=False)
            except HostError:
                found[f"{kind}: refused"] += 1
            else:
                found[f"{kind}: passed"] += 1
    if kind != KINDS[3]:
        found.update(heard)


EXPERIMENT = Experiment(
    key="R9",
    promise="no trust on first use",
    bound="all strangers refused, 0 logins offered and 0 commands sent to them",
    run=run,
    quick=8,
    full=200,
)
