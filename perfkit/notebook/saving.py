"""What JupyterLab writes into a clone: the shipped notebooks stay as they were shipped.

Jupyter saves outputs, execution counts and the kernel's version into a notebook, so opening one would
change a file that git has. Here the shipped notebooks are saved without them, and whole beside it, as
papermill does: `out-05_segments.ipynb`, which git ignores. What a person edits in a cell is saved.

JupyterLab is told of it as its `ContentsManager.pre_save_hook`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from perfkit.runs.folder import write_atomic

SHIPPED = re.compile(r"notebooks/(0[0-9]_[a-z]+|campaign)\.ipynb")
_OWN = ("tags",)  # what a cell's metadata holds that is the notebook's, and not one session's


def keep_clean(*, model: dict[str, Any], path: str, contents_manager: Any, **_: object) -> None:
    """Take out of a notebook that is about to be saved what a session has put into it.

    Side effects: where it has outputs, writes all of it to `out-<name>` beside it.
    """
    if model.get("type") != "notebook" or not SHIPPED.fullmatch(path.strip("/")):
        return
    content = model["content"]
    place = Path(contents_manager.root_dir) / path.strip("/")
    if any(cell.get("outputs") for cell in content["cells"]):
        whole = json.dumps(content, indent=1, ensure_ascii=False)
        write_atomic(place.with_name(f"out-{place.name}"), f"{whole}\n".encode())
    shipped = _on_disk(place)
    known = {cell.get("id"): cell["metadata"] for cell in shipped.get("cells", [])}
    for cell in content["cells"]:
        own = {key: value for key, value in cell["metadata"].items() if key in _OWN}
        cell["metadata"] = known.get(cell.get("id"), own)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    for key in ("metadata", "nbformat", "nbformat_minor"):
        content[key] = shipped.get(key, content[key])


def _on_disk(place: Path) -> dict[str, Any]:
    """The notebook as it was saved last; nothing where it is not there or no notebook."""
    try:
        found = json.loads(place.read_bytes())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
