"""A TCP proxy on loopback that delays, and breaks its connections after so many bytes, in one of
three ways.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

CHUNK_BYTES = 1 << 14
RESET, CLOSE, SILENCE = "reset", "close", "silence"


class CuttingProxy:
    """Forwards to a port of this machine; `arm` says where the next connection breaks."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.n_bytes = 0  # towards the client, all connections together
        self.delays_s: tuple[float, ...] = (0.0, 0.0)  # towards the server, towards the client
        self._left: int | None = None
        self._how = RESET
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, after_bytes: int | None, how: str = RESET) -> None:
        """Break after this many bytes towards the client from now on; None: never."""
        with self._lock:
            self._left, self._how = after_bytes, how

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for source, sink, counted in ((near, far, False), (far, near, True)):
                    threading.Thread(
                        target=self._forward, args=(source, sink, counted), daemon=True
                    ).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                time.sleep(self.delays_s[counted])
                allowed = self._take(len(data)) if counted else len(data)
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    self._break(source, sink)
                    return
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _take(self, n_bytes: int) -> int:
        with self._lock:
            allowed = n_bytes if self._left is None else min(n_bytes, self._left)
            if self._left is not None:
                self._left -= allowed
            self.n_bytes += allowed
            return allowed

    def _break(self, far: socket.socket, near: socket.socket) -> None:
        if self._how == SILENCE:
            return  # both ends stay open, and nothing comes any more
        if self._how == RESET:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.shutdown(socket.SHUT_RD)
        near.close()
        far.close()
