"""What a notebook holds that the phases need: its parameters, as papermill or a person left them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from perfkit.errors import ConfigError, did_you_mean
from perfkit.settings import Parameters


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Pick a notebook's parameters out of its `globals()`.

    Papermill lets a mistyped `-p client 5` pass with a warning and runs on with the default. It
    leaves the name in a cell of its own, where it is found here.

    Raises:
        ConfigError: a name was passed that is no parameter; the message names the nearest one.
    """
    known = Parameters.model_fields
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters\n"):
            for name, value in _assignments(cell).items():
                if name not in known:
                    raise ConfigError(
                        "papermill -p", name, value, "no such parameter", did_you_mean(name, known)
                    )
    return {name: namespace[name] for name in known if name in namespace}


def _assignments(source: str) -> dict[str, str]:
    pairs = [n for n in ast.parse(source).body if isinstance(n, ast.Assign)]
    return {ast.unparse(n.targets[0]): ast.unparse(n.value) for n in pairs}
