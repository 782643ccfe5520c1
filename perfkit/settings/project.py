"""The project's folder: what hosts get, settings, notebooks, runs; and how one is made.

A clone is one. Where only the package is installed, `perfkit init lab` makes one from what came with
it: `resources/`, `config/*.sample`, `notebooks/`, and an empty `runs/`.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
from pathlib import Path

from perfkit import ownership
from perfkit.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("resources", "config", "notebooks")
_IGNORED = """\
runs/*
config/*.conf
notebooks/out*.ipynb
.ipynb_checkpoints/
"""


def project_dir() -> Path:
    """The project's folder: $PERFKIT_HOME, the checkout this package lies in, or above the cwd.

    Raises:
        ConfigError: none of them holds resources/fabfile.py, or another user may have put it there.
    """
    told = os.environ.get("PERFKIT_HOME")
    here, own = Path.cwd(), CHECKOUT
    places = [Path(told)] if told else [own, here, *here.parents]
    for place in places:
        if (place / "resources" / "fabfile.py").is_file():
            if not told and place != own:
                _check_owner(place)
            return place.resolve()
    raise ConfigError(
        "environment",
        "PERFKIT_HOME",
        told,
        "no project folder (with resources/fabfile.py) found",
        "`perfkit init lab` makes one; go there, or set it to your clone",
    )


def _check_owner(place: Path) -> None:
    """Refuse a project that was only come across and that another user could have put there.

    Its fabfile runs here and its scripts run as root on hosts; above a folder in /tmp lies /tmp.

    Raises:
        ConfigError: who could have, and the way to say that it is meant.
    """
    if fault := ownership.find_fault(place / "resources"):
        raise ConfigError(
            "environment",
            "PERFKIT_HOME",
            None,
            f"the project folder found at {place} may be another user's: {fault}",
            f"if you trust it, PERFKIT_HOME={place}; else go to your own",
        )


def runs_folder(runs_dir: str = "") -> Path:
    """Where run folders are: the one named, else the project's `runs/`."""
    return Path(runs_dir).resolve() if runs_dir else project_dir() / "runs"


def make_project(folder: Path) -> Path:
    """Make a project folder; returns it.

    Files get the modes of the user's umask, scripts stay executable; `runs/` is the owner's alone.

    Raises:
        ConfigError: something is there already, or it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("init", "folder", str(folder), "not empty", "name a new folder")
    try:
        with importlib.resources.as_file(importlib.resources.files("perfkit")) as package:
            starter = package / "starter"
            source = starter if starter.is_dir() else CHECKOUT
            for name in FOLDERS:
                shutil.copytree(
                    source / name, folder / name, ignore=_made_by_users, dirs_exist_ok=True
                )
        (folder / "runs").mkdir(mode=0o700)
        (folder / ".gitignore").write_text(_IGNORED)
    except OSError as exc:
        raise ConfigError(
            "init", "folder", str(folder), exc.strerror or str(exc), "name another folder"
        ) from exc
    return folder.resolve()


def _made_by_users(_folder: str, names: list[str]) -> list[str]:
    """What a clone has beside what belongs to the project."""
    return [
        name
        for name in names
        if (name.endswith(".conf") and f"{name}.sample" in names)
        or name.startswith((".", "out"))
        or name in {"readme", "__pycache__"}
    ]
