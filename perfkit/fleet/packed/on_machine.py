"""The part that runs on a machine which hosts are packed onto, as its root, without perfkit installed there.

::

    python3 -m perfkit.fleet.packed.on_machine launch      a request in, the hosts made out, as JSON
    python3 -m perfkit.fleet.packed.on_machine list RUN    names and addresses of the hosts, as JSON
    python3 -m perfkit.fleet.packed.on_machine end RUN [host …]    `cleaned=` and `left=` lines

Hosts are made by the keeper of local hosts, which is started here and goes on by itself: to it, this
machine is the one it is on. Needs the standard library and pyroute2; `shipping` says what is sent.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfkit.errors import PerfkitError
from perfkit.fleet.local import cleanup, machine_view, namespaces, tags
from perfkit.fleet.provider import HostRequest, LaunchRequest, check_request
from perfkit.model import Role

NAMES_A_LINE = 50


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands of the module's docstring."""
    match list(arguments):
        case ["launch"]:
            print(json.dumps(_launch(json.load(sys.stdin))))
        case ["list", run_id]:
            print(json.dumps(_list(run_id)))
        case ["end", run_id, *names]:
            return _end(run_id, names)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def _launch(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Have the hosts made; `hosts`: address by name, `failed`: reason by name."""
    failed: dict[str, str] = {}

    def record(kind: str, **fields: Any) -> None:
        if kind == "launch-shortfall":
            failed[str(fields["name"])] = str(fields["reason"])

    request = LaunchRequest(
        token=str(asked["token"]),
        run_id=str(asked["run_id"]),
        owner=str(asked["owner"]),
        expires_utc=datetime.fromtimestamp(float(asked["expires_s"]), UTC),
        authorized_key=str(asked["authorized_key"]),
        hosts=tuple(HostRequest(**{**it, "role": Role(it["role"])}) for it in asked["hosts"]),
        record=record,
    )
    try:
        check_request(request)
        made = namespaces.launch(
            request,
            (*machine_view.homes(), Path(os.environ["PERFKIT_WORKDIR"])),
            can_tunnel=True,
            n_hosts=int(asked["n_hosts"]),
            outside={"subnet": str(asked["subnet"]), "peers": ",".join(asked["peers"])},
        )
    except PerfkitError as exc:
        return {"hosts": {}, "failed": dict.fromkeys((h.name for h in request.hosts), str(exc))}
    return {"hosts": {host.name: host.address for host in made}, "failed": failed}


def _list(run_id: str) -> dict[str, str]:
    there = (it for it in tags.scan(run_id) if it.kind == tags.HOST)
    return {it.fields["name"]: it.fields["address"] for it in there}


def _end(run_id: str, names: Sequence[str]) -> int:
    """End hosts, or all of the run; what is still there comes first."""
    there = {str(it): it.fields.get("name", "") for it in tags.scan(run_id)}
    done = cleanup.end_here(run_id, names or None)
    for what in done["leaked"]:
        print(f"left={what}")
    gone = [there.get(what, "") or what for what in done["released"]]
    for start in range(0, len(gone), NAMES_A_LINE):
        print(f"cleaned={' '.join(gone[start : start + NAMES_A_LINE])}")
    return 1 if done["leaked"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
