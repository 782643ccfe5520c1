"""A child with mounts of its own, which may do what a run's keeper does without a trace of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from forked import in_child

from perfkit.fleet.local import linux

STAGE = Path("/dev/shm")  # as `hosts.STAGE`: every user may enter it


def in_own_mounts(work: Callable[[], object]) -> object:
    """What `work` returns in a child that has a mount namespace of its own and an empty stage.

    The umask is as strict as a user's may be; hosts must not feel it.
    """

    def staged() -> object:
        linux.unshare(linux.CLONE_NEWNS)
        linux.make_mounts_private()
        linux.mount("tmpfs", str(STAGE), "tmpfs", options="mode=0755")
        os.umask(0o077)
        return work()

    result = in_child(staged)
    return f"{type(result).__name__}: {result}" if isinstance(result, BaseException) else result
