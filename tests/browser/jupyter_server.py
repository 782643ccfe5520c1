"""One Jupyter server for all front ends, as a person has it, with settings of its own.

`jupyter lab` serves JupyterLab under /lab, Notebook 7 under /notebooks and Voila under
/voila/render. It listens on a Unix socket: no port to be taken, and nobody else can connect to a
server that asks for no token.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STARTS_WITHIN_S = 180.0
ENDS_WITHIN_S = 10.0
_USER_SETTINGS = {
    # Light or dark as the browser asks for; a test chooses by `color_scheme`.
    "apputils-extension/themes": {"adaptive-theme": True},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
_PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


class JupyterServer:
    """A running server; `root` is the folder it serves, `log_path` what it said."""

    def __init__(self, home: Path) -> None:
        self.root = home / "work"
        self.log_path = home / "server.log"
        self.socket_path = home / "s"  # short: a socket's path has 107 bytes
        self._runtime = home / "runtime"
        config = home / "config"
        settings = config / "lab" / "user-settings" / "@jupyterlab"
        for folder in (self.root, self._runtime, config / "labconfig"):
            folder.mkdir(parents=True)
        (config / "labconfig" / "page_config.json").write_text(json.dumps(_PAGE_CONFIG))
        for name, values in _USER_SETTINGS.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._runtime),
            "IPYTHONDIR": str(home / "ipython"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        }
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
        options = [
            f"--ServerApp.sock={self.socket_path}",
            f"--ServerApp.root_dir={self.root}",
            "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",
            "--LabApp.news_url=None",
        ]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *options],
                env=environment,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self) -> None:
        """Return when it answers; fail with the end of its log when it does not."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.get("/api/status")
            except OSError:
                time.sleep(0.1)
            else:
                return
        said = self.log_path.read_text()[-3000:]
        raise AssertionError(f"no Jupyter server within {STARTS_WITHIN_S:.0f} s:\n{said}")

    def get(self, path: str) -> Any:
        """What the server's REST API answers, decoded."""
        return self.request("GET", path)

    def request(self, method: str, path: str) -> Any:
        """One call of the REST API, beside the browser."""
        connection = _UnixConnection(self.socket_path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status < 400, f"{method} {path}: {answer.status} {body[:300]!r}"
        return json.loads(body) if body else None

    def kernel_of(self, path: str) -> dict[str, Any]:
        """The kernel of a notebook, by the notebook's path below `root`."""
        sessions = [s for s in self.get("/api/sessions") if s["path"] == path]
        assert len(sessions) == 1, f"{path}: one session expected, {len(sessions)} found"
        return dict(sessions[0]["kernel"])

    def connection_file(self, kernel_id: str) -> Path:
        """Where the kernel says how to connect to it."""
        return self._runtime / f"kernel-{kernel_id}.json"

    def end_kernels(self) -> None:
        """End the kernels of all notebooks."""
        for session in self.get("/api/sessions"):
            self.request("DELETE", f"/api/sessions/{session['id']}")

    def stop(self) -> None:
        """End the server and, with it, its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=90)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
