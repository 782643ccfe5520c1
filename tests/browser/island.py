"""A network of the browser's own: loopback and nothing else, with one door to each server.

Chromium drops what it is loading (ERR_NETWORK_CHANGED) whenever the machine's network changes, and
tests that make hosts change it all the time. On its island it sees none of that; and a request
that would leave localhost cannot. The servers and their kernels stay on the machine's network, so
that a notebook may make real hosts: what the browser sends to a door comes out at a Unix socket.

Making a network namespace needs root. Without it the doors are on the machine's own loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLONE_NEWNET = 0x40000000
_CHUNK_BYTES = 1 << 16


class Island:
    """A network namespace held by a thread that lives in it, and the doors of its loopback."""

    def __init__(self) -> None:
        self.is_isolated = os.geteuid() == 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="island")
        self._namespace = self._thread.submit(self._settle).result() if self.is_isolated else None
        self._doors: list[Door] = []

    @staticmethod
    def _settle() -> int:
        """Move this thread, and this thread only, to a new network namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def executable(self, program: str, folder: Path) -> str:
        """What starts `program` on the island, as one path."""
        if self._namespace is None:
            return program
        wrapper = folder / "on-the-island"
        namespace = f"/proc/{os.getpid()}/fd/{self._namespace}"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --net={namespace} -- {program} "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    def open_door(self, unix_socket: Path) -> int:
        """Listen on the island's loopback and carry each connection to a server's Unix socket.

        Returns:
            The port on the island's 127.0.0.1.
        """
        listener = self._thread.submit(socket.create_server, ("127.0.0.1", 0)).result()
        self._doors.append(Door(listener, unix_socket))
        return int(listener.getsockname()[1])

    def close(self) -> None:
        """Close all doors and give the namespace up; it goes with the last process in it."""
        for door in self._doors:
            door.close()
        self._thread.shutdown()
        if self._namespace is not None:
            os.close(self._namespace)


class Door:
    """Carries bytes both ways, for every connection that a listening socket gets."""

    def __init__(self, listener: socket.socket, unix_socket: Path) -> None:
        self._listener, self._target = listener, unix_socket
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop what is open."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        serving = asyncio.start_server(self._on_connection, sock=self._listener)
        server = self._loop.run_until_complete(serving)
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._drop_all())
        self._loop.close()

    @staticmethod
    async def _drop_all() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # in which their connections are closed

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_unix_connection(str(self._target))
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, then say the end on the other side."""
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
