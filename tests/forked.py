"""Work in a child of its own, which may change its namespaces, mounts and umask at will."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable


def in_child(work: Callable[[], object]) -> object:
    """What `work` returns or raises in a forked child; the child ends there, whatever happens."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result: object = work()
            except BaseException as exc:  # noqa: BLE001 -- the caller looks at it
                result = exc
            os.write(writer, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        result = pickle.loads(answer.read())
    os.waitpid(pid, 0)
    return result
