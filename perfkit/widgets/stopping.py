"""Stopping a phase that runs in some thread, as an interrupt would, and knowing that it was asked.

    stop = Stop()                 # of the calling thread
    stop.ask()                    # from any other: KeyboardInterrupt is raised in it

The main thread is sent SIGINT, which also ends a wait for a lock; another thread cannot have
signals, so the interpreter raises the exception in it at its next step, and all that waits there
wakes up twice a second for that.
"""

from __future__ import annotations

import ctypes
import signal
import threading


class Stop:
    """A stop of one thread, asked for at most once.

    Attributes:
        asked: Whether it was. An interrupt that a person sends otherwise is not one.
    """

    def __init__(self) -> None:
        self.asked = False
        self._lock = threading.Lock()
        self._is_open = True
        self._thread_id = threading.get_ident()
        self._is_main = threading.current_thread() is threading.main_thread()

    def ask(self) -> bool:
        """Interrupt the thread; False when it is too late or was asked for before."""
        with self._lock:
            if self.asked or not self._is_open:
                return False
            self.asked = True
            if self._is_main:
                signal.pthread_kill(self._thread_id, signal.SIGINT)
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread_id), ctypes.py_object(KeyboardInterrupt)
                )
            return True

    def close(self) -> None:
        """From here on nobody can stop the thread by this; safe to call twice."""
        with self._lock:
            self._is_open = False
