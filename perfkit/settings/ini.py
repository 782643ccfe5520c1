"""One INI file of config/ in, checked values out; what is wrong is a `ConfigError` with its remedy.

A file `x.conf` wins over its committed `x.conf.sample`. `perfkit.settings.parameters` reads the files that
every run has; a provider reads its own, `config/<provider>.conf`, with the same functions.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from perfkit.errors import ConfigError, did_you_mean
from perfkit.settings.secrets import refuse_secrets
from perfkit.units import parse_number

Conf = TypeVar("Conf", bound=BaseModel)


class Section(BaseModel):
    """The keys of a section; any other is refused, and nothing is changed once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load(config_dir: Path, name: str, model: type[Conf]) -> Conf:
    """Read the one section [name] of name.conf, else of its sample; a missing pair is all defaults.

    Raises:
        ConfigError: the first thing that is wrong, with its remedy.
    """
    path, parser = read_ini(config_dir, name)
    for section in parser.sections():
        if section != name:
            raise ConfigError(
                path.name, "section", section, "unknown section", did_you_mean(section, [name])
            )
    keys = dict(parser[name]) if parser.has_section(name) else {}
    if "password" in keys:
        raise ConfigError(
            f"{path.name} [{name}]",
            "password",
            "***",
            "passwords are not used",
            "remove it; perfkit logs in with a key made for each run, or with key_file",
        )
    return validate(model, keys, source=f"{path.name} [{name}]")


def read_ini(config_dir: Path, name: str) -> tuple[Path, configparser.ConfigParser]:
    """The path and the sections of `name.conf`, else of its sample; a missing pair is empty.

    Raises:
        ConfigError: not an INI file, or not readable.
    """
    path = config_dir / f"{name}.conf"
    if not path.exists():
        path = config_dir / f"{name}.conf.sample"
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=("#",), default_section="\0none"
    )
    try:
        # Some editors begin a file with a mark, which is no part of its first line.
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except FileNotFoundError:
        pass  # all keys have defaults; tests.conf is refused as empty
    except (configparser.Error, UnicodeDecodeError) as exc:
        problem = str(exc).splitlines()[0]
        if wrong := getattr(exc, "errors", ()):  # lines that are none; they may be secrets
            problem = f"line {wrong[0][0]} is no key = value"
        raise ConfigError(
            path.name, "syntax", str(path), problem, f"compare it with {name}.conf.sample"
        ) from exc
    except OSError as exc:
        raise ConfigError(
            path.name, "file", str(path), exc.strerror or str(exc), "make it readable"
        ) from exc
    return path, parser


def validate(model: type[Conf], values: Mapping[str, Any], *, source: str) -> Conf:
    """Check values against a model; `source` says in an error where they came from.

    Raises:
        ConfigError: the first thing that is wrong, with key, value and remedy; without the value
            when it looks like a secret.
    """
    refuse_secrets(values, source=source)
    numbers = _with_numbers(model, values, source)
    try:
        return model.model_validate(numbers)
    except ValidationError as exc:
        # A mistyped key also leaves its right name missing: the mistyping is what to tell.
        error = min(exc.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = str(error["loc"][0]) if error["loc"] else "?"
        known = list(model.model_fields)
        if error["type"] == "extra_forbidden":
            raise ConfigError(
                source, key, values[key], "unknown key", did_you_mean(key, known)
            ) from exc
        problem = _plain(error["msg"])
        raise ConfigError(source, key, values.get(key), problem, _expected(model, key)) from exc


def _with_numbers(model: type[BaseModel], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values, with numbers where the model wants them; pydantic would take more for a number."""
    checked = dict(values)
    for name, value in values.items():
        field = model.model_fields.get(name)
        wanted = {field.annotation, *get_args(field.annotation)} if field else set()
        reads_itself = field and any(isinstance(m, BeforeValidator) for m in field.metadata)
        if reads_itself or not wanted & {int, float} or (value is None and NoneType in wanted):
            continue
        try:
            checked[name] = parse_number(value, whole=int in wanted)
        except ValueError as exc:
            raise ConfigError(source, name, value, str(exc), _expected(model, name)) from exc
    return checked


def _expected(model: type[BaseModel], key: str) -> str:
    """The remedy for a wrong value."""
    field = model.model_fields.get(key)
    described = field.description if field else None
    return f"expected: {described}" if described else "compare it with the sample file"


def _plain(message: str) -> str:
    """What pydantic says, as a part of our sentence; what our own validators say stays as it is."""
    own = message.removeprefix("Value error, ")
    return own if own != message else f"{message[:1].lower()}{message[1:]}"
