"""Templates of VPNs: text in the manner of `string.Template`, filled in or refused with the remedy."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

from perfkit.errors import ConfigError, did_you_mean


def fill_in(template: Path, values: Mapping[str, str]) -> str:
    """A template's text with its ${names} replaced.

    Raises:
        ConfigError: not there, or it names something else; the message names the nearest.
    """
    try:
        return string.Template(text_of(template)).substitute(values)
    except KeyError as exc:
        name = str(exc.args[0])
        raise ConfigError(
            str(template), "placeholder", f"${{{name}}}", "not known", did_you_mean(name, values)
        ) from exc
    except ValueError as exc:
        raise ConfigError(
            str(template), "placeholder", str(exc), "not a ${name}", "write $$ for a plain dollar"
        ) from exc


def text_of(template: Path) -> str:
    """A template's text.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return template.read_text()
    except OSError as exc:
        raise ConfigError(
            str(template), "template", template.name, exc.strerror or "", "restore it"
        ) from exc
