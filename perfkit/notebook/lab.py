"""`perfkit lab`: JupyterLab on the notebooks, ready to work in.

The server is this environment's own, with settings of its own, so that neither what a person has
set up for other work gets in the way, nor is touched. What is changed in it (a theme, a layout) is
kept in `SETTINGS_DIR` for the next time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from perfkit.errors import ConfigError
from perfkit.runs.folder import write_json
from perfkit.settings.project import project_dir

HOOK = "perfkit.notebook.saving.keep_clean"
START = "notebooks/00_start.ipynb"
SETTINGS_DIR = ".config/perfkit/lab"  # below the home folder

# The question whether one wants news covers the first output, and needs a network.
_WITHOUT_NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
# Defaults; what a person sets comes before them. Light or dark as the browser asks for.
_DEFAULTS = {"@jupyterlab/apputils-extension:themes": {"adaptive-theme": True}}


def command(project: Path, options: Sequence[str] = (), *, uid: int) -> list[str]:
    """What starts JupyterLab on the project's first notebook.

    Args:
        options: Passed on, for example `--no-browser`, `--port 9000`.
        uid: Of the user; Jupyter refuses root unless told.
    """
    return [
        *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "perfkit.notebook.server"),
        *(["--allow-root"] if uid == 0 else []),
        f"--ServerApp.root_dir={project}",
        f"--LabApp.default_url=/lab/tree/{START}",
        f"--ContentsManager.pre_save_hook={HOOK}",
        "--ServerApp.answer_yes=True",  # Ctrl-C ends it, without a question
        "--Application.log_level=WARN",  # the address is still said
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *options,
    ]


def environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a JupyterLab whose settings lie in `folder`."""
    return {
        **inherited,
        "JUPYTER_CONFIG_DIR": str(folder),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, whatever the user installed
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
    }


def run(options: Sequence[str] = ()) -> None:
    """Become JupyterLab: this process is replaced and does not come back.

    Raises:
        ConfigError: no JupyterLab in this environment, or no project folder.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise ConfigError(
            "environment", "jupyterlab", None, "not installed", "run scripts/setup, or pip install"
        )
    project = project_dir()
    folder = Path.home() / SETTINGS_DIR
    write_json(folder / "labconfig" / "page_config.json", _WITHOUT_NEWS)
    write_json(folder / "labconfig" / "default_setting_overrides.json", _DEFAULTS)
    sys.stdout.flush()
    os.execve(  # noqa: S606 - no shell: a list of arguments
        sys.executable,
        command(project, options, uid=os.geteuid()),
        environment(os.environ, folder),
    )
