"""A child with mounts of its own, which may do what a run's keeper does without a trace of it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

from perfkit.fleet.local import linux

STAGE = Path("/dev/shm")  # as `hosts.STAGE`: every user may enter it


def in_own_mounts(work: Callable[[], object]) -> object:
    """What `work` returns in a child that has a mount namespace of its own and an empty stage.

    The umask is as strict as a user's may be; hosts must not feel it.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.make_mounts_private()
            linux.mount("tmpfs", str(STAGE), "tmpfs", options="mode=0755")
            os.umask(0o077)
            result: object = work()
        except BaseException as exc:  # noqa: BLE001  the child must end here, whatever happens
            result = f"{type(exc).__name__}: {exc}"
        os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        result = pickle.loads(answer.read())
    os.waitpid(pid, 0)
    return result
