"""JupyterLab as `perfkit lab` starts it: `python -m perfkit.notebook.server [OPTIONS]`.

What Jupyter's parts still have to mend among themselves is no news for its users. A filter of the
interpreter's (`-W`) is not enough: voila, where it is installed, puts one of its own before it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings


def main() -> None:
    """Become the server; the process ends with it."""
    with contextlib.suppress(ImportError):
        importlib.import_module("voila")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    status: object = None
    try:
        status = importlib.import_module("jupyterlab.labapp").main()
    except SystemExit as exc:
        status = exc.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    main()
