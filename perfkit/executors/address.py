"""The names of executors: what a parameter or an option may say."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

PROCESSES = "processes"
_ADDRESS = re.compile(r"(?:tcp|tls)://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


def checked(executor: str) -> str:
    """The name of an executor, as a parameter or an option has it.

    Raises:
        ValueError: it is none; the message says what is.
    """
    if executor in ("", PROCESSES) or _ADDRESS.fullmatch(executor):
        return executor
    raise ValueError(
        f"tcp://HOST:PORT or tls://HOST:PORT of a Dask scheduler, or {PROCESSES}, expected"
    )


ExecutorName = Annotated[str, AfterValidator(checked)]
