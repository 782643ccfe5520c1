"""Secrets are no parameters: what looks like one is refused before it is written anywhere.

A parameter ends up in the manifest, in the executed notebook (twice) and in the process table. So
parameters and files of config/ name *where* a secret is (a profile, a path), never what it is.

    python -m perfkit.settings.secrets -p name value …    exit status 1 if an argument looks like one

is how `scripts/campaign` asks before papermill writes its output.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from perfkit.errors import ConfigError

MASK = "***"

_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|credential|(^|_)token$|(api|access|private)_?key",
    re.IGNORECASE,
)
_VALUES = (
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS access keys
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),  # GitHub
    re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\."),  # JSON web tokens
    re.compile(r"://[^/\s:@]+:[^/\s:@]+@"),  # a URL with a password in it
    # AWS secret keys: 40 letters of base64, a SHA-1 has no capitals. A path may have such a stretch
    # in it, and begins with a slash or has four: so have 2 keys in 100, the price of any folder.
    re.compile(
        r"(?<![\w/+.~-])(?!/|(?:[\w+]*/){4})"
        r"(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*[0-9])[A-Za-z0-9/+]{40}(?![\w/+-])"
    ),
)
# In files that are handed on: what is never anything but a secret, by what it is.
_IN_FILES = {
    "a private key": re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File-"),
    "an OpenVPN key": re.compile(rb"-----BEGIN OpenVPN [A-Za-z0-9 -]{0,40}key", re.IGNORECASE),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{30,250}"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{10,250}"),
    "a password in a URL": re.compile(rb"://[^/\s:@\"]{1,100}:[^/\s:@\"]{1,100}@[A-Za-z0-9]"),
}
_PARAMETER_OPTIONS = {"-p", "--parameters", "-r", "--parameters_raw"}


def looks_secret(name: str, value: object) -> bool:
    """Whether a parameter's name says that it is a secret, or its value has the form of one."""
    if _NAME.search(name) and str(value):
        return True
    return any(form.search(str(value)) for form in _VALUES)


def find_secret(data: bytes) -> str:
    """What kind of secret a file's content holds; empty when none is recognised."""
    return next((kind for kind, form in _IN_FILES.items() if form.search(data)), "")


def refuse_secrets(values: Mapping[str, object], *, source: str) -> None:
    """Refuse values that look like secrets; the message does not hold them.

    Raises:
        ConfigError: for the first one.
    """
    for name, value in values.items():
        if looks_secret(name, value):
            raise ConfigError(
                source,
                name,
                MASK,
                "looks like a secret, and would be written to files that are kept and shared",
                "name a profile or the path of a key file instead; if it was a real one and has "
                "been written already (an executed notebook), delete that and change the secret",
            )


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse command-line arguments of papermill that look like secrets.

    Raises:
        ConfigError: for the first one.
    """
    for number, word in enumerate(arguments):
        name = (
            arguments[number + 1] if word in _PARAMETER_OPTIONS and arguments[number + 1 :] else ""
        )
        value = arguments[number + 2] if name and arguments[number + 2 :] else ""
        refuse_secrets({name: value, "": word}, source="papermill -p")


if __name__ == "__main__":
    try:
        refuse_arguments(sys.argv[1:])
    except ConfigError as exc:
        sys.exit(f"campaign: {exc}")
